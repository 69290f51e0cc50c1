"""The checks of a mail on its way in: client, sender, recipient.

    client     access map (cltaddr, cltname, cltresolve, smtps_session_conf), relay_from, DNS lists (dnsblN)
    sender     auth_sender (whether a user may have it), access map (certissuer, certsubject, ehlo, from)
    recipient  access map (to), relaying and routes in the local part, local user, protected recipient

A `quick:` entry ends the questions to the access map; whether the recipient exists and may be relayed to is always
checked, unless an entry said `relay`.

Invariant: a map that does not answer leads to a temporary refusal, never to a permanent one or to acceptance.

Ref: MeTA1 README, "Lookup Orders for Anti-Spam Measures" (order modelled on); RFC 5321 4.5.1 (postmaster), 7.8.
"""

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import Reply
from meta1g.maps.base import MapStatus
from meta1g.rcb.smtps_smar import (
    CheckMail,
    CheckRcpt,
    Checks,
    ClientResolve,
    ClientVerdict,
    FindUser,
    LookupFlags,
    UserEntry,
    Verdict,
    VerdictFlags,
)
from meta1g.smar.access import BROKEN, NONE, AccessMap, Action, Decision
from meta1g.smar.alias import Aliases
from meta1g.smar.authsender import AuthSenders
from meta1g.smar.hostconf import HostConf
from meta1g.smar.listed import Listed
from meta1g.smar.localuser import LocalUsers, may_write
from meta1g.smar.relay import RelayRules
from meta1g.smar.route import Routes
from meta1g.smtp.address import Address, AddressError, parse_path

if TYPE_CHECKING:
    from meta1g.smar.passwordmap import PasswordMap

OK: Final = Verdict(reply=Reply(250))
BAD_SENDER: Final = Verdict(reply=Reply(501, "5.1.7", "Sender address is not valid"))
BAD_RCPT: Final = Verdict(reply=Reply(501, "5.1.3", "Recipient address is not valid"))
ROUTING_DENIED: Final = Verdict(reply=Reply(550, "5.7.1", "Relaying denied: the local part carries another route"))
RELAYING_DENIED: Final = Verdict(reply=Reply(550, "5.7.1", "Relaying denied"))
ROUTE_TEMP: Final = Verdict(reply=Reply(451, "4.3.0", "Mail routing is temporarily not known"))
USER_UNKNOWN: Final = Verdict(reply=Reply(550, "5.1.1", "User unknown"))
USER_TEMP: Final = Verdict(reply=Reply(451, "4.3.0", "User map temporarily not available"))
SENDER_DENIED: Final = Verdict(reply=Reply(553, "5.7.1", "This sender address is not one of yours"), flags=VerdictFlags.FINAL)
NO_PASSWORDS: Final = UserEntry(reply=Reply(451, "4.3.5", "There is no map of passwords"))
SENDER_TEMP: Final = Verdict(reply=Reply(451, "4.3.0", "Map of senders temporarily not available"))
PROTECTED: Final = Verdict(reply=Reply(550, "5.7.1", "You may not write to this recipient"))

#: What parts a user from another host in a local part: user%host, host!user, "user@host", "@host:user".
_ROUTE_SIGNS: Final = frozenset("@%!")
_GREET: Final = Reply(220)
_ACCEPT: Final = Reply(250)
_FLAG_OF: Final = {Action.RELAY: VerdictFlags.RELAY, Action.DISCARD: VerdictFlags.DISCARD}


def _flags(decision: Decision) -> int:
    """Gives the VerdictFlags of a decision that refuses nothing."""
    return int(_FLAG_OF.get(decision.action, 0)) | (int(VerdictFlags.QUICK) if decision.quick else 0)


def _refusal(decision: Decision) -> Verdict:
    return Verdict(reply=decision.reply, rule=decision.rule)


def _carries_route(local: str) -> bool:
    """Tells whether a local part has a sign of a route, in a form that folding makes one, too: hosts behind may fold."""
    return not _ROUTE_SIGNS.isdisjoint(local if local.isascii() else unicodedata.normalize("NFKC", local))


