"""What a filter hears and what its answers mean, as dialogues between the machine and the wire."""

import pytest

from meta1g.base.errors import BugError
from meta1g.base.reply import Reply
from meta1g.milter.changes import AddField, AddRcpt, ChangeField, ChangeSender, DeleteRcpt, HoldMail, InsertField, NewBody
from meta1g.milter.codec import FrameReader
from meta1g.milter.errors import MilterProtocolError
from meta1g.milter.flags import FilterActions, FilterSteps, MacroStage
from meta1g.milter.frames import (
    COMMANDS_BY_CODE,
    BodyChunk,
    Family,
    FieldData,
    Frame,
    IndexedField,
    MacroList,
    OptNeg,
    PeerAddress,
    Smfic,
    Smfir,
    TextData,
    WordsData,
)
from meta1g.milter.fsm import State
from meta1g.milter.limits import CHANGES_MAX, CHANGES_MAX_BYTES, CHUNK_1M_BYTES, CHUNK_64K_BYTES, CHUNK_256K_BYTES
from meta1g.milter.machine import CONTINUE, FilterMachine, FilterOutcome
from meta1g.milter.macros import DEFAULT_MACROS
from meta1g.smtp.header import Field

A, C, P, R, Out = FilterActions, Smfic, FilterSteps, Smfir, FilterOutcome
ALL = int(sum(A))
PEER = PeerAddress(Family.INET, 4711, b"192.0.2.1")
KNOWN = {
    "i": "S1",
    "j": "mx.example.org",
    "client_addr": "192.0.2.1",
    "mail_addr": "a@b.example",
    "x": "",
    "tls_version": "TLSv1.3",
}
FIELD = Field(b"Subject", b"Subject: hi\r\n")


def agreed(actions=ALL, steps=0, version=6, lists=()):
    machine = FilterMachine()
    machine.negotiate()
    assert machine.take(Frame(R.OPTNEG, OptNeg(version, actions, int(steps), lists))) == CONTINUE
    return machine


def heard(wire):
    reader = FrameReader(COMMANDS_BY_CODE)
    reader.max_bytes = 1 << 21
    reader.feed(wire)
    got = list(reader.frames())
    assert reader.held_bytes == 0
    return got


def kinds(wire):
    return [frame.kind for frame in heard(wire)]


#: The steps up to and with the one that is named, each with the answer `continue`.
STEPS = {
    C.CONNECT: lambda m: m.connect(b"client.example", PEER),
    C.HELO: lambda m: m.helo(b"client.example"),
    C.MAIL: lambda m: m.mail((b"<a@b.example>",)),
    C.RCPT: lambda m: m.rcpt((b"<c@d.example>",)),
    C.DATA: lambda m: m.data(),
    C.HEADER: lambda m: m.header(FIELD),
    C.EOH: lambda m: m.eoh(),
    C.BODY: lambda m: m.body(b"text\r\n"),
    C.BODYEOB: lambda m: m.eom(),
}


def asked(command, machine=None):
    """Gives a machine that waits for the answer to a command."""
    machine = machine or agreed()
    for step, tell in STEPS.items():
        assert kinds(tell(machine)) == [step]
        if step is command:
            return machine
        assert machine.take(Frame(R.CONTINUE)) == CONTINUE
    raise AssertionError(command)


# -- negotiation


def test_the_offer_has_the_greatest_version_and_everything():
    frame = heard(FilterMachine().negotiate())[0]
    assert frame == Frame(C.OPTNEG, OptNeg(6, 0x1FF, 0x1FFFFF | 0x30000000))
    assert heard(FilterMachine(2).negotiate()) == [Frame(C.OPTNEG, OptNeg(2, 0x3F, 0x7F))]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (OptNeg(7, 0, 0), "version 7"),
        (OptNeg(1, 0, 0), "version 1"),
        (OptNeg(6, 0x200, 0), "actions 0x200"),
        (OptNeg(6, ALL, 0, (MacroList(7, b"i"),)), "stage 7"),
        (OptNeg(6, ALL, 0, (MacroList(0, b"i " * 500),)), "more than"),
    ],
)
def test_what_cannot_be_agreed_on_is_refused(answer, why):
    machine = FilterMachine()
    machine.negotiate()
    with pytest.raises(MilterProtocolError, match=why):
        machine.take(Frame(R.OPTNEG, answer))


