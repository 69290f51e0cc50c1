from meta1g.base.reply import Reply
from meta1g.smtpc.limits import REPLY_TEXT_MAX_CHARS
from meta1g.smtpc.status import DeliveryStatus
from tests.unit.smtpc.test_parameters import job


def test_the_rest_keeps_outcomes_of_their_own():
    status = DeliveryStatus()
    two = job(rcpts=tuple(type(job().rcpts[0])(rcpt_idx=i, rcpt=f"r{i}@x") for i in (0, 7)))
    status.rcpts[7] = Reply(550, "5.1.1", "no")
    status.rest(two, Reply(451, "4.4.2", "gone"))
    result = status.result(two, session_open=False)
    assert {r.rcpt_idx: r.reply.code for r in result.rcpts} == {0: 451, 7: 550}


def test_a_result_names_session_and_delivery():
    result = DeliveryStatus(session=Reply(451, "4.4.1", "x" * 5000)).result(job(), session_open=True)
    assert (result.session_id, result.ta_id, result.session.code, result.session_open) == ("C1", "C2", 451, True)
    assert len(result.session.text) == REPLY_TEXT_MAX_CHARS
    assert (result.transaction.code, result.rcpts) == (0, ())
