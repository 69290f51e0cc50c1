"""Whether a session may go on as it is: what became of TLS against what its policy and its piece of configuration demand.

The session (session.py) makes the handshake; here it is decided what follows, and told.

Ref: RFC 7435 (opportunistic); RFC 7672 2.2; MeTA1 README, "STARTTLS Restrictions" (demands modelled on).
"""

from meta1g.base.errors import PermError
from meta1g.base.reply import Reply
from meta1g.base.tlsfacts import TlsInfo
from meta1g.base.tlspolicy import TlsLevel, TlsPolicy, policy_of
from meta1g.rcb.common import ServerAddr
from meta1g.smtp.esmtp import Ext, Extensions
from meta1g.smtpc import demands
from meta1g.smtpc.settings import Settings
from meta1g.smtpc.status import SessionError, where
from meta1g.smtpc.tlsout import TlsOut


def policy_for(server: ServerAddr) -> TlsPolicy:
    """Gives what TLS has to fulfil at a server.

    Raises:
        SessionError: it is no policy; SMAR sends none that is wrong.
    """
    try:
        return policy_of(server.tls, server.tls_source)
    except PermError as error:
        raise SessionError(Reply(451, "4.3.5", error.cause)) from error


class Securing:
    """TLS of a session that is being opened.

    Args:
        session_id: its id.
        server: the address that it is connected to.
        policy: what TLS has to fulfil.
        settings: configuration for this server.
        tls_out: is told what became of it.
        source: our address, empty before there is a connection.

    Owner: the session's thread.
    """

    def __init__(
        self,
        session_id: str,
        server: ServerAddr,
        policy: TlsPolicy,
        settings: Settings,
        tls_out: TlsOut,
        source: str = "",
    ) -> None:
        self._source = source
        self._session_id = session_id
        self._server = server
        self._policy = policy
        self._settings = settings
        self._needs = settings.needs
        self._tls_out = tls_out
        self._offered = False
        self._counted = not server.domain  # told for reports, or not to be told

    def refusal(self) -> Reply | None:
        """Gives why no mail may go to this server now, whatever its TLS is like; None if it may."""
        if self._policy.refused:
            self._count(None, self._policy.refused)
        return self._told(demands.refused(where(self._server), self._policy))

    def begins(self, extensions: Extensions) -> bool:
        """Tells whether TLS is to be begun: both sides can, and want to."""
        can = self._settings.tls is not None and self._policy.level is not TlsLevel.NONE
        self._offered = can and extensions.has(Ext.STARTTLS)
        self._counted = self._counted or (not can and extensions.has(Ext.STARTTLS))  # what we do not want is no failure
        return self._offered

    def failure(self, why: Reply, tls: TlsInfo | None) -> Reply | None:
        """Gives the reply that the session ends with after a handshake that failed; None if it may go on in clear.

        It is temporary, whatever a violation is otherwise: what broke today may work tomorrow.  If it is EHLO under TLS that
        failed, and TLS is as demanded, that is the reply: whoever is not trusted cannot refuse.

        Args:
            why: what failed.
            tls: what was agreed on; None if it is TLS that failed.
        """
        is_demanded = self._policy.is_demanded or (self._needs is not None and self._needs.demands_tls)
        if tls is not None and is_demanded:
            return self.verdict(tls) or why
        self._count(None, why.one_line)
        if not is_demanded:
            self._tls_out.failed(self._session_id, self._server, why)
            return None
        at = where(self._server)
        own = why.one_line.startswith(f"{at}: ")
        text = why.one_line.removeprefix(f"{at}: ") if own else f"STARTTLS: {why}"
        return self._told(demands.violation(at, text, self._policy, None, in_clear=False))

    def verdict(self, tls: TlsInfo | None, refusal: Reply | None = None) -> Reply | None:
        """Gives the reply that the session ends with since it is not as demanded; None if it may go on.

        Args:
            tls: what was agreed on; None in clear.
            refusal: what the server said to STARTTLS, if it refused.
        """
        lack = demands.lack(self._policy, tls)
        self._count(tls, lack or ("STARTTLS is refused" if self._offered and tls is None else ""), offered=self._offered)
        text = lack or ("" if self._needs is None else self._needs.unmet(tls))
        if text:
            reason = text if tls is not None else f"{text}, {self._why_not(refusal)}"
            at, in_clear = where(self._server), not self._offered
            return self._told(demands.violation(at, reason, self._policy, self._needs, in_clear=in_clear))
        if tls is not None:
            self._tls_out.agreed(self._session_id, self._server, self._policy, tls)
        return None

    def _why_not(self, refusal: Reply | None) -> str:
        if refusal is not None:
            return f"but the server refuses STARTTLS: {refusal}"
        if self._policy.level is TlsLevel.NONE:
            return "but its policy is not to use it"
        return "but the server does not offer it" if self._settings.tls is not None else "but starttls is switched off"

    def _told(self, reply: Reply | None) -> Reply | None:
        if reply is not None:
            self._tls_out.refused(self._session_id, self._server, self._policy, reply)
        return reply

    def _count(self, tls: TlsInfo | None, lack: str, *, offered: bool = True) -> None:
        """Tells what became of TLS, once, if SMAR counts sessions of this domain; what it lacks counts as a failure."""
        if not self._counted:
            self._counted = True
            self._tls_out.count(self._server, self._source, tls, lack, offered=offered)
