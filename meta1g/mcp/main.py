"""mcp, the main control program: starts, watches, restarts and stops the components.

Ref: MeTA1 design, "Functional Specification: Supervisor" (command line modelled on: the configuration file is the last
argument).
"""

import argparse
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from meta1g.base import cli, paths, sysexits
from meta1g.base.cli import CliError
from meta1g.base.clock import SystemClock
from meta1g.mcp.control import Mcp, OnStarted, check
from meta1g.mcp.spawn import open_stderr

_STDERR: Final = 2


def arguments(argv: list[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = cli.parser("mcp", "Starts, watches, restarts and stops the components of meta1g.")
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="configuration file")
    parser.add_argument("-f", dest="option_file", type=Path, metavar="FILE", help="configuration file")
    parser.add_argument("-p", dest="pid_file", type=Path, metavar="FILE", help="write the process id to this file")
    parser.add_argument("-L", dest="lenient", action="store_true", help="warn of unknown options instead of refusing them")
    parser.add_argument(
        "-c", dest="check", action="store_true", help="check everything as each account will use it, then leave"
    )
    parser.add_argument("-D", dest="daemon", action="store_true", help="go to the background as soon as everything runs")
    found = parser.parse_args(argv)
    if found.file and found.option_file:
        parser.error("name the configuration file once")
    found.file = (found.file or found.option_file or paths.DEFAULT_CONFIG_FILE).absolute()
    return found


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code.

    Raises:
        CliError, ConfigError: it cannot start, or had to stop; the text says why and what to do.
    """
    options = arguments(argv)
    _open_standard_descriptors()
    for early in (signal.SIGHUP, signal.SIGUSR1):  # until the loop takes them
        signal.signal(early, signal.SIG_IGN)
    if options.check:
        check(options.file, SystemClock(), lenient=options.lenient)
        return sysexits.EX_OK
    if options.daemon:
        return _in_background(lambda started: _run(options, started))
    return _run(options, lambda _queue: None)


def _run(options: argparse.Namespace, on_started: OnStarted) -> int:
    mcp = Mcp(options.file, SystemClock(), lenient=options.lenient, on_started=on_started)
    with _pid_file(options.pid_file):
        end = mcp.run()
    if end.text:
        raise CliError(end.text, end.code)
    return end.code


@contextlib.contextmanager
def _pid_file(path: Path | None) -> Iterator[None]:
    """Has the process id in a file while mcp runs."""
    if path is None:
        yield
        return
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.write_text(f"{os.getpid()}\n")
        fresh.replace(path)
    except OSError as error:
        raise CliError(f"{path}: cannot write the pid file: {error.strerror}", sysexits.EX_CANTCREAT) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _open_standard_descriptors() -> None:
    """Makes sure that 0, 1 and 2 are open, so that no socket ever gets one of these numbers."""
    fd = os.open(os.devnull, os.O_RDWR)
    while fd <= _STDERR:
        fd = os.dup(fd)
    os.close(fd)


def _in_background(run: Callable[[OnStarted], int]) -> int:
    """Runs in a child in a session of its own; the parent waits until everything runs, or until it failed."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_fd)
        os.setsid()
        return run(lambda queue: _leave_terminal(write_fd, queue))
    os.close(write_fd)
    with open(read_fd, "rb") as started:
        if started.read(1):
            return sysexits.EX_OK
    _pid, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _leave_terminal(write_fd: int, queue: Path) -> None:
    """Tells the parent that everything runs; from now on errors go to mcp.log in the queue directory."""
    fd = open_stderr(queue / "mcp.log")
    with open(os.devnull, "rb") as null:
        os.dup2(null.fileno(), 0)
    for standard in (1, _STDERR):
        os.dup2(fd, standard)
    os.close(fd)
    os.write(write_fd, b"1")
    os.close(write_fd)


def run() -> None:
    """Runs the program (console script)."""
    cli.end_program("mcp", main)


if __name__ == "__main__":
    run()
