"""createmap: makes a map file from text.

    createmap FILE.db < FILE

Keys are folded to lower case.  The map is made beside its place and put there as a whole; if a line is bad or a key comes
twice, every such line is reported and nothing is replaced.

Ref: MeTA1 createmap (modelled on).
"""

import sys
from pathlib import Path
from typing import Final

from meta1g.base import cli, sysexits
from meta1g.db.mapfile import KINDS, MapFile
from meta1g.maps.textmap import parse_entries

_PROG: Final = "createmap"


def read_map(text: str) -> tuple[dict[bytes, bytes], list[str]]:
    """Reads the source of a map.

    Args:
        text: one `key value` a line.

    Returns:
        The entries, and one message for each bad line.
    """
    entries: dict[bytes, bytes] = {}
    lines: dict[str, int] = {}
    errors: list[str] = []
    for number, written, value in parse_entries(text):
        key = written.lower()
        if "\0" in key or "\0" in value:
            errors.append(f"line {number}: NUL character")
        elif key in lines:
            errors.append(f"line {number}: key {key!r} is already in line {lines[key]}")
        else:
            lines[key] = number
            entries[key.encode()] = value.encode()
    return entries, errors


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code."""
    parser = cli.parser(_PROG, "Makes a map file from the text on standard input: one key and value a line, # for comments.")
    parser.add_argument("-t", dest="kind", choices=sorted(KINDS), default="hash", help="type of the map file (default: hash)")
    parser.add_argument("file", type=Path, metavar="FILE.db", help="map file to make or replace")
    args = parser.parse_args(argv)
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise cli.CliError(f"input is not UTF-8 at byte {error.start}; convert it", sysexits.EX_DATAERR) from error
    entries, errors = read_map(text)
    if errors:
        for line in errors:
            sys.stderr.write(f"{_PROG}: {line}\n")
        raise cli.CliError(f"{args.file} is left as it was: mend the lines above", sysexits.EX_DATAERR)
    MapFile.build(args.file, sorted(entries.items()), args.kind)
    return sysexits.EX_OK


def run() -> None:
    """Is the program of the shell."""
    sys.exit(cli.run_program(_PROG, main))
