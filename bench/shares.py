"""Shares (invariant I11): one client, or one destination, does its worst; what do the others notice?

    clients         one client opens all sessions it gets, each with an envelope of 1,000 recipients, and stays
    destinations    10,000 recipients for a server that takes connections and hangs: it never says a word (or --at)
    slow            10,000 messages for a server that needs a second for each, and 100 for ten other domains behind them

Beside them others send mail; their rate, or their delay from 250 to arrival, is measured before and while it happens, in the
same gateway of real processes.
"""

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.results import record
from contrib.lib.gateway import ROOT, Gateway, wait_until

Measure = Callable[[Gateway, "Sink", argparse.Namespace], dict[str, str]]

BAD, GOOD = "127.0.0.2", "127.0.0.1"
SMTPC = "auth { file = logins; flags = { without_tls }; }"
WAIT_S = 60
INTRO = """\
One client does its worst (all sessions it gets, 1,000 recipients in each), or one destination takes connections and answers
nothing (10,000 recipients wait for it), or is slow (10,000 messages wait for it, each takes a second).  Rates are messages a
second of the others, from the first connection until the sink has all, times are the median of their delays from 250 to
arrival, before and while it happens; refused counts their 4xx replies."""


class Session:
    """An SMTP session of a client.

    Args:
        port: of the gateway.
        source: address of the client.

    Owner: the thread that made it.
    """

    def __init__(self, port: int, source: str = GOOD) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), WAIT_S, source_address=(source, 0))
        self.file = self.sock.makefile("rb")
        self.banner = self.reply()

    def reply(self) -> bytes:
        """Reads a reply; gives its last line, empty if the connection is closed."""
        line = self.file.readline()
        while line[3:4] == b"-":
            line = self.file.readline()
        return line

    def say(self, *lines: str) -> list[bytes]:
        """Sends lines at once and gives their replies; those that do not come, because the server closes, are empty."""
        replies: list[bytes] = []
        with contextlib.suppress(ConnectionError):
            self.sock.sendall("".join(f"{line}\r\n" for line in lines).encode())
        with contextlib.suppress(ConnectionError):
            replies.extend(self.reply() for _ in lines)
        return replies + [b""] * (len(lines) - len(replies))

    def close(self) -> None:
        """Closes the connection."""
        self.file.close()
        self.sock.close()


class BadClient:
    """A client that holds what it can get until it is closed.  Owner: the caller."""

    def __init__(self, port: int, rcpts: int = 1000) -> None:
        self.sessions: list[Session] = []
        self.rcpts = 0
        self.refused = b""
        while not self.refused:
            session = Session(port, BAD)
            answers = [session.banner, *session.say("EHLO bad.example", "MAIL FROM:<a@bad.example>")]
            self.refused = next((answer for answer in answers if answer.startswith(b"421")), b"")
            if self.refused:  # at the latest in place of the answer to MAIL
                session.close()
                break
            self.sessions.append(session)
            if self.rcpts < 50 * rcpts:  # the refusals come with the next reply that is free
                replies = session.say(*(f"RCPT TO:<r{number}@x.example>" for number in range(rcpts)))
                self.rcpts += sum(one.startswith(b"250") for one in replies)

    def close(self) -> None:
        """Lets everything go."""
        for session in self.sessions:
            session.close()


class Sink:
    """A server that takes all mail, as a process.  Owner: the caller."""

    def __init__(self, directory: Path, port: int = 0, delay_s: float = 0.0) -> None:
        self._index = directory / "envelopes.jsonl"
        smtpsink = str(ROOT / "contrib/loadtest/smtpsink.py")
        program = [sys.executable, smtpsink, "--maildir", str(directory), "--listen", f"127.0.0.1:{port}"]
        program += ["--delay", str(delay_s)]
        self._process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().strip().rpartition(":")[2])

    def count(self) -> int:
        """Gives how many messages have come."""
        return self._index.read_bytes().count(b"\n")

    def envelopes(self) -> list[dict[str, Any]]:
        """Gives what came: file, mail, rcpts, size."""
        return [json.loads(line) for line in self._index.read_text().splitlines()]

    def stop(self) -> None:
        """Ends the server."""
        with self._process as process:  # this closes its pipe and waits for it
            process.terminate()


_EHLO: Final = b"220 hung.example ESMTP\r\n", b"250-hung.example\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n"
#: What a server says before it hangs, by where that is.
HANGS: Final[dict[str, tuple[bytes, ...]]] = {
    "greeting": (),
    "starttls": _EHLO,
    "handshake": (*_EHLO, b"220 go on\r\n"),
    "auth": (_EHLO[0], _EHLO[1].replace(b"STARTTLS", b"HELP")),
}


