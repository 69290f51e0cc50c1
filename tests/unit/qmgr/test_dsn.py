import email
import email.policy
from email.message import EmailMessage

import pytest

from meta1g.base.reply import Reply
from meta1g.qmgr import dsn
from meta1g.rcb.envelope import DsnRcpt, RcptFlags
from tests.fakes.envelopes import NOW, rcpt, ta, ta_id

ORIGINAL = b"From: s@from.example\r\nSubject: caf\xc3\xa9\r\n\r\nHello \xe9\r\n"
FAILED = DsnRcpt(
    rcpt="r@to.example", orcpt="rfc822;o+2Br@to.example", last_try=NOW,
    reply=Reply(550, "5.1.1", "no such user", "mx.to.example[192.0.2.1]"),
)  # fmt: skip
DAY_S = 86400


def report(*failed, flags=RcptFlags.IS_BNC, headers_only=False, **facts):
    facts = {"mail": "s@from.example", "body": "8BITMIME", **facts}
    to = rcpt(1, 3, rcpt="s@from.example", sender="", flags=flags, failed=failed or (FAILED,))
    return dsn.make(ta(1, **facts), to, "mx.example", NOW + DAY_S, 5 * DAY_S, headers_only=headers_only)


def whole(made: dsn.Report) -> bytes:
    original = ORIGINAL if made.full else ORIGINAL[: ORIGINAL.index(b"\r\n\r\n") + 2]
    return made.head + original + made.tail


def parse(made: dsn.Report) -> EmailMessage:
    it = email.message_from_bytes(whole(made), policy=email.policy.SMTP)
    assert not it.defects
    return it


def groups(it) -> list[dict[str, str]]:
    return [dict(part.items()) for part in it.get_payload()[1].get_payload()]


def test_a_report_is_a_multipart_report_of_three_parts():
    it = parse(report())
    assert it.get_content_type() == "multipart/report"
    assert it.get_param("report-type") == "delivery-status"
    assert [part.get_content_type() for part in it.get_payload()] == ["text/plain", "message/delivery-status", "message/rfc822"]


def test_the_header_of_a_report():
    it = parse(report())
    assert (it["To"], it["Subject"], it["Auto-Submitted"], it["MIME-Version"]) == (
        "s@from.example", "Undelivered mail returned to sender", "auto-replied", "1.0",
    )  # fmt: skip
    assert it["From"] == "Mail Delivery System <MAILER-DAEMON@mx.example>"
    assert it["Message-ID"].startswith(f"<{ta_id(1)}.")
    assert it["Date"].datetime.timestamp() == NOW + DAY_S


