"""One connection of an SMTP client: bytes in, commands to their functions, replies out, time limits.

Replies are held until no complete command is left, so that a pipelined group is answered by one write (RFC 2920 3.2).
Only CR LF ends a command (invariant I6); the buffer never grows beyond LINE_HELD_MAX_BYTES and one read (I4).

Ref: RFC 5321 4.1, 4.5.3.2; MeTA1 design, "Functional Specification: SMTPS" (one state thread a connection, modelled on).
"""

import contextlib
import errno

from meta1g.base import failure
from meta1g.base.errors import Module, TempError
from meta1g.base.reply import Reply
from meta1g.conf.errors import ConfigError
from meta1g.rcb.schema import Message
from meta1g.rcb.smtps_qmgr import CloseSession, NewSession
from meta1g.rcb.smtps_smar import CheckClient, ClientVerdict, LookupFlags, VerdictFlags
from meta1g.smtp import replies
from meta1g.smtp.command import is_chunk
from meta1g.smtps import commands
from meta1g.smtps.context import Context
from meta1g.smtps.dialogue import ClientGoneError, Dialogue
from meta1g.smtps.fsm import IN_TRANSACTION, Event, State
from meta1g.smtps.limits import (
    COMMAND_READ_BYTES,
    DENIED_MAX_S,
    DENIED_NEED_FREE,
    GOODBYE_TIMEOUT_US,
    LINE_HELD_MAX_BYTES,
    US,
)
from meta1g.smtps.link import told
from meta1g.smtps.listen import Door
from meta1g.smtps.questions import learn_relaying
from meta1g.smtps.starttls import begin_with_tls
from meta1g.smtps.trust import Trust
from meta1g.st import (
    POLLIN,
    NetFd,
    StError,
    StThread,
    st_checkpoint,
    st_netfd_close,
    st_netfd_poll,
    st_read,
    st_thread_interrupt,
    st_thread_self,
    st_write,
)
from meta1g.st.rcbpending import Pending

#: Clients that need not wait for the greeting.
_WELCOME = LookupFlags.RELAY_ALLOWED | LookupFlags.QUICK
_AWAY = (replies.QUEUE_AWAY, replies.RESOLVER_AWAY)
#: EPROTO: TLS was broken by the client, or ended without a word.
_CLIENT_GONE = frozenset(
    (errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EBADF, errno.EPROTO)
)


