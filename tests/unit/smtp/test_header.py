import pytest
from hypothesis import given
from hypothesis import strategies as some

from meta1g.smtp.header import (
    Field,
    HeaderMeter,
    count_received,
    fields,
    header_end,
    is_automatic,
    makes_tls_optional,
    message_id,
    split_header,
    unfold,
)


def test_header_and_body_are_parted_at_the_empty_line():
    assert split_header(b"A: b\r\n c\r\nD: e\r\n\r\nbody\r\n\r\nx") == (b"A: b\r\n c\r\nD: e\r\n", b"body\r\n\r\nx")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", (b"", b"")),
        (b"A: b\r\n", (b"A: b\r\n", b"")),
        (b"\r\nbody", (b"", b"body")),
        (b"no header here\r\n", (b"", b"no header here\r\n")),
        (b"A: b\r\nplain\r\n\r\nx", (b"A: b\r\n", b"plain\r\n\r\nx")),
        (b"A: b\nC: d\r\n\r\nx", (b"A: b\nC: d\r\n", b"x")),
    ],
)
def test_odd_messages_are_parted_too(content, parts):
    assert split_header(content) == parts


def test_fields_keep_their_bytes_and_unfold_their_value():
    header = b"Subject: a\r\n\tb\r\nX-Y : z\r\n"
    assert list(fields(header)) == [Field(b"Subject", b"Subject: a\r\n\tb\r\n"), Field(b"X-Y", b"X-Y : z\r\n")]
    assert next(fields(header)).value == b"a\tb"
    assert unfold(b"a\r\n b") == b"a b"


def test_the_end_of_the_header_is_before_the_empty_line():
    assert header_end(b"A: b\r\n\r\n") == 6
    assert header_end(b"\r\nx") == 0
    assert header_end(b"A: b\r\n") == -1


def test_received_fields_are_counted_in_any_case_but_not_in_values():
    assert count_received(b"Received: a\r\nX: Received: no\r\nRECEIVED: b\r\n received: c\r\n") == 2


@pytest.mark.parametrize(
    ("field", "automatic"),
    [
        (b"Auto-Submitted: auto-replied", True),
        (b"auto-submitted:AUTO-REPLIED (vacation)", True),
        (b"Auto-Submitted: (a robot) auto-replied; owner-email=x@y", True),
        (b"Auto-Submitted:\r\n auto-notified", True),
        (b"Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=x", True),
        (b"content-type:\r\n\tMultipart/Report; report-type=disposition-notification", True),
        (b"Auto-Submitted: no", False),
        (b"Auto-Submitted: auto-generated", False),
        (b"Auto-Submitted: auto-repliedx", False),
        (b"Subject: Auto-Submitted: auto-replied", False),
        (b"X-Auto-Submitted: auto-replied", False),
        (b"Content-Type: multipart/reporting", False),
        (b"Content-Type: multipart/mixed; x=multipart/report", False),
    ],
)
def test_replies_of_programs_and_reports_are_known_by_their_header(field, automatic):
    content = b"Received: here\r\n" + field + b"\r\nSubject: x\r\n\r\n"
    assert is_automatic(content) is automatic
    assert is_automatic(content + b"Auto-Submitted: no\r\n") is automatic
    assert not is_automatic(b"Subject: x\r\n\r\n" + field + b"\r\n")


@pytest.mark.parametrize(
    ("header", "optional"),
    [
        (b"TLS-Required: No\r\n", True),
        (b"tls-required:no\r\n", True),
        (b"TLS-Required:\r\n no \r\n", True),
        (b"TLS-Required: Yes\r\n", False),
        (b"TLS-Required: no thanks\r\n", False),
        (b"X-TLS-Required: No\r\n", False),
        (b"Subject: TLS-Required: No\r\n", False),
        (b"TLS-Required: No\r\nTLS-Required: No\r\n", False),
        (b"\r\nTLS-Required: No\r\n", False),
        (b"", False),
    ],
)
def test_a_message_can_ask_to_go_without_tls(header, optional):
    assert makes_tls_optional(b"Received: here\r\n" + header + b"Subject: x\r\n\r\n") is optional


def measured(content, size):
    meter = HeaderMeter()
    for start in range(0, len(content), size):
        meter.feed(content[start : start + size])
    return meter


LINES = some.sampled_from(
    [
        b"A: b",
        b" c",
        b"\td",
        b"",
        b"no header",
        b"X-Long:" + b"y" * 3000,
        b" " + b"z" * 1001,
        b"w" * 1500,
        b"Ab : c",
        b":",
        b"\r",
    ]
)


@given(some.lists(LINES, max_size=9), some.integers(1, 4000))
def test_the_meter_finds_the_header_that_is_parted_however_the_pieces_are_cut(lines, size):
    content = b"".join(line + b"\r\n" for line in lines)
    header, _ = split_header(content)
    meter = measured(content, size)
    assert (meter.size_bytes, meter.lines) == (len(header), header.count(b"\r\n"))
    assert meter.done == (len(header) < len(content))


def test_the_meter_keeps_little_of_a_line_without_end():
    meter = HeaderMeter()
    for _ in range(1000):
        meter.feed(b"X:" + b"y" * 10_000)
    assert len(meter._rest) == 1
    assert meter.size_bytes >= 9_999_000
    assert not meter.done


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"Message-ID: <1@x>\r\n", "<1@x>"),
        (b"From: a\r\nmessage-id:<1@x>\r\nMessage-ID: <2@x>\r\n", "<1@x>"),
        (b"From: a\r\nMessage-Id :\r\n  <long@x>\r\n", "<long@x>"),
        (b"Message-ID: (comment) <1@x>\r\n", None),
        (b"X-Message-ID: <1@x>\r\nReferences: <2@x>\r\n", None),
        (b"Subject: x\r\n Message-ID: <1@x>\r\n", None),
        (b"Message-ID: <1@x\r\n", None),
        (b"Message-ID: <gr\xc3\xbc\xff@x>\r\n", "<gr\u00fc\udcff@x>"),
        (b"", None),
    ],
)
def test_the_message_id_is_found(header, expected):
    assert message_id(header) == expected
