"""Aliases: expansion into members, the owner of a list, duplicates.

Aliases are a graph, and an expansion walks it: each alias is looked into once, in the order in which it is met, and each
member is given once.  A member that is the alias itself is taken as the mailbox; any other way back to an alias that was
met adds nothing.  So the work grows with the number of aliases and members, however they name each other.

Ref: MeTA1 README, "Aliases" (keys, `owner-`, flags modelled on); RFC 5321 3.9.
"""

import re
from collections.abc import Generator, Iterator
from itertools import islice
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.idn import forms
from meta1g.base.log import Log
from meta1g.base.mailbox import folded
from meta1g.base.reply import Reply
from meta1g.maps.base import Map, MapResult, MapStatus
from meta1g.maps.lookup import address_keys, search, user_keys
from meta1g.maps.rhs import address_macros, replace
from meta1g.maps.wrong import WrongEntries
from meta1g.rcb.qmgr_smar import MEMBERS_PER_PART, Members, Unresolved
from meta1g.smar.guard import MapBusyError
from meta1g.smar.limits import ALIAS_LISTS_MAX, ALIAS_MEMBERS_MAX, MEMBER_MAX_CHARS, REPLY_TEXT_MAX_CHARS
from meta1g.smar.relay import RelayRules
from meta1g.smtp.address import Address, AddressError, parse_path

_OWNER: Final = "owner-"
#: First characters of what other mailers take as `|program`, `/file`, `:include:`; there is no local mailer here.
_NOT_MAIL: Final = ("|", "/", ":", "")
_MAP_TEMP: Final = Unresolved(reply=Reply(451, "4.3.0", "Alias map temporarily not available"))
_MAP_PERM: Final = Unresolved(reply=Reply(550, "5.3.5", "Alias map refuses the address"))
#: One member: blanks and commas count only outside of quotes and angle brackets; no part is looked at twice.
_MEMBER: Final = re.compile(r"""(?:[^ \t,"<>]++|"[^"]*+"?+|<(?:[^">]++|"[^"]*+"?+)*+>?+|>)++""")
#: Enhanced status code of a loop.  Ref: RFC 3463 3.5.
_LOOP: Final = "5.4.6"
_RETURNED: Final = "mail to it is returned"
_UNSAFE: Final = re.compile(r"[^\x20-\x7e]")


class _StopError(Exception):
    """Ends an expansion with an answer."""

    def __init__(self, code: int, ecode: str, alias: str, what: str) -> None:
        text = _UNSAFE.sub("?", f"Alias {alias[:MEMBER_MAX_CHARS]} {what}")[:REPLY_TEXT_MAX_CHARS]
        super().__init__(text)
        self.answer = Unresolved(reply=Reply(code, ecode, text))


@dataclass(frozen=True, slots=True)
class Expanded:
    """An alias that was expanded.

    Args:
        members: addresses, in the order in which they were met.
        owner: envelope sender for them, None to keep the one of the mail.
        name: names content and order; empty if one part takes all members.
    """

    members: tuple[str, ...]
    owner: str | None
    name: str = ""

    def part(self, offset: int, name: str) -> Members:
        """Gives the part that begins at an offset; the first one if the offset belongs to something else.

        Args:
            offset: members that the asker has.
            name: expansion that they belong to.
        """
        start = offset if name == self.name and offset < len(self.members) else 0
        end = start + MEMBERS_PER_PART
        more = end < len(self.members)
        return Members(members=self.members[start:end], owner=self.owner, more=more, offset=start, expansion=self.name)


#: What comes out of a walk: members, an error, or None for an alias that only stands for itself.
AliasResult = Expanded | Unresolved | None
AliasWalk = Generator[MapBusyError | None, None, AliasResult]


@dataclass(slots=True)
class _Frame:
    """An alias whose members are being read.  Owner: its walk."""

    key: str
    address: Address
    words: Iterator[str]
    count: int = 0


def split_members(value: str) -> list[str]:
    """Splits the value of an alias: members are separated by blanks or commas, full addresses may stand in `<>`."""
    return list(_each_member(value))


def _each_member(value: str) -> Iterator[str]:
    for match in _MEMBER.finditer(value):
        one = match[0]
        yield one[1:-1] if one.startswith("<") and one.endswith(">") else one


def read_member(text: str, domain: str) -> Address:
    """Reads one member of an alias.

    Args:
        text: an address, or a bare name, which is in the domain.
        domain: the domain of the alias.

    Raises:
        AddressError: it is neither; it may be a program, file or list file.
    """
    if len(text) > MEMBER_MAX_CHARS:
        raise AddressError(f"member is longer than {MEMBER_MAX_CHARS} characters")
    if "@" not in text and text.lstrip('"')[:1] in _NOT_MAIL:
        raise AddressError("there are no programs, files and list files here")
    full = text if "@" in text else f"{text}@{domain}"
    try:
        full.encode()  # bytes of a map that are no UTF-8 cannot be passed on
    except UnicodeError:
        raise AddressError("is not UTF-8") from None
    return parse_path(full, utf8=True)


