"""log2time: translates the time stamps of a log into the time of a place, into seconds since the epoch, and back.

    log2time [FILE ...]                   local time: 2026-11-27 05:55:45.123456 +0100
    log2time --zone Asia/Tokyo [FILE ...]
    log2time --epoch [FILE ...]           1795755345.123456
    log2time --utc [FILE ...]             2026-11-27T04:55:45.123456Z, as the log writes it: the way back
    log2time -s 1795755345                one stamp instead of lines

Reads standard input without FILE, and files that logrotate packed.  What stands after the stamp, and a line without one, stay
as they are.  Of a line of JSON the field `time` is translated.

Ref: MeTA1 log2time (name and purpose modelled on).
"""

import argparse
import io
import re
import sys
import time
import zoneinfo
from collections.abc import Callable
from typing import Final

from meta1g.base import cli, sysexits
from meta1g.tools.metalog import logfiles
from meta1g.tools.metalog.stamps import STAMP, epoch_text, local_text, parse_stamp, utc_text

_PROG: Final = "log2time"
#: What stands before the stamp: nothing, the head of a syslog message, or the field of a JSON object.
_BEFORE: Final = re.compile(r'(?:<\d{1,3}>\d{1,2} |\{"time": ?"|\{.*?, ?"time": ?")?', re.ASCII)

Show = Callable[[float], str]


def translate(line: str, show: Show, now: float) -> str:
    """Gives a line with its time stamp written another way.

    Args:
        line: a line of a log; without a stamp at its beginning it stays as it is.
        show: writes seconds since the epoch.
        now: the year of a stamp without one is taken from here.
    """
    before = _BEFORE.match(line)
    at = before.end() if before else 0
    found = STAMP.match(line, at)
    if found is None:
        return line
    try:
        return line[:at] + show(parse_stamp(found[0], now)) + line[found.end() :]
    except ValueError:  # no such day
        return line


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code, EX_DATAERR if a file could not be read to its end.

    Raises:
        CliError: a file cannot be read, or a stamp given by -s is none.
    """
    options = _parser().parse_args(argv)
    show: Show = utc_text if options.utc else epoch_text if options.epoch else lambda when: local_text(when, options.zone)
    now = time.time()
    for word in options.stamps:
        try:
            print(show(parse_stamp(word, now)))
        except (ValueError, OverflowError) as error:
            text = str(error) if word in str(error) else f"{word!r}: there is no such time: {error}"
            raise cli.CliError(text, sysexits.EX_DATAERR) from error
    if options.stamps:
        return sysexits.EX_OK
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # bytes that are no text stay as they are
    sources = logfiles.named(options.files)
    for source in sources:
        for line in source.lines():
            sys.stdout.write(f"{translate(line, show, source.changed or now)}\n")
    return logfiles.complain(_PROG, sources)


def _zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise argparse.ArgumentTypeError(f"there is no time zone {name!r}; write one such as Europe/Berlin") from error


def _parser() -> cli.Parser:
    parser = cli.parser(_PROG, "Translates the time stamps of a log into the time of a place, into seconds, and back.")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--zone", type=_zone, metavar="NAME", help="time zone, such as Europe/Berlin; that of the machine if not given"
    )
    how.add_argument("--epoch", action="store_true", help="seconds since 1970-01-01 UTC")
    how.add_argument("--utc", action="store_true", help="UTC, in the form that the log has")
    parser.add_argument("-s", dest="stamps", action="append", default=[], metavar="STAMP", help="one stamp; may be repeated")
    parser.add_argument("files", nargs="*", metavar="FILE", help="log files, also .gz, .xz and .bz2; - for standard input")
    return parser


def run() -> None:
    """Is the program of the shell."""
    sys.exit(cli.run_program(_PROG, main))


if __name__ == "__main__":
    run()
