"""How a session and its content meet filters: what either side needs of the other, without its code.

A session without filters loads no more of them than this.

Ref: MeTA1 design, "Functional Specification: SMTPS, policy milter" (place modelled on).
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from meta1g.base.reply import Reply
from meta1g.rcb.smtps_qmgr import NewRecipient, NewTransaction
from meta1g.smtp.address import Address
from meta1g.smtp.esmtp import RcptParams
from meta1g.smtps.transaction import Transaction


class FilteredStore(Protocol):
    """Where a message goes, as filters need it; see incomingcontent.IncomingContent."""

    message_id: str | None
    hops: int
    refusal: Reply | None
    rule: str
    hold: str

    @property
    def received(self) -> bytes: ...  # noqa: D102  as in IncomingContent, and so are the others
    @property
    def completed(self) -> bytes: ...  # noqa: D102
    @property
    def completes(self) -> bool: ...  # noqa: D102
    def check_header(self, *, whole: bool = True) -> None:
        """Looks at the header.  Switches: only if there are too many fields."""

    def is_too_big(self, size_bytes: int) -> bool: ...  # noqa: D102
    def refuse(self, reply: Reply) -> None:
        """Gives the content up.  Switches: yes (removes a file)."""

    def failed(self, error: Exception) -> None:
        """Gives the content up, as it cannot be written or read.  Switches: yes (removes a file)."""

    def guard(self, function: Callable[[], None]) -> None:
        """Runs a blocking function.  Switches: yes."""

    def pieces(self, offset: int) -> Iterator[bytes]:
        """Gives the content.  Switches: yes (disk)."""
        ...

    def rebuild(self, header: bytes, body: Iterator[bytes]) -> None:
        """Puts another content in its place.  Switches: yes (disk)."""


class ContentWatch(Protocol):
    """One message on its way past the filters; see filtered.FilteredContent."""

    def feed(self, piece: bytes) -> float:
        """Tells the next piece of the content; gives how long that took, s.  Switches: yes (network)."""
        ...

    def complete(self) -> None:
        """Tells that the content is complete, and makes the changes.  Switches: yes (network, disk)."""


class SessionFilters(Protocol):
    """The filters of a session; see filters.Filters."""

    announced: NewTransaction | None
    rcpts: list[NewRecipient]
    rule: str
    hold: str

    def helo(self, name: str, *, ehlo: bool) -> Reply | None:
        """Tells the argument of HELO or EHLO, whichever it is; gives a refusal or None.  Switches: yes (network)."""
        ...

    def unknown_command(self, line: bytes) -> Reply | None:
        """Tells an unknown command; gives a refusal or None.  Switches: yes (network)."""
        ...

    def mail(self, ta: Transaction) -> Reply | None:
        """Tells the sender; gives a refusal or None.  Switches: yes (network)."""
        ...

    def rcpt(self, ta: Transaction, address: Address, params: RcptParams) -> Reply | None:
        """Tells a recipient; gives a refusal or None.  Switches: yes (network)."""
        ...

    def refused_rcpt(self, ta: Transaction, address: Address, reply: Reply) -> None:
        """Tells a refused recipient.  Switches: yes (network)."""

    def data(self, ta: Transaction) -> Reply | None:
        """Tells that content follows; gives a refusal or None.  Switches: yes (network)."""
        ...

    def watch(self, ta: Transaction, content: FilteredStore) -> ContentWatch | None:
        """Gives the way past the filters, None if no filter wants to see the content."""
        ...

    def abort(self) -> None:
        """Ends a transaction that is not over."""

    def close(self) -> None:
        """Ends all connections.  Switches: yes (write)."""
