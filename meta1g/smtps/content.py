"""Content of a message: from the wire into a CDB file, then the commit by QMGR.

Order (invariants I1 and I2): the content is on stable storage before QMGR hears of it, and the client hears 250 only
after QMGR has the envelope on stable storage.  Who removes the file of a message that is not accepted:

- CloseTransaction was not sent, or QMGR answered with a refusal: no envelope refers to the file, so SMTPS removes it.
- CloseTransaction was sent and the answer is unknown (time-out, broken connection): QMGR may have committed the
  envelope a moment before.  Removing the file would lose a message that QMGR is going to deliver.  It stays; the
  client gets 451 and sends again: at worst the message arrives twice.  If QMGR did not commit, its clean-up removes
  the file as an orphan.

Ref: RFC 5321 4.1.1.4, 6.1; MeTA1 design, "Functional Specification: SMTPS, CDB" (modelled on).
"""

import errno
from collections.abc import Callable, Iterator
from zlib import crc32

from meta1g.base.errors import TempError
from meta1g.base.ids import CdbId
from meta1g.base.reply import Reply
from meta1g.db.cdb import CdbReader, CdbWriter
from meta1g.rcb.smtps_qmgr import CloseTransaction
from meta1g.smtp import replies
from meta1g.smtp.completion import Missing, completion, has_header
from meta1g.smtp.data import Unstuffer
from meta1g.smtp.header import HeaderMeter, count_received, header_end, is_automatic, message_id
from meta1g.smtp.limits import TEXT_LINE_MAX_BYTES
from meta1g.smtps.context import Context
from meta1g.smtps.dialogue import Dialogue
from meta1g.smtps.filtering import ContentWatch
from meta1g.smtps.fsm import Event
from meta1g.smtps.limits import SMALL_CONTENT_BYTES, STREAM_PIECE_BYTES
from meta1g.smtps.received import received
from meta1g.smtps.relayed import tell_forwarded
from meta1g.smtps.settings import Settings
from meta1g.smtps.transaction import Transaction
from meta1g.st import StError, offload

#: How a line begins that continues the field before it (RFC 5322 2.2.3).
_FOLDS = (b" ", b"\t")


