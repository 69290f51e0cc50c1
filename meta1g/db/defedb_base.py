"""The environment of DEFEDB: opens its data bases, and sets aside what turns out to be damaged.

Whoever reads meets damaged records only once: with a keeper they are set aside (lostfound.py) and taken out, the rest of the
call goes on (invariant I12).  What that leaves in the index goes when it is met.  A page that cannot be read is another
thing: BugError, the process ends, the next start repairs the store (defedb_salvage.py).

Ref: MeTA1 design, "Implementation: DEFEDB" (one btree, keys, request lists modelled on).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from meta1g.base.errors import BugError, Module, PermError, TempError
from meta1g.base.ids import ID_LENGTH
from meta1g.db import defedb_records as records
from meta1g.db.bdb import Db, Environment, Txn, log_place
from meta1g.db.damage import DamageError
from meta1g.db.defedb_change import DefeDbChange
from meta1g.db.defedb_pages import in_log
from meta1g.db.defedb_records import RecordT

MAIN_FILE: Final = "defedb.db"
DUE_FILE: Final = "due.db"
DATABASE_FILES: Final = (MAIN_FILE, DUE_FILE)
_HIGHEST_VERSION: Final = 1000

#: Keeps a damaged record: file, key, value, what is wrong; tells whether it is safe, so that it may be taken out.
Keeper = Callable[[Path, bytes, bytes, str], bool]


class DefeDbBase:
    """What DefeDb stands on.  Locking: caller holds DEFEDB, except for checkpoint().

    Args:
        directory: home of the environment, which exists.
        cache_bytes: memory for pages.
        log_directory: where the log files are; where they were the last time if None, at first in the home.
        keeper: sets damaged records aside; without one they are errors.

    Attributes:
        index_is_new: the file of the index was missing when it was opened: mend() fills it.
    """

    def __init__(
        self, directory: Path, cache_bytes: int, log_directory: Path | None = None, keeper: Keeper | None = None
    ) -> None:
        self.keeper = keeper
        self.index_is_new = False
        self._bad: dict[bytes, tuple[bytes, str]] = {}  # met by the call that reads now
        self._stale: list[bytes] = []  # entries of the index that it found to be wrong
        self.directory = directory
        self._cache_bytes = cache_bytes
        self._log_directory = log_directory
        self._environment: Environment | None = None
        self._main: Db = None
        self._due: Db = None
        self._count = 0

    def open(self) -> None:
        """Recovers the environment from its log and opens it.  Blocks: yes (disk).

        Raises:
            DamageError: its files are damaged.
            PermError: it cannot be opened: not allowed, or of another version.
            TempError: it cannot be opened now, the disk may be full.
        """
        fresh = not _has_bytes(self.directory / MAIN_FILE)
        self._environment = Environment(Module.DEFEDB, self.directory, self._cache_bytes, self._log_directory)
        try:
            self._check_files()
            self._main = self._env.database(MAIN_FILE)
            self._due = self._env.database(DUE_FILE)
            self._check_version(fresh=fresh)
            with self._env.errors():
                count = self._main.get(records.COUNT_KEY)
        except BaseException:
            self.close()
            raise
        self._count = records.COUNT.unpack(count)[0] if count and len(count) == records.COUNT.size else 0

    def _check_files(self) -> None:
        """Looks for what recovery did not bring back: the library would make an empty file in its place.

        Raises:
            DamageError: the main file is missing.
        """
        there = {name for name in DATABASE_FILES if _has_bytes(self.directory / name)}
        self.index_is_new = MAIN_FILE in there and DUE_FILE not in there
        if MAIN_FILE not in there and (there or self._was_used()):
            raise DamageError(Module.DEFEDB, f"{self.directory / MAIN_FILE}: is missing, or empty")

    def _was_used(self) -> bool:
        """Tells whether the log has records of a data base.  Blocks: yes (disk)."""
        logs = log_place(self.directory).glob("log.*")
        return any(next(in_log(path.read_bytes()), None) is not None for path in logs)

    @property
    def _env(self) -> Environment:
        if self._environment is None:
            raise BugError(Module.DEFEDB, f"{self.directory}: not open")
        return self._environment

    def _check_version(self, *, fresh: bool) -> None:
        version = records.VERSION_VALUE.pack(records.VERSION)
        with self._env.transaction() as txn:
            found = self._main.get(records.VERSION_KEY, txn=txn)
            if found is None:
                if not fresh:  # the index under its name, or an empty file
                    raise DamageError(Module.DEFEDB, f"{self.directory}: {MAIN_FILE} is another file")
                self._main.put(records.VERSION_KEY, version, txn=txn)
            elif len(found) != len(version) or int.from_bytes(found, "big") > _HIGHEST_VERSION:
                raise DamageError(Module.DEFEDB, f"{self.directory}: its version is damaged")
            elif found != version:
                raise PermError(
                    Module.DEFEDB,
                    f"{self.directory}: its version {int.from_bytes(found, 'big')} is not {records.VERSION}: "
                    "let the release that wrote it empty the queue",
                )

    def close(self) -> None:
        """Closes the environment."""
        environment, self._environment = self._environment, None
        self._main = self._due = None
        if environment is not None:
            environment.close()

    def checkpoint(self) -> None:
        """Brings all pages to the disk and removes log files that nothing needs any more.  Blocks: yes (disk).

        Locking: none needed; other calls may go on meanwhile.
        """
        self._env.checkpoint()

    def _items(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Gives keys and values from start to before end."""
        with self._env.cursor(self._main) as cursor:
            item = cursor.set_range(start)
            while item is not None and item[0] < end:
                yield item
                item = cursor.next()

    def _get(self, cls: type[RecordT], key: bytes) -> RecordT | None:
        value = self._main.get(key)
        return None if value is None else self._decoded(cls, key, value)

    def _decoded(self, cls: type[RecordT], key: bytes, value: bytes) -> RecordT | None:
        """Reads a value; None, and it is noted, if it is damaged."""
        try:
            return records.decode_record(cls, key, value)
        except DamageError as error:
            if self.keeper is None:
                raise
            self._bad[key] = (value, error.cause)
            return None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turns errors of the library into ours; what the block found to be damaged is set aside at its end."""
        with self._env.errors():
            yield
        if self._bad or self._stale:
            self._set_aside()

    def _keep(self, key: bytes, value: bytes, error: DamageError) -> None:
        """Keeps a damaged record that is replaced or removed anyway."""
        if self.keeper is None:
            raise error
        if not self.keeper(self.directory / MAIN_FILE, key, value, error.cause):
            raise TempError(Module.DEFEDB, f"{error.cause}, and it cannot be set aside")

    def _set_aside(self) -> None:
        """Takes out what cannot be used, once it is safe in lost+found; stale entries of the index go."""
        bad, self._bad, stale, self._stale = self._bad, {}, self._stale, []
        keeper, path = self.keeper, self.directory / MAIN_FILE
        kept = [key for key, (value, why) in bad.items() if keeper is not None and keeper(path, key, value, why)]
        with self._env.transaction() as txn:
            change = DefeDbChange(self._main, self._due, txn, self._keep)
            for key in kept:
                change.forget(key)
                self._forget_empty(change, key, txn)
            for key in stale:
                if self._due.exists(key, txn=txn):
                    self._due.delete(key, txn=txn)
            if change.count:
                self._main.put(records.COUNT_KEY, records.COUNT.pack(max(0, self._count + change.count)), txn=txn)
        self._count = max(0, self._count + change.count)

    def _forget_empty(self, change: DefeDbChange, key: bytes, txn: Txn) -> None:
        """Sets the transaction of a recipient aside, too, if it was the last one."""
        if self.keeper is None or not records.is_rcpt_key(key):
            return
        ta_id = key[:ID_LENGTH].decode()
        value = self._main.get(records.ta_key(ta_id), txn=txn)
        if value is not None and change.remove_empty(ta_id):
            why = "its only recipient was set aside"
            self.keeper(self.directory / MAIN_FILE, records.ta_key(ta_id), value, why)

    def log_end(self) -> tuple[int, int]:
        """Gives number and offset of the end of the log."""
        return self._env.log_end()


def _has_bytes(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
