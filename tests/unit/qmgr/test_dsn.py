import email
import email.policy
from email.message import EmailMessage

import pytest

from meta1g.base.reply import NO_REPLY, Reply
from meta1g.conf.load import load_templates
from meta1g.conf.templates import parse
from meta1g.conf.tree import Source
from meta1g.qmgr import dsn
from meta1g.rcb.envelope import DsnRcpt, RcptFlags
from meta1g.rcb.smtpc_qmgr import Deliver
from meta1g.smtp.esmtp import Extensions
from meta1g.smtpc.report import Original, shape
from tests.fakes.envelopes import NOW, rcpt, ta, ta_id
from tests.fakes.qmgr_system import settings

ORIGINAL = b"From: s@from.example\r\nSubject: hi\r\n\r\nHello\r\n"
MX = "mx.to.example[192.0.2.1]"
DAY_S = 86400
REFUSED = Reply(451, "4.4.1", "mx.to.example[192.0.2.1]:25: connecting: Connection refused")


def told(reply: Reply = Reply(550, "5.1.1", "no such user", MX), **facts) -> DsnRcpt:  # noqa: B008
    return DsnRcpt(**{"rcpt": "r@to.example", "reply": reply, "last_try": NOW, **facts})


def report(*failed, flags=RcptFlags.IS_BNC, headers_only=False, options=None, **facts) -> dsn.Report:
    facts = {"mail": "s@from.example", "body": "8BITMIME", **facts}
    to = rcpt(1, 3, rcpt="s@from.example", sender="", flags=flags, failed=failed or (told(),))
    it = settings(dsn_headers_only=headers_only, **(options or {}))
    return dsn.make(ta(1, **facts), to, it, NOW + DAY_S)


def whole(made: dsn.Report, extensions: dict[str, str] | None = None) -> bytes:
    """The report as a server with these extensions gets it."""
    original = Original()
    original.feed(ORIGINAL)
    job = Deliver(
        session_id="C1", new_session=True, keep_open=False, da=0, server=(), da_ta_id="C2", ta_id="S1", cdb_id="S1", mail="",
        size_bytes=0, dsn_head=made.header, dsn_parts=made.parts, dsn_full=made.full, rcpts=(),
    )  # fmt: skip
    shaped = shape(job, original, Extensions(extensions or {}))
    return shaped.head + (ORIGINAL if shaped.full else b"") + shaped.tail


def parsed(made: dsn.Report) -> EmailMessage:
    it = email.message_from_bytes(whole(made), policy=email.policy.SMTP)
    assert not it.defects
    return it


def groups(made: dsn.Report) -> list[dict[str, str]]:
    """The groups of fields of the status, unfolded."""
    return [dict(part.items()) for part in parsed(made).get_payload()[1].get_payload()]


def text(made: dsn.Report) -> str:
    return made.parts[0].data.decode("utf-8", "surrogateescape").replace("\r\n", "\n")


def test_a_report_is_a_multipart_report_of_three_parts():
    it = parsed(report())
    assert (it.get_content_type(), it.get_param("report-type")) == ("multipart/report", "delivery-status")
    assert [part.get_content_type() for part in it.get_payload()] == ["text/plain", "message/delivery-status", "message/rfc822"]


def test_the_header_of_a_report():
    it = parsed(report())
    assert (it["To"], it["Subject"], it["Auto-Submitted"], it["MIME-Version"]) == (
        "s@from.example", "Undelivered mail returned to sender", "auto-replied", "1.0",
    )  # fmt: skip
    assert it["From"] == "Mail Delivery System <MAILER-DAEMON@mx.example>"
    assert it["Message-ID"].startswith(f"<{ta_id(1)}.")
    assert it["Date"].datetime.timestamp() == NOW + DAY_S


def test_the_status_of_a_recipient():
    message, recipient = groups(report(told(orcpt="rfc822;o+2Br@to.example"), envid="id+2B1"))
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


# -- what a server said, and only that

EXPIRED = {"expired": True}


