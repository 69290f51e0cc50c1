"""The server's side of one filter in one session: what is sent for each step, and what answers mean."""

import pytest

from meta1g.base.reply import Reply
from meta1g.milter.changes import AddField, AddRcpt, ChangeField, ChangeSender, DeleteRcpt, HoldMail, InsertField
from meta1g.milter.errors import MilterProtocolError
from meta1g.milter.flags import FilterActions
from meta1g.milter.frames import Family, PeerAddress
from meta1g.milter.fsm import State
from meta1g.milter.machine import FilterOutcome
from meta1g.pmilter.machine import NOTHING, Agreement, PolicyMachine, agree
from meta1g.rcb import smtps_pmilter as pm
from meta1g.rcb.smtps_pmilter import Capability, Code, Function, HeaderChange, Pmm, Stage
from meta1g.smtp.header import Field

ALL = Agreement("all", ~Capability(0), ~Function(0), {})
PEER = PeerAddress(Family.INET, 25, b"192.0.2.1")
CONT = pm.PmVerdict(code=Code.CONT)
SUBJECT = Field(b"Subject", b"Subject: x\r\n y\r\n")


def greeted(agreement=ALL):
    machine = PolicyMachine("s1", agreement)
    say(machine, machine.connect(b"client.example", PEER, {}))
    say(machine, machine.helo(b"client.example", {}, ehlo=True))
    return machine


def say(machine, messages, answer=CONT):
    """Lets the filter answer all of it."""
    verdict = None
    for msg in messages:
        verdict = machine.take(msg, answer)
    return verdict


def in_content(agreement=ALL):
    machine = greeted(agreement)
    say(machine, machine.mail((b"<a@example.org>",), {}))
    say(machine, machine.rcpt((b"<b@example.org>",), {}))
    say(machine, machine.data({}))
    return machine


def test_header_and_body_are_one_stream_in_chunks():
    machine = in_content()
    sent = [*machine.header(SUBJECT), *machine.eoh({}), *machine.body(b"a" * pm.PMILTER_CHUNK_SIZE), *machine.body(b"end\r\n")]
    sent += machine.eom({})
    *chunks, dot = sent
    assert [type(one) for one in chunks] == [pm.MessageChunk] * 2
    assert isinstance(dot, pm.PmDot)
    assert len(chunks[0].data) == pm.PMILTER_CHUNK_SIZE
    assert b"".join(one.data for one in chunks) == SUBJECT.raw + b"\r\n" + b"a" * pm.PMILTER_CHUNK_SIZE + b"end\r\n"


def test_after_skip_no_content_comes_but_the_end():
    machine = in_content()
    first = machine.body  # the header is not over: the machine is told in order
    messages = (*machine.header(SUBJECT), *machine.eoh({}), *first(b"a" * pm.PMILTER_CHUNK_SIZE))
    say(machine, messages, pm.PmVerdict(code=Code.SKIP))
    assert machine.body(b"b" * 2 * pm.PMILTER_CHUNK_SIZE) == ()
    assert [type(one) for one in machine.eom({})] == [pm.MessageChunk, pm.PmDot]


def test_a_stage_that_the_filter_did_not_pick_is_not_sent():
    machine = greeted(Agreement("", Capability.CNNCT | Capability.DOT, Function(0), {}))
    assert machine.mail((b"<>",), {}) == machine.rcpt((b"<b>",), {}) == machine.data({}) == ()
    assert machine.header(SUBJECT) == machine.eoh({}) == machine.body(b"x") == ()
    assert [type(one) for one in machine.eom({})] == [pm.PmDot]
    assert not machine.wants_refused_rcpts
    assert machine.unknown(b"XYZZY") == ()


