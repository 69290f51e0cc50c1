"""Whether this process may use a file or directory, and if not, what closes the way: the question of every check.

The kernel is asked, with the ids that the process has; so permissions, access control lists and read-only file systems
all count.  Every answer names the path, what is in the way, and how to mend it.

Ref: access(2), path_resolution(7); our choice.
"""

import errno
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from meta1g.base.cli import CliError
from meta1g.base.sysexits import EX_CONFIG, EX_NOPERM

#: Stands before the name of what is in the way.
OUT_OF_REACH: Final = "out of reach: "
_LINKS_MAX: Final = 40  # as many as the kernel follows


def user_name() -> str:
    """Gives the name of the account of this process, its number if it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def obstacle(path: Path) -> str:
    """Says what is in the way to a path: the first directory above it that is closed or missing; nothing if the way is free.

    Symbolic links on the way are followed.
    """
    for place in _places(path):
        for above in reversed(place.parents):
            text = _closed(above)
            if text:
                return text
    return ""


def _places(path: Path) -> Iterator[Path]:
    """Gives a path, and where the links in it lead to."""
    yield path
    for _ in range(_LINKS_MAX):
        try:
            path = path.parent / path.readlink()
        except OSError:
            break
        yield Path(os.path.normpath(path))
    try:
        yield path.resolve()
    except (OSError, RuntimeError):
        return


def _closed(directory: Path) -> str:
    try:
        mode = directory.stat().st_mode
    except FileNotFoundError:
        return f"directory {directory} is missing; make it"
    except NotADirectoryError:
        return f"{directory.parent} is no directory"
    except OSError as error:
        return f"directory {directory}: {(error.strerror or str(error)).lower()}"
    if not stat.S_ISDIR(mode):
        return f"{directory} is no directory"
    if not os.access(directory, os.X_OK, effective_ids=True):
        return f"directory {directory} is closed to {user_name()}; open it with chmod or chgrp"
    return ""


def need_directory(path: Path, mode: int, purpose: str) -> None:
    """Makes sure that a directory is there and may be used.

    Args:
        path: the directory.
        mode: bits of os.access: os.W_OK to make files, os.X_OK to pass through, os.R_OK to list.
        purpose: what cannot be done otherwise, such as `write there`.

    Raises:
        CliError: it may not; the text names what is in the way.
    """
    _need_way(path)
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            raise CliError(f"{path}: is no directory; remove it and run sm.setup")
    except FileNotFoundError:
        raise CliError(f"{path}: no such directory; run sm.setup") from None
    if not os.access(path, mode, effective_ids=True):
        advice = "run sm.setup or mend its owner and mode"
        raise CliError(f"{path}: {user_name()} cannot {purpose}; {advice}", EX_NOPERM)


def need_file(path: Path, mode: int, purpose: str) -> None:
    """Makes sure that a file is there and may be used; arguments and errors as in need_directory()."""
    _need_way(path)
    if os.access(path, mode, effective_ids=True):
        return
    if not path.exists():
        raise CliError(f"{path}: no such file", EX_CONFIG)
    raise CliError(f"{path}: {user_name()} cannot {purpose}; mend its owner or mode", EX_NOPERM)


def _need_way(path: Path) -> None:
    text = obstacle(path)
    if text:
        raise CliError(f"{path}: {OUT_OF_REACH}{text}", EX_CONFIG if " missing" in text else EX_NOPERM)


def closed_socket(path: Path) -> str:
    """Says why this process could not connect to a Unix socket, empty if nothing is in the way; who listens is not asked."""
    text = obstacle(path.absolute())
    if text:
        return f"{path}: {OUT_OF_REACH}{text}"
    try:
        is_socket = stat.S_ISSOCK(path.stat().st_mode)
    except OSError as error:
        return f"{path}: no such socket" if error.errno == errno.ENOENT else explain(error)
    if not is_socket:
        return f"{path}: is no socket"
    return "" if os.access(path, os.W_OK, effective_ids=True) else f"{path}: closed to {user_name()}; its owner has to open it"


def explain(error: OSError) -> str:
    """Says what an error of the system means: for a file that is out of reach, what is in the way."""
    name = error.filename
    path = Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None
    if path is None:
        return error.strerror or str(error)
    if error.errno in (errno.EACCES, errno.ENOENT, errno.ENOTDIR):
        text = obstacle(path.absolute())
        if text:
            return f"{path}: {OUT_OF_REACH}{text}"
    advice = f"; {user_name()} needs access" if error.errno == errno.EACCES else ""
    return f"{path}: {(error.strerror or str(error)).lower()}{advice}"
