"""A name server for tests, UDP and TCP on one port of the loopback: answers from a table, misbehaves as told.

server.add("example.org", "MX", "10 mx.example.org")          what it knows; unknown names do not exist
server.script("example.org", "MX", DROP, SERVFAIL)            what it does with the next questions, then as usual
server.hold(); ...; server.release()                          keeps all answers back
server.signed("example.org"); server.unsigned("a.example.org")    validates (AD bit) what is at and below a name, or not
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

WAIT_S = 20
_LENGTH = struct.Struct(">H")

#: An act makes of the right answer the packets that are sent, any number of them.
Act = Callable[[dns.message.Message], list[bytes]]


def DROP(answer: dns.message.Message) -> list[bytes]:
    """Says nothing."""
    return []


def rcode(code: int) -> Act:
    """Answers with a code and no records."""

    def act(answer: dns.message.Message) -> list[bytes]:
        answer.answer, answer.authority = [], []
        answer.set_rcode(code)
        return [answer.to_wire()]

    return act


SERVFAIL = rcode(dns.rcode.SERVFAIL)
REFUSED = rcode(dns.rcode.REFUSED)


def FORMERR(answer: dns.message.Message) -> list[bytes]:
    """Answers as an old server that does not know EDNS0: without the question."""
    plain = dns.message.Message(id=answer.id)
    plain.flags |= dns.flags.QR
    plain.set_rcode(dns.rcode.FORMERR)
    return [plain.to_wire()]


def TRUNCATE(answer: dns.message.Message) -> list[bytes]:
    """Answers that it did not fit."""
    answer.answer = []
    answer.flags |= dns.flags.TC
    return [answer.to_wire()]


def WRONG_ID(answer: dns.message.Message) -> list[bytes]:
    """Sends a forged answer with another id, then the right one."""
    right = answer.to_wire()
    answer.id ^= 1
    return [answer.to_wire(), right]


def WRONG_NAME(answer: dns.message.Message) -> list[bytes]:
    """Sends an answer to another question, then the right one."""
    right = answer.to_wire()
    answer.question = [dns.rrset.RRset(dns.name.from_text("forged.example"), 1, answer.question[0].rdtype)]
    return [answer.to_wire(), right]


def GARBAGE(answer: dns.message.Message) -> list[bytes]:
    """Sends bytes that only start like an answer, then the right one."""
    right = answer.to_wire()
    return [b"", b"\x01", right[:4] + b"\xff" * 30, right]


def QUERY(answer: dns.message.Message) -> list[bytes]:
    """Sends the question back, then the right answer."""
    right = answer.to_wire()
    answer.flags &= ~dns.flags.QR
    return [answer.to_wire(), right]


def LAME(answer: dns.message.Message) -> list[bytes]:
    """Names other servers only."""
    answer.answer, answer.authority = [], [dns.rrset.from_text("example.", 60, "IN", "NS", "ns.example.")]
    answer.set_rcode(dns.rcode.NOERROR)
    answer.flags &= ~(dns.flags.AA | dns.flags.RA)
    return [answer.to_wire()]


@dataclass(frozen=True, slots=True)
class Asked:
    """One question that came."""

    name: str
    rrtype: str
    transport: str
    port: int
    number: int
    edns: bool


class NameServer:
    """The server; a context manager.  Answers carry the SOA record of the root with negative_ttl if there are none."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0, *, negative_ttl: int = 60, tcp: bool = True) -> None:
        self.negative_ttl = negative_ttl
        self.asked: list[Asked] = []
        self._records: dict[tuple[str, str], list[dns.rrset.RRset]] = {}
        self._scripts: dict[tuple[str, str], list[Act]] = {}
        self._signed: dict[str, bool] = {}
        self._changed = threading.Condition()
        self._held: list[Callable[[], None]] | None = None
        self._closing = False
        self._threads: list[threading.Thread] = []
        self._conns: set[socket.socket] = set()
        self._udp, self._tcp = _bind(address, port, tcp=tcp)
        self.address, self.port = self._udp.getsockname()[:2]

    def add(self, name: str, rrtype: str, *values: str, ttl: int = 300) -> None:
        """Knows records; several calls give an answer with several sets, in this order."""
        records = dns.rrset.from_text(dns.name.from_text(name), ttl, "IN", rrtype, *values)
        self._records.setdefault((_key(name), rrtype), []).append(records)

    def add_beside(self, name: str, rrtype: str, other: str, other_type: str, *values: str, ttl: int = 300) -> None:
        """Lets an answer carry a further set of records before its own."""
        records = dns.rrset.from_text(dns.name.from_text(other), ttl, "IN", other_type, *values)
        self._records.setdefault((_key(name), rrtype), []).insert(0, records)

    def signed(self, name: str) -> None:
        """Validates what is at and below a name."""
        self._signed[_key(name)] = True

    def unsigned(self, name: str) -> None:
        """Has nothing to validate at and below a name."""
        self._signed[_key(name)] = False

    def _is_signed(self, name: str) -> bool:
        labels = name.split(".")
        zones = (".".join(labels[at:]) for at in range(len(labels)))
        return next((self._signed[zone] for zone in zones if zone in self._signed), False)

    def remove(self, name: str, rrtype: str) -> None:
        self._records.pop((_key(name), rrtype), None)

    def script(self, name: str, rrtype: str, *acts: Act) -> None:
        self._scripts.setdefault((_key(name), rrtype), []).extend(acts)

    def hold(self) -> None:
        with self._changed:
            self._held = []

    def release(self) -> None:
        with self._changed:
            held, self._held = self._held or [], None
        for send in held:
            send()

    def questions(self, name: str, rrtype: str) -> list[Asked]:
        with self._changed:
            return [one for one in self.asked if (one.name, one.rrtype) == (_key(name), rrtype)]

    def wait_for(self, count: int, what: Callable[[Asked], bool] = lambda one: True) -> list[Asked]:
        """Waits until so many questions have come."""
        end_s = time.monotonic() + WAIT_S
        with self._changed:
            while len(found := [one for one in self.asked if what(one)]) < count:
                assert time.monotonic() < end_s, f"{len(found)} of {count} questions came"
                self._changed.wait(end_s - time.monotonic())
            return found

    def __enter__(self):
        self._spawn(self._serve_udp)
        if self._tcp is not None:
            self._spawn(self._accept, self._tcp)
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing = True
        with socket.socket(self._udp.family, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", (self.address, self.port))
        if self._tcp is not None:
            with contextlib.suppress(OSError):
                self._tcp.shutdown(socket.SHUT_RDWR)
            self._tcp.close()
        for conn in list(self._conns):
            with contextlib.suppress(OSError):
                conn.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(WAIT_S)
        self._udp.close()

    def _spawn(self, function: Callable, *args: object) -> None:
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve_udp(self) -> None:
        while True:
            packet, peer = self._udp.recvfrom(65535)
            if self._closing:
                return

            def send(data: bytes, peer: object = peer) -> None:
                with contextlib.suppress(OSError):
                    self._udp.sendto(data, peer)

            self._answer(packet, "udp", peer[1], send)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                conn, peer = listener.accept()
                self._conns.add(conn)
                self._spawn(self._serve_tcp, conn, peer[1])

    def _serve_tcp(self, conn: socket.socket, port: int) -> None:
        def send(data: bytes) -> None:
            for at in range(0, len(data) + 2, 100):  # in pieces, as networks do
                conn.sendall((_LENGTH.pack(len(data)) + data)[at : at + 100])

        with conn, contextlib.suppress(OSError):
            for packet in _packets(conn):
                self._answer(packet, "tcp", port, send)

    def _answer(self, packet: bytes, transport: str, port: int, send: Callable[[bytes], None]) -> None:
        query = dns.message.from_wire(packet)
        name, rrtype = _key(str(query.question[0].name)), dns.rdatatype.to_text(query.question[0].rdtype)
        answer = self._right_answer(query, name, rrtype)
        with self._changed:
            self.asked.append(Asked(name, rrtype, transport, port, query.id, query.edns >= 0))
            self._changed.notify_all()
            acts = self._scripts.get((name, rrtype), [])
            act = acts.pop(0) if acts else None
            if self._held is not None:
                self._held.append(lambda: send(answer.to_wire()))
                return
        for data in act(answer) if act is not None else [answer.to_wire()]:
            send(data)

    def _right_answer(self, query: dns.message.Message, name: str, rrtype: str) -> dns.message.Message:
        answer = dns.message.make_response(query, recursion_available=True)
        answer.request_payload = 65535  # truncates only when a script says so
        here, secure = name, bool(query.flags & dns.flags.AD)
        for _ in range(20):
            found = self._records.get((here, rrtype), [])
            aliases = self._records.get((here, "CNAME"), [])
            answer.answer += found or aliases
            secure = secure and self._is_signed(here)
            if found or not aliases:
                break
            here = _key(str(aliases[-1][0].target))
        if secure:
            answer.flags |= dns.flags.AD
        if not any(one.rdtype == query.question[0].rdtype for one in answer.answer):
            soa = f"ns. hostmaster. 1 3600 600 86400 {self.negative_ttl}"
            answer.authority = [dns.rrset.from_text(".", 3600, "IN", "SOA", soa)]
            if not any(key[0] == here for key in self._records):
                answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer


def _bind(address: str, port: int, *, tcp: bool) -> tuple[socket.socket, socket.socket | None]:
    """Finds a port that is free for UDP and TCP."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for attempt in range(20):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        udp.bind((address, port))
        try:
            return udp, socket.create_server(udp.getsockname()[:2], family=family) if tcp else None
        except OSError:
            udp.close()
            if port or attempt == 19:
                raise
    raise AssertionError


def _packets(conn: socket.socket) -> Iterator[bytes]:
    buffer = b""
    while True:
        while len(buffer) < 2 or len(buffer) < 2 + _LENGTH.unpack_from(buffer)[0]:
            data = conn.recv(4096)
            if not data:
                return
            buffer += data
        end = 2 + _LENGTH.unpack_from(buffer)[0]
        yield buffer[2:end]
        buffer = buffer[end:]


def _key(name: str) -> str:
    return name.lower().rstrip(".") or "."
