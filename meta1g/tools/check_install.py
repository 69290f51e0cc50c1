"""sm.check: looks whether an installation is as it should be; prints what is wrong and the command that mends it.

Ref: MeTA1 sm.check.sh (purpose modelled on).
"""

import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from meta1g.base import cli, paths, sysexits
from meta1g.base.cli import CliError
from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Meta1Error
from meta1g.conf.config import Config, Section
from meta1g.conf.load import load_file
from meta1g.db.mapfile import KINDS, MapFile
from meta1g.tools import accounts, layout, machine

_PROG: Final = "sm.check"
#: Length of a Unix socket's path on Linux, without the closing NUL (sun_path).
_SOCKET_PATH_MAX_BYTES: Final = 107
_SOCKETS: Final = (
    paths.QMGR_SMTPS_SOCKET,
    paths.QMGR_SMTPC_SOCKET,
    paths.QMGR_CONTROL_SOCKET,
    paths.SMAR_SMTPS_SOCKET,
    paths.SMAR_QMGR_SOCKET,
    paths.MCP_STATUS_SOCKET,
)
#: Longer than the checks of the components may take.
_MCP_TIMEOUT_S: Final = 900


@dataclass(frozen=True, slots=True)
class InstallProblem:
    """Something wrong, and the command or change that mends it."""

    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Installation:
    """What is checked.

    Args:
        conf: the configuration file.
        config: what it says.
        use_accounts: every component has an account of its own.
    """

    conf: Path
    config: Config
    use_accounts: bool

    @property
    def queue(self) -> Path:
        """The queue directory."""
        return self.config.queue_directory

    @property
    def setup(self) -> str:
        """The command that mends accounts and directories."""
        return shlex.join(["sm.setup", "-f", str(self.conf), *([] if self.use_accounts else ["--no-accounts"])])


def check_accounts(found: Installation) -> Iterator[InstallProblem]:
    """Gives what is wrong with the accounts."""
    for text in machine.account_problems(found.config, use_accounts=False):  # those of other names
        yield InstallProblem(text, found.setup)
    if not found.use_accounts:
        return
    if (found.queue / paths.MCP_NO_ACCOUNTS).exists():
        yield InstallProblem(f"{found.queue}: made with --no-accounts: all components run as whoever starts mcp", found.setup)
    for text in accounts.conflicts():
        yield InstallProblem(text, "free the number, then " + found.setup)
    for step in accounts.missing():
        yield InstallProblem(f"there is no {step.text}", found.setup)


def check_name(found: Installation) -> Iterator[InstallProblem]:
    """Tells if there is no name for greetings and headers."""
    for text in machine.name_problems(found.config):
        yield InstallProblem(text, f'add hostname = "mx.example.org"; to {found.conf}')


def check_directories(found: Installation) -> Iterator[InstallProblem]:
    """Gives what is wrong with the directories of the queue."""
    try:
        owner_of = layout.owners(found.config) if found.use_accounts else None
    except CliError as error:
        yield InstallProblem(str(error), found.setup)
        return
    for wanted in layout.directories(found.queue, owner_of):
        problem = wanted.problem()
        if problem:
            yield InstallProblem(f"{wanted.path} {problem}", found.setup)


def check_config_file(found: Installation) -> Iterator[InstallProblem]:
    """Gives what is wrong with the file itself: all components have to read it, nobody but its owner may write it."""
    facts = found.conf.stat()
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield InstallProblem(f"{found.conf} can be written by others than its owner", f"chmod go-w {found.conf}")
    if found.use_accounts and not facts.st_mode & stat.S_IROTH:
        yield InstallProblem(f"{found.conf} cannot be read by the components", f"chmod a+r {found.conf}")


def check_sockets(found: Installation) -> Iterator[InstallProblem]:
    """Gives the sockets whose paths are too long."""
    names = list(_SOCKETS)
    for section in found.config.all_sections:
        names += [sub.get("path") for sub in section.subs("listen_socket") if sub.get("path")] if _listens(section) else []
        names += [section.get("pass_fd_socket")] if _listens(section) and section.get("pass_fd_socket") else []
    for path in sorted({str(found.queue / name) for name in names}):
        if len(os.fsencode(path)) > _SOCKET_PATH_MAX_BYTES:
            text = f"{path} is longer than {_SOCKET_PATH_MAX_BYTES} bytes, too long for a socket"
            yield InstallProblem(text, f"set a shorter queue_directory or path in {found.conf}")


def _listens(section: Section) -> bool:
    return "pass_fd_socket" in section.definition.by_option


