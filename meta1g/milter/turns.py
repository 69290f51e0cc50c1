"""Who sees the content of a message while it arrives, in which pieces, and who has to wait for the changes of others.

Changes come at the end of the message, and the next filter has to see them: so all up to the first one that may change the
content hear it live, the others have their turns afterwards.

Pure.  Ref: sendmail 8, libmilter/docs "smfi_replacebody" (when changes are made).
"""

from collections.abc import Iterator
from typing import Final, Protocol, TypeVar

from meta1g.milter.flags import FilterActions

_CHANGE_CONTENT: Final = FilterActions.ADDHDRS | FilterActions.CHGHDRS | FilterActions.CHGBODY


class _Negotiated(Protocol):
    @property
    def actions(self) -> FilterActions: ...


class Attached(Protocol):
    """A filter that has said what it may do."""

    @property
    def machine(self) -> _Negotiated:
        """Its protocol."""
        ...


A = TypeVar("A", bound=Attached)


def live_and_later(filters: list[A]) -> tuple[list[A], list[A]]:
    """Gives those that see the content while it arrives, and those that have to wait for the changes of others."""
    for number, one in enumerate(filters, 1):
        if one.machine.actions & _CHANGE_CONTENT:
            return filters[:number], filters[number:]
    return filters, []


class Chunks:
    """A body in pieces of the size that filters take at once.

    Args:
        size_bytes: of each piece but the last one.

    Owner: the message.
    """

    __slots__ = ("_held", "_size_bytes")

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._held = bytearray()

    def feed(self, octets: bytes) -> Iterator[bytes]:
        """Takes what comes next when it is first asked; gives the pieces that are whole by then."""
        held, size_bytes = self._held, self._size_bytes
        held += octets
        while len(held) >= size_bytes:
            piece = bytes(held[:size_bytes])
            del held[:size_bytes]
            yield piece

    def rest(self) -> bytes:
        """Gives what is left, once."""
        left = bytes(self._held)
        self._held.clear()
        return left
