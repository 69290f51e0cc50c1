"""Which directories an installation has, with the owners and modes that its configuration means.

Ref: MeTA1 design, "Architecture: security model, accounts, directories".
"""

import grp
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from meta1g.base import paths
from meta1g.base.accounts import user_entry
from meta1g.base.cli import CliError
from meta1g.base.dataclass import dataclass
from meta1g.conf.config import Config, Section
from meta1g.tools import accounts

_MODE_BITS: Final = 0o7777


@dataclass(frozen=True, slots=True)
class Owner:
    """User and group of a directory, by number."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """One directory as it should be; with `spread`, those in it lie apart from each other on the disk."""

    path: Path
    owner: Owner
    mode: int
    spread: bool = False

    def problem(self) -> str:
        """Says what is wrong with it, nothing if it is right."""
        try:
            facts = self.path.lstat()
        except FileNotFoundError:
            return "is missing"
        if not stat.S_ISDIR(facts.st_mode):
            return "is no directory"
        if (facts.st_uid, facts.st_gid) != (self.owner.uid, self.owner.gid):
            found = f"{user_name(facts.st_uid)}:{group_name(facts.st_gid)}"
            return f"belongs to {found}, not to {user_name(self.owner.uid)}:{group_name(self.owner.gid)}"
        if facts.st_mode & _MODE_BITS != self.mode:
            return f"has mode {facts.st_mode & _MODE_BITS:04o}, not {self.mode:04o}"
        return ""


def user_name(uid: int) -> str:
    """Gives the name of a user, its number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Gives the name of a group, its number if it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def caller() -> Owner:
    """Gives the owner of what this process makes."""
    return Owner(os.geteuid(), os.getegid())


def owners(config: Config | None) -> dict[str, Owner]:
    """Gives the owner that stands for each account name: the account, or the `user` of the component's section.

    Raises:
        CliError: an account or user does not exist.
    """
    found = {"root": Owner(0, 0)}
    for account in paths.ACCOUNTS:
        found[account.name] = _owner(account.name)
    for keyword, name in paths.COMPONENT_ACCOUNTS.items():
        sections: tuple[Section, ...] = config.sections(keyword) if config else ()
        for section in sections:
            if section.get("user"):
                found[name] = _owner(section.get("user"), section.get("group") or "")
                break
    return found


def _owner(user: str, group: str = "") -> Owner:
    entry = user_entry(user)
    if entry is None:
        raise CliError(f"user {user} does not exist; run sm.setup, or create it")
    gid = accounts.group_id(group) if group else entry.pw_gid
    if gid is None:
        raise CliError(f"group {group} does not exist; create it")
    return Owner(entry.pw_uid, gid)


def directories(queue: Path, owner_of: Mapping[str, Owner] | None) -> Iterator[Wanted]:
    """Gives the directories of a queue, parents first.

    Args:
        queue: the queue directory.
        owner_of: who stands for each account name; the caller for all of them if None.
    """
    for row in paths.QUEUE_DIRECTORIES:
        owner = caller() if owner_of is None else Owner(owner_of[row.user].uid, owner_of[row.group].gid)
        yield Wanted(queue / row.name if row.name != "." else queue, owner, row.mode, row.spread)