@pytest.mark.parametrize(
    ("reply", "facts", "status", "diagnostic", "mta"),
    [
        (Reply(550, "", "No such user", MX), {}, "5.0.0", "550 No such user", "mx.to.example"),
        (Reply(550, "5.7.1", ("Spam", "go away"), MX), {}, "5.7.1", "550 5.7.1 Spam go away", "mx.to.example"),
        (Reply(554, "", "", MX), {}, "5.0.0", "554", "mx.to.example"),
        (Reply(550, "5.1.1", "x", "[192.0.2.1]"), {}, "5.1.1", "550 5.1.1 x", "[192.0.2.1]"),
        (Reply(550, "5.1.1", "x", "mx.to.example"), {}, "5.1.1", "550 5.1.1 x", "mx.to.example"),
        (Reply(451, "4.7.1", "Greylisted", MX), EXPIRED, "5.4.7", "451 4.7.1 Greylisted", "mx.to.example"),
        (Reply(451, "", "Later", MX), EXPIRED, "5.4.7", "451 Later", "mx.to.example"),
        (REFUSED, EXPIRED, "5.4.7", None, None),
        (
            Reply(552, "5.3.4", "message of 30000 bytes is larger than the 20000 bytes this server takes"),
            {},
            "5.3.4",
            None,
            None,
        ),
        (Reply(554, "", "looped"), {}, "5.0.0", None, None),
        (Reply(554), {}, "5.0.0", None, None),
        (Reply(450, "4.1.1", "odd", MX), {}, "5.0.0", "450 4.1.1 odd", "mx.to.example"),
    ],
)
def test_a_diagnostic_code_is_what_the_server_said_and_our_own_words_are_none(reply, facts, status, diagnostic, mta):
    recipient = groups(report(told(reply, **facts)))[1]
    assert recipient["Status"] == status
    assert recipient.get("Diagnostic-Code") == (diagnostic and f"smtp; {diagnostic}")
    assert recipient.get("Remote-MTA") == (mta and f"dns; {mta}")


def test_a_server_on_a_local_socket_is_named_by_it():
    made = report(told(Reply(550, "5.1.1", "no", "unix:/run/lmtp")))
    assert groups(made)[1]["Remote-MTA"] == "x-unix; unix:/run/lmtp"


def test_what_is_not_known_is_not_said():
    message, recipient = groups(report(told(Reply(554), last_try=0.0)))
    assert "Original-Envelope-Id" not in message
    assert not {"Original-Recipient", "Remote-MTA", "Last-Attempt-Date", "Diagnostic-Code"} & set(recipient)


def test_a_long_reply_is_folded_and_nothing_of_it_is_lost():
    said = " ".join(f"word{number}" for number in range(80))
    made = report(told(Reply(550, "5.7.1", said, MX)))
    lines = made.parts[1].data.split(b"\r\n")
    assert max(map(len, lines)) <= 78
    assert f"Diagnostic-Code: smtp; 550 5.7.1 {said}".encode() in made.parts[1].data.replace(b"\r\n ", b" ")


# -- for people


def test_the_text_tells_a_person_what_a_server_said():
    assert text(report()).endswith(
        "\n<r@to.example>:\n    The server mx.to.example[192.0.2.1] answered:\n        550 5.1.1 no such user\n"
    )
    assert "This is the mail system of mx.example." in text(report())
    assert "could not be delivered" in text(report())


def test_each_line_of_a_reply_is_a_line_of_the_text():
    found = text(report(told(Reply(550, "5.7.1", ("Spam.", "See https://x.example"), MX))))
    assert "        550 5.7.1 Spam.\n        550 5.7.1 See https://x.example\n" in found


def test_what_we_found_out_ourselves_is_not_put_into_the_mouth_of_a_server():
    found = text(report(told(REFUSED, expired=True)))
    assert "answered" not in found
    assert "    The message was in the queue too long.  What happened at the last\n    attempt:\n" in found
    assert "    mx.to.example[192.0.2.1]:25: connecting: Connection refused\n" in found
    assert "451" not in found


def test_the_text_names_the_alias_that_led_to_an_address():
    assert "<r@to.example> (from <list@to.example>):\n" in text(report(told(orig_rcpt="list@to.example")))


def test_each_recipient_has_a_group_of_its_own():
    others = [told(rcpt=f"r{number}@to.example") for number in range(40)]
    made = report(*others)
    assert [one["Final-Recipient"] for one in groups(made)[1:]] == [f"rfc822; {one.rcpt}" for one in others]
    assert all(f"<{one.rcpt}>" in text(made) for one in others)


@pytest.mark.parametrize(
    ("ret", "headers_only", "full"),
    [(None, True, False), (None, False, True), ("HDRS", True, False), ("HDRS", False, False), ("FULL", True, True),
     ("FULL", False, True)],
)  # fmt: skip
def test_ret_decides_how_much_is_returned_and_the_flag_if_there_is_none(ret, headers_only, full):
    made = report(ret=ret, headers_only=headers_only)
    assert made.full is full
    part = parsed(made).get_payload()[2]
    assert part.get_content_type() == ("message/rfc822" if full else "text/rfc822-headers")


def test_a_report_that_was_too_large_with_the_message_returns_the_header_at_most():
    assert report(ret="FULL", flags=RcptFlags.IS_BNC | RcptFlags.SHORT).full is False


def test_the_owner_of_a_list_does_not_get_what_the_sender_of_the_message_asked_for():
    made = report(flags=RcptFlags.IS_BNC | RcptFlags.LIST, ret="FULL", envid="e1", headers_only=True)
    assert made.full is False
    assert "Original-Envelope-Id" not in groups(made)[0]


