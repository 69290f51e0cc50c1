"""Measures group commits of IBDB: `python -m bench.ibdb_commit [--directory DIR] [--seconds S]`.

Prints for each group size how many transactions a second are noted, written and flushed, and what one commit costs.  The
directory has to be on the disk in question; /tmp is often none.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from meta1g.db.ibdb import Ibdb
from meta1g.rcb.envelope import RcptRecord, TaRecord

GROUPS = (1, 10, 100)


def envelope(number: int) -> tuple[TaRecord, list[RcptRecord]]:
    """An envelope of common size with one recipient."""
    ta_id = f"S{number:016X}00"
    ta = TaRecord(ta_id=ta_id, cdb_id=ta_id, mail="<sender@from.example>", size_bytes=4096, entered=1.7e9, rcpts=1)
    return ta, [RcptRecord(ta_id=ta_id, rcpt_idx=0, rcpt="<recipient@to.example>", entered=1.7e9)]


def run(store: Ibdb, group: int, seconds: float, first: int) -> tuple[int, int, float]:
    """Commits groups for some seconds; each transaction is done one group later.  Gives transactions, commits, CPU time."""
    number, commits, cpu_s = first, 0, time.process_time()
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        for _ in range(group):
            store.new(*envelope(number))
            store.ta_done(f"S{number - group:016X}00")
            number += 1
        batch = store.take()
        if batch is not None:
            store.write(batch)
            store.finished(batch)
        commits += 1
    return number - first, commits, time.process_time() - cpu_s


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Measures group commits of IBDB.")
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="on the disk to measure (default: here)")
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each group size")
    args = parser.parse_args(argv)
    directory = Path(tempfile.mkdtemp(prefix="ibdb-", dir=args.directory))
    try:
        store = Ibdb(directory, 8 << 20)
        first = 1000
        for group in GROUPS:
            count, commits, cpu_s = run(store, group, args.seconds, first)
            first += count + 1000
            print(
                f"group {group:3}: {count / args.seconds:9.0f} transactions/s, {commits / args.seconds:7.0f} commits/s, "
                f"{args.seconds / commits * 1e6:6.0f} us a commit, {cpu_s / count * 1e6:5.1f} us CPU a transaction"
            )
        store.close()
    finally:
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