@dataclass(frozen=True, slots=True)
class Policy:
    """All that decides on mail.

    Args:
        routes: the mailertable.
        relay: who may relay.
        access: the access map, None without one.
        users: the local user map, None if every local address is good.
        aliases: an alias is a good local address too.
        names: names of clients are wanted even without access map.
        conf: pieces of configuration in the access map, None without one.
        senders: which senders users may have, None if any.
        passwords: passwords of users, None if SMTPS asks others.
    """

    routes: Routes
    relay: RelayRules
    access: AccessMap | None = None
    users: LocalUsers | None = None
    aliases: Aliases | None = None
    names: bool = False
    conf: HostConf | None = None
    senders: AuthSenders | None = None
    passwords: "PasswordMap | None" = None

    def checks(self, flags: int = 0) -> Checks:
        """Gives the questions that there is an opinion on, if all have these LookupFlags."""
        checks = Checks.RCPT if self.senders is None else Checks.RCPT | Checks.AUTH
        if self._access(flags) is not None:
            return checks | Checks.CLIENT | Checks.MAIL
        return checks | Checks.CLIENT if self.names else checks

    def _access(self, flags: int) -> AccessMap | None:
        """Gives the access map, if it counts."""
        return None if flags & LookupFlags.NO_ACCESS else self.access

    @property
    def access_blocks(self) -> bool:
        """Whether client() may block."""
        return self.access is not None and self.access.blocking

    @property
    def mail_blocks(self) -> bool:
        """Whether mail() may block."""
        return self.access_blocks or (self.senders is not None and self.senders.blocking)

    @property
    def rcpt_blocks(self) -> bool:
        """Whether rcpt() may block."""
        users = self.users is not None and self.users.table.blocking
        aliases = self.aliases is not None and self.aliases.blocking
        return self.access_blocks or users or aliases or self.routes.blocking

    @property
    def users_block(self) -> bool:
        """Whether user() may block."""
        return self.passwords is not None and self.passwords.blocking

    def user(self, msg: FindUser) -> UserEntry:
        """Gives what is stored of a user.  Blocks: if users_block."""
        return NO_PASSWORDS if self.passwords is None else self.passwords.find(msg.name)

    def client(
        self, address: str, name: str, resolve: ClientResolve, listed: Sequence[Listed] = (), flags: int = 0
    ) -> ClientVerdict:
        """Decides about a client.

        Args:
            address: its IP address, or what it has instead.
            name: its name, if known.
            resolve: how the name was found.
            listed: its entries in DNS lists; they do not count for clients that may relay.
            flags: LookupFlags of the question.

        Blocks: if the access map does.
        """
        confirmed = name.lower() if resolve is ClientResolve.OK else ""
        access = self._access(flags)
        decision = NONE if access is None else self._client(access, address, confirmed, resolve, listed)
        conf = self.conf.client(address, confirmed) if self.conf is not None and access is not None else ""
        if conf is None and decision.action is not Action.REFUSE:
            decision = BROKEN
        refused = decision.action is Action.REFUSE
        said = 0 if refused else _flags(decision)
        if self.relay.client_may(address):
            said |= VerdictFlags.RELAY | self._any_rcpt(address)
        return ClientVerdict(
            reply=decision.reply if refused else _GREET,
            flags=said,
            client_name=confirmed,
            resolve=int(resolve),
            session_conf=conf or "",
            rule=decision.rule,
        )

    def _client(self, access: AccessMap, address: str, name: str, resolve: ClientResolve, listed: Sequence[Listed]) -> Decision:
        decision = access.client(address, name, resolve)
        ended = decision.quick or decision.action in (Action.RELAY, Action.REFUSE, Action.DISCARD)
        if not listed or ended or self.relay.client_may(address):
            return decision
        by_list = access.listed(listed)
        return decision if by_list.action is Action.NONE else by_list

    def mail(self, msg: CheckMail) -> Verdict:
        """Decides about a sender.  Blocks: if mail_blocks."""
        try:
            sender = parse_path(msg.mail, null_ok=True, utf8=True)
        except AddressError:
            return BAD_SENDER
        if msg.auth and self.senders is not None and (refusal := self._sender_of_user(self.senders, msg.auth, sender)):
            return refusal
        access = self._access(msg.flags)
        if access is None or msg.flags & LookupFlags.QUICK:
            return OK
        by_cert = access.certificate(msg.cert_issuer, msg.cert_subject) if msg.cert_subject or msg.cert_issuer else NONE
        relays = VerdictFlags.RELAY | VerdictFlags.CERTIFIED if by_cert.action is Action.RELAY else VerdictFlags(0)
        ended = by_cert.quick or by_cert.action in (Action.REFUSE, Action.DISCARD)
        decision = by_cert if ended else access.sender(sender, msg.ehlo.lower())
        if decision.action is Action.REFUSE:
            return Verdict(reply=decision.reply, flags=int(relays), rule=decision.rule)
        return Verdict(reply=_ACCEPT, flags=_flags(decision) | relays, rule=decision.rule)

    def _sender_of_user(self, senders: AuthSenders, user: str, sender: Address) -> Verdict | None:
        """Refuses a sender that a user may not have; whoever sends nothing but reports has none."""
        status = senders.find(user, sender)
        if status is MapStatus.OK:
            return None
        return SENDER_DENIED if status is MapStatus.NOTFOUND else SENDER_TEMP

    def rcpt(self, msg: CheckRcpt) -> Verdict:
        """Decides about a recipient.  Blocks: if any of the maps does."""
        try:
            rcpt = parse_path(msg.rcpt, utf8=True)
            sender = parse_path(msg.mail, null_ok=True, utf8=True)
        except AddressError:
            return BAD_RCPT
        decision, access = NONE, self._access(msg.flags)
        if access is not None and not msg.flags & LookupFlags.QUICK:
            decision = access.recipient(rcpt)
        if decision.action is Action.REFUSE:
            return _refusal(decision)
        flags = _flags(decision)
        if decision.action is Action.DISCARD:
            return Verdict(reply=_ACCEPT, flags=flags, rule=decision.rule)
        local = not rcpt.domain or self.relay.is_local(rcpt.domain.lower())
        refusal = (
            self._relaying(msg, rcpt, decision, local=local)
            or self._unknown(rcpt, local=local)
            or self._protected(msg, sender, rcpt, decision)
        )
        if refusal is not None:
            return refusal
        return Verdict(reply=_ACCEPT, flags=flags | (VerdictFlags.LOCAL if local else 0) | self._any_rcpt(msg.client_addr))

    def _any_rcpt(self, address: str) -> int:
        """Gives the flag that spares further questions: rcpt() has no reason left to refuse a recipient of this client."""
        unconditional = self.access is None and self.users is None and self.relay.client_may(address)
        return VerdictFlags.ANY_RCPT if unconditional else 0

    def _relaying(self, msg: CheckRcpt, rcpt: Address, decision: Decision, *, local: bool) -> Verdict | None:
        """Refuses if nothing allows mail of this client to this domain, or to where the local part leads from there."""
        trusted = bool(msg.flags & (LookupFlags.RELAY_ALLOWED | LookupFlags.AUTHENTICATED))
        if trusted or self.relay.client_may(msg.client_addr):
            return None
        if not local and decision.action is not Action.RELAY and not self.relay.domain_may(rcpt.domain.lower()):
            return ROUTE_TEMP if self.routes.failed(rcpt.domain.lower()) else RELAYING_DENIED
        return ROUTING_DENIED if _carries_route(rcpt.local) and not msg.flags & LookupFlags.ROUTING else None

    def _unknown(self, rcpt: Address, *, local: bool) -> Verdict | None:
        """Refuses if there is no such user; `postmaster` without domain always exists (RFC 5321 4.5.1)."""
        users = self.users
        if users is None or not rcpt.domain:
            return None
        if not local and (users.local_domains or not self.relay.domain_may(rcpt.domain.lower())):
            return None
        status = users.find(rcpt)
        if status is MapStatus.NOTFOUND and self.aliases is not None:
            status = self.aliases.known(rcpt)
        if status is MapStatus.OK:
            return None
        return USER_UNKNOWN if status in (MapStatus.NOTFOUND, MapStatus.NOMORE) else USER_TEMP

    def _protected(self, msg: CheckRcpt, sender: Address, rcpt: Address, decision: Decision) -> Verdict | None:
        """Refuses if only others may write to the recipient."""
        access = self._access(msg.flags)
        if access is None or decision.quick or msg.flags & LookupFlags.QUICK:
            return None
        allowed = access.protection(rcpt)
        if isinstance(allowed, Decision):
            return _refusal(allowed)
        return PROTECTED if allowed is not None and not may_write(allowed, sender, msg.client_addr) else None
