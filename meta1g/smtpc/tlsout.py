"""The context of TLS sessions with servers: made at the first use, anew when its files have changed.

Ref: MeTA1 README, "STARTTLS" (files modelled on).
"""

from typing import TYPE_CHECKING

from meta1g.base.errors import Module, TempError
from meta1g.base.tlsfacts import TlsSettings

if TYPE_CHECKING:
    from meta1g.st.tls import TlsContext


class TlsOut:
    """TLS as a client uses it.

    Args:
        settings: certificates, versions, ciphers.

    Owner: the process (one native thread).
    """

    __slots__ = ("_context", "_seen", "settings")

    def __init__(self, settings: TlsSettings) -> None:
        self.settings = settings
        self._context: TlsContext | None = None
        self._seen = settings.signature()

    def context(self) -> "TlsContext":
        """Gives the context.

        Raises:
            TempError: a file cannot be used; the text names it.
        """
        from meta1g.st.errors import StError
        from meta1g.st.tls import tls_context

        seen = self.settings.signature()
        if self._context is None or seen != self._seen:
            try:
                self._context, self._seen = tls_context(self.settings, server=False), seen
            except StError as error:
                raise TempError(Module.SMTPC, f"tls: {error.strerror}") from error
        return self._context
