"""A queue as JSON lines: written by `metaqueue export`, read by `metaqueue import`; contents are in it.

    {"meta1g_queue": 1}                     the format, first
    {"transaction": {...}}                  then for each transaction: its record,
    {"recipients": [{...}, ...]}            its recipients, in one line or more,
    {"content": "..."}                      its content, base64, in pieces,
    {"end": {"recipients": N, "bytes": N}}  and how much that was; bytes is null if there is no content, or the queue has it
    {"total": N}                            the number of transactions, last

A transaction is taken when its `end` is read: content first, then the envelope, each on stable storage.  What the queue has
already stays as it is, so that an import that was interrupted is simply repeated.

Ref: docs/operating.md, "Export"; the format is ours.
"""

import base64
import binascii
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import field
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from meta1g.base import cli, paths, sysexits
from meta1g.base.dataclass import dataclass
from meta1g.base.errors import PermError
from meta1g.base.ids import is_id, rcpt_id
from meta1g.base.reply import printable
from meta1g.db.cdb import Cdb, CdbWriter, ContentError
from meta1g.db.defedb import DefeDb
from meta1g.rcb.envelope import RcptRecord, TaRecord
from meta1g.rcb.jsonform import from_object, to_object
from meta1g.smtp.esmtp import MAIL_PARAMETERS, RCPT_PARAMETERS
from meta1g.smtp.limits import PRIORITY_MAX
from meta1g.tools.offline import CHUNK, complain, of_queue, owner_of

FORMAT: Final = 1
_PIECE_BYTES: Final = 48 << 10


# -- out ---------------------------------------------------------------------------------------------------------------


def export(queue: Path, defedb: DefeDb) -> Iterator[str]:
    """Gives the lines of a queue; a content that cannot be read whole is named and left out."""
    cdb = Cdb(queue / paths.CDB_DIRECTORY)
    yield json.dumps({"meta1g_queue": FORMAT})
    total = 0
    for _, parts in groupby(of_queue(queue, defedb), key=lambda one: one.ta.ta_id):
        count, ta = 0, None
        for part in parts:
            if ta is None:
                ta = part.ta
                yield json.dumps({"transaction": to_object(ta)})
            for first in range(0, len(part.rcpts), CHUNK):
                yield json.dumps({"recipients": [to_object(one) for one in part.rcpts[first : first + CHUNK]]})
            count += len(part.rcpts)
        if ta is not None:
            total += 1
            yield from _export_content(cdb, ta, count)
    yield json.dumps({"total": total})


def _export_content(cdb: Cdb, ta: TaRecord, count: int) -> Iterator[str]:
    size: int | None = 0
    try:
        with owner_of(cdb.path(ta.cdb_id).parent):
            reader = cdb.open(ta.cdb_id)
        try:
            while not reader.at_end:
                piece = reader.read(_PIECE_BYTES)
                size = (size or 0) + len(piece)
                yield json.dumps({"content": base64.b64encode(piece).decode()})
        finally:
            reader.close()
    except ContentError as error:
        complain(error.cause)
        size = None
    yield json.dumps({"end": {"recipients": count, "bytes": size}})


#: What is said to servers: addresses, and parameters with their checks.
_ADDRESSES: Final = ("mail", "rcpt", "orig_rcpt", "sender")
_PARAMETERS: Final = {row.field: row.check for row in (*MAIL_PARAMETERS.values(), *RCPT_PARAMETERS.values())}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_BY_MODES: Final = (None, "R", "N", "RT", "NT")
_WORDS: Final = ("body", "ret", "envid", "notify", "orcpt")


def _check_words(record: TaRecord | RcptRecord) -> None:
    """Sees to it that nothing of a record is more than one word of a command of SMTP.

    Raises:
        ValueError: something is.
    """
    for name in (*_ADDRESSES, *_WORDS):
        value = getattr(record, name, None)
        if value is None:
            continue
        try:
            right = _CONTROL.search(value) is None if name in _ADDRESSES else _PARAMETERS[name](value) is not None
        except ValueError:
            right = False
        if not right:
            raise ValueError(f"{name}: {printable(value)!r} is nothing that could have been said")
    if isinstance(record, TaRecord) and (abs(record.priority) > PRIORITY_MAX or record.by_mode not in _BY_MODES):
        raise ValueError(f"priority {record.priority} or by_mode {record.by_mode!r} is none")


# -- in ----------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Imported:
    """What an import did.  Owner: the import."""

    transactions: int = 0
    recipients: int = 0
    present: int = 0  # recipients that were there already


@dataclass(slots=True)
class _Open:
    """The transaction that is being read.  Owner: the import."""

    ta: TaRecord
    rcpts: list[RcptRecord] = field(default_factory=list)
    count: int = 0
    writer: CdbWriter | None = None
    skip: bool = False  # its content is there
    size: int = 0
    checksum: int = 0