class IncomingContent:
    """Content on its way to its file: in memory while it is small, streamed when it is not.

    Args:
        context: store and log.
        settings: those of the client.
        cdb_id: id of the file.
        trace: our Received field, which goes first.
        missing: what the header is completed with, None if it is not.

    Attributes:
        size_bytes: size of the content without what we put before it.
        checksum: CRC-32 of what is in the file.
        automatic: no report may answer it, by its header.
        message_id: the Message-ID, for the log.
        refusal: why it cannot be accepted, None while it can; a refused one takes no memory and no file.
        rule: the filter that refused it, `milter NAME`; empty if none did.
        hold: why a filter wants it held; empty if none does.

    Owner: the state thread of the session.
    """

    __slots__ = (
        "_cdb_id",
        "_checked",
        "_context",
        "_gap",
        "_held",
        "_meter",
        "_missing",
        "_received",
        "_settings",
        "_trace",
        "_writer",
        "automatic",
        "checksum",
        "hold",
        "message_id",
        "refusal",
        "rule",
        "size_bytes",
    )

    def __init__(
        self, context: Context, settings: Settings, cdb_id: CdbId, trace: bytes, missing: Missing | None = None
    ) -> None:
        self._context = context
        self._settings = settings
        self._cdb_id = cdb_id
        self._trace = self._received = trace
        self._missing = missing
        self._held = bytearray()  # one buffer: pieces may be as small as a client likes
        self._gap = b""
        self._writer: CdbWriter | None = None
        self._checked = False
        self._meter = HeaderMeter() if settings.parts is not None else None
        self.size_bytes = 0
        self.checksum = 0
        self.automatic = False
        self.message_id: str | None = None
        self.refusal: Reply | None = None
        self.rule = ""
        self.hold = ""

    @property
    def received(self) -> bytes:
        """Our Received field."""
        return self._received

    @property
    def completed(self) -> bytes:
        """The fields that the header was completed with, once it was looked at."""
        return self._trace[len(self._received) :].removesuffix(self._gap)

    @property
    def completes(self) -> bool:
        """The header is going to be completed, when it is there."""
        return self._missing is not None and not self._checked

    @property
    def stored_bytes(self) -> int:
        """Size of the file."""
        return self.size_bytes + len(self._trace)

    def add(self, piece: bytes) -> None:
        """Takes the next piece.  Switches: only if much is held (disk)."""
        if not self.size_bytes and piece.startswith(_FOLDS):
            self._gap = b"\r\n"  # the client sent a body without header; it must not become part of our field
        self.size_bytes += len(piece)
        if self.refusal is not None:
            return
        if self.is_too_big(self.size_bytes):
            self.refuse(replies.TOO_BIG)
            return
        if self._meter is not None and not self._in_bounds(self._meter, piece):
            return
        self._held += piece
        if len(self._held) >= (STREAM_PIECE_BYTES if self._writer else SMALL_CONTENT_BYTES):
            self._spill()

    def is_too_big(self, size_bytes: int) -> bool:
        """Tells whether so much is more than a message may have."""
        limit = self._settings.max_message_bytes
        return 0 < limit < size_bytes

    def _in_bounds(self, meter: HeaderMeter, piece: bytes) -> bool:
        """Measures header and body of what has come, and refuses what is beyond a limit.  Switches: yes (removes a file)."""
        limits = self._settings.parts
        if limits is None:
            return True
        if not meter.done:
            meter.feed(piece)
        if 0 < limits.header_bytes < meter.size_bytes:
            self.refuse(replies.HEADER_TOO_BIG)
        elif 0 < limits.header_lines < meter.lines:
            self.refuse(replies.HEADER_TOO_LONG)
        elif meter.done and 0 < limits.body_bytes < self.size_bytes - meter.size_bytes:
            self.refuse(replies.BODY_TOO_BIG)
        return self.refusal is None

    def refuse(self, reply: Reply) -> None:
        """Gives the content up; the first reason counts.  Switches: yes (removes a file)."""
        if self.refusal is None:
            self.refusal = reply
            self.abort()

    def check_header(self, *, whole: bool = True) -> None:
        """Looks at the header: counts the Received fields, whether a report may answer it, and what its Message-ID is.

        Of a header beyond SMALL_CONTENT_BYTES what is up to there counts, and it is not completed.

        Args:
            whole: all of the content is there.

        Switches: only if there are too many fields.
        """
        if self._checked or self.refusal is not None:
            return
        self._checked = True
        start = bytes(self._held)
        end = header_end(start)
        header = start[:end] if end >= 0 else start
        self.automatic = is_automatic(header)
        self.message_id = message_id(header)
        if self._missing is not None and (whole or end >= 0):
            self._complete(self._missing, start, end)
        self._trace += self._gap
        if count_received(header) > self._settings.max_hops:
            self.refuse(replies.TOO_MANY_HOPS)

    def _complete(self, missing: Missing, start: bytes, end: int) -> None:
        """Adds what the header lacks."""
        if not has_header(start):
            self._gap, end = b"\r\n", 0
        self._trace += completion(start[:end] if end >= 0 else start, missing)
        self.message_id = self.message_id or missing.message_id

    def _spill(self) -> None:
        """Writes what is held; opens the file first if need be.  Switches: yes (disk)."""
        self.check_header(whole=False)
        if self.refusal is not None:
            return
        block, self._held = bytes(self._held), bytearray()
        self.guard(lambda: self._write(block))

    def _write(self, block: bytes) -> None:
        """Runs off-loaded."""
        if self._writer is None:
            self._writer = self._context.cdb.create(self._cdb_id, self._settings.cdb_gid)
            self._writer.write(self._summed(self._trace))
        self._writer.write(self._summed(block))

    def _summed(self, block: bytes) -> bytes:
        """Gives a block that goes into the file, and takes it into the checksum."""
        self.checksum = crc32(block, self.checksum)
        return block

    def pieces(self, offset: int) -> Iterator[bytes]:
        """Gives the content from an offset on, without what we put before it; rebuild() may be given it.

        Switches: yes (disk), unless it is held.
        """
        if self._writer is None:
            return iter((bytes(self._held[offset:]),))
        reader: CdbReader = offload(lambda: self._context.cdb.open(self._cdb_id))
        return _pieces_of(reader, len(self._trace) + offset, bytes(self._held))

    def rebuild(self, header: bytes, body: Iterator[bytes]) -> None:
        """Puts another content in the place of this one.

        Args:
            header: all of it, with our own fields and the empty line.
            body: the rest.

        Switches: yes (disk), unless all of it is held.
        """
        writer, self._writer = self._writer, None
        self._trace, self._held = header, bytearray()
        self.size_bytes = self.checksum = 0
        if writer is not None:
            self.guard(writer.abort)
        for piece in body:
            if self.refusal is None:
                self._held += piece
                self.size_bytes += len(piece)
                if len(self._held) >= (STREAM_PIECE_BYTES if self._writer else SMALL_CONTENT_BYTES):
                    self._spill()

    def store(self) -> None:
        """Brings all of it to stable storage; refusal tells whether that failed.  Switches: yes (disk).

        Raises:
            StError: EINTR, the session has to stop; the file is removed.
        """
        try:
            self.guard(self._write_whole if self._writer is None else self._finish)
        except StError:
            self.remove()
            raise
        self._held = bytearray()

    def _write_whole(self) -> None:
        """Runs off-loaded."""
        blocks = [self._summed(self._trace), self._summed(bytes(self._held))]
        self._context.cdb.write_whole(self._cdb_id, blocks, self._settings.cdb_gid)

    def _finish(self) -> None:
        """Runs off-loaded."""
        writer = self._writer
        if writer is not None:
            writer.write(self._summed(bytes(self._held)))
            writer.commit()
            self._writer = None

    def guard(self, function: Callable[[], None]) -> None:
        """Runs a blocking function off-loaded and turns its failure into a refusal.  Switches: yes."""
        try:
            offload(function)
        except StError:
            raise
        except (OSError, TempError) as error:
            self._context.log.error("smtps.cdb", str(error), cdb_id=self._cdb_id)
            full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            self.refuse(replies.DISK_FULL if full else replies.STORE_FAILED)

    def abort(self) -> None:
        """Forgets the content; a file that is being written is removed.  Switches: yes (disk)."""
        self._held = bytearray()
        writer, self._writer = self._writer, None
        if writer is not None:
            _quietly(self._context, self._cdb_id, writer.abort)

    def remove(self) -> None:
        """Removes the file of a message that QMGR refused.  Switches: yes (disk)."""
        _quietly(self._context, self._cdb_id, lambda: self._context.cdb.unlink(self._cdb_id))


