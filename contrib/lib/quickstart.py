"""The gateway in five minutes: starts it, sends a message with an attachment through it, shows the way it took."""

import argparse
import contextlib
import email.message
import email.policy
import email.utils
import json
import os
import re
import shlex
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from contrib.lib.gateway import ROOT, Gateway, wait_until
from meta1g.base import cli

COLOURS = {"mcp": "35", "smtps": "32", "smar": "36", "qmgr": "33", "smtpc": "34"}
LINE = re.compile(r"(?P<stamp>\S+) (?P<module>\w+)\[(?P<pid>\d+)\]: (?P<text>.*)")
SHOWN_FACTS = ("client", "mail", "rcpt", "size", "rcpts", "da", "server", "port", "reply", "da_ta", "delay_s")


class QuickstartError(Exception):
    """What went wrong and what to do about it, one line."""


@dataclass(frozen=True)
class Step:
    """One line of the log."""

    time: datetime
    module: str
    facts: dict[str, str]


def steps(log: Path, ta_id: str) -> Iterator[Step]:
    """Gives the lines of the log that name a transaction, in the order of time."""
    found = []
    for line in log.read_text().splitlines():
        match = LINE.fullmatch(line)
        if match and ta_id in line:
            facts = dict(pair.partition("=")[::2] for pair in match["text"].split(", "))
            found.append(Step(datetime.fromisoformat(match["stamp"]), match["module"], facts))
    return iter(sorted(found, key=lambda step: step.time))


def table(rows: list[Step], *, colour: bool) -> str:
    """Draws the steps as a table with times in milliseconds since the first one."""
    lines = [f"{'ms':>8}  {'process':8} {'event':18} facts"]
    for step in rows:
        ms = (step.time - rows[0].time).total_seconds() * 1000
        facts = " ".join(f"{key}={step.facts[key]}" for key in SHOWN_FACTS if key in step.facts)
        text = f"{ms:8.2f}  {step.module:8} {step.facts.get('func', ''):18} {facts} stat={step.facts.get('stat', '')}"
        lines.append(f"\x1b[{COLOURS.get(step.module, '0')}m{text}\x1b[0m" if colour else text)
    return "\n".join(lines)


def sample_message() -> bytes:
    """Makes a message with text, an attachment, 8-bit characters and lines that begin with dots."""
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["From"] = "Sender <sender@source.example>"
    message["To"] = "Recipient <rcpt@sink.example>"
    message["Subject"] = "meta1g quickstart"
    message["Date"] = email.utils.localtime()
    message["Message-ID"] = email.utils.make_msgid(domain="source.example")
    message.set_content("Hello from the quickstart.\n.\n..a line that begins with two dots\nGrüße\n", cte="8bit")
    message.add_attachment(os.urandom(20_000), maintype="application", subtype="octet-stream", filename="attachment.bin")
    return message.as_bytes()


def send(port: int, content: bytes) -> str:
    """Sends the message and gives the transaction id of the reply to the final dot."""
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.ehlo("source.example")
        for code, text in (
            client.mail("sender@source.example", ["BODY=8BITMIME", f"SIZE={len(content)}"]),
            client.rcpt("rcpt@sink.example"),
            client.data(content),
        ):
            reply = text.decode("ascii", "replace")
            if code >= 400:
                raise QuickstartError(f"the gateway refused the message: {code} {reply}")
    match = re.search(r"S[0-9A-F]{18}", reply)
    if match is None:
        raise QuickstartError(f"the reply to the final dot names no transaction: {reply}")
    return match[0]


def delivered(maildir: Path) -> list[Path]:
    """Gives the files of the sink."""
    return sorted((maildir / "new").iterdir())


def compare(sent: bytes, received: bytes) -> str:
    """Tells how the delivered file differs from what was sent: by trace headers in front, or not at all otherwise.

    Raises:
        QuickstartError: it differs in anything else.
    """
    if not received.endswith(sent):
        raise QuickstartError("the delivered message differs from the one that was sent")
    trace = received[: len(received) - len(sent)]
    if not trace.startswith(b"Received: "):
        raise QuickstartError(f"unexpected header in front of the message: {trace[:80]!r}")
    return f"{len(received)} bytes; equal byte for byte but for {len(trace)} bytes of trace header:\n{trace.decode().rstrip()}"