@pytest.mark.parametrize(("steps", "size"), [(0, CHUNK_64K_BYTES), (P.MDS_256K, CHUNK_256K_BYTES), (P.MDS_1M, CHUNK_1M_BYTES)])
def test_the_size_of_a_chunk_is_agreed_on(steps, size):
    machine = agreed(steps=steps)
    assert machine.chunk_bytes == size
    assert machine.frame_max_bytes > size


@pytest.mark.parametrize(("version", "silent"), [(2, {C.DATA, C.UNKNOWN}), (3, {C.DATA}), (4, set()), (6, set())])
def test_an_old_filter_hears_nothing_that_its_version_does_not_know(version, silent):
    machine = agreed(actions=0, version=version)
    assert (machine.steps & P.NODATA != 0, machine.steps & P.NOUNKNOWN != 0) == (C.DATA in silent, C.UNKNOWN in silent)


def test_a_filter_gets_the_macros_that_it_wants():
    lists = (MacroList(0, b"j, {client_addr} {none} x"), MacroList(MacroStage.ENVFROM, b""))
    machine = agreed(lists=lists)
    macro, connect = heard(machine.connect(b"h", PEER, KNOWN))
    assert [(one.name, one.value) for one in macro.data.macros] == [(b"j", b"mx.example.org"), (b"{client_addr}", b"192.0.2.1")]
    assert (macro.data.command, connect.kind) == (C.CONNECT, C.CONNECT)
    machine.take(Frame(R.CONTINUE))
    machine.helo(b"h", KNOWN)
    machine.take(Frame(R.CONTINUE))
    assert kinds(machine.mail((b"<>",), KNOWN)) == [C.MAIL]


def test_lists_of_a_filter_that_did_not_ask_for_the_right_to_send_them_do_not_count():
    machine = agreed(actions=0, lists=(MacroList(0, b"i"),))
    names = [one.name for one in heard(machine.connect(b"h", PEER, KNOWN))[0].data.macros]
    assert names == [b"j", b"{client_addr}"]


def test_there_is_a_list_for_every_stage():
    assert set(DEFAULT_MACROS) == set(MacroStage)


# -- what is told


def test_a_whole_session():
    machine = asked(C.BODYEOB)
    assert machine.take(Frame(R.CONTINUE)) == CONTINUE
    assert machine.state is State.HELLO
    assert kinds(machine.mail((b"<>",))) == [C.MAIL]
    machine.take(Frame(R.CONTINUE))
    assert kinds(machine.abort()) == [C.ABORT]
    assert machine.abort() == b""
    assert kinds(machine.quit()) == [C.QUIT]
    assert machine.state is State.CLOSED


@pytest.mark.parametrize(
    ("command", "bit"),
    [
        (C.CONNECT, P.NOCONNECT),
        (C.HELO, P.NOHELO),
        (C.MAIL, P.NOMAIL),
        (C.RCPT, P.NORCPT),
        (C.DATA, P.NODATA),
        (C.HEADER, P.NOHDRS),
        (C.EOH, P.NOEOH),
        (C.BODY, P.NOBODY),
    ],
)
def test_what_a_filter_declines_is_not_told_and_all_else_is(command, bit):
    machine = agreed(steps=bit)
    told = []
    for tell in STEPS.values():
        told += kinds(tell(machine))
        if machine.waits_for:
            machine.take(Frame(R.CONTINUE))
    assert told == [step for step in STEPS if step is not command]


