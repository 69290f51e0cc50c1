"""What may be said at which stage, what can be changed, and how replies and places are written."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.cli import CliError
from meta1g.base.reply import Reply
from meta1g.pmilter import Function, HeaderChange, ModificationError, Pmilter, Pmm, PmServer, PmSession, Stage, Status
from meta1g.pmilter.modify import FIELD_MAX_BYTES, Modifications
from meta1g.pmilter.place import parse_place
from meta1g.pmilter.session import reply_of
from meta1g.pmilter.stages import STAGES, code_of, is_allowed
from meta1g.rcb.smtps_pmilter import MODIFICATIONS_MAX, Capability, Code

ALL = ~Function(0)


@pytest.mark.parametrize("stage", Stage)
def test_each_stage_takes_refusals_and_its_codes_only(stage):
    assert is_allowed(stage, 421)
    assert is_allowed(stage, 554, Reply(554, "5.7.1", "no"))
    assert not is_allowed(stage, 554, Reply(451, "4.7.1", "later"))
    assert not is_allowed(stage, 250)
    assert not is_allowed(stage, 600)
    assert not is_allowed(stage, Code.CONT, Reply(250, "", "ok"))
    assert {code for code in Code if is_allowed(stage, code)} == STAGES[stage].codes


def test_ok_means_to_go_on():
    assert [code_of(one) for one in (Status.OK, Status.CONT, Status.PERM, 452)] == [Code.CONT, Code.CONT, 550, 452]


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("450 4.3.2 later", Reply(450, "4.3.2", "later")),
        ("550 no\r\n", Reply(550, "", "no")),
        ("554", Reply(554, "", "")),
        ("550-5.7.1 a\r\n550 5.7.1 b\r\n", Reply(550, "5.7.1", ("a", "b"))),
        ("550-5.7.1 a\n550-5.7.1\n550 5.7.1 b", Reply(550, "5.7.1", ("a", "", "b"))),
    ],
)
def test_a_reply_is_read(text, reply):
    assert reply_of(text) == reply


@pytest.mark.parametrize(
    "text",
    [
        "",
        "250 ok",
        "5500 x",
        "550 a\r\n451 b",
        "550-a",
        "550 a\r\n550 b",
        "550-a\r\n550-b",
        "550 4.7.1 x",
        "550 \x07",
        "550 é",
        "x",
    ],
)
def test_what_is_no_reply_is_refused(text):
    with pytest.raises(ValueError, match=r"reply|code"):
        reply_of(text)


@given(st.text(max_size=60))
def test_any_text_is_a_reply_or_refused(text):
    try:
        reply = reply_of(text)
    except ValueError:
        return
    assert 400 <= reply.code < 600
    assert all(line.isascii() and line.isprintable() for line in reply.lines)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (HeaderChange.PREPEND, b"no field"),
        (HeaderChange.INSERT, b"X: a\r\nb"),
        (HeaderChange.APPEND, b"X: a\rb"),
        (HeaderChange.REPLACE, b"X: \0"),
        (HeaderChange.PREPEND, b"X: a\r\n\r\nbody"),
        (HeaderChange.APPEND, b"X: " + b"a" * FIELD_MAX_BYTES),
        (HeaderChange.REMOVE, b"X y"),
        (HeaderChange.INSERT, b"X"),
    ],
)
def test_a_field_that_could_end_the_header_is_refused(change, field):
    changes = Modifications(ALL)
    with pytest.raises(ModificationError):
        changes.change_header(change, 0, field)
    assert not changes


@pytest.mark.parametrize("path", ["<a@b", "a>b", "<a\r\nb>", "a" * 1001, "<a><b>"])
def test_what_is_no_address_is_refused(path):
    changes = Modifications(ALL)
    for change in (changes.add_rcpt, changes.remove_rcpt, changes.set_mail):
        with pytest.raises(ModificationError, match="not an address"):
            change(path)
    assert not changes


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.change_header(HeaderChange.APPEND, 0, b"X: y"),
        lambda one: one.add_rcpt("a@b"),
        lambda one: one.remove_rcpt("a@b"),
        lambda one: one.set_mail("a@b"),
        lambda one: one.replace(),
        lambda one: one.hold("looks odd"),
    ],
)
def test_a_change_that_was_not_agreed_on_is_refused(change):
    with pytest.raises(ModificationError, match="not agreed on"):
        change(Modifications(Function(0)))
    made = Modifications(ALL)
    change(made)
    assert made


def test_changes_are_bounded_and_positions_are_not_negative():
    changes = Modifications(ALL)
    with pytest.raises(ModificationError, match="less than 0"):
        changes.change_header(HeaderChange.REMOVE, -1, b"X")
    for _ in range(MODIFICATIONS_MAX):
        changes.add_rcpt("a@b")
    with pytest.raises(ModificationError, match="more than"):
        changes.add_rcpt("a@b")


@pytest.mark.parametrize("reason", ["", "x" * 201, "two\nlines", "\x1b[0m"])
def test_what_is_no_reason_of_a_quarantine_is_refused(reason):
    changes = Modifications(ALL)
    with pytest.raises(ModificationError, match="1 to 200 printable characters"):
        changes.hold(reason)
    assert not changes


def test_a_message_can_be_changed_at_its_end_only():
    session = PmSession(server(), "s1")
    with pytest.raises(ModificationError, match="eom"):
        session.rcpt_add("a@b")


def server():
    return PmServer("mx", ~Capability(0), ALL, Pmilter().wants(), Function(0))


def test_macros_are_asked_for_where_they_have_a_value():
    one = server()
    with pytest.raises(ValueError, match="TLS_VERSION is known at HELO"):
        one.setmaclist(Stage.CONNECT, Pmm.TLS_VERSION)
    with pytest.raises(ValueError, match="at most"):
        one.setmaclist(Stage.MAIL, *[Pmm.MAIL_TAID] * 33)
    one.setmaclist(Stage.DOT, Pmm.DOT_MSGID)
    assert one.capabilities == Capability.CNNCT | Capability.DOT
    assert not one.lacks()
    one.functions = Function.MSG_RPLC
    one.offered, one.offered_functions = Capability.CNNCT, Function(0)
    assert one.lacks() == "DOT MSG_RPLC"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("unix:/run/x", Path("/run/x")),
        ("local:x", Path("x")),
        ("inet:25@127.0.0.1", ("127.0.0.1", 25)),
        ("inet6:25@::1", ("::1", 25)),
        ("inet6:25@[::1]", ("::1", 25)),
    ],
)
def test_a_place_is_read(text, place):
    assert parse_place(text) == place


@pytest.mark.parametrize(
    "text", ["", "unix:", "inet:25", "inet:0@x", "inet:65536@x", "inet:a@x", "inet:²@x", "/run/x", "tcp:1@x"]
)
def test_what_is_no_place_is_refused(text):
    with pytest.raises(CliError, match="unix:PATH"):
        parse_place(text)
