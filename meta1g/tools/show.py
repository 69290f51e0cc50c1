"""qmgrctl show: a transaction, its recipients with what became of each attempt, and its content.

QMGR tells the envelope.  The content is read from its file with the rights of the caller: root, or a member of the group that
smtpc reads it with.

Ref: docs/operating.md.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from meta1g.base import cli, paths, sysexits
from meta1g.base.dataclass import dataclass
from meta1g.base.ids import rcpt_id
from meta1g.base.reply import printable
from meta1g.db.cdb import Cdb, CdbReader, ContentError
from meta1g.tools.ctlclient import ControlClient
from meta1g.tools.queueview import json_row
from meta1g.tools.table import age
from meta1g.tools.times import time_text, with_times

_PIECE_BYTES: Final = 256 << 10
_BLANK_LINE: Final = b"\r\n\r\n"
_Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ContentParts:
    """Which parts of the content are shown."""

    header: bool = False
    body: bool = False


def show(client: ControlClient, queue: Path, name: str, parts: ContentParts, *, as_json: bool) -> int:
    """Shows a transaction or a recipient; gives the exit code.

    Args:
        client: of QMGR.
        queue: the queue directory.
        name: its id.
        parts: parts of the content that are shown; as text they stand alone.
        as_json: print JSON.

    Raises:
        CliError: it is not there, or its content cannot be read.
    """
    envelope = client.ask("transaction", name)
    if not as_json and (parts.header or parts.body):
        _write_content(queue, envelope, parts)
        return sysexits.EX_OK
    pages = client.pages("show", name)
    if as_json:
        _write_json(queue, envelope, pages, parts)
    else:
        for line in _envelope(queue, envelope):
            sys.stdout.write(f"{line}\n")
        for rows, _ in pages:
            for row in rows:
                for line in _recipient(row, time.time()):
                    sys.stdout.write(f"{line}\n")
    return sysexits.EX_OK


def _write_json(queue: Path, envelope: _Row, pages: Iterator[tuple[list[Any], str]], parts: ContentParts) -> None:
    """Prints one object; its recipients page by page."""
    now = time.time()
    facts: dict[str, Any] = with_times(envelope)
    shown = ""
    if parts.header or parts.body:
        header, _, body = b"".join(_content(queue, envelope)).partition(_BLANK_LINE)
        content = {"header": _text(header + b"\r\n")} if parts.header else {}
        content |= {"body": _text(body)} if parts.body else {}
        shown = f' "content": {json.dumps(content)},\n'
    sys.stdout.write(f'{{"transaction": {json.dumps(facts)},\n{shown} "recipients": [')
    before = "\n"
    for rows, _ in pages:
        for row in rows:
            sys.stdout.write(f"{before}{json.dumps(json_row(row, now))}")
            before = ",\n"
    sys.stdout.write("]}\n")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _envelope(queue: Path, envelope: _Row) -> Iterator[str]:
    yield f"transaction  {envelope['ta']}"
    yield f"sender       <{printable(envelope['mail'])}>"
    yield f"entered      {time_text(envelope['entered'])}  ({age(time.time() - envelope['entered'])} ago)"
    yield f"size         {envelope['size']} bytes"
    yield f"content      {Cdb(queue / paths.CDB_DIRECTORY).path(envelope['cdb_id'])}"
    for key in ("body", "ret", "envid", "priority"):
        if envelope[key]:
            yield f"{key:12} {printable(str(envelope[key]))}"
    if envelope["by"]:
        yield f"{'deliver by':12} {time_text(envelope['by'])} ({envelope['by_mode']})"
    flags = [key for key in ("smtputf8", "requiretls") if envelope[key]]
    if flags:
        yield f"{'needs':12} {' '.join(flags)}"


def _recipient(row: _Row, now: float) -> Iterator[str]:
    yield ""
    yield f"recipient    {rcpt_id(row['ta'], row['rcpt_idx'])}  <{printable(row['rcpt'])}>"
    if row["orig_rcpt"]:
        yield f"  alias      <{printable(row['orig_rcpt'])}>"
    if row["mail"] is not None and "IS_BNC" not in row["flags"]:
        yield f"  sender     <{printable(row['mail'])}>"
    where = row["where"]
    if where == "defedb":
        where = f"deferred, next try {time_text(row['next_try'])} (in {age(row['next_try'] - now)})"
    yield f"  where      {where}"
    last = f", last {time_text(row['last_try'])}" if row["last_try"] else ""
    yield f"  tries      {row['tries']}{last}"
    for title, key in (("ORCPT", "orcpt"), ("NOTIFY", "notify")):
        if row[key]:
            yield f"  {title:10} {printable(row[key])}"
    if row["flags"]:
        yield f"  flags      {' '.join(row['flags'])}"
    if row["status"]:
        yield f"  status     {printable(row['status'])}{_at(row['remote_mta'])}"
    for one in row["attempts"]:
        yield from _attempt(one)


def _attempt(one: _Row) -> Iterator[str]:
    times = f"{one['count']} times from {time_text(one['first'])} to " if one["count"] > 1 else ""
    yield f"  attempt    {times}{time_text(one['last'])}{_at(one['server'])}"
    yield f"             {printable(one['reply'])}"


def _at(server: str) -> str:
    return f"  at {printable(server)}" if server else ""


# -- content -----------------------------------------------------------------------------------------------------------


def _content(queue: Path, envelope: _Row) -> Iterator[bytes]:
    """Gives the content in pieces.

    Raises:
        CliError: it may not be read, is gone, or is not what was accepted.
    """
    cdb = Cdb(queue / paths.CDB_DIRECTORY)
    try:
        reader: CdbReader = cdb.open(envelope["cdb_id"], envelope["size"], envelope["checksum"])
        try:
            while not reader.at_end:
                yield reader.read(_PIECE_BYTES)
        finally:
            reader.close()
    except ContentError as error:
        raise cli.CliError(error.cause, sysexits.EX_DATAERR) from error
    except PermissionError as error:
        text = f"{cdb.path(envelope['cdb_id'])}: permission denied; run as root or as a member of its group"
        raise cli.CliError(text, sysexits.EX_NOPERM) from error


def _write_content(queue: Path, envelope: _Row, parts: ContentParts) -> None:
    """Prints header, body or both: as they are, but to a terminal in printable characters."""
    for piece in _wanted(_content(queue, envelope), parts):
        if sys.stdout.isatty():
            lines = piece.decode("utf-8", "surrogateescape").split("\r\n")
            sys.stdout.write("\n".join(printable(line) for line in lines))
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(piece)
    sys.stdout.flush()


def _wanted(pieces: Iterator[bytes], parts: ContentParts) -> Iterator[bytes]:
    """Cuts header or body out of the pieces; a blank line belongs to neither of them alone."""
    before = b""
    in_header = True
    for piece in pieces:
        if not in_header:
            yield piece if parts.body else b""
            continue
        before += piece
        at = before.find(_BLANK_LINE)
        if at < 0:
            continue
        in_header = False
        header, body = before[: at + 2], before[at + 4 :]
        yield (header if parts.header else b"") + (b"\r\n" if parts.header and parts.body else b"")
        yield body if parts.body else b""
    if in_header and parts.header:
        yield before
