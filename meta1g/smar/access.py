"""The access map: tagged keys, and what their right-hand sides mean.

    cltaddr:192.0.2   relay          cltname:.example.org  ok        cltresolve:forged  reject
    from:user@example.org  reject    to:list@  error:550 5.7.1 closed  dnsbl0:127.0.0.2  reject
    quick:relay: the same, and no later check is made

Invariant: an answer that is no known right-hand side, and a map that does not answer, are temporary errors: nothing is
accepted or refused for good by mistake.

Ref: MeTA1 README, "Lookup Orders for Anti-Spam Measures" (tags, values and order modelled on).
"""

import re
from collections.abc import Iterable
from enum import Enum, StrEnum, auto
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import NO_REPLY, Reply
from meta1g.conf.values import shown, suggest
from meta1g.maps.base import Map, MapStatus
from meta1g.maps.lookup import access_keys, client_keys, domain_keys, search
from meta1g.rcb.smtps_smar import ClientResolve
from meta1g.smar.dnsbl import Listed
from meta1g.smar.limits import PROTECTED_MAX_CHARS, REPLY_TEXT_MAX_CHARS
from meta1g.smtp.address import Address


class Tag(StrEnum):
    """Tags of keys, with their colon."""

    CLTADDR = "cltaddr:"
    CLTNAME = "cltname:"
    CLTRESOLVE = "cltresolve:"
    FROM = "from:"
    TO = "to:"
    PROTECTED = "protectedrcpt:"


#: Tag of results of DNS lists; the number of the list and a colon follow.
DNSBL: Final = "dnsbl"


class Action(Enum):
    """What an entry says."""

    NONE = auto()  # there is no entry
    RELAY = auto()
    OK = auto()
    CONT = auto()
    REFUSE = auto()
    DISCARD = auto()


@dataclass(frozen=True, slots=True)
class Decision:
    """What the access map says about one question.

    Args:
        action: what the entry says.
        quick: no later check is made.
        reply: what is said, if REFUSE.
    """

    action: Action
    quick: bool = False
    reply: Reply = NO_REPLY


NONE: Final = Decision(Action.NONE)
TEMP: Final = Decision(Action.REFUSE, reply=Reply(451, "4.3.0", "Access map temporarily not available"))
BROKEN: Final = Decision(Action.REFUSE, reply=Reply(451, "4.3.5", "Access map entry is wrong"))
_WORDS: Final = {"relay": Action.RELAY, "ok": Action.OK, "cont": Action.CONT, "discard": Action.DISCARD}
_REJECT: Final = "reject"
#: Right-hand sides of one word.
RHS_WORDS: Final = (*_WORDS, _REJECT)
#: What other mailers call them.
_ELSEWHERE: Final = {
    "permit": "ok", "allow": "ok", "accept": "ok", "dunno": "cont", "continue": "cont", "deny": "reject", "refuse": "reject",
    "drop": "discard",
}  # fmt: skip
_QUICK: Final = "quick:"
#: A reply code (RFC 5321 4.2.1: the second digit is 0 to 5), an enhanced code, a text.
_ERROR: Final = re.compile(r'error: *+"?([45][0-5]\d)(?: ++([245]\.\d{1,3}\.\d{1,3}))?(?: ++([^"]*+))?"?', re.IGNORECASE)
_ERROR_FORM: Final = "error:550 5.7.1 TEXT"
_UNSAFE: Final = re.compile(r"[^\x20-\x7e]")

#: Keys of `cltresolve:` by the result of the client's name look-up.
RESOLVE_KEYS: Final = {
    ClientResolve.OK: "ok",
    ClientResolve.NO_NAME: "no",
    ClientResolve.FORGED: "forged",
    ClientResolve.TEMP: "temp",
}


