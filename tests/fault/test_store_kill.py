"""A process that uses the stores is killed again and again; whatever it said was stored has to be there."""

import random
import subprocess
import sys

import pytest

from meta1g.db.cdb import Cdb
from meta1g.db.defedb import DefeDb
from meta1g.db.recovery import recover
from tests.fakes.envelopes import NOW
from tests.fault.test_store_crash import LOG, tree

WRITER = """
import sys
from pathlib import Path
from meta1g.db.cdb import Cdb
from meta1g.db.defedb import DefeDb
from meta1g.db.ibdb import Ibdb
from tests.fakes.envelopes import rcpt, rcpts, ta, ta_id

root, first = Path(sys.argv[1]), int(sys.argv[2])
cdb, ibdb, defedb = Cdb(root / "cdb"), Ibdb(root / "ibdb", 8192), DefeDb(root / "defedb", 1 << 20)
defedb.open()

def commit():
    batch = ibdb.take()
    ibdb.write(batch)
    ibdb.finished(batch)

def say(text):
    sys.stdout.write(text + "\\n")
    sys.stdout.flush()

for number in range(first, first + 100_000):
    cdb.write_whole(ta_id(number), [b"content"])
    ibdb.new(ta(number, 2), rcpts(number, 2))
    commit()
    say(f"accepted {number}")
    if number % 3 == 0:
        defedb.store([ta(number, 2)], [rcpt(number, 0, tries=1)])
        ibdb.ta_done(ta_id(number))  # the other one is delivered
        say(f"deferred {number}")
    elif number % 3 == 1:
        ibdb.ta_done(ta_id(number))
        commit()
        cdb.unlink(ta_id(number))
        say(f"delivered {number}")
    elif number % 51 == 2:
        say(f"removing {number - 20}")
        gone = [n for n in range(first, number - 20) if n % 3 == 0]
        defedb.store([], [], [(ta_id(n), 0) for n in gone])
        for n in gone:
            cdb.unlink(ta_id(n))
        say(f"removed {number - 20}")
        defedb.checkpoint()
"""


def run_and_kill(root, first, lines):
    """Starts the writer, kills it after so many lines; gives what it said."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), str(first)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        said = [process.stdout.readline().split() for _ in range(lines)]
        process.kill()
        said += [line.split() for line in process.stdout if line.endswith("\n")]
        assert process.stderr.read() == ""
    return [(word, int(number)) for word, number in said]


@pytest.mark.parametrize("seed", range(3))
def test_what_a_killed_process_acknowledged_is_there(tmp_path, seed):
    rng = random.Random(seed)
    root = tree(tmp_path)
    (root / "defedb").mkdir()
    defedb = DefeDb(root / "defedb", 1 << 20)
    owed, first = set(), 0
    for _ in range(4):
        said = run_and_kill(root, first, rng.randrange(1, 200))
        owed |= {n for word, n in said if word == "accepted"}
        delivered = {n for word, n in said if word == "delivered"}
        removed = {n for word, limit in said if word == "removed" for n in range(first, limit) if n % 3 == 0}
        unsaid = {max(owed)} | {n for word, limit in said if word == "removing" for n in range(first, limit) if n % 3 == 0}
        defedb.open()
        recover(root / "ibdb", defedb, Cdb(root / "cdb"), root / "lost+found", NOW, LOG)
        defedb.check()
        there = {int(found[1:17], 16) for found in defedb.ta_ids()}
        defedb.close()
        assert owed - delivered - unsaid - there == set()
        assert there & (delivered | removed) == set()
        owed = there
        first = max(there | {first}) + 1000
    assert owed
