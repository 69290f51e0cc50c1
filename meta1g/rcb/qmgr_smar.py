"""Messages between QMGR (client) and SMAR (server): where does a recipient go?

Ref: MeTA1 design, "Functional Specification: AR, requests and answers" (modelled on).
"""

from enum import IntFlag
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import Reply
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.rectypes import RT
from meta1g.rcb.schema import Kind, Message, Role, message, protocol, rec
from meta1g.rcb.tlssession import TlsSession

#: Members of an alias in one answer.  Our choice: a frame is encoded and read in a millisecond or two (invariant I10).
MEMBERS_PER_PART: Final = 1000


class ResolveFlags(IntFlag):
    """How a recipient is to be resolved."""

    NO_ALIAS = 1  # members of an expanded alias and bounces are not expanded again


@message(RT.Q2A_NID, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class QmgrHelloA(Message):
    """A new QMGR.  Reply: SmarHelloQ."""

    pid: int = rec(RT.Q2A_PID, Kind.U32)


@message(RT.A2Q_HELLO, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class SmarHelloQ(Message):
    """SMAR is ready; by_domain tells that where a valid address goes depends on its domain alone, as without aliases."""

    by_domain: bool = rec(RT.A2Q_BY_DOMAIN, Kind.BOOL, default=False)


@message(RT.Q2A_RESOLVE, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve(Message):
    """Where does this recipient go?  Reply: Route, Members or Unresolved.

    A long list comes in parts: the next one is asked for with the number of members that are here already and the
    expansion that they belong to, both from the part before.
    """

    ta_id: str = rec(RT.Q2A_TAID, Kind.TEXT)
    rcpt_idx: int = rec(RT.Q2A_RCPT_IDX, Kind.U32)
    rcpt: str = rec(RT.Q2A_RCPT, Kind.TEXT)
    flags: int = rec(RT.Q2A_FLAGS, Kind.U32, default=0)
    offset: int = rec(RT.Q2A_OFFSET, Kind.U32, default=0)
    expansion: str = rec(RT.Q2A_EXPANSION, Kind.TEXT, default="")


@message(RT.A2Q_ROUTE, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Message):
    """Delivery agent (a DeliveryAgent) and server addresses, best first; at least one.

    rcpt_conf is the snippet `smtpc_rcpt_conf:` that is for the recipient, empty without one.
    """

    da: int = rec(RT.A2Q_DA, Kind.U32)
    servers: tuple[ServerAddr, ...] = rec(RT.A2Q_SERVERS, Kind.ITEMS, item=ServerAddr)
    rcpt_conf: str = rec(RT.A2Q_RCPT_CONF, Kind.TEXT, default="")


@message(RT.A2Q_ALIAS, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class Members(Message):
    """The recipient is an alias: its members, fully expanded, and the envelope sender for them (`owner-` alias).

    At most MEMBERS_PER_PART of them come at once.  `offset` of them came before, `more` says that others follow, and
    `expansion` names their content and order: an answer with another one than asked for begins anew, with offset 0.
    """

    members: tuple[str, ...] = rec(RT.A2Q_MEMBERS, Kind.TEXTS, item_rt=RT.A2Q_MEMBER)
    owner: str | None = rec(RT.A2Q_OWNER, Kind.TEXT, optional=True)
    more: bool = rec(RT.A2Q_MORE, Kind.BOOL, default=False)
    offset: int = rec(RT.A2Q_OFFSET, Kind.U32, default=0)
    expansion: str = rec(RT.A2Q_EXPANSION, Kind.TEXT, default="")


@message(RT.A2Q_FAIL, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class Unresolved(Message):
    """No way: 4xx try again later, 5xx give up."""

    reply: Reply = rec(RT.A2Q_REPLY, Kind.REPLY)


@message(RT.A2Q_CONTAINED, Role.POST)
@dataclass(frozen=True, slots=True, kw_only=True)
class SmarContained(Message):
    """Failures that SMAR contained since its start, and the last one of them, for status (invariant I12)."""

    count: int = rec(RT.A2Q_COUNT, Kind.U32)
    last: str = rec(RT.A2Q_LAST, Kind.TEXT)


PROTOCOL: Final = protocol(
    "qmgr-smar", 7, client=(QmgrHelloA, Resolve, TlsSession), server=(SmarHelloQ, Route, Members, Unresolved, SmarContained)
)
