import pytest

from meta1g.base.reply import NO_REPLY, Reply
from meta1g.qmgr.outcome import Outcome, outcomes, session_failure
from meta1g.rcb.smtpc_qmgr import DeliveryResult, RcptResult, Retry


def result(**facts) -> DeliveryResult:
    return DeliveryResult(session_id="C1", ta_id="S1", **facts)


def own(**codes: int) -> tuple[RcptResult, ...]:
    """Results of recipients: r1=550 is a reply about the first."""
    return tuple(RcptResult(rcpt_idx=int(name[1:]), reply=Reply(code, "", "own", "mx")) for name, code in codes.items())


@pytest.mark.parametrize("code", [0, 220, 250, 399])
def test_a_session_that_was_fine_has_no_failure(code):
    assert session_failure(result(session=Reply(code))) is None


@pytest.mark.parametrize("code", [421, 554])
def test_a_failed_session_is_an_outcome(code):
    found = session_failure(result(session=Reply(code, "4.4.1", "no", "mx")))
    assert found == Outcome(Reply(code, "4.4.1", "no", "mx"), of_session=True)


TA, SESSION = {"transaction": Reply(550, "", "ta", "mx")}, {"session": Reply(451, "", "session")}


@pytest.mark.parametrize(
    ("facts", "texts"),
    [
        ({}, ["delivery agent reported nothing"] * 3),
        ({"rcpts": own(r1=250)}, ["delivery agent reported nothing", "own", "delivery agent reported nothing"]),
        ({**TA}, ["ta"] * 3),
        ({**SESSION}, ["session"] * 3),
        ({**TA, **SESSION}, ["ta"] * 3),
        ({**SESSION, "rcpts": own(r0=550, r1=450)}, ["own", "own", "session"]),
        ({**TA, "rcpts": own(r0=550)}, ["own", "ta", "ta"]),
        ({"damage": "short", **SESSION, "rcpts": own(r0=550)}, ["own", *["content is damaged: short"] * 2]),
    ],
)
def test_the_finer_fact_counts(facts, texts):
    found = dict(outcomes(result(**facts), range(3)))
    assert [found[idx].reply.text for idx in range(3)] == texts


def test_only_the_failure_of_a_session_lets_another_server_decide_what_the_code_has_decided():
    found = dict(outcomes(result(session=Reply(554, "", "no", "mx"), rcpts=own(r0=550)), range(2)))
    assert [found[idx].of_session for idx in range(2)] == [False, True]


def test_of_how_many_addresses_an_outcome_speaks():
    found = dict(outcomes(result(tried=3, session=Reply(451, "", "no"), rcpts=own(r0=450)), range(2)))
    assert [found[idx].tried for idx in range(2)] == [3, 3]
    assert dict(outcomes(result(tried=2, transaction=Reply(450, "", "no")), range(1)))[0].tried == 2
    assert session_failure(result(tried=0, session=Reply(451))).tried == 1


def test_who_was_not_asked_has_the_next_transaction_at_once_if_somebody_was_asked():
    left = RcptResult(rcpt_idx=1, reply=Reply(452, "4.5.3", "own"), retry=Retry.NEXT_TRANSACTION)
    found = dict(outcomes(result(rcpts=(*own(r0=550), left)), range(2)))
    assert [found[idx].retry for idx in range(2)] == [Retry.BY_CODE, Retry.OTHER_TRANSACTION]
    (only,) = dict(outcomes(result(rcpts=(left,)), [1])).values()
    assert only.retry is Retry.LATER, "else it would go round for ever"


def test_who_said_it_is_kept():
    found = dict(outcomes(result(session=Reply(451, "", "timed out"), rcpts=own(r0=550)), range(2)))
    assert [found[idx].reply.origin for idx in range(2)] == ["mx", ""]


@pytest.mark.parametrize("code", [0, 150, 354, 600, 999])
def test_what_decides_nothing_is_tried_again(code):
    """A recipient is neither taken for delivered nor returned because of a reply that means neither."""
    for found in (outcomes(result(transaction=Reply(code)), (0,)), outcomes(result(rcpts=own(r0=code)), (0,))):
        ((_, outcome),) = found
        assert (outcome.reply.code, outcome.is_temporary) == (451, True)


def test_what_is_said_of_recipients_nobody_asked_for_is_ignored():
    assert [idx for idx, _ in outcomes(result(transaction=Reply(250), rcpts=own(r9=550)), (0,))] == [0]


@pytest.mark.parametrize(
    ("said", "delivered", "expected"),
    [
        (Retry.BY_CODE, True, (Retry.BY_CODE, False)),
        (Retry.LATER, True, (Retry.LATER, True)),
        (Retry.OTHER_TRANSACTION, True, (Retry.OTHER_TRANSACTION, True)),
        (Retry.OTHER_TRANSACTION, False, (Retry.LATER, True)),
        (77, True, (Retry.LATER, True)),
    ],
)
def test_another_transaction_follows_at_once_only_if_this_one_has_served_somebody(said, delivered, expected):
    limited = RcptResult(rcpt_idx=0, reply=Reply(552, "5.5.3", "too many", "mx"), retry=said)
    found = dict(outcomes(result(rcpts=(limited, *own(r1=250 if delivered else 452))), (0, 1)))
    assert (found[0].retry, found[0].is_temporary) == expected
    assert found[0].reply.code == 552


def test_what_has_expired_keeps_the_reply_of_the_last_attempt():
    reply = Reply(451, "4.2.1", "busy", "mx")
    assert Outcome(reply).expired() == Outcome(reply, is_expired=True)
    assert not Outcome(reply).expired().is_temporary


def test_a_limit_of_recipients_that_has_expired_is_permanent():
    assert not Outcome(Reply(552, "5.5.3", "too many"), retry=Retry.LATER).expired().is_temporary


def test_nothing_said_decides_nothing():
    assert not Outcome(NO_REPLY).is_final
