"""One session with an SMTP or LMTP server: connects, sends what talk.py has to say, reads replies for it, and sends content.

What a server does wrong costs this session, nothing else.

Invariants: a recipient is reported as delivered only after the 2xx that answers the final dot.  The final dot goes only
after all of the content went and was found to be what was accepted (I3); if it was not, the connection is closed before the
dot, and the server drops the part that it has (RFC 5321 3.8, 4.1.4).
Ref: RFC 5321 3.3, 4.1, 4.5.3.2; RFC 2033 (LMTP).
"""

from dataclasses import replace
from typing import Final

from meta1g.base.clock import Clock
from meta1g.base.dataclass import dataclass
from meta1g.base.errors import TempError
from meta1g.base.reply import NO_REPLY, Reply
from meta1g.base.tlsfacts import TlsInfo
from meta1g.db.cdb import ContentError
from meta1g.rcb.common import DeliveryAgent, ServerAddr
from meta1g.rcb.smtpc_qmgr import Deliver
from meta1g.smtp.chunks import BadContentError
from meta1g.smtp.esmtp import Extensions
from meta1g.smtp.longlines import refuses_long_lines
from meta1g.smtpc.authout import AuthOut
from meta1g.smtpc.connecting import Unreached, connect
from meta1g.smtpc.connection import ServerConnection
from meta1g.smtpc.content import Content
from meta1g.smtpc.forward import commands_for
from meta1g.smtpc.fsm import State, Verb
from meta1g.smtpc.limits import (
    DELIVERY_MAX_S,
    HANDSHAKE_TIMEOUT_S,
    LATE_REPLY_S,
    MICROSECONDS,
    PROBE_AFTER_IDLE_S,
    PROBE_MAX_S,
    QUIT_TIMEOUT_S,
)
from meta1g.smtpc.logins import Login, LoginSettings
from meta1g.smtpc.parameters import NOTHING, fitted, late, refusal, time_left
from meta1g.smtpc.patience import reply_s
from meta1g.smtpc.securing import Securing, policy_for
from meta1g.smtpc.settings import Settings
from meta1g.smtpc.status import DeliveryStatus, SessionError, where
from meta1g.smtpc.talk import Talk
from meta1g.smtpc.tlsout import TlsOut
from meta1g.st import st_utime

_OPEN: Final = (State.READY, State.DIRTY)
_STALE: Final = Reply(451, "4.4.2", "session is of no more use")


@dataclass(frozen=True, slots=True)
class Shared:
    """What all sessions of a process share.

    Args:
        clock: for the age of an idle session.
        tls_out: has the contexts for TLS.
        auth_out: has the logins.
        unreached: addresses that could not be reached a short time ago.
    """

    clock: Clock
    tls_out: TlsOut
    auth_out: AuthOut
    unreached: Unreached