class ServerSession(Dialogue):
    """One SMTP server session.  Owner: one state thread; stop() is called by others."""

    __slots__ = ("_admission", "_deadline_s", "_door", "_idle", "_refusal", "_skipping", "_thread")

    def __init__(self, context: Context, nfd: NetFd, client_addr: str, door: Door) -> None:
        super().__init__(context, nfd, client_addr)
        self._door = door
        self._thread: StThread | None = None
        self._admission: Pending | None = None  # what QMGR has been asked about the session, until it is known
        self._refusal: Reply | None = None  # QMGR has refused the session
        self._idle = False
        self._skipping = False
        self._deadline_s = 0.0

    def run(self) -> None:
        """Serves the client until the connection is closed.  Switches: yes (network, questions)."""
        self._thread = st_thread_self()
        log = self.context.log
        try:
            with failure.item(log, "smtps.session", self._failed, ss_sess=self.id, client=self.client_addr):
                self._run()
        finally:
            steps = (self.reset, self.end_exchange, self._tell_closed, self._end_filters)
            failure.steps(log, "smtps.end", *steps, lambda: st_netfd_close(self._nfd))

    def _run(self) -> None:
        """Switches: yes."""
        try:
            self._begin()
            if self.state is not State.CLOSING:
                self._serve()
        except ClientGoneError:
            self._lost("client closed the connection")
        except StError as error:
            self._broken(error)

    def _failed(self, _error: Exception) -> None:
        """Gives the answer that is owed after a failure that nobody expected.  Switches: yes."""
        self._goodbye(replies.INTERNAL_ERROR)

    def stop(self, *, now: bool) -> None:
        """Asks the session to end: when its transaction is over, or now."""
        idle = self.handshaking or (self._idle and self.state not in IN_TRANSACTION)
        if self._thread is not None and (now or idle):
            st_thread_interrupt(self._thread)

    def _begin(self) -> None:
        """Learns who the client is, and greets it unless it may not stay or talks first.  Switches: yes (network, peers)."""
        if self.context.settings.trusted:
            self._learn_client()
        refusal = self._may_stay()
        if self._door.implicit_tls and not begin_with_tls(self, refusal):
            return
        if refusal is None and self._early_talker():
            refusal = replies.EARLY_TALKER
        self._answer_connect(refusal)

    def _learn_client(self) -> None:
        """Looks what the other end may say of others, and lets a proxy say for whom it speaks.  Switches: yes (network)."""
        trusted = self.context.settings.trusted
        self.trust = trusted.of(self.client_addr)
        if self.trust & Trust.PROXY:
            from meta1g.smtps.proxied import take_proxy_header

            self._idle = True
            try:
                take_proxy_header(self)
            finally:
                self._idle = False
            self.trust = trusted.of(self.client_addr)

    def greet(self) -> None:
        """Asks whether the client may stay, and greets it or sends it away.  Switches: yes (questions)."""
        self._answer_connect(self._may_stay())

    def _answer_connect(self, refusal: Reply | None) -> None:
        """Greets; a client that may not stay is sent away, or may only QUIT.

        QMGR's answer is not waited for: a refusal that comes later ends the session when the client is waited for, and no
        MAIL is answered without it (admission()).

        Switches: yes, if there is a refusal, or filters (network).
        """
        if refusal is None and (self.settings.milters or self.context.policies or self.filters is not None):
            refusal = self._filter()
        log = self.context.log
        if refusal is not None:
            refusal = self.said(refusal)
            self.log_refusal("smtps.connect_refused", refusal, rule=self.rule)
            self._deny(refusal)
            return
        log.info("smtps.connect", "ok", ss_sess=self.id, client=self.client_addr, client_name=self.client_name or None)
        protocol = "LMTP" if self.settings.lmtp else "ESMTP"
        self._out.append(f"220 {self.settings.hostname} {protocol} meta1g\r\n".encode("ascii"))
        self.step(Event.GREET)

    def _filter(self) -> Reply | None:
        """Lets the filters hear of the client; gives a refusal or None.  Switches: yes (network)."""
        self._end_filters()  # those of the client before, if there was another one
        if not (self.settings.milters or self.context.policies):
            return None
        from meta1g.smtps.filtered import MailFilters

        self.filters = filters = MailFilters(self)
        refusal = filters.connect()
        if refusal is not None:
            self.rule = filters.rule
        return refusal

    def begin_anew(self, client_addr: str) -> None:
        """Goes on as the session of another client, about whom nothing is known yet; the greeting is to follow.

        Switches: yes, as forget_mail().
        """
        self.forget_mail()
        self._tell_closed()
        self.id = self.context.ids.session()
        self.client_addr, self.client_name = client_addr, self.presented.get("NAME", "")
        if self.tls is not None:
            self.tls = self.tls.without_peer()
        self.treat_as(self.context.settings)
        self.ehlo, self.protocol = "", "SMTP"
        self.denial, self.discard, self.rule = None, False, ""
        self.auth, self.auth_failures = None, 0
        self.transactions = self.noops = 0
        self._admission = self._refusal = None
        self.step(Event.CLIENT)

    def _deny(self, refusal: Reply) -> None:
        """Greets with 421 and closes, or with 554: RFC 5321 4.3.2 knows no other, and after 554 the client closes (3.1).

        Switches: yes.
        """
        code = replies.ACCESS_DENIED.code if refusal.is_perm else replies.SHUTTING_DOWN.code
        greeting = Reply(code, refusal.ecode, refusal.text)
        few_are_free = self.context.sessions * DENIED_NEED_FREE > self.context.sessions_max
        if few_are_free or not refusal.is_perm:
            self._goodbye(greeting)
            return
        self._out.append(greeting.encode())
        self.step(Event.DENY)
        self._deadline_s = self.context.clock.monotonic() + min(DENIED_MAX_S, self.settings.io_timeout_us / US)

    def _may_stay(self) -> Reply | None:
        """Gives the reason why the client cannot stay, or None; a link that is away is waited for.  Switches: yes (waits)."""
        end_s = self.context.gate.deadline()
        refusal = None
        for _attempt in (1, 2):  # the link may break while the client is asked about
            refusal = self._missing(end_s) or self._too_many() or self._ask_about_client()
            if refusal not in _AWAY:
                break
        return refusal

    def _missing(self, end_s: float) -> Reply | None:
        """Waits for the links, if need be; gives what is missing then, or None.  Switches: yes, if one is away."""
        context = self.context
        self._idle = True
        try:
            context.gate.wait(
                lambda: context.stopping or context.gate.links_up() or context.sessions > context.sessions_max, end_s
            )
        finally:
            self._idle = False
        if context.stopping:
            return replies.SHUTTING_DOWN
        if not context.qmgr.up:
            return replies.QUEUE_AWAY
        return None if context.smar.up else replies.RESOLVER_AWAY

    def _too_many(self) -> Reply | None:
        context = self.context
        if context.sessions > context.sessions_max:
            return replies.TOO_BUSY
        if context.sessions > context.qmgr.max_threads:
            return Reply(421, "4.3.2", context.qmgr.throttle_text or replies.TOO_BUSY.one_line)
        return None

    def _ask_about_client(self) -> Reply | None:
        """Switches: yes."""
        context, verdict = self.context, None
        try:
            self._announce()
            if context.smar.asks_client:
                asked = context.smar.ask(CheckClient(session_id=self.id, client_addr=self.client_addr, flags=self.flags))
                verdict = asked.client_verdict()
        except TempError:
            return replies.RESOLVER_AWAY if context.qmgr.up else replies.QUEUE_AWAY
        return self._refusal or (None if verdict is None else self._judge(verdict))

    def _announce(self) -> None:
        """Asks QMGR whether the session may stay.

        Raises:
            TempError: QMGR is away.
        """
        self.generation = self.context.qmgr.generation
        self._admission = self.context.qmgr.new_session(NewSession(session_id=self.id, client_addr=self.client_addr))
        self._admission.on_answer = self._answered

    def _answered(self, _msg: Message) -> None:
        """Is called when QMGR has answered: a refusal takes the session out of waiting.  Switches: no, the answer is there."""
        if self._admission is not None and self._admission.done:  # not one of an earlier question
            self._take_admission(self._admission)
            if self._refusal is not None and self._idle:
                self.stop(now=True)

    def _take_admission(self, admission: Pending) -> None:
        """Takes QMGR's answer.  Switches: yes, unless it has come (waits).

        Raises:
            TempError: the connection broke.
        """
        self._admission = None
        try:
            reply = self.context.qmgr.admitted(admission)
        except StError as error:
            if error.errno != errno.ETIME:
                raise
            reply = replies.TOO_BUSY
        self._refusal = None if reply.is_ok else reply

    def admission(self) -> Reply | None:
        """Gives QMGR's refusal of the session, or None; one that does not know it, since it started anew, is asked again.

        Switches: yes, unless QMGR has answered (waits).
        """
        for _attempt in (1, 2):
            if self._admission is None and self._known():
                break
            try:
                if self._admission is None:
                    raise TempError(Module.SMTPS, "the queue manager started anew")
                self._take_admission(self._admission)
            except TempError:
                missing = self._missing(self.context.gate.deadline())
                if missing is not None:
                    return missing
                with contextlib.suppress(TempError):  # then the generation tells
                    self._announce()
        return self._refusal

    def _known(self) -> bool:
        """Tells whether the QMGR that is there now knows the session, or has refused it."""
        qmgr = self.context.qmgr
        return self._refusal is not None or (qmgr.up and self.generation == qmgr.generation)

    def _judge(self, verdict: ClientVerdict) -> Reply | None:
        """Takes what SMAR knows of the client; gives a refusal or None."""
        self.client_name = self.presented.get("NAME", verdict.client_name)
        if verdict.session_conf:
            try:
                self.treat_as(self.context.clients.of(verdict.session_conf))
            except ConfigError as error:
                self.context.log.error("smtps.conf", error.cause, ss_sess=self.id, client=self.client_addr)
                return replies.RESOLVER_AWAY
        if verdict.flags & VerdictFlags.RELAY:
            self.flags |= LookupFlags.RELAY_ALLOWED
        if verdict.flags & VerdictFlags.QUICK:
            self.flags |= LookupFlags.QUICK
        self.discard, self.rule = bool(verdict.flags & VerdictFlags.DISCARD), verdict.rule
        reply = told(verdict.reply)
        if reply.is_ok:
            return None
        if self.settings.delay_checks and reply.code != replies.SHUTTING_DOWN.code:
            self.denial = reply
            return None
        return reply

    def _early_talker(self) -> bool:
        """Tells whether the client sent anything before the greeting, which only a blind sender does; keeps what it sent.

        Switches: yes, if the client is to wait for the greeting (network).
        """
        pause_us = self.settings.greet_pause_us
        paused = bool(pause_us) and not self._is_welcome()
        if self._has_talked() or (paused and self._talks_within(pause_us)):
            if pause_us:
                self.context.passed().forget(self.client_addr)
            return True
        if paused:
            self.context.passed().add(self.client_addr)
            text = "was silent until the greeting"
            self.context.log.info("smtps.paused", text, ss_sess=self.id, client=self.client_addr, time_ms=pause_us // 1000)
        return False

    def _is_welcome(self) -> bool:
        """Tells whether the client need not wait for its greeting.  Switches: yes, as learn_relaying()."""
        if self.context.passed().knows(self.client_addr):
            return True
        learn_relaying(self)
        return bool(self.flags & _WELCOME)

    def _talks_within(self, pause_us: int) -> bool:
        """Waits for the client to talk; tells whether it did.  Switches: yes (network)."""
        clock = self.context.clock
        end_s = clock.monotonic() + pause_us / US
        self._idle = True
        try:
            while (left_us := int((end_s - clock.monotonic()) * US)) > 0:
                st_netfd_poll(self._nfd, POLLIN, left_us)
                if self._has_talked():
                    return True
        except StError as error:
            if error.errno != errno.ETIME:
                raise
        finally:
            self._idle = False
        return False

    def _has_talked(self) -> bool:
        try:
            data = self._nfd.recv(COMMAND_READ_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            raise StError(error.errno, error.strerror) from error
        if not data:
            raise ClientGoneError
        self._buffer = data
        return True

    def _serve(self) -> None:
        """Takes commands until the session closes.  Switches: yes."""
        while self.state is not State.CLOSING:
            st_checkpoint()
            end = self._buffer.find(b"\r\n", self._offset)
            if end < 0:
                self._fill()
                continue
            line = self._buffer[self._offset : end]
            self._offset = end + 2
            if self._skipping:
                self._skipping = False
                commands.too_long(self, line)
            else:
                commands.handle(self, line)
            if self.state is not State.DENIED:
                self._deadline_s = 0.0
        self.flush()

    def _fill(self) -> None:
        """Answers the batch and reads more; the client has a total time for one command.  Switches: yes."""
        self.settle()
        context = self.context
        if self._refusal is not None and self.state is not State.CLOSING:
            self.refuse("smtps.connect_refused", self._refusal)
        if context.stopping and self.state not in IN_TRANSACTION:
            self.refuse("smtps.closed", replies.SHUTTING_DOWN)
        self.flush()
        if self.state is State.CLOSING:
            return
        now = context.clock.monotonic()
        if not self._deadline_s:
            self._deadline_s = now + self.settings.io_timeout_us / US
        if self.ta is not None and self.takes_too_long(now):
            self.refuse("smtps.timed_out", replies.TOTAL_TIME, ss_ta=self.ta.ta_id, mail=self.ta.mail.text)
            return
        self._buffer = self._buffer[self._offset :]
        self._offset = 0
        if len(self._buffer) > LINE_HELD_MAX_BYTES:
            if is_chunk(self._buffer):
                self.reply(replies.LINE_TOO_LONG)
                self.step(Event.CLOSE)
                return
            self._buffer = self._buffer[-1:]  # it may be the CR of the line end
            self._skipping = True
        self._idle = True
        try:
            data = st_read(self._nfd, COMMAND_READ_BYTES, max(1, int((self._deadline_s - now) * US)))
        finally:
            self._idle = False
        if not data:
            raise ClientGoneError
        self._buffer += data

    def _broken(self, error: StError) -> None:
        """Handles a time-out, an interrupt or a network error.  Switches: yes."""
        ta = self.ta
        ta_id, mail = (None, None) if ta is None else (ta.ta_id, ta.mail.text)
        if error.errno == errno.ETIME:
            self.log_refusal("smtps.timed_out", replies.TIMED_OUT, ss_ta=ta_id, mail=mail)
            self._goodbye(replies.TIMED_OUT)
        elif error.errno == errno.EINTR:
            if self._refusal is not None:
                self.log_refusal("smtps.connect_refused", self._refusal)
            else:
                self.log_refusal("smtps.closed", replies.SHUTTING_DOWN, ss_ta=ta_id, mail=mail)
            self._goodbye(self._refusal or replies.SHUTTING_DOWN)
        elif error.errno in _CLIENT_GONE:
            self._lost(str(error))
        else:
            self.context.log.error("smtps.broken", str(error), ss_sess=self.id, client=self.client_addr)
            self._goodbye(replies.INTERNAL_ERROR)

    def _lost(self, why: str) -> None:
        """Logs that the client is gone; if it has begun a message, everybody may know."""
        ta, log = self.ta, self.context.log
        if ta is None:
            log.debug("smtps.gone", why, ss_sess=self.id, client=self.client_addr)
            return
        log.notice(
            "smtps.message_lost",
            why,
            ss_sess=self.id,
            ss_ta=ta.ta_id,
            client=self.client_addr,
            client_name=self.client_name or None,
            ehlo=self.ehlo or None,
            mail=ta.mail.text,
            rcpts=ta.accepted,
        )

    def _goodbye(self, reply: Reply) -> None:
        """Sends a last reply, without patience.  Switches: yes."""
        try:
            st_write(self._nfd, b"".join([*self._out, reply.encode()]), GOODBYE_TIMEOUT_US)
        except StError as error:
            self.context.log.debug("smtps.gone", str(error), ss_sess=self.id)
        if self.state is not State.CLOSING:
            self.step(Event.CLOSE)

    def _end_filters(self) -> None:
        """Switches: yes (write), if there are filters."""
        filters, self.filters = self.filters, None
        if filters is not None:
            filters.close()

    def _tell_closed(self) -> None:
        try:
            self.context.qmgr.post(CloseSession(session_id=self.id))
        except TempError as error:
            self.context.log.debug("smtps.gone", error.cause, ss_sess=self.id)
