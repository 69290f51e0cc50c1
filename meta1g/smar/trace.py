"""What mail would meet: a question, every key that the maps are asked for, in order, with each answer, and the verdict.

The answers come from the objects that decide at work (Policy, AccessMap, Aliases, Routes, LocalUsers); only their maps are
watched.

    client:192.0.2.7   mail:ADDRESS   rcpt:ADDRESS      what an SMTP client hears, and where the mail goes then
    cltaddr:IP cltname:NAME cltresolve:RESULT ehlo:NAME from:ADDRESS to:ADDRESS protectedrcpt:ADDRESS dnsblN:IP
    certissuer:NAME certsubject:NAME
    smtps_session_conf:IP smtpc_session_conf:IP smtpc_rcpt_conf:ADDRESS
                                                        one tag of the access map
    mailertable:DOMAIN   aliases:ADDRESS   local_user_map:ADDRESS   tls_policy:DOMAIN   auth_sender:USER
    password_map:USER                                   without what is stored

Without a word an address of somebody is a recipient, an IP address a client, and any other name a domain for the mailertable.

Ref: MeTA1 README, "Lookup Orders in Maps", "Lookup Orders for Anti-Spam Measures" (orders modelled on).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.log import Log
from meta1g.conf.access import DNSBL, Decision
from meta1g.conf.values import shown, suggest
from meta1g.maps.base import Map, MapResult, MapStatus
from meta1g.maps.cidrmap import parse_address
from meta1g.maps.wrong import WrongEntries
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.smtps_smar import CheckMail, CheckRcpt, ClientResolve, FindUser, LookupFlags, VerdictFlags
from meta1g.smar.access import RESOLVE_KEYS, AccessMap
from meta1g.smar.alias import Aliases
from meta1g.smar.answers import configured, decided, demanded, end_of, expanded, routed, said
from meta1g.smar.checks import Policy
from meta1g.smar.hostconf import HostConf
from meta1g.smar.listed import Listed
from meta1g.smar.localuser import may_write
from meta1g.smar.route import RoutePlan
from meta1g.smar.tlsmap import PolicyMap, target_of
from meta1g.smtp.address import NULL, Address, AddressError, parse_path

_LIST: Final = re.compile(rf"{DNSBL.tag}(\d{{1,3}})", re.ASCII)
_ADDRESS_NEEDED: Final = "write an address such as user@example.org"


class QuestionError(ValueError):
    """A question that cannot be asked; the message says what can."""


@dataclass(frozen=True, slots=True)
class LookupStep:
    """One look-up: the map, the key, and what it answered."""

    table: str
    key: str
    result: MapResult

    def __str__(self) -> str:
        status = "not found" if self.result.status is MapStatus.NOTFOUND else self.result.status.value
        value = f"  {shown(self.result.value)}" if self.result.value else ""
        return f"{self.table}  {shown(self.key)}  {status}{value}"


class LookupNotes(WrongEntries):
    """Look-ups since the last verdict, and the wrong entries among them.  Owner: one thread."""

    def __init__(self) -> None:
        super().__init__(Log("smar", level=0))
        self._lines: list[str] = []
        self.verdicts = 0

    def add(self, step: LookupStep) -> None:
        """Notes a look-up."""
        self._lines.append(f"  {step}")

    def tell(self, table: str, key: str, value: str, why: str, effect: str = "mail is put off") -> None:
        """Notes a wrong entry."""
        line = f"  {table}  {shown(key)}  wrong: {why}; {effect} until it is mended"
        if line not in self._lines:
            self._lines.append(line)

    def take(self) -> list[str]:
        """Gives a line for each look-up, and begins anew."""
        lines, self._lines = self._lines, []
        self.verdicts += 1
        return lines


class WatchedMap:
    """A map whose look-ups are noted.

    Args:
        table: the map.
        notes: look-ups are added here.

    Owner: one thread.
    """

    def __init__(self, table: Map, notes: LookupNotes) -> None:
        self.name = table.name
        self.blocking = table.blocking
        self._table = table
        self._notes = notes

    def lookup(self, key: str) -> MapResult:
        """Looks a key up.  Blocks: if the map does."""
        result = self._table.lookup(key)
        self._notes.add(LookupStep(self.name, key, result))
        return result

    def version(self) -> int:
        """Gives a number that is new after each verdict: what was found before is asked for again, and so is seen."""
        return self._notes.verdicts

    def tags(self) -> frozenset[str] | None:
        """Gives the tags of its keys."""
        return self._table.tags()

    def close(self) -> None:
        """Closes the map."""
        self._table.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """What is known of the mail that a question is about.

    Args:
        client: IP address of the client.
        name: its name, empty if it has none.
        resolve: how the name was found.
        ehlo: what it calls itself, empty if that is not known.
        sender: envelope sender, empty for the null path.
    """

    client: str
    name: str = ""
    resolve: ClientResolve = ClientResolve.NO_NAME
    ehlo: str = ""
    sender: str = ""


class Tracer:
    """Asks questions.

    Args:
        policy: decides, over maps that are WatchedMap.
        aliases: the aliases, None without any.
        notes: where the maps note their look-ups.
        hostname: domain of addresses without one.
        policies: what TLS has to fulfil, None without such a map.

    Owner: one thread.
    """

    def __init__(
        self,
        policy: Policy,
        aliases: Aliases | None,
        notes: LookupNotes,
        hostname: str,
        policies: PolicyMap | None = None,
    ) -> None:
        self._policies = policies
        self._policy = policy
        self._aliases = aliases
        self._notes = notes
        self._hostname = hostname

    def ask(self, question: str, mail: Mail) -> list[str]:
        """Asks one question.

        Args:
            question: `WORD:KEY`, see above.
            mail: what else is known.

        Returns:
            A line for each look-up and each verdict.

        Raises:
            QuestionError: there is no such question, or no map that it would ask.
        """
        word, _, key = in_full(question).partition(":")
        word = word.lower()
        asked = _LISTED if _LIST.fullmatch(word) else QUESTIONS.get(word)
        if asked is None:
            raise QuestionError(f"{shown(question)}: {suggest(word, QUESTIONS)}, as in from:user@example.org")
        self._notes.take()
        return asked(self, f"{word}:{key}" if asked is _LISTED else key.strip(), mail)

    def _lines(self, verdict: str) -> list[str]:
        """Gives the look-ups since the last call, and the verdict."""
        return [*self._notes.take(), verdict]

    def _access(self) -> AccessMap:
        if self._policy.access is None:
            raise QuestionError("there is no access map; name one with access_map { ... }")
        return self._policy.access

    # -- one tag of the access map

    def by_address(self, key: str, _mail: Mail) -> list[str]:
        """Asks for cltaddr:."""
        return self._lines(decided(self._access().by_address(_ip(key))))

    def by_name(self, key: str, _mail: Mail) -> list[str]:
        """Asks for cltname:."""
        return self._lines(decided(self._access().by_name(key.lower())))

    def by_resolve(self, key: str, _mail: Mail) -> list[str]:
        """Asks for cltresolve:."""
        return self._lines(decided(self._access().by_resolve(resolve_of(key))))

    def by_hello(self, key: str, _mail: Mail) -> list[str]:
        """Asks for ehlo:."""
        return self._lines(decided(self._access().by_hello(key.lower())))

    def by_issuer(self, key: str, _mail: Mail) -> list[str]:
        """Asks for certissuer:."""
        return self._lines(decided(self._access().certificate(key, "")))

    def by_subject(self, key: str, _mail: Mail) -> list[str]:
        """Asks for certsubject:."""
        return self._lines(decided(self._access().certificate("", key)))

    def by_list(self, question: str, _mail: Mail) -> list[str]:
        """Asks for the result of a DNS list."""
        word, _, key = question.partition(":")
        return self._lines(decided(self._access().listed([Listed(int(word[len(DNSBL.tag) :]), _ip(key))])))

    def sender(self, key: str, _mail: Mail) -> list[str]:
        """Asks for from:."""
        return self._lines(decided(self._access().sender(_address(key, null=True))))

    def recipient(self, key: str, _mail: Mail) -> list[str]:
        """Asks for to:."""
        return self._lines(decided(self._access().recipient(_address(key))))

    def protection(self, key: str, mail: Mail) -> list[str]:
        """Asks for protectedrcpt:, and whether the sender and client may write."""
        allowed = self._access().protection(_address(key))
        if isinstance(allowed, Decision):
            return self._lines(decided(allowed))
        if allowed is None:
            return self._lines("= everybody may write")
        may = may_write(allowed, _address(mail.sender, null=True), mail.client)
        return self._lines(f"= <{mail.sender}> from {mail.client} {'may' if may else 'may not'} write")

    def session(self, key: str, mail: Mail) -> list[str]:
        """Asks for smtps_session_conf:."""
        return self._lines(configured(self._conf().client(_ip(key), mail.name)))

    def server(self, key: str, mail: Mail) -> list[str]:
        """Asks for smtpc_session_conf:."""
        server = ServerAddr(addr=_ip(key), port=0, pref=0, ttl_s=0, host=mail.name or key)
        return self._lines(configured(self._conf().server(server)))

    def rcpt_conf(self, key: str, _mail: Mail) -> list[str]:
        """Asks for smtpc_rcpt_conf:."""
        return self._lines(configured(self._conf().recipient(_address(key))))

    def _conf(self) -> HostConf:
        self._access()
        assert self._policy.conf is not None
        return self._policy.conf

    # -- the other maps

    def route(self, key: str, _mail: Mail) -> list[str]:
        """Asks the mailertable for a domain."""
        domain = key.rpartition("@")[2].lower()
        return self._lines(routed(self._policy.routes.plan(domain or self._hostname), domain))

    def tls(self, key: str, _mail: Mail) -> list[str]:
        """Asks what TLS has to fulfil for a domain, or for a host in brackets, which may have a port behind a colon."""
        if self._policies is None:
            raise QuestionError("there is no map of TLS policies; name one with tls_policy { ... }")
        return self._lines(demanded(self._policies.entry(target_of(key.rpartition("@")[2].lower()))))

    def alias(self, key: str, _mail: Mail) -> list[str]:
        """Expands an alias."""
        if self._aliases is None:
            raise QuestionError("there are no aliases; name a map with aliases { ... }")
        members = self._aliases.expand(_address(key if "@" in key else f"{key}@{self._hostname}"))
        if members is None:
            return self._lines("= no alias")
        return self._lines(expanded(members))

    def user(self, key: str, _mail: Mail) -> list[str]:
        """Asks whether there is a local user."""
        if self._policy.users is None:
            raise QuestionError("there is no local user map: every local address is good; name one with local_user_map { ... }")
        status = self._policy.users.find(_address(key if "@" in key else f"{key}@{self._hostname}"))
        return self._lines("= a user" if status is MapStatus.OK else f"= no user ({status.value})")

    def senders(self, key: str, mail: Mail) -> list[str]:
        """Asks which senders a user may have, or whether it may have the sender of the mail."""
        if self._policy.senders is None:
            raise QuestionError("there is no map of senders: users may have any; name one with auth_sender { ... }")
        if mail.sender:
            status = self._policy.senders.find(key, _address(mail.sender))
            may = {MapStatus.OK: "may", MapStatus.NOTFOUND: "may not"}.get(status, "cannot be told whether it may")
            return self._lines(f"= {key} {may} write as <{mail.sender}>")
        words = self._policy.senders.entry(key.lower())
        none = "no sender but <>" if words is MapStatus.NOTFOUND else "mail is put off"
        return self._lines(f"= {none if isinstance(words, MapStatus) else ', '.join(words)}")

    def password(self, key: str, _mail: Mail) -> list[str]:
        """Asks whether a user has a password; the look-ups are not told, for they have what is stored."""
        if self._policy.passwords is None:
            raise QuestionError("there is no map of passwords; name one with password_map { ... }")
        entry = self._policy.user(FindUser(name=key.lower()))
        wrong = [line for line in self._notes.take() if "  wrong: " in line]
        kinds = ", ".join(text.partition("}")[0].lstrip("{") for text in entry.stored.split())
        return [*wrong, f"= a user with {kinds}" if entry.reply.is_ok else f"= {entry.reply.text}"]

    # -- as an SMTP client meets it

    def client(self, key: str, mail: Mail) -> list[str]:
        """Decides about a client."""
        return self._client(_ip(key), mail).lines

    def _client(self, address: str, mail: Mail) -> "_Asked":
        verdict = self._policy.client(address, mail.name, mail.resolve)
        lines = self._lines(said(verdict.reply, verdict.flags))
        return _Asked(lines, _lookup_flags(verdict.flags), end_of("connect", verdict.reply, verdict.flags))

    def mail(self, key: str, mail: Mail) -> list[str]:
        """Decides about a client and a sender."""
        return self._mail(key, mail).told()

    def _mail(self, sender: str, mail: Mail) -> "_Asked":
        text = _address(sender, null=True).text
        client = self._client(mail.client, mail)
        verdict = self._policy.mail(CheckMail(ta_id="", client_addr=mail.client, mail=text, flags=client.flags, ehlo=mail.ehlo))
        told = self._lines(said(verdict.reply, verdict.flags))
        lines = [f"client {mail.client}", *client.lines, f"mail <{text}>", *told]
        end = client.end or end_of("MAIL", verdict.reply, verdict.flags)
        return _Asked(lines, client.flags | _lookup_flags(verdict.flags), end)

    def rcpt(self, key: str, mail: Mail) -> list[str]:
        """Decides about a client, a sender and a recipient, and tells where the mail goes, if it may go."""
        rcpt = _address(key)
        before = self._mail(mail.sender, mail)
        sender = _address(mail.sender, null=True).text
        question = CheckRcpt(ta_id="", rcpt_idx=0, client_addr=mail.client, mail=sender, rcpt=rcpt.text, flags=before.flags)
        verdict = self._policy.rcpt(question)
        lines = [*before.lines, f"rcpt <{rcpt.text}>", *self._lines(said(verdict.reply, verdict.flags))]
        end = before.end or end_of("RCPT", verdict.reply, verdict.flags)
        return [*lines, end] if end else [*lines, *self._resolved(rcpt)]

    def _resolved(self, rcpt: Address) -> list[str]:
        members = None if self._aliases is None else self._aliases.expand(rcpt)
        lines = [] if self._aliases is None else ["alias", *self._lines("= no alias" if members is None else expanded(members))]
        if members is not None:
            return lines
        domain = rcpt.domain.lower() or self._hostname
        plan = self._policy.routes.plan(domain)
        return [*lines, "route", *self._lines(routed(plan, domain)), *self._policies_of(plan)]

    def _policies_of(self, plan: RoutePlan) -> Iterator[str]:
        """Tells what the map of TLS policies says of the targets of a route."""
        if self._policies is not None:
            for target in plan.targets:
                yield f"tls {target.host}"
                yield from self._lines(demanded(self._policies.entry(target)))


#: Questions by their first word.
QUESTIONS: Final[Mapping[str, Callable[[Tracer, str, Mail], list[str]]]] = {
    "client": Tracer.client,
    "mail": Tracer.mail,
    "rcpt": Tracer.rcpt,
    "cltaddr": Tracer.by_address,
    "cltname": Tracer.by_name,
    "cltresolve": Tracer.by_resolve,
    "ehlo": Tracer.by_hello,
    "certissuer": Tracer.by_issuer,
    "certsubject": Tracer.by_subject,
    "from": Tracer.sender,
    "to": Tracer.recipient,
    "protectedrcpt": Tracer.protection,
    "smtps_session_conf": Tracer.session,
    "smtpc_session_conf": Tracer.server,
    "smtpc_rcpt_conf": Tracer.rcpt_conf,
    "mailertable": Tracer.route,
    "tls_policy": Tracer.tls,
    "aliases": Tracer.alias,
    "local_user_map": Tracer.user,
    "auth_sender": Tracer.senders,
    "password_map": Tracer.password,
}
_LISTED: Final = Tracer.by_list


def in_full(question: str, word: str = "") -> str:
    """Gives a question with a word before it.

    Args:
        question: as it was asked.
        word: what it is about; empty to tell it by its form.
    """
    try:
        is_ip = bool(parse_address(question))
    except ValueError:
        is_ip = False
    if not question or (":" in question and not is_ip):
        return question
    return f"{word or ('client' if is_ip else 'rcpt' if '@' in question else 'mailertable')}:{question}"


def resolve_of(word: str) -> ClientResolve:
    """Gives how a name was found by its word in the access map.

    Raises:
        QuestionError: there is no such word.
    """
    for resolve, key in RESOLVE_KEYS.items():
        if key == word.lower():
            return resolve
    raise QuestionError(f"{shown(word)}: {suggest(word, RESOLVE_KEYS.values())}")


def _address(text: str, *, null: bool = False) -> Address:
    if null and text in ("", "<>"):
        return NULL
    try:
        return parse_path(text, null_ok=null, utf8=True)
    except AddressError as error:
        raise QuestionError(f"{shown(text)}: {error}; {_ADDRESS_NEEDED}") from None


def _ip(text: str) -> str:
    try:
        return str(parse_address(text))
    except ValueError:
        raise QuestionError(f"{shown(text)} is no IP address; write one such as 192.0.2.7") from None


def _lookup_flags(flags: int) -> int:
    """Gives what SMTPS tells with its next question, of the flags of an answer."""
    found = LookupFlags.RELAY_ALLOWED if flags & VerdictFlags.RELAY else LookupFlags(0)
    return int(found | LookupFlags.QUICK if flags & VerdictFlags.QUICK else found)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The lines about a step, the flags for the next one, and the end of the mail, if it has come."""

    lines: list[str]
    flags: int
    end: str

    def told(self) -> list[str]:
        """Gives the lines, the last of which is the verdict."""
        return [*self.lines, self.end] if self.end else self.lines