@pytest.mark.parametrize(
    ("command", "bit"),
    [
        (C.CONNECT, P.NR_CONN),
        (C.HELO, P.NR_HELO),
        (C.MAIL, P.NR_MAIL),
        (C.RCPT, P.NR_RCPT),
        (C.DATA, P.NR_DATA),
        (C.HEADER, P.NR_HDR),
        (C.EOH, P.NR_EOH),
        (C.BODY, P.NR_BODY),
    ],
)
def test_an_answer_that_a_filter_does_not_give_is_not_waited_for_and_is_an_error(command, bit):
    machine = agreed(steps=bit)
    for step, tell in STEPS.items():
        assert kinds(tell(machine)) == [step]
        if step is command:
            assert machine.waits_for is None
            with pytest.raises(MilterProtocolError, match="nothing was asked"):
                machine.take(Frame(R.CONTINUE))
            return
        machine.take(Frame(R.CONTINUE))


def test_macros_go_even_if_the_command_does_not():
    machine = agreed(steps=P.NOCONNECT | P.NOHELO)
    assert kinds(machine.connect(b"h", PEER, KNOWN)) == [C.MACRO]
    assert kinds(machine.helo(b"h", KNOWN)) == [C.MACRO]
    assert machine.waits_for is None


@pytest.mark.parametrize(("steps", "value"), [(0, b"hi"), (P.HDR_LEADSPC, b" hi")])
def test_the_blank_before_a_value_is_told_to_who_wants_it(steps, value):
    machine = asked(C.DATA, agreed(steps=steps))
    machine.take(Frame(R.CONTINUE))
    assert heard(machine.header(FIELD)) == [Frame(C.HEADER, FieldData(b"Subject", value))]


def test_nothing_is_told_before_the_answer_to_what_was_told():
    machine = asked(C.MAIL)
    with pytest.raises(BugError, match="RCPT before the answer to MAIL"):
        machine.rcpt((b"<c@d>",))


def test_an_unknown_command_is_told_where_commands_are_read():
    machine = asked(C.HELO)
    machine.take(Frame(R.CONTINUE))
    assert heard(machine.unknown(b"FOO b\0ar")) == [Frame(C.UNKNOWN, TextData(b"FOO bar"))]
    assert machine.take(Frame(R.REJECT)).outcome is Out.REFUSE
    assert machine.state is State.HELLO
    assert kinds(machine.unknown(b"FOO")) == [C.UNKNOWN]
    assert machine.take(Frame(R.ACCEPT)) == CONTINUE
    assert machine.state is State.HELLO
    assert agreed(steps=P.NOUNKNOWN).unknown(b"FOO") == b""


def test_a_filter_that_failed_gets_no_last_word():
    machine = asked(C.MAIL)
    machine.fail()
    machine.fail()
    assert (machine.state, machine.rcpt((b"<a@b>",)), machine.abort(), machine.quit()) == (State.FAILED, b"", b"", b"")


# -- answers

REJECTED = Reply(550, "5.7.1", "Command rejected")
DECISIONS = [
    (Frame(R.ACCEPT), Out.CONTINUE, None),
    (Frame(R.REJECT), Out.REFUSE, 550),
    (Frame(R.TEMPFAIL), Out.REFUSE, 451),
    (Frame(R.REPLYCODE, TextData(b"554 5.3.0 own words")), Out.REFUSE, 554),
]


@pytest.mark.parametrize("command", [C.CONNECT, C.HELO])
@pytest.mark.parametrize(("frame", "outcome", "code"), DECISIONS)
def test_a_decision_about_the_session_is_the_last_word_of_a_filter(command, frame, outcome, code):
    machine = asked(command)
    verdict = machine.take(frame)
    assert (verdict.outcome, verdict.reply and verdict.reply.code) == (outcome, code)
    assert (machine.state, machine.listens, machine.waits_for) == (State.DISMISSED, False, None)
    assert [machine.helo(b"x"), machine.mail((b"<>",)), machine.header(FIELD), machine.abort()] == [b""] * 4
    assert kinds(machine.quit()) == [C.QUIT]


