"""The client's half of SMTP and LMTP without I/O: what is to be said goes out, replies go in, outcomes are kept.

    group() -> bytes to send      reply(...) <- the next reply      lost(...) <- the connection is over

The session (session.py) sends, reads and waits; it has no opinion.  Commands of one group leave in one write if the server
knows PIPELINING, otherwise one by one; replies are read in order.

Invariants: a recipient is accepted only by the 2xx that answers the final dot.  What a server said about a recipient stays what
it is, whatever becomes of the session afterwards; the failure of the session is for those it said nothing about.
Pure.  Owner: the session.
Ref: RFC 5321 3.3, 3.8, 4.1, 4.5.3.1.10; RFC 2920 3.1 (PIPELINING); RFC 2033 (LMTP); RFC 4954 (AUTH); RFC 9422 (LIMITS).
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import Reply
from meta1g.rcb.smtpc_qmgr import Deliver, DeliverRcpt, Retry
from meta1g.smtp.chunks import ChunkSender
from meta1g.smtp.data import Stuffer
from meta1g.smtp.esmtp import BINARY, DeliverBy, Ext, Extensions, parse_ehlo
from meta1g.smtpc import fsm
from meta1g.smtpc.fsm import Event, State, Verb, event_of, next_state
from meta1g.smtpc.limits import PIPELINE_MAX_COMMANDS
from meta1g.smtpc.parameters import mail_command, rcpt_command
from meta1g.smtpc.serverlimits import NO_LIMITS, parse_limits
from meta1g.smtpc.status import DeliveryStatus

_IN_TRANSACTION: Final = (State.MAIL, State.RCPT, State.DATA, State.CONTENT, State.DOT)
_ENDS: Final = (Verb.DOT, Verb.LAST)
_LIMIT_CODES: Final = (fsm.TOO_MANY_RCPTS, fsm.TOO_MANY_RCPTS_RFC821)
#: Enhanced codes of "too many recipients"; a server that has none says nothing against it.
_LIMIT_ECODES: Final = ("", "4.5.3", "5.5.3")


@dataclass(frozen=True, slots=True)
class Group:
    """What leaves in one write: bytes, what they are for, and how many replies are owed for them."""

    data: bytes
    doing: str
    replies: int


_Command = tuple[Verb, DeliverRcpt | None]


def _about_us(verb: Verb, reply: Reply) -> Reply:
    """Gives words of ours about a refusal of ourselves, who can be told another login.

    They are temporary, and quote nobody (invariant I14): what is passed on as an answer has the code that the server said.
    """
    if not reply.is_perm:
        return reply
    ecode = f"4{reply.ecode[1:]}" if reply.ecode else "4.7.0"
    return Reply(451, ecode, f"{reply.origin}: {verb.value}: {reply}")


class Talk:
    """One connection's worth of commands and replies.

    Args:
        hostname: what we call ourselves.
        server: how the server is named in texts of our own.
        lmtp: it is LMTP.
        pipelining: PIPELINING may be used if the server offers it.
        chunking: so may CHUNKING; a binary body needs it.

    Attributes:
        state: where the session stands.
        extensions: what the server offers.
        challenge: what the server wants to have answered, in state CHALLENGED.
        demands: the server wants AUTH or STARTTLS first.
        failure: why the session cannot be used any more, or None.
        stale: nothing was asked yet that another session could not ask at once: the server had ended this one, or takes no more
            messages in it.
        tls_refusal: what the server says instead of beginning TLS, or None.
    """

    __slots__ = (
        "_accepted",
        "_by",
        "_chunking",
        "_ehlo_refused",
        "_hostname",
        "_job",
        "_limits",
        "_lmtp",
        "_owed",
        "_own_line",
        "_pipelining",
        "_served",
        "_server",
        "_status",
        "_to_say",
        "_transactions",
        "challenge",
        "demands",
        "extensions",
        "failure",
        "stale",
        "state",
        "tls_refusal",
    )  # fmt: skip

    def __init__(self, hostname: str, server: str, *, lmtp: bool, pipelining: bool, chunking: bool = True) -> None:
        self.state = State.CONNECTING
        self.extensions = Extensions()
        self.challenge = ""
        self.demands = False
        self.failure: Reply | None = None
        self.stale = False
        self.tls_refusal: Reply | None = None
        self._hostname = hostname
        self._server = server
        self._lmtp = lmtp
        self._pipelining = pipelining
        self._chunking = chunking
        self._to_say: deque[_Command] = deque()
        self._owed: deque[_Command] = deque()
        self._ehlo_refused: Reply | None = None
        self._job: Deliver | None = None
        self._by: DeliverBy | None = None
        self._status = DeliveryStatus()
        self._accepted: list[DeliverRcpt] = []
        self._own_line = ""
        self._limits = NO_LIMITS
        self._transactions = 0
        self._served = False

    @property
    def owed(self) -> Verb | None:
        """What the next reply will answer, None if none is waited for."""
        return self._owed[0][0] if self._owed else None

    @property
    def is_used_up(self) -> bool:
        """Whether the server takes no more transactions over this connection (RFC 9422, MAILMAX)."""
        return 0 < self._limits.transactions <= self._transactions

    @property
    def reused(self) -> bool:
        """Whether this connection has had a transaction before the one at hand."""
        return self._transactions > 1

    # -- what the session wants ----------------------------------------------------------------------------------------

    def connected(self) -> None:
        """Notes that there is a connection; the greeting is waited for."""
        self._feed(Event.CONNECTED)
        self._owed.append((Verb.BANNER, None))

    def starttls(self) -> None:
        """Lets STARTTLS be said; the state must be READY."""
        self._feed(Event.SEND_STARTTLS)
        self._to_say.append((Verb.STARTTLS, None))

    def secured(self) -> None:
        """Introduces us anew: what the server said in clear is forgotten (RFC 3207 4.2).  The state must be SECURING."""
        self._feed(Event.SECURED)
        self.extensions, self._limits, self._ehlo_refused = Extensions(), NO_LIMITS, None
        self._say_hello(Verb.LHLO if self._lmtp else Verb.EHLO)

    def auth(self, command: str) -> None:
        """Lets AUTH be said; the state must be READY.  A refusal ends the session: the server knows us by our login."""
        self._feed(Event.SEND_AUTH)
        self._say_auth(command)

    def respond(self, line: str) -> None:
        """Lets the answer to a challenge be said; the state must be CHALLENGED."""
        self._feed(Event.SEND_RESPONSE)
        self._say_auth(line)

    def _say_auth(self, line: str) -> None:
        self._own_line, self.challenge = line, ""
        self._to_say.append((Verb.AUTH, None))

    def forward(self, command: str) -> None:
        """Lets XFORWARD be said; the state must be READY.  A refusal changes nothing."""
        self._feed(Event.SEND_XFORWARD)
        self._own_line = command
        self._to_say.append((Verb.XFORWARD, None))

    def begin(self, job: Deliver, status: DeliveryStatus, by: DeliverBy | None = None) -> None:
        """Begins a transaction; its outcomes go to status, by is what is left of its time.  The state must be READY."""
        self._feed(Event.SEND_MAIL)
        self._transactions += 1
        self._job, self._status, self._accepted, self._by = job, status, [], by
        self._to_say.append((Verb.MAIL, None))
        rcpts: Sequence[DeliverRcpt] = job.rcpts
        if self._limits is not NO_LIMITS:
            rcpts, left = self._limits.first(job.rcpts)
            self._leave(left)
        self._to_say.extend((Verb.RCPT, rcpt) for rcpt in rcpts)

    def _leave(self, rcpts: Sequence[DeliverRcpt]) -> None:
        """Leaves recipients to another transaction: the server has said how many it takes."""
        reply = Reply(452, "4.5.3", f"{self._server} takes no more in one transaction, by its LIMITS")
        for rcpt in rcpts:
            self._status.rcpts[rcpt.rcpt_idx] = reply
            self._status.retry[rcpt.rcpt_idx] = Retry.NEXT_TRANSACTION

    @property
    def accepted(self) -> tuple[DeliverRcpt, ...]:
        """The recipients of the transaction at hand that the server took."""
        return tuple(self._accepted)

    @property
    def by_chunk(self) -> bool:
        """Whether the content of the transaction at hand goes by BDAT."""
        job = self._job
        wanted = job is not None and (job.body == BINARY or (self._chunking and not job.probe))
        return wanted and self.extensions.has(Ext.CHUNKING)

    def without_chunks(self) -> None:
        """Lets content go by DATA from now on: nobody knows its size before."""
        self._chunking = False

    def outlet(self, size_bytes: int) -> Stuffer | ChunkSender:
        """Gives what makes content of a size ready to be sent: with dots stuffed behind DATA, as it is behind BDAT."""
        if self._job is None or not self.by_chunk:
            return Stuffer()
        return ChunkSender(f"BDAT {size_bytes} LAST\r\n".encode(), size_bytes, binary=self._job.body == BINARY)

    @property
    def dot_replies(self) -> int:
        """How many replies the end of the content will get."""
        return len(self._accepted) if self._lmtp else 1

    def sent_dot(self) -> None:
        """Notes that all of the content went, with the final dot if it went by DATA; the state must be CONTENT."""
        self._feed(Event.SENT_DOT)
        rcpts: list[DeliverRcpt | None] = [*self._accepted] if self._lmtp else [None]
        end = Verb.LAST if self.by_chunk else Verb.DOT
        self._owed.extend((end, rcpt) for rcpt in rcpts)

    def reset(self) -> None:
        """Lets RSET be said; the state must be READY or DIRTY."""
        self._feed(Event.SEND_RSET)
        self._to_say.append((Verb.RSET, None))

    def quit(self) -> None:
        """Lets QUIT be said; the state must be READY, DIRTY or LEAVING."""
        self._feed(Event.SEND_QUIT)
        self._to_say.append((Verb.QUIT, None))

    def drop(self) -> None:
        """Ends the session for a reason of our own: what is known of recipients stays, nobody else gets an outcome."""
        self._feed(Event.LOST)
        self._to_say.clear()
        self._owed.clear()

    # -- out -----------------------------------------------------------------------------------------------------------

    def group(self) -> Group | None:
        """Gives what is to be sent next, None if replies have to come first or there is nothing to say."""
        if self._owed or not self._to_say:
            return None
        pipelining = self.extensions.has(Ext.PIPELINING)
        for _ in range(min(len(self._to_say), PIPELINE_MAX_COMMANDS if pipelining else 1)):
            self._owed.append(self._to_say.popleft())
        data_follows = pipelining and not self._probes and not self.by_chunk
        if data_follows and not self._to_say and self.state in (State.MAIL, State.RCPT) and self._owed[-1][0] is not Verb.DATA:
            self._owed.append((Verb.DATA, None))
        lines = [self._line(verb, rcpt) for verb, rcpt in self._owed]
        return Group("".join(lines).encode(), self._owed[0][0].value, len(lines))

    def _line(self, verb: Verb, rcpt: DeliverRcpt | None) -> str:
        """Gives a command as it is sent."""
        if verb is Verb.RCPT and rcpt is not None:
            line = rcpt_command(rcpt, self.extensions)
        elif verb is Verb.MAIL and self._job is not None:
            line = mail_command(self._job, self.extensions, self._by)
        elif verb is Verb.EMPTY:
            self._feed(Event.SENT_DOT)
            line = "."
        elif verb in (Verb.AUTH, Verb.XFORWARD):
            line, self._own_line = self._own_line, ""
        elif verb in (Verb.EHLO, Verb.HELO, Verb.LHLO):
            line = f"{verb.value} {self._hostname}"
        else:
            line = verb.value
        return line + "\r\n"

    # -- in ------------------------------------------------------------------------------------------------------------

    def reply(self, reply: Reply) -> None:
        """Takes the next reply; one must be owed."""
        verb, rcpt = self._owed[0]
        event = event_of(verb, reply.code)
        if verb is Verb.DATA and self.state is State.RCPT:
            self._feed(Event.SEND_DATA)
        if event is Event.LOST:
            self.lost(reply if reply.code == fsm.SHUTTING_DOWN else self._unexpected(verb, reply))
            return
        if not (self.state is State.DOT and event is Event.GO_ON):
            self._owed.popleft()
            self._note(verb, rcpt, reply)
        self._feed(Event.ONE_RCPT if verb in _ENDS and self._owed and event is not Event.GO_ON else event)
        self._advance(verb, reply)

    def _note(self, verb: Verb, rcpt: DeliverRcpt | None, reply: Reply) -> None:
        """Keeps what a reply says about the transaction or its recipients."""
        status = self._status
        if reply.code == fsm.AUTH_REQUIRED:  # about us, and we can be told a login: nobody is refused for good
            reply, self.demands = _about_us(verb, reply), True
        if verb is Verb.STARTTLS and not reply.is_ok:
            self.tls_refusal = reply
        elif verb is Verb.MAIL and not reply.is_ok:
            status.transaction = reply
            self.stale = (reply.is_temp and self._served) or (reply.code == fsm.BAD_SEQUENCE and self.reused)
        elif verb is Verb.RCPT and rcpt is not None and status.transaction is None:
            self._note_rcpt(rcpt, reply)
        elif verb is Verb.DATA and not reply.is_more:
            self._decide(self._accepted, self._unexpected(verb, reply) if reply.is_ok else reply)
        elif verb in _ENDS:
            self._decide(self._accepted if rcpt is None else (rcpt,), reply)
            self._served = self._served or reply.is_ok

    def _note_rcpt(self, rcpt: DeliverRcpt, reply: Reply) -> None:
        if reply.is_ok and not self._probes:
            self._accepted.append(rcpt)
            return
        self._status.rcpts[rcpt.rcpt_idx] = reply
        if reply.code not in _LIMIT_CODES:
            return
        if not self._accepted or reply.ecode not in _LIMIT_ECODES:
            self._status.retry[rcpt.rcpt_idx] = Retry.LATER
            return
        self._status.retry[rcpt.rcpt_idx] = Retry.OTHER_TRANSACTION
        for _, other in self._to_say:  # those who were not asked for yet would hear the same
            if other is not None:
                self._status.rcpts[other.rcpt_idx] = reply
                self._status.retry[other.rcpt_idx] = Retry.OTHER_TRANSACTION
        self._to_say.clear()

    def _decide(self, rcpts: Sequence[DeliverRcpt], reply: Reply) -> None:
        """Keeps the outcome of recipients that have none yet."""
        for rcpt in rcpts:
            self._status.rcpts.setdefault(rcpt.rcpt_idx, reply)

    def _advance(self, verb: Verb, reply: Reply) -> None:
        """Decides what is said next."""
        state = self.state
        if state is State.GREETED:
            self._greeted(reply, again=verb is Verb.EHLO)
        elif state is State.LEAVING:
            about_us = verb is Verb.AUTH or reply.code == fsm.AUTH_REQUIRED
            self.failure = _about_us(verb, reply) if about_us else reply
        elif state is State.CHALLENGED:
            self.challenge = reply.one_line
        elif state is State.READY and verb in (Verb.EHLO, Verb.LHLO):
            offered = parse_ehlo(reply)
            self.extensions = offered if self._pipelining else offered.without(Ext.PIPELINING)
            if (limits := offered.keywords.get(Ext.LIMITS.value)) is not None:
                self._limits = parse_limits(limits)
        elif state is State.RCPT and not self._owed:
            self._envelope_goes_on()
        elif state is State.CONTENT and not self._receives:
            self._nothing_to_send()

    @property
    def _probes(self) -> bool:
        """Whether the server is only asked about the recipient: what it says at RCPT is all that is wanted."""
        return self._job is not None and self._job.probe

    @property
    def _receives(self) -> bool:
        """Whether there is a recipient to send content for."""
        return self._status.transaction is None and bool(self._accepted)

    def _greeted(self, reply: Reply, *, again: bool) -> None:
        """Introduces us: by EHLO, then by HELO if that is refused; LHLO has no second try (RFC 2033 4.1)."""
        if again and reply.code not in fsm.NOT_UNDERSTOOD:
            self._ehlo_refused = reply
        self._say_hello(Verb.LHLO if self._lmtp else Verb.HELO if again else Verb.EHLO)

    def _say_hello(self, verb: Verb) -> None:
        self._feed(Event.SEND_HELLO)
        self._to_say.append((verb, None))

    def _envelope_goes_on(self) -> None:
        """Goes on to the content if all have been answered and somebody is accepted; a refused MAIL ends the envelope."""
        if self._status.transaction is not None:
            self._to_say.clear()
        if self._to_say:
            return
        if self._receives and self.by_chunk:
            self._feed(Event.SEND_CHUNK)
        elif self._receives:
            self._feed(Event.SEND_DATA)
            self._to_say.append((Verb.DATA, None))
        else:
            self._feed(Event.NO_RCPT)

    def _nothing_to_send(self) -> None:
        """Nobody was accepted, yet the server wants content: an empty message is refused or dropped (RFC 2920 3.1).

        An LMTP server owes no reply for it (RFC 2033 4.2), so the session ends.
        """
        if self._lmtp:
            self.drop()
        else:
            self._to_say.append((Verb.EMPTY, None))

    # -- the end -------------------------------------------------------------------------------------------------------

    def lost(self, why: Reply) -> None:
        """Takes note that the connection is of no further use.

        After the dot nobody knows what became of the message: those without an answer have this as their own outcome.  What a
        server said while content went to it is an answer to all who were accepted, unless it is 421.  Otherwise it is the
        failure of the session, for those about whom nothing was said.

        Args:
            why: what the server said, or what happened.
        """
        state, status = self.state, self._status
        self.failure = self._ehlo_refused if state is State.HELLO and self._ehlo_refused and not why.origin else why
        self.stale = self.stale or (state is State.MAIL and self.reused)
        self.drop()
        if state not in _IN_TRANSACTION or self._job is None:
            return
        if state is State.DOT or (state is State.CONTENT and why.origin and why.code != fsm.SHUTTING_DOWN):
            self._decide(self._accepted, why)
        if status.transaction is None and len(status.rcpts) < len(self._job.rcpts):
            status.session = why

    def _unexpected(self, verb: Verb, reply: Reply) -> Reply:
        return Reply(451, "4.5.0", f"{self._server}: {verb.value}: unexpected reply {reply}")

    def _feed(self, event: Event) -> None:
        self.state = next_state(self.state, event)
