"""The conversation with one SMTP client as its commands see it: state, transaction, queued replies, content bytes.

Replies are held until no complete command is left, so that a pipelined group is answered by one write (RFC 2920 3.2).
While a question to SMAR is open, everything that follows waits behind it in `waiting`, so that replies keep their order.

Ref: RFC 5321 4.1; MeTA1 design, "Functional Specification: SMTPS" (modelled on).
"""

import errno
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import TempError
from meta1g.base.events import EVENTS
from meta1g.base.ids import SessId
from meta1g.base.logkeys import Sev
from meta1g.base.logtext import LogValue
from meta1g.base.reply import Reply
from meta1g.base.tlsfacts import TlsInfo
from meta1g.rcb.smtps_qmgr import DiscardTransaction
from meta1g.rcb.smtps_smar import LookupFlags
from meta1g.smtp import replies
from meta1g.smtp.command import shown
from meta1g.smtps.context import Context
from meta1g.smtps.counting import Counter
from meta1g.smtps.filtering import SessionFilters
from meta1g.smtps.fsm import REFUSALS, TRANSITIONS, Event, State, next_state
from meta1g.smtps.limits import (
    CONTENT_GRACE_S,
    CONTENT_MIN_BYTES_PER_S,
    CONTENT_READ_BYTES,
    ENVELOPE_MAX_S,
    REPLIES_HELD_MAX,
)
from meta1g.smtps.received import ReceivedFrom
from meta1g.smtps.settings import Settings
from meta1g.smtps.transaction import Transaction
from meta1g.smtps.trust import Trust
from meta1g.st import NetFd, StError, st_checkpoint, st_read, st_write

_NEGATIVE = 400
_NOTHING: Mapping[str, str] = {}
_NO_TRUST = Trust(0)


def _is_slow(spent_s: float, received_bytes: int) -> bool:
    """Tells whether content comes too slowly."""
    return spent_s > CONTENT_GRACE_S + received_bytes / CONTENT_MIN_BYTES_PER_S


class ClientGoneError(Exception):
    """The client closed its connection."""


class OpenQuestion(Protocol):
    """A command whose reply depends on SMAR."""

    def settle(self, dialogue: "Dialogue") -> None:
        """Waits for the answer and replies.  Switches: yes (waits)."""
        ...


class ProbedQuestion(OpenQuestion, Protocol):
    """An RCPT whose address is to be probed."""

    def begin_probe(self, dialogue: "Dialogue", ta: Transaction) -> None:
        """Waits for SMAR, and lets the address be probed if nothing is against it.  Switches: yes (waits)."""
        ...


@dataclass(frozen=True, slots=True)
class Authenticated:
    """Who the client is.

    Args:
        user: name of the user.
        mechanism: of SASL.
        may_relay: the user may send anywhere.
    """

    user: str
    mechanism: str
    may_relay: bool


class OpenExchange(Protocol):
    """An exchange of SASL that is not over."""

    def close(self) -> None:
        """Ends it; again does nothing."""
        ...


@dataclass(slots=True)
class _Refusal:
    """A refusal that waits behind a question.  Owner: the state thread of the session."""

    event: str
    reply: Reply
    rule: str
    keys: dict[str, LogValue]

    def settle(self, dialogue: "Dialogue") -> None:
        """Lets it be told."""
        dialogue.refuse(self.event, self.reply, rule=self.rule, **self.keys)