def test_the_status_of_a_recipient():
    it = parse(report(envid="id+2B1"))
    message, recipient = groups(it)
    assert message["Original-Envelope-Id"] == "id+1"
    assert message["Reporting-MTA"] == "dns; mx.example"
    assert email.utils.parsedate_to_datetime(message["Arrival-Date"]).timestamp() == NOW
    assert recipient["Original-Recipient"] == "rfc822; o+r@to.example"
    assert recipient["Final-Recipient"] == "rfc822; r@to.example"
    assert (recipient["Action"], recipient["Status"]) == ("failed", "5.1.1")
    assert recipient["Remote-MTA"] == "dns; mx.to.example"
    assert recipient["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user"
    assert email.utils.parsedate_to_datetime(recipient["Last-Attempt-Date"]).timestamp() == NOW
    assert "Will-Retry-Until" not in recipient


def test_what_is_not_known_is_not_said():
    message, recipient = groups(parse(report(DsnRcpt(rcpt="r@to.example", reply=Reply(554)))))
    assert "Original-Envelope-Id" not in message
    assert not {"Original-Recipient", "Remote-MTA", "Last-Attempt-Date"} & set(recipient)
    assert (recipient["Status"], recipient["Diagnostic-Code"]) == ("5.0.0", "smtp; 554")


def test_each_recipient_has_a_group_of_its_own():
    others = [DsnRcpt(rcpt=f"r{number}@to.example", reply=Reply(550, "5.7.1", "no")) for number in range(40)]
    it = parse(report(*others))
    assert [one["Final-Recipient"] for one in groups(it)[1:]] == [f"rfc822; {one.rcpt}" for one in others]
    text = it.get_payload()[0].get_content()
    assert all(f"<{one.rcpt}>" in text for one in others)


def test_the_text_tells_a_person_what_happened():
    text = parse(report()).get_payload()[0].get_content()
    assert "This is the mail system of mx.example." in text
    assert "could not be delivered" in text
    assert "<r@to.example>" in text
    assert "550 5.1.1 no such user" in text
    assert "(said by mx.to.example[192.0.2.1])" in text


@pytest.mark.parametrize(
    ("ret", "headers_only", "full"),
    [(None, True, False), (None, False, True), ("HDRS", True, False), ("HDRS", False, False), ("FULL", True, True),
     ("FULL", False, True)],
)  # fmt: skip
def test_ret_decides_how_much_is_returned_and_the_flag_if_there_is_none(ret, headers_only, full):
    made = report(ret=ret, headers_only=headers_only)
    assert made.full is full
    part = parse(made).get_payload()[2]
    assert part.get_content_type() == ("message/rfc822" if full else "text/rfc822-headers")


def test_the_whole_message_is_returned_byte_by_byte():
    it = report(ret="FULL")
    assert it.head.endswith(b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
    (inner,) = parse(it).get_payload()[2].get_payload()
    assert inner["From"] == "s@from.example"
    assert ORIGINAL in whole(it)


def test_only_the_header_is_returned():
    it = report(ret="HDRS")
    assert b"Hello" not in whole(it)
    assert b"Subject: caf" in whole(it)


@pytest.mark.parametrize(("body", "encoding"), [(None, "7bit"), ("7BIT", "7bit"), ("8BITMIME", "8bit")])
def test_the_encoding_is_that_of_the_original(body, encoding):
    assert parse(report(body=body)).get_payload()[2]["Content-Transfer-Encoding"] == encoding


def test_a_warning_tells_until_when_it_is_tried_and_returns_only_the_header():
    made = report(DsnRcpt(rcpt="r@to.example", reply=Reply(451, "4.2.1", "busy")), flags=RcptFlags.IS_DLY, ret="FULL")
    it = parse(made)
    recipient = groups(it)[1]
    assert (made.full, recipient["Action"], recipient["Status"]) == (False, "delayed", "4.2.1")
    assert email.utils.parsedate_to_datetime(recipient["Will-Retry-Until"]).timestamp() == NOW + 5 * DAY_S
    assert "You need not do anything" in it.get_payload()[0].get_content()


def test_a_double_bounce_tells_the_postmaster():
    it = parse(report(flags=RcptFlags.IS_DBNC))
    assert it["Subject"] == "Undeliverable bounce"
    assert groups(it)[1]["Action"] == "failed"


def test_a_report_about_internationalized_mail():
    made = report(DsnRcpt(rcpt="ü@to.example", reply=Reply(550, "5.1.1", "no")), smtputf8=True)
    it = parse(made)
    assert it.get_param("report-type") == "global-delivery-status"
    assert [part.get_content_type() for part in it.get_payload()] == [
        "text/plain", "message/global-delivery-status", "message/global",
    ]  # fmt: skip
    assert "Final-Recipient: utf-8; ü@to.example\r\n".encode() in made.head
    assert b"Content-Type: message/global-headers" in report(ret="HDRS", smtputf8=True).head


@pytest.mark.parametrize("evil", ["no\r\nBcc: x@y.example", "no\n\n--=", "\x00\x1b[2J", "\udcff\udc80"])
def test_no_reply_breaks_out_of_its_line(evil):
    made = report(DsnRcpt(rcpt="r@to.example", orcpt=f"rfc822;{evil}", reply=Reply(550, "5.1.1", evil, evil)))
    parse(made)
    assert b"Bcc:" not in [line[:4] for line in made.head.split(b"\r\n")]
    assert all(32 <= byte < 127 or byte in b"\r\n" for byte in made.head)


def test_an_address_that_is_no_utf8_does_not_stop_the_report():
    assert b"r\xff@to.example" in report(DsnRcpt(rcpt="r\udcff@to.example", reply=Reply(550))).head


def test_an_envelope_id_in_xtext_cannot_add_a_line():
    made = report(envid="a+0D+0AX-Evil:+20b")
    assert b"Original-Envelope-Id: a\\x0D\\x0AX-Evil: b\r\n" in made.head


def test_two_reports_have_different_boundaries():
    assert parse(report()).get_boundary() != parse(report()).get_boundary()
