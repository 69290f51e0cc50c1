"""What all sessions of the process share.

Ref: MeTA1 design, "Architecture: SMTPS" (modelled on).
"""

from collections.abc import Callable
from dataclasses import field
from typing import TYPE_CHECKING, Any, Protocol

from meta1g.base.clock import Clock
from meta1g.base.dataclass import dataclass
from meta1g.base.ids import IdGenerator
from meta1g.base.log import Log
from meta1g.db.cdb import Cdb
from meta1g.smtp.esmtp import Ext
from meta1g.smtps.filterstats import FilterStats
from meta1g.smtps.gate import Gate
from meta1g.smtps.qmgr_link import QmgrLink
from meta1g.smtps.received import DateCache
from meta1g.smtps.settings import ClientSettings, Settings
from meta1g.smtps.smar_link import SmarLink

if TYPE_CHECKING:
    from meta1g.smtps.certificates import Certificates
    from meta1g.smtps.passed import Passed
    from meta1g.smtps.policylink import PolicyLink


class AuthService(Protocol):
    """AUTH as commands see it; a dialogue is a meta1g.smtps.dialogue.Dialogue, which knows this class."""

    def offered(self, dialogue: Any) -> dict[Ext, str]:
        """Gives AUTH for the answer to EHLO, or nothing.  Switches: yes, if the users have changed."""
        ...

    def begin(self, dialogue: Any, argument: str) -> None:
        """Answers AUTH.  Switches: yes."""
        ...

    def respond(self, dialogue: Any, line: bytes) -> None:
        """Takes a response.  Switches: yes."""
        ...


@dataclass(slots=True)
class Context:
    """Links, stores and settings of the process.

    Args:
        settings: the section of this process.
        qmgr: connection to QMGR.
        smar: connection to SMAR.
        cdb: content files.
        passed: gives the clients that need not wait for the greeting.
        ids: session and transaction ids.
        log: the log.
        clock: the clock.
        dates: time stamps for headers.
        gate: where to wait for the links and for room.
        sessions_max: sessions that can be served at the same time.
        certificates: for TLS; None if there are none.
        auth_server: for AUTH; None if it is not configured.
        policies: connections to policy milters, in their order.
        filter_stats: figures of all filters.
        clients: settings of clients that have some of their own.
        stopping: no new transaction begins.
        sessions: number of open sessions.

    Owner: the process (one native thread).
    """

    settings: Settings
    qmgr: QmgrLink
    smar: SmarLink
    cdb: Cdb
    passed: "Callable[[], Passed]"
    ids: IdGenerator
    log: Log
    clock: Clock
    gate: Gate
    sessions_max: int
    clients: ClientSettings
    filter_stats: FilterStats
    certificates: "Certificates | None" = None
    auth_server: "AuthService | None" = None
    policies: "tuple[PolicyLink, ...]" = ()
    dates: DateCache = field(default_factory=DateCache)
    stopping: bool = False
    sessions: int = 0