class Dialogue(ABC):
    """The conversation with one client.

    Args:
        context: what the process shares.
        nfd: the connection.
        client_addr: address of the client in text form.

    Attributes:
        id: session id.
        client_name: name of the client's address, empty if it is not known.
        trust: what the other end of the connection may say of other clients.
        presented: what it said with XCLIENT.
        forwarded: what it said with XFORWARD of the client of the next message.
        state: of the session machine.
        ehlo: argument of EHLO or HELO.
        protocol: `SMTP`, `ESMTP` or `LMTP`.
        settings: those of the section, or of this client.
        flags: LookupFlags that hold for the session.
        generation: the connection to QMGR that knows the session.
        handshaking: a handshake of TLS is on its way; nothing is lost if it ends now.
        denial: what delayed checks will answer to each recipient.
        discard: accept and drop all messages.
        rule: the entry of a map that denial or discard comes from, `map key`.
        command: the last command, as it came.
        ta: the open transaction.
        tls: what was agreed on, None in clear.
        filters: what its mail passes; None if there are none.
        auth: who the client is, None as long as it has not said.
        exchange: the open exchange of SASL in state AUTH.
        mechanism: of the last exchange.
        auth_failures: exchanges that failed.
        hushed: unknown commands are not shown in the log: they may be parts of an exchange that was refused.
        transactions: how many there were.
        counter: negative replies so far.
        chunks_dropped: a message was refused before its last BDAT, so those that a pipelining client has sent are dropped;
            how many replies the last one gets then, else 0.
        mail_refused: the last MAIL was refused, so what a pipelining client sends behind it is refused, too.
        noops: commands since the last message that did not lead to one.
        to_verify: those of the batch whose addresses are to be probed.
        waiting: replies and questions of the current batch, in order, as long as a question is open.

    Owner: one state thread.
    """

    __slots__ = (
        "_buffer",
        "_nfd",
        "_offset",
        "_out",
        "auth",
        "auth_failures",
        "chunks_dropped",
        "client_addr",
        "client_name",
        "command",
        "context",
        "counter",
        "denial",
        "discard",
        "ehlo",
        "exchange",
        "filters",
        "flags",
        "forwarded",
        "generation",
        "handshaking",
        "hushed",
        "id",
        "mail_refused",
        "mechanism",
        "noops",
        "presented",
        "protocol",
        "rule",
        "settings",
        "state",
        "ta",
        "tls",
        "to_verify",
        "transactions",
        "trust",
        "waiting",
    )

    def __init__(self, context: Context, nfd: NetFd, client_addr: str) -> None:
        self.context = context
        self.id: SessId = context.ids.session()
        self.client_addr = client_addr
        self.client_name = ""
        self.trust = _NO_TRUST
        self.presented: Mapping[str, str] = _NOTHING
        self.forwarded: Mapping[str, str] = _NOTHING
        self.state = State.CONNECTED
        self.ehlo = ""
        self.protocol = "SMTP"
        self.settings = context.settings
        self.flags = int(self.settings.lookup_flags)
        self.generation = 0
        self.handshaking = False
        self.denial: Reply | None = None
        self.discard = False
        self.rule = ""
        self.command = b""
        self.ta: Transaction | None = None
        self.tls: TlsInfo | None = None
        self.filters: SessionFilters | None = None
        self.auth: Authenticated | None = None
        self.exchange: OpenExchange | None = None
        self.mechanism = ""
        self.auth_failures = 0
        self.hushed = False
        self.transactions = 0
        self.counter = Counter(self.settings.count_limits)
        self.chunks_dropped = 0
        self.mail_refused = False
        self.noops = 0
        self.to_verify: list[ProbedQuestion] = []
        self.waiting: list[Reply | OpenQuestion] = []
        self._nfd = nfd
        self._buffer = b""
        self._offset = 0
        self._out: list[bytes] = []

    def treat_as(self, settings: Settings) -> None:
        """Gives the client settings of its own; nothing has been counted or allowed yet."""
        self.settings = settings
        self.flags = int(settings.lookup_flags)
        self.counter = Counter(settings.count_limits)

    def step(self, event: Event) -> None:
        """Feeds an event to the machine."""
        self.state = next_state(self.state, event)

    def allowed(self, event: Event) -> bool:
        """Tells whether a command fits the state; refuses it if not."""
        if (self.state, event) in TRANSITIONS:
            return True
        self.reply(self.out_of_sequence(event))
        return False

    def out_of_sequence(self, event: Event) -> Reply:
        """Gives what a client is told whose command does not fit the state."""
        refusal = REFUSALS.get((self.state, event), replies.BAD_SEQUENCE)
        if refusal is replies.MAIL_FIRST and self.mail_refused:
            return replies.SENDER_REFUSED
        return replies.LHLO_FIRST if refusal is replies.HELO_FIRST and self.settings.lmtp else refusal

    def reply(self, reply: Reply) -> None:
        """Queues a reply; a negative one is the refusal of a command."""
        if reply.code >= _NEGATIVE:
            self.refuse("smtps.command_refused", reply, command=shown(self.command))
        elif self.waiting:
            self.waiting.append(reply)
        else:
            self._out.append(reply.encode())

    def refuse(self, event: str, reply: Reply, *, rule: str = "", **keys: LogValue) -> None:
        """Logs a refusal and queues its reply; 421 ends the session, and so do too many refusals of a kind.

        Args:
            event: what was refused, see events.EVENTS.
            reply: what the client is told.
            rule: the entry of a map that it comes from, `map key`, empty if it comes from none.
            keys: whom or what it concerns.
        """
        if self.waiting:
            self.waiting.append(_Refusal(event, reply, rule, keys))
            return
        said = self.said(reply)
        self.log_refusal(event, said, rule=rule, **keys)
        self._out.append(said.encode())
        if reply.code == replies.SHUTTING_DOWN.code:
            self.step(Event.CLOSE)
            return
        last_words = self.counter.add(reply)
        if last_words is not None:
            self.refuse("smtps.too_many", last_words, limit=self.counter.limit_of(reply))

    def answer_message(self, reply: Reply, times: int) -> None:
        """Answers the end of a message, so many times; a refusal has been told already."""
        self.noops = 0
        if reply.is_ok:
            self.counter.forget()
            for _ in range(times):
                self.reply(reply)

    def foretell(self, reply: Reply, times: int) -> None:
        """Queues a refusal so many times before the one that is logged and counted: for each recipient but the last."""
        self._out.extend([self.said(reply).encode()] * times)

    def log_refusal(self, event: str, reply: Reply, *, rule: str = "", **keys: LogValue) -> None:
        """Writes the line of a refusal: who, what, why; arguments as those of refuse()."""
        table, _, key = rule.partition(" ")
        write = self.context.log.info if EVENTS[event].sevr is Sev.INFO else self.context.log.notice
        write(
            event,
            str(reply),
            ss_sess=self.id,
            client=self.client_addr,
            client_name=self.client_name or None,
            ehlo=self.ehlo or None,
            reply=reply.code,
            ecode=reply.ecode or None,
            map=table or None,
            key=key or None,
            **keys,
        )

    def said(self, reply: Reply) -> Reply:
        """Gives a reply as the client hears it: with soft_bounce nothing is refused for ever."""
        return reply.softened() if self.settings.soft_bounce else reply

    def flush(self) -> None:
        """Sends all queued replies by one write.  Switches: yes (write)."""
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            st_write(self._nfd, data, self.settings.io_timeout_us)

    def flush_if_many(self) -> None:
        """Sends queued replies if a client sends commands without end.  Switches: yes (write)."""
        if len(self._out) > REPLIES_HELD_MAX:
            self.flush()

    def reset(self) -> None:
        """Forgets the open transaction, here and at QMGR.  Switches: yes, if content has come by BDAT (disk)."""
        ta, self.ta = self.ta, None
        if self.filters is not None:
            self.filters.abort()
        if ta is None:
            return
        if ta.chunks is not None:
            ta.chunks.abort()
        qmgr = self.context.qmgr
        qmgr.forget(ta.ta_id)
        if ta.generation == qmgr.generation:
            try:
                qmgr.post(DiscardTransaction(ta_id=ta.ta_id))
            except TempError:
                return  # QMGR forgot it with the connection

    def forget_mail(self) -> None:
        """Forgets the transaction, whether its MAIL or its content was refused, and for whom it came.

        Switches: yes, as reset().
        """
        self.mail_refused, self.chunks_dropped = False, 0
        self.forwarded = _NOTHING
        self.reset()

    @property
    def nfd(self) -> NetFd:
        """The connection."""
        return self._nfd

    def secured(self, info: TlsInfo) -> None:
        """Begins anew under TLS: what the client said before is forgotten (RFC 3207 4.2).

        Switches: yes, as reset().
        """
        self.forget_mail()
        self.ehlo, self.protocol, self.tls = "", "SMTP", info
        self.auth = None
        self.flags &= ~LookupFlags.AUTHENTICATED
        self.step(Event.TLS)

    def end_exchange(self) -> None:
        """Ends the open exchange of SASL; without one does nothing."""
        open_one, self.exchange = self.exchange, None
        if open_one is not None:
            open_one.close()
            self.hushed = True
            if self.state is State.AUTH:
                self.step(Event.AUTH_END)

    @property
    def overrules(self) -> bool:
        """Whether the client overrules denials that were delayed: it has shown who it is, and may relay (MeTA1)."""
        return self.auth is not None and self.auth.may_relay

    def origin(self) -> ReceivedFrom:
        """Gives the facts for the Received header."""
        tls = self.tls
        protocol = self.protocol
        if protocol != "SMTP":  # RFC 3848: HELO has no such forms
            protocol += ("" if tls is None else "S") + ("" if self.auth is None else "A")
        return ReceivedFrom(self.ehlo, self.client_name, self.client_addr, protocol, "" if tls is None else tls.clause)

    @abstractmethod
    def admission(self) -> Reply | None:
        """Gives the reason why the session may not send mail, or None.  Switches: yes, unless QMGR has answered (waits)."""

    @abstractmethod
    def begin_anew(self, client_addr: str) -> None:
        """Goes on as the session of another client, about whom nothing is known yet; the greeting is to follow.

        Switches: yes, as forget_mail().
        """

    @abstractmethod
    def greet(self) -> None:
        """Asks whether the client may stay, and greets it or sends it away.  Switches: yes (questions)."""

    # for the content

    def take_rest(self) -> bytes:
        """Gives the bytes that came with the last command."""
        rest, self._buffer, self._offset = self._buffer[self._offset :], b"", 0
        return rest

    def take(self, size: int) -> bytes:
        """Gives at most so many of the bytes that came with the last command."""
        taken = self._buffer[self._offset : self._offset + size]
        self._offset += len(taken)
        return taken

    def give_back(self, rest: bytes) -> None:
        """Takes back the bytes after the end of the content."""
        self._buffer, self._offset = rest, 0

    def read_content(self, begun_s: float, received_bytes: int) -> bytes:
        """Reads more content.  Switches: yes (read).

        Args:
            begun_s: monotonic time of 354.
            received_bytes: what has come since then.

        Raises:
            ClientGoneError: the connection was closed.
            StError: ETIME when nothing came in time, or too little since the beginning.
        """
        if _is_slow(self.context.clock.monotonic() - begun_s, received_bytes):
            raise StError(errno.ETIME, "content comes too slowly")
        data = st_read(self._nfd, CONTENT_READ_BYTES, self.settings.io_timeout_us)
        if not data:
            raise ClientGoneError
        return data

    def takes_too_long(self, now_s: float) -> bool:
        """Tells whether the client has used up the total time of an envelope, or of content that comes by BDAT."""
        ta = self.ta
        if ta is None:
            return False
        chunks = ta.chunks
        return now_s - ta.started_s > ENVELOPE_MAX_S if chunks is None else _is_slow(now_s - chunks.begun_s, chunks.octets)

    def settle(self) -> None:
        """Answers all questions of the batch in order.  Switches: yes (waits for SMAR)."""
        if not self.waiting:
            return
        batch, self.waiting = self.waiting, []
        for item in batch:
            st_checkpoint()
            if self.state is State.CLOSING:
                return
            if isinstance(item, Reply):
                self._out.append(item.encode())
            else:
                item.settle(self)
