"""Messages between SMTPS (client) and SMAR (server): access checks.

Ref: MeTA1 design, "Functional Specification: AR, requests and answers" (modelled on).
"""

from enum import IntFlag
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import Reply
from meta1g.rcb.rectypes import RT
from meta1g.rcb.schema import Kind, Message, Role, message, protocol, rec


class Checks(IntFlag):
    """Which questions SMAR has an opinion on; SMTPS need not ask the others."""

    CLIENT = 1
    MAIL = 2
    RCPT = 4
    AUTH = 8  # senders of authenticated clients


class LookupFlags(IntFlag):
    """What SMTPS knows when it asks."""

    AUTHENTICATED = 1
    TLS_VERIFIED = 2
    RELAY_ALLOWED = 4  # an earlier answer allowed relaying
    QUICK = 8  # an earlier answer ended all further checks
    LMTP = 16
    ROUTING = 32  # a recipient may carry another route in its local part
    NO_ACCESS = 64  # the access map does not count


class VerdictFlags(IntFlag):
    """What an answer means beside its reply code."""

    RELAY = 1  # relaying is allowed
    QUICK = 2  # no further checks
    DISCARD = 4  # accept and drop
    LOCAL = 8  # the recipient is local
    FINAL = 32  # a refusal that counts at once, and that nobody overrules
    CERTIFIED = 64  # a certificate allows relaying; it overrules denials that were delayed
    ANY_RCPT = 16  # every recipient of this client is accepted; need not be asked again on this connection


class ClientResolve(IntFlag):
    """How the name of a client was found (key of `cltresolve:`)."""

    OK = 0
    NO_NAME = 1
    FORGED = 2
    TEMP = 4


@message(RT.S2A_NID, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpsHelloA(Message):
    """A new SMTPS, with the index of its process and the name of its configuration section.  Reply: SmarHello.

    flags are the LookupFlags of all its questions.
    """

    smtps_id: int = rec(RT.S2A_ID, Kind.U32)
    name: str = rec(RT.S2A_CONF, Kind.TEXT, default="")
    flags: int = rec(RT.S2A_LFLAGS, Kind.U32, default=0)


@message(RT.A2S_HELLO, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class SmarHello(Message):
    """SMAR is ready; checks is a set of Checks."""

    checks: int = rec(RT.A2S_CHECKS, Kind.U32)


@message(RT.S2A_CLIENT, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class CheckClient(Message):
    """A client connected: its name, and whether it may talk to us.  Reply: ClientVerdict."""

    session_id: str = rec(RT.S2A_SEID, Kind.TEXT)
    client_addr: str = rec(RT.S2A_CLTADDR, Kind.TEXT)
    flags: int = rec(RT.S2A_LFLAGS, Kind.U32, default=0)


@message(RT.A2S_CLIENT, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class ClientVerdict(Message):
    """Answer to CheckClient: code 220 or a refusal, the client's name, how it was found, VerdictFlags.

    session_conf is the snippet `smtps_session_conf:` that is for the client, empty without one; rule is the entry of a map
    that a refusal or a discard comes from, `map key`.
    """

    reply: Reply = rec(RT.A2S_REPLY, Kind.REPLY)
    flags: int = rec(RT.A2S_FLAGS, Kind.U32, default=0)
    client_name: str = rec(RT.A2S_CLTNAME, Kind.TEXT, default="")
    resolve: int = rec(RT.A2S_RESOLVE, Kind.U32, default=0)
    session_conf: str = rec(RT.A2S_SESSCONF, Kind.TEXT, default="")
    rule: str = rec(RT.A2S_RULE, Kind.TEXT, default="")


@message(RT.S2A_MAIL, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class CheckMail(Message):
    """MAIL: is this sender welcome, from a client that calls itself so?  Reply: Verdict.

    auth is the user that the client has shown to be, empty for none: may it use this sender?
    cert_issuer and cert_subject are the names in its certificate if that is verified (RFC 4514), else empty.
    """

    ta_id: str = rec(RT.S2A_TAID, Kind.TEXT)
    client_addr: str = rec(RT.S2A_CLTADDR, Kind.TEXT)
    client_name: str = rec(RT.S2A_CLTNAME, Kind.TEXT, default="")
    ehlo: str = rec(RT.S2A_EHLO, Kind.TEXT, default="")
    mail: str = rec(RT.S2A_MAIL_PA, Kind.TEXT)
    flags: int = rec(RT.S2A_LFLAGS, Kind.U32, default=0)
    auth: str = rec(RT.S2A_AUTH, Kind.TEXT, default="")
    cert_issuer: str = rec(RT.S2A_CERT_ISSUER, Kind.TEXT, default="")
    cert_subject: str = rec(RT.S2A_CERT_SUBJECT, Kind.TEXT, default="")


@message(RT.S2A_RCPT, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRcpt(Message):
    """RCPT: is this recipient welcome, may it be relayed?  flags is a set of LookupFlags.  Reply: Verdict."""

    ta_id: str = rec(RT.S2A_TAID, Kind.TEXT)
    rcpt_idx: int = rec(RT.S2A_RCPT_IDX, Kind.U32)
    client_addr: str = rec(RT.S2A_CLTADDR, Kind.TEXT)
    client_name: str = rec(RT.S2A_CLTNAME, Kind.TEXT, default="")
    mail: str = rec(RT.S2A_MAIL_PA, Kind.TEXT)
    rcpt: str = rec(RT.S2A_RCPT_PA, Kind.TEXT)
    flags: int = rec(RT.S2A_LFLAGS, Kind.U32, default=0)


@message(RT.A2S_STAT, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(Message):
    """Answer to CheckMail and CheckRcpt: code 250 or a refusal, a set of VerdictFlags, and the rule as in ClientVerdict."""

    reply: Reply = rec(RT.A2S_REPLY, Kind.REPLY)
    flags: int = rec(RT.A2S_FLAGS, Kind.U32, default=0)
    rule: str = rec(RT.A2S_RULE, Kind.TEXT, default="")


@message(RT.S2A_USER, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class FindUser(Message):
    """AUTH: what is stored of the password of a user?  Reply: UserEntry."""

    name: str = rec(RT.S2A_USER_NAME, Kind.TEXT)


@message(RT.A2S_USER, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class UserEntry(Message):
    """Answer to FindUser: code 250, 550 for no such user, or 451; stored is as in a password file, and a secret."""

    reply: Reply = rec(RT.A2S_REPLY, Kind.REPLY)
    stored: str = rec(RT.A2S_STORED, Kind.TEXT, default="")


PROTOCOL: Final = protocol(
    "smtps-smar",
    6,
    client=(SmtpsHelloA, CheckClient, CheckMail, CheckRcpt, FindUser),
    server=(SmarHello, ClientVerdict, Verdict, UserEntry),
)
