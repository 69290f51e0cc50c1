"""BDAT: a message in chunks of announced length.

Invariant: the octets that BDAT announces are never read as commands (I6): those of a chunk that is refused are read and dropped
before the reply, and a BDAT whose length is not understood ends the session.

Ref: RFC 3030 2, 3 and 4.
"""

from collections.abc import Iterator

from meta1g.base.reply import Reply
from meta1g.smtp import replies
from meta1g.smtp.chunks import Chunk, Joiner, parse_chunk
from meta1g.smtp.command import shown
from meta1g.smtp.esmtp import BINARY, Ext
from meta1g.smtp.limits import TEXT_LINE_MAX_BYTES
from meta1g.smtps import content
from meta1g.smtps.dialogue import Dialogue
from meta1g.smtps.fsm import TRANSITIONS, Event, State
from meta1g.smtps.transaction import Transaction


class ChunkedMessage:
    """A message that comes by BDAT.

    Args:
        dialogue: the session.
        ta: its transaction.

    Attributes:
        begun_s: monotonic time of the first BDAT.
        octets: what has come.
        content: where it goes.

    Owner: the state thread of the session.
    """

    __slots__ = ("_filtered", "_joiner", "begun_s", "content", "octets")

    def __init__(self, dialogue: Dialogue, ta: Transaction) -> None:
        line_bytes = TEXT_LINE_MAX_BYTES if dialogue.settings.strict_lines else 0
        self._joiner = Joiner(binary=ta.params.body == BINARY, max_line_bytes=line_bytes)
        self.begun_s = dialogue.context.clock.monotonic()
        self.octets = 0
        self.content = content.new_content(dialogue, ta)
        self._filtered = None if dialogue.filters is None else dialogue.filters.watch(ta, self.content)

    def abort(self) -> None:
        """Forgets what has come.  Switches: yes, if there is a file (disk)."""
        self.content.abort()

    def take(self, dialogue: Dialogue, chunk: Chunk) -> None:
        """Takes the octets of a chunk; what is wrong with the message is in content.refusal then.  Switches: yes (network)."""
        limit = dialogue.settings.max_message_bytes
        if limit and self.octets + chunk.size_bytes > limit:
            self.content.refuse(replies.TOO_BIG)
        for data in _octets(dialogue, chunk.size_bytes, self.begun_s, self.octets):
            self.octets += len(data)
            self._add(self._joiner.feed(data))
        if chunk.last and self.content.refusal is None:
            self._add(self._joiner.finish())
            self.content.check_header()
            if self._filtered is not None:
                self._filtered.complete()

    def _add(self, piece: bytes) -> None:
        """Switches: yes, if there are filters (network) or much is held (disk)."""
        if self._joiner.bare:
            self.content.refuse(replies.BARE_LINE_END)
        elif self._joiner.long_line:
            self.content.refuse(replies.TEXT_LINE_TOO_LONG)
        self.content.add(piece)
        if self._filtered is not None:
            self.begun_s += self._filtered.feed(piece)  # what filters take is not the client's time


def bdat(dialogue: Dialogue, argument: str) -> None:
    """Takes a chunk; closes the transaction with the last one.  Switches: yes (network, disk, QMGR).

    Raises:
        ClientGoneError, StError: as content.receive(); the transaction is forgotten with the session.
    """
    chunk = parse_chunk(argument)
    if chunk is None:
        dialogue.reply(replies.BAD_CHUNK)
        dialogue.step(Event.CLOSE)
        return
    refusal, ta = _refusal(dialogue), dialogue.ta
    if refusal is not None or ta is None:
        _refuse(dialogue, chunk, refusal or replies.MAIL_FIRST)
        return
    message = ta.chunks
    if not isinstance(message, ChunkedMessage) and dialogue.filters is not None:
        ta.refused = dialogue.filters.data(ta)
        if ta.refused is not None:
            _refuse(dialogue, chunk, ta.refused, dialogue.filters.rule)
            return
    if not isinstance(message, ChunkedMessage):
        message = ta.chunks = ChunkedMessage(dialogue, ta)
        dialogue.context.qmgr.announce()
    dialogue.step(Event.CHUNK)
    message.take(dialogue, chunk)
    if chunk.last or message.content.refusal is not None or ta.refused is not None:
        dialogue.step(Event.LAST)
        ta.chunks = None  # whoever closes the transaction takes care of the content
        dialogue.chunks_dropped = 0 if chunk.last else content.replies_due(dialogue, ta)
        dialogue.answer_message(content.close(dialogue, ta, message.content), content.replies_due(dialogue, ta))
    else:
        dialogue.reply(Reply(250, "2.0.0", f"{chunk.size_bytes} octets received"))


def _refusal(dialogue: Dialogue) -> Reply | None:
    """Gives the reason why no chunk can be taken now, or None."""
    ta, state = dialogue.ta, dialogue.state
    if Ext.CHUNKING not in dialogue.settings.offered_names:
        return replies.NOT_IMPLEMENTED
    if dialogue.chunks_dropped:
        return replies.CHUNK_DROPPED
    if state is State.MAIL and ta is not None and ta.failed:
        return replies.RCPT_FIRST if dialogue.settings.lmtp else replies.NO_VALID_RCPTS  # RFC 2033 4.2
    if (state, Event.CHUNK) not in TRANSITIONS or ta is None:
        return dialogue.out_of_sequence(Event.CHUNK)
    if ta.generation != dialogue.context.qmgr.generation:
        return replies.QUEUE_AWAY
    return ta.refused if ta.chunks is None else None


def _refuse(dialogue: Dialogue, chunk: Chunk, refusal: Reply, rule: str = "") -> None:
    """Drops the octets of a chunk and says why.  Switches: yes (network)."""
    for _ in _octets(dialogue, chunk.size_bytes, dialogue.context.clock.monotonic(), 0):
        pass
    ta = dialogue.ta
    due = dialogue.chunks_dropped or (0 if ta is None else content.replies_due(dialogue, ta))
    if chunk.last and due > 1:
        dialogue.foretell(refusal, due - 1)
    if ta is not None and refusal is ta.refused:
        dialogue.reset()
        dialogue.step(Event.RESET)
        dialogue.chunks_dropped = 0 if chunk.last else due
        dialogue.refuse("smtps.command_refused", refusal, rule=rule, command="BDAT", ss_ta=ta.ta_id, mail=ta.mail.text)
        return
    if chunk.last:
        dialogue.chunks_dropped = 0
    dialogue.refuse("smtps.command_refused", refusal, command=shown(dialogue.command))


def _octets(dialogue: Dialogue, size: int, begun_s: float, before: int) -> Iterator[bytes]:
    """Gives the octets of a chunk as they come; what follows them stays where it is.

    Args:
        dialogue: the session; its replies leave before it waits.
        size: how many there are.
        begun_s: monotonic time of the first BDAT.
        before: octets that have come since then.

    Raises:
        ClientGoneError, StError: as read_content().

    Switches: yes (read), unless all of them are there.
    """
    left = size
    data = dialogue.take(left)
    while True:
        left -= len(data)
        if data:
            yield data
        if not left:
            return
        dialogue.flush()
        data = dialogue.read_content(begun_s, before + size - left)
        if len(data) > left:
            dialogue.give_back(data[left:])
            data = data[:left]
