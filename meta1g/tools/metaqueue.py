"""metaqueue: looks at the stores of a queue, mends and moves them, while QMGR does not run.

    metaqueue [list] [--json] [PATH]   the envelopes of IBDB and DEFEDB
    metaqueue check [--content] [PATH] names what is wrong; exit code EX_DATAERR if anything is
    metaqueue repair [PATH]            mends DEFEDB, as QMGR does at its start
    metaqueue recover [PATH]           makes DEFEDB anew from its log and its pages
    metaqueue export [PATH]            writes everything, contents, too, as JSON lines
    metaqueue import [PATH]            reads that from standard input

PATH is the queue directory; without it the one of the configuration.  For list it may be an IBDB file, or an envelope or a
record that was set aside in lost+found.  Of IBDB list shows what recovery would move to DEFEDB.

recover is the catastrophic recovery of DEFEDB: its files go to lost+found, and a new DEFEDB gets what the transaction log
gives when it is played again from its beginning, what the pages of the main file have, and what else looks like a record.
QMGR does so by itself at its start when DEFEDB cannot be read; this command does it although QMGR thinks that it can.

Ref: MeTA1 metaqueue (name and purpose modelled on); docs/operating.md.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from meta1g.base import cli, paths, sysexits
from meta1g.base.ids import idx_text
from meta1g.base.logtext import sanitize
from meta1g.db.lostfound import RECORD_SUFFIX
from meta1g.rcb.envelope import RcptFlags, RcptRecord
from meta1g.rcb.jsonform import to_object
from meta1g.tools import queuecheck
from meta1g.tools.offline import Envelope, check_queue, of_defedb, of_ibdb, of_record, open_defedb, queue_lock, reported
from meta1g.tools.times import time_text
from meta1g.tools.transfer import Import, export

_PROG: Final = "metaqueue"


def print_json(envelope: Envelope) -> None:
    """Prints an envelope, or a part of one, as one line of JSON."""
    rcpts = [to_object(rcpt, defaults=True) for rcpt in envelope.rcpts]
    facts = {"store": envelope.store, **to_object(envelope.ta, defaults=True), "rcpts": rcpts}
    print(json.dumps(facts))


def print_text(envelope: Envelope) -> None:
    """Prints an envelope for people."""
    ta = envelope.ta
    print(f"{sanitize(ta.ta_id)}  {envelope.store}  {ta.size_bytes} bytes  {_time(ta.entered)}  from {sanitize(ta.mail)}")
    for rcpt in envelope.rcpts:
        flags = RcptFlags(rcpt.flags).name if rcpt.flags else None
        facts = [idx_text(rcpt.rcpt_idx), sanitize(rcpt.rcpt), f"tries {rcpt.tries}", f"next {_time(rcpt.next_try)}"]
        facts += [sanitize(flags)] if flags else []
        facts += [sanitize(text)] if (text := _status(rcpt)) else []
        print("    " + "  ".join(facts))


def _status(rcpt: RcptRecord) -> str:
    return str(rcpt.reply) if rcpt.reply.code else ""


def _time(when: float) -> str:
    return time_text(when) or "-"


def _envelopes(path: Path) -> Iterator[Envelope]:
    """Gives all envelopes of a queue directory, or of one file; damage goes to standard error."""
    if path.is_file():
        yield from of_record(path) if path.suffix == RECORD_SUFFIX else reported([path], path.name)
        return
    check_queue(path)
    with queue_lock(path), open_defedb(path) as defedb:
        yield from of_ibdb(path)
        yield from of_defedb(defedb)


def _list(path: Path, options: argparse.Namespace) -> int:
    print_one = print_json if options.json else print_text
    for envelope in _envelopes(path):
        print_one(envelope)
    return sysexits.EX_OK


def _check(path: Path, options: argparse.Namespace) -> int:
    count = 0
    for line in queuecheck.problems(path, content=options.content):
        print(sanitize(line))
        count += 1
    if not count:
        print("nothing is wrong")
    return sysexits.EX_DATAERR if count else sysexits.EX_OK


def _repair(path: Path, options: argparse.Namespace) -> int:
    wrong = queuecheck.repair(path)
    print(f"mended: {wrong}; see lost+found" if wrong else "nothing was to be mended")
    return sysexits.EX_OK


def _recover(path: Path, options: argparse.Namespace) -> int:
    print(f"DEFEDB was made anew: {queuecheck.recover(path)} recipients; see lost+found")
    return sysexits.EX_OK


def _export(path: Path, options: argparse.Namespace) -> int:
    with open_defedb(path) as defedb:
        for line in export(path, defedb):
            sys.stdout.write(f"{line}\n")
    return sysexits.EX_OK


def _import(path: Path, options: argparse.Namespace) -> int:
    with open_defedb(path) as defedb:
        job = Import(path, defedb, _content_gid(options))
        job.run(sys.stdin)
    print(job.summary())
    return sysexits.EX_OK


#: Commands that need the whole queue for themselves; `list` takes single files, too.
_COMMANDS: Final[dict[str, Callable[[Path, argparse.Namespace], int]]] = {
    "check": _check,
    "repair": _repair,
    "recover": _recover,
    "export": _export,
    "import": _import,
}
_LIST: Final = "list"


def _content_gid(options: argparse.Namespace) -> int | None:
    """Gives the group of content files: --gid, or what the configuration says if the queue is its queue."""
    if options.gid is not None or options.path:
        gid: int | None = options.gid
        return gid
    from meta1g.conf.load import load_file

    section = load_file(options.file).section("smtps")
    return section.get("cdb_gid") if section.given("cdb_gid") else None


def _queue_directory(options: argparse.Namespace) -> Path:
    if options.path:
        return Path(options.path)
    from meta1g.conf.load import load_file

    return Path(load_file(options.file).queue_directory)


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(_PROG, "Looks at the stores of a queue, mends and moves them, while qmgr does not run.")
    parser.add_argument("-f", dest="file", type=Path, default=paths.DEFAULT_CONFIG_FILE, help="configuration file")
    parser.add_argument("--json", action="store_true", help="list: one JSON object a line")
    parser.add_argument("--content", action="store_true", help="check: read contents, compare their checksums")
    parser.add_argument("--gid", type=int, default=None, help="import: group of content files, if PATH is given")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="[COMMAND] [PATH]",
        help=f"{_LIST} (if none is given), {', '.join(_COMMANDS)}; queue directory, for list also a single file",
    )
    return parser


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code."""
    parser = _parser()
    options = parser.parse_intermixed_args(argv)
    words = options.words
    command = words.pop(0) if words and words[0] in (_LIST, *_COMMANDS) else _LIST
    if len(words) > 1:
        parser.error("one path is enough")
    for name, wanted in (("json", _LIST), ("content", "check"), ("gid", "import")):
        if getattr(options, name) not in (None, False) and command != wanted:
            parser.error(f"--{name} is for {wanted}")
    options.path = words[0] if words else ""
    path = _queue_directory(options)
    if command == _LIST:
        return _list(path, options)
    check_queue(path)
    with queue_lock(path):
        return _COMMANDS[command](path, options)


def run() -> None:
    """Is the program of the shell."""
    sys.exit(cli.run_program(_PROG, main))
