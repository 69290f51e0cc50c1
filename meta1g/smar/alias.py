"""Aliases: expansion into members, the owner of a list, loops, duplicates.

A member that is the alias itself is taken as the mailbox; any other way back to an alias that is being expanded is a
loop and adds nothing.

Ref: MeTA1 README, "Aliases" (keys, `owner-`, flags modelled on); RFC 5321 3.9.
"""

from dataclasses import dataclass, field
from typing import Final

from meta1g.maps.base import Map, MapResult, MapStatus
from meta1g.maps.lookup import address_keys, search, user_keys
from meta1g.maps.rhs import address_macros, replace
from meta1g.rcb.qmgr_smar import Members, Unresolved
from meta1g.smar.limits import ALIAS_DEPTH_MAX, ALIAS_MEMBERS_MAX
from meta1g.smar.relay import RelayRules
from meta1g.smtp.address import Address, AddressError, parse_path

_OWNER: Final = "owner-"
#: First characters of what other mailers take as `|program`, `/file`, `:include:`; there is no local mailer here.
_NOT_MAIL: Final = ("|", "/", ":", "")
_MAP_TEMP: Final = Unresolved(code=451, ecode="4.3.0", text="Alias map temporarily not available")
_MAP_PERM: Final = Unresolved(code=550, ecode="5.3.5", text="Alias map refuses the address")
_WRONG_MEMBER: Final = Unresolved(code=550, ecode="5.3.5", text="Alias has a member that is no address")
_LOOP: Final = Unresolved(code=554, ecode="5.4.6", text="Alias loop, or aliases nested too deeply")
_EMPTY: Final = Unresolved(code=550, ecode="5.3.5", text="Alias has no members")
_TOO_MANY: Final = Unresolved(code=554, ecode="5.3.4", text="Alias has too many members")


class _StopError(Exception):
    """Ends an expansion with an answer."""

    def __init__(self, answer: Unresolved) -> None:
        super().__init__(answer.text)
        self.answer = answer


@dataclass(slots=True)
class _Expansion:
    """One expansion on its way.  Owner: the thread that expands."""

    members: dict[str, str] = field(default_factory=dict)  # key -> address, in order, without duplicates
    active: set[str] = field(default_factory=set)


def split_members(value: str) -> list[str]:
    """Splits the value of an alias: members are separated by blanks or commas, full addresses may stand in `<>`."""
    members, word, quoted, bracket = [], "", False, False
    for char in value:
        if char == '"':
            quoted = not quoted
        elif not quoted and char in "<>":
            bracket = char == "<"
        if char in " \t," and not quoted and not bracket:
            members.append(word)
            word = ""
        else:
            word += char
    members.append(word)
    return [one[1:-1] if one.startswith("<") and one.endswith(">") else one for one in members if one]


