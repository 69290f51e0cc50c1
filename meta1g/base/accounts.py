"""Which accounts may use the socket of a process.

Ref: MeTA1 design, "Architecture: security model" (accounts and groups modelled on).
"""

import grp
import os
import pwd
from collections.abc import Iterable

from meta1g.base import paths
from meta1g.base.dataclass import dataclass
from meta1g.base.startup import Options


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use a socket.

    Args:
        gid: group of the socket, None to leave it.
        uids: accounts that may connect.
    """

    gid: int | None
    uids: frozenset[int]


def user_entry(name: str) -> pwd.struct_passwd | None:
    """Gives the entry of a user, by name or number; None if there is no such user."""
    try:
        return pwd.getpwuid(int(name)) if name.isascii() and name.isdigit() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        return None


def group_entry(name: str) -> grp.struct_group | None:
    """Gives the entry of a group, by name or number; None if there is no such group."""
    try:
        return grp.getgrgid(int(name)) if name.isascii() and name.isdigit() else grp.getgrnam(name)
    except (KeyError, OverflowError):
        return None


def account_of(section: Options, component: str) -> str:
    """Gives the account, a name or a number, that a section of the configuration runs under.

    Args:
        section: a section of a component.
        component: its keyword.
    """
    name: str = section.get("user") or paths.COMPONENT_ACCOUNTS[component]
    return name


def account_problem(label: str, user: str | None, group: str | None, default: str) -> str:
    """Says why a component cannot run as the account that it is to have; nothing if it can.

    Args:
        label: names the component.
        user: account that its section names, by name or number; nothing if it does not.
        group: its group, the same.
        default: the account without `user`; empty if it keeps that of who starts it.
    """
    name = user or default
    entry = user_entry(name) if name else None
    if name and entry is None:
        advice = "create it or mend user" if user else "run sm.setup, or name another one with user"
        return f"user {name} of {label} does not exist; {advice}"
    if entry is not None and entry.pw_uid == 0:
        return f"{label} must not run as root; set user to an account of its own"
    if name and group and group_entry(group) is None:
        return f"group {group} of {label} does not exist; create it or mend group"
    return ""


def access_for(users: Iterable[str], *, own: bool = True) -> Access:
    """Lets accounts use a socket, beside root.

    Args:
        users: accounts, by name or number; those that do not exist on this machine are passed over.
        own: the account of this process may use it too.

    Returns:
        The group of the first account, if this process may give files to it: root may, and its members may.
        Otherwise the socket keeps the group of this process, which the accounts are members of.
    """
    gid, uids = None, {0, os.geteuid()} if own else {0}
    for user in users:
        entry = user_entry(user)
        if entry is None:
            continue
        uids.add(entry.pw_uid)
        if gid is None and (os.geteuid() == 0 or entry.pw_gid in os.getgroups()):
            gid = entry.pw_gid
    return Access(gid, frozenset(uids))
