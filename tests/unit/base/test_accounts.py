import grp
import os
import pwd

import pytest

from meta1g.base.accounts import access_for, group_entry, user_entry


def test_root_and_this_account_may_always_connect():
    access = access_for(["no-such-account"])
    assert access.uids == {0, os.geteuid()}
    assert access.gid is None


def test_an_account_of_this_machine_may_connect():
    entry = next(one for one in pwd.getpwall() if one.pw_uid not in (0, os.geteuid()))
    access = access_for([entry.pw_name])
    assert entry.pw_uid in access.uids
    may_give = os.geteuid() == 0 or entry.pw_gid in os.getgroups()
    assert access.gid == (entry.pw_gid if may_give else None)


def test_an_account_may_be_named_by_its_number_wherever_it_is_looked_up():
    entry = next(one for one in pwd.getpwall() if one.pw_uid not in (0, os.geteuid()))
    assert user_entry(str(entry.pw_uid)) == pwd.getpwuid(entry.pw_uid)
    assert access_for([str(entry.pw_uid)]).uids == access_for([entry.pw_name]).uids
    assert group_entry(str(entry.pw_gid)) == group_entry(grp.getgrgid(entry.pw_gid).gr_name)


@pytest.mark.parametrize("name", ["", "no such account", "4294967294999", "-1"])
def test_an_account_that_does_not_exist_is_none(name):
    assert user_entry(name) is None
    assert group_entry(name) is None
