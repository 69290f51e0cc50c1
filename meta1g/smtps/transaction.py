"""One transaction of a server session: what MAIL and RCPT have brought so far.

Ref: RFC 5321 3.3; MeTA1 design, "Functional Specification: SMTPS" (modelled on).
"""

from typing import Protocol

from meta1g.base.dataclass import dataclass
from meta1g.base.ids import TaId
from meta1g.base.reply import Reply
from meta1g.smtp.address import Address
from meta1g.smtp.esmtp import MailParams


class OpenChunks(Protocol):
    """A message that comes by BDAT and is not whole yet."""

    @property
    def begun_s(self) -> float:
        """Monotonic time of the first BDAT."""
        ...

    @property
    def octets(self) -> int:
        """What has come since then."""
        ...

    def abort(self) -> None:
        """Forgets it.  Switches: yes, if there is a file (disk)."""
        ...


@dataclass(slots=True)
class Transaction:
    """One transaction.

    Args:
        ta_id: its id, which is the name of its content file too.
        mail: reverse-path.
        params: parameters of MAIL.
        generation: the connection to qmgr that knows it; on another one it is lost.
        started_s: monotonic time of MAIL.
        denial: what delayed checks will answer to each recipient.
        refused: what qmgr said when it refused the transaction.
        discard: accept and drop, an answer of smar.
        rule: the entry of a map that denial or discard comes from, `map key`.
        flags: LookupFlags that hold for it.
        asked: recipients that SMAR was asked about.
        accepted: recipients that the client believes accepted.
        posted: recipients that qmgr knows.
        failed: recipients refused.
        only_rcpt: the recipient, as long as there is only one.
        priority: of its message (RFC 6710), None if nobody asked for one.
        chunks: the content that has come by BDAT, None without.

    Owner: the state thread of the session; refused is set by the reader of qmgr's connection.
    """

    ta_id: TaId
    mail: Address
    params: MailParams
    generation: int
    started_s: float
    denial: Reply | None = None
    refused: Reply | None = None
    discard: bool = False
    rule: str = ""
    flags: int = 0
    asked: int = 0
    accepted: int = 0
    posted: int = 0
    failed: int = 0
    only_rcpt: str = ""
    priority: int | None = None
    chunks: OpenChunks | None = None

    def add(self, rcpt: str, *, posted: bool) -> None:
        """Counts a recipient that was accepted."""
        self.accepted += 1
        self.posted += posted
        self.only_rcpt = rcpt if self.accepted == 1 else ""
