"""AUTH: what is offered, the exchange, what follows from it.

    AUTH mechanism [initial] -> 334 challenge -> response ... -> 235, or why not

Wrong passwords and unknown users hear the same words after the same time.  A client that fails waits longer each time, and is
sent away after a few; clients and users have limits over all sessions (attempts.py).  Checks of passwords wait for their turn
(turnstile.py).

Owner: the process (all state threads of it).
Ref: RFC 4954; RFC 4616 to 7677 in meta1g/sasl; MeTA1 design, "Functional Specification: SMTPS, AUTH" (modelled on).
"""

import base64
import binascii
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from meta1g.base.clock import Clock
from meta1g.base.errors import TempError
from meta1g.base.failure import is_shortage
from meta1g.base.log import Log
from meta1g.base.reply import Reply
from meta1g.base.shares import client_key
from meta1g.rcb.smtps_smar import LookupFlags
from meta1g.sasl.base import Challenge, CheckPassword, FindVerifier, SaslAnswer, SaslError, SaslIdentity, ServerExchange
from meta1g.sasl.users import folded
from meta1g.smtp import replies
from meta1g.smtp.esmtp import Ext
from meta1g.smtp.limits import AUTH_LINE_MAX_BYTES
from meta1g.smtps import exchange
from meta1g.smtps.attempts import Attempts
from meta1g.smtps.authdaemons import DovecotBackEnd, SaslauthdBackEnd
from meta1g.smtps.authsettings import AuthSettings
from meta1g.smtps.backends import BackEnd, FileBackEnd, Relayed
from meta1g.smtps.dialogue import Authenticated, Dialogue
from meta1g.smtps.exchange import AuthExchange, OwnExchange
from meta1g.smtps.fsm import Event, State
from meta1g.smtps.limits import AUTH_AWAY_TOLD_S, AUTH_DELAY_MAX_US, AUTH_PLACES, AUTH_PLACES_OF_CLIENT, US
from meta1g.smtps.mechanisms import MECHANISMS, Mechanism, SessionFacts, Way, offered, usable
from meta1g.smtps.passwords import PasswordFile
from meta1g.smtps.smar_link import SmarLink
from meta1g.smtps.turnstile import Turnstile
from meta1g.st import st_usleep
from meta1g.st.tls import st_tls_exporter

_CANCEL: Final = b"*"
_EMPTY: Final = "="
_BINDS: Final = "TLSv1.3"  # RFC 9266 2: before it the exporter needs an extension to be safe
_T = TypeVar("_T")