def read_rhs(value: str) -> Decision:
    """Reads a right-hand side.

    Raises:
        ValueError: it is none; the message says what to write.
    """
    value = value.strip()
    quick = value[: len(_QUICK)].lower() == _QUICK
    if quick:
        value = value[len(_QUICK) :].strip()
    word = value.lower()
    if word in _WORDS:
        return Decision(_WORDS[word], quick)
    if word == _REJECT:
        return Decision(Action.REFUSE, quick, reply=Reply(550, "5.7.1", "Access denied"))
    match = _ERROR.fullmatch(value)
    if match is None:
        raise ValueError(_advice(value, word))
    code = int(match[1])
    ecode = match[2] or ("5.7.1" if code >= 500 else "4.7.1")
    if ecode[0] != match[1][0]:
        raise ValueError(f"{code} and {ecode} contradict each other; write {match[1][0]}{ecode[1:]}")
    text = _UNSAFE.sub("?", (match[3] or "").strip()[:REPLY_TEXT_MAX_CHARS]) or "Access denied"
    return Decision(Action.REFUSE, quick, reply=Reply(code, ecode, text))


def _advice(value: str, word: str) -> str:
    """Says what to write instead of a wrong right-hand side."""
    if not word:
        return f"it has no right-hand side; write {', '.join(RHS_WORDS)} or {_ERROR_FORM}"
    if word.startswith("error"):
        return f"{shown(value)} is no error reply; write {_ERROR_FORM} with a code from 400 to 559"
    if word[0] in "45" and word[:3].isdigit():
        return f"{shown(value)} is no right-hand side; write error:{shown(value)}"
    near = _ELSEWHERE.get(word)
    advice = f"write {near}" if near else suggest(word, (*RHS_WORDS, "error:"))
    return f"{shown(value)} is no right-hand side; {advice}"


def parse_rhs(value: str) -> Decision:
    """Reads a right-hand side; a wrong one is a temporary error."""
    try:
        return read_rhs(value)
    except ValueError:
        return BROKEN


class AccessMap:
    """The access map.

    Args:
        table: the map.
        delimiter: separates user and detail in local parts.

    Locking: none needed.  All methods block if the map does.
    """

    def __init__(self, table: Map, delimiter: str) -> None:
        self._table = table
        self._delimiter = delimiter
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
        return self._ask(Tag.CLTADDR, client_keys(address))

    def by_name(self, name: str) -> Decision:
        """Decides about a client by its name, in lower case."""
        return self._ask(Tag.CLTNAME, domain_keys(name))

    def by_resolve(self, resolve: ClientResolve) -> Decision:
        """Decides about a client by how its name was found."""
        return self._ask(Tag.CLTRESOLVE, (RESOLVE_KEYS[resolve],))

    def listed(self, entries: Iterable[Listed]) -> Decision:
        """Decides about a client by its entries in DNS lists; the first entry that says more than `cont` counts."""
        decision = NONE
        for entry in entries:
            found = self._ask(f"{DNSBL}{entry.number}:", client_keys(entry.address))
            decision = self._first(decision, found)
            if not _goes_on(decision):
                break
        return decision

    def sender(self, address: Address) -> Decision:
        """Decides about an envelope sender; the null path has the key `<>`."""
        return self._ask(Tag.FROM, access_keys(address.local.lower(), address.domain.lower(), self._delimiter))

    def recipient(self, address: Address) -> Decision:
        """Decides about a recipient."""
        return self._ask(Tag.TO, access_keys(address.local.lower(), address.domain.lower(), self._delimiter))

    def protection(self, address: Address) -> str | Decision | None:
        """Gives who may write to a recipient: the list of a `protectedrcpt:` entry, None if everybody may."""
        keys = access_keys(address.local.lower(), address.domain.lower(), self._delimiter)
        _, result = search(self._table, keys, Tag.PROTECTED.value)
        if result.status is MapStatus.OK:
            return result.value if len(result.value) <= PROTECTED_MAX_CHARS else BROKEN
        return None if result.status in (MapStatus.NOTFOUND, MapStatus.NOMORE) else TEMP

    def _ask(self, tag: str, keys: Iterable[str]) -> Decision:
        _, result = search(self._table, keys, tag)
        if result.status is MapStatus.OK:
            return parse_rhs(result.value)
        return NONE if result.status in (MapStatus.NOTFOUND, MapStatus.NOMORE) else TEMP

    def _first(self, old: Decision, new: Decision) -> Decision:
        """Keeps the earlier decision (which let the checks go on) if the later look-up found nothing."""
        return old if new.action is Action.NONE else new


def _goes_on(decision: Decision) -> bool:
    """Tells whether the less specific question is still to be asked."""
    return not decision.quick and decision.action in (Action.NONE, Action.CONT)
