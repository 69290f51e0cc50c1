import email
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.tlsfacts import TlsInfo
from meta1g.smtp.address import ehlo_text
from meta1g.smtp.command import Command, parse_command
from meta1g.smtps.received import DateCache, ReceivedFrom, client_text, received
from tests.manual.blocks import shown

DATE = "Tue, 24 Nov 2026 14:00:00 +0000"


def field(origin, rcpt=""):
    return received(origin, "mx.example", "S000000000000000000", rcpt, DATE)


def test_the_field_tells_who_how_and_when():
    origin = ReceivedFrom("helo.example", "ptr.example", "192.0.2.1", "ESMTP")
    assert field(origin, "r@example.org") == (
        b"Received: from helo.example (ptr.example [192.0.2.1])\r\n"
        b"\tby mx.example (meta1g) with ESMTP id S000000000000000000\r\n"
        b"\tfor <r@example.org>;\r\n"
        b"\tTue, 24 Nov 2026 14:00:00 +0000\r\n"
    )


def test_the_field_of_the_manual_is_what_is_written():
    tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", 256, 256, None)
    origin = ReceivedFrom("client.example", "", "192.0.2.7", "ESMTPS", tls.clause)
    made = received(origin, "mx.example.org", "S000000000000001200", "ada@example.org", "Fri, 27 Nov 2026 10:00:00 +0000")
    assert made.decode().replace("\r\n", "\n") == shown("tls.md", "a part of a message")


def test_without_a_single_recipient_none_is_named():
    assert b"for <" not in field(ReceivedFrom("h", "", "192.0.2.1", "SMTP"))


@pytest.mark.parametrize("rcpt", ["\u00e9@example.org", "a\r\nX: y@example.org", "x" * 1000])
def test_a_recipient_that_does_not_fit_a_header_is_not_named(rcpt):
    assert b"for <" not in field(ReceivedFrom("h", "", "192.0.2.1", "SMTP"), rcpt)


def test_a_name_cannot_break_the_header():
    made = field(ReceivedFrom("h", "evil\r\nX-Bad: 1", "192.0.2.1", "SMTP"))
    message = email.message_from_bytes(made + b"\r\n")
    assert message.keys() == ["Received"]


def test_every_line_is_short_and_folded():
    lines = field(ReceivedFrom("h" * 255, "n" * 255, "2001:db8::1", "ESMTP"), "r@example.org").split(b"\r\n")
    assert all(len(line) < 998 for line in lines)
    assert all(re.match(rb"\t", line) for line in lines[1:-1])


def test_addresses_are_written_as_literals():
    assert client_text("", "2001:db8::1") == "[IPv6:2001:db8::1]"
    assert client_text("n.example", "192.0.2.1") == "n.example [192.0.2.1]"


def test_the_date_is_made_once_a_second():
    dates = DateCache()
    first = dates.text(1000.1)
    assert dates.text(1000.9) is first
    assert dates.text(1001.0) != first


@given(st.binary(max_size=400) | st.text('[]()<>@,;:\\".%IPv6: x\u00fc', max_size=60).map(str.encode))
def test_whatever_a_client_calls_itself_the_field_is_one_and_tells_only_that(line):
    """RFC 5321 4.4: nothing that a client says begins a comment, ends the name or gives another date."""
    command = parse_command(b"EHLO " + line)
    name = ehlo_text(command.argument, strict=False) if isinstance(command, Command) else None
    if name is None:
        return
    made = field(ReceivedFrom(name, "", "192.0.2.1", "ESMTP"))
    message = email.message_from_bytes(made + b"\r\n")
    assert message.keys() == ["Received"]
    assert re.fullmatch(
        rf"from [^\s()<>@,;\\\"]{{1,255}} \(\[192\.0\.2\.1\]\)\r\n\tby mx\.example[^;]*;\r\n\t{re.escape(DATE)}",
        message["Received"],
    )


def test_a_message_that_asks_for_more_shows_it():
    secure = ReceivedFrom("h", "", "192.0.2.1", "ESMTPS", "(using TLS)").asking(utf8=True, priority=-3)
    made = field(secure, "r@example.org")
    assert b" with UTF8SMTPS id " in made
    assert b"\tfor <r@example.org>\r\n\tPRIORITY -3\r\n\t(using TLS);\r\n" in made
    assert b" with UTF8SMTP id " in field(ReceivedFrom("h", "", "192.0.2.1", "ESMTP").asking(utf8=True, priority=None))
    assert b"PRIORITY" not in field(ReceivedFrom("h", "", "192.0.2.1", "ESMTP"))


@pytest.mark.parametrize(
    ("protocol", "utf8"),
    [("ESMTPSA", "UTF8SMTPSA"), ("ESMTPA", "UTF8SMTPA"), ("LMTP", "UTF8LMTP"), ("LMTPS", "UTF8LMTPS"), ("SMTP", "UTF8SMTP")],
)
def test_each_protocol_has_a_name_with_utf8(protocol, utf8):
    assert ReceivedFrom("h", "", "192.0.2.1", protocol).asking(utf8=True, priority=None).protocol == utf8
