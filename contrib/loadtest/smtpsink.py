#!/usr/bin/env python3
"""An SMTP or LMTP sink: takes all mail, keeps it as a Maildir, or counts it.

Each message is one file below `MAILDIR/new`, byte for byte as it was received after dot-unstuffing; each line of
`MAILDIR/envelopes.jsonl` names one file with its envelope.  The first line on standard output is the address it
listens on (port 0 picks a free one).  SIGTERM or SIGINT ends it; it then prints how many messages came.

Modelled on MeTA1's test program smtps2.  Ref: RFC 5321, RFC 2033, RFC 2920.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

MESSAGE_MAX_BYTES = 256 << 20
IDLE_TIMEOUT_S = 600.0
CONTENT_TIMEOUT_S = 3600.0


class Store:
    """Where messages go."""

    def __init__(self, maildir: Path | None) -> None:
        self.maildir = maildir
        self.count = 0
        if maildir is not None:
            for name in ("new", "cur", "tmp"):
                (maildir / name).mkdir(parents=True, exist_ok=True)
            self.index = (maildir / "envelopes.jsonl").open("a", buffering=1)

    def keep(self, mail: str, rcpts: list[str], content: bytes, peer: str) -> str:
        """Keeps one message and gives its name."""
        self.count += 1
        name = f"{time.time():.6f}.{os.getpid()}_{self.count}.sink"
        if self.maildir is not None:
            temporary = self.maildir / "tmp" / name
            temporary.write_bytes(content)
            temporary.rename(self.maildir / "new" / name)
            facts = {"file": name, "mail": mail, "rcpts": rcpts, "peer": peer, "size": len(content)}
            self.index.write(json.dumps(facts) + "\n")
        return name


class Session:
    """One connection."""

    def __init__(self, sink: "Sink", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sink = sink
        self.reader = reader
        self.writer = writer
        self.peer = str(writer.get_extra_info("peername"))
        self.mail: str | None = None
        self.rcpts: list[str] = []

    async def run(self) -> None:
        """Serves commands until QUIT or the end of the connection."""
        self.say(220, "sink ready")
        while True:
            if not self.sink.has_more(self.reader):
                await self.writer.drain()
            line = await asyncio.wait_for(self.reader.readuntil(b"\r\n"), IDLE_TIMEOUT_S)
            verb, _, argument = line[:-2].decode("utf-8", "replace").partition(" ")
            handler = getattr(self, f"do_{verb.lower()}", None) if verb.isalnum() else None
            if handler is None:
                self.say(500, "5.5.1 what?")
            elif await handler(argument) is False:
                await self.writer.drain()
                return

    def say(self, code: int, text: str) -> None:
        """Queues a reply."""
        self.writer.write(f"{code} {text}\r\n".encode())

    async def do_ehlo(self, argument: str) -> None:
        """Names the extensions."""
        lines = ["sink", *self.sink.extensions]
        for line in lines[:-1]:
            self.writer.write(f"250-{line}\r\n".encode())
        self.say(250, lines[-1])

    do_lhlo = do_ehlo

    async def do_helo(self, argument: str) -> None:
        """Greets."""
        self.say(250, "sink")

    async def do_mail(self, argument: str) -> None:
        """Begins a transaction."""
        if self.mail is not None:
            self.say(503, "5.5.1 transaction is open")
            return
        self.mail, self.rcpts = _path(argument), []
        self.say(250, "2.1.0 ok")

    async def do_rcpt(self, argument: str) -> None:
        """Takes a recipient, or refuses it as the command line says."""
        rcpt = _path(argument)
        if self.mail is None:
            self.say(503, "5.5.1 MAIL first")
        elif self.sink.reject and self.sink.reject.search(rcpt):
            self.say(550, "5.1.1 no such user here")
        elif self.sink.defer and self.sink.defer.search(rcpt):
            self.say(450, "4.2.1 come back later")
        else:
            self.rcpts.append(rcpt)
            self.say(250, "2.1.5 ok")

    async def do_data(self, argument: str) -> None:
        """Takes the content; LMTP answers once for each recipient."""
        if not self.rcpts:
            self.say(554, "5.5.1 no valid recipients")
            return
        self.say(354, "go ahead")
        await self.writer.drain()
        content = await self.content()
        await asyncio.sleep(self.sink.delay)
        name = self.sink.store.keep(self.mail or "", self.rcpts, content, self.peer)
        for _ in self.rcpts if self.sink.lmtp else [None]:
            self.say(250, f"2.0.0 kept as {name}")
        self.mail, self.rcpts = None, []

    async def content(self) -> bytes:
        """Reads until the line with a dot, in a time for the whole; only CR LF ends a line."""
        lines = []
        async with asyncio.timeout(CONTENT_TIMEOUT_S):
            while (line := await self.reader.readuntil(b"\r\n")) != b".\r\n":
                lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    async def do_rset(self, argument: str) -> None:
        """Forgets the transaction."""
        self.mail, self.rcpts = None, []
        self.say(250, "2.0.0 ok")

    async def do_noop(self, argument: str) -> None:
        """Does nothing."""
        self.say(250, "2.0.0 ok")

    async def do_quit(self, argument: str) -> bool:
        """Ends the session."""
        self.say(221, "2.0.0 bye")
        return False


def _path(argument: str) -> str:
    match = re.search(r"<([^>]*)>", argument)
    return match[1] if match else argument


class Sink:
    """The server and what it was told."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.store = Store(options.maildir)
        self.lmtp = options.lmtp
        self.reject = re.compile(options.reject) if options.reject else None
        self.defer = re.compile(options.defer) if options.defer else None
        self.delay = options.delay
        self.extensions = [word for word in options.extensions.split(",") if word]

    @staticmethod
    def has_more(reader: asyncio.StreamReader) -> bool:
        """Tells whether a further command is waiting already (pipelining)."""
        return b"\r\n" in reader._buffer  # type: ignore[attr-defined] # noqa: SLF001 - no public way to ask

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection; what the peer does wrong ends only this connection."""
        try:
            await Session(self, reader, writer).run()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, OSError):
            pass
        finally:
            writer.close()


async def run(options: argparse.Namespace) -> int:
    """Serves until a signal comes."""
    sink = Sink(options)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    if options.listen.startswith("unix:"):
        server = await asyncio.start_unix_server(sink.serve, options.listen[5:], limit=MESSAGE_MAX_BYTES)
        address = options.listen
    else:
        host, _, port = options.listen.rpartition(":")
        server = await asyncio.start_server(sink.serve, host or "127.0.0.1", int(port), limit=MESSAGE_MAX_BYTES, backlog=1024)
        address = "{}:{}".format(*server.sockets[0].getsockname()[:2])
    print(address, flush=True)
    await stop.wait()
    server.close()
    print(f"{sink.store.count} messages", flush=True)
    return 0


def main(argv: list[str]) -> int:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(prog="smtpsink", description="An SMTP or LMTP sink that keeps what it gets as a Maildir.")
    parser.add_argument("--listen", default="127.0.0.1:0", help="ADDRESS:PORT or unix:PATH [127.0.0.1:0]")
    parser.add_argument("--maildir", type=Path, help="keep messages here; without it they are only counted")
    parser.add_argument("--lmtp", action="store_true", help="answer the dot once for each recipient")
    parser.add_argument("--reject", help="refuse recipients that match this pattern with 550")
    parser.add_argument("--defer", help="refuse recipients that match this pattern with 450")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds until the dot is answered [0]")
    parser.add_argument("--extensions", default="PIPELINING,8BITMIME,SIZE,ENHANCEDSTATUSCODES", help="EHLO keywords, by commas")
    return asyncio.run(run(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
