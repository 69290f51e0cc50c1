"""Clients that waited for the greeting and were silent: they need not wait again for a while.

One file for all processes of SMTPS that share a queue directory: a table of fixed size, so that it is bounded whatever comes,
with a few places for each client that are used in turn.  Nothing is locked: who meets a place that is half written takes the
client for unknown, or for known until another one's time.  A client is kept as a keyed hash, so that nobody can choose
addresses that drive others out.  The file is read and written, not mapped: on a full disk, or when somebody has cut it, a
client is not remembered, where a map would end the process (SIGBUS).

    header    MAGIC, key
    place     hash of the client (12 bytes), when it passed (4 bytes, seconds)

Ref: Postfix, POSTSCREEN_README ("temporary whitelist"; ours is a table without a server of its own).
"""

import contextlib
import fcntl
import hashlib
import ipaddress
import os
import struct
import tempfile
from pathlib import Path
from typing import Final

from meta1g.base.clock import Clock
from meta1g.base.log import Log
from meta1g.smtps.limits import PASSED_FOR_S, PASSED_PLACES

_MAGIC: Final = b"m1gpass1"
_KEY_BYTES: Final = 24
_HEADER_BYTES: Final = len(_MAGIC) + _KEY_BYTES
_TAG_BYTES: Final = 12
_PLACE: Final = struct.Struct("!12sI")
#: Places that one client may have: the oldest of them is used again.
_WAYS: Final = 4
_SETS: Final = PASSED_PLACES // _WAYS
_SIZE: Final = _HEADER_BYTES + PASSED_PLACES * _PLACE.size
#: Clients with IPv6 change their addresses inside this prefix.
_IPV6_PREFIX: Final = 64


class Passed:
    """The table.

    Args:
        path: the file; made if it is missing or no such table.
        clock: the clock.
        log: told if the file cannot be used; the process then remembers by itself.

    Owner: the process (one native thread).
    """

    def __init__(self, path: Path, clock: Clock, log: Log) -> None:
        self._path = path
        self._clock = clock
        self._log = log
        self._table: _Table | None = None

    def open(self) -> "_Table":
        """Opens the file, if that has not been done; a few system calls, at the start of a process."""
        if self._table is None:
            try:
                self._table = _Table(_open(self._path))
            except OSError as error:
                text = f"cannot use it: {error.strerror}; clients that passed are remembered by this process alone"
                self._log.warn("smtps.passed", text, path=str(self._path))
                fd = os.memfd_create(self._path.name)
                os.write(fd, _header())
                self._table = _Table(fd)
        return self._table

    def knows(self, addr: str) -> bool:
        """Tells whether a client has passed not long ago."""
        table = self.open()
        now = int(self._clock.now())
        tag, places = _places(table, addr)
        return any(found == tag and 0 <= now - when < PASSED_FOR_S for _at, found, when in table.read(places))

    def add(self, addr: str) -> None:
        """Remembers a client."""
        table = self.open()
        tag, places = _places(table, addr)
        rows = table.read(places)
        at = next((at for at, found, _when in rows if found == tag), min(rows, key=lambda row: row[2])[0])
        table.write(at, tag, int(self._clock.now()))

    def forget(self, addr: str) -> None:
        """Forgets a client: it has talked before its turn."""
        table = self.open()
        tag, places = _places(table, addr)
        for at, found, _when in table.read(places):
            if found == tag:
                table.write(at, bytes(_TAG_BYTES), 0)


class _Table:
    """The file, open.  Owner: the process (one native thread).

    Args:
        fd: of a file with a header; it stays open.
    """

    __slots__ = ("_fd", "key")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.key = os.pread(fd, _KEY_BYTES, len(_MAGIC))

    def read(self, places: int) -> list[tuple[int, bytes, int]]:
        """Gives offset, hash and time of each place of a client; what cannot be read is empty."""
        size = _WAYS * _PLACE.size
        data = b""
        with contextlib.suppress(OSError):
            data = os.pread(self._fd, size, places)
        data = data.ljust(size, b"\0")
        return [(places + at, *_PLACE.unpack_from(data, at)) for at in range(0, size, _PLACE.size)]

    def write(self, at: int, tag: bytes, when: int) -> None:
        """Writes a place, if that is possible."""
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, _PLACE.pack(tag, when), at)


def _open(path: Path) -> int:
    """Opens the file, and makes it if need be; gives its descriptor.

    Raises:
        OSError: it cannot be read, written or made.
    """
    table = _whole(path)
    if table is None:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)  # of several processes that find none, the first one makes it for all
            table = _whole(path)
            if table is None:
                _make(path)
                table = _whole(path)
        finally:
            os.close(directory)
    if table is None:
        raise OSError(0, "somebody else changes it")
    return table


def _whole(path: Path) -> int | None:
    """Opens the file; None if it is missing or no such table."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        if os.fstat(file.fileno()).st_size == _SIZE and file.read(len(_MAGIC)) == _MAGIC:
            return os.dup(file.fileno())
    return None


def _make(path: Path) -> None:
    """Puts a new file in place, whole."""
    fd, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    new = Path(name)
    try:
        try:
            os.write(fd, _header())
            os.posix_fallocate(fd, 0, _SIZE)  # its room is there from now on
        finally:
            os.close(fd)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _header() -> bytes:
    return _MAGIC + os.urandom(_KEY_BYTES)


def _places(table: _Table, addr: str) -> tuple[bytes, int]:
    """Gives the hash of a client, and where its places begin."""
    address = ipaddress.ip_address(addr)
    packed = address.packed if address.version == 4 else address.packed[: _IPV6_PREFIX // 8]
    digest = hashlib.blake2b(packed, digest_size=_TAG_BYTES + 4, key=table.key).digest()
    which = int.from_bytes(digest[_TAG_BYTES:], "big") % _SETS
    return digest[:_TAG_BYTES], _HEADER_BYTES + which * _WAYS * _PLACE.size
