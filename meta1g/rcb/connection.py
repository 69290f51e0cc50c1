"""One RCB connection without its socket: bytes in, events out; messages in, bytes out.

    request() post() reply() ──> frames wait ──> give(send) ──> socket; what it does not take waits on
    socket ──> take(recv) ──> Event, Event ...      expire(now) ──> waiters whose time is over
    shut() ──> nothing comes or goes any more ──> close() ──> all waiters

Theory of operation.  A shell owns a socket and a Connection.  It calls take() with the recv of its socket when that is
readable, and acts on each event; when it is convenient (at the end of its turn) it calls give() with the send of its socket,
which gets all that waits in one call.  A waiter is whatever the shell wants to have back with the reply to its request: a
callback, a thread.  Each waiter comes back exactly once: with its reply, from expire(), from forget(), or from close().  The
first frame in each direction is the protocol version.

Invariants: frames leave in the order of the calls that made them; what waits to be sent is counted, and `overfull` tells
when the shell has to give the connection up (I4); nothing is received or sent after shut().

Pure.  Locking: caller serialises everything but take() and receive(), which may run in one thread beside the rest, close()
excepted.
Ref: MeTA1 design, "Implementation: RCB communication" (modelled on).
"""

import heapq
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from meta1g.base.errors import Module, ProtocolError, TempError
from meta1g.rcb.codec import decode, encode
from meta1g.rcb.framing import Splitter, preamble
from meta1g.rcb.schema import Message, Protocol, Role

#: Unsent bytes of one connection before it is given up: its peer does not read.  Ref: invariant I4; the number is our choice.
WRITE_MAX_BYTES: Final = 64 << 20
#: Bytes taken from a socket at once.  Our choice: larger buffers pass a threshold of malloc and are mapped anew each time.
READ_BYTES: Final = 64 << 10
#: Deadlines of answered requests that are kept, beyond the number of open ones: removing them one by one would cost more.
DEADLINES_SPARE: Final = 1000

PEER_CLOSED: Final = "the peer closed the connection"
#: A rest up to this size is copied in front of what came later, so that both leave in one call.
_JOIN_MAX_BYTES: Final = 64 << 10
_ID_MAX: Final = 0xFFFF_FFFF


Buffer = bytes | memoryview


class RcbEvent(NamedTuple):
    """A message that came.

    Args:
        msg: the message.
        request_id: what a request is answered with; 0 for a post.
        waiter: for a reply, what its request was given; None for requests and posts.
    """

    msg: Message
    request_id: int
    waiter: Any


