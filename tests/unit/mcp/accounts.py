"""The five accounts for tests that need them: made by sm.setup, removed afterwards, one test at a time.

The lock file names those that a test is going to make, so that what a killed test left behind is removed by the next one.
"""

import contextlib
import fcntl
import grp
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

from contrib.lib.gateway import wait_until
from meta1g.base import paths

LOCK = Path("/run/meta1g-test-accounts.lock")
#: Exit code of userdel(8) while a process runs under the account.
_IN_USE = 8
ALL = [f"{kind} {account.name}" for kind in ("user", "group") for account in paths.ACCOUNTS]


def existing() -> set[str]:
    return {f"user {entry.pw_name}" for entry in pwd.getpwall()} | {f"group {entry.gr_name}" for entry in grp.getgrall()}


@contextlib.contextmanager
def accounts_of_this_machine() -> Iterator[None]:
    """Keeps other tests away from the accounts; removes those that no test has found."""
    with LOCK.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        left_behind = set(lock.read().splitlines())
        made = [name for name in ALL if name in left_behind or name not in existing()]
        lock.truncate(0)
        lock.write("\n".join(made))
        lock.flush()
        try:
            yield
        finally:
            remove(made)
            lock.truncate(0)


def remove(names: list[str]) -> None:
    for name in names:
        if name in existing():
            wait_until(lambda name=name: _removed(*name.split()), 30, f"{name} can be removed")


def _removed(kind: str, account: str) -> bool:
    """Removes a user or group; tells whether no process was in the way that is about to end."""
    done = subprocess.run([f"{kind}del", account], check=False, capture_output=True, text=True)
    assert done.returncode in (0, _IN_USE), done.stderr
    return done.returncode == 0
