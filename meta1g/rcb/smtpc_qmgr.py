"""Messages between SMTPC (client) and QMGR (server): QMGR asks for deliveries, SMTPC reports what became of them.

Ref: MeTA1 design, "Functional Specification: QMGR, interface to SMTPC" (modelled on).
"""

from enum import IntEnum
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import NO_REPLY, Reply
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.rectypes import RT
from meta1g.rcb.schema import Kind, Message, Role, message, protocol, rec
from meta1g.rcb.tlssession import TlsSession


class Retry(IntEnum):
    """What a reply means for another attempt where its code does not tell: a code is read with the command it answers."""

    BY_CODE = 0  # the code tells
    LATER = 1  # another attempt, whatever the code (552 at RCPT: RFC 5321 4.5.3.1.10)
    OTHER_TRANSACTION = 2  # the server takes no more recipients in one transaction: the next one may follow at once
    OTHER_SERVER = 3  # it may not go to this server: the next one is tried, and after the last one the code tells
    NEXT_TRANSACTION = 4  # not asked for, since the server has said how many it takes (RFC 9422): the next one follows


@message(RT.C2Q_NID, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpcHello(Message):
    """A new SMTPC: index of the process and how many sessions it can open.  Reply: QmgrHelloC."""

    smtpc_id: int = rec(RT.C2Q_ID, Kind.U32)
    pid: int = rec(RT.C2Q_PID, Kind.U32)
    max_threads: int = rec(RT.C2Q_MAXTHRDS, Kind.U32)


@message(RT.Q2C_HELLO, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class QmgrHelloC(Message):
    """QMGR is ready; work follows."""


@message(RT.Q2C_RCPTS, Role.ITEM)
@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverRcpt(Message):
    """One recipient of a delivery, with its DSN parameters (RFC 3461).

    conf is the snippet `smtpc_rcpt_conf:` that is for it, empty without one.
    """

    rcpt_idx: int = rec(RT.Q2C_RCPT_IDX, Kind.U32)
    rcpt: str = rec(RT.Q2C_RCPT_PA, Kind.TEXT)
    notify: str | None = rec(RT.Q2C_NOTIFY, Kind.TEXT, optional=True)
    orcpt: str | None = rec(RT.Q2C_ORCPT, Kind.TEXT, optional=True)
    conf: str = rec(RT.Q2C_RCPT_CONF, Kind.TEXT, default="")


@message(RT.Q2C_B_PARTS, Role.ITEM)
@dataclass(frozen=True, slots=True, kw_only=True)
class DsnPart(Message):
    """One part of a report, not encoded: its MIME type without charset, what it is, its lines with CR LF."""

    mime_type: str = rec(RT.Q2C_B_TYPE, Kind.TEXT)
    about: str = rec(RT.Q2C_B_ABOUT, Kind.TEXT)
    data: bytes = rec(RT.Q2C_B_DATA, Kind.OCTETS)


@message(RT.Q2C_DELIVER, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver(Message):
    """One delivery: a transaction for one server.  Reply: DeliveryResult.

    server has the addresses of one server, best first, that differ in nothing else; SMTPC connects to one of them.
    new_session opens session_id to it first, otherwise session_id is an open idle session; keep_open leaves it
    open afterwards.  da is a DeliveryAgent.  da_ta_id names this delivery, ta_id the SMTPS transaction.  file_bytes and
    checksum (CRC-32) are those of the content file as it was accepted; a file that differs is never sent as a whole message
    (invariant I3).

    For a DSN dsn_head is its header without Content-Type and Content-Transfer-Encoding, dsn_parts are its first parts; what
    comes last is taken from the content file: all of the message if dsn_full and the server takes it, else its header.  SMTPC
    labels and encodes the parts as the server needs it.  size_bytes, body and smtputf8 are then those of the original.

    A probe asks whether the server takes its one recipient: MAIL with an empty sender and RCPT are said, then QUIT.  There
    is no content; cdb_id and ta_id are empty.

    by, by_mode and priority are those of the transaction, see TaRecord; those of a report have none.
    """

    session_id: str = rec(RT.Q2C_SEID, Kind.TEXT)
    new_session: bool = rec(RT.Q2C_NSEID, Kind.BOOL)
    keep_open: bool = rec(RT.Q2C_ONESEID, Kind.BOOL)
    da: int = rec(RT.Q2C_DA_IDX, Kind.U32)
    server: tuple[ServerAddr, ...] = rec(RT.Q2C_SERVER, Kind.ITEMS, item=ServerAddr)
    da_ta_id: str = rec(RT.Q2C_NTAID, Kind.TEXT)
    ta_id: str = rec(RT.Q2C_TAID, Kind.TEXT)
    cdb_id: str = rec(RT.Q2C_CDBID, Kind.TEXT)
    mail: str = rec(RT.Q2C_MAIL, Kind.TEXT)
    size_bytes: int = rec(RT.Q2C_SIZE, Kind.U64)
    body: str | None = rec(RT.Q2C_BODY, Kind.TEXT, optional=True)
    smtputf8: bool = rec(RT.Q2C_SMTPUTF8, Kind.BOOL, default=False)
    requiretls: bool = rec(RT.Q2C_REQUIRETLS, Kind.BOOL, default=False)
    ret: str | None = rec(RT.Q2C_RET, Kind.TEXT, optional=True)
    envid: str | None = rec(RT.Q2C_ENVID, Kind.TEXT, optional=True)
    dsn_head: bytes | None = rec(RT.Q2C_B_MSG, Kind.OCTETS, optional=True)
    dsn_parts: tuple[DsnPart, ...] = rec(RT.Q2C_B_PARTS, Kind.ITEMS, item=DsnPart, default=())
    dsn_full: bool = rec(RT.Q2C_B_FULL, Kind.BOOL, default=False)
    file_bytes: int | None = rec(RT.Q2C_CDBSIZE, Kind.U64, optional=True)
    checksum: int | None = rec(RT.Q2C_CDBSUM, Kind.U32, optional=True)
    probe: bool = rec(RT.Q2C_PROBE, Kind.BOOL, default=False)
    by: float = rec(RT.Q2C_BY, Kind.TIME, default=0.0)
    by_mode: str | None = rec(RT.Q2C_BY_MODE, Kind.TEXT, optional=True)
    priority: int = rec(RT.Q2C_PRIORITY, Kind.S32, default=0)
    rcpts: tuple[DeliverRcpt, ...] = rec(RT.Q2C_RCPTS, Kind.ITEMS, item=DeliverRcpt)


@message(RT.C2Q_RCPTS, Role.ITEM)
@dataclass(frozen=True, slots=True, kw_only=True)
class RcptResult(Message):
    """What became of one recipient: the reply about it; retry is a Retry."""

    rcpt_idx: int = rec(RT.C2Q_RCPT_IDX, Kind.U32)
    reply: Reply = rec(RT.C2Q_RCPT_REPLY, Kind.REPLY)
    retry: int = rec(RT.C2Q_RCPT_RETRY, Kind.U32, default=0)


@message(RT.C2Q_RESULT, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryResult(Message):
    """What became of a delivery.  The finer fact counts: recipient over transaction over session.

    rcpts lists every recipient about whom something was said, be it at RCPT, at DATA or after the dot.  transaction is
    NO_REPLY unless there is a reply that is about all recipients: MAIL was refused, or we cannot send the message to this
    server.  session is NO_REPLY if the session was fine; otherwise it holds for those about whom nothing else is said, and
    nothing was delivered to them.  The origin of a reply is the server that said it; what SMTPC found by itself (no
    connection, a message that the server cannot take) has none.  session_open tells whether session_id can be used again.
    dsn tells whether the server took the DSN parameters and is responsible for reports of success (RFC 3461 5.2.2); by tells
    whether it took the time of delivery (RFC 2852).
    tried tells of how many of the addresses the result speaks: the ones before the last of them did not answer in time.
    damage, if not empty, says what is wrong with the content file: nothing was delivered, and no server can help; QMGR holds
    the recipients that have no result of their own.
    """

    session_id: str = rec(RT.C2Q_SEID, Kind.TEXT)
    ta_id: str = rec(RT.C2Q_TAID, Kind.TEXT)
    session: Reply = rec(RT.C2Q_SEREPLY, Kind.REPLY, default=NO_REPLY)
    transaction: Reply = rec(RT.C2Q_TAREPLY, Kind.REPLY, default=NO_REPLY)
    session_open: bool = rec(RT.C2Q_SEOPEN, Kind.BOOL, default=False)
    dsn: bool = rec(RT.C2Q_DSN, Kind.BOOL, default=False)
    damage: str = rec(RT.C2Q_DAMAGE, Kind.TEXT, default="")
    by: bool = rec(RT.C2Q_BY, Kind.BOOL, default=False)
    tried: int = rec(RT.C2Q_TRIED, Kind.U32, default=1)
    rcpts: tuple[RcptResult, ...] = rec(RT.C2Q_RCPTS, Kind.ITEMS, item=RcptResult, default=())


@message(RT.C2Q_SECLSD, Role.POST)
@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosed(Message):
    """An idle session was closed by the server."""

    session_id: str = rec(RT.C2Q_SEID, Kind.TEXT)


@message(RT.C2Q_CONTAINED, Role.POST)
@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpcContained(Message):
    """Failures that SMTPC contained since its start, and the last one of them, for status (invariant I12)."""

    count: int = rec(RT.C2Q_COUNT, Kind.U32)
    last: str = rec(RT.C2Q_LAST, Kind.TEXT)


@message(RT.Q2C_CSEID, Role.POST)
@dataclass(frozen=True, slots=True, kw_only=True)
class CloseDelivery(Message):
    """Close this idle session (QUIT)."""

    session_id: str = rec(RT.Q2C_SEID, Kind.TEXT)


PROTOCOL: Final = protocol(
    "smtpc-qmgr",
    9,
    client=(SmtpcHello, DeliveryResult, SessionClosed, SmtpcContained, TlsSession),
    server=(QmgrHelloC, Deliver, CloseDelivery),
)
