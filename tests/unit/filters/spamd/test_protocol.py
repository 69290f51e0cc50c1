"""The protocol of spamd: what is asked, what a reply means, and that no reply does harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g_filters.spamd.protocol import TESTS_MAX, Method, SpamdError, is_user, parse_reply, request_head
from tests.fakes.spamd import reply

HEADER = b"Subject: x\r\nX-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=7\r\n\ttests=A\r\n\r\n"


def test_a_request_has_its_length_and_perhaps_a_user():
    assert request_head(Method.SYMBOLS, 5120, "ada") == b"SYMBOLS SPAMC/1.5\r\nContent-length: 5120\r\nUser: ada\r\n\r\n"
    assert request_head(Method.CHECK, 0) == b"CHECK SPAMC/1.5\r\nContent-length: 0\r\n\r\n"


@pytest.mark.parametrize("name", ["", "a b", "-x", "a\r\nX: y", "../x", "a" * 256, "\u00e4"])
def test_a_user_cannot_end_a_line(name):
    assert not is_user(name)
    assert is_user("ada+x@example.org")


def test_replies_are_read():
    found = parse_reply(Method.CHECK, b"SPAMD/1.1 0 EX_OK\r\nSpam: True ; 1006.7 / 5.0\r\n\r\n")
    assert (found.is_spam, found.score, found.required, found.tests) == (True, 1006.7, 5.0, ())
    found = parse_reply(Method.SYMBOLS, reply(-2.1, 5.0, b"ALL_TRUSTED,BAYES_00\r\n"))
    assert (found.is_spam, found.score, found.tests) == (False, -2.1, ("ALL_TRUSTED", "BAYES_00"))
    assert parse_reply(Method.SYMBOLS, reply(0, 5)).tests == ()
    found = parse_reply(Method.HEADERS, reply(7, 5, HEADER))
    assert [(one.name, one.value) for one in found.fields][1:] == [
        (b"X-Spam-Flag", b"YES"),
        (b"X-Spam-Status", b"Yes, score=7\ttests=A"),
    ]
    found = parse_reply(Method.PROCESS, reply(7, 5, HEADER.replace(b"\r\n", b"\n") + b"body\n"))
    assert found.message == HEADER + b"body\r\n"
    assert parse_reply(Method.CHECK, b"SPAMD/1.0 0 EX_OK\nspam: Yes; 5/5\n\n").is_spam


@pytest.mark.parametrize(
    ("method", "data", "cause"),
    [
        (Method.CHECK, b"", "no reply of spamd: it is empty"),
        (Method.CHECK, b"HTTP/1.1 400 Bad Request\r\n\r\n", "no reply of spamd: b'HTTP/1.1 400"),
        (Method.CHECK, b"SPAMD/1.0 76 Bad header line: FOO \x1b\r\n", "spamd says 76 Bad header line: FOO ?"),
        (Method.CHECK, b"SPAMD/1.1 0 EX_OK", "no reply of spamd"),
        (Method.CHECK, b"SPAMD/1.1 0 EX_OK\r\n\r\n", "a reply without a score: b''"),
        (Method.CHECK, b"SPAMD/1.1 0 EX_OK\r\nSpam: True ; nan / 5.0\r\n\r\n", "without a score"),
        (Method.CHECK, b"SPAMD/1.1 0 EX_OK\r\nSpam: Maybe ; 1 / 5.0\r\n\r\n", "without a score"),
        (Method.SYMBOLS, reply(1, 5, b"A,B")[:-1], "a reply of 2 bytes that was to have 3"),
        (Method.SYMBOLS, reply(1, 5, b"A,B") + b"C", "a reply of 4 bytes that was to have 3"),
        (Method.SYMBOLS, reply(1, 5, b"<html>"), "no list of tests"),
        (Method.SYMBOLS, reply(1, 5, b",".join([b"A"] * (TESTS_MAX + 1))), "no list of tests"),
        (Method.HEADERS, reply(1, 5, b"no header\r\n"), "a reply without a header"),
        (Method.PROCESS, b"SPAMD/1.1 0 EX_OK\r\n" + b"x: y\r\n" * 10000, "that was to have"),
    ],
)
def test_what_is_no_reply_is_told(method, data, cause):
    with pytest.raises(SpamdError) as raised:
        parse_reply(method, data)
    assert cause in raised.value.cause
    assert raised.value.cause.isprintable()


_PIECES = [
    b"SPAMD/1.1 0 EX_OK",
    b"\r\n",
    b"\n",
    b"Spam: True ; 7 / 5",
    b"Content-length: ",
    b"3",
    b"A,B",
    b"x: y",
    b"\0",
    b"\xff",
]


@given(
    st.sampled_from(Method), st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(_PIECES), max_size=20).map(b"".join))
)
def test_any_bytes_are_a_reply_or_refused(method, data):
    try:
        found = parse_reply(method, data)
    except SpamdError as error:
        cause = error.cause
        assert cause.isprintable()
    else:
        assert all(name.isidentifier() or name[0].isdigit() for name in found.tests)
