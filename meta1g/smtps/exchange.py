"""One exchange of SASL with a client: what it says goes to the mechanism, what the mechanism asks to the back end.

Owner: the state thread of the session.
Ref: RFC 4422; RFC 4954 4; the mechanisms are in meta1g/sasl.
"""

import contextlib
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from meta1g.sasl.base import (
    VALUE_MAX_BYTES,
    Challenge,
    CheckPassword,
    FindVerifier,
    Need,
    SaslAnswer,
    SaslError,
    SaslIdentity,
    ServerExchange,
)
from meta1g.sasl.scram import ScramServer, read_first
from meta1g.sasl.simple import external_server, login_server, plain_server
from meta1g.sasl.stored import SCRAM
from meta1g.smtps.mechanisms import Mechanism, SessionFacts, Way

_NONCE_BYTES: Final = 18
#: Answers what a mechanism needs to know; it may switch.
Ask = Callable[[CheckPassword | FindVerifier], SaslAnswer]


class AuthExchange(ABC):
    """An exchange.

    Attributes:
        user: who the client says it is, empty as long as it has not said.

    Owner: the state thread of the session.
    """

    __slots__ = ("user",)

    def __init__(self) -> None:
        self.user = ""

    @abstractmethod
    def step(self, data: bytes | None) -> Challenge | SaslIdentity:
        """Takes what the client said; gives what it is told, or who it is.

        Args:
            data: what came with AUTH, None if nothing did; then each response.

        Raises:
            SaslError: it failed.
            TempError: the back end does not answer.

        Switches: yes.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends it; again does nothing."""


def begin(row: Mechanism, facts: SessionFacts, initial: bytes | None, *, plus_offered: bool) -> ServerExchange:
    """Begins what a mechanism of ours does.

    Args:
        row: the mechanism.
        facts: of the session.
        initial: what came with AUTH, None if nothing did.
        plus_offered: a mechanism that binds the connection was offered.
    """
    if row.way is Way.SCRAM:
        binding = facts.binding if row.plus else None
        nonce = secrets.token_urlsafe(_NONCE_BYTES)
        return ScramServer(SCRAM[row.stored], nonce, binding, plus_offered).exchange(initial)
    if row.way is Way.CERTIFICATE:
        return external_server(initial, facts.certificate)
    return plain_server(initial) if row.name == "PLAIN" else login_server(initial)


class OwnExchange(AuthExchange):
    """An exchange that we lead.

    Args:
        start: begins it with what came with AUTH.
        ask: answers what the mechanism needs.

    Owner: the state thread of the session.
    """

    __slots__ = ("_ask", "_exchange", "_start")

    def __init__(self, start: Callable[[bytes | None], ServerExchange], ask: Ask) -> None:
        super().__init__()
        self._start = start
        self._ask = ask
        self._exchange: ServerExchange | None = None

    def step(self, data: bytes | None) -> Challenge | SaslIdentity:
        """Switches: yes."""
        try:
            if self._exchange is None:
                self._exchange = self._start(data)
                need: Need = next(self._exchange)
            else:
                need = self._exchange.send(data)
            while not isinstance(need, Challenge):
                self.user = need.authcid
                need = self._exchange.send(self._ask(need))
            return need
        except StopIteration as end:
            identity: SaslIdentity = end.value
            self.user = identity.authcid
            return identity

    def close(self) -> None:
        """Ends it; again does nothing."""
        if self._exchange is not None:
            self._exchange.close()


def user_in(row: Mechanism, data: bytes) -> str:
    """Gives the user that a first message names, for an exchange that somebody else leads; empty if it names none."""
    if row.way is Way.SCRAM:
        with contextlib.suppress(SaslError):
            return read_first(data, plus=False, binding_offered=False).authcid
        return ""
    return data.rpartition(b" ")[0][:VALUE_MAX_BYTES].decode(errors="replace")  # CRAM-MD5
