"""What became of TLS in a session: SMTPC tells QMGR, which passes it on to SMAR, where reports are made.

Ref: RFC 8460 4 (what a report has to tell).
"""

from meta1g.base.dataclass import dataclass
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.rectypes import RT
from meta1g.rcb.schema import Kind, Message, Role, message, rec


@message(RT.TLS_SESSION, Role.POST)
@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSession(Message):
    """A session with a server of a domain, as SMTPC saw it.

    domain is that of the recipient for whom it was opened; source our address; offered tells whether the server offered
    STARTTLS, secured whether there is TLS as it has to be, verified whether the certificate is verified and has the name of
    the server, reason why not.
    """

    domain: str = rec(RT.TLS_DOMAIN, Kind.TEXT)
    server: tuple[ServerAddr, ...] = rec(RT.TLS_SERVER, Kind.ITEMS, item=ServerAddr)
    source: str = rec(RT.TLS_SOURCE, Kind.TEXT, default="")
    offered: bool = rec(RT.TLS_OFFERED, Kind.BOOL, default=False)
    secured: bool = rec(RT.TLS_SECURED, Kind.BOOL, default=False)
    verified: bool = rec(RT.TLS_VERIFIED, Kind.BOOL, default=False)
    reason: str = rec(RT.TLS_REASON, Kind.TEXT, default="")
