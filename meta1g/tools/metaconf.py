"""metaconf: merges a configuration with a newer example file and shows what changes.

    metaconf FILE EXAMPLE             the merged text to standard output, what changed to standard error
    metaconf -o OUT FILE EXAMPLE      the merged text to a new file
    metaconf -n FILE EXAMPLE          only what would change

The text of FILE stays as it is; see meta1g/conf/merge.py for what is added.

Ref: MeTA1 metaconf (modelled on).
"""

import sys
from pathlib import Path
from typing import Final

from meta1g.base import cli, sysexits
from meta1g.conf.check import check_text
from meta1g.conf.load import ConfigError, load_file, read_source
from meta1g.conf.merge import merge
from meta1g.conf.tree import Source

_PROG: Final = "metaconf"


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code.

    Raises:
        ConfigError: a file cannot be read or parsed, or the example is wrong.
        CliError: the result cannot be written.
    """
    parser = cli.parser(_PROG, "Merges a configuration with a newer example and shows what changes.")
    parser.add_argument("file", type=Path, metavar="FILE", help="the configuration in use")
    parser.add_argument("example", type=Path, metavar="EXAMPLE", help="the example of the new release")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="write the merged configuration to a new file")
    parser.add_argument("-n", "--no-output", action="store_true", help="tell what would change, write nothing")
    args = parser.parse_args(argv)
    load_file(args.example)
    merged = merge(read_source(args.file), read_source(args.example))
    for line in merged.changes:
        sys.stderr.write(f"{line}\n")
    code = _check(str(args.output or "merged"), merged.text, args.file)
    if args.no_output:
        return code
    if args.output is None:
        sys.stdout.write(merged.text)
    else:
        _write(args.output, merged.text)
    return code


def _check(name: str, text: str, path: Path) -> int:
    """Tells what is wrong with the merged text; it is written all the same, to be mended."""
    try:
        check_text(Source(name, text), path)
    except ConfigError as error:
        sys.stderr.write(f"{_PROG}: the merged configuration needs your hand:\n{error.cause}\n")
        return sysexits.EX_CONFIG
    return sysexits.EX_OK


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
    except FileExistsError as error:
        raise cli.CliError(f"{path}: exists; name a new file by -o", sysexits.EX_CANTCREAT) from error
    except OSError as error:
        raise cli.CliError(f"{path}: cannot write: {error.strerror}", sysexits.EX_CANTCREAT) from error


def run() -> None:
    """Is the program of the shell."""
    sys.exit(cli.run_program(_PROG, main))


if __name__ == "__main__":
    run()