class Hung:
    """A server that takes connections and says nothing, or nothing more; release() lets it end them.  Owner: the caller.

    Args:
        says: what it says before, each but the first after something was said to it.
    """

    def __init__(self, says: tuple[bytes, ...] = ()) -> None:
        self._says = says
        self._server = socket.create_server((BAD, 0), backlog=1024)
        self.port: int = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many came."""
        return len(self._open)

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                conn = self._server.accept()[0]
                self._open.append(conn)
                if self._says:
                    threading.Thread(target=self._talk, args=(conn,), daemon=True).start()

    def _talk(self, conn: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for number, text in enumerate(self._says):
                if number and not conn.recv(4096):
                    return
                conn.sendall(text)

    def release(self) -> None:
        """Ends everything."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(10)
        for conn in self._open:
            with contextlib.suppress(OSError):  # wakes who reads
                conn.shutdown(socket.SHUT_RDWR)
            conn.close()


@dataclass
class Load:
    """Mail of the others: some sessions at a time, one recipient a message; a 4xx is counted and tried again.

    Args:
        port: of the gateway.
        messages: how many.
        domain: of the recipients; {} in it stands for a digit that goes round.

    Attributes:
        accepted: time of the 250 of each recipient, in seconds since the epoch.
    """

    port: int
    messages: int
    domain: str = "other.example"
    left: list[int] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)
    accepted: dict[str, float] = field(default_factory=dict)

    def run(self, sessions: int) -> None:
        """Sends everything.  Blocks: yes."""
        self.left = list(range(self.messages))
        threads = [threading.Thread(target=self._send) for _ in range(sessions)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _send(self) -> None:
        session = Session(self.port)
        if not session.banner.startswith(b"220"):
            self.refused.append(session.banner)
            session.close()
            return
        session.say("EHLO good.example")
        while self.left:
            with contextlib.suppress(IndexError):
                self._message(session, self.left.pop())
        session.close()

    def _message(self, session: Session, number: int) -> None:
        rcpt = f"r{number}@{self.domain.format(number % 10)}"
        replies = session.say("MAIL FROM:<good@back.example>", f"RCPT TO:<{rcpt}>", "DATA")
        if replies[-1].startswith(b"354"):
            replies = session.say(f"Subject: {number}\r\n\r\nhello\r\n.")
        if replies[-1].startswith(b"250"):
            self.accepted[rcpt] = time.time()
        else:
            self.refused.append(replies[-1])
            self.left.append(number)
            session.say("RSET")
            time.sleep(0.01)


def rate(gateway: Gateway, sink: Sink, messages: int, sessions: int) -> tuple[float, list[bytes]]:
    """Sends mail of others; gives messages a second until all have come, and the refusals."""
    before, start = sink.count(), time.monotonic()
    load = Load(gateway.port, messages)
    load.run(sessions)
    wait_until(lambda: sink.count() >= before + messages, WAIT_S, f"{sink.count() - before} of {messages} came")
    return messages / (time.monotonic() - start), load.refused


def fill(gateway: Gateway, domains: Sequence[str], rcpts: int, each: int) -> None:
    """Sends messages of `each` recipients, of the domains in turn, until there are `rcpts` of them."""
    session = Session(gateway.port)
    session.say("EHLO list.example")
    for first in range(0, rcpts, each):
        rcpts_now = (f"RCPT TO:<r{first + n}@{domains[n % len(domains)]}>" for n in range(each))
        session.say("MAIL FROM:<list@back.example>", *rcpts_now, "DATA")
        reply = session.say("Subject: list\r\n\r\nhello\r\n.")
        if not reply[0].startswith(b"250"):
            raise SystemExit(f"not accepted: {reply[0]!r}")
    session.close()


def clients(gateway: Gateway, sink: Sink, options: argparse.Namespace) -> dict[str, str]:
    """One client does its worst."""
    alone, _ = rate(gateway, sink, options.messages, options.sessions)
    bad = BadClient(gateway.port)
    held = gateway.control("status")
    try:
        beside, refused = rate(gateway, sink, options.messages, options.sessions)
    finally:
        bad.close()
    text = f"{len(bad.sessions)} sessions, {held['iqdb']} envelopes"
    return {"what": "client", "held": text, "alone": f"{alone:.0f}", "beside": f"{beside:.0f}", "refused": str(len(refused))}


def destinations(gateway: Gateway, sink: Sink, options: argparse.Namespace) -> dict[str, str]:
    """One destination does not answer."""
    alone, _ = rate(gateway, sink, options.messages, options.sessions)
    fill(gateway, ["hung.example"], options.rcpts, min(500, options.rcpts))
    beside, refused = rate(gateway, sink, options.messages, options.sessions)
    status = gateway.control("status")
    text = f"{status['aq']} in AQ, {status['defedb']} in DEFEDB"
    return {
        "what": "destination",
        "held": text,
        "alone": f"{alone:.0f}",
        "beside": f"{beside:.0f}",
        "refused": str(len(refused)),
    }


def delay(gateway: Gateway, sink: Sink, messages: int) -> tuple[float, list[bytes]]:
    """Sends mail of others to ten domains, one message at a time.

    Returns:
        The median of the times from 250 to arrival, in milliseconds, and the refusals.
    """
    before = sink.count()
    load = Load(gateway.port, messages, "fast{}.example")
    load.run(1)
    wait_until(lambda: sink.count() >= before + messages, WAIT_S, f"{sink.count() - before} of {messages} came")
    came = {one["rcpts"][0]: float(one["file"].rsplit(".", 2)[0]) for one in sink.envelopes()[before:]}
    return 1000 * median(came[rcpt] - accepted for rcpt, accepted in load.accepted.items()), load.refused


def slow(gateway: Gateway, sink: Sink, options: argparse.Namespace) -> dict[str, str]:
    """One destination is slow, and much mail waits for it."""
    alone, _ = delay(gateway, sink, options.fast)
    Load(gateway.port, options.slow, "slow.example").run(options.sessions)
    beside, refused = delay(gateway, sink, options.fast)
    status = gateway.control("status")
    return {
        "what": "slow destination",
        "held": f"{status['aq']} in AQ, {status['defedb']} in DEFEDB",
        "alone": f"{alone:.1f} ms",
        "beside": f"{beside:.1f} ms",
        "refused": str(len(refused)),
    }


def is_good(found: dict[str, str], least: float) -> bool:
    """Tells whether the others were not refused, and as fast as they have to be."""
    alone, beside = (float(found[name].removesuffix(" ms")) for name in ("alone", "beside"))
    fast = beside <= 2 * alone if found["alone"].endswith("ms") else beside >= least * alone
    return fast and found["refused"] == "0"


def run(measure: Measure, options: argparse.Namespace) -> dict[str, str]:
    """Measures one thing with a gateway of its own."""
    with tempfile.TemporaryDirectory(prefix="meta1g-shares-") as name:
        directory = Path(name)
        sink, late = Sink(directory / "sink"), Sink(directory / "late", delay_s=1.0)
        hung = Hung(HANGS[options.at])
        table = "\n".join(
            (
                f"hung.example {hung.port}^[{BAD}]",
                f"slow.example {late.port}^[127.0.0.1]",
                f". {sink.port}^[127.0.0.1]",
            )
        )
        sections = {"qmgr": options.qmgr, "smtpc": SMTPC if options.at == "auth" else ""}
        gateway = Gateway(directory / "gateway", table, sections, relay_from=f"{GOOD}, {BAD}")
        gateway.setup()
        (gateway.conf.parent / "logins").write_text(f"{BAD} user password secret\n")
        (gateway.conf.parent / "logins").chmod(0o600)
        gateway.start()
        try:
            return measure(gateway, sink, options)
        finally:
            hung.release()
            gateway.stop()
            late.stop()
            sink.stop()


def main(argv: list[str]) -> int:
    """Measures all; gives 1 if the others were refused, or slower than allowed."""
    measures: dict[str, Measure] = {"clients": clients, "destinations": destinations, "slow": slow}
    parser = argparse.ArgumentParser(prog="bench/shares", description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"which of {' '.join(measures)} [all]")
    parser.add_argument("--messages", type=int, default=1000, help="of the others, for each rate [1000]")
    parser.add_argument("--sessions", type=int, default=20, help="of the others [20]")
    parser.add_argument("--rcpts", type=int, default=10_000, help="for the destination that does not answer [10000]")
    parser.add_argument("--at", choices=HANGS, default="greeting", help="where its server hangs [greeting]")
    parser.add_argument("--slow", type=int, default=10_000, help="messages for the slow destination [10000]")
    parser.add_argument("--fast", type=int, default=100, help="messages for ten others behind them [100]")
    parser.add_argument("--least", type=float, default=0.5, help="least part of the usual rate [0.5]")
    parser.add_argument("--qmgr", default="", help="further options of qmgr")
    options = parser.parse_args(argv)
    if unknown := set(options.measures) - set(measures):
        parser.error(f"{unknown.pop()} is none of {' '.join(measures)}")
    good = True
    for name in options.measures or measures:
        found = run(measures[name], options)
        print("  ".join(f"{name}: {value}" for name, value in found.items()), flush=True)
        record("Shares", INTRO, f"bench/shares {' '.join(argv)}".strip(), found)
        good &= is_good(found, options.least)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
