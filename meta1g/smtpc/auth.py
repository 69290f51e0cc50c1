"""AUTH as a client: which mechanism is used, and what is said.

    secret     mechanisms, the strongest first
    password   SCRAM-SHA-256-PLUS  SCRAM-SHA-256  SCRAM-SHA-1-PLUS  SCRAM-SHA-1  CRAM-MD5  PLAIN  LOGIN
    token      OAUTHBEARER  XOAUTH2

The one that comes first and is offered is used; after it has failed no weaker one is: whoever can make a mechanism fail must
not get the password by another.  To a server that may be anybody only those of SCRAM are used.

Invariant: no secret stands in a text of this module but in what is sent to the server.
Pure.  Ref: RFC 4954; RFC 5802, RFC 7677, RFC 9266 (SCRAM), RFC 4616 (PLAIN), RFC 2195 (CRAM-MD5), RFC 7628 (OAUTHBEARER).
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from functools import partial
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.sasl.base import ClientExchange, SaslError, malformed
from meta1g.sasl.scram import ScramClient
from meta1g.sasl.simple import cram_md5_client, login_client, oauthbearer_client, plain_client, xoauth2_client

#: RFC 4954 4: an initial response that does not fit into a command line is given when the server asks for it.
COMMAND_MAX_BYTES: Final = 510
CANCEL: Final = "*"
_NO_RESPONSE: Final = "="


@dataclass(frozen=True, slots=True)
class Secrets:
    """Who we are for one session, and what of the session a mechanism may need.

    Args:
        user: the name.
        secret: its password, or its token.
        host: name of the server.
        port: its port.
        nonce: random printable characters without a comma, new for each session.
        binding: channel binding tls-exporter of the connection, None without one.
        plus_offered: the server offers a mechanism with channel binding.
    """

    user: str
    secret: str = field(repr=False)
    host: str = ""
    port: int = 0
    nonce: str = ""
    binding: bytes | None = field(default=None, repr=False)
    plus_offered: bool = False


Start = Callable[[Secrets, bytes], ClientExchange]


@dataclass(frozen=True, slots=True)
class ClientMechanism:
    """One mechanism.

    Args:
        start: begins an exchange, with the first challenge of a server that speaks first.
        responses: how many responses have to be given before success may be believed.
        client_first: the client speaks first.
        token: the secret is a token, not a password.
        binds: it needs a channel binding.
        costly: a response may take long to make.
        discreet: whoever plays the server does not get the secret by it.
    """

    start: Start
    responses: int = 1
    client_first: bool = True
    token: bool = False
    binds: bool = False
    costly: bool = False
    discreet: bool = False


def _scram(hash_name: str, who: Secrets, _challenge: bytes, *, plus: bool) -> ClientExchange:
    binding = who.binding if plus else None
    could_bind = not plus and who.binding is not None and not who.plus_offered
    return ScramClient(hash_name, who.user, who.secret, who.nonce, binding, could_bind).exchange()


def _scram_row(hash_name: str, *, plus: bool) -> ClientMechanism:
    # the server has to prove that it knows the password, too: success is none before its last message was right
    return ClientMechanism(partial(_scram, hash_name, plus=plus), responses=3, binds=plus, costly=True, discreet=True)


#: The strongest first, of each kind of secret.
MECHANISMS: Final[Mapping[str, ClientMechanism]] = {
    "SCRAM-SHA-256-PLUS": _scram_row("sha256", plus=True),
    "SCRAM-SHA-256": _scram_row("sha256", plus=False),
    "SCRAM-SHA-1-PLUS": _scram_row("sha1", plus=True),
    "SCRAM-SHA-1": _scram_row("sha1", plus=False),
    "CRAM-MD5": ClientMechanism(lambda who, challenge: cram_md5_client(who.user, who.secret, challenge), client_first=False),
    "PLAIN": ClientMechanism(lambda who, _challenge: plain_client(who.user, who.secret)),
    "LOGIN": ClientMechanism(lambda who, _challenge: login_client(who.user, who.secret), responses=2, client_first=False),
    "OAUTHBEARER": ClientMechanism(
        lambda who, _challenge: oauthbearer_client(who.user, who.secret, who.host, who.port), token=True
    ),
    "XOAUTH2": ClientMechanism(lambda who, _challenge: xoauth2_client(who.user, who.secret), token=True),
}


def offered_mechanisms(keywords: Mapping[str, str]) -> tuple[str, ...]:
    """Gives the mechanisms that a server offers, in upper case; some write a sign of equality, as old servers did.

    Args:
        keywords: of its answer to EHLO, with their arguments.
    """
    lines = (f"{keyword} {argument}" for keyword, argument in keywords.items() if keyword.partition("=")[0] == "AUTH")
    return tuple(word for line in lines for word in line.upper().replace("=", " ").split()[1:])


def choose(offered: Iterable[str], allowed: Iterable[str], *, token: bool, can_bind: bool, known: bool) -> str:
    """Chooses a mechanism; empty if there is none.

    Args:
        offered: what the server offers, in upper case.
        allowed: what may be used, preferred first.
        token: the secret is a token.
        can_bind: the connection has a channel binding.
        known: it is certain who the server is; others do not get the secret.
    """
    there = frozenset(offered)
    for name in allowed:
        row = MECHANISMS[name]
        if name in there and row.token == token and (can_bind or not row.binds) and (known or row.discreet):
            return name
    return ""


class Exchange:
    """One AUTH.  Owner: the session.

    Args:
        name: the mechanism, one of MECHANISMS.
        who: who we are.

    Attributes:
        trouble: why it was given up by us, empty if it was not.
    """

    __slots__ = ("_exchange", "_first", "_given", "_row", "_who", "name", "trouble")

    def __init__(self, name: str, who: Secrets) -> None:
        self.name = name
        self.trouble = ""
        self._row = MECHANISMS[name]
        self._who = who
        self._exchange: ClientExchange | None = None
        self._first = ""  # an initial response that waits until the server asks for it
        self._given = 0

    @property
    def is_proven(self) -> bool:
        """Whether success may be believed: all was said, and the server has proved what it has to prove."""
        return not self.trouble and self._given >= self._row.responses

    @property
    def is_costly(self) -> bool:
        """Whether the next response may take long to make."""
        return self._row.costly and self._given > 0

    def command(self) -> str:
        """Gives the command, without line end.

        Raises:
            SaslError: there is nothing to be said with this name or secret.
        """
        line = f"AUTH {self.name}"
        if not self._row.client_first:
            return line
        first = self._response(b"")
        if len(line) + 1 + len(first) <= COMMAND_MAX_BYTES:
            return f"{line} {first or _NO_RESPONSE}"
        self._first = first
        return line

    def answer(self, challenge: str) -> str:
        """Gives the line that answers a challenge: a response, or what gives the exchange up.

        Args:
            challenge: base64, as the server sent it.
        """
        if self.trouble:
            return CANCEL
        if self._first:
            first, self._first = self._first, ""
            return first
        try:
            return self._response(_decoded(challenge))
        except SaslError as error:
            self.trouble = error.reason
            return CANCEL

    def _response(self, challenge: bytes) -> str:
        try:
            if self._exchange is None:
                self._exchange = self._row.start(self._who, challenge)
                said = next(self._exchange)
            else:
                said = self._exchange.send(challenge)
        except StopIteration:
            raise malformed("the server asks for more than the mechanism has") from None
        self._given += 1
        return base64.b64encode(said).decode()


def _decoded(challenge: str) -> bytes:
    try:
        return base64.b64decode(challenge.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise malformed("a challenge of the server is no base64") from None
