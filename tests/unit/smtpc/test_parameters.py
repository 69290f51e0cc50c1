from dataclasses import dataclass

import pytest

from meta1g.rcb.common import ServerAddr
from meta1g.rcb.smtpc_qmgr import Deliver, DeliverRcpt
from meta1g.smtp.esmtp import Extensions
from meta1g.smtpc.parameters import NOTHING, fitted, late, mail_command, rcpt_command, refusal, time_left

ALL = Extensions({"SIZE": "", "8BITMIME": "", "SMTPUTF8": "", "DSN": "", "PIPELINING": ""})
NONE = Extensions()


@dataclass(frozen=True)
class Facts:
    """What a test says of a content."""

    seven: bool
    header: bool
    lines: bool

    def is_7bit(self):
        return self.seven

    def has_ascii_header(self):
        return self.header

    def has_lines(self):
        return self.lines


EIGHTBIT = Facts(seven=False, header=True, lines=True)
UTF8_HEADER = Facts(seven=False, header=False, lines=True)
OCTETS = Facts(seven=False, header=True, lines=False)


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
    ("facts", "extensions", "content", "ecode"),
    [
        ({"size_bytes": 101}, Extensions({"SIZE": "100"}), True, "5.3.4"),
        ({"size_bytes": 100}, Extensions({"SIZE": "100"}), True, None),
        ({"size_bytes": 1 << 40}, Extensions({"SIZE": "0"}), True, None),
        ({"size_bytes": 5}, Extensions({"SIZE": "nonsense"}), True, None),
        ({"body": "8BITMIME"}, Extensions({}), EIGHTBIT, "5.6.3"),
        ({"body": "8BITMIME"}, Extensions({}), True, None),
        ({"body": "8BITMIME"}, ALL, EIGHTBIT, None),
        ({"smtputf8": True, "mail": "ä@b"}, Extensions({}), True, "5.6.7"),
        ({"mail": "ä@b"}, Extensions({}), True, "5.6.7"),
        ({"mail": "a@b.ä.example"}, Extensions({}), True, None),
        ({"mail": "a@b.ä.example"}, ALL, True, None),
        ({"mail": "a@☃.example"}, Extensions({}), True, "5.6.7"),
        ({"smtputf8": True}, Extensions({}), True, None),
        ({"smtputf8": True}, Extensions({"8BITMIME": ""}), EIGHTBIT, None),
        ({"smtputf8": True}, Extensions({}), EIGHTBIT, "5.6.3"),
        ({"smtputf8": True}, Extensions({"8BITMIME": ""}), UTF8_HEADER, "5.6.7"),
        ({"smtputf8": True}, ALL, UTF8_HEADER, None),
        ({"body": "BINARYMIME"}, ALL, OCTETS, "5.6.3"),
        ({"body": "BINARYMIME"}, ALL, EIGHTBIT, None),
        ({"body": "BINARYMIME"}, Extensions({}), EIGHTBIT, "5.6.3"),
        ({"body": "BINARYMIME"}, Extensions({"BINARYMIME": ""}), OCTETS, "5.6.3"),
        ({"body": "BINARYMIME"}, Extensions({"BINARYMIME": "", "CHUNKING": ""}), OCTETS, None),
    ],
)
def test_a_delivery_the_server_cannot_take_is_refused_before_mail(facts, extensions, content, ecode):
    content = NOTHING if content is True else content
    outcome = refusal(fitted(job(**facts), extensions, content), extensions, content)
    assert (outcome and outcome.ecode) == ecode


def test_a_domain_goes_in_a_labels_to_a_server_that_has_no_other_and_its_address_stays_what_it_is():
    rcpts = (DeliverRcpt(rcpt_idx=3, rcpt="c@bücher.example"), DeliverRcpt(rcpt_idx=5, rcpt="d@d.example"))
    made = fitted(job(mail="a@faß.example", rcpts=rcpts, smtputf8=True), Extensions({}), NOTHING)
    assert mail_command(made, Extensions({})) == "MAIL FROM:<a@xn--fa-hia.example>"
    assert [(one.rcpt_idx, one.rcpt) for one in made.rcpts] == [(3, "c@xn--bcher-kva.example"), (5, "d@d.example")]
    assert fitted(job(mail="a@faß.example"), ALL, NOTHING).smtputf8


def test_a_binary_message_that_has_lines_goes_as_8bitmime():
    made = fitted(job(body="BINARYMIME"), ALL, EIGHTBIT)
    assert mail_command(made, ALL).endswith("BODY=8BITMIME")
    binary = Extensions({"BINARYMIME": "", "CHUNKING": ""})
    assert mail_command(fitted(job(body="BINARYMIME"), binary, OCTETS), binary).endswith("BODY=BINARYMIME")


BY = Extensions({"DELIVERBY": "60"})


@pytest.mark.parametrize(
    ("mode", "left", "extensions", "da", "ecode"),
    [
        ("R", 100, BY, 0, None),
        ("R", 59, BY, 0, "5.4.7"),
        ("R", 0, BY, 0, "5.4.7"),
        ("R", 100, NONE, 0, "5.3.3"),
        ("R", 100, NONE, 1, None),
        ("RT", 100, NONE, 0, "5.3.3"),
        ("N", 100, NONE, 0, None),
        ("N", -5, BY, 0, None),
        (None, 0, NONE, 0, None),
    ],
)
def test_a_message_that_has_to_come_back_in_time_goes_only_where_that_is_known(mode, left, extensions, da, ecode):
    outcome = late(job(by=1000.0 + left, by_mode=mode, da=da), extensions, 1000.0)
    assert (outcome and outcome.ecode) == ecode


def test_the_time_that_is_left_and_the_priority_go_on():
    server = Extensions({"DELIVERBY": "", "MT-PRIORITY": "MIXER"})
    made = job(by=1000.5, by_mode="NT", priority=-3, size_bytes=0)
    assert mail_command(made, server, time_left(made, 990.0)) == "MAIL FROM:<a@b.example> BY=10;NT MT-PRIORITY=-3"
    assert mail_command(made, server, time_left(made, 2000.0)).endswith("BY=-1000;NT MT-PRIORITY=-3")
    assert mail_command(made, NONE, time_left(made, 990.0)) == "MAIL FROM:<a@b.example>"
