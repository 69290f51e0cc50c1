"""CDB: the content database, one file for each message.

Invariant: commit() or write_whole() returned means the content is on stable storage under its id; a file that could not
be written whole is not there.  Only ids become file names.

SMTPS writes, SMTPC reads by open(), QMGR removes.  The directory of a new file is not flushed: fsync of a new file
makes its name durable on ext4, xfs and btrfs.

Who reads a file to its end without a ContentError has read what was accepted: size and checksum are compared (invariant I3).

Ref: MeTA1 design, "Functional Specification: CDB" (16 directories by a hash of the id: modelled on).
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from zlib import crc32

from meta1g.base.errors import Module, PermError
from meta1g.base.ids import is_id
from meta1g.base.paths import CDB_FILE_MODE, CDB_SUBDIRECTORIES
from meta1g.db.files import FILES, Files

_DIRECTORY_MASK: Final = len(CDB_SUBDIRECTORIES) - 1
#: What open() says of a name that is no plain file: a link, a socket, a device without driver.
_WRONG_KIND: Final = frozenset((errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.ENODEV))


class ContentError(PermError):
    """A content file is missing or is not what was accepted; trying again does not help, a restored file does."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(Module.CDB, f"content file {name}: {what}")


class CdbReader:
    """One content file that is being read, piece by piece; the checksum is made on the way.  Owner: who opened it.

    Args:
        name: path of the file.
        fd: its descriptor; close() closes it.
        size_bytes: its size.
        checksum: CRC-32 it must have at its end, None if nobody knows.
    """

    __slots__ = ("_checksum", "_fd", "_name", "_offset", "_sum", "size_bytes")

    def __init__(self, name: str, fd: int, size_bytes: int, checksum: int | None) -> None:
        self._name = name
        self._fd = fd
        self._offset = 0
        self._checksum = checksum
        self._sum = 0
        self.size_bytes = size_bytes

    @property
    def at_end(self) -> bool:
        """Whether all of it was read."""
        return self._offset >= self.size_bytes

    def cached(self, max_bytes: int) -> bytes:
        """Gives the next piece if the page cache has it; empty if the disk has to be asked.

        Raises:
            ContentError: it was the last piece, and the checksum differs.
        """
        buffer = bytearray(min(max_bytes, self.size_bytes - self._offset))
        try:
            count = os.preadv(self._fd, [buffer], self._offset, os.RWF_NOWAIT)
        except (OSError, NotImplementedError):  # not in the cache, or a file system that knows no RWF_NOWAIT
            return b""
        return self._taken(bytes(memoryview(buffer)[:count]))  # 0 is no end either: Linux 5.9 and 5.10, preadv2(2) BUGS

    def read(self, max_bytes: int) -> bytes:
        """Gives the next piece, at least one byte; must not be called at the end.  Blocks: yes (disk).

        Raises:
            OSError: the disk is broken.
            ContentError: the file has become shorter, or it was the last piece, and the checksum differs.
        """
        piece = os.pread(self._fd, min(max_bytes, self.size_bytes - self._offset), self._offset)
        if not piece:
            raise ContentError(self._name, f"ends after {self._offset} of {self.size_bytes} bytes")
        return self._taken(piece)

    def _taken(self, piece: bytes) -> bytes:
        self._offset += len(piece)
        if self._checksum is not None:
            self._sum = crc32(piece, self._sum)
            if self.at_end and self._sum != self._checksum:
                raise ContentError(self._name, f"its checksum is {self._sum:08X}, not {self._checksum:08X}")
        return piece

    def close(self) -> None:
        """Closes the descriptor; does nothing the second time."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class CdbWriter:
    """One content file that is being written.  Owner: who made it.

    Args:
        files: the file system.
        name: path of the file.
        fd: its descriptor.
    """

    __slots__ = ("_fd", "_files", "_name")

    def __init__(self, files: Files, name: str, fd: int) -> None:
        self._files = files
        self._name = name
        self._fd = fd

    def write(self, data: bytes) -> None:
        """Appends data.  Blocks: yes (disk).

        Raises:
            OSError: the disk is full or broken; abort() has to follow.
        """
        self._files.write(self._fd, [data])

    def commit(self) -> None:
        """Ends the file.  Blocks: yes (disk).

        Raises:
            OSError: it did not reach the disk; the file is removed.

        Disk: the content is on stable storage.
        """
        try:
            self._files.sync(self._fd)
        except OSError:
            self.abort()
            raise
        fd, self._fd = self._fd, -1
        self._files.close(fd)

    def abort(self) -> None:
        """Removes the file; does nothing once it was committed or removed."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            self._files.unlink(self._name)
        finally:
            self._files.close(fd)


