"""Berkeley DB: one environment with transactions, its data bases, checkpoints, and what its errors mean.

Invariant: a transaction that transaction() has committed is on stable storage; one that it has not left no trace.

The environment belongs to one process; its calls come one at a time, so that Berkeley DB needs no locks.  Only
checkpoint() may run beside another call.

Ref: Berkeley DB Programmer's Reference, "Berkeley DB Transactional Data Store Applications"; MeTA1 design,
"Implementation: DEFEDB".
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import berkeleydb.db as bdb

from meta1g.base.errors import BugError, Meta1Error, Module, PermError, TempError
from meta1g.base.failure import SHORTAGES
from meta1g.db.damage import DamageError, suspect
from meta1g.db.files import FILES

#: Handles of the library have no types.
Txn = Any
Db = Any
Cursor = Any

_ENV_FLAGS: Final = (
    bdb.DB_CREATE | bdb.DB_INIT_MPOOL | bdb.DB_INIT_LOG | bdb.DB_INIT_TXN | bdb.DB_RECOVER | bdb.DB_PRIVATE | bdb.DB_THREAD
)
_DB_FLAGS: Final = bdb.DB_CREATE | bdb.DB_AUTO_COMMIT | bdb.DB_THREAD
PAGE_BYTES: Final = 4096
_LOG_FILE_BYTES: Final = 8 << 20
_LOG_BUFFER_BYTES: Final = 1 << 20
_CACHE_MIN_BYTES: Final = 1 << 20
_GIGABYTE: Final = 1 << 30
_FILE_MODE: Final = 0o600
CONFIG_NAME: Final = "DB_CONFIG"
_LOG_SETTING: Final = "set_lg_dir "

_NO_SPACE: Final = (bdb.DBNoSpaceError, bdb.DBNoMemoryError)
#: A file may also be as long as the limit of the process allows.
_PASSING: Final = SHORTAGES | {errno.EFBIG}
_NO_ACCESS: Final = (bdb.DBAccessError, bdb.DBPermissionsError)


def text_of(error: "bdb.DBError") -> str:
    """Gives what the library says about an error."""
    return str(error.args[-1]) if error.args else type(error).__name__


def is_passing(error: "bdb.DBError") -> bool:
    """Tells whether an error of the library is a shortage that passes; any other one means that its files are damaged."""
    return isinstance(error, _NO_SPACE) or (bool(error.args) and error.args[0] in _PASSING)


def translate(module: Module, where: Path, error: "bdb.DBError") -> Meta1Error:
    """Turns an error of the library into one of ours.

    Returns:
        TempError for a shortage that passes.  BugError for everything else: a page that cannot be read, an environment that
        needs recovery; the process has to end, the next start repairs the files.
    """
    if isinstance(error, _NO_SPACE):
        return TempError(module, f"{where}: no room: {text_of(error)}", code=452, ecode="4.3.1")
    if is_passing(error):
        return TempError(module, f"{where}: {text_of(error)}")
    return BugError(module, f"{where}: the environment needs recovery, which runs at the next start: {text_of(error)}")


def said_by_library(error: BugError) -> str:
    """Gives what the library said if the error is one of translate(), else nothing."""
    return text_of(error.__cause__) if isinstance(error.__cause__, bdb.DBError) else ""


def log_place(directory: Path) -> Path:
    """Gives the directory of the log files of an environment."""
    with contextlib.suppress(FileNotFoundError):
        for line in (directory / CONFIG_NAME).read_text().splitlines():
            if line.startswith(_LOG_SETTING):
                return Path(line.removeprefix(_LOG_SETTING))
    return directory


def _set_log_place(module: Module, directory: Path, wanted: Path | None) -> Path:
    """Gives the directory of the log files; writes it down if it is new.

    Raises:
        PermError: there are log files at the old place; without them the data bases are not whole.
    """
    here = log_place(directory)
    wanted = here if wanted is None else wanted.absolute()
    if wanted != here:
        note = directory / CONFIG_NAME
        if any(here.glob("log.*")):
            raise PermError(
                module, f"{directory}: its log files are in {here}; move {here}/log.* to {wanted} and remove {note}"
            )
        FILES.write_durable(note, f"{_LOG_SETTING}{wanted}\n".encode())
    return wanted


class Environment:
    """An open environment.  Locking: the owner's lock, except for checkpoint().

    Args:
        module: names it in errors.
        directory: its home, which exists.
        cache_bytes: memory for pages.
        log_directory: where its log files are; where they were the last time if None, at first in the home.  The place is
            kept in the library's own file DB_CONFIG, so that its tools find the log, too.
        catastrophic: everything is made again from the log, from its very beginning on.

    Raises:
        DamageError: its files are damaged.
        PermError: it cannot be opened, and trying again does not help.
        TempError: it cannot be opened now.
    """

    __slots__ = ("_env", "_handles", "_module", "directory")

    def __init__(
        self,
        module: Module,
        directory: Path,
        cache_bytes: int,
        log_directory: Path | None = None,
        *,
        catastrophic: bool = False,
    ) -> None:
        self.directory = directory
        self._module = module
        self._handles: list[Db] = []
        for place in (directory, _set_log_place(module, directory, log_directory)):
            if not place.is_dir():
                raise PermError(module, f"{place}: directory is missing; make it with sm.setup")
            if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
                raise PermError(module, f"{place}: permission denied; run as its owner or mend its mode")
        self._env = bdb.DBEnv()
        try:
            self._configure(cache_bytes)
            flags = _ENV_FLAGS & ~bdb.DB_RECOVER | bdb.DB_RECOVER_FATAL if catastrophic else _ENV_FLAGS
            self._env.open(os.fspath(directory), flags, _FILE_MODE)
        except bdb.DBError as error:
            self.close()
            raise self._open_failure(error) from error

    def _configure(self, cache_bytes: int) -> None:
        gigabytes, rest = divmod(max(cache_bytes, _CACHE_MIN_BYTES), _GIGABYTE)
        self._env.set_cachesize(gigabytes, rest, 1)
        self._env.set_lg_bsize(_LOG_BUFFER_BYTES)
        self._env.set_lg_max(_LOG_FILE_BYTES)
        self._env.log_set_config(bdb.DB_LOG_AUTO_REMOVE, 1)

    def _open_failure(self, error: "bdb.DBError") -> Meta1Error:
        if isinstance(error, _NO_ACCESS):
            return PermError(self._module, f"{self.directory}: permission denied; run as its owner or mend its mode")
        if isinstance(error, _NO_SPACE):
            return translate(self._module, self.directory, error)
        return DamageError(self._module, f"{self.directory}: damaged, cannot be recovered: {text_of(error)}")

    def database(self, name: str) -> Db:
        """Opens a btree of the environment, makes it, with a checksum in each page, if it is not there.

        Raises:
            DamageError: its files are damaged.
            PermError: it cannot be opened.
        """
        handle = bdb.DB(self._env)
        self._handles.append(handle)
        try:
            handle.set_get_returns_none(2)
            handle.set_pagesize(PAGE_BYTES)
            handle.set_flags(bdb.DB_CHKSUM)
            handle.open(name, dbtype=bdb.DB_BTREE, flags=_DB_FLAGS, mode=_FILE_MODE)
        except bdb.DBError as error:
            raise self._open_failure(error) from error
        return handle

    @contextmanager
    def transaction(self) -> Iterator[Txn]:
        """Runs a block as one transaction: committed at its end, undone if it raises.  Blocks: yes (disk).

        Raises:
            TempError: it was undone.
            BugError: the environment is dead.

        Disk: everything done with the transaction is on stable storage.
        """
        with self.errors():
            txn = self._env.txn_begin()
            try:
                yield txn
            except BaseException:
                with contextlib.suppress(bdb.DBError):  # the first error is the one that counts
                    txn.abort()
                raise
            txn.commit()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turns errors of the library inside the block into ours; damage is noted for the next start."""
        try:
            yield
        except DamageError:
            suspect(self.directory)
            raise
        except bdb.DBError as error:
            if not is_passing(error):
                suspect(self.directory)
            raise translate(self._module, self.directory, error) from error

    @contextmanager
    def cursor(self, handle: Db, txn: Txn = None) -> Iterator[Cursor]:
        """Opens a cursor for the block; it finds None where nothing follows."""
        with self.errors():
            found = handle.cursor(txn)
            try:
                yield found
            finally:
                found.close()

    def checkpoint(self) -> None:
        """Brings all pages to the disk and removes log files that nothing needs any more.  Blocks: yes (disk).

        Locking: none needed; calls that read and write may go on meanwhile.
        """
        with self.errors():
            self._env.txn_checkpoint(0, 0, bdb.DB_FORCE)
            self._env.log_archive(bdb.DB_ARCH_REMOVE)

    def log_end(self) -> tuple[int, int]:
        """Gives number and offset of the end of the log."""
        with self.errors():
            stat = self._env.log_stat()
        return int(stat["cur_file"]), int(stat["cur_offset"])

    def close(self) -> None:
        """Closes data bases and environment; an error leaves work for the recovery at the next start."""
        handles, self._handles = self._handles, []
        for handle in handles:
            with contextlib.suppress(bdb.DBError):
                handle.close()
        with contextlib.suppress(bdb.DBError):
            self._env.close()
