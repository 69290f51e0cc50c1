"""metalog: what became of a message, by all logs: a timeline, and one line that says who, what and why.

    metalog S00064E96F6D5C5F900          a transaction, a session, or what is in brackets in a log of another host
    metalog '<42@client.example>'        a Message-ID
    metalog a@b.example                  a sender or recipient
    metalog 192.0.2.1                    a client or a server
    metalog --sender a@b.example --dest c.example --since 2h --short

The files are those of the configuration, with what rotation made of them, packed by gzip, xz or bzip2, too.  Both formats of
the log are read, also behind the heads that syslog and journald write: `journalctl -o short-iso | metalog --log - WHAT`.

The exit code is 0 if something was found, 1 if not.

Ref: ours; docs/metalog.md.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from meta1g.base import cli, paths, sysexits
from meta1g.base.units import parse_time_s
from meta1g.conf.load import load_file
from meta1g.tools.metalog import logfiles, query
from meta1g.tools.metalog.follow import Tail, follow
from meta1g.tools.metalog.logfiles import LogSource
from meta1g.tools.metalog.query import Criterion
from meta1g.tools.metalog.stamps import parse_stamp
from meta1g.tools.metalog.stories import Story, StoryFinder
from meta1g.tools.metalog.telling import as_json, as_text

_PROG: Final = "metalog"
NOTHING_FOUND: Final = 1


def parse_when(text: str, now: float) -> float:
    """Reads a time: a stamp, a date or a time of today in the zone of the machine, or how long ago, such as `2h30m`.

    Args:
        text: what the operator wrote.
        now: seconds since the epoch.

    Raises:
        ValueError: it is none.
    """
    for read in (parse_stamp, _ago, _local):
        try:
            return read(text, now)
        except ValueError:
            continue
    advice = "write 2026-11-27T04:30:00Z, 2026-11-27, '2026-11-27 04:30', 04:30, or how long ago: 2h30m"
    raise ValueError(f"{text!r} is no time; {advice}")


def _ago(text: str, now: float) -> float:
    return now - parse_time_s(text)


def _local(text: str, now: float) -> float:
    if "-" not in text:
        text = f"{datetime.fromtimestamp(now).astimezone():%Y-%m-%d} {text}"
    return datetime.fromisoformat(text).astimezone().timestamp()


class _Lines:
    """All lines of the files, as often as they are asked for.  Owner: main()."""

    def __init__(self, sources: list[LogSource], since: float) -> None:
        self._sources = sources
        self._since = since

    def recent(self) -> Iterator[tuple[bytes, float]]:
        """Gives the lines of files that were written to since."""
        yield from self._of([one for one in self._sources if one.opened is not None or one.changed >= self._since])

    def all(self) -> Iterator[tuple[bytes, float]]:
        """Gives the lines of all files, the oldest first."""
        yield from self._of(self._sources)

    @staticmethod
    def _of(sources: list[LogSource]) -> Iterator[tuple[bytes, float]]:
        for source in sources:
            now = source.changed or time.time()
            for line in source.raw():
                yield line, now


def _criteria(options: argparse.Namespace) -> list[Criterion]:
    """Gives what is asked for."""
    found = [query.guess(word) for word in options.what]
    return found + [query.criterion(kind, word) for kind in query.KINDS for word in getattr(options, kind)]


def find(criteria: list[Criterion], sources: list[LogSource], since: float, until: float) -> tuple[StoryFinder, list[Story]]:
    """Reads the logs; gives the finder and what it found."""
    lines = _Lines(sources, since)
    finder = StoryFinder(criteria, since, until)
    finder.seed(lines.recent())
    return finder, finder.collect(lines.all)


def _paths(options: argparse.Namespace) -> tuple[list[Path], list[LogSource]]:
    """Gives the files that grow, and all files.

    Raises:
        CliError: there is none.
    """
    if options.log:
        return [Path(name) for name in options.log if name != logfiles.STDIN], logfiles.named(options.log)
    growing = logfiles.configured(load_file(options.file))
    sources = logfiles.with_rotated(growing)
    if not sources:
        looked = ", ".join(map(str, growing)) or "nothing: no file is configured"
        raise cli.CliError(f"no log file is there; looked for {looked}; name one by --log", sysexits.EX_NOINPUT)
    return growing, sources


def _complain(finder: StoryFinder, sources: list[LogSource]) -> None:
    """Says on standard error what was passed over."""
    count = finder.count
    texts = [source.trouble for source in sources if source.trouble]
    numbers = {
        "lines of other programs": count.foreign,
        "damaged lines": count.damaged,
        "lines of messages beyond those that fit into memory": count.left_out,
        "further messages, older than those that were looked at": count.stories_left_out,
    }
    texts += [f"passed over: {number} {what}" for what, number in numbers.items() if number]
    sys.stderr.write("".join(f"{_PROG}: {text}\n" for text in texts))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code.

    Raises:
        CliError: a file cannot be read, or there is none.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    if not options.what and not any(getattr(options, kind) for kind in query.KINDS):
        parser.error("say what is looked for: an id, an address, a Message-ID, a host")
    if options.follow and options.json:
        parser.error("--follow prints lines as they come; it has no --json")
    growing, sources = _paths(options)
    tails = [Tail(path) for path in growing] if options.follow else []
    criteria = _criteria(options)
    finder, stories = find(criteria, sources, options.since, options.until)

    def asked(rcpt_idx: str, rcpt: str) -> bool:
        return any(one.names(rcpt_idx, rcpt) for one in criteria)

    for number, story in enumerate(stories):
        if options.json:
            print(as_json(story, asked, short=options.short))
            continue
        if number and not options.short:
            print()
        print("\n".join(as_text(story, asked, short=options.short)))
    _complain(finder, sources)
    if options.follow:
        sys.stdout.flush()
        follow(tails, finder, stories, asked, _say)
    return sysexits.EX_OK if stories else NOTHING_FOUND


#: What each kind of query.KINDS means, for --help.
_MEANINGS: Final = {
    "session": "a session of a client, or with a server",
    "id": "a transaction, recipient or content file",
    "msgid": "a Message-ID",
    "sender": "a sender; @DOMAIN for all of a domain",
    "rcpt": "a recipient, also before or after alias expansion; @DOMAIN for all of a domain",
    "client": "a client: address, name or EHLO name",
    "dest": "a server: address or name; or the domain of recipients",
}


def _when(text: str) -> float:
    try:
        return parse_when(text, time.time())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parser() -> cli.Parser:
    parser = cli.parser(_PROG, "Tells what became of a message, session, sender, recipient, client or server, by all logs.")
    for kind in query.KINDS:
        parser.add_argument(f"--{kind}", action="append", default=[], metavar=kind.upper(), help=_MEANINGS[kind])
    time_help = "2026-11-27T04:30:00Z, 2026-11-27, 04:30, or how long ago: 2h30m"
    parser.add_argument(
        "--since", type=_when, default=0.0, metavar="TIME", help=f"what is asked for was seen since: {time_help}"
    )
    parser.add_argument(
        "--until", type=_when, default=float("inf"), metavar="TIME", help="what is asked for was seen until then"
    )
    parser.add_argument("--short", action="store_true", help="id and verdict alone, one line each")
    parser.add_argument("--json", action="store_true", help="one JSON object a line for each message")
    parser.add_argument("--follow", action="store_true", help="go on with lines and verdicts as they come")
    parser.add_argument("-f", dest="file", type=Path, default=paths.DEFAULT_CONFIG_FILE, help="configuration file")
    parser.add_argument(
        "--log",
        action="append",
        default=[],
        metavar="FILE",
        help="read this file instead, - for standard input; may be repeated",
    )
    parser.add_argument(
        "what", nargs="*", metavar="WHAT", help="id, address, Message-ID, IP address, host or domain; all must fit"
    )
    return parser


def run() -> None:
    """Is the program of the shell."""
    sys.exit(cli.run_program(_PROG, main))


if __name__ == "__main__":
    run()