class TooManyError(Exception):
    """An attempt is beyond a limit.

    Args:
        limit: the limit.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} failed attempts")
        self.limit = limit


def back_end_of(settings: AuthSettings, smar: SmarLink, log: Log, clock: Clock) -> BackEnd:
    """Makes the back end that the configuration names.

    Raises:
        PermError: its file is wrong.
    """
    if settings.password_file is not None:
        return FileBackEnd(PasswordFile(settings.password_file, log, clock), settings.realm)
    if settings.password_map:
        from meta1g.smtps.passwordmap import MapBackEnd

        ask = partial(smar.user, timeout_us=settings.timeout_us)
        return MapBackEnd(ask, settings.realm, settings.timeout_us / US, clock)
    if settings.saslauthd_socket is not None:
        return SaslauthdBackEnd(settings.saslauthd_socket, settings.realm, settings.timeout_us, clock)
    assert settings.dovecot_socket is not None
    return DovecotBackEnd(settings.dovecot_socket, settings.realm, settings.timeout_us, clock)


class AuthServer:
    """AUTH of all sessions.

    Args:
        settings: section auth.
        smar: has the map of passwords, if that is where they are.
        log: the log.
        clock: the clock.

    Raises:
        PermError: the password file is wrong.

    Owner: the process.
    """

    def __init__(self, settings: AuthSettings, smar: SmarLink, log: Log, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._back_end = back_end_of(settings, smar, log, clock)
        self._attempts = Attempts(settings.limits)
        self._tell_away_s = 0.0
        self._turns = Turnstile(self._back_end.at_once, AUTH_PLACES, AUTH_PLACES_OF_CLIENT, settings.timeout_us / US, clock)

    # -- what is offered

    def offered(self, dialogue: Dialogue) -> dict[Ext, str]:
        """Gives AUTH for the answer to EHLO; nothing if no mechanism can be used.  Switches: yes, if the users have changed."""
        self._back_end.refresh()
        names = self._names(facts_of(dialogue))
        return {Ext.AUTH: " ".join(names)} if names else {}

    def _allowed(self) -> tuple[str, ...]:
        return self._settings.mechanisms or self._back_end.can_do()

    def _names(self, facts: SessionFacts) -> list[str]:
        return offered(self._allowed(), facts, plaintext=self._settings.plaintext)

    # -- the command and its responses

    def begin(self, dialogue: Dialogue, argument: str) -> None:
        """Answers AUTH.  Switches: yes.

        Args:
            dialogue: in state HELLO.
            argument: mechanism and, perhaps, initial response.
        """
        name, _, text = argument.partition(" ")
        row = MECHANISMS.get(name.upper())
        facts = facts_of(dialogue)
        refusal = self._refusal(row, facts, text)
        if refusal is not None or row is None:
            dialogue.reply(refusal or replies.AUTH_NOT_OFFERED)
            return
        dialogue.step(Event.AUTH)
        dialogue.mechanism = row.name
        dialogue.exchange = self._exchange(row, facts, dialogue.client_addr)
        data: bytes | None = None
        if text:
            data = b"" if text == _EMPTY else decoded(text.encode())
            if data is None:
                self._end(dialogue, replies.AUTH_NO_BASE64)
                return
        self._go_on(dialogue, data)

    def _refusal(self, row: Mechanism | None, facts: SessionFacts, text: str) -> Reply | None:
        if row is None or row.name not in self._allowed():
            return replies.AUTH_NOT_OFFERED
        if not usable(row, facts, plaintext=self._settings.plaintext):
            return replies.AUTH_NOT_OFFERED if facts.tls or row.plus else replies.AUTH_NEEDS_TLS
        if row.server_first and text:
            return replies.AUTH_SERVER_FIRST
        return replies.AUTH_TRANSITION if self._back_end.no_passwords_for(row) else None

    def respond(self, dialogue: Dialogue, line: bytes) -> None:
        """Takes a response.  Switches: yes.

        Args:
            dialogue: in state AUTH.
            line: what the client sent, without its CR LF.
        """
        if line == _CANCEL:
            self._end(dialogue, replies.AUTH_CANCELLED)
        elif len(line) + 2 > AUTH_LINE_MAX_BYTES:
            self._end(dialogue, replies.LINE_TOO_LONG)
        elif (data := decoded(line)) is None:
            self._end(dialogue, replies.AUTH_NO_BASE64)
        else:
            self._go_on(dialogue, data)

    def _end(self, dialogue: Dialogue, reply: Reply) -> None:
        dialogue.end_exchange()
        dialogue.reply(reply)

    def _go_on(self, dialogue: Dialogue, data: bytes | None) -> None:
        """Switches: yes."""
        running = dialogue.exchange
        assert isinstance(running, AuthExchange)
        try:
            if running.user:  # others may have failed since it was begun
                self.check(dialogue.client_addr, self.user_of(running.user))
            step = running.step(data)
            if isinstance(step, Challenge):
                dialogue.reply(Reply(334, "", base64.b64encode(step.data).decode()))
                return
            self._judge(step)
        except SaslError as error:
            if error.malformed:
                self._end(dialogue, replies.AUTH_MALFORMED)
            else:
                self._attempts.failed(self._key(dialogue), self.user_of(running.user), self._clock.monotonic())
                self._failed(dialogue, running, replies.AUTH_FAILED, error.reason)
        except TooManyError as error:
            self._failed(dialogue, running, replies.AUTH_LATER, str(error))
        except Exception as error:
            if not isinstance(error, TempError) and not is_shortage(error):
                raise
            self._away(dialogue, running, error)
        else:
            self._succeeded(dialogue, step)

    # -- how it ends

    def _judge(self, identity: SaslIdentity) -> None:
        """Nobody acts as somebody else.

        Raises:
            SaslError: the client wants to.
        """
        if self.user_of(identity.authzid) != self.user_of(identity.authcid):
            raise SaslError("the client wants to act as another user")

    def _succeeded(self, dialogue: Dialogue, identity: SaslIdentity) -> None:
        user, mechanism = self.user_of(identity.authcid), dialogue.mechanism
        self._attempts.succeeded(self._key(dialogue), user, self._clock.monotonic())
        may_relay = not self._settings.trusted or mechanism in self._settings.trusted
        dialogue.end_exchange()
        dialogue.auth = Authenticated(user, mechanism, may_relay)
        if may_relay:
            dialogue.flags |= LookupFlags.AUTHENTICATED
        tls = dialogue.tls
        dialogue.context.log.info(
            "smtps.auth",
            "ok",
            ss_sess=dialogue.id,
            client=dialogue.client_addr,
            client_name=dialogue.client_name or None,
            auth=user,
            mechanism=mechanism,
            tls=None if tls is None else f"{tls.version} {tls.cipher}",
        )
        dialogue.reply(replies.AUTH_OK)

    def _failed(self, dialogue: Dialogue, running: AuthExchange, reply: Reply, reason: str) -> None:
        """Lets the client wait, and tells it no more than that.  Switches: yes (sleeps)."""
        dialogue.end_exchange()
        dialogue.auth_failures += 1
        st_usleep(min(self._settings.failure_delay_us * dialogue.auth_failures, AUTH_DELAY_MAX_US))
        dialogue.refuse(
            "smtps.auth_failed", reply, auth=self.user_of(running.user) or None, mechanism=dialogue.mechanism, answer=reason
        )
        limit = self._settings.max_failures
        if dialogue.auth_failures >= limit and dialogue.state is not State.CLOSING:
            dialogue.refuse("smtps.too_many", replies.TOO_MANY_AUTH_FAILURES, limit=limit)

    def _away(self, dialogue: Dialogue, running: AuthExchange, error: Exception) -> None:
        """Switches: yes (sleeps): who tries again at once is no more welcome than who guesses."""
        now_s, cause = self._clock.monotonic(), error.cause if isinstance(error, TempError) else str(error)
        if now_s >= self._tell_away_s:
            self._tell_away_s = now_s + AUTH_AWAY_TOLD_S
            dialogue.context.log.error("smtps.auth_away", cause)
        self._failed(dialogue, running, replies.AUTH_AWAY, cause)

    def user_of(self, name: str) -> str:
        """Gives the name of a user as limits, maps and log have it."""
        return folded(self._back_end.known_user(folded(name))) if name else ""

    def _key(self, dialogue: Dialogue) -> str:
        return client_key(dialogue.client_addr)

    # -- exchanges

    def _exchange(self, row: Mechanism, facts: SessionFacts, address: str) -> AuthExchange:
        if self._back_end.leads(row):
            return _LedExchange(self, row, address, self._back_end.relay(row, address, tls=facts.tls))
        plus_offered = any(MECHANISMS[name].plus for name in self._names(facts))
        start = partial(self._start, row, facts, address, plus_offered)
        return OwnExchange(start, partial(self.answer, row, address))

    def _start(
        self, row: Mechanism, facts: SessionFacts, address: str, plus_offered: bool, initial: bytes | None
    ) -> ServerExchange:
        if row.way is Way.CERTIFICATE:
            user = self.user_of(facts.certificate)
            self.check(address, user)
            if not self._back_end.has_certificate(user):
                facts = SessionFacts(facts.tls)
        return exchange.begin(row, facts, initial, plus_offered=plus_offered)

    def answer(self, row: Mechanism, address: str, need: CheckPassword | FindVerifier) -> SaslAnswer:
        """Answers what a mechanism needs.  Switches: yes."""
        user = self.user_of(need.authcid)
        self.check(address, user)
        if isinstance(need, FindVerifier):
            return self._back_end.verifier(user, row.stored)
        return self.in_turn(address, partial(self._password_ok, user, need.password, address))

    def _password_ok(self, user: str, password: str, address: str) -> bool:
        """Switches: yes."""
        self.check(address, user)  # others may have failed before it was its turn
        return self._back_end.password_ok(user, password, address)

    def in_turn(self, address: str, function: Callable[[], _T]) -> _T:
        """Calls a function when it is the turn of a client.  Switches: yes."""
        return self._turns.run(address, function)

    def check(self, address: str, user: str) -> None:
        """Checks the limits.

        Raises:
            TooManyError: an attempt is beyond one.
        """
        limit = self._attempts.too_many(client_key(address), user, self._clock.monotonic())
        if limit:
            raise TooManyError(limit)


class _LedExchange(AuthExchange):
    """An exchange that the back end leads.  Owner: the state thread of the session."""

    __slots__ = ("_address", "_relayed", "_row", "_server")

    def __init__(self, server: AuthServer, row: Mechanism, address: str, relayed: Relayed) -> None:
        super().__init__()
        self._server = server
        self._row = row
        self._address = address
        self._relayed = relayed

    def step(self, data: bytes | None) -> Challenge | SaslIdentity:
        """Switches: yes."""
        if data is None and not self._row.server_first:
            return Challenge(b"")
        if data and not self.user:
            self.user = exchange.user_in(self._row, data)
            self._server.check(self._address, self._server.user_of(self.user))
        return self._server.in_turn(self._address, lambda: self._relayed.step(data))

    def close(self) -> None:
        """Ends it; again does nothing."""
        self._relayed.close()


def decoded(text: bytes) -> bytes | None:
    """Gives what a response says, None if it is no base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def facts_of(dialogue: Dialogue) -> SessionFacts:
    """Gives what mechanisms depend on."""
    tls = dialogue.tls
    if tls is None:
        return SessionFacts(tls=False)
    binding = st_tls_exporter(dialogue.nfd) if tls.version == _BINDS else None
    return SessionFacts(True, binding, tls.common_name if tls.verified else "")
