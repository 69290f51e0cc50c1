"""Starts a child: two pipes, descriptors, limits, umask, groups, group, user, exec.

The child gets standard input, output and error, the read end of a pipe whose only write end mcp holds (its end means
that mcp is gone), the write end of a pipe that tells mcp when it is ready, a program of this package also a copy of the
configuration as it was checked, and nothing else.

Invariant: between fork and exec the child drops every privilege, or does not come to exec.
Ref: MeTA1 design, "Functional Specification: Supervisor" (modelled on); setresuid(2), prctl(2) PR_SET_NO_NEW_PRIVS.
"""

import ctypes
import os
import resource
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import meta1g
from meta1g.base.startup import ALIVE_FD, CONFIG_FD, READY_FD
from meta1g.mcp.account import Identity
from meta1g.mcp.limits import CHILD_CORE_BYTES, CHILD_NOFILE, CHILD_UMASK
from meta1g.mcp.program import Program

_PR_SET_NO_NEW_PRIVS: Final = 38
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
#: What concerns mcp alone, or is set for each child.
_OWN_VARIABLES: Final = (
    CONFIG_FD,
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a child.

    Args:
        program: what to execute.
        identity: as whom.
        directory: its working directory.
        stderr: file that its standard error is appended to; that of mcp if None.
        config: the configuration as it was checked; no difference by itself, since much of it concerns others.

    Immutable.
    """

    program: Program
    identity: Identity
    directory: Path
    stderr: Path | None = None
    config: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Started:
    """A child that was started.

    Args:
        process: the child; `poll()` collects it.
        ready_fd: read end of the readiness pipe, to be closed by the receiver; -1 if the child has none.

    Immutable.
    """

    process: "subprocess.Popen[bytes]"
    ready_fd: int


def start(launch: Launch, alive_fd: int, stdin: int | None = None, stdout: int | None = None) -> Started:
    """Starts a child of a persistent service.

    Args:
        launch: what to start, as whom, where.
        alive_fd: read end of the pipe that ends with mcp.
        stdin: descriptor for its standard input; /dev/null if None.
        stdout: descriptor for its standard output; standard error if None.

    Raises:
        OSError: it cannot be started.
    """
    ready_r, ready_w = os.pipe2(os.O_CLOEXEC)
    errors = config = -1
    try:
        errors = open_stderr(launch.stderr)
        config = _config_copy(launch)
        process = subprocess.Popen(
            launch.program.argv,
            executable=launch.program.executable,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=errors if stdout is None else stdout,
            stderr=errors,
            cwd=launch.directory,
            env=_environment({ALIVE_FD: alive_fd, READY_FD: ready_w, CONFIG_FD: config}),
            pass_fds=[fd for fd in (alive_fd, ready_w, config) if fd >= 0],
            start_new_session=True,
            preexec_fn=lambda: _prepare(launch.identity),  # noqa: PLW1509 - mcp has one thread
        )
    except (OSError, subprocess.SubprocessError) as error:
        os.close(ready_r)
        raise _as_os_error(error, launch) from error
    finally:
        os.close(ready_w)
        if errors > 2:
            os.close(errors)
        if config >= 0:
            os.close(config)
    os.set_blocking(ready_r, False)
    return Started(process, ready_r)


def open_stderr(path: Path | None) -> int:
    """Opens the file for a child's standard error, readable for the group; gives descriptor 2 without a path."""
    if path is None:
        return 2
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)


def _config_copy(launch: Launch) -> int:
    """Makes a file in memory of the configuration, for a program of this package; gives its descriptor or -1."""
    if not launch.program.reads_config:
        return -1
    fd = os.memfd_create("meta1.conf", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(launch.config.encode())
    return fd


def _as_os_error(error: Exception, launch: Launch) -> OSError:
    if isinstance(error, OSError):
        return error
    return PermissionError(f"cannot become user {launch.identity.user} with its groups and limits")


def _environment(fds: Mapping[str, int]) -> dict[str, str]:
    made = {name: value for name, value in os.environ.items() if name not in _OWN_VARIABLES}
    home = str(Path(meta1g.__file__).parents[1])
    found = made.get("PYTHONPATH", "").split(os.pathsep)
    made["PYTHONPATH"] = os.pathsep.join([*(word for word in found if word), *([] if home in found else [home])])
    return {**made, **{name: str(fd) for name, fd in fds.items() if fd >= 0}}


def _prepare(identity: Identity) -> None:
    """Runs in the child before exec; any exception makes the start fail."""
    os.umask(CHILD_UMASK)
    resource.setrlimit(resource.RLIMIT_CORE, (CHILD_CORE_BYTES, CHILD_CORE_BYTES))
    _raise_open_files()
    if identity.drop:
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
        if _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def _raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CHILD_NOFILE if hard == resource.RLIM_INFINITY else min(CHILD_NOFILE, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
