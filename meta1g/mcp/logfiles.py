"""Log files of the components: mcp makes them, since only it may write in a log directory.

A file of one account belongs to that account.  A file that several accounts share belongs to root and the group meta1,
and those who write to it get that group.

Ref: MeTA1 README, "Common Configuration Options", `log` (modelled on); GNU pies manual, "include-meta1" (standard error
goes to COMPONENT.log).
"""

import contextlib
import grp
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from meta1g.base import paths, reach
from meta1g.base.cli import CliError
from meta1g.base.dataclass import dataclass
from meta1g.base.sysexits import EX_CANTCREAT
from meta1g.conf.config import Config
from meta1g.mcp.account import Identity
from meta1g.mcp.service import Service

_OWN_MODE: Final = 0o640
_SHARED_MODE: Final = 0o660
_SHARED_GROUP: Final = "meta1"


@dataclass(frozen=True, slots=True)
class LogFile:
    """One log file: who writes to it, and owner, group and mode of a new one."""

    path: Path
    labels: tuple[str, ...]
    uid: int
    gid: int
    mode: int


def log_files(config: Config, services: Sequence[Service], found: Mapping[str, Identity]) -> list[LogFile]:
    """Gives the files that have to be made: those of components that do not run as mcp itself does.

    Raises:
        CliError: several accounts share a file, but there is no group for that.
    """
    by_path: dict[Path, list[str]] = {}
    for service in services:
        section = next(s for s in config.all_sections if (s.keyword, s.name) == service.section)
        name = config.log_section(section).get("file")
        if name and found[service.label].drop:
            by_path.setdefault(config.queue_directory / name, []).append(service.label)
    shared_by_mcp = config.glob.sub("log").get("file")
    mcp_path = config.queue_directory / shared_by_mcp if shared_by_mcp else None
    return [_log_file(path, labels, found, alone=path != mcp_path) for path, labels in by_path.items()]


def _log_file(path: Path, labels: list[str], found: Mapping[str, Identity], *, alone: bool) -> LogFile:
    first = found[labels[0]]
    if alone and len({found[label].uid for label in labels}) == 1:
        return LogFile(path, tuple(labels), first.uid, first.gid, _OWN_MODE)
    try:
        gid = grp.getgrnam(_SHARED_GROUP).gr_gid
    except KeyError:
        advice = f"needs the group {_SHARED_GROUP}; run sm.setup, or use log {{ facility = mail; }}"
        raise CliError(f"{path}: a log file of several accounts {advice}") from None
    return LogFile(path, tuple(labels), 0, gid, _SHARED_MODE)


def with_log_groups(found: Mapping[str, Identity], files: Sequence[LogFile]) -> dict[str, Identity]:
    """Gives the identities with the groups that they need to write their logs."""
    made = dict(found)
    for file in files:
        for label in file.labels if file.mode == _SHARED_MODE else ():
            made[label] = replace(made[label], groups=tuple(sorted({*made[label].groups, file.gid})))
    return made


def check(files: Sequence[LogFile]) -> None:
    """Looks whether make() could make the files; makes nothing.

    Raises:
        CliError: one cannot be made.
    """
    for file in files:
        if os.path.lexists(file.path):
            continue
        text = reach.obstacle(file.path)
        if text:
            raise CliError(f"cannot make log file {file.path}: {reach.OUT_OF_REACH}{text}", EX_CANTCREAT)
        reach.need_directory(file.path.parent, os.W_OK | os.X_OK, f"make the log file {file.path.name} there")


def make(files: Sequence[LogFile]) -> list[Path]:
    """Makes the files that there are not yet; those that there are stay as they are.

    Returns:
        Those that were made.

    Raises:
        CliError: one cannot be made; those that were made are removed again.
    """
    made: list[Path] = []
    try:
        for file in files:
            if _make(file):
                made.append(file.path)
    except OSError as error:
        remove(made)
        raise CliError(f"cannot make log file {reach.explain(error)}", EX_CANTCREAT) from error
    return made


def remove(made: Sequence[Path]) -> None:
    """Removes files that make() has made, if nothing has been written to them."""
    for path in made:
        with contextlib.suppress(OSError):
            if path.stat().st_size == 0:
                path.unlink()


def _make(file: LogFile) -> bool:
    try:
        fd = os.open(file.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    try:
        os.fchown(fd, file.uid, file.gid)
        os.fchmod(fd, file.mode)
    except OSError:
        file.path.unlink()
        raise
    finally:
        os.close(fd)
    return True


def stderr_name(service: Service) -> str:
    """Gives the name of the file for a component's standard error, in the queue directory."""
    return f"{service.kind}-{service.name}.log" if service.name else f"{service.kind}.log"


def stderr_is_journal() -> bool:
    """Tells whether standard error goes to the journal of systemd: then that of the components goes there as well."""
    facts = os.fstat(2)
    return os.environ.get("JOURNAL_STREAM") == f"{facts.st_dev}:{facts.st_ino}"


assert any(account.name == _SHARED_GROUP for account in paths.ACCOUNTS)
