"""Starts a child: two pipes, descriptors, limits, umask, groups, group, user, exec; or goes on in one, as what mcp is.

The child gets standard input, output and error, the read end of a pipe whose only write end mcp holds (its end means
that mcp is gone), the write end of a pipe that tells mcp when it is ready, a program of this package also a copy of the
configuration as it was checked, and nothing else.

Invariant: between fork and exec the child drops every privilege, or does not come to exec.  A child without exec has
those of mcp already (Identity.drop is False), and nothing else of it but its memory.
Ref: MeTA1 design, "Functional Specification: Supervisor" (modelled on); base/privileges.py.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Final, NoReturn, Protocol

import meta1g
from meta1g.base import privileges
from meta1g.base.dataclass import dataclass
from meta1g.base.startup import ALIVE_FD, CONFIG_FD, LOG_MADE, READY_FD
from meta1g.mcp.account import Identity
from meta1g.mcp.limits import CHILD_CORE_BYTES, CHILD_NOFILE, CHILD_UMASK
from meta1g.mcp.program import Program

#: Variable that tells to which queue directory a child belongs; the next mcp looks for it (leftovers.py).
QUEUE_ID: Final = "META1G_QUEUE_ID"
_STDERR: Final = 2
#: What concerns mcp alone, or is set for each child.
_OWN_VARIABLES: Final = (
    CONFIG_FD,
    LOG_MADE,
    QUEUE_ID,
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
    """

    program: Program
    identity: Identity
    directory: Path
    stderr: Path | None = None
    config: str = field(default="", compare=False, repr=False)


class ChildProcess(Protocol):
    """What a Popen and a Forked have in common."""

    pid: int

    def poll(self) -> int | None:
        """Gives the exit code of the process, negative for a signal; None while it runs."""
        ...

    def wait(self) -> int:
        """Waits for the end of the process; gives what poll() would.  Blocks: yes."""
        ...


class Forked:
    """A child that goes on in the memory of mcp.

    Args:
        pid: its process id.

    Owner: the event loop.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Gives its exit code, negative for a signal; None while it runs."""
        return self._end(os.WNOHANG)

    def wait(self) -> int:
        """Waits for its end; gives what poll() would.  Blocks: yes."""
        code = self._end(0)
        assert code is not None
        return code

    def _end(self, flags: int) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, flags)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code


@dataclass(frozen=True, slots=True)
class Started:
    """A child that was started.

    Args:
        process: the child; `poll()` collects it.
        ready_fd: read end of the readiness pipe, to be closed by the receiver; -1 if the child has none.
    """

    process: "subprocess.Popen[bytes]"
    ready_fd: int


def start(
    launch: Launch,
    alive_fd: int,
    stdin: int | None = None,
    stdout: int | None = None,
    errors: int | None = None,
    variables: Mapping[str, str] | None = None,
) -> Started:
    """Starts a child of a persistent service, or its check.

    Args:
        launch: what to start, as whom, where.
        alive_fd: read end of the pipe that ends with mcp; -1 for none.
        stdin: descriptor for its standard input; /dev/null if None.
        stdout: descriptor for its standard output; standard error if None.
        errors: descriptor for its standard error; the file that launch names if None.
        variables: further variables of its environment.

    Raises:
        OSError: it cannot be started; everything is closed again.
    """
    with contextlib.ExitStack() as ours:
        ready_r, ready_w = os.pipe2(os.O_CLOEXEC)
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, ready_r)
            ours.callback(os.close, ready_w)
            stderr = open_stderr(launch.stderr) if errors is None else errors
            if errors is None and stderr > _STDERR:
                ours.callback(os.close, stderr)
            config = _config_copy(launch)
            if config >= 0:
                ours.callback(os.close, config)
            own = {**(variables or {}), QUEUE_ID: queue_id(launch.directory)}
            process = _popen(launch, {ALIVE_FD: alive_fd, READY_FD: ready_w, CONFIG_FD: config}, own, stdin, stdout, stderr)
            undo.pop_all()
    os.set_blocking(ready_r, False)
    return Started(process, ready_r)


