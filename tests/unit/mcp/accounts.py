"""The five accounts for tests that need them: made by sm.setup, removed afterwards, one test at a time."""

import contextlib
import fcntl
import grp
import pwd
import subprocess
from collections.abc import Iterator

from meta1g.base import paths

LOCK = "/run/meta1g-test-accounts.lock"


def existing() -> set[str]:
    return {f"user {entry.pw_name}" for entry in pwd.getpwall()} | {f"group {entry.gr_name}" for entry in grp.getgrall()}


@contextlib.contextmanager
def accounts_of_this_machine() -> Iterator[None]:
    """Keeps other tests away from the accounts; removes those that were not there before."""
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = existing()
        try:
            yield
        finally:
            remove(before)


def remove(keep: set[str]) -> None:
    for kind, command in (("user", "userdel"), ("group", "groupdel")):
        for account in paths.ACCOUNTS:
            if f"{kind} {account.name}" in existing() - keep:
                subprocess.run([command, account.name], check=True, capture_output=True)
