"""Messages between SMTPS (client) and a policy milter (server).

One connection serves all sessions of an SMTPS process: every message carries the session id, and requests of different
sessions interleave.  Within a session a request follows the answer to the one before, but chunks of content, of which a few
may be under way.

    negotiate | connect helo (mail rcpt... data msg... dot [pull...] | abort)... close | unknown at any time

Ref: MeTA1 pmilter API (stages, names and meanings modelled on; records are ours).
"""

from enum import IntEnum, IntFlag
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import NO_REPLY, Reply
from meta1g.rcb.rectypes import RT
from meta1g.rcb.schema import Kind, Message, Role, message, protocol, rec

#: Version of the interface: major * 256 + minor.  A filter and a server of different major do not work together.
PM_VERSION: Final = 0x0100
#: Macros that a filter can have at one stage.  Ref: MeTA1's PM_MACROS_MAX; the number is our choice: all that there are.
PM_MACROS_MAX: Final = 32
#: Content of one MessageChunk at most.  Ref: MeTA1's PMILTER_CHUNK_SIZE; the number is our choice.
PMILTER_CHUNK_SIZE: Final = 32 * 1024
#: Modifications of one message at most, of each kind.  Ref: invariant I4; our choice.
MODIFICATIONS_MAX: Final = 1000


class Capability(IntFlag):
    """What a server can send and a filter picks (SM_SCAP_PM_*): a stage that is not picked is not sent."""

    CNNCT = 1
    EHLO = 2
    MAIL = 4
    RCPT = 8
    DATA = 16
    MSG = 32
    DOT = 64
    UNKN = 128
    RCPT_ST = 256  # recipients that are refused already are told too, with their replies


class Function(IntFlag):
    """What a filter may do to a message at its end."""

    HDR_MOD = 1
    RCPT_ADD = 2
    RCPT_DEL = 4
    MAIL_SET = 8
    MSG_RPLC = 16
    QUARANTINE = 32


class Stage(IntEnum):
    """Stages of a session (PM_SMST_*)."""

    CONNECT = 1
    HELO = 2
    MAIL = 3
    RCPT = 4
    DATA = 5
    MSG = 6
    DOT = 7
    UNKNOWN = 8


class Pmm(IntEnum):
    """Facts that a filter may ask for, by stage (PMM_*)."""

    SRVHOSTNAME = 1
    CLIENT_RESOLVE = 2
    CLIENT_PORT = 3
    SRVADDR = 4
    SRVPORT = 5
    TLS_VERSION = 10
    TLS_CIPHER_SUITE = 11
    TLS_CIPHER_BITS = 12
    TLS_ALG_BITS = 13
    TLS_CERT_SUBJECT = 14
    TLS_CERT_ISSUER = 15
    TLS_CN_SUBJECT = 16
    TLS_CN_ISSUER = 17
    TLS_VRFY = 18
    AUTH_TYPE = 20
    AUTH_AUTHEN = 21
    AUTH_AUTHOR = 22
    MAIL_TAID = 30
    DOT_MSGID = 40
    DOT_HOPS = 41


class Code(IntEnum):
    """Pseudo reply codes (SMTP_R_*), beside those of SMTP."""

    CONT = 0  # go on
    ACCEPT = 1  # no more questions: about this session at connect and helo, else about this transaction
    DISCARD = 2  # accept the transaction and drop it
    SKIP = 3  # enough content; only for a chunk


class HeaderChange(IntEnum):
    """Kinds of header modifications (SM_HDRMOD_T_*)."""

    PREPEND = 1
    INSERT = 2
    APPEND = 3
    REPLACE = 4
    REMOVE = 5


@message(RT.S2PM_MAC, Role.ITEM)
@dataclass(frozen=True, slots=True, kw_only=True)
class MacroValue(Message):
    """One macro that the filter asked for at this stage; one without a value is left out."""

    macro: int = rec(RT.S2PM_MACP_I, Kind.U32)
    value: str = rec(RT.S2PM_MACP_V, Kind.TEXT)


