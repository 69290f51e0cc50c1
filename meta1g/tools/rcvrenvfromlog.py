"""rcvrenvfromlog: makes envelopes again from the log, when IBDB and DEFEDB are lost and content files are there.

    rcvrenvfromlog --list                        what is not finished, for people
    rcvrenvfromlog > envelopes                   the same as JSON lines,
    metaqueue import /var/spool/meta1 < envelopes    which the queue takes
    rcvrenvfromlog S00064E96F6D5C5F900 > one     single transactions

The log has to be of level 9 at least.  What it does not tell is named on standard error.  A recipient whose last line was not
written before the loss gets a second copy; nobody is left out whom a line names.

Ref: MeTA1 rcvrenvfromlog (name and purpose modelled on); docs/repair.md.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from meta1g.base import cli, paths, sysexits
from meta1g.base.ids import idx_text
from meta1g.base.reply import printable
from meta1g.conf.load import load_file
from meta1g.db.cdb import Cdb
from meta1g.rcb.envelope import RcptFlags, RcptRecord
from meta1g.tools.metalog import logfiles
from meta1g.tools.metalog.envelopes import OpenTransactions, RebuiltEnvelope, as_lines
from meta1g.tools.metalog.logfiles import LogSource
from meta1g.tools.offline import owner_of
from meta1g.tools.times import time_text

_PROG: Final = "rcvrenvfromlog"


def _groups(options: argparse.Namespace) -> list[list[LogSource]]:
    if options.log:
        return [[source] for source in logfiles.named(options.log)]
    growing = logfiles.configured(load_file(options.file))
    groups = [found for path in growing if (found := logfiles.with_rotated([path]))]
    if not groups:
        raise cli.CliError(f"no log file is there; looked for {', '.join(map(str, growing))}", sysexits.EX_NOINPUT)
    return groups


def _queue(options: argparse.Namespace) -> Path | None:
    if options.queue is not None:
        return Path(options.queue)
    return None if options.log else load_file(options.file).queue_directory


def missing_content(one: RebuiltEnvelope, queue: Path) -> str:
    """Says what is wrong with the content file of an envelope, nothing if it is there and whole."""
    cdb = Cdb(queue / paths.CDB_DIRECTORY)
    path = cdb.path(one.ta.cdb_id)
    if not path.parent.is_dir():
        return f"{path.parent} is missing"
    with owner_of(path.parent):
        size = cdb.size(one.ta.cdb_id)
    if size is None:
        return f"content file {path} is missing: its recipients will be held"
    return "" if size == one.ta.size_bytes else f"content file {path} has {size} bytes, not {one.ta.size_bytes}"


def as_text(one: RebuiltEnvelope) -> Iterator[str]:
    """Gives an envelope for people."""
    ta = one.ta
    yield printable(f"{ta.ta_id}  content {ta.cdb_id}, {ta.size_bytes} bytes  {time_text(ta.entered)}  from <{ta.mail}>")
    for rcpt in one.rcpts:
        yield printable(f"    {idx_text(rcpt.rcpt_idx)}  <{rcpt.rcpt}>  {_state(rcpt)}")


def _state(rcpt: RcptRecord) -> str:
    words = [f"report on {len(rcpt.failed)} recipients"] if rcpt.failed else []
    words += [f"from list of {rcpt.orig_rcpt}" if rcpt.sender else f"by {rcpt.orig_rcpt}"] if rcpt.orig_rcpt else []
    words += [f"tries {rcpt.tries}"]
    if rcpt.flags & RcptFlags.HOLD:
        words.append("held")
    elif rcpt.reply.code:
        words.append(f"waits until {time_text(rcpt.next_try)}: {rcpt.reply}")
    return ", ".join(words)


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code, EX_DATAERR if an id was not found or a file could not be read to its end.

    Raises:
        CliError: a file cannot be read, or there is none.
    """
    options = _parser().parse_args(argv)
    groups, queue = _groups(options), _queue(options)
    found = OpenTransactions()
    for line in logfiles.in_order(groups):
        found.take(line)
    wanted = {word: word.partition("-")[0] for word in options.ids}
    envelopes = [one for one in found.envelopes() if not wanted or one.ta.ta_id in wanted.values()]
    for one in envelopes:
        doubts = [*one.doubts, *([missing_content(one, queue)] if queue is not None else [])]
        sys.stderr.write("".join(f"{_PROG}: {one.ta.ta_id}: {printable(text)}\n" for text in doubts if text))
    made = {one.ta.ta_id for one in envelopes}
    missing = [word for word, ta_id in wanted.items() if ta_id not in made]
    sys.stderr.write(
        "".join(f"{_PROG}: {printable(word)}: the log has no unfinished transaction of this id\n" for word in missing)
    )
    code = logfiles.complain(_PROG, (one for group in groups for one in group))
    for text in (text for one in envelopes for text in as_text(one)) if options.list else as_lines(envelopes):
        print(text)
    return sysexits.EX_DATAERR if missing else code


def _parser() -> cli.Parser:
    parser = cli.parser(_PROG, "Makes the envelopes of unfinished transactions again from the log, for metaqueue import.")
    parser.add_argument("-f", dest="file", type=Path, default=paths.DEFAULT_CONFIG_FILE, help="configuration file")
    parser.add_argument(
        "--log",
        action="append",
        default=[],
        metavar="FILE",
        help="read this file instead, - for standard input; may be repeated",
    )
    queue_help = "queue directory whose content files are looked at; that of the configuration without --log"
    parser.add_argument("--queue", metavar="DIRECTORY", help=queue_help)
    parser.add_argument("--list", action="store_true", help="print for people, not for metaqueue import")
    parser.add_argument("ids", nargs="*", metavar="ID", help="these transactions alone; -NNNN of a recipient may follow")
    return parser


def run() -> None:
    """Is the program of the shell."""
    sys.exit(cli.run_program(_PROG, main))


if __name__ == "__main__":
    run()
