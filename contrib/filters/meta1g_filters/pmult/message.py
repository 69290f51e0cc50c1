"""One message on its way past the filters, while it arrives, and again for those that have to see what others changed.

The first filters see the content while it arrives, up to the first one that may change it; from then on they have their turns
at the end of the message, each with header and body as those before left them.  A body that may be told again is kept: in
memory while it is small, in a file without name when not.

Ref: docs/filter-pmult.md; meta1g/smtps/filtered.py is the same for the filters that SMTPS asks itself.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import Final

from meta1g.base.reply import Reply
from meta1g.milter.changes import AddField, ChangeField, FilterChange, InsertField, NewBody
from meta1g.milter.flags import FilterSteps
from meta1g.milter.header import ContentSplitter, HeaderEdit
from meta1g.milter.machine import CONTINUE, FilterOutcome, FilterVerdict
from meta1g.milter.turns import Chunks, live_and_later
from meta1g.smtp.data import LineEnds
from meta1g.smtp.header import Field
from meta1g_filters.pmult.changes import AllChanges, check
from meta1g_filters.pmult.seat import MilterSeat
from meta1g_filters.pmult.table import MilterTable, SeatTell

#: Header and its fields that are held; the gateway takes no more (docs/milters.md).
_HEADER_MAX_BYTES: Final = 1 << 20
_FIELDS_MAX: Final = 5000
_HEADER_TOO_BIG: Final = FilterVerdict(FilterOutcome.REFUSE, Reply(552, "5.3.4", "Header too big"))
_HELD_BYTES: Final = 256 << 10
_PIECE_BYTES: Final = 32 << 10
#: Stands for the Received field of the gateway, which filters do not see and an inserted field is counted with.
_OWN: Final = b"Received: by the gateway\r\n"


class KeptBody:
    """A body that can be told several times.  Owner: its message."""

    __slots__ = ("_file",)

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=_HELD_BYTES)  # noqa: SIM115  closed with the message

    def add(self, piece: bytes) -> None:
        """Takes the next piece.  Blocks: yes, if there is much (disk)."""
        self._file.write(piece)

    def pieces(self, size: int = _PIECE_BYTES) -> Iterator[bytes]:
        """Gives it from its beginning.  Blocks: yes, if there is much (disk)."""
        self._file.seek(0)
        while piece := self._file.read(size):
            yield piece

    def close(self) -> None:
        """Forgets it."""
        self._file.close()


class MilterWishes:
    """What one filter wants at the end of a message.

    Args:
        lines: what makes line ends of a new body, None for a binary one.

    Attributes:
        changes: of header and envelope, and a quarantine, in order.
        body: instead of the one that came, None for that.

    Owner: the message.
    """

    __slots__ = ("_lines", "body", "changes")

    def __init__(self, lines: LineEnds | None) -> None:
        self._lines = lines
        self.changes: list[FilterChange] = []
        self.body: KeptBody | None = None

    def take(self, change: FilterChange) -> None:
        """Takes the next change.

        Raises:
            MilterProtocolError: a policy milter cannot ask for it.
        """
        if isinstance(change, NewBody):
            self.body = self.body or KeptBody()
            self.body.add(change.data if self._lines is None else self._lines.feed(change.data))
        else:
            check(change)
            self.changes.append(change)

    def finish(self) -> None:
        """Is told that there is no more."""
        if self.body is not None and self._lines is not None:
            self.body.add(self._lines.finish())


class PmultMessage:
    """One message.

    Args:
        table: the filters of its session.
        binary: each octet of its body counts.

    Attributes:
        changes: what all filters want changed.

    Owner: the session.
    """

    __slots__ = (
        "_binary", "_body", "_chunks", "_edit", "_kept", "_later", "_live", "_new_body", "_splitter", "_table",
        "_told", "changes",
    )  # fmt: skip

    def __init__(self, table: MilterTable, *, binary: bool) -> None:
        self._table = table
        self._binary = binary
        self._splitter = ContentSplitter(_HEADER_MAX_BYTES, _FIELDS_MAX)
        self._live, self._later = live_and_later(table.listening())
        self._chunks = Chunks(min((one.machine.chunk_bytes for one in self._live), default=_PIECE_BYTES))
        self._told = False
        self._edit = HeaderEdit(_OWN, ())
        self._body = KeptBody()
        self._kept = [self._body]
        self._new_body = False
        self.changes = AllChanges()

    @property
    def has_enough(self) -> bool:
        """No filter wants more of the content."""
        wants = (one.machine.listens and not one.machine.steps & FilterSteps.NOBODY for one in self._live)
        return self._told and not self._later and not any(wants)

    def feed(self, piece: bytes) -> FilterVerdict:
        """Takes the next piece of the content; gives a decision of the filters.  Blocks: yes (network)."""
        body = self._splitter.feed(piece)
        if self._splitter.too_big or self._splitter.too_many:
            return _HEADER_TOO_BIG
        return self._take(body) if self._splitter.done else CONTINUE

    def _take(self, body: bytes) -> FilterVerdict:
        """Blocks: yes (network)."""
        verdict = self._tell_header()
        if self._later:
            self._body.add(body)
        for chunk in self._chunks.feed(body):
            if verdict is not CONTINUE:
                break
            verdict = self._to(self._live, partial(_tell_body, chunk))
        return verdict

    def _tell_header(self) -> FilterVerdict:
        """Blocks: yes (network)."""
        if self._told:
            return CONTINUE
        self._told = True
        self._edit = HeaderEdit(_OWN, self._splitter.fields)
        return self._header_to(self._live, self._splitter.fields)

    def _header_to(self, seats: list[MilterSeat], header: Iterable[Field]) -> FilterVerdict:
        """Blocks: yes (network)."""
        for field in header:
            verdict = self._to(seats, partial(_tell_field, field))
            if verdict is not CONTINUE:
                return verdict
        return self._to(seats, lambda one: one.machine.eoh(one.macros))

    def _to(self, seats: list[MilterSeat], tell: SeatTell) -> FilterVerdict:
        """Tells something to filters that listen, up to the first that decides.  Blocks: yes (network)."""
        for one in seats:
            if one.machine.listens:
                verdict = self._table.ask(one, tell)
                if verdict.outcome is not FilterOutcome.CONTINUE:
                    return verdict
        return CONTINUE

    # -- the end

    def finish(self) -> FilterVerdict:
        """Tells the end to all filters in turn; gives their decision.  Blocks: yes (network)."""
        rest = self._splitter.finish()
        if self._splitter.too_big or self._splitter.too_many:
            return _HEADER_TOO_BIG
        verdict = self._take(rest)
        if verdict is CONTINUE and (left := self._chunks.rest()):
            verdict = self._to(self._live, partial(_tell_body, left))
        turns = [(one, self._end) for one in self._live] + [(one, self._replay) for one in self._later]
        for one, turn in turns:
            if verdict is not CONTINUE:
                break
            if one.machine.listens:
                verdict = turn(one)
        return verdict

    def _replay(self, one: MilterSeat) -> FilterVerdict:
        """Tells one filter the message as those before left it.  Blocks: yes (network, disk)."""
        verdict = self._header_to([one], self._edit.visible())
        for piece in self._body.pieces(one.machine.chunk_bytes):
            if verdict is not CONTINUE:
                return verdict
            verdict = self._to([one], partial(_tell_body, piece))
        return self._end(one) if verdict is CONTINUE else verdict

    def _end(self, one: MilterSeat) -> FilterVerdict:
        """Tells one filter the end, and takes its changes.  Blocks: yes (network)."""
        if not one.machine.listens:
            return CONTINUE
        wishes = MilterWishes(None if self._binary else LineEnds())
        verdict = self._table.ask(one, lambda one: one.machine.eom(one.macros), wishes.take)
        wishes.finish()
        if wishes.body is not None:
            self._kept.append(wishes.body)
        if verdict.outcome is FilterOutcome.CONTINUE and one.machine.listens:  # what a filter that failed had wanted is nothing
            self._make(one, wishes)
        return verdict if verdict.outcome is not FilterOutcome.CONTINUE else CONTINUE

    def _make(self, one: MilterSeat, wishes: MilterWishes) -> None:
        for change in wishes.changes:
            if isinstance(change, AddField | InsertField | ChangeField):
                self._edit.apply(change)
            self.changes.add(change, one.rule)
        if wishes.body is not None:
            self._body, self._new_body = wishes.body, True

    def replacement(self) -> Iterator[bytes] | None:
        """Gives the message with its header as it came and its new body; None if the body is the one that came."""
        return self._pieces() if self._new_body else None

    def _pieces(self) -> Iterator[bytes]:
        yield b"".join(field.raw for field in self._splitter.fields) + b"\r\n"
        yield from self._body.pieces()

    def close(self) -> None:
        """Forgets what was kept."""
        for one in self._kept:
            one.close()


def _tell_field(field: Field, one: MilterSeat) -> bytes:
    return one.machine.header(field)


def _tell_body(chunk: bytes, one: MilterSeat) -> bytes:
    return one.machine.body(chunk)
