"""Messages between SMTPS (client) and QMGR (server).

The envelope travels while the SMTP client is still talking: new transactions and recipients are posts; QMGR answers
only the final dot, or refuses a transaction with `Refused` as soon as it knows.

Ref: MeTA1 design, "Functional Specification: QMGR, interface to SMTPS" (modelled on).
"""

from enum import IntFlag
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import Reply
from meta1g.rcb.rectypes import RT
from meta1g.rcb.schema import Kind, Message, Role, message, protocol, rec


class ClientEvent(IntFlag):
    """What a client does, and what has a rate for each client."""

    CONNECTION = 1
    MESSAGE = 2
    RECIPIENT = 4


@message(RT.S2Q_NID, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpsHello(Message):
    """A new SMTPS: index of the process, name of its section, how many sessions it can serve.  Reply: QmgrHello."""

    smtps_id: int = rec(RT.S2Q_ID, Kind.U32)
    name: str = rec(RT.S2Q_NAME, Kind.TEXT)
    pid: int = rec(RT.S2Q_PID, Kind.U32)
    max_threads: int = rec(RT.S2Q_MAXTHRDS, Kind.U32)


@message(RT.Q2S_HELLO, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class QmgrHello(Message):
    """QMGR is ready; how many sessions it allows now, and the ClientEvents that it wants to be asked about."""

    max_threads: int = rec(RT.Q2S_THRDS, Kind.U32)
    counts: int = rec(RT.Q2S_COUNTS, Kind.U32, default=0)


@message(RT.S2Q_NSEID, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession(Message):
    """A client connected: may it stay?  Reply: Stat (220, or 421 with the reason)."""

    session_id: str = rec(RT.S2Q_SEID, Kind.TEXT)
    client_addr: str = rec(RT.S2Q_CLTADDR, Kind.TEXT)


@message(RT.S2Q_CSEID, Role.POST)
@dataclass(frozen=True, slots=True, kw_only=True)
class CloseSession(Message):
    """A session ended; its open transaction, if any, is discarded."""

    session_id: str = rec(RT.S2Q_SEID, Kind.TEXT)


@message(RT.S2Q_NTAID, Role.POST)
@dataclass(frozen=True, slots=True, kw_only=True)
class NewTransaction(Message):
    """MAIL was accepted: a new transaction.  body is `7BIT`, `8BITMIME` or `BINARYMIME`, ret `FULL` or `HDRS` (RFC 3461).

    verp holds the delimiters if each recipient is to get a sender of its own.  by is when it has to be delivered, seconds since
    the epoch, and by_mode what then happens (RFC 2852); priority is -9 to 9 (RFC 6710).
    """

    session_id: str = rec(RT.S2Q_SEID, Kind.TEXT)
    ta_id: str = rec(RT.S2Q_TAID, Kind.TEXT)
    mail: str = rec(RT.S2Q_MAIL, Kind.TEXT)
    size_bytes: int | None = rec(RT.S2Q_SIZE, Kind.U64, optional=True)
    body: str | None = rec(RT.S2Q_BODY, Kind.TEXT, optional=True)
    smtputf8: bool = rec(RT.S2Q_SMTPUTF8, Kind.BOOL, default=False)
    ret: str | None = rec(RT.S2Q_RET, Kind.TEXT, optional=True)
    envid: str | None = rec(RT.S2Q_ENVID, Kind.TEXT, optional=True)
    auth: str | None = rec(RT.S2Q_AUTH, Kind.TEXT, optional=True)
    requiretls: bool = rec(RT.S2Q_REQUIRETLS, Kind.BOOL, default=False)
    verp: str | None = rec(RT.S2Q_VERP, Kind.TEXT, optional=True)
    by: float = rec(RT.S2Q_BY, Kind.TIME, default=0.0)
    by_mode: str | None = rec(RT.S2Q_BY_MODE, Kind.TEXT, optional=True)
    priority: int = rec(RT.S2Q_PRIORITY, Kind.S32, default=0)


@message(RT.S2Q_RCPT, Role.POST)
@dataclass(frozen=True, slots=True, kw_only=True)
class NewRecipient(Message):
    """RCPT was accepted: one more recipient, numbered from 0 in its transaction."""

    ta_id: str = rec(RT.S2Q_TAID, Kind.TEXT)
    rcpt_idx: int = rec(RT.S2Q_RCPT_IDX, Kind.U32)
    rcpt: str = rec(RT.S2Q_RCPT_PA, Kind.TEXT)
    notify: str | None = rec(RT.S2Q_NOTIFY, Kind.TEXT, optional=True)
    orcpt: str | None = rec(RT.S2Q_ORCPT, Kind.TEXT, optional=True)


@message(RT.S2Q_COUNT_EVENT, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class CountEvent(Message):
    """The client of a session begins a message or names a recipient: is that too much for its rate?  Reply: Stat."""

    session_id: str = rec(RT.S2Q_SEID, Kind.TEXT)
    event: int = rec(RT.S2Q_EVENT, Kind.U32)


@message(RT.S2Q_VERIFY, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyAddress(Message):
    """Does the mail server of this address take it as a recipient?  Reply: Stat (2xx yes, 5xx no, 4xx not known yet)."""

    session_id: str = rec(RT.S2Q_SEID, Kind.TEXT)
    address: str = rec(RT.S2Q_ADDRESS, Kind.TEXT)


@message(RT.S2Q_CTAID, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class CloseTransaction(Message):
    """The final dot: the content is on stable storage.  Reply: Stat, after the envelope is (invariant I1).

    rcpts is the number of recipients SMTPS accepted; QMGR refuses the transaction if it knows another number.
    checksum is the CRC-32 of the content file, over all its size_bytes (invariant I3).  automatic: no report may answer it.
    tls_optional: it may go in clear where the receiving side demands TLS (RFC 8689 3).
    hold says why the message is to be held for the operator; without it, it is not.
    """

    ta_id: str = rec(RT.S2Q_TAID, Kind.TEXT)
    cdb_id: str = rec(RT.S2Q_CDBID, Kind.TEXT)
    size_bytes: int = rec(RT.S2Q_CDBSIZE, Kind.U64)
    rcpts: int = rec(RT.S2Q_RCPTS, Kind.U32)
    body: str | None = rec(RT.S2Q_BODY, Kind.TEXT, optional=True)
    checksum: int | None = rec(RT.S2Q_CDBSUM, Kind.U32, optional=True)
    automatic: bool = rec(RT.S2Q_AUTOMATIC, Kind.BOOL, default=False)
    tls_optional: bool = rec(RT.S2Q_TLS_OPTIONAL, Kind.BOOL, default=False)
    hold: str | None = rec(RT.S2Q_HOLD, Kind.TEXT, optional=True)


@message(RT.S2Q_DTAID, Role.POST)
@dataclass(frozen=True, slots=True, kw_only=True)
class DiscardTransaction(Message):
    """RSET, an error, or the end of the session: the transaction is forgotten."""

    ta_id: str = rec(RT.S2Q_TAID, Kind.TEXT)


@message(RT.S2Q_CONTAINED, Role.POST)
@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpsContained(Message):
    """Failures that SMTPS contained since its start, and the last one of them, for status (invariant I12)."""

    count: int = rec(RT.S2Q_COUNT, Kind.U32)
    last: str = rec(RT.S2Q_LAST, Kind.TEXT)


@message(RT.S2Q_TROUBLE, Role.POST)
@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpsTrouble(Message):
    """What an operator should look at in this SMTPS, for status: a certificate that ends; empty when it is over."""

    text: str = rec(RT.S2Q_TROUBLE_TEXT, Kind.TEXT)


@message(RT.S2Q_FILTER_FAULTS, Role.ITEM)
@dataclass(frozen=True, slots=True, kw_only=True)
class FilterFaults(Message):
    """How often a filter failed in one way: `away`, `timeout`, `closed`, `protocol`."""

    fault: str = rec(RT.S2Q_FILTER_FAULT, Kind.TEXT)
    count: int = rec(RT.S2Q_FILTER_FAULT_COUNT, Kind.U64)


@message(RT.S2Q_FILTER, Role.POST)
@dataclass(frozen=True, slots=True, kw_only=True)
class FilterReport(Message):
    """What one filter of this SMTPS did since the process began, for status; state is `up`, `down` or `unknown`."""

    kind: str = rec(RT.S2Q_FILTER_KIND, Kind.TEXT)
    name: str = rec(RT.S2Q_FILTER_NAME, Kind.TEXT, default="")
    state: str = rec(RT.S2Q_FILTER_STATE, Kind.TEXT)
    since: float = rec(RT.S2Q_FILTER_SINCE, Kind.TIME)
    sessions: int = rec(RT.S2Q_FILTER_SESSIONS, Kind.U64)
    messages: int = rec(RT.S2Q_FILTER_MESSAGES, Kind.U64)
    refused: int = rec(RT.S2Q_FILTER_REFUSED, Kind.U64)
    discarded: int = rec(RT.S2Q_FILTER_DISCARDED, Kind.U64)
    changed: int = rec(RT.S2Q_FILTER_CHANGED, Kind.U64)
    answers: int = rec(RT.S2Q_FILTER_ANSWERS, Kind.U64)
    answers_us: int = rec(RT.S2Q_FILTER_ANSWERS_US, Kind.U64)
    worst_us: int = rec(RT.S2Q_FILTER_WORST_US, Kind.U32)
    faults: tuple[FilterFaults, ...] = rec(RT.S2Q_FILTER_FAULTS, Kind.ITEMS, item=FilterFaults, default=())


@message(RT.Q2S_STAT, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class Stat(Message):
    """What to tell the client."""

    reply: Reply = rec(RT.Q2S_REPLY, Kind.REPLY)


@message(RT.Q2S_REFUSED, Role.POST)
@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Message):
    """QMGR does not take this transaction: what SMTPS says at the next reply that is still free."""

    ta_id: str = rec(RT.Q2S_TAID, Kind.TEXT)
    reply: Reply = rec(RT.Q2S_REPLY, Kind.REPLY)


@message(RT.Q2S_NTHRDS, Role.POST)
@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle(Message):
    """Load control: from now on at most this many sessions; 0 stops accepting mail."""

    max_threads: int = rec(RT.Q2S_THRDS, Kind.U32)
    text: str = rec(RT.Q2S_THRDST, Kind.TEXT, default="")


PROTOCOL: Final = protocol(
    "smtps-qmgr",
    7,
    client=(
        SmtpsHello,
        NewSession,
        CloseSession,
        NewTransaction,
        NewRecipient,
        CountEvent,
        VerifyAddress,
        CloseTransaction,
        DiscardTransaction,
        SmtpsContained,
        SmtpsTrouble,
        FilterReport,
    ),
    server=(QmgrHello, Stat, Refused, Throttle),
)
