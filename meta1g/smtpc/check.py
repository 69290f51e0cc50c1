"""What SMTPC looks at before it is started: its settings, its log, the way to content files and to QMGR.

Ref: MeTA1 design, "Functional Specification: Supervisor" (modelled on).
"""

import argparse
import os
from functools import partial
from pathlib import Path

from meta1g.base import paths, startup
from meta1g.base.selfcheck import Findings
from meta1g.conf.config import Config
from meta1g.conf.load import load_file
from meta1g.smtpc.settings import Settings
from meta1g.smtpc.sources import check_source


def check(arguments: argparse.Namespace) -> int:
    """Checks everything and tells all that is wrong; gives the exit code.

    Args:
        arguments: the command line of SMTPC.
    """
    found = Findings("smtpc")
    with found.part():
        config = load_file(arguments.file, lenient=arguments.lenient, data=startup.configuration())
        section = config.section("smtpc", arguments.name)
        queue = config.queue_directory
        found.libraries("gevent", "greenlet")
        found.log("smtpc", config.glob, section, queue)
        look_at_files(found, config)
        cdb = queue / paths.CDB_DIRECTORY
        found.directories([cdb / one for one in paths.CDB_SUBDIRECTORIES], os.X_OK, "read content in it")
        found.directories([queue / Path(paths.QMGR_SMTPC_SOCKET).parent], os.X_OK, "reach the sockets in it")
    return found.finish()


def look_at_files(found: Findings, config: Config) -> None:
    """Looks at the settings as this account: the files of TLS and of logins, the addresses that connections come from.

    Args:
        found: takes what is wrong.
        config: the whole configuration; it has no errors.
    """
    section = config.section("smtpc")
    with found.part():
        settings = Settings.from_config(config)
        _check_tls(settings, section.sub("tls").where, found)
        for source in filter(None, (settings.sources.ipv4, settings.sources.ipv6)):
            found.look(check_source, source, where=section.where)
        if settings.auth is not None:
            from meta1g.smtpc.authout import load_logins

            found.look(load_logins, settings.auth.file, where=section.sub("auth").where)


def _check_tls(settings: Settings, where: str, found: Findings) -> None:
    """Loads the files of TLS as SMTPC would, if there are some."""
    if settings.tls is None or not settings.tls.signature():
        return
    from meta1g.st.tls import tls_context

    known = len(found.lines)
    for part in settings.tls.parts():
        found.look(partial(tls_context, server=False), part, where=where)
    if len(found.lines) == known:
        found.look(partial(tls_context, server=False), settings.tls, where=where)


def main(argv: list[str]) -> int:
    """Runs the check by itself, without the time that it takes to load the whole program; see mcp/selfchecks.py."""
    return check(startup.component_arguments("smtpc", argv, "The check of the SMTP and LMTP client of meta1g."))
