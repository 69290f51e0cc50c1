import os
import pwd

from meta1g.base.accounts import access_for


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
