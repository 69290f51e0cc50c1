"""What changes with a file: whether it has to be read again is seen without reading it.

Owner and mode count, too: a file that could not be read may be readable since.

Ref: stat(2).
"""

from pathlib import Path

#: Device, inode, times of the last change of content and of anything, ns, and size, bytes.
Signature = tuple[int, int, int, int, int]


def signature(path: Path) -> Signature | None:
    """Gives what changes with content, owner or mode of a file, or None if there is no file that can be looked at.

    Blocks: no (one system call).
    """
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size
