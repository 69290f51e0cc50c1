"""CDB: the content database, one file for each message.

Invariant: commit() or write_whole() returned means the content is on stable storage under its id; a file that could not
be written whole is not there.  Only ids become file names.

SMTPS writes, SMTPC reads by path(), QMGR removes.  The directory of a new file is not flushed: fsync of a new file
makes its name durable on ext4, xfs and btrfs.

Ref: MeTA1 design, "Functional Specification: CDB" (16 directories by a hash of the id: modelled on).
"""

import contextlib
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
    """

    __slots__ = ("_files", "_subdirectories", "directory")

    def __init__(self, directory: Path, files: Files | None = None) -> None:
        self.directory = directory
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