def _pieces_of(reader: CdbReader, skip: int, rest: bytes) -> Iterator[bytes]:
    """Gives what a file holds behind so many bytes, then the rest.  Switches: yes (disk)."""
    try:
        while not reader.at_end:
            piece = offload(lambda: reader.read(STREAM_PIECE_BYTES))
            if skip < len(piece):
                yield piece[skip:]
            skip = max(0, skip - len(piece))
    finally:
        reader.close()
    yield rest


def _quietly(context: Context, cdb_id: CdbId, function: Callable[[], object]) -> None:
    """Runs a clean-up off-loaded, although the session has to stop; if it fails, QMGR's clean-up will find the file.

    Args:
        context: for the log.
        cdb_id: whose file it is.
        function: may be called twice.

    Switches: yes.
    """
    try:
        try:
            offload(function)
        except StError:  # EINTR: it may have come before the call was made
            offload(function)
            raise
    except StError:
        raise
    except (OSError, TempError) as error:
        context.log.warn("smtps.cdb_left", str(error), cdb_id=cdb_id)


def receive(dialogue: Dialogue, ta: Transaction) -> Reply:
    """Receives the content after 354 and closes the transaction.

    Args:
        dialogue: the session, in state CONTENT.
        ta: its transaction.

    Returns:
        The reply to the final dot; the session is in state HELLO again.

    Raises:
        ClientGoneError: the client closed the connection; nothing is kept.
        StError: it is too slow, or the session has to stop; nothing is kept.

    Disk: a 2xx reply means that content and envelope are on stable storage.
    Switches: yes (network, disk, QMGR).
    """
    content = new_content(dialogue, ta)
    filtered = None if dialogue.filters is None else dialogue.filters.watch(ta, content)
    try:
        _read(dialogue, content, filtered)
        content.check_header()
        if filtered is not None:
            filtered.complete()
    except BaseException:
        content.abort()
        raise
    return close(dialogue, ta, content)


