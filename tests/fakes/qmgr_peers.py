"""The peers of a queue manager, played by a test over the real protocols: SMTPS, SMTPC, SMAR, qmgrctl."""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from meta1g.base.reply import Reply
from meta1g.db.cdb import Cdb
from meta1g.rcb import control, qmgr_smar, smtpc_qmgr, smtps_qmgr
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.qmgr_smar import Members, QmgrHelloA, Resolve, Route, SmarHelloQ, Unresolved
from meta1g.rcb.schema import Message
from meta1g.rcb.smtpc_qmgr import CloseDelivery, Deliver, DeliveryResult, RcptResult, Retry, SessionClosed, SmtpcHello
from meta1g.rcb.smtps_qmgr import (
    CloseTransaction,
    NewRecipient,
    NewSession,
    NewTransaction,
    QmgrHello,
    SmtpsHello,
    Stat,
)
from meta1g.smtp.esmtp import Extensions
from meta1g.smtpc.report import Original, shape
from tests.fakes.rcb_peer import RcbPeer
from tests.fakes.rcb_server import FakeConn, RcbServer

WAIT_S = 20
CONTENT = b"From: s@from.example\r\nSubject: caf\xc3\xa9\r\n\r\nHello\r\n"
_numbers = count(1 << 40)


def new_id() -> str:
    return f"S{next(_numbers):016X}00"


def route(*addrs: str, da: int = 0) -> Route:
    return Route(da=da, servers=tuple(ServerAddr(addr=addr, port=25, host=f"mx-{addr}") for addr in addrs))


SmarAnswer = Route | Members | Unresolved | None | Callable[[Resolve], Message | None]


class Smar(RcbServer):
    """An address resolver.  `answers` maps an address or a domain to its answer, or to a function that makes it from the
    question; None means that it stays silent."""

    def __init__(self, path: Path, answers: dict[str, SmarAnswer] | None = None) -> None:
        super().__init__(path, qmgr_smar.PROTOCOL, self._handle)
        self.answers = dict(answers or {})
        self.by_domain = False

    def _handle(self, conn: FakeConn, request_id: int, msg: Message) -> None:
        if isinstance(msg, QmgrHelloA):
            conn.send(SmarHelloQ(by_domain=self.by_domain), request_id)
        elif isinstance(msg, Resolve):
            domain = msg.rcpt.rpartition("@")[2]
            answer = self.answers.get(msg.rcpt, self.answers.get(domain, route("192.0.2.1")))
            if isinstance(answer, Members) and msg.flags & qmgr_smar.ResolveFlags.NO_ALIAS:
                answer = route("192.0.2.1")
            if callable(answer):
                answer = answer(msg)
            if answer is not None:
                conn.send(answer, request_id)


