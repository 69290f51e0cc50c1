"""The envelope as IBDB and DEFEDB store it: one record for a transaction, one for each recipient.

Ref: MeTA1 design, "Implementation: IBDB", "Implementation: DEFEDB" (fields modelled on aq_ta_T and aq_rcpt_T).
"""

from enum import IntFlag
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import NO_REPLY, Reply
from meta1g.rcb.rectypes import RT
from meta1g.rcb.schema import Kind, Message, Role, message, rec

#: The next try of a recipient that is held: the year 3000, so that no scan for those that are due meets it.
HELD_UNTIL: Final = 32_503_680_000.0


class RcptFlags(IntFlag):
    """Lasting facts of a recipient (modelled on MeTA1's AQR_FL_ flags)."""

    IS_BNC = 1  # a bounce: delivered with the empty sender, content made from `failed`
    IS_DBNC = 2  # a double bounce, to the postmaster
    IS_DLY = 4  # a delay warning
    DLY_SENT = 8  # the sender has been warned of the delay
    EXPANDED = 16  # member of an expanded alias: not expanded again
    HOLD = 32  # held by the operator
    IS_RELAYED = 64  # a "relayed" DSN (NOTIFY=SUCCESS)
    IS_DELIVERED = 128  # a "delivered" DSN
    IS_EXPANDED = 256  # an "expanded" DSN
    LIST = 1024  # member of a list with an owner, or a report about one: what the sender of the message asked for does not hold
    SHORT = 512  # a report that returns the header at most, since its server takes no more
    GIVE_UP = 2048  # returned by the operator: it fails as soon as it is brought back


@message(RT.D_TA, Role.ITEM)
@dataclass(frozen=True, slots=True, kw_only=True)
class TaRecord(Message):
    """A transaction that was accepted.  entered is the time of the 250, seconds since the epoch.

    automatic tells that it is a report or an automatic reply, by its header: its sender gets no reports (RFC 3834 2).
    tls_optional tells that it may go in clear where the receiving side demands TLS (RFC 8689 3).
    size_bytes and checksum (CRC-32) are those of the content file; without a checksum only the size is checked.

    by is when it has to be delivered (RFC 2852), seconds since the epoch, 0.0 if that does not matter; by_mode is `R` if it is
    returned then, `N` if its sender is told, with a `T` behind if each relay is to be told.  priority is -9 to 9, a greater one
    goes first (RFC 6710).
    """

    ta_id: str = rec(RT.D_TAID, Kind.TEXT)
    cdb_id: str = rec(RT.D_CDBID, Kind.TEXT)
    mail: str = rec(RT.D_MAIL, Kind.TEXT)
    size_bytes: int = rec(RT.D_SIZE, Kind.U64)
    entered: float = rec(RT.D_ENTERED, Kind.TIME)
    rcpts: int = rec(RT.D_RCPTS, Kind.U32)
    body: str | None = rec(RT.D_BODY, Kind.TEXT, optional=True)
    smtputf8: bool = rec(RT.D_SMTPUTF8, Kind.BOOL, default=False)
    ret: str | None = rec(RT.D_RET, Kind.TEXT, optional=True)
    envid: str | None = rec(RT.D_ENVID, Kind.TEXT, optional=True)
    requiretls: bool = rec(RT.D_REQUIRETLS, Kind.BOOL, default=False)
    checksum: int | None = rec(RT.D_CDBSUM, Kind.U32, optional=True)
    automatic: bool = rec(RT.D_AUTOMATIC, Kind.BOOL, default=False)
    tls_optional: bool = rec(RT.D_TLS_OPTIONAL, Kind.BOOL, default=False)
    by: float = rec(RT.D_BY, Kind.TIME, default=0.0)
    by_mode: str | None = rec(RT.D_BY_MODE, Kind.TEXT, optional=True)
    priority: int = rec(RT.D_PRIORITY, Kind.S32, default=0)


