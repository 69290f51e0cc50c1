"""What the component programs share when they start: command line, log, and the descriptors that mcp hands over.

Ref: MeTA1 README, "Common Configuration Options" (modelled on); the descriptors are ours.
"""

import argparse
import contextlib
import gc
import os
import syslog
from pathlib import Path
from typing import Any, Final, Protocol

from meta1g.base import cli, paths, reach, sysexits
from meta1g.base.ids import PROCESS_INDEX_MAX
from meta1g.base.log import LOG_FLAGS, FdSink, FileSink, Log, Sink
from meta1g.base.logkeys import Sev
from meta1g.base.logsyslog import JOURNAL_SOCKET, SYSLOG_SOCKET, SyslogSink

ALIVE_FD: Final = "META1G_ALIVE_FD"
READY_FD: Final = "META1G_READY_FD"
CONFIG_FD: Final = "META1G_CONFIG_FD"
#: Set for a check that does not look at each entry of the maps, so that a gateway starts fast and with what it has.
QUICK_CHECK: Final = "META1G_QUICK_CHECK"
#: Set for a check if mcp makes the log file, since the account may not.
LOG_MADE: Final = "META1G_LOG_MADE"
#: New objects after which cyclic garbage is looked for.  Our choice: some 2 MiB at most.
GC_THRESHOLD: Final = 20_000


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
    """Reads the command line of a component: `-f FILE -n SECTION -i INDEX -L --check`.

    Returns:
        Attributes `file` (Path), `name` (str or None), `index` (0 to 255), `lenient` and `check` (bool).
    """
    parser = cli.parser(prog, description)
    parser.add_argument("-f", dest="file", type=Path, default=paths.DEFAULT_CONFIG_FILE, help="configuration file")
    parser.add_argument("-n", dest="name", help="name of the configuration section, if several have this keyword")
    parser.add_argument("-i", dest="index", type=int, default=0, help="index of this process, 0 to 255")
    parser.add_argument("-L", dest="lenient", action="store_true", help="warn of unknown options instead of refusing them")
    parser.add_argument(
        "--check", action="store_true", help="check configuration, maps and directories as this account, then leave"
    )
    options = parser.parse_args(argv)
    if not 0 <= options.index <= PROCESS_INDEX_MAX:
        parser.error(f"index must be 0 to {PROCESS_INDEX_MAX}, not {options.index}")
    return options


def open_log(module: str, glob: Options, section: Options, directory: Path, component: str = "") -> Log:
    """Makes the log of a process from `log_level`, `debug_level` and `log { }`, of its section first, then of the whole file.

    Args:
        module: name of the component.
        glob: options outside of all sections.
        section: options of the component's section.
        directory: the queue directory; a relative `file` is relative to it.
        component: its directory in there, where lines are kept that nobody takes; that of the module if it is not given.

    Raises:
        CliError: the log file cannot be opened.
    """
    where = _log_section(glob, section)
    try:
        sink = _sink(module, where, directory, directory / (component or module))
    except OSError as error:
        raise _log_error(error) from error
    return Log(module, level=_level(glob, section), sink=sink, format_name=where.get("format") or "classic")


def _level(glob: Options, section: Options) -> int:
    """Gives the level of a log: `log_level`, or that of debugging lines if they are wanted."""
    level: int = (section if section.given("log_level") else glob).get("log_level")
    debug: int = (section if section.given("debug_level") else glob).get("debug_level")
    return max(level, Sev.DEBUG) if debug else level


def check_log(module: str, glob: Options, section: Options, directory: Path) -> None:
    """Looks whether open_log() would succeed, without making a file; arguments and errors are the same."""
    name = _log_section(glob, section).get("file")
    if not name:
        return
    path = directory / name
    try:
        os.close(os.open(path, LOG_FLAGS))
    except FileNotFoundError as error:
        if reach.obstacle(path.absolute()):
            raise _log_error(error) from error
        need = os.X_OK if os.environ.get(LOG_MADE) else os.X_OK | os.W_OK
        reach.need_directory(path.parent, need, f"make the log file {path.name} there")
    except OSError as error:
        raise _log_error(error) from error


def _log_section(glob: Options, section: Options) -> Options:
    own = section.sub("log")
    return own if log_given(own) else glob.sub("log")


def _log_error(error: OSError) -> cli.CliError:
    path = Path(os.fsdecode(error.filename))
    way = reach.obstacle(path.absolute())
    reason = f"{reach.OUT_OF_REACH}{way}" if way else f"{error.strerror}; mend it"
    return cli.CliError(f"cannot open log file {path}: {reason}, or choose another file in log {{ }}", sysexits.EX_CANTCREAT)


def log_given(section: Options) -> bool:
    """Tells whether a `log` section says anything, so that it counts and not that of the whole file."""
    return any(section.given(option) for option in ("file", "facility", "ident", "format", "protocol", "socket"))


def _sink(module: str, section: Options, directory: Path, keep: Path) -> Sink | SyslogSink:
    if section.get("file"):
        return FileSink(directory / section.get("file"), directory=keep)
    protocol = section.get("protocol")
    if section.get("facility") or section.given("protocol") or section.given("socket"):
        facility = getattr(syslog, f"LOG_{str(section.get('facility') or 'mail').upper()}", syslog.LOG_MAIL)
        usual = JOURNAL_SOCKET if protocol == "journal" else SYSLOG_SOCKET
        path = Path(section.get("socket") or usual)
        return SyslogSink(section.get("ident") or module, facility, path=path, protocol=protocol, directory=keep)
    return FdSink(directory=keep)


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
        _settle()
        with contextlib.suppress(OSError):  # mcp is gone; alive_fd tells
            os.write(fd, b"1")
        os.close(fd)


def _settle() -> None:
    """Prepares the collector of cyclic garbage for work that makes hardly any.

    What is there after the start stays for good and is not looked through any more, the few hundred objects included that
    nobody refers to: to find them takes a tenth of the start.  New objects are looked through after GC_THRESHOLD of them, not
    after 700, which a message alone makes several times.
    """
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


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
