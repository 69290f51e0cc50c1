"""Durable files: the few operations on files that the stores need, in one place.

Invariant: what a store promises to be on stable storage went through datasync(), sync() or sync_directory() of this
class.  A test double in its place loses what did not, and shows whether the promise holds.

Ref: MeTA1 design, "Implementation: CDB", "Implementation: IBDB" (modelled on).
"""

import contextlib
import os
from collections.abc import Sequence
from typing import Final

from meta1g.base.paths import QUEUE_FILE_MODE

#: More pieces than this are joined before they are written: the kernel takes no more in one call.
_IOV_MAX: Final = 1000

Name = str | os.PathLike[str]


class Files:
    """The file system.  Immutable: it keeps nothing, any thread may call it.

    Every function raises OSError as the system call does.
    """

    __slots__ = ()

    def create(self, path: Name, mode: int = QUEUE_FILE_MODE) -> int:
        """Creates a file that must not exist yet.

        Args:
            path: its name.
            mode: its mode before the umask.

        Returns:
            A descriptor to write to, closed on exec.
        """
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)

    def open_plain(self, path: Name) -> int:
        """Opens an existing file to read, whatever has its name: follows no link, and does not wait for a writer of a FIFO.

        Returns:
            A descriptor to read from, closed on exec; what it is, fstat tells.
        """
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)

    def set_group(self, fd: int, gid: int, mode: int) -> None:
        """Gives an open file to a group, with exactly this mode."""
        os.fchown(fd, -1, gid)
        os.fchmod(fd, mode)

    def write(self, fd: int, pieces: Sequence[bytes]) -> None:
        """Writes all pieces at the place where the last write ended.  Blocks: yes (disk)."""
        if len(pieces) > _IOV_MAX:
            pieces = [b"".join(pieces)]
        left = sum(map(len, pieces)) - os.writev(fd, pieces)
        if left:
            self._write_rest(fd, b"".join(pieces), left)

    def _write_rest(self, fd: int, data: bytes, left: int) -> None:
        view = memoryview(data)
        while left:
            left -= os.write(fd, view[len(data) - left :])

    def write_at(self, fd: int, data: bytes, offset: int) -> None:
        """Writes data at an offset in bytes.  Blocks: yes (disk)."""
        written = os.pwrite(fd, data, offset)
        while written < len(data):
            written += os.pwrite(fd, memoryview(data)[written:], offset + written)

    def reserve(self, fd: int, offset: int, size_bytes: int) -> None:
        """Makes the file size_bytes longer than offset, with zeros and with room for them on the disk."""
        os.posix_fallocate(fd, offset, size_bytes)

    def truncate(self, fd: int, size_bytes: int) -> None:
        """Cuts an open file to size_bytes."""
        os.ftruncate(fd, size_bytes)

    def datasync(self, fd: int) -> None:
        """Waits until the content is on stable storage.  Blocks: yes (disk)."""
        os.fdatasync(fd)

    def sync(self, fd: int) -> None:
        """Waits until content, owner and mode are on stable storage.  Blocks: yes (disk)."""
        os.fsync(fd)

    def close(self, fd: int) -> None:
        """Closes a descriptor."""
        os.close(fd)

    def sync_directory(self, directory: Name) -> None:
        """Waits until the names in a directory are on stable storage.  Blocks: yes (disk)."""
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, source: Name, target: Name) -> None:
        """Gives a file another name; replaces what has that name."""
        os.replace(source, target)  # noqa: PTH105

    def unlink(self, path: Name) -> None:
        """Removes a name."""
        os.unlink(path)  # noqa: PTH108

    def list(self, directory: Name) -> list[str]:
        """Gives the names in a directory, sorted."""
        return sorted(os.listdir(directory))  # noqa: PTH208

    def write_durable(self, path: Name, data: bytes, mode: int = QUEUE_FILE_MODE) -> None:
        """Replaces a file by data as a whole.

        Args:
            path: its name; `PATH.new` is used on the way.
            data: its content.
            mode: its mode before the umask.

        Disk: content and name are on stable storage.  Blocks: yes (disk).
        """
        fresh = f"{os.fspath(path)}.new"
        with contextlib.suppress(FileNotFoundError):
            self.unlink(fresh)
        fd = self.create(fresh, mode)
        try:
            self.write(fd, [data])
            self.sync(fd)
        finally:
            self.close(fd)
        self.rename(fresh, path)
        self.sync_directory(os.path.dirname(os.fspath(path)) or ".")  # noqa: PTH120


FILES: Final = Files()