class Cdb:
    """The content files below one directory.  Immutable: any thread may call it.

    Args:
        directory: holds the 16 sub-directories 0 to F, which exist.
        files: the file system.
        owners: accounts whose content files are read, beside the owner of the directory that a file is in.
    """

    __slots__ = ("_files", "_owners", "_subdirectories", "directory")

    def __init__(self, directory: Path, files: Files | None = None, owners: frozenset[int] = frozenset()) -> None:
        self.directory = directory
        self._owners = owners
        self._files = FILES if files is None else files
        self._subdirectories = tuple(f"{directory}/{digit}/" for digit in CDB_SUBDIRECTORIES)

    def _name(self, cdb_id: str) -> str:
        if not is_id(cdb_id):
            raise PermError(Module.CDB, f"{cdb_id!r} is no content id; nothing else may become a file name")
        return self._subdirectories[crc32(cdb_id.encode()) & _DIRECTORY_MASK] + cdb_id

    def path(self, cdb_id: str) -> Path:
        """Gives the path of a content file, whether it is there or not.

        Raises:
            PermError: cdb_id is not an id.
        """
        return Path(self._name(cdb_id))

    def create(self, cdb_id: str, gid: int | None = None) -> CdbWriter:
        """Creates a content file to be written in pieces.

        Args:
            cdb_id: its id, never used before.
            gid: group that may read it; the group of the process if None.

        Raises:
            OSError: it cannot be created.
            PermError: cdb_id is not an id.
        """
        name = self._name(cdb_id)
        fd = self._files.create(name, CDB_FILE_MODE)
        writer = CdbWriter(self._files, name, fd)
        if gid is not None:
            try:
                self._files.set_group(fd, gid, CDB_FILE_MODE)
            except OSError:
                writer.abort()
                raise
        return writer

    def write_whole(self, cdb_id: str, pieces: Sequence[bytes], gid: int | None = None) -> None:
        """Writes a content file at once.  Blocks: yes (disk).

        Args:
            cdb_id: its id, never used before.
            pieces: its content.
            gid: group that may read it; the group of the process if None.

        Raises:
            OSError: it cannot be written; nothing of it is left.
            PermError: cdb_id is not an id.

        Disk: the content is on stable storage.
        """
        name = self._name(cdb_id)
        files = self._files
        fd = files.create(name, CDB_FILE_MODE)
        try:
            if gid is not None:
                files.set_group(fd, gid, CDB_FILE_MODE)
            files.write(fd, pieces)
            files.sync(fd)
        except BaseException:
            with contextlib.suppress(OSError):
                files.unlink(name)
            raise
        finally:
            files.close(fd)

    def open(self, cdb_id: str, size_bytes: int | None = None, checksum: int | None = None) -> CdbReader:
        """Opens a content file to read it as it was accepted.

        It has to be a plain file under its own name, neither empty nor of another size, and has to belong to who writes
        content: the owner of its directory, or one of `owners`.

        Args:
            cdb_id: its id.
            size_bytes: size it must have, None if nobody knows.
            checksum: CRC-32 it must have, None likewise; read() compares.

        Raises:
            ContentError: it is missing, or is not what was accepted.
            OSError: it cannot be opened now: a shortage, no permission, its whole directory is away.

        Blocks: no, if the cache of the system knows the file.
        """
        try:
            name = self._name(cdb_id)
            fd = self._files.open_plain(name)
        except PermError as error:
            raise ContentError(repr(cdb_id), error.cause) from error
        except OSError as error:
            raise self._not_opened(name, error) from error
        try:
            return CdbReader(name, fd, self._checked_size(name, os.fstat(fd), size_bytes), checksum)
        except BaseException:
            os.close(fd)
            raise

    def check(self, cdb_id: str, size_bytes: int | None = None) -> None:
        """Looks whether open() would find a file as it was accepted; see there."""
        self.open(cdb_id, size_bytes).close()

    @staticmethod
    def _not_opened(name: str, error: OSError) -> Exception:
        if error.errno in _WRONG_KIND:
            return ContentError(name, "is no plain file")
        if error.errno == errno.ENOENT and os.path.isdir(_directory(name)):  # noqa: PTH112
            return ContentError(name, "is missing")
        return error

    def _checked_size(self, name: str, status: os.stat_result, size_bytes: int | None) -> int:
        if not stat.S_ISREG(status.st_mode):
            raise ContentError(name, "is no plain file")
        owner = os.stat(_directory(name)).st_uid  # noqa: PTH116
        if status.st_uid != owner and status.st_uid not in self._owners:
            raise ContentError(name, f"belongs to user id {status.st_uid}, not to {owner}")
        size = status.st_size
        if size != size_bytes and (size_bytes is not None or not size):
            raise ContentError(name, f"has {size} bytes, not {'at least 1' if size_bytes is None else size_bytes}")
        return size

    def unlink(self, cdb_id: str) -> bool:
        """Removes a content file; tells whether it was there.

        Raises:
            OSError: it cannot be removed.
            PermError: cdb_id is not an id.
        """
        try:
            self._files.unlink(self._name(cdb_id))
        except FileNotFoundError:
            return False
        return True

    def exists(self, cdb_id: str) -> bool:
        """Tells whether there is such a content file."""
        return os.path.lexists(self._name(cdb_id))

    def size(self, cdb_id: str) -> int | None:
        """Gives the size of a content file in bytes; None if there is none, or something else has its name.

        Raises:
            OSError: it cannot be told.
            PermError: cdb_id is not an id.
        """
        try:
            status = os.lstat(self._name(cdb_id))
        except FileNotFoundError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def ids(self) -> Iterator[tuple[str, float]]:
        """Gives id and time of the last change (seconds since the epoch) of all content files, in no order.

        Files that come or go meanwhile may be in it or not; what has no id as its name is left out.
        """
        for subdirectory in self._subdirectories:
            with contextlib.suppress(FileNotFoundError), os.scandir(subdirectory) as entries:
                for entry in entries:
                    if is_id(entry.name):
                        with contextlib.suppress(FileNotFoundError):
                            yield entry.name, entry.stat(follow_symlinks=False).st_mtime


def _directory(name: str) -> str:
    return name.rpartition("/")[0]
