"""The stores of a queue directory while QMGR does not run: its lock, its owners, its envelopes.

Ref: MeTA1 metaqueue (purpose modelled on).
"""

import contextlib
import fcntl
import heapq
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from meta1g.base import cli, paths, sysexits
from meta1g.base.dataclass import dataclass
from meta1g.base.errors import BugError
from meta1g.base.logtext import sanitize
from meta1g.db.bdb import said_by_library
from meta1g.db.damage import DamageError
from meta1g.db.defedb import DefeDb
from meta1g.db.defedb_base import Keeper
from meta1g.db.defedb_pages import record_of
from meta1g.db.ibdb_reader import IbdbReader, ibdb_files
from meta1g.db.lostfound import read_record
from meta1g.db.recovery import Envelopes
from meta1g.rcb.envelope import RcptRecord, TaRecord

PROG: Final = "metaqueue"
CACHE_BYTES: Final = 8 << 20
#: Recipients of a transaction that are in memory at a time.
CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Envelope:
    """One transaction in one store, or a part of it."""

    store: str
    ta: TaRecord
    rcpts: tuple[RcptRecord, ...]


# -- who may, and as whom ----------------------------------------------------------------------------------------------


def check_queue(path: Path) -> None:
    """Looks whether a directory is that of a queue.

    Raises:
        CliError: it is not.
    """
    for name in (paths.IBDB_DIRECTORY, paths.DEFEDB_DIRECTORY):
        if not (path / name).is_dir():
            raise cli.CliError(f"{path}: no queue directory: {name} is missing", sysexits.EX_NOINPUT)


@contextlib.contextmanager
def queue_lock(queue: Path) -> Iterator[None]:
    """Keeps QMGR from starting meanwhile.

    Raises:
        CliError: QMGR runs.
    """
    try:
        fd = os.open(queue / paths.QMGR_LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # QMGR never ran here
        yield
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise cli.CliError(f"{queue}: qmgr is running; use mailq, or stop it first", sysexits.EX_TEMPFAIL) from error
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def owner_of(directory: Path, gid: int | None = None) -> Iterator[None]:
    """Works with the identity of a directory's owner, so that root leaves no files there that nobody else can open.

    Args:
        directory: the directory.
        gid: group of new files; that of the directory if None.
    """
    before = os.geteuid(), os.getegid()
    if os.getuid() != 0:
        yield
        return
    owner = directory.stat()
    _become(owner.st_uid, owner.st_gid if gid is None else gid)
    try:
        yield
    finally:
        _become(*before)


def _become(uid: int, gid: int) -> None:
    os.seteuid(0)
    os.setegid(gid)
    os.seteuid(uid)


def name_damaged(file: Path, key: bytes, value: bytes, why: str) -> bool:
    """Names a damaged record, which stays (Keeper)."""
    complain(f"{file}: {sanitize(why)}")
    return False


@contextlib.contextmanager
def open_defedb(queue: Path, keeper: Keeper = name_damaged) -> Iterator[DefeDb]:
    """Opens DEFEDB with the identity of its owner; damaged records stay, and are named by the keeper.

    Raises:
        UnreadableError: its files are damaged, which shows now or while the block uses them.
    """
    directory = queue / paths.DEFEDB_DIRECTORY
    with owner_of(directory), _readable(directory):
        defedb = DefeDb(directory, CACHE_BYTES, keeper=keeper)
        defedb.open()
        try:
            yield defedb
        finally:
            defedb.close()


class UnreadableError(cli.CliError):
    """The files of DEFEDB are damaged, not only single records."""

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}; metaqueue repair, or the next start of qmgr, saves what can be read", sysexits.EX_DATAERR)


@contextlib.contextmanager
def _readable(directory: Path) -> Iterator[None]:
    try:
        yield
    except DamageError as error:
        raise UnreadableError(error.cause) from error
    except BugError as error:
        said = said_by_library(error)
        if not said:
            raise
        raise UnreadableError(f"{directory}: damaged: {said}") from error


def complain(text: str) -> None:
    """Writes a line to standard error."""
    sys.stderr.write(f"{PROG}: {text}\n")


# -- envelopes ---------------------------------------------------------------------------------------------------------


def of_files(files: Iterable[Path], store: str) -> tuple[list[Envelope], list[str]]:
    """Gives what is open in IBDB files, and one line for each damage."""
    envelopes = Envelopes()
    damage: list[str] = []
    for path in files:
        reader = IbdbReader(path)
        for found in reader.entries():
            envelopes.add(found.entry, trusted=found.trusted)
        for part in reader.damage:
            envelopes.distrust()
            damage.append(f"{path}: {'torn tail' if part.tail else 'damage'} of {len(part.data)} bytes at offset {part.offset}")
    return [Envelope(store, ta, tuple(rcpts.values())) for ta, rcpts in envelopes.open.values() if rcpts], damage


def of_ibdb(queue: Path) -> list[Envelope]:
    """Gives what is open in IBDB; damage goes to standard error."""
    return reported(ibdb_files(queue / paths.IBDB_DIRECTORY), "IBDB")


def reported(files: list[Path], store: str) -> list[Envelope]:
    """Gives what is open in IBDB files; damage goes to standard error."""
    envelopes, damage = of_files(files, store)
    for line in damage:
        complain(line)
    return envelopes


def of_defedb(defedb: DefeDb) -> Iterator[Envelope]:
    """Gives all envelopes of DEFEDB in the order of their ids; one with many recipients comes in parts."""
    for ta_id in defedb.ta_ids():
        ta = defedb.get_ta(ta_id)
        if ta is None:
            continue
        last = -1
        while rcpts := defedb.get_rcpts(ta_id, last, CHUNK):
            yield Envelope("DEFEDB", ta, tuple(rcpts))
            last = rcpts[-1].rcpt_idx
        if last < 0:
            yield Envelope("DEFEDB", ta, ())


def of_queue(queue: Path, defedb: DefeDb) -> Iterator[Envelope]:
    """Gives every envelope of both stores in the order of their ids, parts of one behind each other.

    What is in both is taken from DEFEDB, as recovery does.
    """
    fresh = [
        Envelope(one.store, defedb.get_ta(one.ta.ta_id) or one.ta, new)
        for one in sorted(of_ibdb(queue), key=lambda one: one.ta.ta_id)
        if (new := tuple(rcpt for rcpt in one.rcpts if not defedb.has_rcpt(one.ta.ta_id, rcpt.rcpt_idx)))
    ]
    return heapq.merge(of_defedb(defedb), fresh, key=lambda one: one.ta.ta_id)


def of_record(path: Path) -> Iterator[Envelope]:
    """Gives the envelope of a record that was set aside, as far as it can be read."""
    key, value = read_record(path.read_bytes())
    record = record_of(value)
    if isinstance(record, TaRecord):
        yield Envelope(path.name, record, ())
    elif isinstance(record, RcptRecord):
        unknown = TaRecord(ta_id=record.ta_id, cdb_id=record.ta_id, mail="?", size_bytes=0, entered=record.entered, rcpts=0)
        yield Envelope(path.name, unknown, (record,))
    else:
        complain(f"{path}: {sanitize(key.decode('ascii', 'replace'))} is damaged: {sanitize(repr(value))}")
