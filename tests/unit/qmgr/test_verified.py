"""How long the result of a probe counts: options positive_expire, positive_refresh, negative_expire, negative_refresh."""

import pytest

from meta1g.base.reply import Reply
from meta1g.qmgr.verified import AGAIN_S, Known, VerifySettings, told, update
from meta1g.rcb.verified import Verified

TIMES = VerifySettings(positive_expire_s=1000, positive_refresh_s=300, negative_expire_s=500, negative_refresh_s=200)
YES = Reply(250, "2.1.5", "ok", "mx[192.0.2.1]")
NO = Reply(550, "5.1.1", "no such user", "mx[192.0.2.1]")
LATER = Reply(450, "4.2.0", "come back", "mx[192.0.2.1]")


def known(reply, at=0.0, tried=None):
    return Known(Verified(address="a", reply=reply, at=at), at if tried is None else tried)


@pytest.mark.parametrize(("reply", "expires_s"), [(YES, 1000), (NO, 500), (LATER, AGAIN_S)])
def test_a_result_counts_until_it_expires(reply, expires_s):
    assert known(reply).counts(expires_s - 1, TIMES)
    assert not known(reply).counts(expires_s, TIMES)


@pytest.mark.parametrize(("reply", "refresh_s"), [(YES, 300), (NO, 200), (LATER, AGAIN_S)])
def test_a_result_is_due_after_its_time_and_not_right_after_a_probe(reply, refresh_s):
    assert not known(reply).is_due(refresh_s - 1, TIMES)
    assert known(reply).is_due(refresh_s, TIMES)
    assert not known(reply, tried=refresh_s - AGAIN_S + 1).is_due(refresh_s, TIMES)


@pytest.mark.parametrize("before", [YES, NO])
def test_a_probe_that_finds_nothing_out_changes_nothing_but_the_time_of_the_next_one(before):
    result = update(known(before), Verified(address="a", reply=LATER, at=300.0), TIMES)
    assert (result.record.reply, result.record.at, result.tried) == (before, 0.0, 300.0)


@pytest.mark.parametrize("before", [None, known(LATER), known(YES, at=-1000.0)])
def test_it_is_all_that_is_known_if_nothing_else_counts(before):
    assert update(before, Verified(address="a", reply=LATER, at=300.0), TIMES).record.reply == LATER


@pytest.mark.parametrize(("before", "after"), [(YES, NO), (NO, YES)])
def test_a_result_replaces_another(before, after):
    assert update(known(before), Verified(address="a", reply=after, at=300.0), TIMES).record.reply == after


@pytest.mark.parametrize(
    ("reply", "code", "ecode", "text"),
    [
        (YES, 250, "2.1.5", "Address is taken by its mail server"),
        (NO, 550, "5.1.1", "Address is refused by its mail server: 550 5.1.1 no such user"),
        (Reply(552, "5.2.2", "full", "mx"), 550, "5.2.2", "Address is refused by its mail server: 552 5.2.2 full"),
        (Reply(550, "", "no", "mx"), 550, "5.1.1", "Address is refused by its mail server: 550 no"),
        (Reply(550, "5.1.2", "no such domain"), 550, "5.1.2", "Address cannot be reached: 550 5.1.2 no such domain"),
        (LATER, 450, "4.1.1", "Address could not be verified; try again later: 450 4.2.0 come back"),
    ],
)
def test_the_client_hears_what_the_server_said_and_not_its_name(reply, code, ecode, text):
    assert told(reply) == Reply(code, ecode, text)
