"""What became of a delivery: what is known of a recipient counts before the transaction, and that before the session.

Pure.  Ref: MeTA1 design, "Functional Specification: QMGR, delivery status" (the precedence is ours).
"""

from dataclasses import field
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import NO_REPLY, Reply
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.smtpc_qmgr import Deliver, DeliveryResult, RcptResult, Retry
from meta1g.smtpc.limits import REPLY_TEXT_MAX_CHARS, RESULT_TEXT_MAX_CHARS

_UNIX: Final = "unix:"


def origin_of(server: ServerAddr) -> str:
    """Names a server for what it says: `host[address]`, or the socket."""
    return server.addr if server.addr.startswith(_UNIX) else f"{server.host}[{server.addr}]"


def where(server: ServerAddr) -> str:
    """Names a server for what we say about it: `host[address]:port`, or the socket."""
    return server.addr if server.addr.startswith(_UNIX) else f"{server.host}[{server.addr}]:{server.port}"


class SessionError(Exception):
    """The session cannot be used: nothing of the transaction at hand was delivered.

    Args:
        reply: what to report, a 4xx or 5xx code: what the server said, or our own words.
        stale: a session that had been idle turned out to be closed before anything was asked of it.
    """

    def __init__(self, reply: Reply, *, stale: bool = False) -> None:
        super().__init__(reply.one_line)
        self.reply = reply
        self.stale = stale


@dataclass(slots=True)
class DeliveryStatus:
    """Collects the outcomes of one delivery.  Owner: one state thread (the session's)."""

    session: Reply | None = None
    transaction: Reply | None = None
    damage: str = ""
    tried: int = 1
    server: ServerAddr | None = None
    rcpts: dict[int, Reply] = field(default_factory=dict)
    retry: dict[int, Retry] = field(default_factory=dict)

    def rest(self, job: Deliver, reply: Reply) -> None:
        """Sets the reply of every recipient that has none of its own yet."""
        for rcpt in job.rcpts:
            self.rcpts.setdefault(rcpt.rcpt_idx, reply)

    def result(self, job: Deliver, *, session_open: bool, dsn: bool = False, by: bool = False) -> DeliveryResult:
        """Makes the message for QMGR; the texts are cut so that it takes it.

        Who was left to the next transaction shares in what is said of this one, or of the session.
        """
        if self.session is not None or self.transaction is not None or self.damage:
            for idx in [idx for idx, retry in self.retry.items() if retry is Retry.NEXT_TRANSACTION]:
                del self.rcpts[idx], self.retry[idx]
        text_chars = min(REPLY_TEXT_MAX_CHARS, RESULT_TEXT_MAX_CHARS // max(len(self.rcpts), 1))
        return DeliveryResult(
            session_id=job.session_id,
            ta_id=job.da_ta_id,
            session=(self.session or NO_REPLY).cut(REPLY_TEXT_MAX_CHARS),
            transaction=(self.transaction or NO_REPLY).cut(REPLY_TEXT_MAX_CHARS),
            session_open=session_open,
            dsn=dsn,
            by=by,
            damage=self.damage[:REPLY_TEXT_MAX_CHARS],
            tried=self.tried,
            rcpts=tuple(
                RcptResult(rcpt_idx=idx, reply=reply.cut(text_chars), retry=self.retry.get(idx, Retry.BY_CODE))
                for idx, reply in self.rcpts.items()
            ),
        )
