"""Lets a filter answer nonsense to the MTA's side of the milter protocol: an answer, or the protocol error, and nothing else.

    python -m tests.fuzz.milter_fuzz 100000

The property tests run a few hundred.
"""

import random

from meta1g.milter.changes import FilterChange
from meta1g.milter.codec import FrameReader, encode
from meta1g.milter.errors import MilterProtocolError
from meta1g.milter.flags import STEPS_OF
from meta1g.milter.frames import (
    ANSWERS_BY_CODE,
    COMMANDS_BY_CODE,
    BodyChunk,
    Family,
    FieldData,
    Frame,
    IndexedField,
    OptNeg,
    PeerAddress,
    Smfir,
    TextData,
    WordsData,
)
from meta1g.milter.fsm import State
from meta1g.milter.header import HeaderEdit
from meta1g.milter.machine import FilterMachine, FilterOutcome, FilterVerdict
from meta1g.smtp.header import Field, fields
from tests.fuzz.runner import damaged, main

R = Smfir
SEEDS = [
    *(
        Frame(kind)
        for kind in (R.CONTINUE, R.ACCEPT, R.REJECT, R.TEMPFAIL, R.DISCARD, R.SKIP, R.PROGRESS, R.SHUTDOWN, R.CONN_FAIL)
    ),
    Frame(R.OPTNEG, OptNeg(6, 0x1FF, 0)),
    Frame(R.ADDHEADER, FieldData(b"A", b"b")),
    Frame(R.INSHEADER, IndexedField(1, b"A", b"b\n c")),
    Frame(R.CHGHEADER, IndexedField(1, b"Subject", b"")),
    Frame(R.REPLBODY, BodyChunk(b"new\r\n")),
    Frame(R.ADDRCPT, TextData(b"<a@b>")),
    Frame(R.ADDRCPT_PAR, WordsData((b"<a@b>", b"NOTIFY=NEVER"))),
    Frame(R.DELRCPT, TextData(b"<a@b>")),
    Frame(R.CHGFROM, WordsData((b"<a@b>",))),
    Frame(R.QUARANTINE, TextData(b"why")),
    Frame(R.REPLYCODE, TextData(b"550-5.7.1 a\r\n550 5.7.1 b%%")),
]
MACROS = {"i": "S1", "j": "mx", "client_addr": "192.0.2.1", "mail_addr": "a@b"}
PEER = PeerAddress(Family.INET6, 25, b"2001:db8::1")
#: How often a filter says no more than that it goes on.
USUAL = 0.8
#: How often the filter speaks without being asked.
SILENT = 0.005
HEADER = b"Subject: x\r\nA: 1\r\n fold\r\n"
#: What the MTA may do next in each state.
MOVES = {
    State.READY: [lambda m: m.connect(b"h", PEER, MACROS)],
    State.CONNECTED: [lambda m: m.helo(b"h", MACROS), lambda m: m.unknown(b"FOO")],
    State.HELLO: [lambda m: m.mail((b"<a@b>", b"SIZE=1"), MACROS), lambda m: m.helo(b"h")],
    State.MAIL: [lambda m: m.rcpt((b"<c@d>",), MACROS), lambda m: m.abort()],
    State.RCPT: [lambda m: m.rcpt((b"<c@d>",)), lambda m: m.data(MACROS), lambda m: m.abort()],
    State.DATA: [lambda m: m.header(Field(b"A", b"A: 1\r\n")), lambda m: m.eoh(MACROS)],
    State.HEADER: [lambda m: m.header(Field(b"A", b"A: 1\r\n")), lambda m: m.eoh()],
    State.EOH: [lambda m: m.body(b"x\r\n"), lambda m: m.eom(MACROS)],
    State.BODY: [lambda m: m.body(b"x\r\n"), lambda m: m.eom(), lambda m: m.abort()],
    State.PASSED: [lambda m: m.abort(), lambda m: m.data()],
    State.DISMISSED: [lambda m: m.helo(b"x")],
}


def converse(answers: list[bytes], rng: random.Random) -> str:
    """Lets the machine go on with whatever comes, up to the last answer or an error.

    Args:
        answers: payloads of frames.
        rng: chooses what the MTA does.

    Returns:
        The name of the last state.
    """
    machine, reader, edit = FilterMachine(), FrameReader(ANSWERS_BY_CODE), HeaderEdit(b"Received: x\r\n", fields(HEADER))
    check_sent(machine.negotiate())
    try:
        if rng.random() < 0.9:
            machine.take(Frame(R.OPTNEG, OptNeg(6, 0x1FF, rng.choice((0, rng.getrandbits(32) & int(STEPS_OF[6]))))))
            reader.max_bytes = machine.frame_max_bytes
            if rng.random() < 0.5:
                go_to_the_end(machine)
        for answer in answers:
            while machine.waits_for is None and machine.state in MOVES and rng.random() > SILENT:
                check_sent(rng.choice(MOVES[machine.state])(machine))
            reader.feed(len(answer).to_bytes(4, "big") + answer)
            for frame in reader.frames():
                taken(machine.take(frame), machine, edit)
    except MilterProtocolError:
        machine.fail()
    name = machine.state.name
    last = machine.quit()
    check_sent(last)
    assert (bool(last), machine.state) == (name != "FAILED", State.CLOSED)
    return name


def go_to_the_end(machine: FilterMachine) -> None:
    """Tells a whole message, with which the filter agrees, but for its last word."""
    for state in (State.READY, State.CONNECTED, State.HELLO, State.MAIL, State.RCPT, State.DATA, State.EOH):
        move = MOVES[state][-1 if state in (State.DATA, State.EOH) else 1 if state is State.RCPT else 0]
        check_sent(move(machine))
        if machine.waits_for and machine.state is not State.EOM:
            machine.take(Frame(R.CONTINUE))


def check_sent(wire: bytes) -> None:
    """Asserts that what we send are whole frames."""
    reader = FrameReader(COMMANDS_BY_CODE)
    reader.feed(wire)
    list(reader.frames())
    assert reader.held_bytes == 0


def taken(result: FilterVerdict | FilterChange | None, machine: FilterMachine, edit: HeaderEdit) -> None:
    """Asserts what holds of every answer; changes of the header are made."""
    if isinstance(result, FilterVerdict):
        assert machine.waits_for is None
        assert (result.reply is not None) == (result.outcome in (FilterOutcome.REFUSE, FilterOutcome.CLOSE))
        assert result.reply is None or 400 <= result.reply.code < 600
        return
    assert machine.waits_for is not None
    if type(result).__name__ in ("AddField", "InsertField", "ChangeField"):
        edit.apply(result)
        header = edit.encode()
        parsed = b"".join(field.raw for field in fields(header[:-2]))
        assert parsed == header[:-2], "whatever filters add, the header stays one"


PAYLOADS = [encode(seed)[4:] for seed in SEEDS]
PIECES = [b"\0", b"\xff", b"\r\n", b"\n", b":", b"%", b"-"]


def answer(rng: random.Random) -> bytes:
    """Gives an answer, which has some damage now and then."""
    if rng.random() < USUAL:
        return b"c"
    payload = rng.choice(PAYLOADS)
    return damaged(payload, rng, PIECES, PAYLOADS, 3) if rng.random() < 0.4 else payload


def conversation(rng: random.Random) -> tuple[str]:
    """Holds a conversation; gives the state in which it ended."""
    return (converse([answer(rng) for _ in range(rng.randint(1, 60))], rng),)


TARGETS = {"conversation": conversation}


if __name__ == "__main__":
    raise SystemExit(main(__doc__, TARGETS))
