"""What real clients send: each row of docs/clients.md goes to meta1g and to a Postfix, and both answer as it says."""

import email
import itertools
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bench.relays import PostfixRelay
from contrib.lib.gateway import ROOT, Gateway, free_port, wait_until
from meta1g.smtp.address import parse_path
from tests.system.conftest import KeepingSink, directory_for_all, running

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("clients")]

TRUSTED, STRANGER = "127.0.0.1", "127.0.0.9"
FLAGS = {
    "lenient": "accept_local_senders, accept_bare_addresses, accept_odd_dots, allow_routing",
    "strict": "strict_ehlo, strict_lines",
}
SMTPS = """
smtps {name} {{
  listen_socket {{ type = inet; address = 127.0.0.1; port = {port}; }}
  start_action = wait; path = smtps; arguments = "smtps -f {conf} -n {name}"; flags = {{ {flags} }};
}}
"""
POSTFIX = f"""
mynetworks = {TRUSTED}
relay_domains = ours.example
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
"""
ORDINARY = {
    "EHLO": b"EHLO client.example",
    "MAIL": b"MAIL FROM:<s@example.org>",
    "RCPT": b"RCPT TO:<r@far.example>",
    "DATA": b"DATA",
}
CONTENT = b"Subject: x\r\n\r\nhello\r\n"
RECEIVED = re.compile(
    r"from [!-'*-+\-./0-:=?A-~\[\]]+ \([^()]*\[127\.0\.0\.\d\]\)\s+by gateway\.example \(meta1g\) with (?:E|UTF8)?SMTP id S\w+"
    r"(\s+for <[^\r\n]+>)?;\s+[\w, :+-]+"
)
WAIT_S = 60


@dataclass(frozen=True)
class Row:
    """One row of the table: what it is called, what is sent, the answer of each server."""

    form: str
    lines: tuple[bytes, ...]
    expected: dict[str, str]

    @property
    def source(self) -> str:
        return STRANGER if "stranger" in self.form else TRUSTED

    def chunks(self) -> list[tuple[bytes, bytes]]:
        """Gives the BDAT commands behind RCPT, each with its chunk."""
        return [(line, chunk) for line, chunk in itertools.pairwise(self.lines) if line[:4].upper() == b"BDAT"]

    def content(self) -> bytes:
        """Gives the content that is to arrive."""
        chunks = self.chunks()
        return b"".join(chunk for _, chunk in chunks) if chunks else (b"\r\n" + self.plan()[1]).replace(b"\r\n.", b"\r\n")[2:]

    def plan(self) -> tuple[dict[str, bytes], bytes, bytes | None]:
        """Gives the commands by their verbs, the content, and the command that is sent instead of a transaction, or None."""
        steps, content, other = dict(ORDINARY), CONTENT, None
        lines = list(self.lines)
        while lines:
            line = lines.pop(0)
            verb = line[:4].upper().decode("latin-1").replace("HELO", "EHLO")
            if verb == "BDAT":
                lines.pop(0)
                steps.pop("DATA", None)
            elif verb in steps:
                steps[verb] = line
                if line == b"DATA":
                    content = lines.pop(0)
            else:
                other = line
        return steps, content, other


def unescaped(text: str) -> bytes:
    """Reads a text between backquotes."""
    text = re.sub(r"\{(.)\*(\d+)\}", lambda match: match[1] * int(match[2]), text)
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def rows() -> Iterator[Row]:
    """Reads the table."""
    for line in (ROOT / "docs/clients.md").read_text().splitlines():
        cells = [cell.strip(" ") for cell in line.split("|")[1:-1]]
        if len(cells) != 5 or cells[0] in ("form", "---"):
            continue
        expected = {"meta1g": cells[2], "Postfix": cells[4]}
        flag, _, with_flag = cells[3].partition(": ")
        if flag:
            expected[next(name for name, flags in FLAGS.items() if flag in flags.split(", "))] = with_flag
        yield Row(cells[0], tuple(unescaped(text[1:-1]) for text in cells[1].split("<br>")), expected)


ROWS = list(rows())


class Talk:
    """One session with a server."""

    def __init__(self, port: int, source: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), WAIT_S, (source, 0))
        self.file = self.sock.makefile("rb")

    def reply(self) -> str:
        while True:
            line = self.file.readline().decode("latin-1")
            assert line, "the server closed the connection"
            if line[3:4] != "-":
                return line

    def ask(self, line: bytes) -> str:
        return self.say(line + b"\r\n")

    def say(self, data: bytes) -> str:
        self.sock.sendall(data)
        return self.reply()

    def close(self) -> None:
        self.file.close()
        self.sock.close()


