import pytest

from meta1g.qmgr.outcome import Outcome, outcomes, session_failure
from meta1g.rcb.smtpc_qmgr import RcptResult, Result


def result(**facts) -> Result:
    return Result(session_id="C1", ta_id="S1", remote_mta="mx", **facts)


@pytest.mark.parametrize("code", [0, 220, 250, 399])
def test_a_session_that_was_fine_has_no_failure(code):
    assert session_failure(result(session_code=code)) is None


@pytest.mark.parametrize("code", [421, 554])
def test_a_failed_session_is_an_outcome(code):
    found = session_failure(result(session_code=code, session_ecode="4.4.1", session_text="no"))
    assert found == Outcome(code, "4.4.1", "no", "mx")


def test_a_recipient_has_its_own_outcome_before_that_of_the_transaction():
    found = dict(outcomes(result(ta_code=250, rcpts=(RcptResult(rcpt_idx=1, code=550, ecode="5.1.1", text="who"),)), (0, 1)))
    assert found == {0: Outcome(250, "", "", "mx"), 1: Outcome(550, "5.1.1", "who", "mx")}


@pytest.mark.parametrize("code", [0, 150, 354])
def test_what_decides_nothing_is_tried_again(code):
    """A recipient is neither taken for delivered nor returned because of a reply that means neither."""
    own = (RcptResult(rcpt_idx=0, code=code),)
    for found in (outcomes(result(ta_code=code), (0,)), outcomes(result(ta_code=250, rcpts=own), (0,))):
        ((_, outcome),) = found
        assert (outcome.code, outcome.is_temporary) == (451, True)


def test_what_is_said_of_recipients_nobody_asked_for_is_ignored():
    assert [idx for idx, _ in outcomes(result(ta_code=250, rcpts=(RcptResult(rcpt_idx=9, code=550),)), (0,))] == [0]


def test_expired_keeps_the_last_reply():
    found = Outcome(451, "4.2.1", "busy", "mx").expired()
    assert (found.code, found.ecode, found.text, found.remote_mta) == (
        554, "5.4.7", "delivery time expired; last reply: busy", "mx",
    )  # fmt: skip
    assert not found.is_temporary
