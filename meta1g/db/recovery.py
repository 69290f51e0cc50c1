"""Recovery at the start of QMGR: what is open in IBDB goes to DEFEDB, what is damaged to lost+found, orphans go.

`cdb` content file, `ibdb` NEW without DONE, `edb` record in DEFEDB; `+` there and durable, `~` partly written, `-` not there.

    S1  -cdb -ibdb -edb   nothing
    S2  ~cdb -ibdb -edb   being received                 content removed, the client never got 250
    S3  +cdb -ibdb -edb   content safe                   content removed, the client never got 250
    S4  +cdb +ibdb -edb   ACCEPTED, 250 may be out       moved to S6
    S5  +cdb +ibdb +edb   being handed to DEFEDB         edb wins: S6
    S6  +cdb -ibdb +edb   deferred                       stays
    S7  +cdb -ibdb -edb   finished                       content removed

Commit point of acceptance: the flush of an IBDB batch, S3 to S4.  S3 and S7 look alike and both mean "remove".  The table
holds for each recipient, too.  S0, -cdb +ibdb, is no state that we make: the envelope is set aside.

Invariant: an IBDB file goes only after everything open in it is durable in DEFEDB or in lost+found; files go in order, each
removal durable before the next.  So recovery may be killed anywhere and started again.

Ref: MeTA1 design, "Implementation: recovery" (modelled on); invariants I1 to I3.
"""

from dataclasses import field, replace
from itertools import islice
from pathlib import Path
from typing import Final
from zlib import crc32

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import PermError
from meta1g.base.ids import is_id
from meta1g.base.log import Log
from meta1g.db.cdb import Cdb
from meta1g.db.defedb import DefeDb
from meta1g.db.files import FILES, Files
from meta1g.db.ibdb_reader import Damage, IbdbReader, ibdb_files, last_number, misplaced
from meta1g.db.ibdb_records import LAST_NAME, LONE_NUMBER, Entry, TaNew, file_header, ta_entry
from meta1g.db.lostfound import ids_in, set_aside_strangers
from meta1g.db.times import bounded, bounded_ta
from meta1g.rcb.envelope import RcptDone, RcptFlags, RcptRecord, TaCancel, TaDone, TaRecord