def close(dialogue: Dialogue, ta: Transaction, content: IncomingContent) -> Reply:
    """Closes the transaction when all of the content has come, or nothing more of it is wanted.

    Args:
        dialogue: the session, in state CONTENT.
        ta: its transaction.
        content: what has come, its header looked at.

    Returns, Raises, Disk: as receive().
    Switches: yes (disk, QMGR).
    """
    refusal = content.refusal or ta.refused
    if refusal is None and ta.posted and dialogue.context.qmgr.generation != ta.generation:
        refusal = replies.QUEUE_FAILED
    if refusal is None:
        reply = _drop(dialogue, ta, content) if ta.discard or not ta.posted else _close(dialogue, ta, content)
    else:
        content.abort()
        _give_up(dialogue)
        reply = refusal
    _tell_outcome(dialogue, ta, content, reply)
    return reply


def new_content(dialogue: Dialogue, ta: Transaction) -> IncomingContent:
    """Gives an empty content for a transaction, with our Received field."""
    context = dialogue.context
    date = context.dates.text(context.clock.now())
    settings = dialogue.settings
    origin = dialogue.origin()
    if ta.params.smtputf8 or ta.priority is not None:
        origin = origin.asking(utf8=ta.params.smtputf8, priority=ta.priority)
    trace = received(origin, settings.hostname, ta.ta_id, ta.only_rcpt, date)
    missing = None
    if settings.completion is not None:
        missing = Missing(f"<{ta.ta_id}@{settings.hostname}>", date, ta.mail.text, settings.completion.sender)
    return IncomingContent(context, settings, CdbId(ta.ta_id), trace, missing)


def _read(dialogue: Dialogue, content: IncomingContent, filtered: ContentWatch | None) -> None:
    """Reads up to the final dot; a message that is refused is read to its end, too.  Switches: yes."""
    unstuffer = Unstuffer(TEXT_LINE_MAX_BYTES if dialogue.settings.strict_lines else 0)
    begun_s = dialogue.context.clock.monotonic()
    data = dialogue.take_rest()
    while True:
        if data:
            piece = unstuffer.feed(data)
            if unstuffer.bare:
                content.refuse(replies.BARE_LINE_END)
            elif unstuffer.long_line:
                content.refuse(replies.TEXT_LINE_TOO_LONG)
            content.add(piece)
            if filtered is not None:
                begun_s += filtered.feed(piece)  # what filters take is not the client's time
            if unstuffer.done:
                break
        data = dialogue.read_content(begun_s, content.size_bytes)
    dialogue.give_back(unstuffer.rest)


