"""mailq: lists the queues, or a part of them; counts what is there.

    mailq [--wide | --json] [--limit N] [--after ID] [SELECTOR ...]
    mailq --counts BY | --shape BY [--json] [SELECTOR ...]

Ref: docs/operating.md; MeTA1's mailq (name and job); the same list is `qmgrctl queue`.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from meta1g.base import cli, paths, sysexits
from meta1g.conf.load import load_file
from meta1g.tools import queuepages, queueview
from meta1g.tools.ctlclient import ControlClient

BY: Final = ("domain", "sender", "destination", "status", "state", "age")
_SELECTORS: Final = "ids, a domain, or sender= recipient= domain= destination= age= status= state=; see qmgrctl --help"


def write_lines(lines: Iterable[str]) -> None:
    """Prints lines as they come."""
    for line in lines:
        sys.stdout.write(f"{line}\n")


def show_queue(client: ControlClient, words: Sequence[str], *, form: str, limit: int = 0, after: str = "") -> int:
    """Lists recipients; gives the exit code.

    Args:
        client: of QMGR.
        words: the selector; nothing for all.
        form: `short`, `wide` or `json`.
        limit: greatest number of recipients, 0 for all.
        after: id of the recipient behind which the list begins, empty for the beginning.
    """
    count, now = queueview.Shown(), time.time()
    rows = count.rows(queuepages.pages(client, words, after, _damaged), limit)
    if form == "json":
        write_lines(queueview.json_lines(rows, now))
    else:
        write_lines(queueview.short(rows, now) if form == "short" else queueview.wide(rows))
    _matched(count.rcpts, words)
    if form == "short" or (form == "wide" and (count.more or not count.rcpts)):
        write_lines([count.summary(all_of_it=_is_all(words))])
    return sysexits.EX_OK


def _damaged(what: str) -> None:
    sys.stderr.write(f"mailq: a recipient or transaction cannot be read: {what}; metaqueue check names it\n")


def _is_all(words: Sequence[str]) -> bool:
    return not words or list(words) == ["all"]


def _matched(count: int, words: Sequence[str]) -> None:
    """Ends the program if a selector matches nothing.

    Raises:
        CliError: it does not.
    """
    if not count and not _is_all(words):
        raise cli.CliError(f"{queueview.NO_MATCH} {' '.join(words)}", sysexits.EX_NOINPUT)


def show_counts(client: ControlClient, by: str, words: Sequence[str], *, form: str) -> int:
    """Counts recipients; gives the exit code.

    Args:
        client: of QMGR.
        by: what is counted.
        words: the selector; nothing for all.
        form: `counts`, `shape` or `json`.
    """
    result = client.ask("count", by, *words)
    if form == "json":
        write_lines([json.dumps(result, indent=1)])
    else:
        write_lines([queueview.counts(result) if form == "counts" else queueview.shape(result)])
    _matched(result["total"], words)
    return sysexits.EX_OK


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser("mailq", "Lists the mail queues of meta1g.")
    parser.add_argument("-f", dest="file", type=Path, default=paths.DEFAULT_CONFIG_FILE, help="configuration file")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON; the list is an array with one recipient a line")
    form.add_argument("-w", "--wide", action="store_true", help="one line for each recipient")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--counts", choices=BY, help="count recipients instead")
    what.add_argument("--shape", choices=BY, help="count recipients by age, too; ages in minutes")
    parser.add_argument("--limit", type=_positive, default=0, metavar="N", help="list N recipients at most")
    parser.add_argument("--after", default="", metavar="ID", help="begin behind this recipient (the next page)")
    parser.add_argument("words", nargs="*", metavar="selector", help=_SELECTORS)
    return parser


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return int(text)


def main(argv: list[str]) -> int:
    """Lists the queues and gives the exit code."""
    parser = _parser()
    options = parser.parse_intermixed_args(argv)
    if (options.counts or options.shape) and (options.limit or options.after or options.wide):
        parser.error("a count has no pages")
    config = load_file(options.file, lenient=True)
    with ControlClient(config.queue_directory / paths.QMGR_CONTROL_SOCKET) as client:
        if options.counts or options.shape:
            form = "json" if options.json else "counts" if options.counts else "shape"
            return show_counts(client, options.counts or options.shape, options.words, form=form)
        form = "json" if options.json else "wide" if options.wide else "short"
        return show_queue(client, options.words, form=form, limit=options.limit, after=options.after)


def run() -> None:
    """Runs the program (console script)."""
    raise SystemExit(cli.run_program("mailq", main))


if __name__ == "__main__":
    run()
