"""The access map asked: clients, envelope senders, recipients.

Invariant: an answer that is no known right-hand side, and a map that does not answer, are temporary errors: nothing is
accepted or refused for good by mistake.  The entry is logged.

Ref: MeTA1 README, "Lookup Orders for Anti-Spam Measures" (order modelled on); the table is in meta1g.conf.access.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from meta1g.base.log import Log
from meta1g.base.reply import Reply
from meta1g.conf.access import DNSBL, TAGS, Action, Decision, TagRow, certificate_key, check_writers, parse_decision, row_of
from meta1g.maps.base import Map, MapStatus, may_have
from meta1g.maps.lookup import access_keys, client_keys, domain_keys, search
from meta1g.maps.wrong import WrongEntries
from meta1g.rcb.smtps_smar import ClientResolve
from meta1g.smar.listed import Listed
from meta1g.smtp.address import Address

__all__ = ["BROKEN", "NONE", "TEMP", "AccessMap", "Action", "Decision"]

NONE: Final = Decision(Action.NONE)
TEMP: Final = Decision(Action.REFUSE, reply=Reply(451, "4.3.0", "Access map temporarily not available"))
BROKEN: Final = Decision(Action.REFUSE, reply=Reply(451, "4.3.5", "Access map entry is wrong"))
_NAMED: Final = (Action.REFUSE, Action.DISCARD)

#: Keys of `cltresolve:` by the result of the client's name look-up.
RESOLVE_KEYS: Final = {
    ClientResolve.OK: "ok",
    ClientResolve.NO_NAME: "no",
    ClientResolve.FORGED: "forged",
    ClientResolve.TEMP: "temp",
}


_CLTADDR, _CLTNAME, _CLTRESOLVE, _EHLO, _FROM, _TO, _CERTISSUER, _CERTSUBJECT = (
    TAGS[tag] for tag in ("cltaddr", "cltname", "cltresolve", "ehlo", "from", "to", "certissuer", "certsubject")
)
_PROTECTED: Final = "protectedrcpt"


class AccessMap:
    """The access map.

    Args:
        table: the map.
        delimiter: separates user and detail in local parts.
        wrong: is told of wrong entries.

    Locking: none needed.  All methods block if the map does.
    """

    def __init__(self, table: Map, delimiter: str, wrong: WrongEntries | None = None) -> None:
        self._table = table
        self._wrong = WrongEntries(Log("smar")) if wrong is None else wrong
        self._delimiter = delimiter
        self._tags: frozenset[str] = frozenset()  # those that have been looked at
        self.blocking = table.blocking

    def client(self, address: str, name: str, resolve: ClientResolve) -> Decision:
        """Decides about a client: by address, then by name, then by how the name was found.

        Args:
            address: IP address.
            name: its name in lower case, empty if not known or forged.
            resolve: how the name was found.
        """
        decision = self.by_address(address)
        if _goes_on(decision) and name:
            decision = self._first(decision, self.by_name(name))
        if _goes_on(decision):
            decision = self._first(decision, self.by_resolve(resolve))
        return decision

    def by_address(self, address: str) -> Decision:
        """Decides about a client by its IP address."""
        return self._ask(_CLTADDR, client_keys(address))

    def by_name(self, name: str) -> Decision:
        """Decides about a client by its name, in lower case."""
        return self._ask(_CLTNAME, domain_keys(name))

    def by_resolve(self, resolve: ClientResolve) -> Decision:
        """Decides about a client by how its name was found."""
        return self._ask(_CLTRESOLVE, (RESOLVE_KEYS[resolve],))

    def by_hello(self, ehlo: str) -> Decision:
        """Decides about a client by what it calls itself, in lower case."""
        return self._ask(_EHLO, domain_keys(ehlo))

    def certificate(self, issuer: str, subject: str) -> Decision:
        """Decides about a client by its certificate, which is verified: by its issuer, then by its subject.

        Args:
            issuer: distinguished name (RFC 4514).
            subject: the same.
        """
        decision = self._ask(_CERTISSUER, (certificate_key(issuer),)) if issuer else NONE
        if _goes_on(decision) and subject:
            decision = self._first(decision, self._ask(_CERTSUBJECT, (certificate_key(subject),)))
        return decision

    def listed(self, entries: Iterable[Listed]) -> Decision:
        """Decides about a client by its entries in DNS lists; the first entry that says more than `cont` counts."""
        decision = NONE
        for entry in entries:
            found = self._ask(DNSBL, client_keys(entry.address), f"{DNSBL.tag}{entry.number}")
            decision = self._first(decision, found)
            if not _goes_on(decision):
                break
        return decision

    def sender(self, address: Address, ehlo: str = "") -> Decision:
        """Decides about an envelope sender, whose null path has the key `<>`; before, about what the client calls itself.

        Args:
            address: the sender.
            ehlo: argument of EHLO or HELO in lower case, empty if it is not known.
        """
        decision = self.by_hello(ehlo) if ehlo else NONE
        if decision.action in (Action.REFUSE, Action.DISCARD) or decision.quick:
            return decision
        return self._first(decision, self._ask(_FROM, self._address_keys(address)))

    def recipient(self, address: Address) -> Decision:
        """Decides about a recipient."""
        return self._ask(_TO, self._address_keys(address))

    def protection(self, address: Address) -> str | Decision | None:
        """Gives who may write to a recipient: the list of a `protectedrcpt:` entry, None if everybody may."""
        if not may_have(self._table, _PROTECTED):
            return None
        tag = f"{_PROTECTED}:"
        key, result = search(self._table, self._address_keys(address), tag)
        if result.status is not MapStatus.OK:
            return None if result.status in (MapStatus.NOTFOUND, MapStatus.NOMORE) else TEMP
        try:
            check_writers(result.value)
        except ValueError as error:
            return self._broken(tag + key, result.value, error)
        return result.value

    def _address_keys(self, address: Address) -> Iterable[str]:
        return access_keys(address.local.lower(), address.domain.lower(), self._delimiter)

    def _ask(self, row: TagRow, keys: Iterable[str], tag: str = "") -> Decision:
        tag = tag or row.tag
        tags = self._table.tags()
        if tags is not None:
            if tags != self._tags:
                self._look_at(tags)
            if tag not in tags:
                return NONE
        tag += ":"
        key, result = search(self._table, keys, tag)
        if result.status is not MapStatus.OK:
            return NONE if result.status in (MapStatus.NOTFOUND, MapStatus.NOMORE) else TEMP
        try:
            decision = parse_decision(row, result.value)
        except ValueError as error:
            return self._broken(tag + key, result.value, error)
        return replace(decision, rule=f"{self._table.name} {tag}{key}") if decision.action in _NAMED else decision

    def _look_at(self, tags: frozenset[str]) -> None:
        """Names the tags whose rules nobody keeps, once for each content of the map."""
        self._tags = tags
        for tag in filter(str.isidentifier, sorted(tags)):
            try:
                row_of(tag)
            except ValueError as error:
                self._wrong.tell(self._table.name, f"{tag}:", "", str(error), "its rules are not kept")

    def _broken(self, key: str, value: str, error: ValueError) -> Decision:
        self._wrong.tell(self._table.name, key, value, str(error))
        return replace(BROKEN, rule=f"{self._table.name} {key}")

    def _first(self, old: Decision, new: Decision) -> Decision:
        """Keeps the earlier decision (which let the checks go on) if the later look-up found nothing."""
        return old if new.action is Action.NONE else new


def _goes_on(decision: Decision) -> bool:
    """Tells whether the less specific question is still to be asked."""
    return not decision.quick and decision.action in (Action.NONE, Action.CONT)
