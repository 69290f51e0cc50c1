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

from meta1g.base.errors import TempError
from meta1g.base.ids import CdbId
from meta1g.base.reply import Reply
from meta1g.rcb.smtps_qmgr import CloseTransaction
from meta1g.smtp import replies
from meta1g.smtp.address import AddressError, parse_path
from meta1g.smtp.completion import Missing
from meta1g.smtp.data import Unstuffer
from meta1g.smtp.limits import TEXT_LINE_MAX_BYTES
from meta1g.smtps.dialogue import Dialogue
from meta1g.smtps.filtering import ContentWatch
from meta1g.smtps.fsm import Event
from meta1g.smtps.incomingcontent import IncomingContent
from meta1g.smtps.received import received
from meta1g.smtps.relayed import tell_forwarded
from meta1g.smtps.transaction import Transaction
from meta1g.st import StError


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
        sender = _responsible(dialogue, ta) if settings.completion.sender else ""
        missing = Missing(f"<{ta.ta_id}@{settings.hostname}>", date, ta.mail.text, sender)
    return IncomingContent(context, settings, CdbId(ta.ta_id), trace, missing)


def _responsible(dialogue: Dialogue, ta: Transaction) -> str:
    """Gives who sends a message, whoever has written it: the user that the client is, if its name is an address."""
    try:
        return ta.mail.text if dialogue.auth is None else parse_path(dialogue.auth.user).text
    except AddressError:
        return ta.mail.text


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
        tls_optional=content.tls_optional and not ta.params.requiretls,
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
    if dialogue.filters is not None and dialogue.filters.announced is not None:
        mail = dialogue.filters.announced.mail  # they may have set another one
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
