"""Asks the file system to keep the directories below one apart from each other.

ext4 puts a file near its directory and a directory near its parent, so that the contents of all messages share the inodes of
one block group.  Without a journal ext4 also passes over inodes that were freed in the last minute; a gateway frees as many as
it makes, and soon most of the search for a free one goes through those (docs/performance.md has the figures).  Below a
directory with the attribute T of chattr(1) directories are spread over the block groups.

Ref: chattr(1), attribute T; ioctl_iflags(2).
"""

import contextlib
import fcntl
import struct
from typing import Final

_FS_IOC_GETFLAGS: Final = 0x80086601
_FS_IOC_SETFLAGS: Final = 0x40086602
_FS_TOPDIR_FL: Final = 0x00020000
#: The number of the call speaks of a long, the kernel of an int.
_FLAGS: Final = struct.Struct("ixxxx")


def spread_below(fd: int) -> bool:
    """Lets directories that are made in this one from now on lie apart from each other.

    Args:
        fd: of the directory, which belongs to the caller.

    Returns:
        Whether the file system does so; others than ext4 do not know it, and need not.
    """
    flags = bytearray(_FLAGS.size)
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, _FS_IOC_GETFLAGS, flags)
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, _FLAGS.pack(_FLAGS.unpack(flags)[0] | _FS_TOPDIR_FL))
        return True
    return False
