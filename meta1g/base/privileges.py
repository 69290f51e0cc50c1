"""Becomes another account for good: groups, group, user, and no way back by a set-user-id program.

Invariant: when drop() returns, nothing of what root may is left; otherwise it raises (invariant I7).
Ref: setgroups(2), setresgid(2), setresuid(2), prctl(2) PR_SET_NO_NEW_PRIVS.
"""

import ctypes
import os
from collections.abc import Sequence
from typing import Final

_PR_SET_NO_NEW_PRIVS: Final = 38
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def drop(uid: int, gid: int, groups: Sequence[int]) -> None:
    """Takes the identity of an account; only root can.

    Args:
        uid: user id, real, effective and saved.
        gid: group id, real, effective and saved.
        groups: supplementary groups; those of before are gone.

    Raises:
        OSError: the system refuses; the process has to end, since it may be half of both.
    """
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
