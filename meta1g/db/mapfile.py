"""Map files: Berkeley DB hash or btree files, written by createmap, read by SMAR.

Invariants: a map file is replaced as a whole or not at all; whoever has the old one open goes on reading it.  A file that
was damaged is not taken for one that lacks keys: every page has a checksum, and the file knows how many entries it has,
because the library takes a page of zeros for an empty one.

Ref: MeTA1 README, "Maps" (types `hash` and `btree`); createmap (modelled on).
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import berkeleydb.db as bdb

from meta1g.base.errors import Module, PermError, TempError
from meta1g.base.failure import SHORTAGES
from meta1g.base.reach import user_name
from meta1g.db.files import FILES

#: Types of map files by the names that maps in meta1.conf have.
KINDS: Final[dict[str, int]] = {"hash": bdb.DB_HASH, "btree": bdb.DB_BTREE}
_TYPES: Final = frozenset(KINDS.values())
_BUILD_CACHE_BYTES: Final = 32 << 20
_NEW_FILE_MODE: Final = 0o644
#: Key of the number of entries, and of the tags that keys begin with; no address, domain or tag has a NUL in it.
_COUNT_KEY: Final = b"\0entries"
_TAGS: Final = b" tags="
#: Tags of one map; our choice, since what has more of them has none, but colons in its keys.
TAGS_MAX: Final = 64
_NOWHERE: Final = "/dev/null"


def _text(error: "bdb.DBError") -> str:
    """Gives what the library says about an error, without its number."""
    return str(error.args[-1]) if error.args else type(error).__name__


class MapFile:
    """An open map file, read only.  Owner: one thread at a time.

    Args:
        path: its name, for errors.
        handle: the open data base.
    """

    __slots__ = ("_handle", "_path")

    def __init__(self, path: Path, handle: "bdb.DB") -> None:
        self._path = path
        self._handle = handle

    @classmethod
    def open(cls, path: Path) -> "MapFile":
        """Opens a map file.

        Args:
            path: a Berkeley DB hash or btree file.

        Raises:
            PermError: it is missing, not readable, or no map file.
            TempError: the system is short of descriptors or memory.
        """
        _need_descriptor(path)
        handle = bdb.DB()
        try:
            handle.set_get_returns_none(2)
            handle.open(os.fspath(path), dbtype=bdb.DB_UNKNOWN, flags=bdb.DB_RDONLY)
            if handle.get_type() not in _TYPES:
                raise PermError(Module.MAP, f"{path}: no hash or btree file; make it with createmap")
        except bdb.DBError as error:
            _close(handle)
            if error.args and error.args[0] in SHORTAGES:
                raise TempError(Module.MAP, f"{path}: cannot read map: {_text(error)}") from error
            raise PermError(Module.MAP, _open_failure(path, error)) from error
        except PermError:
            _close(handle)
            raise
        return cls(path, handle)

    @classmethod
    def open_checked(cls, path: Path) -> "MapFile":
        """Opens a map file after a look at all of it.  Blocks: yes (reads the file).

        Raises:
            PermError: it is missing, not readable, no map file, or damaged.
        """
        cls.open(path).close()
        try:
            bdb.DB().verify(os.fspath(path), outfile=_NOWHERE, flags=bdb.DB_NOORDERCHK)  # the check of order may loop
            opened = cls.open(path)
            whole = _has_all_entries(opened._handle)  # noqa: SLF001  one of ours
        except bdb.DBError as error:
            raise PermError(Module.MAP, f"{path}: damaged ({_text(error)}); make it again with createmap") from error
        if whole and not opened._ends_in_nul():  # noqa: SLF001
            return opened
        opened.close()
        what = "keys end in NUL, as postmap and newaliases make them" if whole else "damaged (entries are missing)"
        raise PermError(Module.MAP, f"{path}: {what}; make it again with createmap")

    def _ends_in_nul(self) -> bool:
        """Tells whether another program made the file, with keys that no question has."""
        return not self._handle.get_flags() & bdb.DB_CHKSUM and any(key.endswith(b"\0") for key, _ in self.items())

    def get(self, key: bytes) -> bytes | None:
        """Gives the value of a key, None if it is not there.  Blocks: no, or for one read of the disk.

        Raises:
            TempError: the file cannot be read.
        """
        try:
            value: bytes | None = self._handle.get(key)
        except bdb.DBError as error:
            raise TempError(
                Module.MAP, f"{self._path}: cannot read map: {_text(error)}; make it again with createmap"
            ) from error
        return value

    def tags(self) -> frozenset[str] | None:
        """Gives what stands before the first colon of its keys; None if that is not known: another program made the file.

        Raises:
            TempError: the file cannot be read.
        """
        _, known, tags = (self.get(_COUNT_KEY) or b"").partition(_TAGS)
        return frozenset(tags.decode("utf-8", "replace").split()) if known else None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Gives all entries in the order of the file, for tools.  Blocks: reads of the disk.

        Raises:
            TempError: the file cannot be read.
        """
        try:
            cursor = self._handle.cursor()
            try:
                while (entry := cursor.next()) is not None:
                    if entry[0] != _COUNT_KEY:
                        yield entry
            finally:
                cursor.close()
        except bdb.DBError as error:
            raise TempError(
                Module.MAP, f"{self._path}: cannot read map: {_text(error)}; make it again with createmap"
            ) from error

    def close(self) -> None:
        """Closes the file."""
        _close(self._handle)

    @staticmethod
    def build(path: Path, entries: Iterable[tuple[bytes, bytes]], kind: str = "hash") -> int:
        """Writes a map file beside its place, then puts it there; a file that is replaced hands on its owner and mode.

        Args:
            path: the file.
            entries: keys and values; no key twice.
            kind: `hash` or `btree`.

        Returns:
            The number of entries.

        Raises:
            PermError: the file cannot be written, or a key comes twice; what was at path is still there.

        Disk: content and name are on stable storage.
        """
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()
            count = _fill(fresh, entries, kind)
            _inherit(path, fresh)
            FILES.rename(fresh, path)
            FILES.sync_directory(path.parent)
        except bdb.DBError as error:
            raise PermError(Module.MAP, f"{path}: cannot write map: {_text(error)}") from error
        except OSError as error:
            raise PermError(Module.MAP, f"{path}: cannot write map: {error.strerror}") from error
        finally:
            with contextlib.suppress(OSError):
                fresh.unlink()
        return count