def _drop(dialogue: Dialogue, ta: Transaction, content: IncomingContent) -> Reply:
    """Accepts a message whose recipients are all to be discarded.  Switches: yes (removes a file)."""
    content.abort()
    _give_up(dialogue)
    return _accepted(ta)


def _give_up(dialogue: Dialogue) -> None:
    dialogue.reset()
    dialogue.step(Event.DROPPED)


def _accepted(ta: Transaction) -> Reply:
    return Reply(250, "2.0.0", f"Ok: queued as {ta.ta_id}")


def _close(dialogue: Dialogue, ta: Transaction, content: IncomingContent) -> Reply:
    """Makes the content safe, then the envelope; gives the reply to the client.  Switches: yes."""
    content.store()
    if content.refusal is not None:
        _give_up(dialogue)
        return content.refusal
    qmgr = dialogue.context.qmgr
    dot = CloseTransaction(
        ta_id=ta.ta_id,
        cdb_id=ta.ta_id,
        size_bytes=content.stored_bytes,
        rcpts=ta.posted,
        body=ta.params.body,
        checksum=content.checksum,
        automatic=content.automatic,
        hold=content.hold or (dialogue.filters.hold if dialogue.filters is not None else "") or None,
    )
    try:
        pending = qmgr.ask_commit(dot)
    except TempError:
        content.remove()  # nothing was sent: no envelope refers to the file
        _give_up(dialogue)
        return replies.QUEUE_FAILED
    dialogue.step(Event.DOT)
    dialogue.ta = None  # from here on only QMGR may end it
    reply = replies.QUEUE_FAILED
    try:
        reply = qmgr.committed(pending)
        if not reply.is_ok:
            content.remove()
    except TempError as error:
        dialogue.context.log.error("smtps.commit", f"no answer: {error.cause}; the content stays", ss_ta=ta.ta_id)
    except StError as error:
        dialogue.context.log.error("smtps.commit", f"no answer: {error}; the content stays", ss_ta=ta.ta_id)
        if error.errno != errno.ETIME:
            raise
    finally:
        qmgr.forget(ta.ta_id)
    dialogue.step(Event.ANSWERED)
    return _accepted(ta) if reply.is_ok else reply


def replies_due(dialogue: Dialogue, ta: Transaction) -> int:
    """Gives how many replies a client waits for after the content: with LMTP one for each recipient (RFC 2033 4.2).

    A chunk that is refused before the last one came has one reply.
    """
    return ta.accepted if dialogue.settings.lmtp and not dialogue.chunks_dropped else 1


def _tell_outcome(dialogue: Dialogue, ta: Transaction, content: IncomingContent, reply: Reply) -> None:
    """Logs what became of a message; a refusal is told here, too."""
    size, mail = content.stored_bytes, ta.mail.text
    if dialogue.forwarded:
        tell_forwarded(dialogue, ta.ta_id)
    if not reply.is_ok:
        dialogue.foretell(reply, replies_due(dialogue, ta) - 1)
        dialogue.refuse(
            "smtps.message_refused", reply, rule=content.rule, ss_ta=ta.ta_id, mail=mail, size=size, rcpts=ta.accepted
        )
    elif ta.discard or not ta.posted:
        dialogue.log_refusal(
            "smtps.message_discarded", reply, rule=ta.rule, ss_ta=ta.ta_id, mail=mail, size=size, rcpts=ta.accepted
        )
    else:
        dialogue.context.log.info(
            "smtps.message",
            "ok",
            ss_sess=dialogue.id,
            ss_ta=ta.ta_id,
            client=dialogue.client_addr,
            ehlo=dialogue.ehlo,
            mail=mail,
            size=size,
            rcpts=ta.accepted,
            msgid=content.message_id,
            body=ta.params.body,
            ret=ta.params.ret,
            envid=ta.params.envid,
            auth=None if dialogue.auth is None else dialogue.auth.user,
            reply=reply.code,
        )
