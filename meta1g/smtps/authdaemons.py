"""Back ends that are other programs: saslauthd, and Dovecot's authentication process.

Each question has a connection of its own: the daemon may be started again at any time, and what it does to one question it does
to no other.  saslauthd answers few questions at a time.  Dovecot holds back the answer to a wrong password for two seconds, so
every check is asked at once: a client can have AUTH_PLACES_OF_CLIENT of AUTH_PLACES held back, and nobody else waits for them.

Owner: the process (all state threads of it).
Ref: saslauthd(8); Dovecot, "Authentication Protocol v1.2"; the lines are in meta1g/sasl/daemons.py.
"""

import errno
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from meta1g.base.clock import Clock
from meta1g.base.errors import Module, TempError
from meta1g.sasl import daemons
from meta1g.sasl.base import Challenge, SaslError, SaslIdentity
from meta1g.sasl.users import in_realm
from meta1g.smtps.backends import BackEnd, Relayed
from meta1g.smtps.limits import AUTH_PLACES, US
from meta1g.smtps.mechanisms import PASSWORDS, Mechanism, Way
from meta1g.st import NetFd, StError, st_connect, st_netfd_close, st_netfd_open_socket, st_read, st_write

_READ_BYTES: Final = 4096
_NUMBER_MAX: Final = 2**31 - 1
_REFUSED: Final = "the back end says no"
_T = TypeVar("_T")


