"""What becomes of each recipient, whatever its server says and wherever the connection breaks: one table, run for real.

One queue manager and one smtpc process deliver all rows at the same time, each to scripted servers of its own.  The agent is
started when all recipients wait, so that those of one message go in one transaction.  Afterwards all servers are mended and
what had to wait is tried again: nobody gets a second copy, and nobody who was refused is asked for once more.
"""

import copy
import os
import quopri
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path

import pytest

from meta1g.rcb.common import DeliveryAgent, ServerAddr
from meta1g.rcb.envelope import RcptRecord
from meta1g.rcb.qmgr_smar import Route
from tests.fakes.certificates import make_certificate, sign_certificate
from tests.fakes.qmgr_peers import Smar, Smtps
from tests.fakes.qmgr_system import QmgrSystem, wait_until
from tests.fakes.smtp_server import DEFAULT, Replies, ScriptedServer
from tests.system.outcome_rows import KNOWN, RIGHT, ROWS, SENT, WRONG, Row
from tests.unit.smtpc.conftest import CONF

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("outcomes")]

#: Time-outs of the steps that some rows wait for, on a machine that is busy.
STEP_S = 6
WAIT_S = 40


@dataclass
class Case:
    """A row with its servers, and what came of it."""

    row: Row
    number: int
    servers: list[ScriptedServer] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    copies: int = 0
    connections: int = 0
    asked: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)  # what was asked for when it was tried again
    late_copies: list[bytes] = field(default_factory=list)

    @property
    def domain(self) -> str:
        return f"row{self.number}.example"

    @property
    def rcpts(self) -> list[str]:
        return [f"{self.row.local.format(number)}@{self.domain}" for number in range(len(self.row.outcomes))]

    @property
    def sender(self) -> str:
        return f"s{self.number}@back.example"

    def open(self, stack: ExitStack, files: Path) -> Route:
        """Starts the servers and tells where they are."""
        tls, ports = context(files, self.row.cert) if self.row.cert else None, []
        for replies in self.row.servers:
            if isinstance(replies, str):
                sock = stack.enter_context(socket.socket())
                sock.bind(("127.0.0.1", 0))  # kept, so that nobody gets this port
                ports.append(sock.getsockname()[1])
                continue
            self.servers.append(stack.enter_context(ScriptedServer(ended(replies), tls=tls)))
            ports.append(self.servers[-1].port)
        policy = self.row.policy(files)
        facts = {"host": self.row.host or f"mx.{self.domain}", "tls": policy.demands(), "tls_source": policy.source}
        addrs = (ServerAddr(addr="127.0.0.1", port=port, **facts) for port in ports)
        return Route(da=int(DeliveryAgent.LMTP if self.row.lmtp else DeliveryAgent.ESMTP), servers=tuple(addrs))

    def messages(self) -> list[list[str]]:
        """The recipients of each message."""
        return [self.rcpts] if self.row.messages == 1 else [[rcpt] for rcpt in self.rcpts]

    def commands(self) -> list[str]:
        """The recipients that servers were asked for so far."""
        lines = [line for server in self.servers for seen in server.connections for line in seen.commands]
        return [line.partition("<")[2].partition(">")[0] for line in lines if line.startswith("RCPT")]

    def contents(self) -> list[bytes]:
        """The messages that came; an empty one is none."""
        return [content for server in self.servers for content in server.contents if content]