def _need_descriptor(path: Path) -> None:
    """Makes sure that a file can be opened now: the library would wait 12 s for a descriptor, and hold up its caller."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        if error.errno in SHORTAGES:
            raise TempError(Module.MAP, f"{path}: cannot read map: {error.strerror}") from error


def _open_failure(path: Path, error: "bdb.DBError") -> str:
    if isinstance(error, bdb.DBNoSuchFileError):
        return f"{path}: map file is missing; make it with createmap"
    if isinstance(error, bdb.DBAccessError | bdb.DBPermissionsError):
        return f"{path}: cannot read map: permission denied to {user_name()}; mend its mode"
    return f"{path}: no map file ({_text(error)}); make it with createmap"


def _has_all_entries(handle: "bdb.DB") -> bool:
    """Counts the entries; a file without checksums was made by another program, and does not know how many it has."""
    if not handle.get_flags() & bdb.DB_CHKSUM:
        return True
    count: bytes = handle.get(_COUNT_KEY) or b""
    return count.partition(_TAGS)[0] == b"%d" % (handle.stat()["nkeys"] - 1)


def _close(handle: "bdb.DB") -> None:
    with contextlib.suppress(bdb.DBError):
        handle.close()


def _fill(fresh: Path, entries: Iterable[tuple[bytes, bytes]], kind: str) -> int:
    handle = bdb.DB()
    count, tags = 0, set[bytes]()
    try:
        handle.set_cachesize(0, _BUILD_CACHE_BYTES)
        handle.set_flags(bdb.DB_CHKSUM)
        handle.open(os.fspath(fresh), dbtype=KINDS[kind], flags=bdb.DB_CREATE | bdb.DB_EXCL, mode=_NEW_FILE_MODE)
        for key, value in entries:
            count += 1
            if b":" in key and len(tags) <= TAGS_MAX:
                tags.add(key.partition(b":")[0])
            try:
                handle.put(key, value, flags=bdb.DB_NOOVERWRITE)
            except bdb.DBKeyExistError as error:
                raise PermError(Module.MAP, f"key {key.decode('utf-8', 'backslashreplace')!r} comes twice") from error
        known = _TAGS + b" ".join(sorted(tags)) if len(tags) <= TAGS_MAX and not any(b" " in tag for tag in tags) else b""
        handle.put(_COUNT_KEY, b"%d" % count + known)
    finally:
        handle.close()
    return count


def _inherit(path: Path, fresh: Path) -> None:
    """Gives a new file the mode and, if allowed, the owner of the one that it replaces; brings it to the disk."""
    fd = os.open(fresh, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(FileNotFoundError):
            old = path.stat()
            with contextlib.suppress(PermissionError):
                os.fchown(fd, old.st_uid, old.st_gid)
            os.fchmod(fd, old.st_mode & 0o777)
        FILES.sync(fd)
    finally:
        os.close(fd)
