"""The contexts of TLS sessions with servers: made at the first use, anew when their files have changed.

Ref: MeTA1 README, "STARTTLS" (files modelled on).
"""

from typing import TYPE_CHECKING

from meta1g.base.errors import Module, TempError
from meta1g.base.tlsfacts import TlsFiles, TlsSettings

if TYPE_CHECKING:
    from meta1g.st.tls import TlsContext


class TlsOut:
    """TLS as a client uses it.  Owner: the process (one native thread)."""

    __slots__ = ("_contexts",)

    def __init__(self) -> None:
        self._contexts: dict[TlsSettings, tuple[TlsFiles, TlsContext]] = {}

    def context(self, settings: TlsSettings) -> "TlsContext":
        """Gives the context of some settings, which are few: those of a section and of pieces of configuration.

        Raises:
            TempError: a file cannot be used; the text names it.
        """
        from meta1g.st.errors import StError
        from meta1g.st.tls import tls_context

        files = settings.signature()
        known = self._contexts.get(settings)
        if known is None or known[0] != files:
            try:
                known = self._contexts[settings] = files, tls_context(settings, server=False)
            except StError as error:
                raise TempError(Module.SMTPC, f"tls: {error.strerror}") from error
        return known[1]
