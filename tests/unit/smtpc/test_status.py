from meta1g.base.reply import NO_REPLY, Reply
from meta1g.rcb.smtpc_qmgr import Retry
from meta1g.smtpc.limits import REPLY_TEXT_MAX_CHARS
from meta1g.smtpc.status import DeliveryStatus
from tests.unit.smtpc.test_parameters import job


def test_the_rest_keeps_outcomes_of_their_own():
    status = DeliveryStatus()
    two = job(rcpts=tuple(type(job().rcpts[0])(rcpt_idx=i, rcpt=f"r{i}@x") for i in (0, 7)))
    status.rcpts[7] = Reply(550, "5.1.1", "no", "mx")
    status.retry[7] = Retry.LATER
    status.rest(two, Reply(451, "4.4.2", "gone"))
    result = status.result(two, session_open=False)
    assert {one.rcpt_idx: (one.reply.code, one.reply.origin, one.retry) for one in result.rcpts} == {
        0: (451, "", Retry.BY_CODE),
        7: (550, "mx", Retry.LATER),
    }


def test_a_result_names_session_and_delivery():
    result = DeliveryStatus(session=Reply(451, "4.4.1", "x" * 5000)).result(job(), session_open=True)
    assert (result.session_id, result.ta_id, result.session.code, result.session_open) == ("C1", "C2", 451, True)
    assert len(result.session.one_line) == REPLY_TEXT_MAX_CHARS
    assert (result.transaction, result.rcpts) == (NO_REPLY, ())


def test_the_lines_of_a_reply_become_one():
    said = Reply(550, "5.7.1", ("no", "see us"), "mx")
    result = DeliveryStatus(transaction=said).result(job(), session_open=True)
    assert result.transaction == Reply(550, "5.7.1", "no see us", "mx")
