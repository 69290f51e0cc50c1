"""A queue manager for tests of smtps: admits, takes envelopes, commits; every answer can be changed."""

from collections.abc import Callable
from pathlib import Path

from meta1g.base.reply import Reply
from meta1g.rcb.schema import Message
from meta1g.rcb.smtps_qmgr import (
    PROTOCOL,
    CloseTransaction,
    NewSession,
    NewTransaction,
    QmgrHello,
    Refused,
    SmtpsHello,
    Stat,
)
from tests.fakes.rcb_server import FakeConn, RcbServer


class FakeQmgr(RcbServer):
    """Answers are attributes: admission, commit(msg) and refuse(msg); the functions may give None for no answer."""

    def __init__(self, path: Path, *, max_threads: int = 1000) -> None:
        super().__init__(path, PROTOCOL, self._handle)
        self.max_threads = max_threads
        self.admission = Reply(220)
        self.commit: Callable[[CloseTransaction], Reply | None] = lambda msg: Reply(250)
        self.refuse: Callable[[NewTransaction], Reply | None] = lambda msg: None

    def _handle(self, conn: FakeConn, request_id: int, msg: Message) -> None:
        if isinstance(msg, SmtpsHello):
            conn.send(QmgrHello(max_threads=self.max_threads), request_id)
        elif isinstance(msg, NewSession):
            conn.send(Stat(reply=self.admission), request_id)
        elif isinstance(msg, NewTransaction):
            refusal = self.refuse(msg)
            if refusal is not None:
                conn.send(Refused(ta_id=msg.ta_id, reply=refusal))
        elif isinstance(msg, CloseTransaction):
            reply = self.commit(msg)
            if reply is not None:
                conn.send(Stat(reply=reply), request_id)
