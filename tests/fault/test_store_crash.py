"""The power goes before each single file operation; recovery then has to keep every promise (invariants I1 to I3)."""

import contextlib
import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

from meta1g.base.log import Log
from meta1g.db.cdb import Cdb
from meta1g.db.defedb import DefeDb
from meta1g.db.files import Files
from meta1g.db.ibdb import Ibdb
from meta1g.db.ibdb_reader import ibdb_files
from meta1g.db.recovery import recover
from tests.fakes.envelopes import NOW, cdb_directories, rcpt, rcpts, ta, ta_id
from tests.fakes.lossy_files import Crash, LossyFiles


class NoSink:
    def write(self, sevr, stamp, head, text):
        pass

    def reopen(self):
        pass


LOG = Log("qmgr", sink=NoSink())
Key = tuple[str, int]


class Queue:
    """The stores as QMGR uses them, and what it has promised so far."""

    def __init__(self, root, home, files):
        self.root = root
        self.cdb = Cdb(root / "cdb", files)
        self.ibdb = Ibdb(root / "ibdb", 700, files)
        self.defedb = DefeDb(home, 1 << 20)
        self.defedb.open()
        self.owed: set[Key] = set()  # acknowledged and not delivered
        self.finished: set[Key] = set()  # delivered, and that is durable
        self._delivered: set[Key] = set()
        self._unsaid: set[Key] = set()
        self._removable: list[str] = []

    def receive(self, number, count):
        self.cdb.write_whole(ta_id(number), [b"content"])
        self.ibdb.new(ta(number, count), rcpts(number, count))
        self._unsaid |= {(ta_id(number), idx) for idx in range(count)}

    def deliver(self, number, idx, *, last):
        """One recipient is delivered; with the last one the transaction is done."""
        self.owed.discard((ta_id(number), idx))
        self._delivered.add((ta_id(number), idx))
        self.ibdb.rcpt_done(ta_id(number), idx)
        if last:
            self.ibdb.ta_done(ta_id(number))
            self._removable.append(ta_id(number))

    def bounce(self, number, idx):
        """One recipient fails: a bounce takes its place."""
        self.ibdb.rcpt_new(rcpt(number, 100 + idx, flags=1))
        self.ibdb.rcpt_done(ta_id(number), idx)

    def defer(self, number, indexes):
        """What is left of a transaction goes to DEFEDB."""
        self.defedb.store([ta(number)], [rcpt(number, idx, tries=1) for idx in indexes])
        for idx in indexes:
            self.ibdb.rcpt_done(ta_id(number), idx)
        self.ibdb.ta_done(ta_id(number))

    def commit(self):
        batch = self.ibdb.take()
        if batch is None:
            return
        unsaid, self._unsaid = self._unsaid, set()
        delivered, self._delivered = self._delivered, set()
        removable, self._removable = self._removable, []
        self.ibdb.write(batch)
        self.owed |= unsaid
        self.finished |= delivered
        self.ibdb.finished(batch)
        for cdb_id in removable:
            self.cdb.unlink(cdb_id)


def scenario(queue):
    """Thirty messages in all states, several files, one transaction that stays open from the beginning."""
    rng = random.Random(7)
    queue.receive(1, 3)
    queue.commit()
    queue.bounce(1, 0)
    for number in range(2, 32):
        queue.receive(number, 2)
        if rng.random() < 0.4:
            queue.commit()
        before = number - 3
        if before < 2 or (ta_id(before), 0) not in queue.owed:
            continue
        kind = rng.randrange(4)
        if kind == 0:
            queue.deliver(before, 0, last=False)
            queue.deliver(before, 1, last=True)
        elif kind == 1:
            queue.deliver(before, 1, last=False)
            queue.commit()
            queue.defer(before, [0])
        elif kind == 2:
            queue.deliver(before, 1, last=False)
    queue.commit()
    queue.deliver(1, 2, last=False)
    queue.defer(1, [1, 100])
    for number in (40, 41, 42):
        queue.receive(number, 1)
        queue.commit()


