"""Opens DEFEDB whatever state its files are in: damage never stops the start (invariant I3).

Each step is tried only if the one before was not enough:

    1  normal recovery from the log
    2  everything is read and checked; damaged records are set aside, index and counter are made anew where they are wrong
    3  the index goes: recovery and step 2 without it (it is derived from the records)
    4  the files go to `lost+found/defedb-N` as they are, and into a new, empty DEFEDB comes whatever is good in them:
       a  what the log gives that is played again from its very beginning, if it reaches back so far
       b  what stands on pages of the main file that make sense
       c  what stands on other pages, and in the log if it could not be played again: with content only, since it may be
          what was removed before
    5  recovery takes a damaged record of the log for its end; what stood behind it is treated like 4c

The steps are noted in damage.py, so that this may be killed anywhere and started again.  Reading of doubtful files is left to a
child process: the library may crash or hang on them.

Ref: MeTA1 design, "Implementation: DEFEDB, recovery"; Berkeley DB Programmer's Reference, "Recovery procedures".
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final
from zlib import crc32

import berkeleydb.db as bdb

from meta1g.base.errors import BugError, Meta1Error, Module, PermError
from meta1g.base.ids import rcpt_id
from meta1g.base.log import Log
from meta1g.db.bdb import CONFIG_NAME, Environment, log_place
from meta1g.db.damage import DamageError, Note, Step, is_note, read_note, write_note
from meta1g.db.defedb import DefeDb
from meta1g.db.defedb_base import DATABASE_FILES, DUE_FILE
from meta1g.db.defedb_pages import AnyRecord, LogTail, Pages, in_log
from meta1g.db.files import FILES
from meta1g.rcb.envelope import RcptRecord, TaRecord

_PREFIX: Final = "defedb-"
_REPLAY: Final = "replay"
_BATCH: Final = 500
_CACHE_BYTES: Final = 8 << 20
#: So often everything is looked at and nothing found, before the files count as bad all the same.
_SOUND_MAX: Final = 2
#: Reading of doubtful files that takes longer is taken for hanging: a million records take less than two minutes.
_CHILD_LIMIT_S: Final = 1200.0
_CHILD_LOOK_S: Final = 0.005

HasContent = Callable[[str], bool]


def open_or_salvage(defedb: DefeDb, lost_found: Path, log: Log, has_content: HasContent = lambda cdb_id: True) -> bool:
    """Opens DEFEDB; repairs it if it is damaged.  Blocks: yes (disk).

    Args:
        defedb: not open; with a keeper.
        lost_found: gets the damaged files.
        log: gets a line for each step.
        has_content: tells whether there is a content file.

    Returns:
        Whether it was damaged.

    Raises:
        PermError: it cannot be opened for another reason.
        TempError, OSError: the disk is full or broken.
    """
    tail = LogTail(log_place(defedb.directory))
    damaged, target = _open_somehow(defedb, lost_found, log, has_content)
    if target is not None:
        tail.moved_to(target)
    return _from_tail(defedb, tail, lost_found, log, has_content) or damaged


def _open_somehow(defedb: DefeDb, lost_found: Path, log: Log, has_content: HasContent) -> tuple[bool, Path | None]:
    """Takes steps 1 to 4; tells whether something was damaged, and where its files are if they were moved."""
    note = read_note(defedb.directory)
    if note is None or note.step is Step.SOUND:
        if _opens(defedb, note, log):
            return False, None
        note = read_note(defedb.directory)
    elif note.step is Step.SUSPECT:
        text = "something could not be read in the last run, or a start did not get through; everything is checked"
        log.warn("qmgr.defedb_suspect", text, path=str(defedb.directory))
    if note is None or note.step is Step.SUSPECT:
        times = 0 if note is None else note.times
        mended = _mend(defedb, log) if times < _SOUND_MAX else None
        if mended is not None:
            write_note(defedb.directory, None if mended else Note(Step.SOUND, times=times + 1))
            return mended > 0, None
    return True, _salvage(defedb, lost_found, note, log, has_content)


def catastrophic(defedb: DefeDb, lost_found: Path, log: Log, has_content: HasContent = lambda cdb_id: True) -> None:
    """Makes DEFEDB anew from its log and its main file, whatever state they are in; open afterwards.  Blocks: yes (disk).

    Arguments and errors as those of open_or_salvage().
    """
    _salvage(defedb, lost_found, read_note(defedb.directory), log, has_content)


# -- steps 1 to 3 ------------------------------------------------------------------------------------------------------


def _opens(defedb: DefeDb, note: Note | None, log: Log) -> bool:
    """Opens it with normal recovery; a start that does not get through leaves a suspicion."""
    times = 0 if note is None else note.times
    write_note(defedb.directory, Note(Step.SUSPECT, times=times))
    try:
        defedb.open()
    except DamageError as error:
        log.fatal("qmgr.defedb", error.cause)
        return False
    except Meta1Error:
        write_note(defedb.directory, note)
        raise
    write_note(defedb.directory, None)
    return True


def _mend(defedb: DefeDb, log: Log) -> int | None:
    """Mends what can be mended without reading files by hand; gives how much that was, None if it does not do."""
    wrong = 0
    if not _in_child(lambda: _look(defedb), log):
        index = defedb.directory / DUE_FILE
        if _has_records(index):  # files were mixed up: this is none
            return None
        log.fatal("qmgr.defedb", "damaged; the index is made anew", path=str(index))
        with contextlib.suppress(FileNotFoundError):
            FILES.unlink(index)
        FILES.sync_directory(defedb.directory)
        if not _in_child(lambda: _look(defedb), log):
            return None
        wrong = 1
    try:
        defedb.open()
        wrong += defedb.mend()
    except (DamageError, BugError) as error:
        log.fatal("qmgr.defedb", error.cause)
        defedb.close()
        return None
    if wrong:
        log.error("qmgr.defedb_mended", "mended", path=str(defedb.directory), count=wrong)
    return wrong


def _from_tail(defedb: DefeDb, tail: LogTail, lost_found: Path, log: Log, has_content: HasContent) -> bool:
    """Stores what only the end of the log had, behind damage; tells whether there was any."""
    offset, data = tail.lost()
    if not data:
        if tail.is_cut():
            log.fatal("qmgr.defedb", "the log was cut; what only its end had is lost", path=str(tail.path), offset=offset)
        return tail.is_cut()
    kept = lost_found / f"{tail.path.name}-{offset:X}-{crc32(data):08X}"
    FILES.write_durable(kept, data)
    filler = _Filler(defedb, lost_found, log, has_content)
    filler.from_items(in_log(data))
    text = f"damaged: recovery does not read on behind it; kept as {kept}"
    log.fatal("qmgr.defedb", text, path=str(tail.path), offset=offset, size=len(data), rcpts=filler.stored)
    return True


def _leave(file: Path, key: bytes, value: bytes, why: str) -> bool:
    """Lets a damaged record stay where it is (Keeper)."""
    return False


def _look(defedb: DefeDb) -> None:
    """Recovers the environment, checks its files, reads every record; runs in a child."""
    defedb.keeper = _leave
    defedb.open()
    defedb.checkpoint()
    defedb.read_all()
    end = defedb.log_end()
    defedb.close()
    for name in DATABASE_FILES:
        path = defedb.directory / name
        bdb.DB().verify(os.fspath(path))
        with contextlib.closing(Pages(path)) as pages:
            if pages.newest() > end:
                raise DamageError(Module.DEFEDB, f"{path}: the log ends before its last change")


def _has_records(path: Path) -> bool:
    """Tells whether a file has records of transactions or recipients."""
    if not path.exists():
        return False
    with contextlib.closing(Pages(path)) as pages:
        return next(pages.records(sure=True), None) is not None or next(pages.records(sure=False), None) is not None


def _in_child(function: Callable[[], None], log: Log) -> bool:
    """Tells whether a function gets through without an error, a crash or endless work.  Blocks: yes."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        except (Meta1Error, bdb.DBError) as error:
            text = error.cause if isinstance(error, Meta1Error) else str(error)
            log.fatal("qmgr.defedb", text)
        finally:
            os._exit(code)
    end_s = time.monotonic() + _CHILD_LIMIT_S
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > end_s:
            os.kill(pid, signal.SIGKILL)
        time.sleep(_CHILD_LOOK_S)
    if os.WIFSIGNALED(status):
        log.fatal("qmgr.defedb", f"the library does not survive reading it: signal {os.WTERMSIG(status)}")
    return status == 0


