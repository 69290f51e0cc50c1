"""TLS sessions with servers: their contexts, made at the first use and anew with changed files; and what became of them.

Files that have changed are used when all of them can be loaded; until then the old ones are, and the log says why.

Ref: MeTA1 README, "STARTTLS" (files modelled on).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from meta1g.base.errors import Module, TempError
from meta1g.base.log import Log
from meta1g.base.reply import Reply
from meta1g.base.tlsfacts import TlsFiles, TlsInfo, TlsSettings
from meta1g.base.tlspolicy import OPPORTUNISTIC, TlsPolicy
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.schema import Message
from meta1g.rcb.tlssession import TlsSession

if TYPE_CHECKING:
    from meta1g.st.tls import TlsContext

#: What is told of a reason.  Our choice: it may have a reply of the server in it.
_REASON_MAX_CHARS: Final = 500


class TlsOut:
    """TLS as a client uses it.

    Args:
        log: hears of sessions, and of changed files that cannot be used.
        post: tells QMGR of sessions that are counted for reports, or drops it.

    Owner: the process (one native thread).
    """

    __slots__ = ("_contexts", "_log", "_post")

    def __init__(self, log: Log, post: Callable[[Message], None] = lambda message: None) -> None:
        self._log = log
        self._post = post
        self._contexts: dict[TlsSettings, tuple[TlsFiles, TlsContext]] = {}

    def context(self, settings: TlsSettings, policy: TlsPolicy = OPPORTUNISTIC) -> "TlsContext":
        """Gives the context of some settings, which are few: those of a section, of pieces of configuration, and of policies.

        Raises:
            TempError: a file cannot be used, and there is no context from before; the text names it.
        """
        from meta1g.st.errors import StError
        from meta1g.st.tls import tls_context

        if policy.tls13 or policy.ciphers:
            tls13, ciphers = policy.tls13 or settings.tls13_only, policy.ciphers or settings.ciphers
            settings = replace(settings, tls13_only=tls13, ciphers=ciphers)
        files = settings.signature()
        known = self._contexts.get(settings)
        if known is None or known[0] != files:
            try:
                known = files, tls_context(settings, server=False)
            except StError as error:
                if known is None:
                    raise TempError(Module.SMTPC, f"tls: {error.strerror}") from error
                self._log.error("smtpc.tls_files", f"{error.strerror}; the old files are used on")
                known = files, known[1]
            self._contexts[settings] = known
        return known[1]

    # -- what became of it ---------------------------------------------------------------------------------------------

    def agreed(self, session_id: str, server: ServerAddr, policy: TlsPolicy, info: TlsInfo) -> None:
        """Tells that a session is under TLS, as it has to be."""
        self._log.info(
            "smtpc.tls",
            "ok",
            da_sess=session_id,
            server=server.addr,
            server_name=server.host or None,
            tls_policy=_named(policy),
            **info.logged(),
        )

    def failed(self, session_id: str, server: ServerAddr, why: Reply) -> None:
        """Tells that a session goes on in clear although TLS was tried."""
        reason = f"{why.one_line}; tried in clear"
        self._log.notice("smtpc.tls_failed", reason, da_sess=session_id, server=server.addr, server_name=server.host or None)

    def refused(self, session_id: str, server: ServerAddr, policy: TlsPolicy, why: Reply) -> None:
        """Tells that a session ends since its TLS is not as demanded."""
        self._log.notice(
            "smtpc.tls_refused",
            why.one_line,
            da_sess=session_id,
            server=server.addr,
            server_name=server.host or None,
            tls_policy=_named(policy),
            reply=why.code,
        )

    def count(self, server: ServerAddr, source: str, info: TlsInfo | None, lack: str, *, offered: bool) -> None:
        """Tells QMGR of a session with a server of a domain whose sessions are counted for reports (RFC 8460).

        Args:
            server: the server; its domain is the one that it counts for.
            source: our address.
            info: what was agreed on, None in clear.
            lack: what it lacks.
            offered: the server offered STARTTLS.
        """
        self._post(
            TlsSession(
                domain=server.domain,
                server=(server,),
                source=source,
                offered=offered,
                secured=info is not None and not lack,
                verified=info is not None and info.verified,
                reason=(lack or (info.reason if info is not None else ""))[:_REASON_MAX_CHARS],
            )
        )


def _named(policy: TlsPolicy) -> str:
    return f"{policy.level} {policy.source}".rstrip()