class Quickstart:
    """The gateway and its sink."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.maildir = directory / "Maildir"
        self.sink: subprocess.Popen[str] | None = None
        self.gateway = Gateway(directory, "", port=port, log_level=15, tls=True)

    def start(self) -> None:
        """Starts the sink, then the gateway that relays everything to it."""
        self.check_port()
        command = [sys.executable, str(ROOT / "contrib/loadtest/smtpsink.py"), "--maildir", str(self.maildir)]
        self.sink = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.sink.stdout is not None
        address = self.sink.stdout.readline().strip()
        if not address:
            raise QuickstartError("the sink did not start; see its error above")
        say(f"sink        listens on {address}, keeps mail in {self.maildir}")
        host, _, port = address.rpartition(":")
        self.gateway.mailertable = f". {port}^[{host}]"
        self.gateway.setup()
        self.gateway.start()
        pids = ", ".join(f"{name} {ids[0]}" for name, ids in sorted(self.gateway.pids().items()))
        say(f"gateway     listens on 127.0.0.1:{self.gateway.port}; {pids}")

    def check_port(self) -> None:
        """Tells who asks for a port in use what to do."""
        try:
            socket.create_server(("127.0.0.1", self.gateway.port)).close()
        except OSError as error:
            raise QuickstartError(
                f"127.0.0.1:{self.gateway.port}: {os.strerror(error.errno)}; "
                "stop what listens there or choose another port with --port"
            ) from error

    def relay(self) -> None:
        """Sends one message and shows its way."""
        content = sample_message()
        before = len(delivered(self.maildir))
        ta_id = send(self.gateway.port, content)
        say(f"message     {len(content)} bytes accepted as {ta_id}")
        wait_until(lambda: len(delivered(self.maildir)) > before, 30, f"message in the sink; {self.gateway.last_words()}")
        self.gateway.wait_empty(30)
        file = self.maildir / "new" / json.loads((self.maildir / "envelopes.jsonl").read_text().splitlines()[-1])["file"]
        say(f"\nThe way of {ta_id} through the log {self.gateway.log}\n")
        say(table(list(steps(self.gateway.log, ta_id)), colour=sys.stdout.isatty()))
        say(f"\ndelivered   {file}")
        say(f"            {compare(content, file.read_bytes())}")
        say("queues      all empty: " + ", ".join(f"{key} {value}" for key, value in self.gateway.leftovers().items()))

    def go_on(self) -> None:
        """Tells what can be done now, and waits for Ctrl-C or SIGTERM."""
        gateway = self.gateway
        facts = {"conf": shlex.quote(str(gateway.conf)), "log": shlex.quote(str(gateway.log))}
        with contextlib.suppress(KeyboardInterrupt):
            say(HOW_TO_GO_ON.format(port=gateway.port, pid=os.getpid(), **facts))
            while True:
                signal.pause()

    def stop(self) -> None:
        """Stops everything that was started; Ctrl-C has no effect meanwhile."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        code = self.gateway.stop()
        if self.sink is not None:
            self.sink.terminate()
            self.sink.communicate(timeout=10)
        if code:
            raise QuickstartError(f"mcp ended with {code}: {self.gateway.last_words()}")


def say(text: str) -> None:
    """Prints a line at once."""
    print(text, flush=True)


HOW_TO_GO_ON = """
Send more:  swaks --server 127.0.0.1:{port} --from you@source.example --to rcpt@sink.example --attach @README
            or any mail program whose outgoing server is 127.0.0.1, port {port}
Look:       .venv/bin/mailq -f {conf}     .venv/bin/qmgrctl -f {conf} status     tail -f {log}
Stop:       Ctrl-C here, or kill {pid}
"""


def main(argv: list[str]) -> int:
    """Runs the quickstart and gives its exit code."""
    parser = argparse.ArgumentParser(prog="contrib/quickstart", description="Run the gateway and relay a real message.")
    parser.add_argument("--once", action="store_true", help="relay one message, stop, and exit 0 if all went well")
    parser.add_argument("--port", type=int, default=2525, help="port of the gateway on 127.0.0.1 [2525]")
    parser.add_argument("--directory", type=Path, help="where everything is kept [a new temporary directory]")
    options = parser.parse_args(argv)
    directory = (options.directory or Path(tempfile.mkdtemp(prefix="meta1g-quickstart-"))).resolve()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = run(Quickstart(directory, options.port), once=options.once)
    if not options.directory and (not any(directory.iterdir()) or (options.once and code == 0)):
        shutil.rmtree(directory)
    elif not options.once or code:
        say(f"everything is still in {directory}")
    return code


def run(quickstart: Quickstart, *, once: bool) -> int:
    """Starts, relays, waits if it is not only once, stops; gives the exit code."""
    try:
        try:
            quickstart.start()
            quickstart.relay()
            if not once:
                quickstart.go_on()
        finally:
            quickstart.stop()
    except KeyboardInterrupt:
        return 130
    except (QuickstartError, TimeoutError, RuntimeError, OSError, smtplib.SMTPException) as error:
        print(f"contrib/quickstart: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # an interrupt within an exec() would make the interpreter end by the signal, whatever code it is given
    cli.end_program("contrib/quickstart", main)
