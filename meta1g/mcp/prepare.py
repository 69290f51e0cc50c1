"""Checks a configuration whole and makes from it what mcp runs; nothing is started or changed here.

Ref: MeTA1 design, "Functional Specification: Supervisor" (modelled on).
"""

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from meta1g.base import paths, sysexits
from meta1g.base.cli import CliError
from meta1g.base.dataclass import dataclass
from meta1g.base.signature import signature
from meta1g.base.unixsock import PATH_MAX_BYTES
from meta1g.conf.config import Config, Section
from meta1g.conf.load import load_file
from meta1g.mcp import logfiles
from meta1g.mcp.account import Identity, check_accounts, identities
from meta1g.mcp.child import MemberPlan
from meta1g.mcp.program import Program, program_of
from meta1g.mcp.service import Service, StartAction, options_of, services_of
from meta1g.mcp.spawn import Launch

_STATUS_DIRECTORY: Final = Path(paths.MCP_STATUS_SOCKET).parent
_MISSING: Final = ": no such directory"
#: Options of components that name a file which is read at the start alone.
_ONCE: Final = {"qmgr": ("dsn_templates",)}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration that can be run.

    Args:
        config: the configuration.
        queue: the queue directory.
        plans: one for each process, in the order of the file.
        log_files: files that the components log to, to be made before they start.
        warnings: what an operator should know.
    """

    config: Config
    queue: Path
    plans: tuple[MemberPlan, ...]
    log_files: tuple[logfiles.LogFile, ...]
    warnings: tuple[str, ...]

    @property
    def services(self) -> list[Service]:
        """The services in the order of the file."""
        return [plan.service for plan in self.plans]

    @property
    def logs_made(self) -> frozenset[str]:
        """Labels of those whose log files mcp makes."""
        return frozenset(label for file in self.log_files for label in file.labels)


@dataclass(slots=True)
class Preparation:
    """A configuration made ready as far as that went.  Owner: who asks.

    Args:
        config: the configuration.
        wrong: what is wrong.
        prepared: what could run; None if there is no queue directory.  Components of which something is wrong are not in it,
            but those without an account.
    """

    config: Config
    wrong: list[CliError]
    prepared: Prepared | None = None

    def attempt(self, call: Callable[[], T]) -> T | None:
        """Gives what a call gives; None if something is wrong, which is kept."""
        try:
            return call()
        except CliError as error:
            self.wrong.append(error)
            return None


def prepare(file: Path, *, lenient: bool = False) -> Prepared:
    """Reads and checks a configuration.

    Args:
        file: the configuration file.
        lenient: unknown options are warnings instead of errors.

    Raises:
        CliError, ConfigError: something is wrong; the text has a line for each problem and says what to do.
    """
    made = try_to_prepare(file, lenient=lenient)
    if made.wrong or made.prepared is None:
        raise one_error(made.wrong)
    return made.prepared


def one_error(wrong: Sequence[CliError]) -> CliError:
    """Makes one error of all problems, each told once; the first one decides about the exit code.

    What is below a directory that is missing is not told: it is missing, too.
    """
    texts = dict.fromkeys(map(str, wrong))
    missing = [text.partition(_MISSING)[0] + "/" for text in texts if _MISSING in text]
    return CliError("\n".join(one for one in texts if not one.startswith(tuple(missing))), wrong[0].exit_code)


def try_to_prepare(file: Path, *, lenient: bool = False) -> Preparation:
    """Does what prepare() does, and finds all that is wrong.

    Raises:
        CliError, ConfigError: the file cannot be read, or names nobody to start.
    """
    config = load_file(file.absolute(), lenient=lenient)
    services = services_of(config.all_sections)
    queue = config.queue_directory
    made = Preparation(config, [])
    _check_queue(made, queue)
    status = queue / _STATUS_DIRECTORY
    if status.exists() and not os.access(status, os.W_OK):
        return made  # somebody else's: all else would be looked at by the wrong account
    use_accounts = _uses_accounts(queue)
    made.attempt(partial(check_accounts, services, use_accounts=use_accounts))
    found = identities(services, use_accounts=use_accounts)  # who has no account is looked at all the same, by the caller
    programs = {one.label: made.attempt(partial(program_of, one, config.path, lenient=lenient)) for one in services}
    if not queue.is_dir():
        return made
    log_files = made.attempt(partial(logfiles.log_files, config, services, found)) or []
    found = logfiles.with_log_groups(found, log_files)
    well = [one for one in services if _has_directories(made, one, queue, found[one.label])]
    made.attempt(lambda: _check_content_group(config, services, found))
    plans = tuple(_plan(config, one, found[one.label], program) for one in well if (program := programs[one.label]) is not None)
    warnings = [*config.warnings, *_root_warnings(services, found)]
    made.prepared = Prepared(config, queue, plans, tuple(log_files), tuple(warnings))
    return made


def _uses_accounts(queue: Path) -> bool:
    """Tells whether there are to be accounts; not if that is not known, since sm.setup has not made the directory of mcp."""
    marker = queue / paths.MCP_NO_ACCOUNTS
    try:
        return marker.parent.is_dir() and not marker.exists()
    except PermissionError:  # told already, by the directory
        return False


def _has_directories(made: Preparation, service: Service, queue: Path, identity: Identity) -> bool:
    known = len(made.wrong)
    made.attempt(lambda: _check_directories(service, queue, identity))
    return len(made.wrong) == known


def _plan(config: Config, service: Service, identity: Identity, program: Program) -> MemberPlan:
    queue = config.queue_directory
    errors = None if logfiles.stderr_is_journal() else queue / logfiles.stderr_name(service)
    launch = Launch(program, identity, queue, errors, config.text)
    section = section_of(config, service)
    elsewhere, files = _read_elsewhere(config.glob, service), _read_at_start(config, section)
    return MemberPlan(service, launch, (options_of(section), elsewhere, files, _glob_options(config.glob)))


def section_of(config: Config, service: Service) -> Section:
    """Gives the section that a service was made from."""
    return next(s for s in config.all_sections if (s.keyword, s.name) == service.section)


def _read_elsewhere(glob: Section, service: Service) -> object:
    """Gives what a component reads in the sections of others: smar knows where smtps listens and where smtpc connects."""
    if service.kind != "smar":
        return ()
    smtpc = glob.sub("smtpc")
    listens = [options_of(listen) for smtps in glob.subs("smtps") for listen in smtps.subs("listen_socket")]
    return listens, smtpc.get("remote_port"), smtpc.get("LMTP_socket"), smtpc.flag("talk_to_myself")


def _read_at_start(config: Config, section: Section) -> list[object]:
    """Gives what tells whether files that a component reads once were changed; all others it renews by itself."""
    names = (section.get(option) for option in _ONCE.get(section.keyword, ()))
    return [signature(config.configuration_directory / name) for name in names if name is not None]


def _glob_options(glob: Section) -> object:
    values = tuple((item.row.name, item.value) for item in glob.items())
    return values, options_of(glob.sub("log"))


def _root_warnings(services: Sequence[Service], found: dict[str, Identity]) -> Iterable[str]:
    names = [service.label for service in services if found[service.label].uid == 0]
    if names:
        yield f"{', '.join(names)} run as root, since sm.setup was called with --no-accounts; not for daily use"
    elif os.geteuid() != 0:
        caller = found[services[0].label].user
        others = [s.label for s in services if s.user and s.user != caller]
        if others:
            yield f"not root: {', '.join(others)} run as {caller}, not as the user that the configuration names"


def _check_queue(made: Preparation, queue: Path) -> None:
    known = len(made.wrong)
    for directory in (queue / row.name for row in paths.NEEDED_DIRECTORIES):
        if directory == queue or directory.parent.exists():  # else its parent is told
            made.attempt(partial(_check_directory, directory))
    if len(made.wrong) == known:
        made.attempt(lambda: _check_owner(queue))


def _check_owner(queue: Path) -> None:
    owner = queue.stat()
    if os.geteuid() == 0 and (owner.st_uid != 0 or owner.st_mode & stat.S_IWOTH):
        raise CliError(f"{queue}: must belong to root and be writable for root only; run sm.setup", sysexits.EX_NOPERM)
    if not os.access(queue / _STATUS_DIRECTORY, os.W_OK):
        raise CliError(f"{queue / _STATUS_DIRECTORY}: cannot write there; start mcp as its owner", sysexits.EX_NOPERM)


def _check_directory(directory: Path) -> None:
    try:
        if not stat.S_ISDIR(directory.stat().st_mode):
            raise CliError(f"{directory}: is no directory; remove it and run sm.setup")
    except FileNotFoundError:
        raise CliError(f"{directory}: no such directory; run sm.setup") from None


def _check_directories(service: Service, queue: Path, identity: Identity) -> None:
    """Checks that a component has its directories and may write in them."""
    account = paths.COMPONENT_ACCOUNTS[service.kind]
    wanted = {queue / row.name for row in paths.NEEDED_DIRECTORIES if row.user == account}
    if service.start_action is StartAction.PASS:
        path = queue / service.pass_fd_socket
        wanted.add(path.parent)
        if len(os.fsencode(path)) > PATH_MAX_BYTES:
            raise CliError(f"{service.where}: {path}: longer than {PATH_MAX_BYTES} bytes; choose a shorter path")
    made_at_need = [queue / row.name for row in paths.QUEUE_DIRECTORIES if row.user == account and row.made_at_need]
    for directory in (*sorted(wanted), *made_at_need):
        if directory in made_at_need and not directory.exists():  # those above it have been looked at
            continue
        _check_directory(directory)
        if not _may_write(directory, identity):
            text = (
                f"{directory}: {service.label} runs as {identity.user} and cannot write there; run sm.setup or mend its owner"
            )
            raise CliError(text, sysexits.EX_NOPERM)


def _check_content_group(config: Config, services: Sequence[Service], found: dict[str, Identity]) -> None:
    """Checks that smtps may give content files to their group, and that smtpc may read them by it."""
    readers = [found[s.label] for s in services if s.kind == "smtpc" and found[s.label].uid != 0]
    for service in services:
        writer = found[service.label]
        if service.kind != "smtps" or writer.uid == 0 or all(reader.uid == writer.uid for reader in readers):
            continue
        section = section_of(config, service)
        gid = section.get("CDB_gid") if section.given("CDB_gid") else writer.gid
        for one in (writer, *readers):
            if gid not in (one.gid, *one.groups):
                does = "make" if one is writer else "read"
                text = f"user {one.user} is not in group {gid}, so that it could not {does} content files"
                raise CliError(f"{service.where}: {text}; set CDB_gid to a group of smtps and smtpc, such as {readers[0].gid}")


def _may_write(directory: Path, identity: Identity) -> bool:
    facts = directory.stat()
    if identity.uid in (0, facts.st_uid):
        return identity.uid == 0 or bool(facts.st_mode & stat.S_IWUSR)
    in_group = facts.st_gid in (identity.gid, *identity.groups)
    return bool(facts.st_mode & (stat.S_IWGRP if in_group else stat.S_IWOTH))