def test_a_warning_tells_until_when_it_is_tried_and_returns_only_the_header():
    made = report(told(Reply(451, "4.2.1", "busy", MX)), flags=RcptFlags.IS_DLY, ret="FULL")
    recipient = groups(made)[1]
    assert (made.full, recipient["Action"], recipient["Status"]) == (False, "delayed", "4.2.1")
    assert recipient["Diagnostic-Code"] == "smtp; 451 4.2.1 busy"
    assert email.utils.parsedate_to_datetime(recipient["Will-Retry-Until"]).timestamp() == NOW + 5 * DAY_S
    assert "You need not do anything" in text(made)
    assert recipient["Will-Retry-Until"] in text(made)


def test_a_double_bounce_tells_the_postmaster_whom_nobody_reached():
    made = report(told(rcpt="s@from.example"), told(), flags=RcptFlags.IS_DBNC)
    assert parsed(made)["Subject"] == "Undeliverable report"
    assert [one["Action"] for one in groups(made)[1:]] == ["failed", "failed"]


@pytest.mark.parametrize(
    ("flag", "action", "words"),
    [
        (RcptFlags.IS_RELAYED, "relayed", "was taken by a server that sends no reports"),
        (RcptFlags.IS_DELIVERED, "delivered", "was delivered."),
        (RcptFlags.IS_EXPANDED, "expanded", "stands for several addresses"),
    ],
)
def test_success_has_three_kinds(flag, action, words):
    made = report(told(Reply(250, "2.1.5", "kept", MX)), flags=flag, ret="FULL")
    recipient = groups(made)[1]
    assert (made.full, recipient["Action"], recipient["Status"]) == (False, action, "2.1.5")
    assert f"<r@to.example> {words}" in text(made)
    assert parsed(made)["Subject"] == "Successful mail delivery report"


def test_a_success_that_no_server_spoke_of_has_no_diagnostic_code():
    recipient = groups(report(told(NO_REPLY), flags=RcptFlags.IS_EXPANDED))[1]
    assert recipient["Status"] == "2.0.0"
    assert not {"Diagnostic-Code", "Remote-MTA"} & set(recipient)


# -- other characters than ASCII


def test_a_report_about_internationalized_mail():
    made = report(told(rcpt="ü@to.example", orcpt="utf-8;\\x{E4}@to.example"), smtputf8=True)
    assert [part.mime_type for part in made.parts] == ["text/plain", "message/global-delivery-status"]
    status = made.parts[1].data.decode()
    assert "Final-Recipient: utf-8; ü@to.example\r\n" in status
    assert "Original-Recipient: utf-8; ä@to.example\r\n" in status


def test_an_internationalized_message_with_plain_addresses_gets_a_plain_report():
    assert report(smtputf8=True).parts[1].mime_type == "message/delivery-status"


def test_who_does_not_speak_smtputf8_gets_addresses_in_ascii():
    made = report(told(rcpt="ü@to.example", orcpt="utf-8;\\x{E4}@to.example"))
    recipient = groups(made)[1]
    assert recipient["Final-Recipient"] == "utf-8; \\x{FC}@to.example"
    assert recipient["Original-Recipient"] == "utf-8; \\x{E4}@to.example"
    assert "<ü@to.example>" in text(made)


def test_an_operator_chooses_the_language():
    german = (
        "failure_template = <<EOF\nSubject: Zurück\nFrom: Zusteller für $hostname <d>\nAnswered: $host sagt:\n\nHallo.\nEOF\n"
    )
    made = report(options={"templates": parse(Source("texts", german), load_templates())})
    it = parsed(made)
    assert (it["Subject"], it["From"]) == ("Zurück", '"Zusteller für mx.example" <d@mx.example>')
    assert text(made).startswith("Hallo.\n\n<r@to.example>:\n    mx.to.example[192.0.2.1] sagt:\n")
    assert made.header.isascii()


# -- what a stranger cannot do


@pytest.mark.parametrize("evil", ["no\r\nBcc: x@y.example", "no\n\n--=", "\x00\x1b[2J", "\udcff\udc80", "\u2028x\x85"])
def test_no_reply_breaks_out_of_its_line(evil):
    made = report(told(Reply(550, "5.1.1", evil, f"{evil}[192.0.2.1]"), orcpt=f"rfc822;{evil}"))
    data = whole(made)
    assert not [line for line in data.split(b"\r\n") if line.startswith((b"Bcc:", b"--=\r", b"--= "))]
    assert all(32 <= byte < 127 or byte in b"\r\n" for byte in data)


def test_an_address_that_is_no_utf8_does_not_stop_the_report():
    assert b"utf-8; r\\x{FFFD}@to.example" in report(told(rcpt="r\udcff@to.example")).parts[1].data


def test_an_envelope_id_in_xtext_cannot_add_a_line():
    assert b"Original-Envelope-Id: a\\x0D\\x0AX-Evil: b\r\n" in report(envid="a+0D+0AX-Evil:+20b").parts[1].data
