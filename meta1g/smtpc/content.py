"""The content of a delivery: read from CDB, or a DSN made around it.

A small file that the page cache holds is read at once; everything else is read by the off-load, so that a slow disk does
not stop other sessions.

Ref: MeTA1 design, "Implementation: SMTPC"; RFC 3464 2 (parts of a DSN).
"""

import os
from collections.abc import Iterator
from typing import Final

from meta1g.base.errors import Module, TempError
from meta1g.db.cdb import Cdb
from meta1g.rcb.smtpc_qmgr import Deliver
from meta1g.smtpc.limits import CONTENT_CHUNK_BYTES, SMALL_CONTENT_BYTES
from meta1g.st.offload import offload

_HEADER_END: Final = b"\r\n\r\n"


class Content:
    """The content of one delivery.  Owner: one state thread (the session's).

    Args:
        cdb: the content database.
        job: the delivery.
    """

    __slots__ = ("_cdb", "_job")

    def __init__(self, cdb: Cdb, job: Deliver) -> None:
        self._cdb = cdb
        self._job = job

    def chunks(self) -> Iterator[bytes]:
        """Gives the content in pieces, not stuffed.

        Raises:
            TempError: the content file cannot be read.

        Switches: yes (offload), unless the file is small and cached.
        """
        job = self._job
        if job.dsn_head is None:
            yield from self._file()
            return
        yield job.dsn_head
        yield from self._file() if job.dsn_full else self._header()
        yield job.dsn_tail or b""

    def is_7bit(self) -> bool:
        """Tells whether the content is ASCII only; reads all of it.  Switches: yes (offload)."""
        return all(piece.isascii() for piece in self.chunks())

    def _file(self) -> Iterator[bytes]:
        try:
            fd = os.open(self._cdb.path(self._job.cdb_id), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise TempError(Module.CDB, f"cannot open content {self._job.cdb_id}: {error.strerror}") from error
        try:
            yield from _pieces(fd, self._job.cdb_id)
        finally:
            os.close(fd)

    def _header(self) -> Iterator[bytes]:
        """Gives the header block of the file, without the empty line after it."""
        kept = b""
        for piece in self._file():
            kept += piece
            end = kept.find(_HEADER_END)
            if end >= 0:
                yield kept[: end + 2]
                return
        yield kept


def _pieces(fd: int, cdb_id: str) -> Iterator[bytes]:
    offset = 0
    while True:
        size = SMALL_CONTENT_BYTES if offset == 0 else CONTENT_CHUNK_BYTES
        try:
            piece = _cached(fd, size, offset)
            if piece is None:
                piece = offload(os.pread, fd, size, offset)
        except OSError as error:
            raise TempError(Module.CDB, f"cannot read content {cdb_id}: {error.strerror}") from error
        if not piece:
            return
        yield piece
        offset += len(piece)


def _cached(fd: int, size: int, offset: int) -> bytes | None:
    """Reads what the page cache has without waiting for the disk; None if it has nothing there."""
    buffer = bytearray(size)
    try:
        count = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
    except (BlockingIOError, NotImplementedError):
        return None
    except OSError:  # a file system that knows no RWF_NOWAIT
        return None
    return bytes(memoryview(buffer)[:count])
