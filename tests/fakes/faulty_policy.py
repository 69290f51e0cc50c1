"""A policy milter in threads of the test that speaks the records itself, and breaks when it is told to.

arm(PmMail, "die")        what it does with the next PmMail; before and afterwards it agrees with everything
"""

import threading
from collections.abc import Callable
from pathlib import Path

from meta1g.base.reply import Reply
from meta1g.rcb import codec
from meta1g.rcb import smtps_pmilter as pm
from meta1g.rcb.schema import Message, Role
from tests.fakes.rcb_server import FakeConn, RcbServer

ALL = int(~pm.Capability(0))
Fault = Callable[[FakeConn, int, Message], None]


def die(conn: FakeConn, request_id: int, msg: Message) -> None:
    """Closes the connection."""
    conn.close()


def hang(conn: FakeConn, request_id: int, msg: Message) -> None:
    """Says nothing of this session any more."""


def trickle(conn: FakeConn, request_id: int, msg: Message) -> None:
    """Says the beginning of an answer, and of no other one the end."""
    conn.muted = True  # type: ignore[attr-defined]
    conn.sock.sendall(codec.encode(pm.PmVerdict(code=0), request_id)[:7])


def short(conn: FakeConn, request_id: int, msg: Message) -> None:
    """Says an answer that is shorter than one can be."""
    conn.sock.sendall(b"\0\0\0\4xxxx")


def huge(conn: FakeConn, request_id: int, msg: Message) -> None:
    """Says that an answer of 2 GiB follows."""
    conn.sock.sendall(b"\x7f\xff\xff\xfc")


def unknown(conn: FakeConn, request_id: int, msg: Message) -> None:
    """Says a record that there is not."""
    frame = bytearray(codec.encode(pm.PmVerdict(code=0), request_id))
    frame[8:12] = b"\x7f\xff\xff\xff"
    conn.sock.sendall(bytes(frame))


def disorder(conn: FakeConn, request_id: int, msg: Message) -> None:
    """Answers another question."""
    conn.send(pm.PmVerdict(code=0) if isinstance(msg, pm.PmDot) else pm.PmDotVerdict(code=0), request_id)


def wrong_code(conn: FakeConn, request_id: int, msg: Message) -> None:
    """Says what is no answer."""
    _answer(conn, request_id, msg, 999)


def many_lines(conn: FakeConn, request_id: int, msg: Message) -> None:
    """Refuses in more lines than a client would read."""
    _answer(conn, request_id, msg, 550, Reply(550, "5.7.1", ("no",) * 10_000))


def _answer(conn: FakeConn, request_id: int, msg: Message, code: int, reply: Reply = pm.NO_REPLY) -> None:
    kind = pm.PmDotVerdict if isinstance(msg, pm.PmDot) else pm.PmVerdict
    conn.send(kind(code=code, reply=reply), request_id)


#: What costs one session, and what costs all that use the connection.
OF_A_SESSION = (hang, disorder, wrong_code, many_lines)
OF_THE_CONNECTION = (die, trickle, short, huge, unknown)
FAULTS = {one.__name__: one for one in (*OF_A_SESSION, *OF_THE_CONNECTION)}


class FaultyPolicy(RcbServer):
    """The filter; a context manager.

    Args:
        path: of its socket.
        macros: that it asks for.
    """

    def __init__(self, path: Path, macros: tuple[pm.WantedMacro, ...] = ()) -> None:
        super().__init__(path, pm.PROTOCOL, self._handle)
        self._armed: tuple[type[Message], Fault] | None = None
        self._macros = macros
        self._arming = threading.Lock()

    def arm(self, kind: type[Message], fault: str) -> None:
        """Says what happens to the next message of a kind."""
        with self._arming:
            self._armed = kind, FAULTS[fault]

    def _handle(self, conn: FakeConn, request_id: int, msg: Message) -> None:
        with self._arming:
            fault = self._armed[1] if self._armed is not None and isinstance(msg, self._armed[0]) else None
            if fault is not None:
                self._armed = None
        if fault is not None:
            fault(conn, request_id, msg)
        elif isinstance(msg, pm.PmHello):
            conn.send(
                pm.PmWanted(name="f", version=pm.PM_VERSION, capabilities=ALL, functions=0, macros=self._macros), request_id
            )
        elif msg.PLAN.role is Role.REQUEST and not getattr(conn, "muted", False):
            _answer(conn, request_id, msg, 0)