@dataclass
class Job:
    """A delivery that an agent got."""

    agent: "Agent"
    request_id: int
    msg: Deliver
    bytes: bytes = b""  # what a server would get
    answered: bool = False

    @property
    def rcpts(self) -> list[str]:
        return [rcpt.rcpt for rcpt in self.msg.rcpts]

    @property
    def server(self) -> str:
        return self.msg.server[0].addr

    @property
    def told(self):
        """What a report says, without the original."""
        return b"".join(part.data for part in self.msg.dsn_parts)

    def done(
        self,
        code: int = 250,
        *,
        keep: bool | None = None,
        rcpts: dict[str, int] | None = None,
        text: str = "said",
        retry: Retry = Retry.BY_CODE,
    ) -> None:
        """Reports the transaction, and recipients that have outcomes of their own; retry is for those that were refused."""
        own = self.own(rcpts or {}, text, retry)
        self._answer(keep, transaction=self._said(code, "0.0", text), rcpts=own)

    def own(self, codes: dict[str, int], text: str = "said", retry: Retry = Retry.BY_CODE) -> tuple[RcptResult, ...]:
        """Gives the outcomes of recipients that have their own."""
        found = [(one.rcpt_idx, self._said(codes[one.rcpt], "1.1", text)) for one in self.msg.rcpts if one.rcpt in codes]
        return tuple(
            RcptResult(rcpt_idx=idx, reply=reply, retry=Retry.BY_CODE if reply.is_ok else retry) for idx, reply in found
        )

    def results(self, outcomes: list[tuple[int, Retry]]) -> None:
        """Reports outcomes of the recipients in their order."""
        pairs = zip(self.msg.rcpts, outcomes, strict=True)
        own = [
            RcptResult(rcpt_idx=one.rcpt_idx, reply=self._said(code, "1.1", "said"), retry=retry)
            for one, (code, retry) in pairs
        ]
        self._answer(None, rcpts=tuple(own))

    def failed(
        self, code: int = 451, text: str = "connection refused", rcpts: dict[str, int] | None = None, tried: int = 1
    ) -> None:
        """Reports that the session failed, and recipients about whom something had been said before."""
        self._answer(False, session=self._said(code, "4.1", text), rcpts=self.own(rcpts or {}), tried=tried)

    def _said(self, code: int, detail: str, text: str) -> Reply:
        return Reply(code, f"{code // 100}.{detail}", text, f"mx-{self.server}[{self.server}]")

    def damaged(self, damage: str) -> None:
        """Reports that the content file is damaged."""
        self._answer(None, damage=damage)

    def _answer(self, keep: bool | None, **facts) -> None:
        assert not self.answered
        self.answered = True
        keep = self.msg.keep_open if keep is None else keep
        facts = {"session_id": self.msg.session_id, "ta_id": self.msg.da_ta_id, "session_open": keep, **facts}
        self.agent.answer(self, DeliveryResult(**facts))


