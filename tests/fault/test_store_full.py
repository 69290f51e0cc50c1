"""The disk is full: changes are refused as a whole, what was there stays, and work goes on when there is room again."""

import subprocess
import sys

PROGRAM = """
import errno, resource, signal, sys
from pathlib import Path
from meta1g.base.errors import TempError
from meta1g.db.cdb import Cdb
from meta1g.db.damage import read_note
from meta1g.db.defedb import DefeDb
from meta1g.db.ibdb import Ibdb
from tests.fakes.envelopes import cdb_directories, rcpts, ta, ta_id

root = Path(sys.argv[1])
for name in ("defedb", "ibdb"):
    (root / name).mkdir()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def commit():
    batch = ibdb.take()
    try:
        ibdb.write(batch)
    except OSError as error:
        assert error.errno == errno.EFBIG
        return False
    finally:
        ibdb.finished(batch)
        ibdb.check()
    return True

db, ibdb, cdb = DefeDb(root / "defedb", 1 << 20), Ibdb(root / "ibdb", 1 << 24), Cdb(cdb_directories(root / "cdb"))
db.open()
db.store([ta(n, 3) for n in range(500)], [r for n in range(500) for r in rcpts(n, 3)])
limit(300_000)

stored = 500
try:
    while True:
        db.store([ta(stored, 3)], rcpts(stored, 3))
        stored += 1
except TempError:
    pass
assert (db.count(), db.has_ta(ta_id(stored)), db.has_ta(ta_id(stored - 1))) == (3 * stored, False, True)

ibdb.new(ta(1, 100), rcpts(1, 100))
assert not commit()
assert ibdb.open_count == 0

try:
    cdb.write_whole(ta_id(1), [bytes(400_000)])
except OSError as error:
    assert error.errno == errno.EFBIG
assert list(cdb.ids()) == []

limit(resource.RLIM_INFINITY)
db.store([ta(stored, 3)], rcpts(stored, 3))
ibdb.new(ta(2), rcpts(2, 1))
assert commit()
db.close()
assert read_note(root / "defedb") is None
db.open()
db.check()
assert db.count() == 3 * stored + 3
db.close()
ibdb.close()
print("good")
"""


def test_a_full_disk_refuses_and_breaks_nothing(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (result.stdout, result.stderr, result.returncode) == ("good\n", "", 0)
