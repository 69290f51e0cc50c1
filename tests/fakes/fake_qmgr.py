"""A queue manager for tests of smtps: admits, takes envelopes, commits; every answer can be changed."""

from collections.abc import Callable
from pathlib import Path

from meta1g.base.reply import Reply
from meta1g.rcb.schema import Message
from meta1g.rcb.smtps_qmgr import (
    PROTOCOL,
    CloseTransaction,
    CountEvent,
    NewSession,
    NewTransaction,
    QmgrHello,
    Refused,
    SmtpsHello,
    Stat,
    VerifyAddress,
)
from tests.fakes.rcb_server import FakeConn, RcbServer


class FakeQmgr(RcbServer):
    """Answers are attributes: admission, commit(msg), refuse(msg), count(msg), verify(msg); the functions may give None for no
    answer."""

    def __init__(self, path: Path, *, max_threads: int = 1000, counts: int = 0) -> None:
        super().__init__(path, PROTOCOL, self._handle)
        self.max_threads = max_threads
        self.counts = counts
        self.admission = Reply(220)
        self.commit: Callable[[CloseTransaction], Reply | None] = lambda msg: Reply(250)
        self.refuse: Callable[[NewTransaction], Reply | None] = lambda msg: None
        self.count: Callable[[CountEvent], Reply | None] = lambda msg: Reply(250)
        self.verify: Callable[[VerifyAddress], Reply | None] = lambda msg: Reply(250)

    def _handle(self, conn: FakeConn, request_id: int, msg: Message) -> None:
        if isinstance(msg, SmtpsHello):
            conn.send(QmgrHello(max_threads=self.max_threads, counts=self.counts), request_id)
        elif isinstance(msg, NewSession):
            conn.send(Stat(reply=self.admission), request_id)
        elif isinstance(msg, NewTransaction):
            refusal = self.refuse(msg)
            if refusal is not None:
                conn.send(Refused(ta_id=msg.ta_id, reply=refusal))
        elif isinstance(msg, CloseTransaction | CountEvent | VerifyAddress):
            reply = self._reply(msg)
            if reply is not None:
                conn.send(Stat(reply=reply), request_id)

    def _reply(self, msg: CloseTransaction | CountEvent | VerifyAddress) -> Reply | None:
        if isinstance(msg, CloseTransaction):
            return self.commit(msg)
        return self.count(msg) if isinstance(msg, CountEvent) else self.verify(msg)