@message(RT.S2PM_NID, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class PmHello(Message):
    """A server that connected: the version it speaks, the Capabilities and Functions it offers.  Reply: PmWanted."""

    version: int = rec(RT.S2PM_PROT_VER, Kind.U32)
    capabilities: int = rec(RT.S2PM_CAP, Kind.U32)
    functions: int = rec(RT.S2PM_FCT, Kind.U32)
    hostname: str = rec(RT.S2PM_HOSTNAME, Kind.TEXT, default="")


@message(RT.PM2S_MACS, Role.ITEM)
@dataclass(frozen=True, slots=True, kw_only=True)
class WantedMacro(Message):
    """One macro that a filter asks for at a stage."""

    stage: int = rec(RT.PM2S_MAC_ST, Kind.U32)
    macro: int = rec(RT.PM2S_MAC_I, Kind.U32)


@message(RT.PM2S_NID, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class PmWanted(Message):
    """What the filter wants of what was offered; its name is for logs."""

    name: str = rec(RT.PM2S_NAME, Kind.TEXT)
    version: int = rec(RT.PM2S_PROT_VER, Kind.U32)
    capabilities: int = rec(RT.PM2S_CAP, Kind.U32)
    functions: int = rec(RT.PM2S_FCT, Kind.U32)
    macros: tuple[WantedMacro, ...] = rec(RT.PM2S_MACS, Kind.ITEMS, item=WantedMacro, default=())


@message(RT.S2PM_CNNCT, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class PmConnect(Message):
    """A client connected.  Reply: PmVerdict.  client_addr is an IPv4 or IPv6 address, empty for a local client."""

    session_id: str = rec(RT.S2PM_SEID, Kind.TEXT)
    client_addr: str = rec(RT.S2PM_CLTADDR, Kind.TEXT, default="")
    client_name: str = rec(RT.S2PM_CLTNAME, Kind.TEXT, default="")
    macros: tuple[MacroValue, ...] = rec(RT.S2PM_MAC, Kind.ITEMS, item=MacroValue, default=())


@message(RT.S2PM_HELO, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class PmHelo(Message):
    """HELO or EHLO.  Reply: PmVerdict."""

    session_id: str = rec(RT.S2PM_SEID, Kind.TEXT)
    helo: str = rec(RT.S2PM_CMD, Kind.TEXT)
    ehlo: bool = rec(RT.S2PM_EHLO, Kind.BOOL, default=False)
    macros: tuple[MacroValue, ...] = rec(RT.S2PM_MAC, Kind.ITEMS, item=MacroValue, default=())


@message(RT.S2PM_MAIL, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class PmMail(Message):
    """MAIL: the sender with its brackets and the parameters as they came.  Reply: PmVerdict."""

    session_id: str = rec(RT.S2PM_SEID, Kind.TEXT)
    ta_id: str = rec(RT.S2PM_TAID, Kind.TEXT)
    mail: str = rec(RT.S2PM_MAIL_PA, Kind.TEXT)
    args: tuple[str, ...] = rec(RT.S2PM_ARGS, Kind.TEXTS, item_rt=RT.S2PM_ARG, default=())
    macros: tuple[MacroValue, ...] = rec(RT.S2PM_MAC, Kind.ITEMS, item=MacroValue, default=())


@message(RT.S2PM_RCPT, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class PmRcpt(Message):
    """RCPT; status is the refusal of one that is refused already.  Reply: PmVerdict."""

    session_id: str = rec(RT.S2PM_SEID, Kind.TEXT)
    rcpt_idx: int = rec(RT.S2PM_RCPT_IDX, Kind.U32)
    rcpt: str = rec(RT.S2PM_RCPT_PA, Kind.TEXT)
    args: tuple[str, ...] = rec(RT.S2PM_ARGS, Kind.TEXTS, item_rt=RT.S2PM_ARG, default=())
    status: Reply = rec(RT.S2PM_RCPT_ST, Kind.REPLY, default=NO_REPLY)
    macros: tuple[MacroValue, ...] = rec(RT.S2PM_MAC, Kind.ITEMS, item=MacroValue, default=())


@message(RT.S2PM_DATA, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class PmData(Message):
    """DATA, before the content.  Reply: PmVerdict."""

    session_id: str = rec(RT.S2PM_SEID, Kind.TEXT)
    macros: tuple[MacroValue, ...] = rec(RT.S2PM_MAC, Kind.ITEMS, item=MacroValue, default=())


@message(RT.S2PM_MSG, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class MessageChunk(Message):
    """Content as it comes, header and body in one stream, lines end in CR LF, no dot stuffing.  Reply: PmVerdict.

    A refusal is told to the client after the dot; after SKIP or a refusal no more chunks of this message come.
    """

    session_id: str = rec(RT.S2PM_SEID, Kind.TEXT)
    data: bytes = rec(RT.S2PM_CHUNK, Kind.OCTETS)


@message(RT.S2PM_DOT, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class PmDot(Message):
    """The end of the content.  Reply: PmDotVerdict."""

    session_id: str = rec(RT.S2PM_SEID, Kind.TEXT)
    macros: tuple[MacroValue, ...] = rec(RT.S2PM_MAC, Kind.ITEMS, item=MacroValue, default=())


@message(RT.S2PM_PULL, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class PmPull(Message):
    """The server wants more of the message that replaces this one; pulled bytes have come so far.  Reply: Replacement."""

    session_id: str = rec(RT.S2PM_SEID, Kind.TEXT)
    pulled: int = rec(RT.S2PM_PULLED, Kind.U64)


@message(RT.S2PM_RSTAT, Role.POST)
@dataclass(frozen=True, slots=True, kw_only=True)
class PmPullStatus(Message):
    """What became of the replacement: 250, or why the message was not replaced."""

    session_id: str = rec(RT.S2PM_SEID, Kind.TEXT)
    reply: Reply = rec(RT.S2PM_RCPT_ST, Kind.REPLY)


@message(RT.S2PM_ABORT, Role.POST)
@dataclass(frozen=True, slots=True, kw_only=True)
class PmAbort(Message):
    """The transaction is over without a dot: RSET, an error, or a refusal."""

    session_id: str = rec(RT.S2PM_SEID, Kind.TEXT)


@message(RT.S2PM_CSEID, Role.POST)
@dataclass(frozen=True, slots=True, kw_only=True)
class PmClose(Message):
    """The session is over."""

    session_id: str = rec(RT.S2PM_SEID, Kind.TEXT)


@message(RT.S2PM_UNKN, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class PmUnknown(Message):
    """A command that the server does not know; it is refused whatever the filter says.  Reply: PmVerdict."""

    session_id: str = rec(RT.S2PM_SEID, Kind.TEXT)
    command: str = rec(RT.S2PM_CMD, Kind.TEXT)


@message(RT.PM2S_STAT, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class PmVerdict(Message):
    """What the filter says: a Code, or an SMTP code of 4xx or 5xx with the reply for the client, if it has one of its own."""

    code: int = rec(RT.PM2S_RCODE, Kind.U32)
    reply: Reply = rec(RT.PM2S_RTEXT, Kind.REPLY, default=NO_REPLY)


@message(RT.PM2S_R_HDR, Role.ITEM)
@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderModification(Message):
    """One change of the header: a HeaderChange, its position counted from 0, and the whole field `Name: value`.

    The field may have several lines; what REMOVE and REPLACE count are fields of this name from the top, INSERT counts all.
    """

    change: int = rec(RT.PM2S_R_HDR_T, Kind.U32)
    position: int = rec(RT.PM2S_R_HDR_P, Kind.U32, default=0)
    field: bytes = rec(RT.PM2S_R_HDR_V, Kind.OCTETS, default=b"")


@message(RT.PM2S_DOT, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class PmDotVerdict(Message):
    """What the filter says of the whole message, and what it changes; sender and recipients are with their brackets.

    With replace the server pulls another message that takes the place of this one, header included; with quarantine, a reason,
    the message is accepted and held.
    """

    code: int = rec(RT.PM2S_RCODE, Kind.U32)
    reply: Reply = rec(RT.PM2S_RTEXT, Kind.REPLY, default=NO_REPLY)
    header: tuple[HeaderModification, ...] = rec(RT.PM2S_R_HDR, Kind.ITEMS, item=HeaderModification, default=())
    rcpts_added: tuple[str, ...] = rec(RT.PM2S_R_RCPTA, Kind.TEXTS, item_rt=RT.PM2S_R_RCPT, default=())
    rcpts_removed: tuple[str, ...] = rec(RT.PM2S_R_RCPTD, Kind.TEXTS, item_rt=RT.PM2S_R_RCPT, default=())
    mail: str | None = rec(RT.PM2S_R_MAIL, Kind.TEXT, optional=True)
    replace: bool = rec(RT.PM2S_R_MSG, Kind.BOOL, default=False)
    quarantine: str = rec(RT.PM2S_R_HOLD, Kind.TEXT, default="")


@message(RT.PM2S_RPLC, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement(Message):
    """A piece of the new message, the last one with end; or a refusal of the whole message instead."""

    data: bytes = rec(RT.PM2S_RPLC_B, Kind.OCTETS, default=b"")
    end: bool = rec(RT.PM2S_RPLC_END, Kind.BOOL, default=False)
    code: int = rec(RT.PM2S_RCODE, Kind.U32, default=0)


PROTOCOL: Final = protocol(
    "smtps-pmilter",
    2,
    client=(
        PmHello, PmConnect, PmHelo, PmMail, PmRcpt, PmData, MessageChunk, PmDot, PmPull, PmPullStatus, PmAbort, PmClose,
        PmUnknown,
    ),
    server=(PmWanted, PmVerdict, PmDotVerdict, Replacement),
)  # fmt: skip
