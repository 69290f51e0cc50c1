"""Tries the rows of tables that say what something of another MTA is here: `| there | here | where |`.

`where` is `meta1.conf` or a section (smtps, smtpc, smar, qmgr), a map (access, mailertable, aliases), or `shell`.  Text of the
configuration has to be taken without an error or a warning, an entry of a map by whoever reads that map, and a command has to
succeed beside a running gateway, in a directory with the maps that the table itself gives.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from contrib.lib.gateway import Gateway
from contrib.lib.programs import console_scripts
from meta1g.conf.check import check_text
from meta1g.conf.tree import Source
from meta1g.db.mapfile import MapFile
from meta1g.maps.textmap import parse_entries
from meta1g.smar.entries import NAMED, EntryRules, MapEntry, check_entries
from meta1g.tools.createmap import read_map
from tests.tables import Row, code

SECTIONS = ("smtps", "smtpc", "smar", "qmgr")
MAPS = ("access", "mailertable", "aliases")
#: Programs that ask a running gateway, whose configuration they have to find.
_WITH_CONFIGURATION = ("mailq", "qmgrctl", "sm.reload", "sm.check", "metaqueue", "metalog")


def try_configuration(text: str, where: str, directory: Path) -> None:
    """Lets the checker take a piece of meta1.conf.

    Raises:
        AssertionError: there is a warning.
        ConfigError: it is wrong.
    """
    whole = text if where == "meta1.conf" else f"{where} {{ {text} }}"
    config = check_text(Source("meta1.conf", whole), directory / "meta1.conf", lenient=False)
    assert not config.warnings, text


def try_entry(text: str, kind: str) -> None:
    """Lets the checker of map entries take one."""
    entries = [MapEntry(kind, key, value) for _, key, value in parse_entries(text)]
    assert len(entries) == 1, text
    assert list(check_entries(entries, [EntryRules(use=NAMED[kind])])) == []


def write_maps(rows: Sequence[Row], directory: Path) -> None:
    """Writes the maps of a table, text and map file, into a directory; of two entries for a key the later one is written."""
    for kind in MAPS:
        lines = [code(here) for _, here, where in rows if where == kind]
        text = "".join(f"{line}\n" for line in {line.split()[0]: line for line in lines}.values())
        (directory / kind).write_text(text)
        entries, errors = read_map(text.encode(), NAMED[kind])
        assert not errors, errors
        MapFile.build(directory / f"{kind}.db", sorted(entries.items()))


def try_command(text: str, gateway: Gateway, directory: Path, *, code: int = 0) -> str:
    """Runs a command of the shell in a directory, beside a gateway, and gives its output; it has to end with this code."""
    name, _, rest = text.partition(" ")
    module, _, function = console_scripts()[name].partition(":")
    options = ["-f", str(gateway.conf)] if name in _WITH_CONFIGURATION else []
    program = [sys.executable, "-c", f"from {module} import {function}; {function}()", *options]
    done = subprocess.run(
        f"{shlex.join(program)} {rest}",
        shell=True,
        cwd=directory,
        env={**os.environ, **gateway.environment()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, f"{text}: {done.stderr}"
    return done.stdout


def selected(text: str) -> dict[str, str]:
    """Gives the conditions of a command of the queue: `sender`, `recipient`, `domain` and their values."""
    return dict(word.split("=", 1) for word in shlex.split(text) if "=" in word)


def try_text(row: Row, directory: Path) -> None:
    """Tries a row that is not for the shell."""
    _, here, where = row
    if where in MAPS:
        try_entry(code(here), where)
    else:
        assert where in (*SECTIONS, "meta1.conf"), row
        try_configuration(code(here), where, directory)
