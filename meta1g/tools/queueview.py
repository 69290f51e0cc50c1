"""The queues as mailq and `qmgrctl queue` show them, page by page: neither side ever has the whole list.

    short    a line for each message, then its recipients with their status
    wide     a line for each recipient
    JSON     an array of objects, one a line
    counts   recipients by something; with their ages (as Postfix' qshape does)

Ref: docs/json.md.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from meta1g.base.ids import rcpt_id
from meta1g.base.reply import printable
from meta1g.tools.table import Column, Table, age
from meta1g.tools.times import with_times

_Row = Mapping[str, Any]
_Page = tuple[list[_Row], str]

WIDE: Final = (
    Column("id", lambda row: rcpt_id(row["ta"], row["rcpt_idx"])),
    Column("age", lambda row: age(time.time() - row["entered"])),
    Column("size", lambda row: str(row["size"])),
    Column("where", lambda row: row["where"]),
    Column("sender", lambda row: f"<{row['mail']}>"),
    Column("recipient", lambda row: f"<{row['rcpt']}>"),
    Column("tries", lambda row: str(row["tries"])),
    Column("status", lambda row: row["status"]),
)
EMPTY: Final = "the queues are empty"
NO_MATCH: Final = "no recipient in the queues matches"


class Shown:
    """What was shown so far.  Owner: who made it.

    Attributes:
        rcpts, messages: how many.
        last: id of the last recipient.
        more: others follow that were not asked for.
    """

    def __init__(self) -> None:
        self.rcpts = self.messages = 0
        self.last = ""
        self.more = False
        self._ta = ""

    def rows(self, pages: Iterable[_Page], limit: int) -> Iterator[list[_Row]]:
        """Gives the rows of pages, counted; no more than limit, 0 for all."""
        for page, more in pages:
            rows = page[: limit - self.rcpts] if limit else page
            for row in rows:
                self.messages += row["ta"] != self._ta
                self._ta = row["ta"]
            self.rcpts += len(rows)
            if rows:
                self.last = rcpt_id(rows[-1]["ta"], rows[-1]["rcpt_idx"])
                yield rows
            if limit and self.rcpts >= limit:
                self.more = bool(more) or len(rows) < len(page)
                return

    def summary(self, *, all_of_it: bool) -> str:
        """Gives the last line."""
        if not self.rcpts:
            return EMPTY if all_of_it else NO_MATCH
        text = f"-- {self.rcpts} recipients in {self.messages} messages"
        return f"{text}; more: --after {self.last}" if self.more else text


def short(pages: Iterable[Sequence[_Row]], now: float) -> Iterator[str]:
    """Gives the lines of the list: one for each message, then its recipients.

    Args:
        pages: recipients as QMGR lists them, in the order of their ids.
        now: seconds since the epoch.
    """
    last: tuple[str, str] | None = None
    for rows in pages:
        for row in rows:
            if (row["ta"], row["mail"]) != last:
                last = (row["ta"], row["mail"])
                stamp = time.strftime("%a %b %e %H:%M:%S", time.localtime(row["entered"]))
                yield f"{row['ta']}  {row['size']:>9}  {stamp}  <{printable(row['mail'])}>"
            yield from _recipient(row, now)


def _recipient(row: _Row, now: float) -> Iterator[str]:
    when = f"next try in {age(row['next_try'] - now)}" if row["where"] == "defedb" else row["where"]
    yield f"    <{printable(row['rcpt'])}>  {when}, {row['tries']} tries"
    if row["status"]:
        yield f"        {printable(row['status'])}"


def wide(pages: Iterable[Sequence[_Row]]) -> Iterator[str]:
    """Gives a line for each recipient, below a line of titles."""
    table = Table(WIDE)
    for rows in pages:
        yield from table.lines(rows)


def json_row(row: _Row, now: float) -> dict[str, Any]:
    """Gives a recipient as it stands in JSON."""
    return {
        "id": rcpt_id(row["ta"], row["rcpt_idx"]),
        **with_times(row),
        "age_s": round(max(0.0, now - row["entered"]), 3),
    }


def json_lines(pages: Iterable[Sequence[_Row]], now: float) -> Iterator[str]:
    """Gives the lines of a JSON array."""
    before = "["
    for rows in pages:
        for row in rows:
            yield f"{before}{json.dumps(json_row(row, now))}"
            before = ","
    yield "[]" if before == "[" else "]"


# -- counts ------------------------------------------------------------------------------------------------------------


def counts(result: Mapping[str, Any]) -> str:
    """Gives a count as a table; by age if that is what was counted."""
    if result["by"] == "age":
        bounds = [f"up to {age(60 * minutes)}" for minutes in result["ages_min"]]
        rows = [{"key": key, "total": total} for key, total in zip([*bounds, "older"], result["ages"], strict=True)]
    else:
        rows = list(_count_rows(result))
    table = Table(
        (Column("recipients", lambda row: f"{row['total']:>10}"), Column(result["by"], lambda row: row["key"] or "<>"))
    )
    return "\n".join(table.lines([*rows, {"key": "all together", "total": result["total"]}]))


def _count_rows(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from result["rows"]
    if result["others"]:
        yield {"key": "(others)", "total": result["others"], "ages": result["others_ages"]}


def shape(result: Mapping[str, Any]) -> str:
    """Gives a count with ages as a table: a column for each class, its upper bound in minutes (as qshape)."""
    bounds = [str(minutes) for minutes in result["ages_min"]]
    titles = [result["by"], "T", *bounds, f"{bounds[-1]}+"]
    total = {"key": "TOTAL", "total": result["total"], "ages": result["ages"]}
    lines = [
        [printable(row["key"]) or "<>", str(row["total"]), *map(str, row["ages"])] for row in (total, *_count_rows(result))
    ]
    lines.insert(0, titles)
    widths = [max(len(line[number]) for line in lines) for number in range(len(titles))]
    return "\n".join("  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines)