@pytest.fixture
def scratch(tmp_path):
    """A directory in memory, if there is one: what is durable is decided by the double, not by the disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


def tree(root):
    for name in ("ibdb", "lost+found"):
        (root / name).mkdir(parents=True)
    cdb_directories(root / "cdb")
    return root


def run(base, crash_at):
    """Runs the scenario until the crash; gives files and queue."""
    root, home = tree(base / "before"), base / "defedb"
    home.mkdir()
    files = LossyFiles(root, crash_at)
    queue = Queue(root, home, files)
    with contextlib.suppress(Crash):
        scenario(queue)
    return files, queue


def count_operations(tmp_path):
    files, queue = run(tmp_path / "count", 0)
    queue.ibdb.close()
    queue.defedb.close()
    shutil.rmtree(tmp_path / "count")
    return files.operations


def recovered(root, home, files=None):
    """Opens what is left, recovers; gives what is deferred."""
    defedb = DefeDb(home, 1 << 20)
    defedb.open()
    try:
        report = recover(root / "ibdb", defedb, Cdb(root / "cdb"), root / "lost+found", NOW + 9, LOG, files or Files())
        defedb.check()
        return {(r.ta_id, r.rcpt_idx) for r in defedb.scan(None, 1000)}, report
    finally:
        defedb.close()


def promise(queue, deferred, root):
    """What must hold after any crash: what was acknowledged is there or delivered, what is done stays done."""
    replaced = {(ta_id(1), 0): (ta_id(1), 100)}
    lost = {key for key in queue.owed if key not in deferred and replaced.get(key) not in deferred}
    assert lost == set()
    assert queue.finished & deferred == set()
    cdb = Cdb(root / "cdb")
    assert {key for key in deferred if not cdb.exists(key[0])} == set()


#: What the disk may have of operations that no flush made durable.
HOW = ("nothing", "all", "some")
#: Parts that run beside each other.
PARTS = 3


@pytest.mark.parametrize("part", range(PARTS))
def test_no_promise_is_broken_wherever_the_power_goes(scratch, part):
    operations = count_operations(scratch)
    assert operations > 120
    for crash_at in range(1 + part, operations + 1, PARTS):
        base = scratch / str(crash_at)
        files, queue = run(base, crash_at)
        homes = {how: shutil.copytree(base / "defedb", base / f"defedb-{how}") for how in HOW}
        queue.defedb.close()
        for how, home in homes.items():
            files.survivors(base / how, how, seed=crash_at)
            deferred, _ = recovered(base / how, home)
            promise(queue, deferred, base / how)
            assert ibdb_files(base / how / "ibdb") == []
        shutil.rmtree(base)


def test_recovery_may_be_cut_anywhere_and_run_again(scratch):
    files, queue = run(scratch, count_operations(scratch) - 12)
    files.survivors(scratch / "after", "some", seed=3)
    bad = ibdb_files(scratch / "after/ibdb")[0]
    data = bytearray(bad.read_bytes())
    data[60] ^= 0xFF
    bad.write_bytes(data)
    shutil.copytree(scratch / "defedb", scratch / "home")
    queue.defedb.close()
    expected, _ = again(scratch, 0)
    operations = again.operations
    assert operations > 8
    for crash_at in range(1, operations + 1):
        for how in HOW:
            _, survivors = again(scratch, crash_at, how)
            deferred, report = recovered(survivors, scratch / "run/home")
            assert deferred == expected
            assert {d.offset for d in report.damage} <= {20}
            assert [p.name for p in (survivors / "lost+found").iterdir() if p.suffix != ".new"] == again.lost


def again(tmp_path, crash_at, how="all"):
    """Runs recovery on a copy of what the crash left, and crashes in it; gives result and what is left then."""
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    shutil.copytree(tmp_path / "after", tmp_path / "run/root")
    shutil.copytree(tmp_path / "home", tmp_path / "run/home")
    files = LossyFiles(tmp_path / "run/root", crash_at)
    deferred = None
    with contextlib.suppress(Crash):
        deferred, _ = recovered(tmp_path / "run/root", tmp_path / "run/home", files)
    if not crash_at:
        again.operations = files.operations
        again.lost = [p.name for p in (tmp_path / "run/root/lost+found").iterdir()]
    files.survivors(tmp_path / "run/left", how, seed=crash_at)
    return deferred, tmp_path / "run/left"
