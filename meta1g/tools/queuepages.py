"""The recipients in the queues, page by page: what is in DEFEDB comes as it stands there, and is read and selected here.

Reading takes ten times as long as giving; here it takes the time of nobody else.

Ref: docs/operating.md.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from meta1g.base.cli import CliError
from meta1g.base.ids import rcpt_id
from meta1g.db.defedb_page import read_page
from meta1g.qmgr.control.rows import QueuedRcpt
from meta1g.qmgr.control.selection import CommandError, parse
from meta1g.rcb.control import STORED
from meta1g.rcb.envelope import RcptRecord, TaRecord
from meta1g.tools.ctlclient import ControlClient

_Row = Mapping[str, Any]


def pages(
    client: ControlClient, words: Sequence[str], after: str, on_damage: Callable[[str], object]
) -> Iterator[tuple[list[_Row], str]]:
    """Gives rows in the order of the ids, and where the next page begins, empty for none; a page may be empty.

    Args:
        client: of QMGR.
        words: the selector; nothing for all.
        after: id of the recipient behind which the list begins, empty for the beginning.
        on_damage: called with what is wrong with a record that cannot be read.

    Raises:
        CliError: QMGR cannot be reached or refuses, or the selector is wrong.
    """
    try:
        selector, now = parse("queue", words or ["all"]), time.time()
    except CommandError as error:
        raise CliError(str(error), error.exit_code) from error
    for answer in client.answers("queue", STORED, *words, after=after):
        rows: list[_Row] = json.loads(answer.text)
        found: list[_Row] = [one.row() for one in recipients(answer.stored, on_damage) if selector.matches(one, now)]
        yield sorted(rows + found, key=_id) if rows and found else found or rows, answer.more


def recipients(page: bytes, on_damage: Callable[[str], object]) -> Iterator[QueuedRcpt]:
    """Gives the recipients of a page of DEFEDB."""
    ta: TaRecord | None = None
    for record in read_page(page):
        if isinstance(record, RcptRecord):
            yield QueuedRcpt(ta if ta is not None and ta.ta_id == record.ta_id else None, record)
        elif isinstance(record, TaRecord):
            ta = record
        else:
            on_damage(record.cause)


def _id(row: _Row) -> str:
    return rcpt_id(row["ta"], row["rcpt_idx"])
