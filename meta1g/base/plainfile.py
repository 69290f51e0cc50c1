"""Opening a file that somebody else has put there: it may be anything by now.

A FIFO without a writer would hold up the whole process for ever, and a device may never end; both are errors instead.

Ref: open(2), O_NONBLOCK; invariants I10 and I12.
"""

import errno
import os
import stat
from pathlib import Path
from typing import IO


def open_plain(path: Path) -> IO[bytes]:
    """Opens a file to read; links are followed.

    Raises:
        OSError: it cannot be opened, or is no plain file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "is no plain file", str(path))
        return os.fdopen(fd, "rb")
    except BaseException:
        os.close(fd)
        raise
