"""What is added to the header of a mail program's message, and when nothing is."""

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.smtp.completion import Missing, completion, has_header

MISSING = Missing("<1@mx.example>", "Fri, 27 Nov 2026 16:00:00 +0000", "user@example.org")
SENDER = Missing(MISSING.message_id, MISSING.date, MISSING.mail, MISSING.mail)
WHOLE = b"Message-ID: <x@y.example>\r\nDate: now\r\nFrom: user@example.org\r\n"
#: Header, what there is, names of the fields that are added.
ROWS = {
    "nothing is there": (b"", MISSING, "Message-ID Date From"),
    "all is there": (WHOLE, MISSING, ""),
    "names in any case, folded": (b"MESSAGE-id:\r\n <x@y>\r\ndate : x\r\nfrom:\r\n\tx@y\r\n", MISSING, ""),
    "one is missing": (WHOLE.replace(b"Date", b"Resent-Date"), MISSING, "Date"),
    "behind what is no header": (b"Subject: x\r\nno field\r\n" + WHOLE, MISSING, "Message-ID Date From"),
    "no sender in the envelope": (b"", Missing("<1@mx.example>", "x", ""), "Message-ID Date"),
    "From is the sender": (WHOLE, SENDER, ""),
    "From is the sender with a name": (WHOLE.replace(b"user@", b'"A, B" <USER@').replace(b"org\r", b"org>\r"), SENDER, ""),
    "From is somebody else": (WHOLE.replace(b"user@", b"boss@"), SENDER, "Sender"),
    "From is two": (WHOLE.replace(b"user@", b"boss@example.org,\r\n user@"), SENDER, "Sender"),
    "From is nobody": (WHOLE.replace(b"user@example.org", b""), SENDER, "Sender"),
    "From is missing": (b"", SENDER, "Message-ID Date From"),
    "From is very long": (WHOLE.replace(b"user@", b"x" * 70000 + b"\r\n user@"), SENDER, "Sender"),
    "there is a Sender": (WHOLE.replace(b"user@", b"boss@") + b"Sender: x@y.example\r\n", SENDER, ""),
    "From is somebody else, and nobody asked": (WHOLE.replace(b"user@", b"boss@"), MISSING, ""),
}


@pytest.mark.parametrize("row", ROWS)
def test_what_is_missing_is_added(row):
    header, missing, names = ROWS[row]
    added = completion(header, missing)
    assert [line.partition(b":")[0].decode() for line in added.splitlines()] == names.split()
    message = email.message_from_bytes(added, policy=email.policy.SMTP)
    assert message.get("From") in (None, "user@example.org")
    assert message.get("Sender") in (None, "user@example.org")


def test_an_address_beyond_ascii_stays_as_it_is():
    missing = Missing("<1@mx.example>", "x", "j\u00f6rg@b\u00fccher.example", "j\u00f6rg@b\u00fccher.example")
    assert "From: <j\u00f6rg@b\u00fccher.example>\r\n".encode() in completion(b"", missing)
    header = WHOLE.replace(b"user@example.org", "J\u00f6rg <j\u00f6rg@b\u00fccher.example>".encode())
    assert completion(header, missing) == b""


@pytest.mark.parametrize(
    ("content", "has"),
    [
        (b"", True),
        (b"\r\nbody\r\n", True),
        (b"Subject: x\r\n", True),
        (b"Subject: x", True),
        (b"Subject: x\r\n\r\nbody\r\n", True),
        (b"body\r\n", False),
        (b"a body with: a colon\r\n\r\n", False),
        (b" folded\r\n", False),
        (b": x\r\n", False),
    ],
)
def test_a_body_without_header_is_told_apart(content, has):
    assert has_header(content) == has


@given(st.binary(max_size=300))
def test_no_header_gets_two_of_a_kind_or_none(header):
    header = header.replace(b"\r\n\r\n", b"\r\n") if has_header(header) else b""
    assert completion(completion(header, SENDER) + header, SENDER) == b""
