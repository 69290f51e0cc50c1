"""What QMGR looks at before it is started: its settings, its log, its stores as far as permissions go.

The lock is not taken and no store is opened: another QMGR may be at work on them.

Ref: MeTA1 design, "Functional Specification: Supervisor" (modelled on).
"""

import argparse
import itertools
import os
from pathlib import Path
from typing import Final

from meta1g.base import paths, reach, startup
from meta1g.base.selfcheck import Findings
from meta1g.conf.load import load_file
from meta1g.qmgr.destinations import configuration_map
from meta1g.qmgr.settings import Settings

_FULL: Final = os.R_OK | os.W_OK | os.X_OK
#: Files of one store that are looked at; a store that has more was not copied by somebody else all of a sudden.
_FILES_MAX: Final = 1000


def check(arguments: argparse.Namespace) -> int:
    """Checks everything and tells all that is wrong; gives the exit code.

    Args:
        arguments: the command line of QMGR.
    """
    found = Findings("qmgr")
    with found.part():
        config = load_file(arguments.file, lenient=arguments.lenient, data=startup.configuration())
        section = config.section("qmgr", arguments.name)
        queue = config.queue_directory
        found.libraries("berkeleydb")
        found.log("qmgr", config.glob, section, queue)
        stores = [queue / one for one in (paths.IBDB_DIRECTORY, paths.DEFEDB_DIRECTORY)]
        found.look(configuration_map, config, section)
        with found.part():
            log_directory = Settings.from_config(config).defedb_log_directory
            stores += [queue / log_directory] if log_directory else []
        others = [queue / paths.LOST_FOUND_DIRECTORY, queue / Path(paths.QMGR_LOCK_FILE).parent]
        found.directories([*stores, *others], _FULL, "work there")
        cdb = queue / paths.CDB_DIRECTORY
        found.directories([cdb / one for one in paths.CDB_SUBDIRECTORIES], os.W_OK | os.X_OK, "remove content there")
        found.directories([queue / Path(paths.SMAR_QMGR_SOCKET).parent], os.X_OK, "reach the sockets in it")
        for directory in stores:
            with found.part():
                _check_files(directory, found)
        lock = queue / paths.QMGR_LOCK_FILE
        if os.access(lock, os.F_OK):
            found.look(reach.need_file, lock, os.R_OK | os.W_OK, "lock it")
    return found.finish()


def _check_files(directory: Path, found: Findings) -> None:
    """Looks at the files of a store: one that root has made while it mended something stops QMGR later."""
    if not os.access(directory, _FULL):
        return
    for path in itertools.islice(directory.iterdir(), _FILES_MAX):
        if path.is_file():
            found.look(reach.need_file, path, os.R_OK | os.W_OK, "use it")


def main(argv: list[str]) -> int:
    """Runs the check by itself, without the time that it takes to load the whole program; see mcp/selfchecks.py."""
    return check(startup.component_arguments("qmgr", argv, "The check of the queue manager of meta1g."))