def context(files: Path, name: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(files / f"{name}.pem", files / f"{name}.key")
    return made


def ended(replies: Replies) -> Replies:
    """Gives the replies with line ends; those that have some are left alone."""

    def line(one):
        return one + "\r\n" if isinstance(one, str) and one and not one.endswith("\n") else one

    return {
        verb: [line(one) for one in said] if isinstance(said, list) else line(said)
        for verb, said in copy.deepcopy(replies).items()
    }


class Run:
    """All rows at the same time."""

    def __init__(self, qmgr: QmgrSystem, smtps: Smtps, cases: list[Case], back: ScriptedServer) -> None:
        self.qmgr = qmgr
        self.smtps = smtps
        self.cases = cases
        self.back = back
        self.deferred: dict[str, RcptRecord] = {}

    def send(self, case: Case, rcpts: list[str]) -> None:
        facts = {"content": case.row.content} if case.row.content else {}
        self.smtps.mail(*rcpts, mail=case.sender, **case.row.facts, **facts)

    def decided(self) -> dict[str, str]:
        """What the log says of each recipient so far: delivered, deferred, failed."""
        lines = (
            re.search(r"func=qmgr\.(delivered|deferred|failed),.* rcpt=([^,]+)", line) for line in list(self.qmgr.sink.lines)
        )
        return {as_sent(match[2]): match[1] for match in lines if match}

    def wait_decided(self, rcpts: list[str]) -> None:
        wait_until(lambda: self.decided().keys() >= set(rcpts), lambda: f"{set(rcpts) - self.decided().keys()}", WAIT_S)

    def wait_settled(self) -> None:
        """Waits until there is nothing but what has to wait."""
        wait_until(lambda: not self.qmgr.states() and not self.qmgr.context.defer.pending, self.qmgr.left, WAIT_S)

    def reports(self) -> dict[str, str]:
        """The text of the report that each sender got, in one line."""
        return {
            address(message_from_bytes(content)["To"]): re.sub(r"\s+", " ", content.decode()) for content in self.back.contents
        }

    def look(self) -> None:
        """Notes what came of each row."""
        self.deferred = {record.rcpt: record for record in self.qmgr.defedb.scan(None, 9999)}
        decided, reports = self.decided(), self.reports()
        for case in self.cases:
            case.found = [self._found(rcpt, decided[rcpt], reports.get(case.sender, "")) for rcpt in case.rcpts]
            case.copies, case.connections = len(case.contents()), sum(len(server.connections) for server in case.servers)
            case.asked = case.commands()

    def _found(self, rcpt: str, decided: str, report: str) -> str:
        if decided == "failed":
            name = quopri.encodestring(f"; {rcpt}".encode()).decode()  # a server without SMTPUTF8 gets it so
            return f"bounce {report}" if f"; {rcpt}" in report or name in report else "bounce without a report"
        if decided == "delivered":
            return SENT
        reply = self.deferred[rcpt].reply
        assert bool(reply.origin) is not ("127.0.0.1]:" in reply.one_line), reply
        return f"retry {reply}"

    def mend(self, smar: Smar, files: Path) -> None:
        """Mends all servers and lets what waits be tried again; where there is no server, another one is."""
        for case in self.cases:
            if not case.servers:
                smar.answers[case.domain] = smar.answers["back.example"]
            for server in case.servers:
                server.replies.update(DEFAULT | ended(case.row.mended))
                server.tls = context(files, RIGHT)
        self.qmgr.advance(4000)


def as_sent(text: str) -> str:
    """Gives an address as it is, of its form in the log."""
    return re.sub(r"\\x([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), text).encode("latin-1").decode()


def address(text: str) -> str:
    return text.strip().strip("<>")


@contextmanager
def agent(queue: Path, directory: Path) -> Iterator[None]:
    """The smtpc process; the directory has certificates."""
    conf, logins = directory / "meta1.conf", directory / "logins"
    logins.write_text(f"{KNOWN} user password secret\n")
    logins.chmod(0o600)
    options = f'max_threads = 900; auth {{ file = "{logins}"; flags = {{ without_tls, unverified_tls }}; }}'
    options += f" tls {{ CAcert_file = {directory}/ca.example.pem; }}"
    conf.write_text(CONF.format(queue=queue, step_s=STEP_S, options=options))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with (directory / "smtpc.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "meta1g.smtpc.main", "-f", str(conf)], env=environment, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(30) == 0


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> Iterator[list[Case]]:
    queue, directory = tmp_path_factory.mktemp("queue"), tmp_path_factory.mktemp("conf")
    make_certificate(directory, "ca.example")
    make_certificate(directory, WRONG)
    sign_certificate(directory, RIGHT, "ca.example")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr("meta1g.qmgr.sched.SESSION_IDLE_S", 600.0)  # the second message of a row finds its session
        made = [Case(row, number) for number, row in enumerate(ROWS)]
        back = stack.enter_context(ScriptedServer())
        qmgr = QmgrSystem(queue, aq_max_entries=4000, iqdb_max_entries=8000, delay_dsn_timeout_s=400_000).start()
        stack.callback(qmgr.stop)
        smar = qmgr.smar()
        smar.answers["back.example"] = Route(da=0, servers=(ServerAddr(addr="127.0.0.1", port=back.port),))
        smar.answers.update({case.domain: case.open(stack, directory) for case in made})
        run = Run(qmgr, qmgr.smtps(), made, back)
        for case in made:
            run.send(case, case.messages()[0])
        first = [rcpt for case in made for rcpt in case.messages()[0]]
        wait_until(lambda: list(qmgr.states().values()) == ["READY"] * len(first), qmgr.states, WAIT_S)
        with agent(queue, directory):
            for case in made:
                for before, rcpts in zip(case.messages(), case.messages()[1:], strict=False):
                    run.wait_decided(before)
                    run.send(case, rcpts)
            run.wait_decided([rcpt for case in made for rcpt in case.rcpts])
            run.wait_settled()
            run.look()
            run.mend(smar, directory)
            qmgr.wait_empty(WAIT_S)
            for case in made:
                case.later = case.commands()[len(case.asked) :]
                case.late_copies = case.contents()
        yield made


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[row.name for row in ROWS])
def test_what_becomes_of_each_recipient_when_a_server(number, cases):
    case = cases[number]
    row = case.row
    for expected, found in zip(row.outcomes, case.found, strict=True):
        kind, _, text = expected.partition(" ")
        assert found.partition(" ")[0] == kind, case.found
        assert text in re.sub(r"mx\.row\d+\.example\[127\.0\.0\.1\]:\d+", "SERVER", found), case.found
    assert (case.copies, case.connections) == (row.copies, row.connections), [one.connections for one in case.servers]
    waiting = [rcpt for rcpt, outcome in zip(case.rcpts, row.outcomes, strict=True) if outcome.startswith("retry")]
    assert set(case.later) == set(waiting if case.servers else [])
    assert len(case.later) == len(set(case.later))


def test_the_table_is_large_enough():
    assert len(ROWS) >= 80
    assert len({row.name for row in ROWS}) == len(ROWS)