def check_maps(found: Installation) -> Iterator[InstallProblem]:
    """Gives the map files that are missing, damaged, unreadable for their component, or older than their source."""
    for component in found.config.all_sections:
        for section in _map_sections(component):
            path = found.config.configuration_directory / section.get("file")
            yield from _check_map(found, component, path, section.get("type"))


def check_entries(found: Installation) -> Iterator[InstallProblem]:
    """Gives the ways to maps that are closed, and entries that say nothing."""
    for text in machine.map_problems(found.config, use_accounts=found.use_accounts):
        yield InstallProblem(text, f"mend it, then look with: mapchk -f {shlex.quote(str(found.conf))}")


def _map_sections(section: Section) -> Iterator[Section]:
    for child in section.children():
        if {"file", "type"} <= child.definition.by_option.keys() and child.get("file"):  # others have files that are no maps
            yield child
        yield from _map_sections(child)


def _check_map(found: Installation, component: Section, path: Path, kind: str) -> Iterator[InstallProblem]:
    source = path.with_suffix("") if path.suffix == ".db" else None
    names = shlex.quote(str(path)), shlex.quote(str(source))
    make = f"createmap {'-t btree ' if kind == 'btree' else ''}{names[0]} < {names[1]}" if kind in KINDS else "write the file"
    if not path.exists():
        yield InstallProblem(f"{path}: map of section {component.title} is missing", make)
        return
    if found.use_accounts and not _may_read(path, component, found):
        yield InstallProblem(f"{path}: {component.title} may not read it", f"chmod a+r {names[0]}")
    if kind not in KINDS:
        return
    try:
        MapFile.open_checked(path).close()
    except Meta1Error as error:
        yield InstallProblem(error.cause, make)
        return
    if source is not None and source.exists() and source.stat().st_mtime > path.stat().st_mtime:
        yield InstallProblem(f"{path} is older than {source}", make)


def _may_read(path: Path, component: Section, found: Installation) -> bool:
    try:
        owner = layout.owners(found.config)[paths.COMPONENT_ACCOUNTS[component.keyword]]
    except CliError:
        return True  # the account is missing: told elsewhere
    facts = path.stat()
    if facts.st_uid == owner.uid:
        return bool(facts.st_mode & stat.S_IRUSR)
    return bool(facts.st_mode & (stat.S_IRGRP if facts.st_gid == owner.gid else stat.S_IROTH))


def check_start(found: Installation) -> Iterator[InstallProblem]:
    """Gives what mcp and the components have against the configuration, each under its own account."""
    command = [sys.executable, "-m", "meta1g.mcp.main", "-c", str(found.conf)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=_MCP_TIMEOUT_S
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"mcp -c ends with exit code {result.returncode}"]
        for line in lines:
            yield InstallProblem(line.removeprefix("mcp: "), f"mend it, then look with: mcp -c {shlex.quote(str(found.conf))}")


CHECKS: Final = (check_accounts, check_name, check_directories, check_config_file, check_sockets)


def problems(found: Installation) -> list[InstallProblem]:
    """Gives everything that is wrong; mcp is asked, which looks at entries of maps, too, if nothing else is."""
    listed = [problem for check in CHECKS for problem in check(found)]
    maps = list(check_maps(found))
    if listed or maps:
        return [*listed, *(maps or check_entries(found))]
    return list(check_start(found))


def main(argv: list[str]) -> int:
    """Runs the program: 0 if everything is right, 1 if something is wrong, 78 if the configuration cannot be read."""
    parser = cli.parser(_PROG, "Checks accounts, directories, configuration and maps; tells how to mend what is wrong.")
    parser.add_argument("-f", dest="file", type=Path, default=paths.DEFAULT_CONFIG_FILE, help="configuration file")
    parser.add_argument("--no-accounts", action="store_true", help="the installation was made with sm.setup --no-accounts")
    options = parser.parse_args(argv)
    conf = options.file.absolute()
    if not conf.exists():
        raise CliError(f"{conf}: no such file; run sm.setup, or name the configuration file by -f", sysexits.EX_CONFIG)
    config = load_file(conf)
    for warning in (*config.warnings, *(f"warning: {text}" for text in machine.map_warnings(config))):
        sys.stderr.write(f"{_PROG}: {warning}\n")
    listed = problems(Installation(conf, config, use_accounts=not options.no_accounts))
    for problem in listed:
        print(f"{problem.text}\n    {problem.remedy}")
    return 1 if listed else sysexits.EX_OK


def run() -> None:
    """Runs the program (console script)."""
    sys.exit(cli.run_program(_PROG, main))


if __name__ == "__main__":
    run()
