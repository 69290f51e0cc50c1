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

from meta1g.base.log import Log
from meta1g.maps.base import Map, MapStatus
from meta1g.maps.lookup import search
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
        if ANY in words or f"@{domain}" in words or any(f"{one}@{domain}" in words for one in self._names(local)):
            return MapStatus.OK
        return MapStatus.OK if OWN in words and self._is_own(user, local, domain) else MapStatus.NOTFOUND

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

    def _names(self, local: str) -> Iterator[str]:
        """Gives a local part, and the same without its detail."""
        yield local
        if self._delimiter and self._delimiter in local:
            yield local.partition(self._delimiter)[0]

    def _is_own(self, user: str, local: str, domain: str) -> bool:
        name, at, realm = user.rpartition("@")
        if at:
            return domain == realm and name in self._names(local)
        return realm in self._names(local) and (domain == self._hostname or self._relay.is_local(domain))


def _keys(user: str) -> Iterator[str]:
    yield user
    if "@" in user:
        yield user[user.rindex("@") :]
    yield ANY
