"""Damages the files of a queue in seeded ways, at rest and while qmgr runs, and looks what becomes of the mail.

    python -m tests.fault.damage --count 200 --seed 1

Each round: messages are accepted, some are deferred to DEFEDB, some wait in IBDB; qmgr is killed or stopped, or runs on; one
file is damaged; qmgr goes on, is started again if it ends, and everybody may deliver.  What has to hold:

    - every message that the damage did not touch is delivered
    - every other one is delivered, or named: in the log, in lost+found, or as held
    - what a server gets as a whole message is byte for byte what was accepted
    - qmgr is not ended by damage more than once
"""

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from meta1g.base.errors import PermError
from meta1g.base.log import Log
from meta1g.base.plainfile import open_plain
from meta1g.db.ibdb_reader import IbdbReader
from meta1g.db.lostfound import LostFound
from meta1g.rcb.smtps_qmgr import CloseTransaction
from tests.fakes.qmgr_peers import Agent, Job
from tests.fakes.qmgr_process import QmgrProcess
from tests.fakes.qmgr_system import wait_until

DEFERRED = 8
WAITING = 8
PAGE = 4096
DEADLINE_S = 30.0


def _bits(rng: random.Random, path: Path) -> str:
    data = bytearray(path.read_bytes())
    end = max(1, len(data.rstrip(b"\0")))
    for _ in range(rng.choice((1, 1, 3, 20))):
        data[rng.randrange(end)] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return "bits"


def _cut(rng: random.Random, path: Path) -> str:
    return _cut_to(path, rng.randrange(max(1, len(path.read_bytes().rstrip(b"\0")))))


def _cut_to(path: Path, size: int) -> str:
    with path.open("r+b") as file:
        file.truncate(size)
    return f"cut to {size}"


def _cut_between(rng: random.Random, path: Path) -> str:
    """Cuts where an entry of IBDB ends, or a page of another file."""
    try:
        places = [found.offset for found in IbdbReader(path).entries()]
    except (OSError, PermError):
        places = []
    return _cut_to(path, rng.choice(places or range(0, path.stat().st_size, PAGE) or [0]))