class Connection:
    """The protocol of one connection.

    Args:
        protocol: the messages of the pair.
        server: whether this is the listening side.
        write_max_bytes: `overfull` from so many unsent bytes on.

    Attributes:
        name: that of the protocol.
        closed: no message comes or goes any more.
        reason: why.
        muted: the peer reads no more; what it sent before is still taken.
        drained: the last take() emptied the socket: a look for more would be in vain.
        ended: the peer will send nothing more; the shell has to close.

    Locking: see above.
    """

    __slots__ = (
        "_deadlines", "_frames", "_ids", "_rest", "_splitter", "_table", "_unsent", "_waiting", "_write_max",
        "closed", "drained", "ended", "muted", "name", "reason",
    )  # fmt: skip

    def __init__(self, protocol: Protocol, *, server: bool, write_max_bytes: int = WRITE_MAX_BYTES) -> None:
        first = preamble(protocol)
        self.closed = False
        self.muted = False
        self.drained = True
        self.ended = False
        self.reason = ""
        self.name = protocol.name
        self._table = protocol.from_client if server else protocol.from_server
        self._splitter = Splitter(protocol)
        self._frames: list[Buffer] = [first]
        self._rest: Buffer = b""
        self._unsent = len(first)
        self._write_max = write_max_bytes
        self._ids = itertools.count(1)
        self._waiting: dict[int, Any] = {}
        self._deadlines: list[tuple[float, int]] = []

    # -- sending -------------------------------------------------------------------------------------------------------

    def request(self, msg: Message, waiter: Any, deadline_s: float | None = None) -> int:
        """Queues a request.

        Args:
            msg: the request.
            waiter: comes back with its reply; not None.
            deadline_s: monotonic time from which on expire() gives the waiter back, None for never.

        Returns:
            The request id.

        Raises:
            TempError: the connection is closed, or the peer reads no more.
            ProtocolError: a value does not fit its kind; nothing is queued.
        """
        request_id = next(self._ids) & _ID_MAX or next(self._ids) & _ID_MAX
        self._queue(encode(msg, request_id))
        self._waiting[request_id] = waiter
        if deadline_s is not None:
            self._note_deadline(deadline_s, request_id)
        return request_id

    def post(self, msg: Message) -> None:
        """Queues a message that gets no reply; raises as request()."""
        self._queue(encode(msg))

    def reply(self, request_id: int, msg: Message) -> None:
        """Queues the answer to a request of the peer; raises as request()."""
        self._queue(encode(msg, request_id))

    def _queue(self, frame: bytes) -> None:
        if self.closed or self.muted:
            raise TempError(Module.RCB, f"{self.name}: connection lost: {self.reason or PEER_CLOSED}")
        self._frames.append(frame)
        self._unsent += len(frame)

    def give(self, send: Callable[[Buffer], int]) -> None:
        """Offers what waits to the socket, as a rule in one call; what it does not take waits for the next.

        A peer that reads no more is no error yet: its last messages are read first, then comes the end.

        Args:
            send: takes bytes, tells how many it took; as that of a socket it may raise BlockingIOError.

        Raises:
            OSError: send failed; the order of the frames is lost, and the connection has to be given up.
        """
        while data := self._take():
            try:
                count = send(data)
            except BlockingIOError:
                count = 0
            except (BrokenPipeError, ConnectionResetError):
                self.mute()
                return
            self._unsent -= count
            if count < len(data):
                self._rest = memoryview(data)[count:]
                return

    def _take(self) -> Buffer:
        """Gives all that waits to be sent, a long rest of the last call alone."""
        frames, rest = self._frames, self._rest
        if rest:
            self._rest = b""
            if len(rest) > _JOIN_MAX_BYTES:
                return rest
            frames.insert(0, rest)
        elif not frames:
            return b""
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        frames.clear()
        return data

    @property
    def blocked(self) -> bool:
        """Whether the socket did not take all of the last give(): wait until it is writable."""
        return bool(self._rest)

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait to be sent."""
        return self._unsent

    @property
    def overfull(self) -> bool:
        """Whether so much waits that the connection has to be given up."""
        return self._unsent > self._write_max

    def mute(self) -> None:
        """Notes that the peer reads no more: its last messages are still received, then comes the end."""
        self.muted = True
        self._drop()

    def _drop(self) -> None:
        self._frames.clear()
        self._rest = b""
        self._unsent = 0

    # -- receiving -----------------------------------------------------------------------------------------------------

    def take(self, recv: Callable[[int], bytes]) -> Iterator[RcbEvent]:
        """Reads once, when the first event is asked for, and gives the messages that are complete.

        Args:
            recv: gives at most so many bytes, none at the end; as that of a socket it may raise BlockingIOError.

        Raises:
            ProtocolError: as receive().
            OSError: recv failed.
        """
        data = recv(READ_BYTES)
        self.drained = len(data) < READ_BYTES
        self.ended = not data
        yield from self.receive(data)

    def receive(self, data: bytes) -> Iterator[RcbEvent]:
        """Takes received bytes and gives the messages that are complete, one after the other.

        It ends early if the connection is closed meanwhile.

        Raises:
            ProtocolError: the peer sent what the table does not allow; the messages before it have been given.
        """
        for body in self._splitter.feed(data):
            if self.closed:
                return
            request_id, msg = decode(self._table, body)
            if msg.PLAN.role is not Role.REPLY:
                yield RcbEvent(msg, request_id, None)
            elif (waiter := self._waiting.pop(request_id, None)) is not None:  # else nobody waits any more
                yield RcbEvent(msg, request_id, waiter)

    @property
    def unfinished(self) -> int:
        """Number of the message whose beginning has come and whose end has not, 0 if there is none."""
        return self._splitter.unfinished

    # -- time and the end ----------------------------------------------------------------------------------------------

    def _note_deadline(self, when_s: float, request_id: int) -> None:
        if len(self._deadlines) > 2 * len(self._waiting) + DEADLINES_SPARE:
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self._waiting]
            heapq.heapify(self._deadlines)
        heapq.heappush(self._deadlines, (when_s, request_id))

    @property
    def next_deadline_s(self) -> float | None:
        """Monotonic time of the first deadline, None without; its request may have been answered since."""
        return self._deadlines[0][0] if self._deadlines else None

    def expire(self, now_s: float) -> list[Any]:
        """Gives back the waiters whose time is over; replies that come later are dropped."""
        late, heap = [], self._deadlines
        while heap and (heap[0][0] <= now_s or heap[0][1] not in self._waiting):
            waiter = self._waiting.pop(heapq.heappop(heap)[1], None)
            if waiter is not None:
                late.append(waiter)
        return late

    def forget(self, request_id: int) -> Any:
        """Gives one waiter back, or None; a reply that comes later is dropped."""
        return self._waiting.pop(request_id, None)

    @property
    def pending(self) -> int:
        """Number of requests without reply."""
        return len(self._waiting)

    def shut(self, reason: str) -> bool:
        """Ends receiving and sending; the waiters stay for close().  Tells whether it was open."""
        if self.closed:
            return False
        self.reason = reason
        self.closed = True
        self._drop()
        self._deadlines.clear()
        return True

    def close(self, reason: str) -> list[Any]:
        """Shuts, if that is not done yet, and gives back all waiters; the second time there are none."""
        self.shut(reason)
        waiting, self._waiting = self._waiting, {}
        return list(waiting.values())


def reason_of(error: ProtocolError | OSError) -> str:
    """Says why a connection ends whose take() failed."""
    return error.cause if isinstance(error, ProtocolError) else f"cannot receive: {error.strerror}"


class Endpoint:
    """What every shell shows of its Connection.

    Attributes:
        name: that of the protocol.

    Owner: the shell.
    """

    __slots__ = ("_rcb", "name")

    def __init__(self, rcb: Connection) -> None:
        self._rcb = rcb
        self.name = rcb.name

    @property
    def closed(self) -> bool:
        """Whether no message comes or goes any more."""
        return self._rcb.closed

    @property
    def close_reason(self) -> str:
        """Why it is closed."""
        return self._rcb.reason

    @property
    def unfinished(self) -> int:
        """Number of the message whose beginning has come and whose end has not, 0 if there is none."""
        return self._rcb.unfinished
