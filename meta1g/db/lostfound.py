"""lost+found: what cannot be used is kept there as it was found, named in the log, for as long as the operator wants.

    KEY.record          a record of DEFEDB that is damaged, or lost its transaction (DEFEDB key and value as they were)
    ID.envelope         an envelope without content (see recovery.py)
    ibdbN-OFFSET-CRC    a part of an IBDB file
    defedb-N            a DEFEDB whose files could not be read
    NAME-N              what had the name of a file of a store and is no file
    content-N           ids of content files without envelope when something was set aside that may have held theirs

Invariant: a content file whose id is in the name of a file here, or in a list of them, is no orphan: its envelope may be saved
by hand.  All other content files are treated as ever.

Ref: invariants I3 and I12.
"""

import errno
import itertools
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from zlib import crc32

from meta1g.base.ids import ID_LENGTH, is_id
from meta1g.base.log import Log
from meta1g.base.logtext import LogValue
from meta1g.db.files import FILES, Files

RECORD_SUFFIX: Final = ".record"
#: Head of a KEY.record: the length of the key.
_KEY_LENGTH_BYTES: Final = 4
_CONTENT: Final = "content-"
_ID: Final = re.compile(rb"[SC][0-9A-F]{%d}" % (ID_LENGTH - 1))
#: Longer names are cut: the key of a damaged record may be anything.
_NAME_MAX_CHARS: Final = 60


#: Files of IBDB and DEFEDB.
_STORE_FILE: Final = re.compile(r"ibdb[0-9A-F]{8}|LAST|(?:defedb|due)\.db|log\.\d+|DB_CONFIG|DAMAGE", re.ASCII)


def set_aside_strangers(directory: Path, lost_found: Path, log: Log, files: Files = FILES) -> int:
    """Moves away what has the name of a file of a store and is none: a directory, a FIFO, a link that leads nowhere.

    The store then misses a file, which stops no start; what is none could.

    Args:
        directory: the store's.
        lost_found: it goes there, or gets another name where it is if that is on another disk.
        log: gets a line for each.
        files: the file system.

    Returns:
        How many there were.

    Raises:
        OSError: it cannot be moved.

    Blocks: yes (disk).
    """
    strangers = [path for path in map(directory.joinpath, files.list(directory)) if _is_stranger(path)]
    for path in strangers:
        target = _free(lost_found, path.name)
        try:
            files.rename(path, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            target = _free(directory, path.name)
            files.rename(path, target)
        log.error("qmgr.damaged", f"is no plain file; set aside as {target}", path=str(path))
    if strangers:
        files.sync_directory(directory)
    return len(strangers)


def _is_stranger(path: Path) -> bool:
    if not _STORE_FILE.fullmatch(path.name):
        return False
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:  # a link that leads nowhere, or to itself
        return path.is_symlink()


def _free(directory: Path, name: str) -> Path:
    """Gives a path that nothing has."""
    numbers = itertools.count(1)
    return next(path for number in numbers if not os.path.lexists(path := directory / f"{name}-{number}"))


def ids_in(data: bytes) -> set[str]:
    """Gives everything in damaged data that looks like a transaction id."""
    return {found.decode() for found in _ID.findall(data)}


def safe_name(key: bytes) -> str:
    """Gives a text that can be a file name and shows the key if that is sane."""
    text = key.decode("ascii", "replace")
    if len(text) <= _NAME_MAX_CHARS and text.isascii() and text.replace("-", "").isalnum():
        return text
    return f"{crc32(key):08X}"


def read_record(data: bytes) -> tuple[bytes, bytes]:
    """Gives key and value of what a KEY.record holds."""
    length = int.from_bytes(data[:_KEY_LENGTH_BYTES], "big")
    return data[_KEY_LENGTH_BYTES : _KEY_LENGTH_BYTES + length], data[_KEY_LENGTH_BYTES + length :]


class LostFound:
    """The directory lost+found.

    Args:
        directory: the directory, which exists.
        log: gets a line for everything that is set aside.
        files: the file system.

    Attributes:
        set_aside: how many records were set aside since the start of the process.
        recent: ids of their transactions.

    Owner: the thread of the store that sets something aside; counters are read by all.
    """

    def __init__(self, directory: Path, log: Log, files: Files = FILES) -> None:
        self.directory = directory
        self.set_aside = 0
        self.recent: set[str] = set()
        self._log = log
        self._files = files

    def keep(self, name: str, data: bytes) -> Path:
        """Keeps data under a name.  Blocks: yes (disk).

        Raises:
            OSError: it cannot be written.

        Disk: it is on stable storage.
        """
        path = self.directory / name
        self._files.write_durable(path, data)
        return path

    def keep_record(self, file: Path, key: bytes, value: bytes, why: str) -> bool:
        """Keeps a record of a data base that cannot be used, and names it.  Blocks: yes (disk).

        Args:
            file: the data base.
            key: its key.
            value: its value, as it was found.
            why: what is wrong with it.

        Returns:
            Whether it is safe here, so that it may be removed there.
        """
        name = safe_name(key) + RECORD_SUFFIX
        ids = sorted(ids_in(key))
        keys: dict[str, LogValue] = {"key": key.decode("ascii", "backslashreplace"), "size": len(value)}
        keys["ss_ta"] = ids[0] if ids else None
        try:
            path = self.keep(name, len(key).to_bytes(_KEY_LENGTH_BYTES, "big") + key + value)
        except OSError as error:
            text = f"{why}; it stays where it is, since it cannot be set aside: {error.strerror}"
            self._log.error("qmgr.damaged", text, path=str(file), **keys)
            return False
        self.set_aside += 1
        self.recent |= set(ids)
        self._log.error("qmgr.damaged", f"{why}; set aside as {path}", path=str(file), **keys)
        return True

    def keep_content(self, ids: Iterable[str], why: str) -> int:
        """Lists content files that are no orphans although no envelope is known; gives how many.  Blocks: yes (disk).

        Raises:
            OSError: the list cannot be written.
        """
        chosen = sorted(set(ids) - self.content_ids())
        if chosen:
            data = "".join(f"{one}\n" for one in chosen).encode()
            path = self.keep(f"{_CONTENT}{crc32(data):08X}", data)
            text = f"{why}: content files without an envelope are kept, they are listed in {path}"
            self._log.error("qmgr.damaged", text, path=str(path), count=len(chosen))
        return len(chosen)

    def content_ids(self) -> set[str]:
        """Gives the ids of all content files that somebody may still want.  Blocks: yes (disk)."""
        found: set[str] = set()
        for name in self._names():
            found |= ids_in(name.encode())
            if name.startswith(_CONTENT):
                lines = (self.directory / name).read_text(errors="replace").splitlines()
                found |= {line for line in lines if is_id(line)}
        return found

    def count(self) -> int:
        """Gives how many things are kept.  Blocks: yes (disk)."""
        return len(self._names())

    def _names(self) -> list[str]:
        try:
            return self._files.list(self.directory)
        except FileNotFoundError:
            return []
