"""metaqueue: prints the envelopes of IBDB and DEFEDB, or makes DEFEDB anew, while QMGR does not run.

    metaqueue [--json] [-f FILE | DIRECTORY | IBDB-FILE | RECORD-FILE]
    metaqueue recover [-f FILE | DIRECTORY]

Of IBDB it shows what recovery would move to DEFEDB; damage is named on standard error.  An IBDB file, or an envelope or a
record that was set aside in lost+found, can be named alone.

recover is the catastrophic recovery of DEFEDB: its files go to lost+found, and a new DEFEDB gets what the transaction log
gives when it is played again from its beginning, what the pages of the main file have, and what else looks like a record.
QMGR does so by itself at its start when DEFEDB cannot be read; this command does it although QMGR thinks that it can.

Ref: MeTA1 metaqueue (name and purpose modelled on).
"""

import argparse
import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from meta1g.base import cli, paths, sysexits
from meta1g.base.dataclass import dataclass
from meta1g.base.ids import idx_text
from meta1g.base.log import FdSink, Log, sanitize
from meta1g.db.cdb import Cdb
from meta1g.db.defedb import DefeDb
from meta1g.db.defedb_pages import record_of
from meta1g.db.defedb_salvage import catastrophic
from meta1g.db.ibdb_reader import IbdbReader, ibdb_files
from meta1g.db.lostfound import RECORD_SUFFIX, LostFound, read_record
from meta1g.db.recovery import Envelopes
from meta1g.rcb.envelope import RcptFlags, RcptRecord, TaRecord

_PROG: Final = "metaqueue"
_CACHE_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Envelope:
    """One transaction in one store.  Immutable."""

    store: str
    ta: TaRecord
    rcpts: tuple[RcptRecord, ...]


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


def of_defedb(directory: Path) -> Iterator[Envelope]:
    """Gives all envelopes of DEFEDB in the order of their ids; damaged records stay and are named on standard error."""
    defedb = DefeDb(directory, _CACHE_BYTES)
    defedb.keeper = _name_damaged
    defedb.open()
    try:
        for ta_id in defedb.ta_ids():
            ta = defedb.get_ta(ta_id)
            if ta is not None:
                yield Envelope("DEFEDB", ta, tuple(defedb.get_rcpts(ta_id)))
    finally:
        defedb.close()


def _name_damaged(file: Path, key: bytes, value: bytes, why: str) -> bool:
    sys.stderr.write(f"{_PROG}: {file}: {sanitize(why)}\n")
    return False


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
        sys.stderr.write(f"{_PROG}: {path}: {sanitize(key.decode('ascii', 'replace'))} is damaged: {sanitize(repr(value))}\n")


def recover(queue: Path) -> int:
    """Makes DEFEDB anew; gives how many recipients it has then."""
    _check_queue(queue)
    with queue_lock(queue):
        become_owner(queue / paths.DEFEDB_DIRECTORY)
        log = Log(_PROG, sink=FdSink())
        lost_found = queue / paths.LOST_FOUND_DIRECTORY
        cdb = Cdb(queue / paths.CDB_DIRECTORY)
        lost = LostFound(lost_found, log)
        defedb = DefeDb(queue / paths.DEFEDB_DIRECTORY, _CACHE_BYTES)
        defedb.keeper = lost.keep_record
        try:
            catastrophic(defedb, lost_found, log, cdb.exists)
            lost.keep_content((cdb_id for cdb_id, _ in cdb.ids() if not defedb.has_ta(cdb_id)), "DEFEDB was made anew")
            return defedb.count()
        finally:
            defedb.close()


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


def become_owner(directory: Path) -> None:
    """Takes the identity of a directory's owner, so that root leaves no files there that QMGR cannot open."""
    owner = directory.stat()
    if os.geteuid() == 0:
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)


def print_json(envelope: Envelope) -> None:
    """Prints an envelope as one line of JSON."""
    facts = {"store": envelope.store, **asdict(envelope.ta), "rcpts": [asdict(rcpt) for rcpt in envelope.rcpts]}
    print(json.dumps(facts))


def print_text(envelope: Envelope) -> None:
    """Prints an envelope for people."""
    ta = envelope.ta
    print(f"{sanitize(ta.ta_id)}  {envelope.store}  {ta.size_bytes} bytes  {_time(ta.entered)}  from {sanitize(ta.mail)}")
    for rcpt in envelope.rcpts:
        flags = RcptFlags(rcpt.flags).name if rcpt.flags else None
        facts = [idx_text(rcpt.rcpt_idx), sanitize(rcpt.rcpt), f"tries {rcpt.tries}", f"next {_time(rcpt.next_try)}"]
        facts += [sanitize(flags)] if flags else []
        facts += [sanitize(str(rcpt.reply))] if rcpt.reply.code else []
        print("    " + "  ".join(facts))


def _time(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if when else "-"


def _queue_directory(args: argparse.Namespace) -> Path:
    if args.words:
        return Path(args.words[0])
    from meta1g.conf.load import load_file

    return Path(load_file(args.file).queue_directory)


def _envelopes(path: Path) -> Iterator[Envelope]:
    """Gives all envelopes of a queue directory, or of one file; damage goes to standard error."""
    if path.is_file():
        yield from of_record(path) if path.suffix == RECORD_SUFFIX else _reported([path], path.name)
        return
    _check_queue(path)
    with queue_lock(path):
        become_owner(path / paths.DEFEDB_DIRECTORY)
        yield from _reported(ibdb_files(path / paths.IBDB_DIRECTORY), "IBDB")
        yield from of_defedb(path / paths.DEFEDB_DIRECTORY)


def _check_queue(path: Path) -> None:
    for name in (paths.IBDB_DIRECTORY, paths.DEFEDB_DIRECTORY):
        if not (path / name).is_dir():
            raise cli.CliError(f"{path}: no queue directory: {name} is missing", sysexits.EX_NOINPUT)


def _reported(files: list[Path], store: str) -> list[Envelope]:
    envelopes, damage = of_files(files, store)
    for line in damage:
        sys.stderr.write(f"{_PROG}: {line}\n")
    return envelopes


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code."""
    parser = cli.parser(_PROG, "Prints the envelopes of IBDB and DEFEDB, or makes DEFEDB anew, while qmgr does not run.")
    parser.add_argument("-f", dest="file", type=Path, default=paths.DEFAULT_CONFIG_FILE, help="configuration file")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="[recover] [PATH]",
        help="queue directory, or one IBDB, .envelope or .record file; `recover`: make DEFEDB anew from its log and its pages",
    )
    args = parser.parse_args(argv)
    making = args.words[:1] == ["recover"]
    args.words = args.words[making:]
    if len(args.words) > 1:
        parser.error("one path is enough")
    if making:
        print(f"DEFEDB was made anew: {recover(_queue_directory(args))} recipients; see lost+found")
        return sysexits.EX_OK
    print_one = print_json if args.json else print_text
    for envelope in _envelopes(_queue_directory(args)):
        print_one(envelope)
    return sysexits.EX_OK


def run() -> None:
    """Is the program of the shell."""
    sys.exit(cli.run_program(_PROG, main))
