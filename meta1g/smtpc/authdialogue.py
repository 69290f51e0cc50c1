"""AUTH in a session: the mechanism is chosen, its lines are said, and the server has to go through with it.

    no AUTH offered, no common mechanism, in clear      temporary failure of the session
    535, and whatever else refuses it                    temporary failure of the session, in the words of the server
    wrong base64, a server that cannot prove itself      the exchange is cancelled, temporary failure of the session

Loaded when there is a login for a server.

Owner: one state thread (the session's).
Ref: RFC 4954; docs/decisions.md, "AUTH at servers".
"""

import secrets
from collections.abc import Callable
from typing import Final

from meta1g.base.reply import Reply
from meta1g.base.tlsfacts import TlsInfo
from meta1g.base.tlspolicy import TlsPolicy
from meta1g.sasl.base import SaslError
from meta1g.smtpc.auth import Exchange, Secrets, choose, offered_mechanisms
from meta1g.smtpc.connection import ServerConnection
from meta1g.smtpc.demands import is_known
from meta1g.smtpc.fsm import State
from meta1g.smtpc.limits import CHALLENGES_MAX
from meta1g.smtpc.logins import Login, LoginSettings
from meta1g.smtpc.status import SessionError, where
from meta1g.smtpc.talk import Talk
from meta1g.st.offload import offload

#: RFC 5802 5.1 names no length.
_NONCE_BYTES: Final = 18
_UNKNOWN: Final = (
    "the certificate of the server is not verified, so the secret is not told; name its authority in CAcert_file, or its name "
    "or fingerprint in tls_policy, or set the flag unverified_tls of auth; offered: "
)


class AuthDialogue:
    """AUTH in one session.

    Args:
        talk: in state READY.
        connection: its connection.
        settings: section auth.
        converse: says what talk has to say, and reads what is owed.
    """

    __slots__ = ("_connection", "_converse", "_exchange", "_settings", "_talk")

    def __init__(self, talk: Talk, connection: ServerConnection, settings: LoginSettings, converse: Callable[[], None]) -> None:
        self._talk = talk
        self._connection = connection
        self._settings = settings
        self._converse = converse
        self._exchange: Exchange | None = None

    def choose(self, login: Login, secret: str, tls: TlsInfo | None, policy: TlsPolicy) -> str:
        """Chooses a mechanism; gives its name.

        Args:
            login: who we are.
            secret: the password or the token.
            tls: what was agreed on; None in clear.
            policy: what TLS had to fulfil.

        Raises:
            SessionError: there is none, or the session is in clear.
        """
        settings, connection = self._settings, self._connection
        if tls is None and not settings.without_tls and not connection.is_local:
            raise self._failed("there is a login, and the session is in clear; the flag without_tls of auth lets secrets go so")
        offered = offered_mechanisms(self._talk.extensions.keywords)
        if not offered:
            raise self._failed("there is a login, and the server does not offer AUTH")
        binding = None if tls is None else connection.binding
        anybody = settings.unverified_tls or settings.without_tls or connection.is_local
        known = anybody or is_known(policy, connection.server.host, tls)
        facts = {"token": login.is_token, "can_bind": binding is not None}
        name = choose(offered, settings.mechanisms, **facts, known=known)
        if not name:
            unknown = not known and choose(offered, settings.mechanisms, **facts, known=True)
            why = _UNKNOWN if unknown else "no mechanism that may be used for this login is offered: "
            raise self._failed(why + " ".join(offered))
        server = connection.server
        who = Secrets(
            user=login.user,
            secret=secret,
            host=server.host,
            port=server.port,
            nonce=secrets.token_urlsafe(_NONCE_BYTES),
            binding=binding,
            plus_offered=any(one.endswith("-PLUS") for one in offered),
        )
        self._exchange = Exchange(name, who)
        return name

    def run(self) -> None:
        """Says it all; a mechanism was chosen before.

        Raises:
            SessionError: the server does not know us by it.

        Switches: yes (read, write, offload).
        """
        exchange, talk = self._exchange, self._talk
        if exchange is None:
            return
        try:
            talk.auth(exchange.command())
        except SaslError as error:
            raise self._failed(f"{exchange.name}: {error.reason}") from error
        self._converse()
        self._answer_all(exchange)
        if exchange.trouble:
            raise self._failed(f"{exchange.name}: {exchange.trouble}")
        if talk.failure is not None:
            raise SessionError(talk.failure)
        if talk.state is not State.READY or not exchange.is_proven:
            raise self._failed(f"{exchange.name}: the server did not go through with it")

    def _answer_all(self, exchange: Exchange) -> None:
        """Answers challenges, not more than any mechanism has.  Switches: yes."""
        talk = self._talk
        for _ in range(CHALLENGES_MAX):
            if talk.state is not State.CHALLENGED:
                return
            answer, challenge = exchange.answer, talk.challenge
            talk.respond(offload(answer, challenge) if exchange.is_costly else answer(challenge))
            self._converse()

    def _failed(self, text: str) -> SessionError:
        return SessionError(Reply(451, "4.7.0", f"{where(self._connection.server)}: AUTH: {text}"))
