"""Content on its way past the filters: told to them while it arrives, changed before it is safe.

The first filters see the content while it arrives, up to the first one that may change it: the next one has to see its changes,
and they come at the end of the message.  From then on the filters have their turns one after the other, each with the content
as those before left it, read from where it is held.

What all of them made of it is written to the content file before the commit: a small message is still in memory, and costs
nothing; of one that is on its way to its file, a new file under the same name takes the place (docs/decisions.md).

Ref: MeTA1 design, "Functional Specification: SMTPS, policy milter" (place modelled on); sendmail 8, libmilter/docs.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

from meta1g.base.errors import BugError, Meta1Error
from meta1g.milter.changes import (
    AddField,
    AddRcpt,
    ChangeField,
    ChangeSender,
    DeleteRcpt,
    FilterChange,
    HoldMail,
    InsertField,
    NewBody,
    NewMessage,
)
from meta1g.milter.header import ContentSplitter, HeaderEdit
from meta1g.milter.machine import FilterOutcome, FilterVerdict
from meta1g.milter.turns import Chunks, live_and_later
from meta1g.smtp import replies
from meta1g.smtp.data import LineEnds
from meta1g.smtp.esmtp import BINARY
from meta1g.smtp.header import Field, fields
from meta1g.smtps import filtermacros
from meta1g.smtps.dialogue import Dialogue
from meta1g.smtps.filterenvelope import EnvelopeEdit
from meta1g.smtps.filtering import ContentWatch, FilteredStore
from meta1g.smtps.filters import Filters, OneFilter, Tell, Told
from meta1g.smtps.limits import FILTER_BODY_HELD_BYTES, FILTER_FIELDS_MAX, FILTER_HEADER_MAX_BYTES, STREAM_PIECE_BYTES
from meta1g.smtps.transaction import Transaction
from meta1g.st import StError, offload, st_checkpoint

_FIELD_CHANGES: Final = (AddField, InsertField, ChangeField)
_ENVELOPE_CHANGES: Final = (AddRcpt, DeleteRcpt, ChangeSender)


class BodySpool:
    """A body that a filter sends instead of the one that came: in memory while it is small, in a file without name when not.

    Args:
        content: refused if it cannot be kept, or becomes too big.
        directory: of the file; one that SMTPS may write to.
        lines: what makes line ends of what a filter sends, None for a binary body, where every octet counts.

    Owner: the state thread of the session.
    """

    __slots__ = ("_content", "_directory", "_file", "_held", "_lines", "size_bytes")

    def __init__(self, content: FilteredStore, directory: Path, lines: LineEnds | None) -> None:
        self._content = content
        self._directory = directory
        self._lines = lines
        self._file: IO[bytes] | None = None
        self._held = bytearray()
        self.size_bytes = 0

    def add(self, piece: bytes) -> None:
        """Takes the next piece.  Switches: only if much is held (disk)."""
        self._keep(piece if self._lines is None else self._lines.feed(piece))

    def finish(self) -> None:
        """Is told that all of it has come.  Switches: only if much is held (disk)."""
        if self._lines is not None:
            self._keep(self._lines.finish())

    def _keep(self, piece: bytes) -> None:
        """Switches: only if much is held (disk)."""
        self.size_bytes += len(piece)
        if self._content.is_too_big(self.size_bytes):
            self._content.refuse(replies.TOO_BIG)
        if self._content.refusal is not None:
            return
        self._held += piece
        if len(self._held) > FILTER_BODY_HELD_BYTES:
            block, self._held = bytes(self._held), bytearray()
            self._content.guard(lambda: self._write(block))

    def _write(self, block: bytes) -> None:
        """Runs off-loaded."""
        if self._file is None:
            self._file = TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115  closed with the spool
        view = memoryview(block)
        while view:
            view = view[self._file.write(view) :]

    def pieces(self) -> Iterator[bytes]:
        """Gives the body.  Switches: yes, if it is in a file (disk)."""
        file, at = self._file, 0
        while file is not None and (piece := offload(partial(_read_at, file, at))):
            at += len(piece)
            yield piece
        yield bytes(self._held)

    def close(self) -> None:
        """Forgets the body."""
        if self._file is not None:
            self._file.close()


def _read_at(file: IO[bytes], at: int) -> bytes:
    """Runs off-loaded."""
    file.seek(at)
    return file.read(STREAM_PIECE_BYTES)


class Wishes:
    """What one filter asks for at the end of a message.

    Args:
        envelope: takes its changes of the envelope.
        new_spool: makes room for a body.
        lines: what makes line ends of another message, None if its body is binary.

    Attributes:
        changes: of header and envelope, in order.
        body: instead of the one that came, None for that.
        fields: the header instead of the one that came, None for that.
        too_big: the header is greater than may be.

    Owner: the state thread of the session.
    """

    __slots__ = ("_envelope", "_lines", "_new_spool", "_splitter", "body", "changes", "fields", "too_big")

    def __init__(self, envelope: EnvelopeEdit, new_spool: Callable[[], BodySpool], lines: LineEnds | None) -> None:
        self._envelope = envelope
        self._lines = lines
        self._new_spool = new_spool
        self._splitter: ContentSplitter | None = None
        self.changes: list[FilterChange] = []
        self.body: BodySpool | None = None
        self.fields: tuple[Field, ...] | None = None
        self.too_big = False

    def __bool__(self) -> bool:
        return bool(self.changes) or self.body is not None

    def take(self, change: FilterChange) -> None:
        """Takes the next change.  Switches: only if much of a body is held (disk)."""
        if isinstance(change, NewBody):
            self._add(change.data)
        elif isinstance(change, NewMessage):
            self._splitter = self._splitter or ContentSplitter(FILTER_HEADER_MAX_BYTES, FILTER_FIELDS_MAX)
            self._add(self._splitter.feed(change.data if self._lines is None else self._lines.feed(change.data)))
        else:
            if isinstance(change, _ENVELOPE_CHANGES):
                self._envelope.apply(change)
            self.changes.append(change)

    def _add(self, piece: bytes) -> None:
        """Switches: only if much is held (disk)."""
        if self.body is None:
            self.body = self._new_spool()
        self.body.add(piece)

    def finish(self) -> None:
        """Is told that there is no more.  Switches: only if much of a body is held (disk)."""
        splitter = self._splitter
        if splitter is not None:
            if self._lines is not None:
                self._add(splitter.feed(self._lines.finish()))
            self._add(splitter.finish())
            self.fields, self.too_big = splitter.fields, splitter.too_big or splitter.too_many
        if self.body is not None:
            self.body.finish()

    def summary(self) -> str:
        """Says for the log what it is."""
        counts: dict[str, int] = {}
        for change in self.changes:
            name = type(change).__name__
            counts[name] = counts.get(name, 0) + 1
        texts = [f"{_WORDS[name]} {count}" for name, count in counts.items()]
        if self.body is not None:
            texts.append("new body" if self.fields is None else "new message")
        return ", ".join(texts)


class FilteredContent:
    """One message on its way past the filters of its session.

    Args:
        filters: those of the session; at least one listens.
        dialogue: the session.
        ta: the transaction.
        content: where the message goes.

    Owner: the state thread of the session.
    """

    __slots__ = (
        "_body",
        "_chunks",
        "_content",
        "_dialogue",
        "_edit",
        "_envelope",
        "_filters",
        "_later",
        "_live",
        "_splitter",
        "_spools",
        "_ta",
        "_told",
    )

    def __init__(self, filters: Filters, dialogue: Dialogue, ta: Transaction, content: FilteredStore) -> None:
        self._filters = filters
        self._dialogue = dialogue
        self._ta = ta
        self._content = content
        self._splitter = ContentSplitter(FILTER_HEADER_MAX_BYTES, FILTER_FIELDS_MAX)
        self._live, self._later = live_and_later(filters.listening())
        self._chunks = Chunks(min(one.machine.chunk_bytes for one in self._live))
        self._told = False
        self._edit: HeaderEdit | None = None
        self._body: BodySpool | None = None
        self._spools: list[BodySpool] = []
        self._envelope: EnvelopeEdit | None = None

    @property
    def _over(self) -> bool:
        return self._content.refusal is not None or self._ta.discard

    def feed(self, piece: bytes) -> float:
        """Tells the next piece of the content; gives how long that took, s.  Switches: yes (network)."""
        if self._over:
            return 0.0
        clock = self._dialogue.context.clock
        begun_s = clock.monotonic()
        self._feed(piece)
        return clock.monotonic() - begun_s

    def _feed(self, piece: bytes) -> None:
        """Switches: yes (network)."""
        body = self._splitter.feed(piece)
        if self._splitter.too_big:
            self._content.refuse(replies.HEADER_TOO_BIG)
        elif self._splitter.too_many:
            self._content.refuse(replies.HEADER_TOO_LONG)
        elif self._splitter.done:
            self._complete_header()
            self._tell_header()
            self._take_body(body)

    def complete(self) -> None:
        """Tells that the content is complete, and makes the changes.  Switches: yes (network, disk)."""
        try:
            if not self._over:
                rest = self._splitter.finish()
                if self._splitter.too_many:
                    self._content.refuse(replies.HEADER_TOO_LONG)
                self._tell_header()
                self._take_body(rest)
                self._flush()
            for one in self._live:
                self._end(one)
            for one in self._later:
                self._replay(one)
            self._settle()
        except (StError, BugError):
            raise
        except (OSError, Meta1Error) as error:
            self._content.failed(error)  # what came or what a filter made of it cannot be read back
        finally:
            for spool in self._spools:
                spool.close()

    # -- while it arrives

    def _complete_header(self) -> None:
        """Has the header completed, if that can be done before the content is there; else nobody sees it while it arrives.

        Switches: only if there are too many fields.
        """
        if self._content.completes and self._splitter.separated:
            self._content.check_header(whole=False)
        elif self._content.completes:
            self._live, self._later = [], [*self._live, *self._later]

    def _fields(self) -> list[Field]:
        """Gives the header that came, with what it was completed with."""
        return [*fields(self._content.completed), *self._splitter.fields]

    def _tell_header(self) -> None:
        """Switches: yes (network)."""
        if self._told:
            return
        self._told = True
        for one in self._live:
            self._header_to(one, self._fields())

    def _header_to(self, one: OneFilter, header: list[Field]) -> None:
        """Switches: yes (network)."""
        for field in header:
            st_checkpoint()  # most filters want to see few fields, and nothing is sent for the others
            self._to(one, partial(_tell_field, field))
        self._to(one, lambda one: one.machine.eoh(one.macros))

    def _take_body(self, body: bytes) -> None:
        """Switches: yes (network), if there is a whole chunk."""
        for chunk in self._chunks.feed(body):
            self._chunk_to_live(chunk)

    def _flush(self) -> None:
        """Switches: yes (network)."""
        if rest := self._chunks.rest():
            self._chunk_to_live(rest)

    def _chunk_to_live(self, chunk: bytes) -> None:
        """Switches: yes (network)."""
        for one in self._live:
            self._to(one, partial(_tell_body, chunk))

    def _to(self, one: OneFilter, tell: Tell) -> None:
        """Tells one filter something, if it listens and nothing is decided.  Switches: yes (network)."""
        if not self._over and one.machine.listens:
            self._take(one, self._filters.verdict(one, tell))

    def _take(self, one: OneFilter, verdict: FilterVerdict) -> None:
        """Takes a decision.  Switches: only if it is a refusal (removes a file)."""
        if verdict.reply is not None:
            self._content.rule = one.rule
            self._content.refuse(verdict.reply)
        elif verdict.outcome is FilterOutcome.DISCARD:
            self._ta.discard, self._ta.rule = True, one.rule

    # -- the end, and the turns of those who come later

    def _replay(self, one: OneFilter) -> None:
        """Tells one filter the message as those before left it.  Switches: yes (network, disk)."""
        if self._over or not one.machine.listens:
            return
        self._header_to(one, self._header().visible())
        chunks = Chunks(one.machine.chunk_bytes)
        for piece in self._body_pieces():
            for chunk in chunks.feed(piece):
                self._to(one, partial(_tell_body, chunk))
        if rest := chunks.rest():
            self._to(one, partial(_tell_body, rest))
        self._end(one)

    def _end(self, one: OneFilter) -> None:
        """Tells one filter the end, and takes its changes.  Switches: yes (network)."""
        if self._over or not one.machine.listens:
            return
        self._filters.macros.update(filtermacros.of_end(self._content.message_id, self._content.hops))
        envelope = EnvelopeEdit(self._filters, self._ta) if self._envelope is None else self._envelope.copy()
        wishes = Wishes(envelope, self._new_spool, self._line_ends())
        self._take(one, self._filters.verdict(one, lambda one: one.machine.eom(one.macros), wishes.take))
        wishes.finish()
        if wishes.too_big:
            self._content.refuse(replies.HEADER_TOO_BIG)
        if not self._over and wishes and one.machine.listens:  # what a filter that failed had wanted does not count
            self._envelope = envelope
            self._make(one, wishes)

    def _new_spool(self) -> BodySpool:
        directory = self._dialogue.context.cdb.path(self._ta.ta_id).parent
        self._spools.append(BodySpool(self._content, directory, self._line_ends()))
        return self._spools[-1]

    def _line_ends(self) -> LineEnds | None:
        return None if self._ta.params.body == BINARY else LineEnds()

    def _make(self, one: OneFilter, wishes: "Wishes") -> None:
        """Makes what one filter wants.  Switches: yes, if that is much."""
        if wishes.fields is not None:
            self._edit = HeaderEdit(self._content.received, wishes.fields)
            self._edit.changed = True
        for change in wishes.changes:
            st_checkpoint()
            if isinstance(change, _FIELD_CHANGES):
                self._header().apply(change)
            elif isinstance(change, HoldMail):
                self._content.hold = f"{one.rule}: {change.reason}"
        self._body = wishes.body or self._body
        self._filters.rule = one.rule
        one.connection.tally.changed += 1
        self._dialogue.context.log.info(
            "smtps.milter_changed",
            wishes.summary(),
            ss_sess=self._dialogue.id,
            ss_ta=self._ta.ta_id,
            key=one.connection.settings.name,
        )

    def _header(self) -> HeaderEdit:
        if self._edit is None:
            self._edit = HeaderEdit(self._content.received, self._fields())
        return self._edit

    def _body_pieces(self) -> Iterator[bytes]:
        """Switches: yes (disk), unless it is held."""
        return self._content.pieces(self._splitter.body_offset) if self._body is None else self._body.pieces()

    def _settle(self) -> None:
        """Makes what the filters have agreed on.  Switches: yes (disk), if the content changes."""
        if self._over:
            return
        if self._envelope is not None and (refusal := self._envelope.tell(self._dialogue)) is not None:
            self._content.refuse(refusal)
            return
        if self._body is not None or (self._edit is not None and self._edit.changed):
            header = self._header().encode()
            if len(header) > FILTER_HEADER_MAX_BYTES + len(self._content.received):
                self._content.refuse(replies.HEADER_TOO_BIG)
            else:
                self._content.rebuild(header, self._body_pieces())


def _tell_field(field: Field, one: OneFilter) -> Told:
    return one.machine.header(field)


def _tell_body(chunk: bytes, one: OneFilter) -> Told:
    return one.machine.body(chunk)


_WORDS: Final = {
    "AddField": "fields added",
    "InsertField": "fields inserted",
    "ChangeField": "fields changed",
    "AddRcpt": "recipients added",
    "DeleteRcpt": "recipients removed",
    "ChangeSender": "sender changed",
    "HoldMail": "held",
}


class MailFilters(Filters):
    """The filters of one session, with the content of its messages.  Owner: the state thread of the session."""

    __slots__ = ()

    def watch(self, ta: Transaction, content: FilteredStore) -> ContentWatch | None:
        """Gives the way past the filters, None if no filter wants to see the content."""
        if ta.discard or not ta.posted or not self.listening():
            return None
        return FilteredContent(self, self.dialogue, ta, content)