# -- step 4 ------------------------------------------------------------------------------------------------------------


def _salvage(defedb: DefeDb, lost_found: Path, note: Note | None, log: Log, has_content: HasContent) -> Path:
    directory = defedb.directory
    if note is None or note.step not in (Step.MOVE, Step.FILL):
        note = Note(Step.MOVE, f"{_PREFIX}{_number(lost_found, _PREFIX)}")
        write_note(directory, note)
    target = lost_found / note.target
    if note.step is Step.MOVE:
        _move(directory, target)
        write_note(directory, Note(Step.FILL, note.target))
    defedb.open()
    filler = _Filler(defedb, target, log, has_content)
    filler.run()
    write_note(directory, None)
    log.fatal(
        "qmgr.defedb",
        f"damaged files are kept in {target}, {filler.homeless} recipients without transaction in them; remove it when "
        "nothing more can be saved",
        path=str(target),
        rcpts=filler.stored,
    )
    return target


def _number(directory: Path, prefix: str) -> int:
    taken = {path.name for path in directory.iterdir()}
    return next(number for number in range(1, len(taken) + 2) if f"{prefix}{number}" not in taken)


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


class _Filler:
    """Stores what is good in the old files.  Owner: the repair.

    Args:
        defedb: the new one, open; it may have some of it already.
        target: where the old files are.
        log: the log.
        has_content: tells whether there is a content file.

    Attributes:
        stored: recipients that were stored.
        homeless: recipients whose transaction is nowhere.
    """

    def __init__(self, defedb: DefeDb, target: Path, log: Log, has_content: HasContent) -> None:
        self._defedb = defedb
        self._target = target
        self._log = log
        self._has_content = has_content
        self.stored = self.homeless = 0

    def run(self) -> None:
        """Takes all sources, the best first; what is there already stays."""
        logs = self._logs()
        replayed = self._replay(logs)
        for name in DATABASE_FILES:  # they may have each other's name
            if (self._target / name).exists():
                with contextlib.closing(Pages(self._target / name)) as pages:
                    self._from_pages(pages, sure=True)
                    self._from_pages(pages, sure=False)
        if not replayed:
            self.from_items(self._in_logs(logs))

    def _logs(self) -> list[tuple[str, Path]]:
        """Gives the log files with the names that they had."""
        here = [(path.name, path) for path in self._target.glob("log.*")]
        place = log_place(self._defedb.directory)
        prefix = f"{self._target.name}."
        there = [(path.name.removeprefix(prefix), path) for path in place.glob(f"{prefix}log.*")]
        return sorted(here + there)

    def _replay(self, logs: list[tuple[str, Path]]) -> bool:
        """Plays the log again from its beginning; tells whether that went well."""
        import shutil  # loads much, for what is hardly ever damaged

        work = self._target / _REPLAY
        shutil.rmtree(work, ignore_errors=True)
        if not logs or not logs[0][0].endswith("0000000001"):
            return False
        work.mkdir()
        for name, path in logs:
            shutil.copyfile(path, work / name)

        def play() -> None:
            Environment(Module.DEFEDB, work, _CACHE_BYTES, catastrophic=True).close()
            _look(DefeDb(work, _CACHE_BYTES, keeper=_leave))

        good = _in_child(play, self._log)
        if good:
            self._from_store(work)
        shutil.rmtree(work, ignore_errors=True)
        return good

    def _from_store(self, directory: Path) -> None:
        old = DefeDb(directory, _CACHE_BYTES, keeper=_leave)
        old.open()
        try:
            after: str | None = None
            while batch := old.scan(after, _BATCH):
                self._store(batch, old.get_ta)
                after = rcpt_id(batch[-1].ta_id, batch[-1].rcpt_idx)
        finally:
            old.close()

    def _from_pages(self, pages: Pages, *, sure: bool) -> None:
        places = {one.record.ta_id: one.place for one in pages.records(sure=sure) if isinstance(one.record, TaRecord)}

        def find(ta_id: str) -> AnyRecord | None:
            return pages.record_at(places[ta_id]) if ta_id in places else self._defedb.get_ta(ta_id)

        found = (one.record for one in pages.records(sure=sure) if isinstance(one.record, RcptRecord))
        while batch := list(islice(found, _BATCH)):
            self._store(batch, find, doubtful=not sure)

    def from_items(self, items: Iterator[AnyRecord]) -> None:
        """Stores the newest state of what was a record once."""
        tas: dict[str, TaRecord] = {}
        rcpts: dict[tuple[str, int], RcptRecord] = {}
        for item in items:
            if isinstance(item, TaRecord):
                tas[item.ta_id] = item
            else:
                rcpts[item.ta_id, item.rcpt_idx] = item
        found = iter(rcpts.values())
        while batch := list(islice(found, _BATCH)):
            self._store(batch, lambda ta_id: tas.get(ta_id) or self._defedb.get_ta(ta_id), doubtful=True)

    @staticmethod
    def _in_logs(logs: list[tuple[str, Path]]) -> Iterator[AnyRecord]:
        for _, path in logs:
            with contextlib.suppress(OSError):
                yield from in_log(path.read_bytes())

    def _store(self, batch: list[RcptRecord], find: Callable[[str], AnyRecord | None], *, doubtful: bool = False) -> None:
        """Stores recipients that are not there yet, with their transactions."""
        tas: dict[str, TaRecord] = {}
        put: dict[tuple[str, int], RcptRecord] = {}
        for rcpt in batch:
            if self._known(rcpt):
                continue
            ta = tas.get(rcpt.ta_id) or find(rcpt.ta_id)
            if not isinstance(ta, TaRecord):
                self.homeless += 1
            elif not doubtful or self._has_content(ta.cdb_id):
                tas[rcpt.ta_id] = ta
                put[rcpt.ta_id, rcpt.rcpt_idx] = rcpt
        if put:
            self._defedb.store(tas.values(), put.values())
            self.stored += len(put)

    def _known(self, rcpt: RcptRecord) -> bool:
        try:
            return self._defedb.has_rcpt(rcpt.ta_id, rcpt.rcpt_idx)
        except PermError:  # what was no id never came in
            return True