@pytest.mark.parametrize("command", [C.MAIL, C.DATA, C.HEADER, C.EOH, C.BODY])
@pytest.mark.parametrize(("frame", "outcome", "code"), [*DECISIONS, (Frame(R.DISCARD), Out.DISCARD, None)])
def test_a_decision_about_a_message_holds_until_the_next_one(command, frame, outcome, code):
    machine = asked(command)
    verdict = machine.take(frame)
    assert (verdict.outcome, verdict.reply and verdict.reply.code) == (outcome, code)
    assert machine.state is State.PASSED
    assert [machine.rcpt((b"<>",)), machine.data(), machine.header(FIELD), machine.eoh(), machine.body(b""), machine.eom()] == [
        b""
    ] * 6
    assert kinds(machine.abort()) == [C.ABORT]
    assert kinds(machine.mail((b"<>",))) == [C.MAIL]


@pytest.mark.parametrize(("frame", "outcome", "code"), [*DECISIONS, (Frame(R.DISCARD), Out.DISCARD, None)])
def test_a_decision_at_the_end_of_a_message_is_its_end(frame, outcome, code):
    machine = asked(C.BODYEOB)
    verdict = machine.take(frame)
    assert (verdict.outcome, verdict.reply and verdict.reply.code) == (outcome, code)
    assert (machine.state, machine.abort()) == (State.HELLO, b"")


@pytest.mark.parametrize(("frame", "outcome", "code"), DECISIONS[1:])
def test_a_refusal_of_a_recipient_is_about_this_one(frame, outcome, code):
    machine = asked(C.RCPT)
    verdict = machine.take(frame)
    assert (verdict.outcome, verdict.reply.code) == (outcome, code)
    assert kinds(machine.rcpt((b"<e@f>",))) == [C.RCPT]


@pytest.mark.parametrize(("kind", "outcome"), [(R.ACCEPT, Out.CONTINUE), (R.DISCARD, Out.DISCARD)])
def test_at_a_recipient_a_whole_message_can_be_accepted_or_discarded(kind, outcome):
    machine = asked(C.RCPT)
    assert machine.take(Frame(kind)).outcome is outcome
    assert machine.state is State.PASSED


@pytest.mark.parametrize("command", list(STEPS))
@pytest.mark.parametrize(
    "frame",
    [Frame(R.SHUTDOWN), Frame(R.CONN_FAIL), Frame(R.REPLYCODE, TextData(b"421 4.3.2 go"))],
    ids=lambda one: one.kind.name,
)
def test_a_filter_may_end_the_session_at_any_step(command, frame):
    verdict = asked(command).take(frame)
    assert (verdict.outcome, verdict.reply.code) == (Out.CLOSE, 421)


@pytest.mark.parametrize("command", [C.CONNECT, C.HELO])
def test_before_a_message_there_is_nothing_to_discard(command):
    machine = asked(command)
    assert machine.take(Frame(R.DISCARD)) == CONTINUE
    assert machine.listens


@pytest.mark.parametrize("command", [C.HEADER, C.BODY])
def test_skip_spares_a_filter_the_rest_of_a_kind(command):
    machine = asked(command)
    assert machine.take(Frame(R.SKIP)) == CONTINUE
    assert STEPS[command](machine) == b""
    assert machine.waits_for is None
    after = C.EOH if command is C.HEADER else C.BODYEOB
    assert kinds(STEPS[after](machine)) == [after]
    machine.take(Frame(R.CONTINUE))
    machine.abort()
    for step in (C.MAIL, C.RCPT, C.DATA, C.HEADER, C.EOH, C.BODY):
        assert kinds(STEPS[step](machine)) == [step], "the next message is told whole"
        machine.take(Frame(R.CONTINUE))


@pytest.mark.parametrize("command", list(STEPS))
def test_progress_asks_for_more_time(command):
    machine = asked(command)
    assert (machine.take(Frame(R.PROGRESS)), machine.waits_for) == (None, command)
    assert machine.take(Frame(R.CONTINUE)) == CONTINUE