#: Ids that are named in the log line of a damaged part.
_NAMED_MAX: Final = 20
#: Transactions that go to DEFEDB with one Berkeley DB transaction.
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What recovery found and did.

    Args:
        files: IBDB files read and removed.
        transactions: open transactions in them.
        stored: recipients moved to DEFEDB.
        known: recipients that were in DEFEDB already.
        set_aside: transactions without content, in lost+found now.
        damage: parts of IBDB files that cannot be used, copied to lost+found; files that are missing or misplaced.
    """

    files: int
    transactions: int
    stored: int
    known: int
    set_aside: int
    damage: tuple[Damage, ...]


@dataclass(slots=True, eq=False)
class Envelopes:
    """What is open when entries are read in their order.  Owner: recovery.

    Attributes:
        open: open transactions, the oldest first, each with its open recipients.
    """

    open: dict[str, tuple[TaRecord, dict[int, RcptRecord]]] = field(default_factory=dict)
    _trusted: bool = True

    def add(self, entry: Entry, *, trusted: bool = True) -> None:
        """Takes the next entry.

        Args:
            entry: what the file says.
            trusted: nothing is damaged before it.  From the first entry that is not, a recipient's DONE counts no more:
                the bounce made of it may be lost.  The transaction's own does: it comes last of all.
        """
        self._trusted = self._trusted and trusted
        match entry:
            case TaNew():
                self.open[entry.ta.ta_id] = (entry.ta, {rcpt.rcpt_idx: rcpt for rcpt in entry.rcpts})
            case TaDone() | TaCancel():
                self.open.pop(entry.ta_id, None)
            case RcptRecord() if entry.ta_id in self.open:
                self.open[entry.ta_id][1][entry.rcpt_idx] = entry
            case RcptDone() if entry.ta_id in self.open and self._trusted:
                self.open[entry.ta_id][1].pop(entry.rcpt_idx, None)

    def distrust(self) -> None:
        """Notes that something is damaged before the next entry."""
        self._trusted = False


def _due(rcpt: RcptRecord, now: float) -> RcptRecord:
    """Gives a recipient that is due; one that is held waits for the operator."""
    return rcpt if rcpt.flags & RcptFlags.HOLD else replace(rcpt, next_try=now)


class _Recovery:
    """One run.  Owner: the main program, before the first thread.  Arguments as those of recover()."""

    def __init__(self, defedb: DefeDb, cdb: Cdb, lost_found: Path, log: Log, files: Files) -> None:
        self._defedb = defedb
        self._cdb = cdb
        self._lost_found = lost_found
        self._log = log
        self._files = files
        self.damage: list[Damage] = []
        self.stored = self.known = self.set_aside = 0

    def read(self, directory: Path, paths: list[Path]) -> Envelopes:
        """Reads all files; damaged parts are copied to lost+found."""
        envelopes = Envelopes()
        for text in misplaced(directory, paths):
            self._log.error("qmgr.misplaced", text, path=str(directory))
            self.damage.append(Damage(directory, 0, b"", tail=False))
            envelopes.distrust()
        for path in paths:
            reader = IbdbReader(path)
            for found in reader.entries():
                envelopes.add(found.entry, trusted=found.trusted)
            for damage in reader.damage:
                envelopes.distrust()
                self._keep(damage)
        return envelopes

    def _keep(self, damage: Damage) -> None:
        self.damage.append(damage)
        text = "torn tail, everything before it is used" if damage.tail else "damaged or cut, everything else is used"
        if damage.data:
            name = f"{damage.path.name}-{damage.offset:X}-{crc32(damage.data):08X}"
            self._files.write_durable(self._lost_found / name, damage.data)
            text += f"; kept as {self._lost_found / name}"
            text += f"; envelopes that may be in it: {' '.join(sorted(ids_in(damage.data))[:_NAMED_MAX]) or 'not known'}"
        write = self._log.warn if damage.tail else self._log.error
        write("qmgr.recover", text, path=str(damage.path), offset=damage.offset, size=len(damage.data))

    def move(self, envelopes: Envelopes, now: float) -> None:
        """Stores what is open in DEFEDB."""
        waiting = iter(envelopes.open.values())
        while batch := list(islice(waiting, _BATCH)):
            tas: list[TaRecord] = []
            put: list[RcptRecord] = []
            for ta, rcpts in batch:
                new = [_due(bounded(rcpt, now, 0.0), now) for rcpt in rcpts.values() if not self._is_known(rcpt)]
                if new and self._usable(ta, new):
                    put += new
                    tas.append(bounded_ta(self._numbered(ta, new), now))
            if put:
                self._defedb.store(tas, put)
                self.stored += len(put)

    def _numbered(self, ta: TaRecord, rcpts: list[RcptRecord]) -> TaRecord:
        """Gives the record of a transaction with a next free index that no recipient has, here or in DEFEDB."""
        try:
            known = self._defedb.get_ta(ta.ta_id) or ta
        except PermError:  # damaged there, and mended now
            known = ta
        return replace(known, rcpts=max(ta.rcpts, known.rcpts, *(rcpt.rcpt_idx + 1 for rcpt in rcpts)))

    def _is_known(self, rcpt: RcptRecord) -> bool:
        """Tells whether a recipient is in DEFEDB: what stands there is newer."""
        known = is_id(rcpt.ta_id) and self._defedb.has_rcpt(rcpt.ta_id, rcpt.rcpt_idx)
        self.known += known
        return known

    def _usable(self, ta: TaRecord, rcpts: list[RcptRecord]) -> bool:
        """Tells whether the content is there; an envelope without one goes to lost+found."""
        if is_id(ta.ta_id) and is_id(ta.cdb_id) and self._cdb.exists(ta.cdb_id):
            return True
        data = file_header(LONE_NUMBER) + ta_entry(ta, rcpts)
        path = self._lost_found / f"{_safe(ta.ta_id)}.envelope"
        self._files.write_durable(path, data)
        self.set_aside += 1
        text = f"the content file is missing; envelope kept as {path}, see metaqueue"
        self._log.fatal("qmgr.recover", text, ss_ta=ta.ta_id, cdb_id=ta.cdb_id, mail=ta.mail, rcpts=len(rcpts))
        return False

    def remove(self, directory: Path, paths: list[Path]) -> None:
        """Removes the files, the oldest first; each removal is durable before the next."""
        if last_number(directory):
            self._files.unlink(directory / LAST_NAME)
            self._files.sync_directory(directory)
        for path in paths:
            self._files.unlink(path)
            self._files.sync_directory(directory)


def _safe(name: str) -> str:
    """Gives a text that can be a file name."""
    return name if name.isascii() and name.isalnum() else f"{crc32(name.encode('utf-8', 'surrogateescape')):08X}"


def recover(
    ibdb_directory: Path,
    defedb: DefeDb,
    cdb: Cdb,
    lost_found: Path,
    now: float,
    log: Log,
    files: Files = FILES,
) -> RecoveryReport:
    """Brings the stores from any crash state to S1, S3, S6 or S7.  Runs before anything else uses them.  Blocks: yes (disk).

    Args:
        ibdb_directory: the IBDB files of the last run.
        defedb: open.
        cdb: content files.
        lost_found: where damaged parts and envelopes without content go.
        now: seconds since the epoch, next-try time of what is moved.
        log: gets one line for each damage, each envelope set aside, and for the whole.
        files: the file system.

    Returns:
        What was found and done.

    Raises:
        OSError: a file cannot be read, written or removed; nothing is lost, mend it and start again.
        PermError: a file is of another version.
        TempError: DEFEDB cannot be written.

    Disk: everything that is open is in DEFEDB, the IBDB files are gone.
    """
    set_aside_strangers(ibdb_directory, lost_found, log, files)
    paths = ibdb_files(ibdb_directory, files)
    run = _Recovery(defedb, cdb, lost_found, log, files)
    envelopes = run.read(ibdb_directory, paths)
    run.move(envelopes, now)
    run.remove(ibdb_directory, paths)
    log.info("qmgr.recovered", f"{len(envelopes.open)} open transactions in {len(paths)} IBDB files", rcpts=run.stored)
    return RecoveryReport(len(paths), len(envelopes.open), run.stored, run.known, run.set_aside, tuple(run.damage))
