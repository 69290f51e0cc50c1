"""What the component programs share when they start: command line, log, and the descriptors that mcp hands over.

Ref: MeTA1 README, "Common Configuration Options" (modelled on); the descriptors are ours.
"""

import argparse
import contextlib
import os
import syslog
from pathlib import Path
from typing import Any, Final, Protocol

from meta1g.base import cli, paths, sysexits
from meta1g.base.ids import PROCESS_INDEX_MAX
from meta1g.base.log import FdSink, FileSink, Log, Sink, SyslogSink

ALIVE_FD: Final = "META1G_ALIVE_FD"
READY_FD: Final = "META1G_READY_FD"
CONFIG_FD: Final = "META1G_CONFIG_FD"


class Options(Protocol):
    """A section of the configuration, as far as this module needs it."""

    def get(self, option: str) -> Any:
        """Gives the value of an option."""
        ...

    def given(self, option: str) -> bool:
        """Tells whether the option stands in the file."""
        ...

    def sub(self, keyword: str) -> "Options":
        """Gives a sub-section."""
        ...


def component_arguments(prog: str, argv: list[str], description: str) -> argparse.Namespace:
    """Reads the command line of a component: `-f FILE -n SECTION -i INDEX`.

    Returns:
        Attributes `file` (Path), `name` (str or None), `index` (0 to 255).
    """
    parser = cli.parser(prog, description)
    parser.add_argument("-f", dest="file", type=Path, default=paths.DEFAULT_CONFIG_FILE, help="configuration file")
    parser.add_argument("-n", dest="name", help="name of the configuration section, if several have this keyword")
    parser.add_argument("-i", dest="index", type=int, default=0, help="index of this process, 0 to 255")
    parser.add_argument("-L", dest="lenient", action="store_true", help="warn of unknown options instead of refusing them")
    options = parser.parse_args(argv)
    if not 0 <= options.index <= PROCESS_INDEX_MAX:
        parser.error(f"index must be 0 to {PROCESS_INDEX_MAX}, not {options.index}")
    return options


def open_log(module: str, glob: Options, section: Options, directory: Path) -> Log:
    """Makes the log of a process from `log_level` and `log { }`, of its section first, then of the whole file.

    Args:
        module: name of the component.
        glob: options outside of all sections.
        section: options of the component's section.
        directory: a relative `file` is relative to it.

    Raises:
        CliError: the log file cannot be opened.
    """
    level_owner = section if section.given("log_level") else glob
    where = section.sub("log") if _given(section.sub("log")) else glob.sub("log")
    try:
        sink = _sink(module, where, directory)
    except OSError as error:
        text = f"cannot open log file {error.filename}: {error.strerror}; mend it, or choose another file in log {{ }}"
        raise cli.CliError(text, sysexits.EX_CANTCREAT) from error
    return Log(module, level=level_owner.get("log_level"), sink=sink, format_name=where.get("format") or "classic")


def _given(section: Options) -> bool:
    return any(section.given(option) for option in ("file", "facility", "ident", "format"))


def _sink(module: str, section: Options, directory: Path) -> Sink:
    if section.get("file"):
        return FileSink(directory / section.get("file"))
    if section.get("facility"):
        facility = getattr(syslog, f"LOG_{str(section.get('facility')).upper()}", syslog.LOG_MAIL)
        return SyslogSink(section.get("ident") or module, facility)
    return FdSink()


def alive_fd() -> int | None:
    """Gives the descriptor that reaches its end when mcp dies, or None without mcp."""
    return _fd(ALIVE_FD)


def ready_fd() -> int | None:
    """Gives the descriptor to tell mcp that this process is ready, or None without mcp."""
    return _fd(READY_FD)


def _fd(name: str) -> int | None:
    value = os.environ.get(name, "")
    return int(value) if value.isascii() and value.isdigit() else None


def tell_ready() -> None:
    """Tells mcp that this process is ready for work; does nothing the second time or without mcp."""
    fd = ready_fd()
    if fd is not None:
        os.environ.pop(READY_FD)
        with contextlib.suppress(OSError):  # mcp is gone; alive_fd tells
            os.write(fd, b"1")
        os.close(fd)


def configuration() -> bytes | None:
    """Gives the configuration as mcp checked it, or None without mcp: then the file is read.

    The file may have been edited since; a process that is started again must not find what nobody has checked.
    """
    fd = _fd(CONFIG_FD)
    if fd is None:
        return None
    os.environ.pop(CONFIG_FD)
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read()