class Aliases:
    """The aliases map.

    Args:
        table: the map.
        localpart: the local part alone is a key too, in local domains.
        local_domains: only addresses in local domains are looked up.
        delimiter: separates user and detail.
        relay: knows which domains are local.
        hostname: domain of addresses without one.
        wrong: is told of wrong entries.

    Locking: none needed.  All methods block if the map does.
    """

    def __init__(
        self,
        table: Map,
        *,
        localpart: bool,
        local_domains: bool,
        delimiter: str,
        relay: RelayRules,
        hostname: str,
        wrong: WrongEntries | None = None,
    ) -> None:
        self.blocking = table.blocking
        self._table = table
        self._localpart = localpart
        self._local_domains = local_domains
        self._delimiter = delimiter
        self._relay = relay
        self._hostname = hostname.lower()
        self._wrong = WrongEntries(Log("smar")) if wrong is None else wrong

    def expand(self, address: Address) -> Members | Unresolved | None:
        """Gives all members of an alias in one go, an error, or None if it is no alias.  Blocks: yes (as long as it takes)."""
        found = self.look_up(address)
        if not found.found:
            return error_of(found)
        walk = self.walk(address, found)
        while True:
            try:
                next(walk)
            except StopIteration as end:
                outcome: AliasResult = end.value
                return Members(members=outcome.members, owner=outcome.owner) if isinstance(outcome, Expanded) else outcome

    def dead_end(self, key: str) -> bool:
        """Tells whether the alias of a key leads only to itself, and to nobody.

        Args:
            key: a key of the map: an address or a local part.

        Blocks: if the map does.
        """
        try:
            address = read_member(key, self._hostname)
        except AddressError:
            return False
        found = self.look_up(address)
        if not found.found:
            return False
        frame = self._frame(address, found)
        for text in frame.words:
            try:
                member = read_member(text, address.domain)
            except AddressError:
                return False
            if self._key(member) == frame.key or not self.look_up(member).found:
                return False
        outcome = self.expand(address)
        return isinstance(outcome, Unresolved) and outcome.reply.ecode == _LOOP

    def version(self) -> int:
        """Gives a number that changes with the map."""
        return self._table.version()

    def known(self, address: Address) -> MapStatus:
        """Tells whether an address is an alias."""
        return self.look_up(address).status

    def _key(self, address: Address) -> str:
        """Gives what makes two addresses the same alias: its letters' case does not matter."""
        return f"{address.local}@{address.domain or self._hostname}".lower()

    def _mailbox(self, address: Address) -> str:
        """Gives what makes two addresses the same mailbox: the local part is taken as it is (RFC 5321 2.4)."""
        return f"{address.local}@{folded(address.domain or self._hostname)}"

    def look_up(self, address: Address) -> MapResult:
        """Looks an alias up.  Blocks: if the map does."""
        return self._search(address)[1]

    def _search(self, address: Address) -> tuple[str, MapResult]:
        """Looks an alias up; gives the key that was found, too."""
        local, domain = address.local.lower(), address.domain.lower() or self._hostname
        is_local = not address.domain or self._relay.is_local(domain)
        if self._local_domains and not is_local:
            return "", MapResult(MapStatus.NOTFOUND)
        key, result = search(self._table, address_keys(local, domain, self._delimiter))
        if result.ends_search:
            return key, result
        if self._localpart and is_local:
            key, result = search(self._table, user_keys(local, self._delimiter))
            if result.ends_search:
                return key, result
        key, result = search(self._table, (f"@{form}" for form in forms(domain)))
        return key or f"@{domain}", result

    def _broken(self, frame: _Frame, value: str, what: str) -> _StopError:
        """Gives the end of an expansion that met a wrong entry, which is logged."""
        try:
            key = self._search(frame.address)[0] or frame.key
        except MapBusyError:
            key = frame.key
        self._wrong.tell(self._table.name, key, value, what, _RETURNED)
        return _StopError(550, "5.3.5", frame.key, what)

    def walk(self, address: Address, found: MapResult) -> AliasWalk:
        """Expands an alias in small steps.

        Args:
            address: the alias.
            found: its value.

        Returns:
            Steps, a bounded time each if the map does not block; one that gives an error is to be taken again when the map
            is free.  The value of their end is the outcome.
        """
        members: dict[str, str] = {}
        seen = {self._key(address)}
        stack = [self._frame(address, found)]
        try:
            while stack:
                frame = stack[-1]
                text = next(frame.words, None)
                if text is None:
                    if not frame.count:
                        raise self._broken(frame, "", "has no members")
                    stack.pop()
                    continue
                frame.count += 1
                member = self._member(text, frame)
                key = self._key(member)
                mailbox = key if key == frame.key else self._mailbox(member)
                if mailbox not in members and (key == frame.key or key not in seen):
                    inner = None if key == frame.key else (yield from self._inner(member, key, seen, frame))
                    if inner is not None:
                        stack.append(inner)
                    else:
                        _add(members, mailbox, member, address)
                yield None
            return (yield from self._outcome(address, members))
        except _StopError as stop:
            return stop.answer

    def _inner(
        self, member: Address, key: str, seen: set[str], frame: _Frame
    ) -> Generator[MapBusyError | None, None, _Frame | None]:
        """Gives the frame of a member that is an alias, None for one that is none."""
        found = yield from self._patiently(member)
        if not found.found:
            error = error_of(found)
            if error is not None:
                reply = error.reply
                raise _StopError(reply.code, reply.ecode, key, f"is not known: {reply.one_line}")
            return None
        if len(seen) >= ALIAS_LISTS_MAX:
            raise _StopError(554, "5.4.6", frame.key, f"leads to more than {ALIAS_LISTS_MAX} other aliases")
        seen.add(key)
        return self._frame(member, found)

    def _patiently(self, member: Address) -> Generator[MapBusyError | None, None, MapResult]:
        while True:
            try:
                return self.look_up(member)
            except MapBusyError as busy:
                yield busy

    def _frame(self, address: Address, found: MapResult) -> _Frame:
        words = _each_member(found.value)
        if "${" in found.value:
            macros = address_macros(address.local, address.domain, self._delimiter)
            words = (replace(word, macros) for word in words)
        return _Frame(self._key(address), address, words)

    def _outcome(self, address: Address, members: dict[str, str]) -> AliasWalk:
        key = self._key(address)
        if not members:
            self._wrong.tell(self._table.name, key, "", "alias leads only to itself", _RETURNED)
            raise _StopError(554, _LOOP, key, "leads only to itself")
        if list(islice(members, 2)) == [key]:
            return None
        while True:
            try:
                owner = self._owner(address)
                break
            except MapBusyError as busy:
                yield busy
        found = tuple(members.values())
        return Expanded(found, owner, "" if len(found) <= MEMBERS_PER_PART else _name_of(found))

    def _member(self, text: str, frame: _Frame) -> Address:
        """Reads a member; a bare name is in the domain of its alias, and is no program, file or list file."""
        try:
            return read_member(text, frame.address.domain or self._hostname)
        except AddressError:
            what = f"has a member that is no address: {text[:MEMBER_MAX_CHARS]}"
            raise self._broken(frame, text[:MEMBER_MAX_CHARS], what) from None

    def _owner(self, address: Address) -> str | None:
        """Gives the envelope sender of a list: its one owner, or `owner-LIST` if there are several."""
        owner = Address(_OWNER + address.local, address.domain, f"{_OWNER}{address.local}@{address.domain or self._hostname}")
        found = self._look_up_owner(owner)
        if not found.found:
            return None
        members = list(islice(_each_member(found.value), 2))
        if len(members) != 1:
            return owner.text
        try:
            return read_member(members[0], address.domain or self._hostname).text
        except AddressError:
            return owner.text

    def _look_up_owner(self, owner: Address) -> MapResult:
        """Looks the owner up without the catch-all key of its domain."""
        local, domain = owner.local.lower(), owner.domain.lower() or self._hostname
        _, result = search(self._table, address_keys(local, domain, self._delimiter))
        if not result.ends_search and self._localpart and (not owner.domain or self._relay.is_local(domain)):
            _, result = search(self._table, user_keys(local, self._delimiter))
        return result


def error_of(result: MapResult) -> Unresolved | None:
    """Gives the error of a map that did not answer; None if it said "not found"."""
    if result.status is MapStatus.TEMP:
        return _MAP_TEMP
    return _MAP_PERM if result.status is MapStatus.PERM else None


def _add(members: dict[str, str], mailbox: str, member: Address, alias: Address) -> None:
    if len(members) >= ALIAS_MEMBERS_MAX:
        raise _StopError(554, "5.3.4", alias.text, f"has more than {ALIAS_MEMBERS_MAX} members")
    members[mailbox] = member.text


def _name_of(members: tuple[str, ...]) -> str:
    import hashlib  # some 4 MiB, for those who have aliases

    return hashlib.blake2b("\n".join(members).encode(), digest_size=8).hexdigest()
