"""Which senders an authenticated user may have.

    ann@example.org      own sales@example.org
    backup               @example.org
    *                    own

The user's own entry counts, or that of its domain (`@example.org`), or that of `*`; who has none may have no sender.  The
empty sender is everybody's: it is that of reports (RFC 3464), and of no other person.

Ref: RFC 6409 6.1 (a submission server may check senders); Postfix, smtpd_sender_login_maps (idea).
"""

from collections.abc import Iterator
from typing import Final

from meta1g.base.idn import forms
from meta1g.base.log import Log
from meta1g.maps.base import Map, MapStatus
from meta1g.maps.lookup import address_keys, search, user_keys
from meta1g.maps.wrong import WrongEntries
from meta1g.smar.limits import AUTH_SENDERS_MAX_CHARS
from meta1g.smar.relay import RelayRules
from meta1g.smtp.address import Address, AddressError, parse_path

OWN: Final = "own"
ANY: Final = "*"


def check_senders(value: str) -> tuple[str, ...]:
    """Gives the words of an entry in lower case.

    Raises:
        ValueError: one is wrong; the text says what would be right.
    """
    words = tuple(value.lower().replace(",", " ").split())
    if not words or len(value) > AUTH_SENDERS_MAX_CHARS:
        raise ValueError(
            f"lists nobody, or has more than {AUTH_SENDERS_MAX_CHARS} characters; write own, addresses, @DOMAIN or *"
        )
    for word in words:
        if word in (OWN, ANY):
            continue
        if "@" not in word:
            raise ValueError(f"{word} has no domain; write {word}@DOMAIN")
        try:
            parse_path(f"x{word}" if word.startswith("@") else word, utf8=True)
        except AddressError:
            raise ValueError(f"{word} is no sender; write own, an address, @DOMAIN or *") from None
    return words


class AuthSenders:
    """The map auth_sender.

    Args:
        table: the map.
        delimiter: separates user and detail in local parts.
        relay: knows which domains are local.
        hostname: a user without domain may have it, too.
        wrong: is told of wrong entries.

    Locking: none needed.
    """

    def __init__(self, table: Map, delimiter: str, relay: RelayRules, hostname: str, wrong: WrongEntries | None = None) -> None:
        self._table = table
        self._delimiter = delimiter
        self._relay = relay
        self._hostname = hostname.lower()
        self._wrong = WrongEntries(Log("smar")) if wrong is None else wrong
        self.blocking = table.blocking

    def find(self, user: str, sender: Address) -> MapStatus:
        """Tells whether a user may have a sender: OK, NOTFOUND or TEMP.  Blocks: if the map does.

        Args:
            user: as SMTPS knows it.
            sender: without domain for the empty sender.
        """
        if sender.is_null:
            return MapStatus.OK
        user = user.lower()
        words = self.entry(user)
        if isinstance(words, MapStatus):
            return words
        local, domain = sender.local.lower(), sender.domain.lower()
        right = {ANY, *(f"@{form}" for form in forms(domain)), *address_keys(local, domain, self._delimiter)}
        own = OWN in words and self._is_own(user, local, domain)
        return MapStatus.OK if own or not right.isdisjoint(words) else MapStatus.NOTFOUND

    def entry(self, user: str) -> tuple[str, ...] | MapStatus:
        """Gives the words of the entry that counts for a user, or NOTFOUND or TEMP.  Blocks: if the map does.

        Args:
            user: in lower case.
        """
        key, result = search(self._table, _keys(user))
        if result.status is not MapStatus.OK:
            return MapStatus.NOTFOUND if result.status in (MapStatus.NOTFOUND, MapStatus.NOMORE) else MapStatus.TEMP
        try:
            return check_senders(result.value)
        except ValueError as error:
            self._wrong.tell(self._table.name, key, result.value, str(error))
            return MapStatus.TEMP

    def _is_own(self, user: str, local: str, domain: str) -> bool:
        name, at, realm = user.rpartition("@")
        if at:
            return realm in forms(domain) and name in user_keys(local, self._delimiter)
        is_here = self._hostname in forms(domain) or self._relay.is_local(domain)
        return user in user_keys(local, self._delimiter) and is_here


def _keys(user: str) -> Iterator[str]:
    local, at, realm = user.rpartition("@")
    if at:
        yield from address_keys(local, realm, "")
        yield from (f"@{form}" for form in forms(realm))
    else:
        yield user
    yield ANY
