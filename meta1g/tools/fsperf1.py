"""fsperf1: how many small files a second a file system takes, each of them on stable storage, as a queue needs it.

    fsperf1 DIRECTORY                        four processes, files of 4 KB, five seconds
    fsperf1 -p 16 -s 32KB -t 20s DIRECTORY
    fsperf1 --rename DIRECTORY               under another name first, and the directory flushed, too

Every process makes a file, writes it, flushes it, and removes it when it has twenty of them: that is what a message does
that is delivered at once.  The bench works in a directory of its own, which it removes.

Ref: MeTA1 fsperf1 (name and purpose modelled on); docs/tools.md.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from meta1g.base import cli, sysexits
from meta1g.base.dataclass import dataclass
from meta1g.base.units import format_size_bytes, format_time_s, parse_size_bytes, parse_time_s
from meta1g.db.files import FILES

_PROG: Final = "fsperf1"
PROCESSES_MAX: Final = 256
SIZE_MAX_BYTES: Final = 64 << 20
TIME_MAX_S: Final = 600
#: A process measures no more files than this, so that what it remembers is bounded.
FILES_MAX: Final = 200_000
#: Files that a process keeps before it removes the oldest one.
_KEEP: Final = 20
_PIECE_BYTES: Final = 32 << 10
_MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class FileWork:
    """What a process does.

    Args:
        size_bytes: of each file.
        seconds: how long it goes on.
        count: files at most.
        sync: each file is flushed.
        rename: it is written under another name, renamed, and its directory flushed if sync.
    """

    size_bytes: int
    seconds: float
    count: int
    sync: bool
    rename: bool

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps that are measured, in their order."""
        sync, rename = ("fsync",) if self.sync else (), ("rename",) if self.rename else ()
        return ("create", "write", *sync, *rename, *(("dirsync",) if self.sync and self.rename else ()), "unlink")


Times = dict[str, list[int]]


def one_process(directory: Path, work: FileWork) -> Times:
    """Makes and removes files in a directory that is empty; gives the microseconds of each step.

    Raises:
        OSError: the file system refuses.
    """
    times: Times = {step: [] for step in work.steps}
    pieces = [b"x" * min(_PIECE_BYTES, work.size_bytes - at) for at in range(0, work.size_bytes, _PIECE_BYTES)]
    kept: list[str] = []
    end = time.monotonic() + work.seconds

    def timed(step: str, act: Callable[[], object]) -> None:
        before = time.perf_counter()
        act()
        times[step].append(int((time.perf_counter() - before) * _MICROSECONDS))

    for number in range(work.count):
        if number and time.monotonic() >= end:
            break
        kept.append(_one_file(f"{directory}/{number}", pieces, work, timed))
        if len(kept) > _KEEP:
            timed("unlink", lambda: FILES.unlink(kept.pop(0)))
    while kept:
        timed("unlink", lambda: FILES.unlink(kept.pop()))
    return times


def _one_file(name: str, pieces: Sequence[bytes], work: FileWork, timed: Callable[[str, Callable[[], object]], None]) -> str:
    made: list[int] = []
    first = f"{name}.new" if work.rename else name
    timed("create", lambda: made.append(FILES.create(first)))
    (fd,) = made
    try:
        timed("write", lambda: FILES.write(fd, pieces))
        if work.sync:
            timed("fsync", lambda: FILES.sync(fd))
    finally:
        FILES.close(fd)
    if work.rename:
        timed("rename", lambda: FILES.rename(first, name))
        if work.sync:
            timed("dirsync", lambda: FILES.sync_directory(os.path.dirname(name)))  # noqa: PTH120
    return name


# -- several processes -------------------------------------------------------------------------------------------------


def all_processes(directory: Path, count: int, work: FileWork) -> Times:
    """Runs processes side by side, each in a directory of its own below an empty one; gives all their times.

    Raises:
        CliError: one of them failed; the text has what the system said.
    """
    running: list[tuple[int, int]] = []
    texts = []
    try:
        for number in range(count):
            place = directory / str(number)
            place.mkdir()
            running.append(_start(place, work))
        while running:
            pid, fd = running.pop(0)
            with open(fd) as pipe:
                texts.append(pipe.read())
            os.waitpid(pid, 0)
    finally:
        for pid, fd in running:
            os.close(fd)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    total: Times = {step: [] for step in work.steps}
    for text in texts:
        found = json.loads(text or '"it was killed"')
        if isinstance(found, str):
            raise cli.CliError(f"{directory.parent}: {found}", sysexits.EX_IOERR)
        for step, values in found.items():
            total[step] += values
    return total


