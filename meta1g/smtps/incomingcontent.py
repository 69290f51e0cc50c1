"""The content of a message on its way to its CDB file: in memory while it is small, in pieces when it is not.

Who closes the transaction (content.py) decides whether the file stays.

Ref: RFC 5321 4.1.1.4; MeTA1 design, "Functional Specification: SMTPS, CDB" (modelled on).
"""

import errno
from collections.abc import Callable, Iterator
from zlib import crc32

from meta1g.base.errors import TempError
from meta1g.base.ids import CdbId
from meta1g.base.reply import Reply
from meta1g.db.cdb import CdbReader, CdbWriter
from meta1g.smtp import replies
from meta1g.smtp.completion import Missing, completion, has_header
from meta1g.smtp.header import HeaderMeter, count_received, header_end, is_automatic, makes_tls_optional, message_id
from meta1g.smtps.context import Context
from meta1g.smtps.limits import SMALL_CONTENT_BYTES, STREAM_PIECE_BYTES
from meta1g.smtps.settings import Settings
from meta1g.st import StError, offload

#: How a line begins that continues the field before it (RFC 5322 2.2.3).
_FOLDS = (b" ", b"\t")


class IncomingContent:
    """Content on its way to its file: in memory while it is small, streamed when it is not.

    Args:
        context: store and log.
        settings: those of the client.
        cdb_id: id of the file.
        trace: our Received field, which goes first.
        missing: what the header is completed with, None if it is not.

    Attributes:
        size_bytes: size of the content without what we put before it.
        checksum: CRC-32 of what is in the file.
        automatic: no report may answer it, by its header.
        tls_optional: it may go in clear where the receiving side demands TLS, by its header.
        message_id: the Message-ID, for the log.
        hops: Received fields that it came with.
        refusal: why it cannot be accepted, None while it can; a refused one takes no memory and no file.
        rule: the filter that refused it, `milter NAME`; empty if none did.
        hold: why a filter wants it held; empty if none does.

    Owner: the state thread of the session.
    """

    __slots__ = (
        "_cdb_id",
        "_checked",
        "_context",
        "_gap",
        "_held",
        "_meter",
        "_missing",
        "_received",
        "_settings",
        "_trace",
        "_writer",
        "automatic",
        "checksum",
        "hold",
        "hops",
        "message_id",
        "refusal",
        "rule",
        "size_bytes",
        "tls_optional",
    )

    def __init__(
        self, context: Context, settings: Settings, cdb_id: CdbId, trace: bytes, missing: Missing | None = None
    ) -> None:
        self._context = context
        self._settings = settings
        self._cdb_id = cdb_id
        self._trace = self._received = trace
        self._missing = missing
        self._held = bytearray()  # one buffer: pieces may be as small as a client likes
        self._gap = b""
        self._writer: CdbWriter | None = None
        self._checked = False
        self._meter = HeaderMeter() if settings.parts is not None else None
        self.size_bytes = 0
        self.checksum = 0
        self.automatic = False
        self.tls_optional = False
        self.message_id: str | None = None
        self.hops = 0
        self.refusal: Reply | None = None
        self.rule = ""
        self.hold = ""

    @property
    def received(self) -> bytes:
        """Our Received field."""
        return self._received

    @property
    def completed(self) -> bytes:
        """The fields that the header was completed with, once it was looked at."""
        return self._trace[len(self._received) :].removesuffix(self._gap)

    @property
    def completes(self) -> bool:
        """The header is going to be completed, when it is there."""
        return self._missing is not None and not self._checked

    @property
    def stored_bytes(self) -> int:
        """Size of the file."""
        return self.size_bytes + len(self._trace)

    def add(self, piece: bytes) -> None:
        """Takes the next piece.  Switches: only if much is held (disk)."""
        if not self.size_bytes and piece.startswith(_FOLDS):
            self._gap = b"\r\n"  # the client sent a body without header; it must not become part of our field
        self.size_bytes += len(piece)
        if self.refusal is not None:
            return
        if self.is_too_big(self.size_bytes):
            self.refuse(replies.TOO_BIG)
            return
        if self._meter is not None and not self._in_bounds(self._meter, piece):
            return
        self._held += piece
        if len(self._held) >= (STREAM_PIECE_BYTES if self._writer else SMALL_CONTENT_BYTES):
            self._spill()

    def is_too_big(self, size_bytes: int) -> bool:
        """Tells whether so much is more than a message may have."""
        limit = self._settings.max_message_bytes
        return 0 < limit < size_bytes

    def _in_bounds(self, meter: HeaderMeter, piece: bytes) -> bool:
        """Measures header and body of what has come, and refuses what is beyond a limit.  Switches: yes (removes a file)."""
        limits = self._settings.parts
        if limits is None:
            return True
        if not meter.done:
            meter.feed(piece)
        if 0 < limits.header_bytes < meter.size_bytes:
            self.refuse(replies.HEADER_TOO_BIG)
        elif 0 < limits.header_lines < meter.lines:
            self.refuse(replies.HEADER_TOO_LONG)
        elif meter.done and 0 < limits.body_bytes < self.size_bytes - meter.size_bytes:
            self.refuse(replies.BODY_TOO_BIG)
        return self.refusal is None

    def refuse(self, reply: Reply) -> None:
        """Gives the content up; the first reason counts.  Switches: yes (removes a file)."""
        if self.refusal is None:
            self.refusal = reply
            self.abort()

    def check_header(self, *, whole: bool = True) -> None:
        """Looks at the header: counts the Received fields; whether a report may answer it, TLS is optional; its Message-ID.

        Of a header beyond SMALL_CONTENT_BYTES what is up to there counts, and it is not completed.

        Args:
            whole: all of the content is there.

        Switches: only if there are too many fields.
        """
        if self._checked or self.refusal is not None:
            return
        self._checked = True
        start = bytes(self._held)
        end = header_end(start)
        header = start[:end] if end >= 0 else start
        self.automatic = is_automatic(header)
        self.tls_optional = makes_tls_optional(header)
        self.message_id = message_id(header)
        if self._missing is not None and (whole or end >= 0):
            self._complete(self._missing, start, end)
        self._trace += self._gap
        self.hops = count_received(header)
        if self.hops > self._settings.max_hops:
            self.refuse(replies.TOO_MANY_HOPS)

    def _complete(self, missing: Missing, start: bytes, end: int) -> None:
        """Adds what the header lacks."""
        if not has_header(start):
            self._gap, end = b"\r\n", 0
        self._trace += completion(start[:end] if end >= 0 else start, missing)
        self.message_id = self.message_id or missing.message_id

    def _spill(self) -> None:
        """Writes what is held; opens the file first if need be.  Switches: yes (disk)."""
        self.check_header(whole=False)
        if self.refusal is not None:
            return
        block, self._held = bytes(self._held), bytearray()
        self.guard(lambda: self._write(block))

    def _write(self, block: bytes) -> None:
        """Runs off-loaded."""
        if self._writer is None:
            self._writer = self._context.cdb.create(self._cdb_id, self._settings.cdb_gid)
            self._writer.write(self._summed(self._trace))
        self._writer.write(self._summed(block))

    def _summed(self, block: bytes) -> bytes:
        """Gives a block that goes into the file, and takes it into the checksum."""
        self.checksum = crc32(block, self.checksum)
        return block

    def pieces(self, offset: int) -> Iterator[bytes]:
        """Gives the content from an offset on, without what we put before it; rebuild() may be given it.

        Switches: yes (disk), unless it is held.
        """
        if self._writer is None:
            return iter((bytes(self._held[offset:]),))
        reader: CdbReader = offload(lambda: self._context.cdb.open(self._cdb_id))
        return _pieces_of(reader, len(self._trace) + offset, bytes(self._held))

    def rebuild(self, header: bytes, body: Iterator[bytes]) -> None:
        """Puts another content in the place of this one.

        Args:
            header: all of it, with our own fields and the empty line.
            body: the rest.

        Switches: yes (disk), unless all of it is held.
        """
        writer, self._writer = self._writer, None
        self._trace, self._held = header, bytearray()
        self.size_bytes = self.checksum = 0
        if writer is not None:
            self.guard(writer.abort)
        for piece in body:
            if self.refusal is None:
                self._held += piece
                self.size_bytes += len(piece)
                if len(self._held) >= (STREAM_PIECE_BYTES if self._writer else SMALL_CONTENT_BYTES):
                    self._spill()

    def store(self) -> None:
        """Brings all of it to stable storage; refusal tells whether that failed.  Switches: yes (disk).

        Raises:
            StError: EINTR, the session has to stop; the file is removed.
        """
        try:
            self.guard(self._write_whole if self._writer is None else self._finish)
        except StError:
            self.remove()
            raise
        self._held = bytearray()

    def _write_whole(self) -> None:
        """Runs off-loaded."""
        blocks = [self._summed(self._trace), self._summed(bytes(self._held))]
        self._context.cdb.write_whole(self._cdb_id, blocks, self._settings.cdb_gid)

    def _finish(self) -> None:
        """Runs off-loaded."""
        writer = self._writer
        if writer is not None:
            writer.write(self._summed(bytes(self._held)))
            writer.commit()
            self._writer = None

    def guard(self, function: Callable[[], None]) -> None:
        """Runs a blocking function off-loaded and turns its failure into a refusal.  Switches: yes."""
        try:
            offload(function)
        except StError:
            raise
        except (OSError, TempError) as error:
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """Gives the content up, as it cannot be written or read.  Switches: yes (removes a file)."""
        self._context.log.error("smtps.cdb", str(error), cdb_id=self._cdb_id)
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        self.refuse(replies.DISK_FULL if full else replies.STORE_FAILED)

    def abort(self) -> None:
        """Forgets the content; a file that is being written is removed.  Switches: yes (disk)."""
        self._held = bytearray()
        writer, self._writer = self._writer, None
        if writer is not None:
            _quietly(self._context, self._cdb_id, writer.abort)

    def remove(self) -> None:
        """Removes the file of a message that QMGR refused.  Switches: yes (disk)."""
        _quietly(self._context, self._cdb_id, lambda: self._context.cdb.unlink(self._cdb_id))


def _pieces_of(reader: CdbReader, skip: int, rest: bytes) -> Iterator[bytes]:
    """Gives what a file holds behind so many bytes, then the rest.  Switches: yes (disk)."""
    try:
        while not reader.at_end:
            piece = offload(lambda: reader.read(STREAM_PIECE_BYTES))
            if skip < len(piece):
                yield piece[skip:]
            skip = max(0, skip - len(piece))
    finally:
        reader.close()
    yield rest


def _quietly(context: Context, cdb_id: CdbId, function: Callable[[], object]) -> None:
    """Runs a clean-up off-loaded, although the session has to stop; if it fails, QMGR's clean-up will find the file.

    Args:
        context: for the log.
        cdb_id: whose file it is.
        function: may be called twice.

    Switches: yes.
    """
    try:
        try:
            offload(function)
        except StError:  # EINTR: it may have come before the call was made
            offload(function)
            raise
    except StError:
        raise
    except (OSError, TempError) as error:
        context.log.warn("smtps.cdb_left", str(error), cdb_id=cdb_id)
