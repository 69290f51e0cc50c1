"""A file system that loses what was not flushed, for crash tests.

Everything really happens in the file system; beside it the double keeps what a power failure would leave: file contents as
of their last flush, names as of the last flush of their directory.  `crash_at` stops the program at the n-th operation;
`survivors()` then makes the directory tree anew as a power failure may leave it.
"""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from meta1g.db.files import Files, Name


class Crash(BaseException):
    """The power went; nothing in the program may catch it and go on."""


@dataclass(eq=False)
class Inode:
    """A file: its content now, and as of the last flush, and what was written to it since."""

    content: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    writes: list[tuple[int, bytes]] = field(default_factory=list)

    def write_at(self, offset: int, data: bytes) -> None:
        if len(self.content) < offset:
            self.content += bytes(offset - len(self.content))
        self.content[offset : offset + len(data)] = data
        self.writes.append((offset, data))

    def flush(self) -> None:
        self.durable = bytes(self.content)
        self.writes = []

    def left(self, how: str, rng: random.Random) -> bytes:
        """What is left of it: nothing that was not flushed, all, or any sectors of any writes."""
        if how == "nothing":
            return self.durable
        if how == "all":
            return bytes(self.content)
        content = bytearray(self.durable)
        for offset, data in self.writes:
            for start in range(offset - offset % SECTOR, offset + len(data), SECTOR):
                if rng.random() < 0.5:
                    low, high = max(start, offset), min(start + SECTOR, offset + len(data))
                    content += bytes(max(0, high - len(content)))
                    content[low:high] = data[low - offset : high - offset]
        return bytes(content)


SECTOR = 64  # smaller than a real one, so that small records tear, too


class LossyFiles(Files):
    """Files below `root` that lose what was not flushed.

    Args:
        root: everything is below it.
        crash_at: number of the operation (1 for the first) before which the power goes, 0 for never.
        fail: operation numbers that end with this OSError instead of being done.
    """

    __slots__ = ("_count", "_crash_at", "_durable", "_fail", "_fds", "_names", "_root", "dead", "log")

    def __init__(self, root: Path, crash_at: int = 0, fail: dict[int, OSError] | None = None):
        self._root = root
        self._crash_at = crash_at
        self._fail = fail or {}
        self._count = 0
        self._fds: dict[int, tuple[Inode, int]] = {}
        self._names: dict[str, Inode] = {}
        for path in (p for p in root.rglob("*") if p.is_file()):
            data = path.read_bytes()
            self._names[str(path)] = Inode(bytearray(data), data)
        self._durable: dict[str, Inode] = dict(self._names)
        self.dead = False
        self.log: list[str] = []

    @property
    def operations(self) -> int:
        return self._count

    def _step(self, what: str) -> None:
        if self.dead:
            raise Crash("it has crashed already")
        self._count += 1
        self.log.append(what)
        if self._count == self._crash_at:
            self.dead = True
            for fd in self._fds:
                os.close(fd)
            raise Crash(what)
        if self._count in self._fail:
            raise self._fail[self._count]

    def create(self, path: Name, mode: int = 0o600) -> int:
        self._step(f"create {path}")
        fd = super().create(path, mode)
        self._names[os.fspath(path)] = inode = Inode()
        self._fds[fd] = (inode, 0)
        return fd

    def write(self, fd: int, pieces: Sequence[bytes]) -> None:
        self._step("write")
        super().write(fd, pieces)
        inode, offset = self._fds[fd]
        data = b"".join(pieces)
        inode.write_at(offset, data)
        self._fds[fd] = (inode, offset + len(data))

    def write_at(self, fd: int, data: bytes, offset: int) -> None:
        self._step(f"write_at {offset}+{len(data)}")
        super().write_at(fd, data, offset)
        self._fds[fd][0].write_at(offset, data)

    def reserve(self, fd: int, offset: int, size_bytes: int) -> None:
        self._step("reserve")
        super().reserve(fd, offset, size_bytes)
        self._fds[fd][0].write_at(offset, bytes(size_bytes))

    def truncate(self, fd: int, size_bytes: int) -> None:
        self._step("truncate")
        super().truncate(fd, size_bytes)
        del self._fds[fd][0].content[size_bytes:]

    def datasync(self, fd: int) -> None:
        self._step("datasync")
        self._fds[fd][0].flush()

    def sync(self, fd: int) -> None:
        """Flushes the file, and the name of a new file with it, as ext4, xfs and btrfs do."""
        self._step("sync")
        inode = self._fds[fd][0]
        inode.flush()
        self._durable.update({name: found for name, found in self._names.items() if found is inode})

    def close(self, fd: int) -> None:
        self._fds.pop(fd, None)
        if not self.dead:
            super().close(fd)

    def sync_directory(self, directory: Name) -> None:
        self._step(f"sync_directory {directory}")
        here = os.fspath(directory)
        self._durable = {n: i for n, i in self._durable.items() if str(Path(n).parent) != here}
        self._durable.update({n: i for n, i in self._names.items() if str(Path(n).parent) == here})

    def rename(self, source: Name, target: Name) -> None:
        self._step(f"rename {target}")
        super().rename(source, target)
        self._names[os.fspath(target)] = self._names.pop(os.fspath(source))

    def unlink(self, path: Name) -> None:
        self._step(f"unlink {path}")
        super().unlink(path)
        self._names.pop(os.fspath(path), None)

    def survivors(self, into: Path, how: str, seed: int = 0) -> None:
        """Makes the tree below root anew below into.

        Args:
            how: `nothing` that was not flushed is left, or `all`, or `some`: names and sectors as chance wants it.
        """
        rng = random.Random(seed)
        names = dict(self._durable)
        if how == "all":
            names = dict(self._names)
        elif how == "some":
            for name in sorted(self._names.keys() | self._durable.keys()):
                if self._names.get(name) is not self._durable.get(name) and rng.random() < 0.5:
                    fresh = self._names.get(name)
                    names.pop(name, None)
                    if fresh is not None:
                        names[name] = fresh
        for directory in (p for p in self._root.rglob("*") if p.is_dir()):
            (into / directory.relative_to(self._root)).mkdir(parents=True, exist_ok=True)
        for name, inode in names.items():
            target = into / Path(name).relative_to(self._root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(inode.left(how, rng))
