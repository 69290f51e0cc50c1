"""The content of a delivery: read from CDB, or a DSN made around it.

A report is shaped for its server first (report.py); for that the original is read once, and once more if all of it is sent.

What the page cache holds is read at once, in bounded turns; everything else is read by the off-load, so that a slow disk
does not stop other sessions.

Invariant (I3): chunks() comes to its end only if the whole file is what was accepted, by size and checksum.  Whoever adds
the final dot after its end never completes a message that is short, long or altered.  This holds for a report that
returns the header alone, too: all of the file was read for it.

Ref: MeTA1 design, "Implementation: SMTPC"; RFC 3464 2 (parts of a DSN).
"""

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import replace

from meta1g.base.errors import Module, TempError
from meta1g.db.cdb import Cdb, CdbReader, ContentError
from meta1g.rcb.smtpc_qmgr import Deliver
from meta1g.smtp.data import has_bare
from meta1g.smtp.esmtp import Extensions
from meta1g.smtp.header import header_end
from meta1g.smtp.longlines import LineBreaker
from meta1g.smtpc.limits import CONTENT_CHUNK_BYTES, HELD_CONTENT_BYTES, SMALL_CONTENT_BYTES
from meta1g.smtpc.report import Original, Shape, shape
from meta1g.st import st_checkpoint
from meta1g.st.offload import offload


class Content:
    """The content of one delivery.  Owner: one state thread (the session's).

    Args:
        cdb: the content database.
        job: the delivery.

    Attributes:
        break_lines: lines that are too long are broken; without it they go as they came.
        size_bytes: what there is to send if no line is broken.
    """

    __slots__ = ("_cdb", "_held", "_job", "_original", "_shape", "break_lines", "size_bytes")

    def __init__(self, cdb: Cdb, job: Deliver) -> None:
        self._cdb = cdb
        self._job = job
        self._held = b""
        self.break_lines = False
        self.size_bytes = 0
        self._original: Original | None = None
        self._shape: Shape | None = None

    def check(self) -> None:
        """Looks at the file before a server is bothered with it; the bytes of a large one are compared while they are sent.

        Raises:
            ContentError: it is missing, or is not what was accepted.
            TempError: it cannot be opened now.
        """
        reader = self._open()
        self.size_bytes = reader.size_bytes
        try:
            held = reader.cached(HELD_CONTENT_BYTES) if reader.size_bytes <= HELD_CONTENT_BYTES else b""
            self._held = held if reader.at_end else b""
        finally:
            reader.close()

    def shaped(self, job: Deliver, extensions: Extensions) -> Deliver:
        """Gives a delivery as it is for a server; a report is made so that the server takes it.

        Args:
            job: the delivery, perhaps to some of its recipients only.
            extensions: what the server offers.

        Raises:
            ContentError, TempError: as chunks().

        Switches: yes, as chunks(), if it is a report.
        """
        if job.dsn_head is None:
            return job
        if self._original is None:
            self._original = self._read()
        made = self._shape = shape(job, self._original, extensions)
        self.size_bytes = size = len(made.head) + len(made.tail) + (self._original.size_bytes if made.full else 0)
        utf8 = made.smtputf8 or not all(rcpt.rcpt.isascii() for rcpt in job.rcpts)
        return replace(job, size_bytes=size, body="8BITMIME" if made.eightbit else None, smtputf8=utf8)

    def _read(self) -> Original:
        """Reads the original of a report, all of it, so that nothing is told of one that is damaged.  Switches: yes."""
        original = Original()
        for piece in self._file():
            original.feed(piece)
        return original

    def chunks(self) -> Iterator[bytes]:
        """Gives the content in pieces, not stuffed, long lines broken if wanted; to be completed only after the last one.

        Raises:
            ContentError: the content file is missing, or is not what was accepted.
            TempError: it cannot be read now.

        Switches: yes (offload, or to give way), unless the file is small and cached.
        """
        if not self.break_lines:
            yield from self._plain()
            return
        breaker = LineBreaker()
        for piece in self._plain():
            yield breaker.feed(piece)
        yield breaker.finish()

    def head(self) -> bytes:
        """Gives the begin of the content file.

        Raises:
            ContentError, TempError: as chunks().

        Switches: yes, as chunks().
        """
        with contextlib.closing(self._file()) as pieces:
            return next(pieces, b"")

    def has_long_line(self) -> bool:
        """Tells whether there is a line of more than 998 octets; reads all of the content.

        Raises:
            ContentError, TempError: as chunks().

        Switches: yes (offload, or to give way).
        """
        breaker = LineBreaker()
        for piece in self._plain():
            breaker.feed(piece)
        return breaker.found

    def _plain(self) -> Iterator[bytes]:
        """Gives the content in pieces as it came.  Switches: yes, as chunks()."""
        if self._shape is None:
            yield from self._file()
            return
        yield self._shape.head
        if self._shape.full:
            yield from self._file()
        yield self._shape.tail

    def is_7bit(self) -> bool:
        """Tells whether the content is ASCII only; reads all of it, so that damage is never taken for 8-bit content.

        Raises:
            ContentError, TempError: as chunks().

        Switches: yes (offload, or to give way).
        """
        ascii_only = True
        for piece in self.chunks():
            ascii_only = ascii_only and piece.isascii()
        return ascii_only

    def has_ascii_header(self) -> bool:
        """Tells whether the header is ASCII only; of a header beyond SMALL_CONTENT_BYTES what is up to there.  As is_7bit().

        Switches: yes (offload, or to give way).
        """
        start = b""
        for piece in self.chunks():
            if len(start) < SMALL_CONTENT_BYTES and header_end(start) < 0:
                start += piece
        end = header_end(start)
        return (start if end < 0 else start[:end]).isascii()

    def has_lines(self) -> bool:
        """Tells whether there is nothing but lines, as in content that came by DATA.  As is_7bit().

        Switches: yes (offload, or to give way).
        """
        held, lines, ended = b"", True, True
        for piece in self._plain():
            stream = held + piece
            held = b"\r" if stream.endswith(b"\r") else b""
            lines = lines and b"\0" not in piece and not has_bare(stream[:-1] if held else stream)
            ended = piece.endswith(b"\n") if piece else ended
        return lines and ended

    def error(self, what: str) -> ContentError:
        """Gives the error of a content that is not what it has to be."""
        return ContentError(self._job.cdb_id, what)

    def _open(self) -> CdbReader:
        job = self._job
        try:
            return self._cdb.open(job.cdb_id, job.file_bytes, job.checksum)
        except OSError as error:
            raise TempError(Module.CDB, f"cannot open content {job.cdb_id}: {error.strerror}") from error

    def _file(self) -> Generator[bytes]:
        """Switches: yes."""
        if self._held:
            yield self._held
            return
        reader = self._open()
        try:
            yield from self._pieces(reader)
        finally:
            reader.close()

    def _pieces(self, reader: CdbReader) -> Iterator[bytes]:
        """Switches: yes."""
        size = SMALL_CONTENT_BYTES
        while not reader.at_end:
            st_checkpoint()
            try:
                piece = reader.cached(size) or offload(reader.read, size)
            except OSError as error:
                raise TempError(Module.CDB, f"cannot read content {self._job.cdb_id}: {error.strerror}") from error
            yield piece
            size = CONTENT_CHUNK_BYTES
