"""The contexts of TLS sessions with servers: made at the first use, anew when their files have changed.

Files that have changed are used when all of them can be loaded; until then the old ones are, and the log says why.

Ref: MeTA1 README, "STARTTLS" (files modelled on).
"""

from typing import TYPE_CHECKING

from meta1g.base.errors import Module, TempError
from meta1g.base.log import Log
from meta1g.base.tlsfacts import TlsFiles, TlsSettings

if TYPE_CHECKING:
    from meta1g.st.tls import TlsContext


class TlsOut:
    """TLS as a client uses it.

    Args:
        log: hears of changed files that cannot be used.

    Owner: the process (one native thread).
    """

    __slots__ = ("_contexts", "_log")

    def __init__(self, log: Log) -> None:
        self._log = log
        self._contexts: dict[TlsSettings, tuple[TlsFiles, TlsContext]] = {}

    def context(self, settings: TlsSettings) -> "TlsContext":
        """Gives the context of some settings, which are few: those of a section and of pieces of configuration.

        Raises:
            TempError: a file cannot be used, and there is no context from before; the text names it.
        """
        from meta1g.st.errors import StError
        from meta1g.st.tls import tls_context

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
