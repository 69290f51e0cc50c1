"""Is a queue whole?  `metaqueue check` names what is not, `metaqueue repair` mends what can be mended.

Ref: docs/repair.md; invariants I2, I3.
"""

from collections.abc import Iterator
from pathlib import Path

from meta1g.base import paths
from meta1g.base.log import FdSink, Log
from meta1g.db.cdb import Cdb, ContentError
from meta1g.db.damage import DamageError
from meta1g.db.defedb import DefeDb
from meta1g.db.defedb_salvage import catastrophic, open_or_salvage
from meta1g.db.ibdb_reader import ibdb_files
from meta1g.db.lostfound import LostFound
from meta1g.tools.offline import CACHE_BYTES, PROG, UnreadableError, of_files, open_defedb, owner_of

_PIECE_BYTES = 1 << 20


def problems(queue: Path, *, content: bool) -> Iterator[str]:
    """Gives a line for everything that is wrong with a queue.

    Args:
        queue: the queue directory.
        content: content files are read to their ends, and their checksums compared.
    """
    envelopes, damage = of_files(ibdb_files(queue / paths.IBDB_DIRECTORY), "IBDB")
    yield from damage
    cdb = Cdb(queue / paths.CDB_DIRECTORY)
    known = {one.ta.cdb_id: (one.ta.size_bytes, one.ta.checksum) for one in envelopes}
    found: list[str] = []

    def name(file: Path, key: bytes, value: bytes, why: str) -> bool:
        found.append(f"{file}: {why}")
        return False

    all_known = True
    try:
        with open_defedb(queue, name) as defedb:
            for ta_id in defedb.ta_ids():
                ta = defedb.get_ta(ta_id)
                if ta is not None:
                    known[ta.cdb_id] = (ta.size_bytes, ta.checksum)
            try:
                defedb.check()
            except DamageError as error:
                found.append(error.cause)
    except UnreadableError as error:
        found.append(str(error))
        all_known = False
    yield from dict.fromkeys(found)
    for cdb_id, (size, checksum) in sorted(known.items()):
        yield from _content(cdb, cdb_id, size, checksum, whole=content)
    if all_known:
        yield from (f"{cdb.path(one)}: no envelope refers to it; qmgr removes it" for one, _ in cdb.ids() if one not in known)


def _content(cdb: Cdb, cdb_id: str, size: int, checksum: int | None, *, whole: bool) -> Iterator[str]:
    try:
        with owner_of(cdb.path(cdb_id).parent):
            reader = cdb.open(cdb_id, size if checksum is not None else None, checksum)
        try:
            while whole and not reader.at_end:
                reader.read(_PIECE_BYTES)
        finally:
            reader.close()
    except (ContentError, OSError) as error:
        yield error.cause if isinstance(error, ContentError) else str(error)


def repair(queue: Path) -> int:
    """Mends DEFEDB as QMGR does at its start; what cannot be used goes to lost+found.

    Returns:
        How many things were wrong.
    """
    with owner_of(queue / paths.DEFEDB_DIRECTORY):
        log, lost_found = Log(PROG, sink=FdSink()), queue / paths.LOST_FOUND_DIRECTORY
        cdb = Cdb(queue / paths.CDB_DIRECTORY)
        keeper = LostFound(lost_found, log).keep_record
        defedb = DefeDb(queue / paths.DEFEDB_DIRECTORY, CACHE_BYTES, keeper=keeper)
        try:
            salvaged = open_or_salvage(defedb, lost_found, log, cdb.exists)
            return int(salvaged) + defedb.mend()
        finally:
            defedb.close()


def recover(queue: Path) -> int:
    """Makes DEFEDB anew; gives how many recipients it has then."""
    with owner_of(queue / paths.DEFEDB_DIRECTORY):
        log = Log(PROG, sink=FdSink())
        lost_found = queue / paths.LOST_FOUND_DIRECTORY
        cdb = Cdb(queue / paths.CDB_DIRECTORY)
        lost = LostFound(lost_found, log)
        defedb = DefeDb(queue / paths.DEFEDB_DIRECTORY, CACHE_BYTES, keeper=lost.keep_record)
        try:
            catastrophic(defedb, lost_found, log, cdb.exists)
            lost.keep_content((cdb_id for cdb_id, _ in cdb.ids() if not defedb.has_ta(cdb_id)), "DEFEDB was made anew")
            return defedb.count()
        finally:
            defedb.close()
