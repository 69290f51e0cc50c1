import pytest

from meta1g.rcb.common import ServerAddr
from meta1g.rcb.smtpc_qmgr import Deliver, DeliverRcpt
from meta1g.smtp.esmtp import Extensions
from meta1g.smtpc.parameters import mail_command, rcpt_command, refusal

ALL = Extensions({"SIZE": "", "8BITMIME": "", "SMTPUTF8": "", "DSN": "", "PIPELINING": ""})
NONE = Extensions()


def job(**facts):
    base = {
        "session_id": "C1", "new_session": True, "keep_open": False, "da": 0,
        "server": (ServerAddr(addr="127.0.0.1", port=25),),
        "da_ta_id": "C2", "ta_id": "S1", "cdb_id": "S1", "mail": "a@b.example", "size_bytes": 100,
        "rcpts": (DeliverRcpt(rcpt_idx=0, rcpt="c@d.example"),),
    }  # fmt: skip
    return Deliver(**{**base, **facts})


def test_parameters_go_only_to_servers_that_know_them():
    full = job(body="8BITMIME", smtputf8=True, ret="HDRS", envid="x+2By")
    assert mail_command(full, ALL) == "MAIL FROM:<a@b.example> SIZE=100 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x+2By"
    assert mail_command(full, NONE) == "MAIL FROM:<a@b.example>"


def test_dsn_parameters_of_a_recipient_go_only_to_servers_that_know_them():
    rcpt = DeliverRcpt(rcpt_idx=3, rcpt="c@d", notify="NEVER", orcpt="rfc822;c@d")
    assert rcpt_command(rcpt, ALL) == "RCPT TO:<c@d> NOTIFY=NEVER ORCPT=rfc822;c@d"
    assert rcpt_command(rcpt, Extensions({"SIZE": ""})) == "RCPT TO:<c@d>"


@pytest.mark.parametrize(
    ("facts", "extensions", "is_7bit", "ecode"),
    [
        ({"size_bytes": 101}, Extensions({"SIZE": "100"}), True, "5.3.4"),
        ({"size_bytes": 100}, Extensions({"SIZE": "100"}), True, None),
        ({"size_bytes": 1 << 40}, Extensions({"SIZE": "0"}), True, None),
        ({"size_bytes": 5}, Extensions({"SIZE": "nonsense"}), True, None),
        ({"body": "8BITMIME"}, Extensions({}), False, "5.6.3"),
        ({"body": "8BITMIME"}, Extensions({}), True, None),
        ({"body": "8BITMIME"}, ALL, False, None),
        ({"smtputf8": True, "mail": "ä@b"}, Extensions({}), True, "5.6.7"),
        ({"smtputf8": True}, Extensions({}), True, None),
    ],
)
def test_a_delivery_the_server_cannot_take_is_refused_before_mail(facts, extensions, is_7bit, ecode):
    outcome = refusal(job(**facts), extensions, lambda: is_7bit)
    assert (outcome and outcome.ecode) == ecode
