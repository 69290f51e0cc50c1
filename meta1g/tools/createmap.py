"""createmap: makes a map file from text.

    createmap FILE.db < FILE
    createmap -u aliases FILE.db < FILE    checks the entries as those of aliases, whatever the file is called

Keys are folded to lower case.  The map is made beside its place and put there as a whole.  Nothing is replaced, and every
wrong line is told, if an entry is one that mapchk would refuse, if a key comes twice, or if the source has no entries and the
map has (--empty-ok lets it pass).

Ref: MeTA1 createmap (modelled on).
"""

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import Final

from meta1g.base import cli, sysexits
from meta1g.base.errors import Meta1Error, PermError
from meta1g.db.mapfile import KINDS, MapFile
from meta1g.maps.textmap import AS_IT_IS, check_begin, parse_entries
from meta1g.smar.entries import ACCESS, KEYS, EntryRules, MapEntry
from meta1g.smar.mapcheck import check_map, use_of

_PROG: Final = "createmap"
_INPUT: Final = "standard input"


def read_map(data: bytes, use: str = "", name: str = _INPUT) -> tuple[dict[bytes, bytes], list[str]]:
    """Reads the source of a map.

    Args:
        data: one `key value` a line.
        use: what the map is for; empty to tell it by the entries.
        name: names the source in messages.

    Returns:
        The entries, and one message for each bad line.
    """
    try:
        check_begin(data, name)
    except PermError as error:
        return {}, [error.cause]
    lines = parse_entries(data.decode(errors=AS_IT_IS))
    rows = [MapEntry(f"{name}:{number}", key, value) for number, key, value in lines]
    errors = check_map(rows, [EntryRules(use=use)])
    return ({} if errors else {row.key.lower().encode(): row.value.encode() for row in rows}), errors


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code."""
    parser = cli.parser(_PROG, "Makes a map file from the text on standard input: one key and value a line, # for comments.")
    parser.add_argument("-t", dest="kind", choices=sorted(KINDS), default="hash", help="type of the map file (default: hash)")
    uses = parser.add_mutually_exclusive_group()
    uses.add_argument("-a", dest="use", action="store_const", const=ACCESS, help="it is an access map: every key has a tag")
    uses.add_argument("-u", dest="use", choices=sorted(KEYS), metavar="USE", help=f"what it is for: {', '.join(sorted(KEYS))}")
    parser.add_argument("--empty-ok", action="store_true", help="a source without entries may replace a map that has some")
    parser.add_argument("file", type=Path, metavar="FILE.db", help="map file to make or replace")
    args = parser.parse_args(argv)
    path: Path = args.file
    entries, errors = read_map(sys.stdin.buffer.read(), args.use or use_of(path), _name_of_input())
    if errors:
        for line in errors:
            sys.stderr.write(f"{_PROG}: {line}\n")
        raise cli.CliError(f"{path} is left as it was: mend the lines above", sysexits.EX_DATAERR)
    if not entries and not args.empty_ok and _has_entries(path):
        text = f"{path} is left as it was: it has entries and the source has none; use --empty-ok if it is to be empty"
        raise cli.CliError(text, sysexits.EX_DATAERR)
    MapFile.build(path, sorted(entries.items()), args.kind)
    return sysexits.EX_OK


def _name_of_input() -> str:
    """Gives the name of the file that standard input is."""
    with contextlib.suppress(OSError, ValueError):
        if stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode):
            return str(Path(f"/proc/self/fd/{sys.stdin.fileno()}").readlink())
    return _INPUT


def _has_entries(path: Path) -> bool:
    """Tells whether a map would be lost; one that cannot be read may be full."""
    if not path.exists():
        return False
    try:
        opened = MapFile.open_checked(path)
    except Meta1Error:
        return True
    try:
        return next(opened.items(), None) is not None
    finally:
        opened.close()


def run() -> None:
    """Is the program of the shell."""
    sys.exit(cli.run_program(_PROG, main))
