"""Fills a queue with deferred mail, quickly: what tools and a start do with 1,000,000 entries is seen without waiting a day.

Senders, domains, ages and last replies differ, so that every selector has something to find; next tries are 90 minutes ahead.
Contents are written on request only; without them a delivery finds nothing to send and holds its recipient.
"""

import argparse
import fcntl
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from meta1g.base import paths
from meta1g.base.ids import IdGenerator
from meta1g.base.reply import Reply
from meta1g.db.cdb import Cdb
from meta1g.db.defedb import DefeDb
from meta1g.qmgr.attempts import with_attempt
from meta1g.qmgr.outcome import Outcome
from meta1g.rcb.envelope import RcptRecord, TaRecord

_BATCH = 20_000
_CACHE_BYTES = 256 << 20
_DAY_S = 86400.0
#: Less than max_retry_delay by default: what is later is taken for the work of a wrong clock.
_AHEAD_S = 5400.0
_REPLIES = (
    Reply(450, "4.2.1", "mailbox busy, try again later", "mx1.example[192.0.2.1]"),
    Reply(451, "4.4.1", "connection refused"),
    Reply(452, "4.2.2", "mailbox full", "mx2.example[192.0.2.2]"),
    Reply(421, "4.7.0", "too many connections", "mx3.example[192.0.2.3]"),
)


class _PastClock:
    """The time at which the entries came in."""

    def __init__(self, now_s: float) -> None:
        self._now_s = now_s

    def now(self) -> float:
        return self._now_s

    def monotonic(self) -> float:
        return self._now_s


def entries(count: int, rcpts: int, domains: int, size: int, now: float) -> Iterator[tuple[TaRecord, list[RcptRecord]]]:
    """Gives transactions with so many recipients in all, from two days ago until now.

    Args:
        count: recipients in all.
        rcpts: recipients of each transaction.
        domains: different domains.
        size: bytes of each content.
        now: seconds since the epoch.
    """
    ids = IdGenerator("S", 0xFE, _PastClock(now - 2 * _DAY_S))
    for first in range(0, count, rcpts):
        ta_id, entered = ids.transaction(), now - 2 * _DAY_S * (count - first) / count
        number = first // rcpts
        ta = TaRecord(
            ta_id=ta_id, cdb_id=ta_id, mail=f"sender{number % 1000}@from{number % 100}.example",
            size_bytes=size, entered=entered, rcpts=min(rcpts, count - first),
        )  # fmt: skip
        yield ta, [
            _tried(
                RcptRecord(
                    ta_id=ta_id, rcpt_idx=idx, rcpt=f"user{first + idx}@to{(first + idx) % domains}.example",
                    entered=entered, tries=3, next_try=now + _AHEAD_S + first / count,
                ),
                _REPLIES[(first + idx) % len(_REPLIES)],
                now - 60,
            )
            for idx in range(ta.rcpts)
        ]  # fmt: skip


def _tried(record: RcptRecord, reply: Reply, when: float) -> RcptRecord:
    return Outcome(reply).noted(with_attempt(record, reply.origin, reply, when), when)


def fill(queue: Path, count: int, *, rcpts: int = 1, domains: int = 1000, content: int = 0) -> int:
    """Fills a queue; gives how many transactions that were.

    Args:
        queue: the queue directory.
        count: recipients in all.
        rcpts: recipients of each transaction.
        domains: different domains.
        content: bytes of each content file, 0 for none.
    """
    cdb, made = Cdb(queue / paths.CDB_DIRECTORY), 0
    text = (b"Subject: filled\r\n\r\n" + b"x" * 70 + b"\r\n" * (1 + content // 72))[: max(content, 24)]
    defedb = DefeDb(queue / paths.DEFEDB_DIRECTORY, _CACHE_BYTES)
    defedb.open()
    try:
        found = entries(count, rcpts, domains, len(text), time.time())
        while batch := list(islice(found, max(1, _BATCH // rcpts))):
            if content:
                for ta, _ in batch:
                    cdb.path(ta.cdb_id).write_bytes(text)
            defedb.store([ta for ta, _ in batch], [rcpt for _, some in batch for rcpt in some])
            made += len(batch)
        defedb.checkpoint()
    finally:
        defedb.close()
    return made


def main() -> None:
    """Runs the program."""
    parser = argparse.ArgumentParser(prog="fill-queue", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="recipients in all (1000000)")
    parser.add_argument("--rcpts", type=int, default=1, help="recipients of each message (1)")
    parser.add_argument("--domains", type=int, default=1000, help="different domains (1000)")
    parser.add_argument("--content", type=int, default=0, metavar="BYTES", help="write contents of so many bytes")
    parser.add_argument("directory", type=Path, help="queue directory, as sm.setup makes it")
    options = parser.parse_args()
    with open(options.directory / paths.QMGR_LOCK_FILE, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        start_s = time.monotonic()
        made = fill(options.directory, options.count, rcpts=options.rcpts, domains=options.domains, content=options.content)
    seconds = time.monotonic() - start_s
    print(f"{options.count} recipients in {made} messages, {seconds:.1f} s ({options.directory})")


if __name__ == "__main__":
    main()