def _popen(
    launch: Launch, fds: Mapping[str, int], own: Mapping[str, str], stdin: int | None, stdout: int | None, stderr: int
) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            launch.program.argv,
            executable=launch.program.executable,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=stderr if stdout is None else stdout,
            stderr=stderr,
            cwd=launch.directory,
            env=_environment(fds, own),
            pass_fds=[fd for fd in fds.values() if fd >= 0],
            start_new_session=True,
            preexec_fn=lambda: become(launch.identity),  # noqa: PLW1509 - mcp has one thread
        )
    except subprocess.SubprocessError as error:  # in the child, before the program
        raise PermissionError(f"cannot become user {launch.identity.user} with its groups and limits") from error


def fork(launch: Launch, output: int, variables: Mapping[str, str], run: Callable[[], object]) -> Forked:
    """Starts a child that runs a function of mcp instead of a program, in a session of its own.

    mcp must have one thread, and its own identity has to be that of the child: nobody else may see its memory.

    Args:
        launch: where it runs, with which limits and configuration; its program counts for nothing.
        output: descriptor for its standard output and error.
        variables: further variables of its environment.
        run: what it does.

    Raises:
        OSError: it cannot be started; everything is closed again.
    """
    assert not launch.identity.drop
    config = _config_copy(launch)
    try:
        pid = os.fork()
        if pid == 0:
            _go_on(launch, output, config, {**variables, QUEUE_ID: queue_id(launch.directory)}, run)
    finally:
        if config >= 0:
            os.close(config)
    return Forked(pid)


def _go_on(launch: Launch, output: int, config: int, own: Mapping[str, str], run: Callable[[], object]) -> NoReturn:
    """Runs in the child, which never leaves this function."""
    code = 1
    try:
        _leave_mcp(output, config)
        become(launch.identity)
        os.chdir(launch.directory)
        for name in _OWN_VARIABLES:
            os.environ.pop(name, None)
        os.environ.update(own)
        if config >= 0:
            os.environ[CONFIG_FD] = str(_STDERR + 1)
        run()
        code = 0
    except BaseException:  # noqa: BLE001  what happens here must not go on in the frames of mcp
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


def _leave_mcp(output: int, config: int) -> None:
    """Leaves the session, signal handlers and descriptors of mcp behind, but the configuration: it gets the number 3."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for signum in signal.valid_signals():
        if callable(signal.getsignal(signum)):
            signal.signal(signum, signal.SIG_DFL)
    for number in (_STDERR - 1, _STDERR):
        os.dup2(output, number)
    kept = _STDERR if config < 0 else os.dup2(config, _STDERR + 1)
    os.closerange(kept + 1, max(resource.getrlimit(resource.RLIMIT_NOFILE)[0], output, config) + 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.stdout = sys.stderr = open(_STDERR, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115


def queue_id(queue: Path) -> str:
    """Gives what tells a queue directory from its copies: device and inode, as in the environment of every child."""
    facts = queue.stat()
    return f"{facts.st_dev}:{facts.st_ino}"


def open_stderr(path: Path | None) -> int:
    """Opens the file for a child's standard error, readable for the group; gives descriptor 2 without a path."""
    if path is None:
        return 2
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags | os.O_NONBLOCK, 0o640)  # a FIFO without a reader is an error, not an endless wait
    os.set_blocking(fd, True)
    return fd


def _config_copy(launch: Launch) -> int:
    """Makes a file in memory of the configuration, for a program of this package; gives its descriptor or -1."""
    if not launch.program.reads_config:
        return -1
    fd = os.memfd_create("meta1.conf", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(launch.config.encode())
    except OSError:
        os.close(fd)
        raise
    return fd


def _environment(fds: Mapping[str, int], own: Mapping[str, str]) -> dict[str, str]:
    made = {name: value for name, value in os.environ.items() if name not in _OWN_VARIABLES}
    home = str(Path(meta1g.__file__).parents[1])
    found = made.get("PYTHONPATH", "").split(os.pathsep)
    made["PYTHONPATH"] = os.pathsep.join([*(word for word in found if word), *([] if home in found else [home])])
    return {**made, **own, **{name: str(fd) for name, fd in fds.items() if fd >= 0}}


def become(identity: Identity) -> None:
    """Takes the identity, limits and umask of a child; runs in the child, where any exception makes the start fail."""
    os.umask(CHILD_UMASK)
    resource.setrlimit(resource.RLIMIT_CORE, (CHILD_CORE_BYTES, CHILD_CORE_BYTES))
    _raise_open_files()
    if identity.drop:
        privileges.drop(identity.uid, identity.gid, identity.groups)


def _raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CHILD_NOFILE if hard == resource.RLIM_INFINITY else min(CHILD_NOFILE, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