class Aliases:
    """The aliases map.

    Args:
        table: the map.
        localpart: the local part alone is a key too, in local domains.
        local_domains: only addresses in local domains are looked up.
        delimiter: separates user and detail.
        relay: knows which domains are local.
        hostname: domain of addresses without one.

    Locking: none needed.  All methods block if the map does.
    """

    def __init__(
        self, table: Map, *, localpart: bool, local_domains: bool, delimiter: str, relay: RelayRules, hostname: str
    ) -> None:
        self.blocking = table.blocking
        self._table = table
        self._localpart = localpart
        self._local_domains = local_domains
        self._delimiter = delimiter
        self._relay = relay
        self._hostname = hostname.lower()

    def expand(self, address: Address) -> Members | Unresolved | None:
        """Gives the members of an alias, an error, or None if the address is no alias (or only stands for itself)."""
        found = self._look_up(address)
        if not found.found:
            return _error_of(found)
        expansion = _Expansion()
        try:
            self._expand(address, found, expansion, 0)
        except _StopError as stop:
            return stop.answer
        if not expansion.members:
            return _LOOP
        if list(expansion.members) == [self._key(address)]:
            return None
        return Members(members=tuple(expansion.members.values()), owner=self._owner(address))

    def version(self) -> int:
        """Gives a number that changes with the map."""
        return self._table.version()

    def known(self, address: Address) -> MapStatus:
        """Tells whether an address is an alias."""
        return self._look_up(address).status

    def _key(self, address: Address) -> str:
        return f"{address.local}@{address.domain or self._hostname}".lower()

    def _look_up(self, address: Address) -> MapResult:
        local, domain = address.local.lower(), address.domain.lower() or self._hostname
        is_local = not address.domain or self._relay.is_local(domain)
        if self._local_domains and not is_local:
            return MapResult(MapStatus.NOTFOUND)
        _, result = search(self._table, address_keys(local, domain, self._delimiter))
        if result.ends_search:
            return result
        if self._localpart and is_local:
            _, result = search(self._table, user_keys(local, self._delimiter))
            if result.ends_search:
                return result
        return self._table.lookup(f"@{domain}")

    def _expand(self, address: Address, found: MapResult, expansion: _Expansion, depth: int) -> None:
        if depth >= ALIAS_DEPTH_MAX:
            raise _StopError(_LOOP)
        key = self._key(address)
        expansion.active.add(key)
        value = replace(found.value, address_macros(address.local, address.domain, self._delimiter))
        members = split_members(value)
        if not members:
            raise _StopError(_EMPTY)
        for member in members:
            self._add(self._member(member, address.domain or self._hostname), key, expansion, depth)
        expansion.active.discard(key)

    def _member(self, text: str, domain: str) -> Address:
        """Reads a member; a bare name is in the domain of its alias, and is no program, file or list file."""
        if "@" not in text and text.lstrip('"')[:1] in _NOT_MAIL:
            raise _StopError(_WRONG_MEMBER)
        try:
            return parse_path(text if "@" in text else f"{text}@{domain}", utf8=True)
        except AddressError:
            raise _StopError(_WRONG_MEMBER) from None

    def _add(self, member: Address, parent: str, expansion: _Expansion, depth: int) -> None:
        key = self._key(member)
        if key in expansion.members or (key in expansion.active and key != parent):
            return
        found = MapResult(MapStatus.NOTFOUND) if key == parent else self._look_up(member)
        if found.found:
            self._expand(member, found, expansion, depth + 1)
            return
        error = _error_of(found)
        if error is not None:
            raise _StopError(error)
        if len(expansion.members) >= ALIAS_MEMBERS_MAX:
            raise _StopError(_TOO_MANY)
        expansion.members[key] = member.text

    def _owner(self, address: Address) -> str | None:
        """Gives the envelope sender of a list: its one owner, or `owner-LIST` if there are several."""
        owner = Address(_OWNER + address.local, address.domain, f"{_OWNER}{address.local}@{address.domain or self._hostname}")
        found = self._look_up_owner(owner)
        if not found.found:
            return None
        members = split_members(found.value)
        if len(members) != 1:
            return owner.text
        try:
            return self._member(members[0], address.domain or self._hostname).text
        except _StopError:
            return owner.text

    def _look_up_owner(self, owner: Address) -> MapResult:
        """Looks the owner up without the catch-all key of its domain."""
        local, domain = owner.local.lower(), owner.domain.lower() or self._hostname
        _, result = search(self._table, address_keys(local, domain, self._delimiter))
        if not result.ends_search and self._localpart and (not owner.domain or self._relay.is_local(domain)):
            _, result = search(self._table, user_keys(local, self._delimiter))
        return result


def _error_of(result: MapResult) -> Unresolved | None:
    """Gives the error of a map that did not answer; None if it said "not found"."""
    if result.status is MapStatus.TEMP:
        return _MAP_TEMP
    return _MAP_PERM if result.status is MapStatus.PERM else None
