"""milter-regex: the program.

Ref: milter-regex(8); options as of the other programs of meta1g, `-m` is the original's.
"""

from typing import Any, Final, NoReturn

from meta1g.base import paths
from meta1g.base.log import Log
from meta1g.conf.values import Int
from meta1g.pmilter import configured_parser, run_configured
from meta1g_filters.regex.filter import NAME, RegexFilter

_FILE: Final = paths.DEFAULT_CONFIG_DIRECTORY / "milter-regex.conf"
_DESCRIPTION: Final = "A policy milter that refuses, discards or holds mail by regular expressions."


def _build(options: Any, log: Log) -> RegexFilter:
    return RegexFilter(options.file, log, options.lines)


def run() -> NoReturn:
    """Is the program of the shell."""
    parser = configured_parser(NAME, _DESCRIPTION, _FILE)
    parser.add_argument(
        "-m", dest="lines", type=Int().parse, default=0, metavar="LINES", help="look at so many lines of a body only; 0 for all"
    )
    run_configured(parser, _build)


if __name__ == "__main__":
    run()