class Import:
    """Reads lines into a queue.

    Args:
        queue: the queue directory, as sm.setup makes it.
        defedb: open.
        gid: group of content files; that of the process, or of their directory for root, if None.
    """

    def __init__(self, queue: Path, defedb: DefeDb, gid: int | None) -> None:
        self._defedb = defedb
        self._cdb = Cdb(queue / paths.CDB_DIRECTORY)
        self._gid = gid
        self._open: _Open | None = None
        self._number = 0
        self.done = Imported()

    def run(self, lines: Iterable[str]) -> None:
        """Takes all lines.

        Raises:
            CliError: a line is wrong, or the last one is missing; what came before is imported.
        """
        ended = False
        try:
            for self._number, line in enumerate(lines, 1):
                ended = self._take(self._object(line))
        except (ValueError, PermError) as error:
            text = error.cause if isinstance(error, PermError) else str(error)
            raise cli.CliError(f"line {self._number}: {text}; {self.summary()}", sysexits.EX_DATAERR) from error
        finally:
            self._abort()
        if not ended:
            raise cli.CliError(f"the input ends before its last line; {self.summary()}", sysexits.EX_DATAERR)

    def summary(self) -> str:
        """Gives what was done, for people."""
        done = self.done
        present = f", {done.present} were there already" if done.present else ""
        return f"imported {done.recipients} recipients in {done.transactions} transactions{present}"

    @staticmethod
    def _object(line: str) -> tuple[str, Any]:
        found = json.loads(line)
        if not isinstance(found, dict) or len(found) != 1:
            raise ValueError("not an object with one field")
        ((key, value),) = found.items()
        return key, value

    def _take(self, item: tuple[str, Any]) -> bool:
        """Takes one line; tells whether it is the last one."""
        key, value = item
        if self._number == 1:
            if key != "meta1g_queue" or value != FORMAT:
                raise ValueError(f"not a queue of format {FORMAT}")
            return False
        if key == "transaction" and self._open is None:
            self._begin(from_object(TaRecord, value))
        elif key == "recipients" and self._open is not None:
            self._recipients(self._open, value)
        elif key == "content" and self._open is not None:
            self._content(self._open, value)
        elif key == "end" and self._open is not None:
            self._end(self._open, value)
        elif key == "total" and self._open is None:
            return True
        else:
            raise ValueError(f"{key!r} is not expected here")
        return False

    def _begin(self, ta: TaRecord) -> None:
        if not is_id(ta.ta_id) or not is_id(ta.cdb_id):
            raise ValueError("wrong ids")
        _check_words(ta)
        there = self._cdb.size(ta.cdb_id)
        if there is not None and there != ta.size_bytes and self._defedb.has_ta(ta.ta_id):
            raise ValueError(f"{ta.ta_id} is in the queue with another content")
        self._open = _Open(ta, skip=there == ta.size_bytes)

    def _recipients(self, one: _Open, value: Any) -> None:
        for found in value if isinstance(value, list) else [value]:
            rcpt = from_object(RcptRecord, found)
            if rcpt.ta_id != one.ta.ta_id:
                raise ValueError(f"{rcpt_id(rcpt.ta_id, rcpt.rcpt_idx)} is of another transaction")
            _check_words(rcpt)
            one.rcpts.append(rcpt)
        one.count = len(one.rcpts)

    def _content(self, one: _Open, value: Any) -> None:
        try:
            piece = base64.b64decode(value, validate=True)
        except (TypeError, binascii.Error) as error:
            raise ValueError(f"content: not base64: {error}") from error
        one.size += len(piece)
        one.checksum = crc32(piece, one.checksum)
        if one.skip:
            return
        if one.writer is None:
            with owner_of(self._cdb.path(one.ta.cdb_id).parent, self._gid):
                self._cdb.unlink(one.ta.cdb_id)  # a rest of an import that was interrupted
                one.writer = self._cdb.create(one.ta.cdb_id, self._gid if os.getuid() else None)
        one.writer.write(piece)

    def _end(self, one: _Open, value: Any) -> None:
        if not isinstance(value, dict) or value.get("recipients") != one.count or value.get("bytes") not in (None, one.size):
            raise ValueError(f"{one.ta.ta_id} is not whole")
        if value["bytes"] is None:
            if not one.skip:
                complain(f"{one.ta.ta_id}: no content; its recipients will be held")
            self._abort_content(one)
        elif one.ta.checksum not in (None, one.checksum):
            complain(f"{one.ta.ta_id}: its content is not what was accepted; its recipients will be held")
        if one.writer is not None:
            writer, one.writer = one.writer, None
            writer.commit()
        new = [rcpt for rcpt in one.rcpts if not self._defedb.has_rcpt(one.ta.ta_id, rcpt.rcpt_idx)]
        self.done.present += one.count - len(new)
        for first in range(0, len(new), CHUNK):
            self._defedb.store([one.ta], new[first : first + CHUNK])
        self.done.transactions += bool(new)
        self.done.recipients += len(new)
        self._open = None

    @staticmethod
    def _abort_content(one: _Open) -> None:
        if one.writer is not None:
            one.writer.abort()
            one.writer = None

    def _abort(self) -> None:
        if self._open is not None:
            self._abort_content(self._open)
