"""The accounts of the system as a map: a user name gives its home directory.

The C library is asked directly, because the module pwd says "not found" for every error, a lack of descriptors included.

Invariant: only what the name service does not know is not found.

Ref: MeTA1 sample configurations (map type `passwd`); getpwnam_r(3).
"""

import ctypes
import errno
import os
from typing import Final

from meta1g.maps.base import NOTFOUND, MapResult, ok, temp
from meta1g.maps.limits import PASSWD_BUFFER_BYTES, PASSWD_BUFFER_MAX_BYTES


class _Passwd(ctypes.Structure):
    """struct passwd of Linux."""

    _fields_ = (
        ("pw_name", ctypes.c_char_p),
        ("pw_passwd", ctypes.c_char_p),
        ("pw_uid", ctypes.c_uint32),
        ("pw_gid", ctypes.c_uint32),
        ("pw_gecos", ctypes.c_char_p),
        ("pw_dir", ctypes.c_char_p),
        ("pw_shell", ctypes.c_char_p),
    )


_libc: Final = ctypes.CDLL(None)
#: Codes by which some name services say that there is no such account.
_UNKNOWN: Final = frozenset((0, errno.ENOENT, errno.ESRCH))


class PasswdMap:
    """System accounts.

    Args:
        name: names it in logs.

    Locking: none needed.
    """

    blocking = True  # the name service may ask a server

    def __init__(self, name: str) -> None:
        self.name = name

    def lookup(self, key: str) -> MapResult:
        """Looks a user name up; the value is the home directory.  Blocks: yes (name service)."""
        if not key or "\0" in key:
            return NOTFOUND
        name, size = key.encode("utf-8", "surrogateescape"), PASSWD_BUFFER_BYTES
        code = errno.ERANGE
        while code == errno.ERANGE and size <= PASSWD_BUFFER_MAX_BYTES:
            entry, found = _Passwd(), ctypes.POINTER(_Passwd)()
            buffer = ctypes.create_string_buffer(size)
            code = _libc.getpwnam_r(name, ctypes.byref(entry), buffer, ctypes.c_size_t(size), ctypes.byref(found))
            if code == 0 and found:
                return ok((entry.pw_dir or b"").decode("utf-8", "surrogateescape"))
            size *= 2
        return NOTFOUND if code in _UNKNOWN else temp(f"name service: {os.strerror(code)}")

    def version(self) -> int:
        """Gives 0: changes are not noticed, because nothing is kept."""
        return 0

    def tags(self) -> frozenset[str] | None:
        """Gives None: what its keys begin with is not known."""
        return None

    def close(self) -> None:
        """Has nothing to close."""