CHANGES = [
    (Frame(R.ADDHEADER, FieldData(b"A", b"b")), AddField(b"A", b" b"), A.ADDHDRS),
    (Frame(R.INSHEADER, IndexedField(1, b"A", b"b")), InsertField(1, b"A", b" b"), A.ADDHDRS),
    (Frame(R.CHGHEADER, IndexedField(1, b"A", b"")), ChangeField(1, b"A", b""), A.CHGHDRS),
    (Frame(R.REPLBODY, BodyChunk(b"new\r\n")), NewBody(b"new\r\n"), A.CHGBODY),
    (Frame(R.ADDRCPT, TextData(b"<x@y>")), AddRcpt(b"<x@y>"), A.ADDRCPT),
    (Frame(R.ADDRCPT_PAR, WordsData((b"<x@y>", b"NOTIFY=NEVER"))), AddRcpt(b"<x@y>", b"NOTIFY=NEVER"), A.ADDRCPT_PAR),
    (Frame(R.DELRCPT, TextData(b"<x@y>")), DeleteRcpt(b"<x@y>"), A.DELRCPT),
    (Frame(R.CHGFROM, WordsData((b"<x@y>", b"RET=HDRS"))), ChangeSender(b"<x@y>", b"RET=HDRS"), A.CHGFROM),
    (Frame(R.QUARANTINE, TextData(b"virus")), HoldMail("virus"), A.QUARANTINE),
]


@pytest.mark.parametrize(
    ("frame", "change", "action"), CHANGES, ids=lambda one: one.kind.name if isinstance(one, Frame) else ""
)
def test_a_change_needs_the_end_of_a_message_and_the_right_to_make_it(frame, change, action):
    machine = asked(C.BODYEOB, agreed(actions=int(action)))
    assert machine.take(frame) == change
    assert machine.take(Frame(R.ACCEPT)) == CONTINUE
    with pytest.raises(MilterProtocolError, match="was not agreed on"):
        asked(C.BODYEOB, agreed(actions=ALL & ~int(action))).take(frame)
    for command in set(STEPS) - {C.BODYEOB}:
        with pytest.raises(MilterProtocolError, match=f"is no answer to {command.name}"):
            asked(command).take(frame)


@pytest.mark.parametrize("command", sorted(set(STEPS) - {C.HEADER, C.BODY}, key=lambda one: one.name))
def test_skip_is_for_what_comes_in_numbers(command):
    with pytest.raises(MilterProtocolError, match="SKIP is no answer"):
        asked(command).take(Frame(R.SKIP))


def test_skip_is_none_of_an_old_version():
    with pytest.raises(MilterProtocolError, match="SKIP was not agreed on"):
        asked(C.BODY, agreed(actions=0, version=4)).take(Frame(R.SKIP))


@pytest.mark.parametrize("command", list(STEPS))
def test_a_second_negotiation_is_an_error(command):
    with pytest.raises(MilterProtocolError, match="OPTNEG is no answer"):
        asked(command).take(Frame(R.OPTNEG, OptNeg(6, 0, 0)))


def test_changes_are_bounded_in_number_and_size_for_each_message():
    machine = asked(C.BODYEOB)
    for _ in range(CHANGES_MAX):
        machine.take(Frame(R.DELRCPT, TextData(b"x")))
    with pytest.raises(MilterProtocolError, match="more than"):
        machine.take(Frame(R.DELRCPT, TextData(b"x")))
    machine = asked(C.BODYEOB)
    field = Frame(R.ADDHEADER, FieldData(b"A", b"x" * 65000))
    for _ in range(CHANGES_MAX_BYTES // 65001):
        machine.take(field)
    with pytest.raises(MilterProtocolError, match="more than"):
        machine.take(field)


def test_pieces_of_a_body_do_not_count_as_changes():
    machine = asked(C.BODYEOB)
    for _ in range(CHANGES_MAX + 1):
        machine.take(Frame(R.REPLBODY, BodyChunk(b"x" * 1000)))
    assert machine.take(Frame(R.CONTINUE)) == CONTINUE


def test_a_filter_can_want_refused_recipients():
    assert agreed(steps=P.RCPT_REJ).wants_refused_rcpts
    assert not agreed().wants_refused_rcpts
