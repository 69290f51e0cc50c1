import os

import pytest

from meta1g.base import asaccount
from meta1g.base.accounts import user_entry


def test_the_answer_of_the_child_is_given_line_by_line():
    assert asaccount.ask(lambda: None, lambda: ["one", "", "two \u00e9"]) == ["one", "", "two \u00e9"]
    assert asaccount.ask(lambda: None, list) == []


def test_a_child_that_fails_has_no_answer():
    assert asaccount.ask(lambda: os._exit(1), lambda: ["never"]) is None
    assert asaccount.ask(lambda: None, lambda: os._exit(0) or []) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_child_is_the_account_and_nothing_else():
    entry = user_entry("nobody")
    facts = asaccount.ask(
        lambda: asaccount.become_user(entry, entry.pw_gid),
        lambda: [str(one) for one in (os.getresuid(), os.getresgid(), sorted(os.getgroups()))],
    )
    ids, groups = (entry.pw_uid,) * 3, (entry.pw_gid,) * 3
    assert facts == [str(ids), str(groups), str(sorted(set(os.getgrouplist("nobody", entry.pw_gid))))]
    assert os.geteuid() == 0
