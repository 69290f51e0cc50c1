"""Processes of a component by fork(2): what a start costs is nearly all the loading of Python and of modules.

One process for each component loads its main module and forks a child for each start; the child gets arguments, environment,
directory and descriptors as a new process would, and then runs the entry point.  Tests of a start itself use new processes.

    python -m tests.fakes.forked MODULE     forks at the requests that come at standard input, a socket
"""

import atexit
import contextlib
import functools
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from typing import IO, Any, Self

from tests.remains import KEEPERS, KEPT

_REQUEST_BYTES = 1 << 17
_FDS_MAX = 8


class Forker:
    """The process that has loaded a module, seen from the tests.

    Args:
        module: with a function run().
    """

    def __init__(self, module: str) -> None:
        self._turn = threading.Lock()  # tests start processes in several threads, and an answer has no name
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen([sys.executable, "-m", "tests.fakes.forked", module], stdin=theirs)
        KEPT.add(os.readlink(f"/proc/self/fd/{self._socket.fileno()}"))  # noqa: PTH115  it is no path
        KEPT.add(f"process:{self._process.pid}")
        KEEPERS.add(self._process.pid)
        atexit.register(self.close)

    def close(self) -> None:
        self._socket.close()
        self._process.wait(20)

    def ask(self, request: dict[str, Any], fds: tuple[int, ...] = ()) -> int:
        """Sends a request, with descriptors; gives the answer."""
        with self._turn:
            socket.send_fds(self._socket, [json.dumps(request).encode()], list(fds))
            return int(self._socket.recv(100))


_making = threading.Lock()


def forker(module: str) -> Forker:
    with _making:
        return _forker(module)


@functools.cache
def _forker(module: str) -> Forker:
    return Forker(module)


class ForkedProcess:
    """A process as subprocess.Popen has it; a context manager that waits for its end.

    Args:
        module: its main module, with a function run().
        arguments: of its command line.
        env: its environment.
        cwd: its directory.
        fds: descriptors for it: the environment variables that tell their numbers, and what they are here.
        stderr: a descriptor for its standard error; subprocess.PIPE makes one that `stderr`
            reads, subprocess.DEVNULL one that nobody reads.
    """

    def __init__(
        self,
        module: str,
        arguments: list[str],
        *,
        env: dict[str, str],
        cwd: str = ".",
        fds: dict[str, int] | None = None,
        stderr: int | None = None,
    ) -> None:
        self._forker = forker(module)
        self.args = [module, *arguments]
        self.returncode: int | None = None
        self.stderr: IO[bytes] | None = None
        error_fd = 2 if stderr is None else stderr
        with contextlib.ExitStack() as undo:
            if stderr == subprocess.PIPE:
                reader, error_fd = os.pipe()
                self.stderr = open(reader, "rb", buffering=0)  # noqa: SIM115  leaving closes it
            elif stderr == subprocess.DEVNULL:
                error_fd = os.open(os.devnull, os.O_WRONLY)
            if error_fd not in (2, stderr):
                undo.callback(os.close, error_fd)
            request = {"arguments": self.args, "env": env, "cwd": str(cwd), "fds": list(fds or {})}
            self.pid = self._forker.ask(request, (error_fd, *(fds or {}).values()))
        self._pidfd = os.pidfd_open(self.pid)

    def fileno(self) -> int:
        """A descriptor that is readable from its end on, until it was waited for."""
        return self._pidfd

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = self._forker.ask({"reap": self.pid})
            os.close(self._pidfd)
        return self.returncode

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.stderr is not None:
            self.stderr.close()
        self.wait()


def become(request: dict[str, Any], error_fd: int, fds: list[int]) -> None:
    """Makes this process what the request wants."""
    os.dup2(error_fd, 2)
    os.close(error_fd)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.environ.clear()
    os.environ.update(request["env"])
    for name, fd in zip(request["fds"], fds, strict=True):
        os.set_inheritable(fd, True)
        os.environ[name] = str(fd)
    os.chdir(request["cwd"])
    sys.argv = request["arguments"]


def main(name: str) -> None:
    """Loads a module and forks as it is asked; returns when nobody asks any more."""
    module = importlib.import_module(name)
    with socket.socket(fileno=os.dup(0)) as sock:
        while True:
            data, fds, _, _ = socket.recv_fds(sock, _REQUEST_BYTES, _FDS_MAX)
            if not data:
                return
            request = json.loads(data)
            if "reap" in request:
                sock.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(request["reap"], 0)[1]))
                continue
            pid = os.fork()
            if pid == 0:
                sock.close()
                become(request, fds[0], fds[1:])
                module.run()
                raise SystemExit(0)
            for fd in fds:
                os.close(fd)
            sock.send(b"%d" % pid)


if __name__ == "__main__":
    main(sys.argv[1])
