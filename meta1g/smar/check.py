"""What SMAR looks at before it is started: its settings with all maps, its log, the directory of its sockets.

Ref: MeTA1 design, "Functional Specification: Supervisor" (modelled on).
"""

import argparse
import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from meta1g.base import paths, reach, startup
from meta1g.base.selfcheck import Findings
from meta1g.base.sysexits import EX_CONFIG
from meta1g.conf.config import Config, Section, UnreadError
from meta1g.conf.load import load_file
from meta1g.smar.mapcheck import check_maps, check_server_names, maps_in
from meta1g.smar.settings import problems


def check(arguments: argparse.Namespace) -> int:
    """Checks everything and tells all that is wrong; gives the exit code.

    Args:
        arguments: the command line of SMAR.
    """
    found = Findings("smar")
    with found.part():
        config = load_file(arguments.file, lenient=arguments.lenient, data=startup.configuration())
        section = config.section("smar", arguments.name)
        queue = config.queue_directory
        found.libraries("berkeleydb", "dns", "re2")
        found.log("smar", config.glob, section, queue)
        thorough = not os.environ.get(startup.QUICK_CHECK)
        look_at_maps(found, config, section, entries=thorough)
        for path in _passwords(section, config.configuration_directory):
            if path.exists() and path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
                found.warn(f"{path}: it has passwords, and can be read or written by everybody: chmod o-rwx {path}")
        for text in _entries_of_others(config) if thorough else ():
            found.add(text, EX_CONFIG)
        sockets = {queue / Path(name).parent for name in (paths.SMAR_SMTPS_SOCKET, paths.SMAR_QMGR_SOCKET)}
        found.directories(sorted(sockets), os.W_OK | os.X_OK, "make a socket there")
    return found.finish()


def _files(section: Section, directory: Path) -> Iterator[tuple[Path, str]]:
    """Gives the files that maps in a section are read from, each with the place that names it."""
    for child in section.children():
        with contextlib.suppress(UnreadError):
            if {"file", "type"} <= child.definition.by_option.keys() and child.get("file"):
                yield directory / child.get("file"), f"{child.where}: {child.title}"
        yield from _files(child, directory)


def _passwords(section: Section, directory: Path) -> Iterator[Path]:
    """Gives the files that passwords of users stand in."""
    user = section.sub("password_map")
    named = maps_in(section, user.get("name"))
    for one in (user, *(table for table in section.subs("map") if table.name in named)):
        if one.get("file"):
            yield directory / one.get("file")


def _entries_of_others(config: Config) -> Iterator[str]:
    """Gives the wrong entries of the maps of QMGR and SMTPS, as far as this account can read them; they look at the files."""
    for owner in (*config.sections("qmgr"), *config.sections("smtps")):
        looked = check_maps(config, owner, None) if owner.keyword == "qmgr" else check_server_names(config, owner)
        yield from (text for text in looked if ": key " in text)


def look_at_maps(
    found: Findings, config: Config, section: Section, *, entries: bool, whole: bool = True, code: int = EX_CONFIG
) -> None:
    """Looks at the maps of a section as this account: the ways to them, the files, and what uses them.

    Args:
        found: takes what is wrong.
        config: the whole configuration.
        section: the section.
        entries: looks at each entry, too.
        whole: the configuration has no errors; else only what could be read of it is looked at.
        code: exit code for what is wrong in the files and their entries.
    """
    closed = []
    for path, where in _files(section, config.configuration_directory):
        known = len(found.lines)
        if reach.obstacle(path) or path.exists():  # of one that is missing its user says how to make it
            found.look(reach.need_file, path, os.R_OK, "read it", where=where)
        if len(found.lines) > known:
            closed.append(f"{path}: ")
    for text in problems(config, section, entries=entries) if whole else check_maps(config, section, None):
        if not any(path in text for path in closed):
            found.add(text, code)


def main(argv: list[str]) -> int:
    """Runs the check by itself, without the time that it takes to load the whole program; see mcp/selfchecks.py."""
    return check(startup.component_arguments("smar", argv, "The check of the address resolver of meta1g."))
