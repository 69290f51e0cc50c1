"""mailq: lists the queues.

Ref: behaviour of tools (original name, same job); the same list is `qmgrctl queue`.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from meta1g.base import cli, paths, sysexits
from meta1g.base.reply import printable
from meta1g.conf.load import load_file
from meta1g.tools.ctlclient import ControlClient
from meta1g.tools.table import age

_Row = Mapping[str, Any]


def listing(rows: Sequence[_Row], now: float) -> Iterator[str]:
    """Gives the lines of the list: one for each transaction, then its recipients.

    Args:
        rows: recipients as QMGR lists them.
        now: seconds since the epoch.
    """
    ordered = sorted(rows, key=lambda row: (row["entered"], row["ta"], row["mail"], row["rcpt_idx"]))
    for (ta_id, mail), group in groupby(ordered, key=lambda row: (row["ta"], row["mail"])):
        recipients = list(group)
        first = recipients[0]
        stamp = time.strftime("%a %b %e %H:%M:%S", time.localtime(first["entered"]))
        yield f"{ta_id}  {first['size']:>9}  {stamp}  <{printable(mail)}>"
        for row in recipients:
            yield from _recipient(row, now)
    yield f"-- {len(rows)} recipients in {len({row['ta'] for row in rows})} messages" if rows else "the queues are empty"


def _recipient(row: _Row, now: float) -> Iterator[str]:
    when = f"next try in {age(row['next_try'] - now)}" if row["where"] == "defedb" else row["where"]
    yield f"    <{printable(row['rcpt'])}>  {when}, {row['tries']} tries"
    if row["status"]:
        yield f"        {printable(row['status'])}"


def main(argv: list[str]) -> int:
    """Lists the queues and gives the exit code."""
    parser = cli.parser("mailq", "Lists the mail queues of meta1g.")
    parser.add_argument("-f", dest="file", type=Path, default=paths.DEFAULT_CONFIG_FILE, help="configuration file")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    options = parser.parse_args(argv)
    config = load_file(options.file, lenient=True)
    with ControlClient(config.queue_directory / paths.QMGR_CONTROL_SOCKET) as client:
        rows = client.ask("queue")
    sys.stdout.write(json.dumps(rows, indent=1) if options.json else "\n".join(listing(rows, time.time())))
    sys.stdout.write("\n")
    return sysexits.EX_OK


def run() -> None:
    """Runs the program (console script)."""
    raise SystemExit(cli.run_program("mailq", main))


if __name__ == "__main__":
    run()
