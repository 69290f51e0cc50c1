"""What decides about recipients, and who said it."""

import pytest

from meta1g.base.reply import Reply
from meta1g.qmgr.outcome import Outcome, outcomes, session_failure
from meta1g.rcb.smtpc_qmgr import DeliveryResult, RcptResult

MX = "mx[192.0.2.1]"


def result(**facts) -> DeliveryResult:
    return DeliveryResult(session_id="C1", ta_id="S1", **facts)


@pytest.mark.parametrize("code", [0, 220, 250, 399])
def test_a_session_that_was_fine_has_no_failure(code):
    assert session_failure(result(session=Reply(code))) is None


@pytest.mark.parametrize("origin", ["", MX])
@pytest.mark.parametrize("code", [421, 554])
def test_a_failed_session_is_an_outcome(code, origin):
    said = Reply(code, "4.4.1", "no", origin)
    assert session_failure(result(session=said)) == Outcome(said)


def test_a_session_with_a_code_that_is_none_failed_for_now_and_nobody_else_said_so():
    found = session_failure(result(session=Reply(999, "9.9.9", "?", MX)))
    assert found == Outcome(Reply(451, "4.3.0", "delivery agent reported 999"))


def test_a_recipient_has_its_own_outcome_before_that_of_the_transaction():
    own, common = Reply(550, "5.1.1", "who", MX), Reply(250, origin=MX)
    found = dict(outcomes(result(transaction=common, rcpts=(RcptResult(rcpt_idx=1, reply=own),)), (0, 1)))
    assert found == {0: Outcome(common), 1: Outcome(own)}


@pytest.mark.parametrize("code", [0, 150, 354, 600])
def test_what_decides_nothing_is_tried_again(code):
    """A recipient is neither taken for delivered nor returned because of a reply that means neither."""
    own = (RcptResult(rcpt_idx=0, reply=Reply(code, origin=MX)),)
    for found in (outcomes(result(transaction=Reply(code)), (0,)), outcomes(result(transaction=Reply(250), rcpts=own), (0,))):
        ((_, outcome),) = found
        assert (outcome.reply.code, outcome.reply.origin) == (451, "")


def test_what_is_said_of_recipients_nobody_asked_for_is_ignored():
    other = (RcptResult(rcpt_idx=9, reply=Reply(550)),)
    assert [idx for idx, _ in outcomes(result(transaction=Reply(250), rcpts=other), (0,))] == [0]


def test_expiry_is_our_word_and_quotes_the_last_reply_with_its_host():
    assert Outcome(Reply(451, "4.2.1", "busy", MX)).expired() == Outcome(
        Reply(554, "5.4.7", f"delivery time expired; last reply of {MX}: busy")
    )
    assert Outcome(Reply(451, "4.4.1", "no route")).expired().reply.text == "delivery time expired; last reply: no route"
