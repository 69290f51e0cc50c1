"""Unix stream sockets by name: listening, connecting, who is at the other end.

    lock the directory -> is the name served? -> remove what is stale -> bind -> group, mode -> listen -> unlock

Invariants: a name that is served is never taken over, nor is anything that is no socket.  Nobody can connect before group
and mode are right.  A name is removed only while it is still that of the socket.  All this holds for several processes that
start or stop at the same time: looking and acting is one step, because each does it with the directory locked.

The lock is flock(2) on the directory itself, so nothing is left behind, not even by kill -9; it is held for moments, and
waited for at most LOCK_WAIT_S, since whoever can read the directory can hold it.  We bind the name itself and do not rename
to it, so that the name is what ss(8) and the peers see.  Group and mode are set through a descriptor of the name, not by
umask, which belongs to all threads of the process, nor by path, where somebody else might have put another file meanwhile.

Owner: none, functions without state.
Ref: unix(7), flock(2); MeTA1 design, "Architecture: security model" (credentials).
"""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from meta1g.base.dataclass import dataclass

#: Longest name.  Ref: unix(7), sun_path with its NUL.
PATH_MAX_BYTES: Final = 107
#: Longest wait for the lock of a directory.  Our choice: others hold it for milliseconds.
LOCK_WAIT_S: Final = 5.0
_LOCK_PAUSE_S: Final = 0.005
_UCRED: Final = struct.Struct("iii")
_TIMEVAL: Final = struct.Struct("@ll")


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, told by the kernel; -1 where unknown."""

    pid: int = -1
    uid: int = -1
    gid: int = -1


class UnixListener(socket.socket):
    """A listening socket that knows its name; made by listen().

    Attributes:
        path: the name.

    Owner: whoever asked for it.
    """

    path: Path
    _identity: tuple[int, int]

    def unlink(self) -> None:
        """Removes the name if it is still that of this socket; does nothing in doubt.  Blocks: no (at most LOCK_WAIT_S)."""
        with contextlib.suppress(OSError), _locked(self.path.parent):
            if _identity(self.path.lstat()) == self._identity:
                self.path.unlink()


def listen(path: Path, *, mode: int, backlog: int, gid: int | None = None) -> UnixListener:
    """Makes a listening socket, all or nothing; a name that an earlier process left behind is used again.

    Args:
        path: its name.
        mode: its permission bits; whoever may write may connect.
        backlog: connections that may wait to be accepted.
        gid: its group, None for that of the process or directory.

    Raises:
        OSError: EADDRINUSE if the name is served, EEXIST if it is no socket, ENAMETOOLONG, or the system's error; strerror
            says what to do.

    Blocks: no (at most LOCK_WAIT_S).
    """
    name = name_of(path)
    with _locked(path.parent):
        _remove_stale(path)
        sock = UnixListener(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(name)
            _complete(sock, path, mode, gid, backlog)
        except BaseException:
            sock.close()
            raise
    return sock


def connect(path: Path, *, timeout_s: float | None = None, nonblocking: bool = False, buffer_bytes: int = 0) -> socket.socket:
    """Makes a connected socket.

    Args:
        path: name of the server.
        timeout_s: for connecting and for later calls, None for ever.
        nonblocking: neither this nor later calls wait; EAGAIN if the server's queue is full.
        buffer_bytes: size of both buffers to ask for, 0 for that of the system.

    Raises:
        OSError: ENOENT or ECONNREFUSED if nobody listens there, EAGAIN if the time is over, or the system's error.

    Blocks: yes (until the server has room), unless nonblocking.
    """
    name = name_of(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | (socket.SOCK_NONBLOCK if nonblocking else 0))
    try:
        if buffer_bytes:
            enlarge_buffers(sock, buffer_bytes)
        if timeout_s is not None and not nonblocking:  # a time-out of Python would not wait for room in the server's queue
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(int(timeout_s), int(timeout_s % 1 * 1e6)))
        sock.connect(name)
        if not nonblocking:
            sock.settimeout(timeout_s)
    except BaseException:
        sock.close()
        raise
    return sock


def peer_of(sock: socket.socket) -> Peer:
    """Asks the kernel who is at the other end of a connected socket; for a client, who listened."""
    return Peer(*_UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))


def enlarge_buffers(sock: socket.socket, size_bytes: int) -> None:
    """Asks for large socket buffers, so that a burst needs no second send."""
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, size_bytes)


def name_of(path: Path) -> str:
    """Gives the path as text.

    Raises:
        OSError: ENAMETOOLONG: it is too long for a socket.
    """
    name = str(path)
    if len(os.fsencode(name)) > PATH_MAX_BYTES:
        text = f"longer than {PATH_MAX_BYTES} bytes; use a shorter queue directory or path"
        raise OSError(errno.ENAMETOOLONG, text, name)
    return name


def is_served(path: Path) -> bool:
    """Tells whether somebody listens on a socket.

    Raises:
        OSError: it cannot be told: no socket, no permission.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        code = probe.connect_ex(name_of(path))
    if code in (0, errno.EAGAIN, errno.EPROTOTYPE):  # accepted, many wait there, or it is served with another type
        return True
    if code == errno.ECONNREFUSED:
        return False
    raise OSError(code, os.strerror(code), str(path))


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Holds the lock of a directory.

    Raises:
        OSError: EAGAIN if somebody else does for long, or it cannot be opened.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    text = "another process holds a lock on this directory; see lslocks(8)"
                    raise BlockingIOError(error.errno, text, str(directory)) from error
                time.sleep(_LOCK_PAUSE_S)
        yield
    finally:
        os.close(fd)


def _remove_stale(path: Path) -> None:
    """Removes a socket on which nobody listens.  The directory is locked.

    Raises:
        OSError: somebody does (EADDRINUSE), it is no socket (EEXIST), or it cannot be told.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "exists and is no socket; remove it", str(path))
        if is_served(path):
            raise OSError(errno.EADDRINUSE, "another process listens there; stop it first", str(path))
    except FileNotFoundError:
        return
    path.unlink(missing_ok=True)


def _complete(sock: UnixListener, path: Path, mode: int, gid: int | None, backlog: int) -> None:
    """Makes a bound socket listen; a failure takes its name away again.  The directory is locked."""
    try:
        sock.path = path
        sock._identity = _dress(path, mode, gid)  # noqa: SLF001  the two are one unit
        sock.listen(backlog)
    except BaseException:
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(path.lstat().st_mode) and not is_served(path):
                path.unlink()
        raise


def _dress(path: Path, mode: int, gid: int | None) -> tuple[int, int]:
    """Sets group and mode of a socket that was just bound; gives its identity.

    Raises:
        OSError: the system's error, or somebody else put something in its place.
    """
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        facts = os.fstat(fd)
        if not stat.S_ISSOCK(facts.st_mode) or facts.st_uid != os.geteuid():
            raise FileExistsError(errno.EEXIST, "was replaced by somebody else; mend the mode of its directory", str(path))
        same = f"/proc/self/fd/{fd}"
        if gid is not None and gid != facts.st_gid:
            os.chown(same, -1, gid)
        Path(same).chmod(mode)
    finally:
        os.close(fd)
    return _identity(facts)


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino
