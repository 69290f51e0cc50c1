"""The file of verified addresses: what probes found out outlasts a restart.

    file     magic 8 bytes | version u32 | entry | entry | ...
    entry    length of the body u32 | crc32 of the body u32 | body: the fields of Verified (RCB records)

The last entry of an address counts.  It is a cache: what is damaged, or cut short by a crash, is asked for again, and nothing
waits for the disk.

Owner: one thread at a time (the one of its pool).  Ref: invariants I3 (checksums), I12 (damage costs the thing at hand).
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from struct import Struct
from typing import Final, cast
from zlib import crc32

from meta1g.base.errors import ProtocolError
from meta1g.base.log import Log
from meta1g.base.paths import QUEUE_FILE_MODE
from meta1g.base.plainfile import open_plain
from meta1g.db.files import FILES, Files
from meta1g.rcb.codec import decode_fields, encode_fields
from meta1g.rcb.verified import Verified

_HEAD: Final = b"m1g-vrfy" + (1).to_bytes(4, "big")
_ENTRY: Final = Struct("!II")
#: An entry that announces more is damaged: an address and a reply have bounds.
_BODY_MAX_BYTES: Final = 64 << 10


def entry(record: Verified) -> bytes:
    """Gives the entry of a record."""
    body = encode_fields(record)
    return _ENTRY.pack(len(body), crc32(body)) + body


def entries(data: bytes) -> Iterator[Verified]:
    """Gives what stands in a file.

    Raises:
        ProtocolError: from here on it is damaged; what was given before is good.
    """
    if not data.startswith(_HEAD):
        raise ProtocolError("no file of verified addresses, or one of another version")
    offset = len(_HEAD)
    while offset < len(data):
        start = offset + _ENTRY.size
        length, crc = _ENTRY.unpack_from(data, offset) if start <= len(data) else (_BODY_MAX_BYTES + 1, 0)
        body = data[start : start + length]
        if length > _BODY_MAX_BYTES or len(body) < length or crc != crc32(body):
            raise ProtocolError(f"damaged at offset {offset}")
        yield cast("Verified", decode_fields(Verified, body))
        offset = start + length


class VerifyDb:
    """The file.

    Args:
        path: its name.
        log: damage is told there.
        files: the file system.

    Attributes:
        written: entries in the file, those that do not count any more too.

    Owner: one thread at a time.
    """

    def __init__(self, path: Path, log: Log, files: Files = FILES) -> None:
        self._path = path
        self._log = log
        self._files = files
        self._good = False  # the file ends with a whole entry
        self.written = 0

    def load(self) -> dict[str, Verified]:
        """Gives the last record of each address, the oldest first.  Blocks: yes (disk).

        A file that is damaged or cannot be read is told in the log; what is good is given.
        """
        found: dict[str, Verified] = {}
        try:
            with open_plain(self._path) as file:
                data = file.read()
        except FileNotFoundError:
            return found
        except OSError as error:
            self.tell(f"cannot read: {error.strerror}; addresses are probed again")
            return found
        try:
            for record in entries(data):
                found.pop(record.address, None)
                found[record.address] = record
                self.written += 1
            self._good = True
        except ProtocolError as error:
            self.tell(f"{error.cause}; what follows is probed again")
        return found

    def tell(self, what: str) -> None:
        """Writes a line about the file."""
        self._log.error("qmgr.verify_file", what, path=str(self._path))

    def append(self, records: Iterable[Verified], everything: Callable[[], Iterable[Verified]], limit: int) -> None:
        """Writes further records, or all of them anew if the file is not whole, or has too many that do not count any more.

        Args:
            records: what is new.
            everything: gives all records, these too.
            limit: entries that the file may have.

        Raises:
            OSError: the disk; the next call writes everything.

        Blocks: yes (disk).
        """
        new = [entry(record) for record in records]
        good, self._good = self._good, False
        if good and self.written + len(new) <= limit:
            self._add(b"".join(new))
            self.written += len(new)
        else:
            whole = [entry(record) for record in everything()]
            self._files.write_durable(self._path, b"".join((_HEAD, *whole)))
            self.written = len(whole)
        self._good = True

    def _add(self, data: bytes) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, QUEUE_FILE_MODE)
        try:
            self._files.write(fd, [data])
        finally:
            self._files.close(fd)