def test_macros_go_with_the_stage_that_asks_for_them():
    macros = {Stage.HELO: (Pmm.TLS_VERSION, Pmm.TLS_VRFY), Stage.DOT: (Pmm.DOT_MSGID,), Stage.MAIL: (Pmm.MAIL_TAID,)}
    machine = PolicyMachine("s1", Agreement("", ~Capability(0), Function(0), macros))
    known = {"tls_version": "TLSv1.3", "verify": "", "msg_id": "<m@x>", "i": "S1"}
    sent = [
        *machine.connect(b"[192.0.2.1]", PEER, known),
        *machine.helo(b"x", known, ehlo=False),
        *machine.mail((b"<>",), known),
    ]
    assert [[(one.macro, one.value) for one in msg.macros] for msg in sent] == [[], [(10, "TLSv1.3")], [(30, "S1")]]
    assert (sent[0].client_name, sent[0].client_addr, sent[1].ehlo, sent[2].ta_id) == ("", "192.0.2.1", False, "S1")


@pytest.mark.parametrize(
    ("steps", "answer", "outcome", "listens"),
    [
        ("helo", pm.PmVerdict(code=Code.ACCEPT), FilterOutcome.CONTINUE, False),
        ("helo", pm.PmVerdict(code=550), FilterOutcome.REFUSE, False),
        ("helo", pm.PmVerdict(code=421), FilterOutcome.CLOSE, True),
        ("mail", pm.PmVerdict(code=Code.DISCARD), FilterOutcome.DISCARD, False),
        ("mail", pm.PmVerdict(code=451, reply=Reply(451, "4.7.1", "later")), FilterOutcome.REFUSE, False),
        ("rcpt", pm.PmVerdict(code=550), FilterOutcome.REFUSE, True),
        ("rcpt", pm.PmVerdict(code=Code.ACCEPT), FilterOutcome.CONTINUE, False),
        ("data", pm.PmVerdict(code=Code.DISCARD), FilterOutcome.DISCARD, False),
        ("unknown", pm.PmVerdict(code=500), FilterOutcome.REFUSE, True),
    ],
)
def test_what_an_answer_means(steps, answer, outcome, listens):
    machine = PolicyMachine("s1", ALL)
    say(machine, machine.connect(b"x", PEER, {}))
    tell = {
        "helo": lambda: machine.helo(b"x", {}, ehlo=True),
        "mail": lambda: machine.mail((b"<>",), {}),
        "rcpt": lambda: machine.rcpt((b"<b>",), {}),
        "data": lambda: machine.data({}),
        "unknown": lambda: machine.unknown(b"X"),
    }
    for name in ("helo", "mail", "rcpt", "data"):
        if name == steps or steps == "unknown":
            break
        say(machine, tell[name]())
    verdict = say(machine, tell[steps](), answer)
    assert (verdict.outcome, machine.listens) == (outcome, listens)
    if answer.code >= 400:
        assert verdict.reply.code == answer.code if answer.reply.code else verdict.reply.code // 100 == answer.code // 100


def test_the_next_message_is_told_after_one_that_was_decided():
    machine = greeted()
    say(machine, machine.mail((b"<a>",), {}), pm.PmVerdict(code=Code.ACCEPT))
    assert machine.rcpt((b"<b>",), {}) == ()
    assert [type(one) for one in machine.abort()] == [pm.PmAbort]
    assert machine.abort() == ()
    assert [type(one) for one in machine.mail((b"<c>",), {})] == [pm.PmMail]


@pytest.mark.parametrize(
    "answer",
    [
        pm.PmVerdict(code=Code.DISCARD),
        pm.PmVerdict(code=Code.SKIP),
        pm.PmVerdict(code=250),
        pm.PmVerdict(code=700),
        pm.PmVerdict(code=550, reply=Reply(451, "", "x")),
        pm.PmDotVerdict(code=Code.CONT),
        pm.Replacement(),
    ],
)
def test_an_answer_that_does_not_fit_is_nonsense(answer):
    machine = PolicyMachine("s1", ALL)
    (msg,) = machine.connect(b"x", PEER, {})
    with pytest.raises(MilterProtocolError):
        machine.take(msg, answer)
    machine.fail()
    assert machine.state is State.FAILED
    assert machine.quit() == ()