@message(RT.D_FAILED, Role.ITEM)
@dataclass(frozen=True, slots=True, kw_only=True)
class DsnRcpt(Message):
    """One recipient a DSN reports on (RFC 3464 2.3).

    expired tells that it was given up for its age, and the reply was that of the last attempt.  orig_rcpt is the address
    before alias expansion.
    """

    rcpt: str = rec(RT.D_RCPT_PA, Kind.TEXT)
    orcpt: str | None = rec(RT.D_ORCPT, Kind.TEXT, optional=True)
    reply: Reply = rec(RT.D_REPLY, Kind.REPLY)
    last_try: float = rec(RT.D_LAST_TRY, Kind.TIME, default=0.0)
    expired: bool = rec(RT.D_EXPIRED, Kind.BOOL, default=False)
    orig_rcpt: str | None = rec(RT.D_ORIG_RCPT, Kind.TEXT, optional=True)


@message(RT.D_ATTEMPTS, Role.ITEM)
@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(Message):
    """What became of a recipient at a server, `name[address]`; the same answer of the same server counts up.

    first and last are times, seconds since the epoch.
    """

    server: str = rec(RT.D_ATTEMPT_SERVER, Kind.TEXT, default="")
    reply: Reply = rec(RT.D_ATTEMPT_REPLY, Kind.REPLY)
    count: int = rec(RT.D_ATTEMPT_COUNT, Kind.U32, default=1)
    first: float = rec(RT.D_ATTEMPT_FIRST, Kind.TIME)
    last: float = rec(RT.D_ATTEMPT_LAST, Kind.TIME)


@message(RT.D_RCPT, Role.ITEM)
@dataclass(frozen=True, slots=True, kw_only=True)
class RcptRecord(Message):
    """A recipient of a transaction, and what is known of it.

    sender, if given, replaces the sender of the transaction (`owner-` alias).  orig_rcpt is the address before alias
    expansion.  reply is what was said last.  failed lists what a bounce or delay warning reports on; attempts is what became
    of it at its servers, the latest last.  Times are seconds since the epoch, 0.0 never.
    """

    ta_id: str = rec(RT.D_TAID, Kind.TEXT)
    rcpt_idx: int = rec(RT.D_RCPT_IDX, Kind.U32)
    rcpt: str = rec(RT.D_RCPT_PA, Kind.TEXT)
    notify: str | None = rec(RT.D_NOTIFY, Kind.TEXT, optional=True)
    orcpt: str | None = rec(RT.D_ORCPT, Kind.TEXT, optional=True)
    orig_rcpt: str | None = rec(RT.D_ORIG_RCPT, Kind.TEXT, optional=True)
    sender: str | None = rec(RT.D_SENDER, Kind.TEXT, optional=True)
    flags: int = rec(RT.D_FLAGS, Kind.U32, default=0)
    entered: float = rec(RT.D_ENTERED, Kind.TIME)
    tries: int = rec(RT.D_TRIES, Kind.U32, default=0)
    last_try: float = rec(RT.D_LAST_TRY, Kind.TIME, default=0.0)
    next_try: float = rec(RT.D_NEXT_TRY, Kind.TIME, default=0.0)
    reply: Reply = rec(RT.D_REPLY, Kind.REPLY, default=NO_REPLY)
    failed: tuple[DsnRcpt, ...] = rec(RT.D_FAILED, Kind.ITEMS, item=DsnRcpt, default=())
    attempts: tuple[Attempt, ...] = rec(RT.D_ATTEMPTS, Kind.ITEMS, item=Attempt, default=())


@message(RT.D_DONE, Role.ITEM)
@dataclass(frozen=True, slots=True, kw_only=True)
class RcptDone(Message):
    """A recipient is finished, or another store is responsible for it."""

    ta_id: str = rec(RT.D_TAID, Kind.TEXT)
    rcpt_idx: int = rec(RT.D_RCPT_IDX, Kind.U32)


@message(RT.D_TADONE, Role.ITEM)
@dataclass(frozen=True, slots=True, kw_only=True)
class TaDone(Message):
    """A transaction and all its recipients are finished."""

    ta_id: str = rec(RT.D_TAID, Kind.TEXT)


@message(RT.D_CANCEL, Role.ITEM)
@dataclass(frozen=True, slots=True, kw_only=True)
class TaCancel(Message):
    """A transaction that had been written is void: it was never acknowledged."""

    ta_id: str = rec(RT.D_TAID, Kind.TEXT)
