"""One session with an SMTP or LMTP server: greeting, transactions one after the other, QUIT.

Commands of one group leave in one write if the server knows PIPELINING, otherwise one by one; replies are read in order.
What a server does wrong costs this session, nothing else.

Invariants: a recipient is reported as delivered only after the 2xx that answers the final dot.  The final dot goes only
after all of the content went and was found to be what was accepted (I3); if it was not, the connection is closed before the
dot, and the server drops the part that it has (RFC 5321 3.8, 4.1.4).
Ref: RFC 5321 3.3, 4.1, 4.5.3.2; RFC 2920 (PIPELINING); RFC 2033 (LMTP); RFC 3461 4 (DSN parameters).
"""

from collections.abc import Sequence
from typing import Final

from meta1g.base.clock import Clock
from meta1g.base.errors import TempError
from meta1g.base.reply import Reply
from meta1g.db.cdb import ContentError
from meta1g.rcb.common import DeliveryAgent, ServerAddr
from meta1g.rcb.smtpc_qmgr import Deliver
from meta1g.smtp.data import Stuffer
from meta1g.smtpc.connection import Connection
from meta1g.smtpc.content import Content
from meta1g.smtpc.fsm import Event, State, next_state
from meta1g.smtpc.limits import DELIVERY_MAX_S, MICROSECONDS, PIPELINE_MAX_COMMANDS, PROBE_AFTER_IDLE_S, QUIT_TIMEOUT_S
from meta1g.smtpc.parameters import mail_command, rcpt_command, refusal
from meta1g.smtpc.settings import Settings
from meta1g.smtpc.status import DeliveryStatus, SessionError, reported, where
from meta1g.st import st_utime

_SHUTTING_DOWN: Final = 421