def _start(place: Path, work: FileWork) -> tuple[int, int]:
    """Starts a process; gives its number, and the descriptor on which it tells its times, or what went wrong."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid:
        os.close(theirs)
        return pid, ours
    answer: object = "it failed"
    try:
        answer = one_process(place, work)
    except OSError as error:
        answer = f"cannot make files: {error.strerror}"
    finally:
        with contextlib.suppress(OSError), open(theirs, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)


@contextlib.contextmanager
def own_directory(parent: Path) -> Iterator[Path]:
    """Makes a directory for the bench and removes it with all that is in it.

    Raises:
        CliError: it cannot be made.
    """
    try:
        made = tempfile.mkdtemp(prefix=f"{_PROG}.", dir=parent)
    except OSError as error:
        text = f"{parent}: cannot make a directory there: {error.strerror}"
        code = sysexits.EX_NOINPUT if isinstance(error, FileNotFoundError | NotADirectoryError) else sysexits.EX_CANTCREAT
        raise cli.CliError(text, code) from error
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


# -- what is said ------------------------------------------------------------------------------------------------------


def summary(times: Times, seconds: float) -> dict[str, dict[str, float]]:
    """Gives for each step how often it was done, and mean, median, 99th percentile and maximum in milliseconds.

    Args:
        times: microseconds by step.
        seconds: how long all of it took; `files` is how many files a second that makes.
    """
    found: dict[str, dict[str, float]] = {}
    for step, values in times.items():
        ordered = sorted(values)
        count = len(ordered)
        found[step] = {
            "count": count,
            "mean_ms": round(sum(ordered) / count / 1000, 3),
            "p50_ms": ordered[count // 2] / 1000,
            "p99_ms": ordered[min(count - 1, count * 99 // 100)] / 1000,
            "max_ms": ordered[-1] / 1000,
        }
    files = len(times["create"])
    return {**found, "files": {"count": files, "seconds": round(seconds, 3), "per_second": round(files / seconds, 1)}}


def as_text(found: dict[str, dict[str, float]]) -> Iterator[str]:
    """Gives a summary for people."""
    yield f"{'step':<8}{'count':>9}{'mean ms':>10}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}"
    for step, row in found.items():
        if step != "files":
            numbers = "".join(f"{row[name]:>10.3f}" for name in ("mean_ms", "p50_ms", "p99_ms", "max_ms"))
            yield f"{step:<8}{row['count']:>9}{numbers}"
    files = found["files"]
    yield f"{files['count']:g} files in {files['seconds']:.3f} s: {files['per_second']:.1f} files a second"


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code.

    Raises:
        CliError: the directory cannot be used.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    work = FileWork(options.size, options.seconds, options.count, sync=not options.no_sync, rename=options.rename)
    for name, value, most in (("-p", options.processes, PROCESSES_MAX), ("-n", options.count, FILES_MAX)):
        if not 1 <= value <= most:
            parser.error(f"{name} must be 1 to {most}, not {value}")
    with own_directory(options.directory) as directory:
        before = time.monotonic()
        times = all_processes(directory, options.processes, work)
        seconds = max(time.monotonic() - before, 1 / _MICROSECONDS)
    found = summary(times, seconds)
    if options.json:
        print(json.dumps(found))
        return sysexits.EX_OK
    how = "not flushed" if options.no_sync else "each flushed"
    print(f"{options.directory}: {options.processes} processes, files of {format_size_bytes(options.size)}, {how}")
    print("\n".join(as_text(found)))
    return sysexits.EX_OK


def _size(text: str) -> int:
    size = parse_size_bytes(text)
    if size > SIZE_MAX_BYTES:
        raise ValueError(text)
    return size


def _seconds(text: str) -> int:
    seconds = parse_time_s(text)
    if not 1 <= seconds <= TIME_MAX_S:
        raise ValueError(text)
    return seconds


def _parser() -> cli.Parser:
    parser = cli.parser(_PROG, "Measures how many small files a second a file system takes, each on stable storage.")
    size_help = f"size of a file, at most {format_size_bytes(SIZE_MAX_BYTES)}; 4KB if it is not given"
    time_help = f"how long, at most {format_time_s(TIME_MAX_S)}; 5s if it is not given"
    parser.add_argument("-p", dest="processes", type=int, default=4, metavar="COUNT", help="processes side by side; 4")
    parser.add_argument("-s", dest="size", type=_size, default=4 << 10, metavar="SIZE", help=size_help)
    parser.add_argument("-t", dest="seconds", type=_seconds, default=5, metavar="TIME", help=time_help)
    parser.add_argument("-n", dest="count", type=int, default=FILES_MAX, metavar="COUNT", help="files of a process at most")
    parser.add_argument("--rename", action="store_true", help="write under another name, rename, flush the directory")
    parser.add_argument("--no-sync", action="store_true", help="do not flush: what the file system does without promises")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="where, such as the queue directory")
    return parser


def run() -> None:
    """Is the program of the shell."""
    sys.exit(cli.run_program(_PROG, main))


if __name__ == "__main__":
    run()
