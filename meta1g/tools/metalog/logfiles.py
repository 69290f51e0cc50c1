"""The files of a log: which the configuration means, what rotation made of them, and their lines, packed or not.

A file is read line by line, as often as it is needed; nothing of it is kept.

Ref: logrotate(8), "dateext", "compress"; newsyslog(8).
"""

import bz2
import gzip
import heapq
import lzma
import os
import re
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

from meta1g.base import cli, reach, sysexits
from meta1g.base.dataclass import dataclass
from meta1g.base.logkept import KEPT_NAME
from meta1g.conf.config import Config
from meta1g.tools.metalog.lines import LogLine, Unread, parse_line

#: A line that is longer is read in parts, each of which is damaged.
LINE_MAX_BYTES: Final = 64 << 10
STDIN: Final = "-"
#: What logrotate and newsyslog append: a number or a date, then the ending of a packer.
_ROTATED: Final = re.compile(r"(?:[.-](?:\d{8}[-\dT]*|\d{1,4}))?(\.(?:gz|xz|bz2|lzma|zst|Z))?", re.ASCII)
_PACKERS: Final[dict[str, Any]] = {".gz": gzip.open, ".xz": lzma.open, ".lzma": lzma.open, ".bz2": bz2.open}
_NOT_BUILT_IN: Final = "passed over: its packing is not built in; unpack it and pipe it in"
#: Where syslog usually writes mail.
_SYSLOG_FILES: Final = ("/var/log/mail.log", "/var/log/maillog", "/var/log/mail")


@dataclass(slots=True)
class LogSource:
    """One file.  Owner: who reads it.

    Args:
        path: its name.
        changed: when it was written last, seconds since the epoch.
        opened: standard input, as it was copied.
        trouble: why it could not be read to its end, the last time.
    """

    path: Path
    changed: float
    opened: IO[bytes] | None = None
    trouble: str = ""

    def lines(self) -> Iterator[str]:
        """Gives the lines as texts; bytes that are none become surrogates."""
        return (line.decode("utf-8", "surrogateescape") for line in self.raw())

    def raw(self) -> Iterator[bytes]:
        """Gives the lines without their ends; if the file is damaged, those before the damage, and `trouble` says so."""
        self.trouble = f"{self.path}: {_NOT_BUILT_IN}" if self.path.suffix in (".zst", ".Z") else ""
        if self.trouble:
            return
        try:
            with self._open() as file:
                while line := file.readline(LINE_MAX_BYTES):
                    yield line.removesuffix(b"\n")
        except FileNotFoundError:  # rotated away meanwhile
            self.trouble = f"{self.path}: gone while it was read"
        except (EOFError, lzma.LZMAError, zlib.error, OSError) as error:
            self.trouble = f"{self.path}: cannot be read to its end: {error}"

    def _open(self) -> IO[bytes]:
        if self.opened is None:
            return _PACKERS.get(self.path.suffix, open)(self.path, "rb")  # type: ignore[no-any-return]
        self.opened.seek(0)
        return os.fdopen(os.dup(self.opened.fileno()), "rb")


def named(names: Sequence[str]) -> list[LogSource]:
    """Gives the files that were named; standard input for `-`, or if none was.

    Raises:
        CliError: one cannot be read.
    """
    return [_stdin() if name == STDIN else _source(Path(name)) for name in names or (STDIN,)]


def _stdin() -> LogSource:
    """Copies standard input, so that it can be read more than once."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the program
    shutil.copyfileobj(sys.stdin.buffer, copy)
    copy.flush()
    return LogSource(Path("standard input"), 0.0, copy)


def _source(path: Path) -> LogSource:
    try:
        with path.open("rb"):
            changed = path.stat().st_mtime
    except OSError as error:
        code = sysexits.EX_NOPERM if isinstance(error, PermissionError) else sysexits.EX_NOINPUT
        raise cli.CliError(reach.explain(error), code) from error
    return LogSource(path, changed)


def complain(program: str, sources: Iterable[LogSource]) -> int:
    """Says on standard error which files could not be read to their ends; gives the exit code: EX_DATAERR if there is one.

    Args:
        program: its name.
        sources: the files, after they were read.
    """
    texts = [source.trouble for source in sources if source.trouble]
    sys.stderr.write("".join(f"{program}: {text}\n" for text in texts))
    return sysexits.EX_DATAERR if texts else sysexits.EX_OK


def with_rotated(paths: Sequence[Path]) -> list[LogSource]:
    """Gives files and what rotation made of them, the oldest first.

    Args:
        paths: the files that are written to; those that are missing are passed over.

    Raises:
        CliError: a file cannot be read.
    """
    found: dict[Path, LogSource] = {}
    for path in paths:
        for one in sorted(path.parent.glob(f"{_literal(path.name)}*")) if path.parent.is_dir() else ():
            ending = _ROTATED.fullmatch(one.name[len(path.name) :])
            if ending is None or not one.is_file() or (ending[1] and one.with_suffix("") in found):
                continue  # another file, or one that is being packed
            found[one] = _source(one)
    return sorted(found.values(), key=lambda source: (source.changed, str(source.path)))


def in_order(groups: Iterable[Sequence[LogSource]]) -> Iterator[LogLine]:
    """Gives all lines of this gateway in the order of time, although each process may have its own files.

    Args:
        groups: the files of each log, the oldest first; all but one line of each are read when they are needed.
    """
    return heapq.merge(*map(_read, groups), key=lambda line: line.when)


def _read(sources: Sequence[LogSource]) -> Iterator[LogLine]:
    for source in sources:
        now = source.changed or time.time()
        for raw in source.lines():
            line = parse_line(raw, now)
            if not isinstance(line, Unread):
                yield line


def _literal(name: str) -> str:
    return re.sub(r"([\[?*])", r"[\1]", name)


def configured(config: Config) -> list[Path]:
    """Gives the files that the processes of a configuration write to.

    Lines that go to standard error are in COMPONENT.log in the queue directory; those for syslog in a file that syslog
    usually has; those that nobody took are kept in the queue directory.
    """
    found: list[Path] = []
    for section in (config.glob, *config.all_sections):
        log = config.log_section(section)
        if log.get("file"):
            found.append(config.queue_directory / log.get("file"))
        elif log.get("facility") or log.given("protocol") or log.given("socket"):
            found += [Path(name) for name in _SYSLOG_FILES]
    for pattern in ("*.log", f"*/{KEPT_NAME}"):
        found += sorted(config.queue_directory.glob(pattern))
    return list({path.resolve(): path for path in found}.values())  # one file may have several names
