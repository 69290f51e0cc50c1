"""Who sees the content of a message while it arrives, and who has to wait for the changes of others.

Changes come at the end of the message, and the next filter has to see them: so all up to the first one that may change the
content hear it live, the others have their turns afterwards.

Pure.  Ref: sendmail 8, libmilter/docs "smfi_replacebody" (when changes are made).
"""

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