def _zero_pages(rng: random.Random, path: Path) -> str:
    pages = -(-max(1, len(path.read_bytes().rstrip(b"\0"))) // PAGE)
    page = rng.randrange(pages)
    size = min(PAGE, path.stat().st_size - page * PAGE)
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(bytes(size))
    return f"page {page} is zero"


def _missing(rng: random.Random, path: Path) -> str:
    path.unlink()
    return "missing"


def _swapped(rng: random.Random, path: Path) -> str:
    others = [other for other in path.parent.iterdir() if other.is_file() and other != path and other.name != "DAMAGE"]
    if not others:
        return _bits(rng, path)
    other = rng.choice(others)
    work = path.with_name("swap")
    path.rename(work)
    other.rename(path)
    work.rename(other)
    return f"swapped with {other.name}"


def _no_file(rng: random.Random, path: Path) -> str:
    """Leaves something in its place that is no file."""
    path.unlink()
    make: Callable[[], None]
    name, make = rng.choice((("directory", path.mkdir), ("FIFO", lambda: os.mkfifo(path)), ("link", lambda: _link(path))))
    make()
    return f"a {name}"


def _link(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


KINDS: tuple[Callable[[random.Random, Path], str], ...] = (
    *(_bits, _cut, _cut_between, _zero_pages, _missing, _swapped, _no_file),
)
STORES = ("cdb", "ibdb", "main", "index", "log")
MODES = ("killed", "stopped", "running")


def plan(rng: random.Random) -> tuple[str, Callable[[random.Random, Path], str], str]:
    """Decides which store is damaged, how, and whether qmgr was killed or stopped before, or runs."""
    return rng.choice(STORES), rng.choice(KINDS), rng.choice(MODES)


@dataclass
class Result:
    """What one round showed."""

    what: str
    accepted: int
    delivered: int = 0
    named: int = 0
    restarts: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass
class Message:
    """A message that was accepted."""

    ta_id: str
    content: bytes
    deferred: bool


class Round:
    """One round.

    Args:
        seed: decides everything.
        root: a directory of its own.
    """

    def __init__(self, seed: int, root: Path) -> None:
        self.rng = random.Random(seed)
        self.store, self.kind, self.mode = plan(self.rng)
        self.qmgr = QmgrProcess(root)
        self.messages: dict[str, Message] = {}
        self.sent: dict[str, bytes] = {}
        self.altered: list[str] = []
        self.touched: set[str] = set()
        self.restarts = 0
        self.what = ""

    def run(self) -> Result:
        """Runs it."""
        with self.qmgr as qmgr:
            qmgr.smar()
            agent = qmgr.agent(script=lambda job: job.done(450))
            smtps = qmgr.smtps()
            for number in range(DEFERRED + WAITING):
                if number == DEFERRED:
                    wait_until(lambda: qmgr.ask("status")["defedb"] == DEFERRED, "deferred")
                    agent.script = lambda job: None
                self._accept(smtps, number)
            agent.wait_jobs(DEFERRED + WAITING)
            what = self.what = self._damage()
            self._go_on()
            result = Result(f"{self.store} {what} {self.mode}", len(self.messages), restarts=self.restarts)
            self._judge(result)
        return result

    def _accept(self, smtps, number: int) -> None:
        content = b"Subject: %d\r\n\r\n%s\r\n" % (number, self.rng.randbytes(self.rng.choice((20, 3000, 9000))).hex().encode())
        ta_id = smtps.envelope(f"r{number}@to{number}.example", content=content, mail=f"sender{number}@from.example")
        smtps.peer.send(
            CloseTransaction(ta_id=ta_id, cdb_id=ta_id, size_bytes=len(content), rcpts=1, checksum=crc32(content)), 7
        )
        assert smtps.reply().code == 250
        self.messages[ta_id] = Message(ta_id, content, number < DEFERRED)

    # -- damage --------------------------------------------------------------------------------------------------------

    def _damage(self) -> str:
        if self.mode != "running":
            self.qmgr.end(signal.SIGKILL if self.mode == "killed" else signal.SIGTERM)
        path = self._file()
        what = "nothing there" if path is None else f"{path.name}: {self.kind(self.rng, path)}"
        self.touched = {one.ta_id for one in self.messages.values() if self._content(one) != one.content}
        if self.mode == "running" and self.store == "ibdb":
            self.qmgr.end(signal.SIGKILL)  # nobody reads these files in a running process
        if self.mode != "running" or self.store == "ibdb":
            self._start()
        return what

    def _content(self, one: Message) -> bytes:
        path = self.qmgr.cdb.path(one.ta_id)
        return path.read_bytes() if path.is_file() else b""

    def _file(self) -> Path | None:
        queue = self.qmgr.queue
        found = {
            "cdb": sorted((queue / "cdb").glob("*/*")),
            "ibdb": sorted((queue / "ibdb").glob("ibdb*")),
            "main": [queue / "defedb" / "defedb.db"],
            "index": [queue / "defedb" / "due.db"],
            "log": sorted((queue / "defedb").glob("log.*")),
        }[self.store]
        return self.rng.choice(found) if found else None

    def _start(self) -> None:
        self.qmgr.start()
        self.qmgr.smar()

    # -- afterwards ----------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        with contextlib.suppress(OSError, EOFError):  # it may be ending this moment
            self._serve()
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            if self.qmgr.process.poll() is not None:
                self.restarts += 1
                self.qmgr.end()
                self._start()
            with contextlib.suppress(OSError, EOFError, AssertionError):
                if not any(isinstance(peer, Agent) for peer in self.qmgr.peers):
                    self._serve()
                self.qmgr.ask("retry", "all")
                status = self.qmgr.ask("status")
                if status["defedb"] == status["held"] and not status["aq"] and not status["defedb_pending"]:
                    return
            time.sleep(0.05)

    def _serve(self) -> None:
        for peer in [peer for peer in self.qmgr.peers if isinstance(peer, Agent)]:
            peer.stop()
            self.qmgr.peers.remove(peer)
        self.qmgr.agent(script=self._deliver, read=False)

    def _deliver(self, job: Job) -> None:
        """Does as smtpc does: content that is not as it was accepted is never sent as a whole."""
        msg = job.msg
        try:
            with open_plain(self.qmgr.cdb.path(msg.cdb_id)) as file:
                data = file.read()
        except OSError as error:
            job.damaged(str(error))
            return
        if len(data) != msg.file_bytes or (msg.checksum is not None and crc32(data) != msg.checksum):
            job.damaged("differs")
            return
        if msg.dsn_head is None:
            known = self.messages.get(msg.ta_id)
            if known is None or known.content != data or msg.mail.startswith("sender") is False:
                self.altered.append(msg.ta_id)
            self.sent[msg.ta_id] = data
        job.done()

    def _judge(self, result: Result) -> None:
        log = self.qmgr.log()
        lost = LostFound(self.qmgr.queue / "lost+found", Log("test"))
        held = {row["ta"] for row in self.qmgr.ask("queue") if row["where"] == "held"}
        named = held | lost.content_ids() | set(re.findall(r"S[0-9A-F]{18}", "\n".join(_bad_lines(log))))
        result.delivered = len(self.sent)
        missing = set(self.messages) - set(self.sent)
        result.named = len(missing & named)
        result.wrong += [f"{one} is neither delivered nor named" for one in sorted(missing - named)]
        result.wrong += [f"{one} was altered" for one in self.altered]
        result.wrong += [f"{one} was not damaged and is not delivered" for one in sorted(missing - self._may_be_hit())]
        if self.restarts > 1:
            result.wrong.append(f"qmgr ended {self.restarts} times")

    def _may_be_hit(self) -> set[str]:
        """Gives the messages that the damage may cost."""
        everything = self.messages.values()
        if self.store == "cdb":
            return self.touched
        if self.store == "ibdb":
            return {one.ta_id for one in everything if not one.deferred}
        if (self.store == "log" or "log." in self.what) and self.mode == "killed":  # what is nowhere else
            return {one.ta_id for one in everything if one.deferred}
        return set()


def _bad_lines(log: str) -> list[str]:
    return [line for line in log.splitlines() if re.search(r"sevr=(FATAL|ERROR|WARN)", line)]


def one_round(seed: int) -> Result:
    """Runs the round of one seed in a directory of its own."""
    root = Path(tempfile.mkdtemp(prefix="damage"))
    try:
        return Round(seed, root).run()
    finally:
        shutil.rmtree(root)


def main() -> int:
    """Runs many rounds and prints what each showed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    bad = 0
    for seed in range(options.seed, options.seed + options.count):
        result = one_round(seed)
        bad += bool(result.wrong)
        state = "WRONG " + "; ".join(result.wrong) if result.wrong else "ok"
        print(
            f"{seed:4} {result.what}: {result.delivered} of {result.accepted} delivered, {result.named} named, "
            f"{result.restarts} restarts: {state}",
            flush=True,
        )
    print(f"{options.count - bad} passed, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
