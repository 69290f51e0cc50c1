"""The five accounts on this machine: which are missing, how they are made.

Ref: MeTA1's packages (numbers 260 to 264, memberships); groupadd(8), useradd(8), usermod(8).
"""

import grp
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from meta1g.base import paths, sysexits
from meta1g.base.accounts import group_entry, user_entry
from meta1g.base.cli import CliError
from meta1g.base.dataclass import dataclass
from meta1g.base.paths import Account


@dataclass(frozen=True, slots=True)
class AccountStep:
    """One command that makes what is missing, and what to tell about it."""

    command: tuple[str, ...]
    text: str


def group_id(name: str) -> int | None:
    """Gives the number of a group, None if there is no such group."""
    entry = group_entry(name)
    return None if entry is None else entry.gr_gid


def conflicts(accounts: Sequence[Account] = paths.ACCOUNTS) -> list[str]:
    """Gives one line for each number that somebody else has, and for each user with another primary group."""
    found = []
    for account in accounts:
        user = user_entry(account.name)
        if user is None and (other := user_entry(str(account.number))) is not None:
            found.append(f"user id {account.number} of {account.name} belongs to {other.pw_name}")
        if group_id(account.name) is None and (group := _group_of(account.number)) is not None:
            found.append(f"group id {account.number} of {account.name} belongs to {group}")
        gid = group_id(account.name)
        if user is not None and gid is not None and user.pw_gid != gid:
            found.append(f"user {account.name} has primary group id {user.pw_gid}, not {gid} of group {account.name}")
    return found


def _group_of(number: int) -> str | None:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return None


def missing(accounts: Sequence[Account] = paths.ACCOUNTS) -> Iterator[AccountStep]:
    """Gives the commands that make what is missing: groups, users, memberships, in this order."""
    for account in accounts:
        if group_id(account.name) is None:
            number = str(account.number)
            yield AccountStep(("groupadd", "-g", number, account.name), f"group {account.name} ({number})")
    for account in accounts:
        if user_entry(account.name) is None:
            yield AccountStep(_useradd(account), f"user {account.name} ({account.number})")
    for account in accounts:
        for name in account.member_of:
            if not is_member(account.name, name):
                yield AccountStep(("usermod", "-a", "-G", name, account.name), f"user {account.name} in group {name}")


def _useradd(account: Account) -> tuple[str, ...]:
    shell = next((path for path in ("/usr/sbin/nologin", "/sbin/nologin") if shutil.which(path)), "/bin/false")
    facts = ("-u", str(account.number), "-g", account.name, "-c", account.comment, "-d", "/nonexistent", "-M", "-s", shell)
    return ("useradd", *facts, account.name)


def is_member(user: str, group: str) -> bool:
    """Tells whether a user has a group as a supplementary one; False if there is no such group."""
    try:
        return user in grp.getgrnam(group).gr_mem
    except KeyError:
        return False


def make(step: AccountStep) -> None:
    """Runs the command of a step.

    Raises:
        CliError: it fails; the text has its own message.
    """
    if shutil.which(step.command[0]) is None:
        raise CliError(f"cannot make {step.text}: there is no program {step.command[0]}; make it by hand")
    result = subprocess.run(step.command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if result.returncode:
        reason = " ".join(result.stderr.split()) or f"exit code {result.returncode}"
        raise CliError(f"cannot make {step.text}: {' '.join(step.command)}: {reason}", sysexits.EX_OSERR)
