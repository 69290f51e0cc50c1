"""Message parts that several pairs share.

Ref: MeTA1 design, "Functional Specification: common records" (modelled on).
"""

from enum import IntEnum

from meta1g.base.dataclass import dataclass
from meta1g.rcb.rectypes import RT
from meta1g.rcb.schema import Kind, Message, Role, message, rec


class DeliveryAgent(IntEnum):
    """Delivery agents, by their index (modelled on MeTA1: 0 is esmtp, another one lmtp)."""

    ESMTP = 0
    LMTP = 1


@message(RT.SERVER_ADDR, Role.ITEM)
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddr(Message):
    """Where a server listens.

    addr is an IPv4 or IPv6 address in text form, or `unix:PATH` for a local socket (port 0 then); pref the MX
    preference; ttl_s how long the answer may be used; host the name behind the address, for logs and TLS; conf the snippet
    `smtpc_session_conf:` that is for it, empty without one.  tls is what TLS has to fulfil, as TlsPolicy.demands() gives it:
    sessions of different demands are kept apart; tls_source says who demands it, for people.  domain is whose MX record names
    the server, if sessions are counted for reports (RFC 8460).
    """

    addr: str = rec(RT.SERVER_ADDR, Kind.TEXT)
    port: int = rec(RT.SERVER_PORT, Kind.U32)
    pref: int = rec(RT.SERVER_PREF, Kind.U32, default=0)
    ttl_s: int = rec(RT.SERVER_TTL, Kind.U32, default=0)
    host: str = rec(RT.SERVER_HOST, Kind.TEXT, default="")
    conf: str = rec(RT.SERVER_CONF, Kind.TEXT, default="")
    tls: str = rec(RT.SERVER_TLS, Kind.TEXT, default="")
    tls_source: str = rec(RT.SERVER_TLS_SOURCE, Kind.TEXT, default="")
    domain: str = rec(RT.SERVER_DOMAIN, Kind.TEXT, default="")