def answer(port: int, row: Row) -> tuple[str, str]:
    """Plays a row; gives the outcome as the table writes it, and the reply to the final dot if it came to that."""
    steps, content, other = row.plan()
    talk = Talk(port, row.source)
    try:
        assert talk.reply().startswith("220")
        for verb, line in steps.items():
            if verb == "MAIL" and other is not None:
                return talk.ask(other)[:3], ""
            reply = talk.ask(line)
            if reply >= "4":
                return reply[:3], ""
        for line, chunk in row.chunks():
            reply = talk.say(line + b"\r\n" + chunk)
            if reply >= "4":
                return reply[:3], ""
        reply = reply if row.chunks() else talk.ask(content + b".")
        return "accepted" if reply.startswith("250") else reply[:3], reply
    finally:
        talk.close()


class Servers:
    """meta1g with three ports, the sink behind it, and the ports by name."""

    def __init__(self, gateway: Gateway, sink: KeepingSink, ports: dict[str, int]) -> None:
        self.sink = sink
        self.ports = {"meta1g": gateway.port, **ports}
        self._seen = 0
        self._came: dict[str, tuple[dict, bytes]] = {}

    def came(self, ta_id: str) -> tuple[dict, bytes]:
        """Waits for a message; gives its envelope and its content."""

        def here() -> bool:
            envelopes = self.sink.envelopes()
            for envelope in envelopes[self._seen :]:
                content = self.sink.content(envelope)
                self._came[content.partition(b" id ")[2][:19].decode()] = (envelope, content)
            self._seen = len(envelopes)
            return ta_id in self._came

        wait_until(here, WAIT_S, f"{ta_id} at the sink")
        return self._came[ta_id]


@pytest.fixture(scope="module")
def servers(tmp_path_factory) -> Iterator[Servers]:
    directory = tmp_path_factory.mktemp("clients")
    with KeepingSink(directory / "maildir") as sink:
        ports = {name: free_port() for name in FLAGS}
        conf = directory / "gateway/etc/meta1.conf"
        sections = [SMTPS.format(name=name, port=ports[name], conf=conf, flags=flags) for name, flags in FLAGS.items()]
        gateway = Gateway(
            directory / "gateway",
            f". {sink.port}^[127.0.0.1]",
            {"smar": "relay_to = ours.example;", "extra": "".join(sections)},
            relay_from=TRUSTED,
        )
        with running(gateway):
            for port in ports.values():
                wait_until(lambda port=port: greets(port), WAIT_S, f"a greeting on port {port}")
            yield Servers(gateway, sink, ports)


def greets(port: int) -> bool:
    try:
        talk = Talk(port, TRUSTED)
    except OSError:
        return False
    try:
        return talk.reply().startswith("220")
    finally:
        talk.close()


@pytest.fixture(scope="module")
def postfix() -> Iterator[int]:
    """The port of a Postfix of our own."""
    if shutil.which("postfix", path="/usr/sbin:/usr/bin") is None or os.geteuid() != 0:
        pytest.skip("Postfix is not installed, or we are not root, as whom it is started")
    version = subprocess.run(["postconf", "-dh", "mail_version"], capture_output=True, text=True, check=True, timeout=60).stdout
    if not version.startswith("3.7."):
        pytest.skip(f"the table is about Postfix 3.7, this is {version}")
    with directory_for_all() as directory:
        relay = PostfixRelay(directory / "postfix", 0, 1, POSTFIX)
        try:
            wait_until(lambda: greets(relay.port), WAIT_S, "a greeting of Postfix")
            yield relay.port
        finally:
            relay.stop()


def test_the_table_has_the_forms_of_all_parts_of_a_session():
    assert len(ROWS) >= 40
    assert len({row.form for row in ROWS}) == len(ROWS)
    assert all(flag in (ROOT / "docs/clients.md").read_text() for flags in FLAGS.values() for flag in flags.split(", "))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.form.replace(" ", "-"))
def test_meta1g_answers_as_the_table_says(servers, row):
    for name in ("meta1g", *FLAGS):
        if name in row.expected:
            outcome, reply = answer(servers.ports[name], row)
            assert outcome == row.expected[name], name
            if outcome == "accepted":
                look_at(row, *servers.came(reply.split()[-1]))


def look_at(row: Row, envelope: dict, content: bytes) -> None:
    """What was accepted goes on in the form of the RFC, behind one Received field of ours, as it came."""
    parse_path(envelope["mail"], null_ok=True)
    assert all(parse_path(rcpt).domain for rcpt in envelope["rcpts"])
    sent = row.content()
    sent = (b"\r\n" if sent.startswith((b" ", b"\t")) else b"") + sent
    if sent and not sent.endswith(b"\r\n"):
        sent += b"\r\n"  # the sink takes no chunks
    assert content.endswith(sent)
    ours = content[: len(content) - len(sent)]
    (field,) = email.message_from_bytes(ours).get_all("Received")
    assert ours.startswith(b"Received: ")
    assert RECEIVED.fullmatch(field), field
    assert email.message_from_bytes(content).get_all("Received")[0] == field


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.form.replace(" ", "-"))
def test_postfix_answers_as_the_table_says(postfix, row):
    assert answer(postfix, row)[0] == row.expected["Postfix"]