def test_changes_are_said_in_the_words_of_the_other_filters():
    header = [
        (HeaderChange.PREPEND, 5, b"A: 1"),
        (HeaderChange.INSERT, 2, b"B : 2"),
        (HeaderChange.APPEND, 0, b"C: 3\r\n 4"),
        (HeaderChange.REPLACE, 1, b"D: 5"),
        (HeaderChange.REMOVE, 0, b"E"),
    ]
    answer = pm.PmDotVerdict(
        code=Code.CONT,
        header=tuple(pm.HeaderModification(change=int(one), position=at, field=field) for one, at, field in header),
        rcpts_added=("<n@x>",),
        rcpts_removed=("<o@x>",),
        mail="<>",
        quarantine="looks like a virus",
    )
    assert PolicyMachine("s1", ALL).changes(answer) == [
        InsertField(0, b"A", b" 1"),
        InsertField(2, b"B", b" 2"),
        AddField(b"C", b" 3\r\n 4"),
        ChangeField(2, b"D", b" 5"),
        ChangeField(1, b"E", b""),
        AddRcpt(b"<n@x>"),
        DeleteRcpt(b"<o@x>"),
        ChangeSender(b"<>"),
        HoldMail("looks like a virus"),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        pm.PmDotVerdict(code=0, header=(pm.HeaderModification(change=9, field=b"A: 1"),)),
        pm.PmDotVerdict(code=0, header=(pm.HeaderModification(change=1, field=b"A: 1\r\n\r\nbody"),)),
        pm.PmDotVerdict(code=0, rcpts_added=("<a>\r\n",)),
        pm.PmDotVerdict(code=0, rcpts_removed=("",) * 1001),
        pm.PmDotVerdict(code=0, mail="<a> <b>"),
        pm.PmDotVerdict(code=0, quarantine="two\nlines"),
        pm.PmDotVerdict(code=0, quarantine="x" * 201),
    ],
)
def test_a_change_that_cannot_be_made_is_nonsense(answer):
    with pytest.raises(MilterProtocolError):
        PolicyMachine("s1", ALL).changes(answer)
    nothing = PolicyMachine("s1", NOTHING)
    with pytest.raises(MilterProtocolError):
        nothing.changes(pm.PmDotVerdict(code=0, replace=True))
    with pytest.raises(MilterProtocolError):
        nothing.changes(pm.PmDotVerdict(code=0, quarantine="looks like a virus"))


def test_what_a_filter_wants_is_checked():
    wanted = {"name": "x", "version": pm.PM_VERSION, "capabilities": 1, "functions": 0}
    macros = (pm.WantedMacro(stage=Stage.MAIL, macro=Pmm.MAIL_TAID), pm.WantedMacro(stage=Stage.MAIL, macro=Pmm.AUTH_TYPE))
    assert agree(pm.PmWanted(**wanted, macros=macros)).macros == {Stage.MAIL: (Pmm.MAIL_TAID, Pmm.AUTH_TYPE)}
    for wrong in (
        {"version": 0x0200},
        {"capabilities": 1 << 20},
        {"functions": 1 << 9},
        {"macros": (pm.WantedMacro(stage=99, macro=1),)},
        {"macros": (pm.WantedMacro(stage=1, macro=99),)},
        {"macros": (pm.WantedMacro(stage=Stage.CONNECT, macro=Pmm.TLS_VERSION),)},
        {"macros": (pm.WantedMacro(stage=Stage.MSG, macro=Pmm.SRVHOSTNAME),)},
    ):
        with pytest.raises(MilterProtocolError):
            agree(pm.PmWanted(**{**wanted, **wrong}))


def test_actions_tell_who_changes_the_content():
    assert PolicyMachine("s", Agreement("", Capability(0), Function.RCPT_ADD, {})).actions == FilterActions.ADDRCPT
    assert PolicyMachine("s", Agreement("", Capability(0), Function.MSG_RPLC, {})).actions & FilterActions.CHGBODY
    assert PolicyMachine("s", Agreement("", Capability(0), Function.QUARANTINE, {})).actions == FilterActions.QUARANTINE
