"""What SMTPS looks at before it is started: its settings, its log, the directories that it writes to.

Ref: MeTA1 design, "Functional Specification: Supervisor" (modelled on).
"""

import argparse
import os
import stat
from pathlib import Path
from typing import Final

from meta1g.base import paths, reach, startup
from meta1g.base.hostname import system_name
from meta1g.base.selfcheck import Findings
from meta1g.conf.config import Config, Section
from meta1g.conf.load import load_file
from meta1g.milter.settings import MilterSettings
from meta1g.smtps.authsettings import AuthSettings, auth_settings
from meta1g.smtps.mechanisms import PASSWORDS, SessionFacts, offered
from meta1g.smtps.milters import PolicySettings, milters_of, policies_of
from meta1g.smtps.settings import settings_from

_NO_MECHANISM: Final = (
    "nobody is offered AUTH: its mechanisms need TLS; add tls { cert_file = ...; }, or the flag plaintext_without_tls"
)


def check(arguments: argparse.Namespace) -> int:
    """Checks everything and tells all that is wrong; gives the exit code.

    Args:
        arguments: the command line of SMTPS.
    """
    found = Findings("smtps")
    with found.part():
        config = load_file(arguments.file, lenient=arguments.lenient, data=startup.configuration())
        section = config.section("smtps", arguments.name)
        queue = config.queue_directory
        found.libraries("gevent", "greenlet")
        found.log("smtps", config.glob, section, queue)
        look_at_files(found, config, section)
        cdb = queue / paths.CDB_DIRECTORY
        found.directories([cdb / one for one in paths.CDB_SUBDIRECTORIES], os.W_OK | os.X_OK, "write there")
        peers = {Path(paths.QMGR_SMTPS_SOCKET).parent, Path(paths.SMAR_SMTPS_SOCKET).parent}
        found.directories(sorted(queue / one for one in peers), os.X_OK, "reach the sockets in it")
        if section.get("start_action") == "pass":
            found.directories([(queue / section.get("pass_fd_socket")).parent], os.W_OK | os.X_OK, "make a socket there")
    return found.finish()


def look_at_files(found: Findings, config: Config, section: Section) -> None:
    """Looks at the settings of a section as this account: the files, back ends and filters, the group of contents.

    Args:
        found: takes what is wrong.
        config: the whole configuration; it has no errors.
        section: the section.
    """
    with found.part():
        settings = settings_from(config, section, config.hostname or system_name())
        _check_group(settings.cdb_gid, section.where, found)
        if (auth := auth_settings(config, section.sub("auth"))) is not None:
            _check_auth(auth, section.sub("auth").where, found)
            if settings.tls is None and not _in_clear(auth):
                found.warn(f"{section.sub('auth').where}: {_NO_MECHANISM}")
        _check_filters(section, config.queue_directory, found)
        if settings.tls is not None:
            from meta1g.smtps.tlscheck import check_tls

            check_tls(settings.tls, section.sub("tls").where, found)


def _check_group(gid: int | None, where: str, found: Findings) -> None:
    if gid is not None and os.geteuid() != 0 and gid not in (os.getegid(), *os.getgroups()):
        found.add(f"{where}: CDB_gid: {reach.user_name()} is not in group {gid}, so that it cannot give content files to it")


def _in_clear(settings: AuthSettings) -> bool:
    """Tells whether a mechanism can be offered without TLS; the password file may have verifiers of SCRAM."""
    scram = settings.password_file is not None and not settings.mechanisms
    return scram or bool(offered(settings.mechanisms or PASSWORDS, SessionFacts(tls=False), plaintext=settings.plaintext))


def _check_auth(settings: AuthSettings, where: str, found: Findings) -> None:
    """Reads the password file, or looks whether the socket of the back end can be reached, which may be away for a while."""
    from meta1g.smtps.passwords import read_file

    path = settings.password_file
    if path is not None:
        with found.part(where):
            read_file(path)
            if path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
                found.warn(f"{where}: {path} can be read or written by everybody: chmod o-rwx {path}")
    for socket in (settings.saslauthd_socket, settings.dovecot_socket):
        if socket is not None:
            found.socket(socket, where, "AUTH is answered 454 as long")


def _check_filters(section: Section, queue: Path, found: Findings) -> None:
    """Looks whether the sockets of all filters could be connected to: of those, too, that only single clients have."""
    filters: list[MilterSettings | PolicySettings] = [*milters_of(section, queue, every=True), *policies_of(section, queue)]
    for sub, one in zip((*section.subs("milter"), *section.subs("policy_milter")), filters, strict=True):
        if isinstance(one.address, str):
            found.socket(Path(one.address), f"{sub.where}: {sub.title}", f"sessions without it: {one.default_action}")


def main(argv: list[str]) -> int:
    """Runs the check by itself, without the time that it takes to load the whole program; see mcp/selfchecks.py."""
    return check(startup.component_arguments("smtps", argv, "The check of the SMTP server of meta1g."))