@dataclass
class Agent:
    """A delivery agent.  `script` answers each job, or keeps it for the test; it counts what must not be exceeded."""

    path: Path
    max_threads: int = 100
    script: Callable[[Job], object] = field(default=lambda job: job.done())
    read: bool = True  # the content is read as it comes; else the script does it
    jobs: list[Job] = field(default_factory=list)
    sessions: dict[str, str] = field(default_factory=dict)  # session id to server
    most: dict[str, int] = field(default_factory=dict)  # server to the greatest number of sessions at a time
    closed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.peer = RcbPeer.connect(self.path, smtpc_qmgr.PROTOCOL)
        self.peer.sock.settimeout(None)
        self.peer.request(SmtpcHello(smtpc_id=0, pid=os.getpid(), max_threads=self.max_threads))
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def stop(self) -> None:
        """Goes away, as a killed process does."""
        self.peer.close()
        self.thread.join(WAIT_S)
        assert not self.wrong, self.wrong

    def _read(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                request_id, msg = self.peer.receive()
                with self.changed:
                    if isinstance(msg, CloseDelivery):
                        self.closed.append(msg.session_id)
                        self.sessions.pop(msg.session_id, None)
                        job = None
                    else:
                        job = Job(self, request_id, msg, self._content(msg))
                        self._note(job)
                    self.changed.notify_all()
                if job is not None:
                    self.script(job)

    def _content(self, msg: Deliver) -> bytes:
        if not self.read or msg.probe:
            return b""
        whole = Cdb(self.path.parent.parent / "cdb").path(msg.cdb_id).read_bytes()
        if msg.dsn_head is None:
            return whole
        original = Original()
        original.feed(whole)
        made = shape(msg, original, Extensions({"8BITMIME": "", "SMTPUTF8": ""}))
        return made.head + (whole if made.full else b"") + made.tail

    def _note(self, job: Job) -> None:
        msg = job.msg
        busy = {one.msg.session_id for one in self.jobs if not one.answered}
        if msg.new_session == (msg.session_id in self.sessions):
            self.wrong.append(f"{msg.session_id}: new is {msg.new_session}")
        if msg.session_id in busy:
            self.wrong.append(f"{msg.session_id} has two deliveries")
        self.sessions[msg.session_id] = job.server
        self.jobs.append(job)
        servers = list(self.sessions.values())
        self.most[job.server] = max(self.most.get(job.server, 0), servers.count(job.server))
        if len(servers) > self.max_threads:
            self.wrong.append(f"{len(servers)} sessions")

    def answer(self, job: Job, result: DeliveryResult) -> None:
        with self.changed:
            if not result.session_open:
                self.sessions.pop(job.msg.session_id, None)
        with contextlib.suppress(OSError):
            self.peer.send(result, job.request_id)

    def server_closes(self, session_id: str) -> None:
        """Reports that the server closed an idle session."""
        with self.changed:
            del self.sessions[session_id]
        self.peer.send(SessionClosed(session_id=session_id))

    def wait_jobs(self, number: int) -> list[Job]:
        """Waits until so many jobs have come in all."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.jobs) >= number, WAIT_S)
            assert len(self.jobs) >= number, f"{len(self.jobs)} of {number} jobs came"
            return list(self.jobs)

    def wait_closed(self, number: int) -> list[str]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.closed) >= number, WAIT_S), self.closed
            return list(self.closed)


class Smtps:
    """An SMTP server program: hands envelopes in."""

    def __init__(self, path: Path, cdb: Cdb, max_threads: int = 100) -> None:
        self.path = path
        self.cdb = cdb
        self.max_threads = max_threads
        self.session = new_id()
        self.allowed = self.counts = 0

    def start(self) -> None:
        self.peer = RcbPeer.connect(self.path, smtps_qmgr.PROTOCOL)
        self.hello()

    def hello(self) -> None:
        hello = self.peer.request(SmtpsHello(smtps_id=0, name="", pid=os.getpid(), max_threads=self.max_threads))
        assert isinstance(hello, QmgrHello)
        self.allowed, self.counts = hello.max_threads, hello.counts

    def stop(self) -> None:
        self.peer.close()

    def connect(self, addr: str = "192.0.2.99", session: str = "") -> Reply:
        stat = self.peer.request(NewSession(session_id=session or self.session, client_addr=addr), 5)
        assert isinstance(stat, Stat)
        return stat.reply

    def envelope(self, *rcpts: str, mail: str = "s@from.example", content: bytes = CONTENT, **facts) -> str:
        """Sends everything up to the final dot; a recipient may carry NOTIFY and ORCPT behind blanks."""
        ta_id = new_id()
        self.cdb.write_whole(ta_id, [content])
        self.peer.send(NewTransaction(session_id=self.session, ta_id=ta_id, mail=mail, **facts))
        for rcpt_idx, text in enumerate(rcpts):
            rcpt, notify, orcpt = (*text.split(), None, None)[:3]
            self.peer.send(NewRecipient(ta_id=ta_id, rcpt_idx=rcpt_idx, rcpt=rcpt, notify=notify, orcpt=orcpt))
        return ta_id

    def dot(self, ta_id: str, rcpts: int, request_id: int = 7, **facts: bool) -> None:
        size = self.cdb.path(ta_id).stat().st_size if self.cdb.exists(ta_id) else 0
        close = CloseTransaction(ta_id=ta_id, cdb_id=ta_id, size_bytes=size, rcpts=rcpts, **facts)
        self.peer.send(close, request_id)

    def reply(self) -> Reply:
        """Gives the next reply to a final dot."""
        _, stat = self.peer.expect(Stat)
        assert isinstance(stat, Stat)
        return stat.reply

    def mail(self, *rcpts: str, automatic: bool = False, tls_optional: bool = False, **facts) -> str:
        """Sends a message that has to be accepted; gives its transaction id."""
        ta_id = self.envelope(*rcpts, **facts)
        self.dot(ta_id, len(rcpts), automatic=automatic, tls_optional=tls_optional)
        reply = self.reply()
        assert reply.is_ok, reply
        return ta_id


class Ctl:
    """A control client."""

    def __init__(self, path: Path) -> None:
        self.peer = RcbPeer.connect(path, control.PROTOCOL)

    def __enter__(self) -> "Ctl":
        return self

    def __exit__(self, *exc: object) -> None:
        self.peer.close()

    def command(self, *words: str) -> tuple[int, str, str]:
        answer = self.peer.request(control.ControlCommand(words=words))
        return answer.exit_code, answer.text, answer.more

    def ask(self, *words: str):
        code, text, _ = self.command(*words)
        assert code == 0, text
        return json.loads(text)


def domains(jobs: Iterator[Job] | list[Job]) -> list[str]:
    return [job.rcpts[0].rpartition("@")[2] for job in jobs]