class Asking:
    """A connection for one question.

    Args:
        path: socket of the daemon.
        timeout_us: for each answer, its time to connect included.
        clock: the clock.

    Owner: one state thread.
    """

    __slots__ = ("_buffer", "_clock", "_end_s", "_nfd", "_timeout_us", "path")

    def __init__(self, path: Path, timeout_us: int, clock: Clock) -> None:
        self.path = path
        self._timeout_us = timeout_us
        self._clock = clock
        self._end_s = 0.0
        self._buffer = b""
        self._nfd: NetFd | None = None

    def close(self) -> None:
        """Closes it; again does nothing."""
        nfd, self._nfd = self._nfd, None
        if nfd is not None:
            st_netfd_close(nfd)

    def do(self, function: Callable[[], _T]) -> _T:
        """Runs one question and its answer; after an error the connection is closed.

        Raises:
            TempError: there is no answer; the text names the socket.
            StError: EINTR.
            SaslError: what the function raises.

        Switches: yes.
        """
        self._end_s = self._clock.monotonic() + self._timeout_us / US
        try:
            if self._nfd is None:
                self._connect()
            return function()
        except BaseException as error:
            self.close()
            if isinstance(error, daemons.DaemonError):
                raise TempError(Module.SMTPS, f"{self.path}: {error}") from error
            if isinstance(error, StError) and error.errno != errno.EINTR:
                raise TempError(Module.SMTPS, f"{self.path}: {error.strerror or error}") from error
            raise

    def _connect(self) -> None:
        """Switches: yes."""
        self._nfd = st_netfd_open_socket(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        st_connect(self._nfd, str(self.path), self._left_us())

    def _left_us(self) -> int:
        return max(1, int((self._end_s - self._clock.monotonic()) * US))

    def say(self, data: bytes) -> None:
        """Sends.  Switches: yes."""
        assert self._nfd is not None
        st_write(self._nfd, data, self._left_us())

    def more(self) -> bytes:
        """Reads more and gives all that was read and not taken.  Switches: yes."""
        assert self._nfd is not None
        data = st_read(self._nfd, _READ_BYTES, self._left_us())
        if not data:
            raise daemons.DaemonError("the other side closed the connection")
        self._buffer += data
        return self._buffer

    def line(self) -> daemons.DovecotLine:
        """Reads a line.  Switches: yes.

        Raises:
            DaemonError: it is none.
        """
        while b"\n" not in self._buffer:
            if len(self._buffer) > daemons.DOVECOT_LINE_MAX_BYTES:
                raise daemons.DaemonError("Dovecot sent a line without an end")
            self.more()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return daemons.read_line(line)


class SaslauthdBackEnd(BackEnd):
    """saslauthd.

    Args:
        path: its socket.
        realm: put behind users without one, empty for nothing.
        timeout_us: how long it may take.
        clock: the clock.

    Owner: the process.
    """

    def __init__(self, path: Path, realm: str, timeout_us: int, clock: Clock) -> None:
        self._path = path
        self._realm = realm
        self._timeout_us = timeout_us
        self._clock = clock

    def can_do(self) -> tuple[str, ...]:
        """Gives PLAIN and LOGIN."""
        return PASSWORDS

    def known_user(self, name: str) -> str:
        """Gives a name with the realm."""
        return in_realm(name, self._realm)

    def password_ok(self, user: str, password: str, client: str) -> bool:
        """Asks it.  Switches: yes."""
        try:
            question = daemons.saslauthd_question(user, password)
        except ValueError:  # longer in lower case than any user is
            return False
        asking = Asking(self._path, self._timeout_us, self._clock)

        def ask() -> bool:
            asking.say(question)
            while (answer := daemons.saslauthd_answer(asking.more())) is None:
                pass
            return answer

        try:
            return asking.do(ask)
        finally:
            asking.close()


class DovecotBackEnd(SaslauthdBackEnd):
    """Dovecot: it checks passwords, and speaks all mechanisms that it knows.  Owner: the process."""

    at_once = AUTH_PLACES

    def leads(self, row: Mechanism) -> bool:
        """Tells whether it speaks with the client itself."""
        return row.way in (Way.SCRAM, Way.RELAYED)

    def password_ok(self, user: str, password: str, client: str) -> bool:
        """Lets it do PLAIN.  Switches: yes."""
        exchange = DovecotExchange(self._asking(), "PLAIN", client, tls=True)
        try:
            return isinstance(exchange.step(daemons.plain_response(user, password)), SaslIdentity)
        except SaslError:
            return False
        finally:
            exchange.close()

    def _asking(self) -> Asking:
        return Asking(self._path, self._timeout_us, self._clock)

    def relay(self, row: Mechanism, client: str, *, tls: bool) -> Relayed:
        """Begins an exchange."""
        return DovecotExchange(self._asking(), row.name, client, tls=tls)


class DovecotExchange(Relayed):
    """An exchange that Dovecot leads.

    Args:
        asking: a connection that is not made yet.
        mechanism: its name.
        client: address of the client, empty if it is not to be told.
        tls: the session is encrypted.

    Owner: one state thread.
    """

    __slots__ = ("_asking", "_begun", "_client", "_done", "_mechanism", "_tls")

    def __init__(self, asking: Asking, mechanism: str, client: str, *, tls: bool) -> None:
        self._asking = asking
        self._mechanism = mechanism
        self._client = client
        self._tls = tls
        self._begun = False
        self._done: SaslIdentity | None = None  # known, but the server has still something to say

    def close(self) -> None:
        """Ends it; again does nothing."""
        self._asking.close()

    def step(self, data: bytes | None) -> Challenge | SaslIdentity:
        """Passes on what the client said.  Switches: yes."""
        if self._done is not None:
            if data:
                raise SaslError("the client has something to say after the end", malformed=True)
            return self._done
        return self._asking.do(lambda: self._step(data))

    def _step(self, data: bytes | None) -> Challenge | SaslIdentity:
        """Switches: yes."""
        if self._begun:
            self._asking.say(daemons.cont_line(data or b""))
        else:
            self._begin(data)
        line = self._asking.line()
        if line.command == "CONT":
            return Challenge(daemons.challenge_of(line))
        if line.command == "FAIL":
            if "temp" in line.values:
                raise daemons.DaemonError("Dovecot has a temporary failure, see its log")
            raise SaslError(_REFUSED)
        user = line.values.get("user", "")
        if line.command != "OK" or not user:
            raise daemons.DaemonError(f"Dovecot said {line.command[:20]!r} instead of OK, CONT or FAIL")
        identity = SaslIdentity(user, user)
        last = daemons.challenge_of(line)
        if last:
            self._done = identity
            return Challenge(last)
        return identity

    def _begin(self, data: bytes | None) -> None:
        """Switches: yes."""
        asking = self._asking
        asking.say(daemons.hello(random.randint(1, _NUMBER_MAX)))  # noqa: S311  a number, not a secret
        greeting = [asking.line()]
        while greeting[-1].command != "DONE":
            if len(greeting) > daemons.DOVECOT_GREETING_MAX_LINES:
                raise daemons.DaemonError("Dovecot greets without an end")
            greeting.append(asking.line())
        if self._mechanism not in daemons.mechanisms_in(greeting):
            raise daemons.DaemonError(f"Dovecot does not know {self._mechanism}; see auth_mechanisms there")
        asking.say(daemons.auth_line(self._mechanism, data, self._client, tls=self._tls))
        self._begun = True
