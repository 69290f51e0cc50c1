"""Which accounts may use a socket of SMAR.

Ref: MeTA1 design, "Architecture: security model" (accounts and groups modelled on).
"""

import os
import pwd
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use a socket.

    Args:
        gid: group of the socket, None to leave it.
        uids: accounts that may connect.

    Immutable.
    """

    gid: int | None
    uids: frozenset[int]


def access_for(users: Iterable[str]) -> Access:
    """Lets accounts use a socket, beside root and the account of this process.

    Args:
        users: account names; those that do not exist on this machine are passed over.

    Returns:
        The group of the first account, if this process may give files to it: root may, and its members may.
        Otherwise the socket keeps the group of this process, which the accounts are members of.
    """
    gid, uids = None, {0, os.geteuid()}
    for user in users:
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            continue
        uids.add(entry.pw_uid)
        if gid is None and (os.geteuid() == 0 or entry.pw_gid in os.getgroups()):
            gid = entry.pw_gid
    return Access(gid, frozenset(uids))
