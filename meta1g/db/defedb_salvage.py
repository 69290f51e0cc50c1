"""Opens DEFEDB whatever state its files are in: damage never stops the start (invariant I3).

Files that cannot be recovered go to `lost+found/defedb-N` as they are, and whatever is good in them into a new, empty
DEFEDB.  The steps are noted in damage.py, so that this may be killed anywhere and started again.  While such a directory is in
lost+found no content file is taken for an orphan: its envelope may be among what could not be read.

Ref: MeTA1 design, "Implementation: DEFEDB, recovery"; Berkeley DB, DB->verify with DB_SALVAGE.
"""

import contextlib
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import berkeleydb.db as bdb

from meta1g.base.errors import BugError, Module, PermError
from meta1g.base.log import Log
from meta1g.db.bdb import CONFIG_NAME, PAGE_BYTES, log_place
from meta1g.db.damage import DamageError, Note, Step, is_note, read_note, write_note
from meta1g.db.defedb import DATABASE_FILES, MAIN_FILE, DefeDb
from meta1g.db.defedb_records import decode_record
from meta1g.db.files import FILES
from meta1g.rcb.envelope import RcptRecord, TaRecord

_PREFIX: Final = "defedb-"
_BATCH: Final = 500

Record = TypeVar("Record", TaRecord, RcptRecord)


def open_or_salvage(defedb: DefeDb, lost_found: Path, log: Log) -> bool:
    """Opens DEFEDB; picks out what is good if it is damaged.  Blocks: yes (disk).

    Args:
        defedb: not open.
        lost_found: gets the damaged files.
        log: gets a line for each step.

    Returns:
        Whether it was damaged.

    Raises:
        PermError: it cannot be opened for another reason.
        TempError, OSError: the disk is full or broken.
    """
    note = read_note(defedb.directory)
    if note is None:
        try:
            defedb.open()
            return False
        except DamageError as error:
            log.fatal("qmgr.defedb", error.cause)
    elif note.step is Step.SUSPECT:
        log.warn(
            "qmgr.defedb", "something could not be read in the last run; everything is checked", path=str(defedb.directory)
        )
        if _is_sound(defedb, log):
            write_note(defedb.directory, None)
            defedb.open()
            return False
    _salvage(defedb, lost_found, note, log)
    return True


def holds_damaged(lost_found: Path) -> bool:
    """Tells whether a damaged DEFEDB is in lost+found."""
    return any(path.name.startswith(_PREFIX) for path in lost_found.iterdir())


def _is_sound(defedb: DefeDb, log: Log) -> bool:
    """Recovers the environment, then checks pages and records."""
    try:
        defedb.open()
        defedb.checkpoint()
        defedb.check()
        defedb.close()
        for name in DATABASE_FILES:
            bdb.DB().verify(os.fspath(defedb.directory / name))
    except (DamageError, BugError) as error:
        log.fatal("qmgr.defedb", error.cause)
        return False
    except bdb.DBVerifyBadError as error:
        log.fatal("qmgr.defedb", f"{defedb.directory}: damaged: {error}")
        return False
    finally:
        defedb.close()
    return True


def _salvage(defedb: DefeDb, lost_found: Path, note: Note | None, log: Log) -> None:
    directory = defedb.directory
    if note is None or note.step is Step.SUSPECT:
        note = Note(Step.MOVE, _free_name(lost_found))
        write_note(directory, note)
    target = lost_found / note.target
    if note.step is Step.MOVE:
        _move(directory, target)
        write_note(directory, Note(Step.FILL, note.target))
    defedb.open()
    stored, homeless = _fill(defedb, target)
    write_note(directory, None)
    log.fatal(
        "qmgr.defedb",
        f"damaged files are kept in {target}, {homeless} recipients without transaction in them; remove it when nothing more "
        "can be saved",
        path=str(target),
        rcpts=stored,
    )


def _free_name(lost_found: Path) -> str:
    taken = {path.name for path in lost_found.iterdir()}
    return next(name for number in range(1, len(taken) + 2) if (name := f"{_PREFIX}{number}") not in taken)


def _move(directory: Path, target: Path) -> None:
    """Moves the files away; log files at another place get other names there, as lost+found may be on another disk."""
    target.mkdir(exist_ok=True)
    FILES.sync_directory(target.parent)
    logs = log_place(directory)
    if logs != directory:
        for path in logs.glob("log.*"):
            FILES.rename(path, logs / f"{target.name}.{path.name}")
        FILES.sync_directory(logs)
    for name in FILES.list(directory):
        if not is_note(name) and name != CONFIG_NAME:
            FILES.rename(directory / name, target / name)
    FILES.sync_directory(target)
    FILES.sync_directory(directory)


def _fill(defedb: DefeDb, target: Path) -> tuple[int, int]:
    """Stores what is good in the old file; gives how many recipients, and how many had lost their transaction."""
    dump = _dump(target)
    places = {ta.ta_id: place for place, ta in _records(dump, TaRecord)}
    stored = homeless = 0
    found = _records(dump, RcptRecord)
    while batch := [rcpt for _, rcpt in islice(found, _BATCH)]:
        put = [rcpt for rcpt in batch if rcpt.ta_id in places]
        homeless += len(batch) - len(put)
        tas = [_ta_at(dump, places[ta_id]) for ta_id in dict.fromkeys(rcpt.ta_id for rcpt in put)]
        defedb.store(tas, put)
        stored += len(put)
    return stored, homeless


def _dump(target: Path) -> Path:
    """Lets the library print what it can read; its first page, which it cannot do without, is replaced by a fresh one."""
    work, dump = target / "salvage.db", target / "salvage.out"
    for path in (work, dump):
        path.unlink(missing_ok=True)
    if not (target / MAIN_FILE).exists():
        dump.touch()
        return dump
    fresh = bdb.DB()
    fresh.set_pagesize(PAGE_BYTES)
    fresh.open(os.fspath(work), dbtype=bdb.DB_BTREE, flags=bdb.DB_CREATE, mode=0o600)
    fresh.close()
    with work.open("r+b") as new, (target / MAIN_FILE).open("rb") as old:
        for file in (new, old):
            file.seek(PAGE_BYTES)
        while block := old.read(1 << 20):
            new.write(block)
        new.truncate()
    with contextlib.suppress(bdb.DBError):  # it complains of the damage and prints what it can
        bdb.DB().verify(os.fspath(work), outfile=os.fspath(dump), flags=bdb.DB_SALVAGE)
    work.unlink()
    return dump


def _records(dump: Path, cls: type[Record]) -> Iterator[tuple[int, Record]]:
    """Gives the good records of one kind with the places of their lines."""
    place = 0
    with dump.open("rb") as lines:
        for line in lines:
            record = _record(line, cls)
            if record is not None:
                yield place, record
            place += len(line)


def _record(line: bytes, cls: type[Record]) -> Record | None:
    """Reads one line of the dump: a blank and hex digits, a key or a value."""
    try:
        return decode_record(cls, b"", bytes.fromhex(line.strip().decode("ascii")))
    except (ValueError, PermError):  # a line of another kind, or damaged
        return None


def _ta_at(dump: Path, place: int) -> TaRecord:
    with dump.open("rb") as lines:
        lines.seek(place)
        record = _record(lines.readline(), TaRecord)
    if record is None:
        raise BugError(Module.DEFEDB, f"{dump}: changed while it was read")
    return record