class Session:
    """A session with one server.

    Args:
        session_id: id that QMGR gave it.
        servers: addresses of the server, best first, at least one; they differ in nothing else.
        da: a DeliveryAgent.
        settings: configuration of SMTPC.
        shared: what it shares with others.

    Attributes:
        policy: what TLS has to fulfil.
        server: the address that is connected, the first one without a connection.
        spare: better addresses that were overtaken by it, or not tried yet.
        tried: of how many of the addresses it is known whether they can be reached.
        login: who the server knows us as, None if we are nobody.
        login_tried: who we wanted to be, None if there is no login for this server.
        tls: what was agreed on, None in clear.

    Owner: one state thread (its own, see client.py).
    """

    __slots__ = (
        "_connection", "_da", "_servers", "_settings", "_shared", "_talk", "idle_since", "login", "login_tried", "policy",
        "server", "session_id", "spare", "tls", "tried",
    )  # fmt: skip

    def __init__(self, session_id: str, servers: tuple[ServerAddr, ...], da: int, settings: Settings, shared: Shared) -> None:
        self.session_id = session_id
        self.server = servers[0]
        self.tried = 1
        self.spare: tuple[ServerAddr, ...] = ()
        self._servers = servers
        self._da = da
        self._settings = settings
        self._shared = shared
        self._connection: ServerConnection | None = None
        self._talk = self._new_talk()
        self.idle_since = 0.0
        self.login: Login | None = None
        self.login_tried: Login | None = None
        self.tls: TlsInfo | None = None
        self.policy = policy_for(servers[0])

    def _new_talk(self) -> Talk:
        settings, lmtp = self._settings, self._da == DeliveryAgent.LMTP
        return Talk(
            settings.hostname, where(self.server), lmtp=lmtp, pipelining=settings.pipelining, chunking=settings.chunking
        )

    def treat_as(self, servers: tuple[ServerAddr, ...], settings: Settings) -> None:
        """Takes another server or other settings from now on; the session is closed.

        Args:
            servers: as at the begin.
            settings: those for them.

        Raises:
            SessionError: its TLS policy is none.
        """
        self.policy = policy_for(servers[0])
        self.server, self._servers, self._settings = servers[0], servers, settings

    def aim(self, servers: tuple[ServerAddr, ...]) -> None:
        """Takes the addresses of another delivery, to one of which it is connected."""
        self._servers = servers
        self.tried = 1 + next((idx for idx, one in enumerate(servers) if one.addr == self.server.addr), 0)

    def serves(self, servers: tuple[ServerAddr, ...], *, by_name: bool = False) -> bool:
        """Tells whether the session is one with a server: connected to one of its addresses, and treated as it is to be.

        Another name of the address makes no difference, unless it has another login, or its certificate has to have the name.

        Args:
            servers: the addresses.
            by_name: the certificate was to have the name of the server.

        Raises:
            TempError: the logins cannot be read.

        Switches: yes, if there are logins (offload).
        """
        if self._connection is None:
            return self._servers == servers
        here = self.server.addr, self.server.port
        one = next((one for one in servers if (one.addr, one.port) == here), None)
        if one is None or (one.conf, one.tls) != (self.server.conf, self.server.tls):
            return False
        if one.host == self.server.host:
            return True
        auth, needs = self._settings.auth, self._settings.needs
        if by_name or (needs is not None and needs.demands_certificate):
            return False
        return auth is None or self._shared.auth_out.login(auth.file, one) == self.login_tried

    @property
    def connection(self) -> ServerConnection:
        """The open connection.

        Raises:
            SessionError: there is none.
        """
        if self._connection is None:
            raise SessionError(Reply(451, "4.4.2", f"{where(self.server)}: session is closed"), stale=True)
        return self._connection

    @property
    def extensions(self) -> Extensions:
        """What the server offers: upper-case keyword to parameters."""
        return self._talk.extensions

    @property
    def is_open(self) -> bool:
        """Tells whether another transaction can be tried."""
        connection = self._connection
        talk = self._talk
        return connection is not None and connection.in_step and talk.state in _OPEN and not talk.is_used_up

    # -- opening ----------------------------------------------------------------------------------------------------

    def open(self, servers: tuple[ServerAddr, ...] = ()) -> None:
        """Connects, reads the greeting and introduces ourselves, under TLS if both sides can; logs in if we have a login.

        Where nothing else is demanded TLS is opportunistic (RFC 7435): after a handshake that failed it goes on in clear.

        Args:
            servers: some of its addresses; empty for all.

        Raises:
            SessionError: the server cannot be used, or TLS is not as demanded; QUIT is all that can be said, if anything.
            TempError: a shortage here keeps us from connecting, or there is no secret now.

        Switches: yes (connect, read, write, offload).
        """
        self.login_tried = None
        self._end(self._securing().refusal())
        self._open(servers)
        self._demand_tls()
        if self._settings.auth is not None:
            self._log_in(self._settings.auth)

    def _securing(self) -> Securing:
        source = "" if self._connection is None else self._connection.source
        return Securing(self.session_id, self.server, self.policy, self._settings, self._shared.tls_out, source)

    def _demand_tls(self) -> None:
        """Begins TLS if both sides can, and ends the session if it is not as demanded; raises as open().  Switches: yes."""
        securing = self._securing()
        if securing.begins(self.extensions):
            try:
                self._secure()
            except SessionError as error:
                self._end(securing.failure(error.reply, self.tls))
                self._open((self.server,))
        self._end(securing.verdict(self.tls, self._talk.tls_refusal))

    def _end(self, reply: Reply | None) -> None:
        """Raises SessionError, and ends the session, if there is a reply to end it with.  Switches: yes (QUIT)."""
        if reply is not None:
            self.quit()
            raise SessionError(reply)

    def _secure(self) -> None:
        """Switches: yes (network).

        Raises:
            SessionError: TLS failed; the connection is of no more use.
        """
        assert self._settings.tls is not None
        talk, connection, policy = self._talk, self.connection, self.policy
        context = self._shared.tls_out.context(self._settings.tls, policy)
        talk.starttls()
        self._converse()
        if talk.state is State.SECURING:
            self.tls = connection.secure(context, policy, HANDSHAKE_TIMEOUT_S)
            talk.secured()
            self._converse()
        if talk.failure is not None:
            raise SessionError(talk.failure)

    def _log_in(self, settings: LoginSettings) -> None:
        """Says AUTH if there is a login for this server.

        Raises:
            SessionError: the server does not take it, does not offer it, or is not to be told.
            TempError: there is no secret now.

        Switches: yes (read, write, offload).
        """
        shared = self._shared
        login = self.login_tried = shared.auth_out.login(settings.file, self.server)
        if login is None:
            return
        from meta1g.smtpc.authdialogue import AuthDialogue

        mechanism = ""
        dialogue = AuthDialogue(self._talk, self.connection, settings, self._converse)
        try:
            secret = shared.auth_out.secret(login)
            mechanism = dialogue.choose(login, secret, self.tls, self.policy)
            dialogue.run()
        except (SessionError, TempError) as error:
            shared.auth_out.failed(self.session_id, self.server, login, mechanism, error.reply)
            raise
        self.login = login
        shared.auth_out.agreed(self.session_id, self.server, login, mechanism)

    def _open(self, servers: tuple[ServerAddr, ...] = ()) -> None:
        """Connects to one of the addresses, of those given or of all, and says EHLO.  Switches: yes (connect, read, write)."""
        settings, servers = self._settings, servers or self._servers
        self.close()
        self.idle_since = 0.0
        self.tried, self.spare = (len(servers), ()) if servers is self._servers else (self.tried, self.spare)
        self._connection = connect(servers, settings.connect_timeout_s, settings.sources, self._shared.unreached)
        self.server = self._connection.server
        if servers is self._servers:
            self.tried = servers.index(self.server) + 1
            self.spare = tuple(one for one in self._connection.spare if one in servers[: self.tried])
        self._talk = self._new_talk()
        self._talk.connected()
        self._converse()
        if self._talk.failure is not None:
            raise SessionError(self._talk.failure)

    # -- one transaction ----------------------------------------------------------------------------------------------

    def deliver(self, job: Deliver, content: Content) -> DeliveryStatus:
        """Runs one transaction.

        Args:
            job: envelope and parameters.
            content: gives the message.

        Returns:
            The outcomes; the session may be closed afterwards.

        Raises:
            SessionError: the session was of no more use before anything was asked for this transaction (stale), so that another
                session can take it over.

        Switches: yes (read, write, offload).
        """
        self.connection.until_us = st_utime() + DELIVERY_MAX_S * MICROSECONDS
        self._prepare()
        status = DeliveryStatus()
        try:
            self._transaction(job, content, status)
        except ContentError as error:
            status.damage = error.cause
            self._abandon()
        except TempError as error:
            status.rest(job, error.reply)
            self._abandon()
        self.idle_since = self._shared.clock.monotonic()
        if self._talk.demands:
            self._shared.auth_out.demanded(self.session_id, self.server, known=self.login is not None)
        return status

    def probe(self, job: Deliver) -> DeliveryStatus:
        """Asks whether the server takes a recipient, and sends nothing; raises and switches as deliver().

        Switches: yes (read, write).
        """
        self.connection.limit(PROBE_MAX_S)
        self._prepare()
        job = fitted(job, self.extensions, NOTHING)
        status = DeliveryStatus(transaction=refusal(job, self.extensions, NOTHING))
        if status.transaction is None:
            self._talk.begin(job, status)
            self._converse()
        return status

    def _transaction(self, job: Deliver, content: Content, status: DeliveryStatus) -> None:
        """Switches: yes."""
        content.check()
        job = fitted(content.shaped(job, self.extensions), self.extensions, content)
        now = self._shared.clock.now()
        status.transaction = refusal(job, self.extensions, content) or late(job, self.extensions, now)
        if status.transaction is not None:
            return
        self._attempt(job, content, status)
        refused = self._talk.accepted if self._lines_refused(content, status) else ()
        if refused:
            self._send_again(replace(job, rcpts=refused), content, status)

    def _attempt(self, job: Deliver, content: Content, status: DeliveryStatus) -> None:
        """Switches: yes."""
        talk = self._talk
        for command in commands_for(job, content, self.extensions) if self._settings.xforward else ():
            talk.forward(command)
            self._ask()
        talk.begin(job, status, time_left(job, self._shared.clock.now()))
        self._converse()
        if talk.state is State.CONTENT and self._content(content):
            self._converse()
        if talk.stale:
            why = talk.failure or status.transaction or _STALE
            self.quit()
            raise SessionError(why, stale=True)

    def _lines_refused(self, content: Content, status: DeliveryStatus) -> bool:
        """Tells whether the server took recipients and then refused the message for its long lines.

        Nobody says before what lines a server takes (RFC 5321 4.5.3.1.6), and a broken line spoils a signature; so a line is
        broken only for a server that has refused it.  Switches: yes, if it has.
        """
        replies = [status.rcpts.get(rcpt.rcpt_idx, NO_REPLY) for rcpt in self._talk.accepted]
        about_lines = all(one.origin and refuses_long_lines(one.code, one.one_line) for one in replies)
        return bool(replies) and about_lines and content.has_long_line()

    def _send_again(self, job: Deliver, content: Content, status: DeliveryStatus) -> None:
        """Sends a message with its long lines broken, over a new connection.  Switches: yes."""
        content.break_lines = True
        for rcpt in job.rcpts:
            status.rcpts.pop(rcpt.rcpt_idx)
        again, before = DeliveryStatus(), self.tls
        try:
            self.open((self.server,))
            if before is not None and (self.tls is None or self.tls.verified < before.verified):
                raise SessionError(Reply(451, "4.7.5", f"{where(self.server)}: TLS is worse than it was a moment ago"))
            self._talk.without_chunks()
            self.connection.until_us = st_utime() + DELIVERY_MAX_S * MICROSECONDS
            self._attempt(job, content, again)
        except SessionError as failure:
            again.session = failure.reply
        status.rcpts.update(again.rcpts)
        status.retry.update(again.retry)
        status.session, status.transaction = again.session, again.transaction

    def _abandon(self) -> None:
        """Ends a transaction whose content failed: half a message on its way is dropped only by closing the connection."""
        if self._talk.state is State.CONTENT:
            self.close()

    def _prepare(self) -> None:
        """Brings the session to READY: RSET after a failed transaction, or to see if an idle server lives.  Switches: yes."""
        probe = self.idle_since and self._shared.clock.monotonic() - self.idle_since > PROBE_AFTER_IDLE_S
        if self._talk.state is State.DIRTY or probe:
            self._talk.reset()
            self._ask()

    def _ask(self) -> None:
        """Converses before a transaction; raises SessionError, stale, if that ends the session.  Switches: yes."""
        self._converse()
        if self._talk.failure is not None:
            raise SessionError(self._talk.failure, stale=True)

    def _converse(self) -> None:
        """Says what is to be said and reads what is owed, until there is nothing of both.  Switches: yes (read, write)."""
        talk, connection, settings = self._talk, self.connection, self._settings
        try:
            while True:
                if (verb := talk.owed) is not None:
                    after_dot = talk.state is State.DOT
                    reply = connection.reply(reply_s(settings, verb), verb.value, late_s=LATE_REPLY_S if after_dot else 0)
                    if after_dot and reply.is_more:
                        connection.limit(LATE_REPLY_S)
                    talk.reply(reply)
                elif (group := talk.group()) is not None:
                    connection.ask(group.data, settings.command_timeout_s, group.doing, group.replies)
                else:
                    break
        except SessionError as failure:
            talk.lost(failure.reply)
        if talk.state is State.CLOSED:
            self.close()

    def _content(self, content: Content) -> bool:
        """Sends the message, with the dot if nothing was wrong with it and the server did not refuse it before.

        Returns:
            Whether the dot went; the session is closed otherwise.

        Switches: yes (read, write, offload).
        """
        talk = self._talk
        try:
            refused = self._send_content(content)
        except BadContentError as error:
            raise content.error(f"cannot be sent by BDAT: {error}") from error
        except SessionError as failure:
            refused = failure.reply
        if refused is not None:  # the rest need not be sent, and what the dot would be answered nobody knows
            talk.lost(refused)
            self.close()
        return refused is None

    def _send_content(self, content: Content) -> Reply | None:
        """Sends all pieces; the last one, with the dot, only when there are no more and nothing was wrong with them.

        Returns:
            The refusal that came before the dot, which was not sent then; None if it was.

        Raises:
            SessionError, ContentError, TempError, BadContentError: the dot was not sent, or not all of it.

        Switches: yes.
        """
        connection, outlet = self.connection, self._talk.outlet(content.size_bytes)
        waiting = b""
        timeout_s = self._settings.block_timeout_s
        for piece in content.chunks():
            if waiting:
                connection.send(waiting, timeout_s, Verb.CONTENT.value)
            waiting = outlet.feed(piece)
        refused = connection.unasked(Verb.CONTENT.value)
        if refused is None:
            connection.ask(waiting + outlet.finish(), timeout_s, Verb.CONTENT.value, self._talk.dot_replies)
            self._talk.sent_dot()
            connection.extend(self._settings.dot_timeout_s)  # giving up after the dot would double the message
        return refused

    # -- closing --------------------------------------------------------------------------------------------------

    def quit(self) -> None:
        """Says QUIT if that may be said, and closes; waits at most QUIT_TIMEOUT_S for the reply.  Switches: yes."""
        connection = self._connection
        if connection is not None and connection.in_step and self._talk.state in (*_OPEN, State.LEAVING):
            self._talk.quit()
            connection.limit(QUIT_TIMEOUT_S)
            self._converse()
        self.close()

    def close(self) -> None:
        """Closes the connection without a word."""
        if self._connection is not None:
            self._talk.drop()
            self._connection.close()
            self._connection = None
        self.tls = self.login = None
