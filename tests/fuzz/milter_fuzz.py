"""Lets a filter answer nonsense to the MTA's side of the milter protocol: an answer, or the protocol error, and nothing else.

    python -m tests.fuzz.milter_fuzz [COUNT] [SEED]

The property tests run a few hundred.
"""

import random
import sys
import time

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


def damaged(rng: random.Random) -> bytes:
    """Gives an answer, most often with some damage."""
    if rng.random() < USUAL:
        return b"c"
    payload = bytearray(encode(rng.choice(SEEDS))[4:])
    for _ in range(rng.choice((0, 0, 0, 1, 3))):
        at = rng.randrange(len(payload) + 1)
        what = rng.randrange(4)
        if what == 0:
            del payload[at : at + rng.choice((1, 2, 8))]
        elif what == 1:
            payload[at:at] = rng.choice((b"\0", b"\xff", b"\r\n", b"\n", b":", b"%", b"-", rng.randbytes(3)))
        elif what == 2 and at < len(payload):
            payload[at] = rng.randrange(256)
        else:
            payload[at:at] = payload[:at]
    return bytes(payload)


def run(count: int, seed: int) -> dict[str, int]:
    """Holds count conversations; gives how many ended in which state."""
    rng = random.Random(seed)
    seen: dict[str, int] = {}
    for number in range(count):
        answers = [damaged(rng) for _ in range(rng.randint(1, 60))]
        try:
            end = converse(answers, rng)
        except Exception:
            sys.stderr.write(f"seed {seed}, number {number}: {answers!r}\n")
            raise
        seen[end] = seen.get(end, 0) + 1
    return seen


def main(argv: list[str]) -> int:
    """Runs the command."""
    count = int(argv[0]) if argv else 100_000
    seed = int(argv[1]) if len(argv) > 1 else random.randrange(1 << 32)
    start = time.monotonic()
    seen = run(count, seed)
    sys.stdout.write(f"{count} conversations, seed {seed}, {time.monotonic() - start:.1f} s: {seen}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