class Session:
    """A session with one server.

    Args:
        session_id: id that QMGR gave it.
        server: where to connect.
        da: a DeliveryAgent.
        settings: configuration of SMTPC.
        clock: for the age of an idle session.

    Owner: one state thread (its own, see client.py).
    """

    __slots__ = ("_clock", "_connection", "_da", "_settings", "extensions", "idle_since", "server", "session_id", "state")

    def __init__(self, session_id: str, server: ServerAddr, da: int, settings: Settings, clock: Clock) -> None:
        self.session_id = session_id
        self.server = server
        self._da = da
        self._settings = settings
        self._clock = clock
        self._connection: Connection | None = None
        self.state = State.CONNECTING
        self.extensions: dict[str, str] = {}
        self.idle_since = 0.0

    @property
    def connection(self) -> Connection:
        """The open connection.

        Raises:
            SessionError: there is none.
        """
        if self._connection is None:
            raise SessionError(Reply(451, "4.4.2", f"{where(self.server)}: session is closed"), stale=True)
        return self._connection

    @property
    def is_open(self) -> bool:
        """Tells whether another transaction can be tried."""
        connection = self._connection
        return connection is not None and connection.in_step and self.state in (State.READY, State.DIRTY)

    # -- opening ----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connects, reads the greeting and introduces ourselves.

        Raises:
            SessionError: the server cannot be used; the session is closed.
            TempError: a shortage here keeps us from connecting.

        Switches: yes (connect, read, write).
        """
        settings = self._settings
        self.close()
        self.state, self.idle_since = State.CONNECTING, 0.0
        try:
            self._connection = Connection.open(self.server, settings.connect_timeout_s, settings.source_address)
            self._move(Event.CONNECTED)
            banner = self._reply(settings.greeting_timeout_s, "greeting")
            if not banner.is_ok:
                raise SessionError(reported(banner))
            self._hello()
        except SessionError:
            self.close()
            raise

    def _hello(self) -> None:
        """Sends EHLO, then HELO if EHLO is refused; LHLO has no second try (RFC 2033 4.1)."""
        lmtp = self._da == DeliveryAgent.LMTP
        for verb in ("LHLO",) if lmtp else ("EHLO", "HELO"):
            reply = self._command(f"{verb} {self._settings.hostname}", verb)
            if reply.is_ok:
                self.extensions = _extensions(reply) if verb != "HELO" else {}
                if not self._settings.pipelining:
                    self.extensions.pop("PIPELINING", None)
                return
        raise SessionError(reported(reply))

    # -- one transaction ----------------------------------------------------------------------------------------------

    def deliver(self, job: Deliver, content: Content) -> DeliveryStatus:
        """Runs one transaction.

        Args:
            job: envelope and parameters.
            content: gives the message.

        Returns:
            The outcomes; the session may be closed afterwards.

        Raises:
            SessionError: the session broke before anything was asked for this transaction (stale), so that another
                session can take it over.

        Switches: yes (read, write, offload).
        """
        self.connection.until_us = st_utime() + DELIVERY_MAX_S * MICROSECONDS
        self._prepare()
        status = DeliveryStatus()
        try:
            self._transaction(job, content, status)
        except SessionError as failure:
            self._broken(job, status, failure)
        except ContentError as error:
            status.damage = error.cause
            self._abandon()
        except TempError as error:
            status.rest(job, Reply(error.code, error.ecode, error.cause))
            self._abandon()
        self.idle_since = self._clock.monotonic()
        return status

    def _transaction(self, job: Deliver, content: Content, status: DeliveryStatus) -> None:
        content.check()
        status.transaction = refusal(job, self.extensions, content.is_7bit)
        accepted = self._envelope(job, status) if status.transaction is None else []
        if accepted:
            self._content(content, accepted, status)

    def _abandon(self) -> None:
        """Ends a transaction whose content failed: half a message on its way is dropped only by closing the connection."""
        if self.state is State.CONTENT:
            self.close()

    def _broken(self, job: Deliver, status: DeliveryStatus, failure: SessionError) -> None:
        """Reports a session that broke in a transaction: after the dot nobody knows what became of the message."""
        state, reused = self.state, self.idle_since > 0
        self.close()
        if state is State.MAIL and reused:
            raise SessionError(failure.reply, stale=True) from failure
        if state is State.DOT:
            status.rest(job, failure.reply)
        else:
            status.session = failure.reply

    def _prepare(self) -> None:
        """Brings the session to READY: RSET after a failed transaction, or to see whether a long idle server lives."""
        probe = self.idle_since and self._clock.monotonic() - self.idle_since > PROBE_AFTER_IDLE_S
        if self.state is State.DIRTY or probe:
            self._move(Event.SEND_RSET)
            try:
                reply = self._command("RSET", "RSET")
            except SessionError as failure:
                self.close()
                raise SessionError(failure.reply, stale=True) from failure
            if not reply.is_ok:
                self.close()
                raise SessionError(reported(reply), stale=True)

    def _envelope(self, job: Deliver, status: DeliveryStatus) -> list[int]:
        """Sends MAIL, RCPT and DATA; gives the indexes of the accepted recipients if content may follow."""
        self._move(Event.SEND_MAIL)
        commands = [mail_command(job, self.extensions), *(rcpt_command(rcpt, self.extensions) for rcpt in job.rcpts)]
        pipelining = "PIPELINING" in self.extensions
        accepted: list[int] = []
        for first in range(0, len(commands), PIPELINE_MAX_COMMANDS):
            group = commands[first : first + PIPELINE_MAX_COMMANDS]
            with_data = pipelining and first + len(group) == len(commands)
            if not self._exchange(job, group, first, accepted, status, with_data=with_data):
                return []
        if not pipelining and accepted:
            self._ask("DATA\r\n", "DATA")
        elif not pipelining:
            self._move(Event.NO_RCPT)
            return []
        return accepted if self._data_reply(job, accepted, status) else []

    def _exchange(
        self, job: Deliver, group: Sequence[str], first: int, accepted: list[int], status: DeliveryStatus, *, with_data: bool
    ) -> bool:
        """Sends one group of commands and reads their replies; tells whether the transaction goes on."""
        pipelining = "PIPELINING" in self.extensions
        if pipelining:
            lines = "\r\n".join(group) + ("\r\nDATA\r\n" if with_data else "\r\n")
            self._ask(lines, "MAIL" if first == 0 else "RCPT", replies=len(group) + with_data)
        go_on = True
        for number, command in enumerate(group, first):
            if not pipelining:
                self._ask(command + "\r\n", command[:4])
            reply = self._reply(self._settings.command_timeout_s, command[:4])
            if number > 0:
                self._rcpt_reply(job.rcpts[number - 1].rcpt_idx, reply, accepted, status)
            elif not reply.is_ok:
                status.transaction = reported(reply)
                go_on = False
                if not pipelining:
                    return False
                self._skip_replies(len(group) - 1 + with_data)
                return False
        return go_on

    def _skip_replies(self, count: int) -> None:
        """Reads the replies to commands that were pipelined behind a refused MAIL; a 354 among them gets an empty dot."""
        for _ in range(count):
            reply = self.connection.reply(self._settings.command_timeout_s, "pipelined command")
            if reply.is_more:
                self._ask(".\r\n", "empty message")
                self.connection.reply(self._settings.dot_timeout_s, "empty message")

    def _rcpt_reply(self, rcpt_idx: int, reply: Reply, accepted: list[int], status: DeliveryStatus) -> None:
        if reply.is_ok:
            accepted.append(rcpt_idx)
        else:
            status.rcpts[rcpt_idx] = reported(reply)

    def _data_reply(self, job: Deliver, accepted: list[int], status: DeliveryStatus) -> bool:
        """Reads the reply to DATA; tells whether content may follow."""
        self._move(Event.SEND_DATA)
        reply = self._reply(self._settings.data_timeout_s, "DATA")
        if not reply.is_more:
            if accepted:
                status.rest(job, reported(reply) if not reply.is_ok else Reply(451, "4.5.0", f"DATA answered by {reply}"))
            return False
        if accepted:
            return True
        # all recipients were refused, yet the server wants content: an empty message is refused or dropped (RFC 2920 3.1)
        self._ask(".\r\n", "empty message")
        self._move(Event.SENT_DOT)
        self._reply(self._settings.dot_timeout_s, "empty message")
        self.state = State.DIRTY if self.is_open else self.state
        return False

    def _content(self, content: Content, accepted: list[int], status: DeliveryStatus) -> None:
        """Sends the message and reads what became of it."""
        lmtp = self._da == DeliveryAgent.LMTP
        try:
            refused = self._send_content(content, len(accepted) if lmtp else 1)
        except SessionError as failure:
            reply = self._early_refusal()
            raise SessionError(reported(reply)) if reply else failure from failure
        if refused is not None:  # before the dot: the rest need not be sent, and what the dot would be answered nobody knows
            status.rcpts.update(dict.fromkeys(accepted, reported(refused)))
            self.close()
            return
        self._move(Event.SENT_DOT)
        self._extend(self._settings.dot_timeout_s)
        if lmtp:
            self._lmtp_replies(accepted, status)
            return
        reply = reported(self._reply(self._settings.dot_timeout_s, "final dot"))
        status.rcpts.update(dict.fromkeys(accepted, reply))

    def _early_refusal(self) -> Reply | None:
        """Gives what a server said before it took no more content, if it said why."""
        try:
            return self.connection.unasked("content")
        except SessionError:
            return None

    def _extend(self, seconds: int) -> None:
        """Lets the delivery last so long from now at least: giving up after the dot would double the message."""
        connection = self.connection
        if connection.until_us is not None:
            connection.until_us = max(connection.until_us, st_utime() + seconds * MICROSECONDS)

    def _lmtp_replies(self, accepted: list[int], status: DeliveryStatus) -> None:
        """Reads one reply for each accepted recipient (RFC 2033 4.2)."""
        for number, rcpt_idx in enumerate(accepted):
            if number:
                self.state = State.DOT
            status.rcpts[rcpt_idx] = reported(self._reply(self._settings.dot_timeout_s, "final dot"))

    def _send_content(self, content: Content, replies: int) -> Reply | None:
        """Sends all pieces; the last one, with the dot, only when there are no more and nothing was wrong with them.

        Args:
            content: gives the message.
            replies: how many replies the dot gets.

        Returns:
            The refusal that came before the dot, which was not sent then; None if it was.

        Raises:
            SessionError, ContentError, TempError: the dot was not sent, or not all of it.
        """
        stuffer = Stuffer()
        waiting = b""
        timeout_s = self._settings.block_timeout_s
        for piece in content.chunks():
            if waiting:
                self.connection.send(waiting, timeout_s, "content")
            waiting = stuffer.feed(piece)
        refused = self.connection.unasked("content")
        if refused is not None:
            if refused.code == _SHUTTING_DOWN:
                raise SessionError(reported(refused))
            return refused
        self.connection.ask(waiting + stuffer.finish(), timeout_s, "content", replies)
        return None

    # -- closing --------------------------------------------------------------------------------------------------

    def quit(self) -> None:
        """Says QUIT and closes; waits at most QUIT_TIMEOUT_S for the reply.  Switches: yes."""
        if self.is_open:
            try:
                self._move(Event.SEND_QUIT)
                self.connection.ask(b"QUIT\r\n", QUIT_TIMEOUT_S, "QUIT")
                self.connection.reply(QUIT_TIMEOUT_S, "QUIT")
            except SessionError:
                pass
        self.close()

    def close(self) -> None:
        """Closes the connection without a word."""
        self.state = State.CLOSED
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- small helpers ----------------------------------------------------------------------------------------------

    def _move(self, event: Event) -> None:
        self.state = next_state(self.state, event)

    def _ask(self, text: str, doing: str, replies: int = 1) -> None:
        self.connection.ask(text.encode(), self._settings.command_timeout_s, doing, replies)

    def _command(self, line: str, doing: str) -> Reply:
        self._ask(line + "\r\n", doing)
        return self._reply(self._settings.command_timeout_s, doing)

    def _reply(self, timeout_s: int, doing: str) -> Reply:
        """Reads one reply and moves the state; 421 means that the server closes (RFC 5321 3.8)."""
        reply = self.connection.reply(timeout_s, doing)
        if reply.code == _SHUTTING_DOWN:
            raise SessionError(reported(reply))
        event = Event.OK if reply.is_ok else Event.GO_ON if reply.is_more else Event.REFUSED
        if event is Event.GO_ON and self.state is not State.DATA:
            raise SessionError(Reply(451, "4.5.0", f"{where(self.server)}: {doing}: unexpected reply {reply}"))
        if event is Event.OK and self.state is State.DATA:
            event = Event.REFUSED
        self._move(event)
        return reply


def _extensions(reply: Reply) -> dict[str, str]:
    """Reads the EHLO reply: upper-case keyword to parameters."""
    pairs = (line.partition(" ") for line in reply.lines[1:])
    return {keyword.upper(): parameters.strip() for keyword, _, parameters in pairs if keyword}
