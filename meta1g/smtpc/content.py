"""The content of a delivery: read from CDB, or a DSN made around it.

What the page cache holds is read at once, in bounded turns; everything else is read by the off-load, so that a slow disk
does not stop other sessions.

Invariant (I3): chunks() comes to its end only if the whole file is what was accepted, by size and checksum.  Whoever adds
the final dot after its end never completes a message that is short, long or altered.  This holds for a report that
returns the header alone, too: the rest of the file is read for its checksum.

Ref: MeTA1 design, "Implementation: SMTPC"; RFC 3464 2 (parts of a DSN).
"""

from collections.abc import Iterator
from typing import Final

from meta1g.base.errors import Module, TempError
from meta1g.db.cdb import Cdb, CdbReader
from meta1g.rcb.smtpc_qmgr import Deliver
from meta1g.smtpc.limits import CONTENT_CHUNK_BYTES, HELD_CONTENT_BYTES, SMALL_CONTENT_BYTES
from meta1g.st import st_checkpoint
from meta1g.st.offload import offload

_HEADER_END: Final = b"\r\n\r\n"


class Content:
    """The content of one delivery.  Owner: one state thread (the session's).

    Args:
        cdb: the content database.
        job: the delivery.
    """

    __slots__ = ("_cdb", "_held", "_job")

    def __init__(self, cdb: Cdb, job: Deliver) -> None:
        self._cdb = cdb
        self._job = job
        self._held = b""

    def check(self) -> None:
        """Looks at the file before a server is bothered with it; the bytes of a large one are compared while they are sent.

        Raises:
            ContentError: it is missing, or is not what was accepted.
            TempError: it cannot be opened now.

        Switches: no.
        """
        reader = self._open()
        try:
            held = reader.cached(HELD_CONTENT_BYTES) if reader.size_bytes <= HELD_CONTENT_BYTES else b""
            self._held = held if reader.at_end else b""
        finally:
            reader.close()

    def chunks(self) -> Iterator[bytes]:
        """Gives the content in pieces, not stuffed; to be completed only after the last one.

        Raises:
            ContentError: the content file is missing, or is not what was accepted.
            TempError: it cannot be read now.

        Switches: yes (offload, or to give way), unless the file is small and cached.
        """
        job = self._job
        if job.dsn_head is None:
            yield from self._file()
            return
        yield job.dsn_head
        yield from self._file() if job.dsn_full else self._header()
        yield job.dsn_tail or b""

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

    def _open(self) -> CdbReader:
        job = self._job
        try:
            return self._cdb.open(job.cdb_id, job.file_bytes, job.checksum)
        except OSError as error:
            raise TempError(Module.CDB, f"cannot open content {job.cdb_id}: {error.strerror}") from error

    def _file(self) -> Iterator[bytes]:
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

    def _header(self) -> Iterator[bytes]:
        """Gives the header block of the file, without the empty line after it; then reads the rest for its checksum.

        Switches: yes.
        """
        held, ended = b"", False
        for piece in self._file():
            if ended:
                continue
            window = held + piece
            end = window.find(_HEADER_END)
            ended = end >= 0
            cut = end + 2 if ended else max(len(window) - len(_HEADER_END) + 1, 0)
            held = b"" if ended else window[cut:]  # may be the beginning of the end
            yield window[:cut]
        yield held
