"""What is said to saslauthd and Dovecot, and what is made of their answers."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as some

from meta1g.sasl import daemons
from meta1g.sasl.daemons import DaemonError


def test_a_question_to_saslauthd_has_the_realm_apart():
    assert daemons.saslauthd_question("joe@example.org", "pw") == b"\0\3joe\0\2pw\0\4smtp\0\x0bexample.org"
    assert daemons.saslauthd_question("joe", "pw") == b"\0\3joe\0\2pw\0\4smtp\0\0"
    with pytest.raises(ValueError, match="too long"):
        daemons.saslauthd_question("joe", "x" * 513)


@pytest.mark.parametrize(
    ("data", "answer"),
    [(b"", None), (b"\0", None), (b"\0\2O", None), (b"\0\2OK", True), (b"\0\x06OK abc", True), (b"\0\2NO", False)],
)
def test_answers_of_saslauthd(data, answer):
    assert daemons.saslauthd_answer(data) is answer


@pytest.mark.parametrize("data", [b"\0\0", b"\0\1x", b"\xff\xff", b"\0\2ok", b"\0\4*OK "])
def test_what_is_no_answer_of_saslauthd(data):
    with pytest.raises(DaemonError):
        daemons.saslauthd_answer(data)


def test_lines_of_dovecot():
    line = daemons.read_line(b"OK\t1\tuser=j\x01toe\tresp=YQ==")
    assert (line.command, line.fields[0], line.values["user"]) == ("OK", "1", "j\toe")
    assert daemons.challenge_of(line) == b"a"
    assert daemons.challenge_of(daemons.read_line(b"CONT\t1\tYg==")) == b"b"
    assert daemons.challenge_of(daemons.read_line(b"CONT\t1\t")) == b""
    assert daemons.challenge_of(daemons.read_line(b"OK\t1\tuser=x")) == b""
    with pytest.raises(DaemonError):
        daemons.challenge_of(daemons.read_line(b"CONT\t1\t!!"))
    with pytest.raises(DaemonError):
        daemons.read_line(b"\xff")


def test_a_greeting_of_dovecot():
    lines = [daemons.read_line(one) for one in (b"VERSION\t1\t2", b"MECH\tPLAIN\tplaintext", b"MECH\tscram-sha-256", b"DONE")]
    assert daemons.mechanisms_in(lines) == {"PLAIN", "SCRAM-SHA-256"}
    with pytest.raises(DaemonError, match="version"):
        daemons.mechanisms_in([daemons.read_line(b"VERSION\t2\t0")])
    with pytest.raises(DaemonError, match="version"):
        daemons.mechanisms_in([])


def test_what_is_said_to_dovecot():
    assert daemons.hello(7) == b"VERSION\t1\t1\nCPID\t7\n"
    line = b"AUTH\t1\tPLAIN\tservice=smtp\tnologin\trip=192.0.2.1\tsecured\tresp=AGEAYg==\n"
    assert daemons.auth_line("PLAIN", b"\0a\0b", "192.0.2.1", tls=True) == line
    assert daemons.auth_line("CRAM-MD5", None, "a\tb", tls=False) == b"AUTH\t1\tCRAM-MD5\tservice=smtp\tnologin\trip=a\x01tb\n"
    assert daemons.cont_line(b"x") == b"CONT\t1\teA==\n"


@given(some.binary(max_size=100))
def test_whatever_daemons_send_is_an_answer_or_an_error(data):
    for read in (daemons.saslauthd_answer, daemons.read_line, lambda data: daemons.challenge_of(daemons.read_line(data))):
        with contextlib.suppress(DaemonError):
            read(data)


@given(some.text(max_size=50))
def test_a_value_of_dovecot_s_comes_back_as_it_was(text):
    (field,) = daemons.read_line(f"X\t{daemons.escaped(text)}".encode()).fields
    assert field == text
