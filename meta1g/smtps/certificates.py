"""The certificates of SMTPS: loaded at the start, loaded anew when their files change, and warned of before they end.

A file that is changed is used when all of them can be loaded together; until then the old ones serve on, and the log says why.
Sessions under TLS keep what they began with.

Ref: MeTA1 README, "STARTTLS" (files modelled on); RFC 8446.
"""

from meta1g.base.clock import Clock
from meta1g.base.errors import Module, PermError
from meta1g.base.log import Log
from meta1g.base.tlsfacts import TlsSettings, ending
from meta1g.smtps.handshakes import Handshakes
from meta1g.smtps.limits import CERTIFICATES_LOOK_S, US
from meta1g.st import StError, st_usleep
from meta1g.st.tls import TlsContext, tls_context, tls_trouble

_DAY_S = 86400


class Certificates:
    """The context of TLS sessions.

    Args:
        settings: files, versions, ciphers.
        log: the log.
        clock: the clock.
        sessions_max: sessions that can be served at the same time.

    Raises:
        PermError: a file cannot be used; the text names it.

    Attributes:
        context: for the next handshake.
        handshakes: those that are not over.

    Owner: the process (one native thread).
    """

    def __init__(self, settings: TlsSettings, log: Log, clock: Clock, sessions_max: int) -> None:
        self.handshakes = Handshakes(sessions_max)
        self._settings = settings
        self._log = log
        self._clock = clock
        self._seen = settings.signature()
        self._warned_s = -float(_DAY_S)
        self._told = ""  # why the files that are there now cannot be used
        try:
            self.context: TlsContext = tls_context(settings, server=True)
        except StError as error:
            raise PermError(Module.SMTPS, f"tls: {error.strerror}") from error
        trouble = tls_trouble()
        if trouble:
            log.warn("smtps.tls_poor", trouble)
        self._warn()

    def watch(self, _arg: object = None) -> None:
        """Looks at the files for ever.  Switches: yes (sleeps)."""
        while True:
            st_usleep(CERTIFICATES_LOOK_S * US)
            self.look()

    def look(self) -> None:
        """Loads the files anew if one has changed; warns once a day if a certificate is about to end."""
        seen = self._settings.signature()
        if seen != self._seen:
            try:
                self.context = tls_context(self._settings, server=True)
                self._seen, self._told = seen, ""
                self._warned_s = -float(_DAY_S)
                self._log.notice("smtps.tls_loaded", "the files have changed and are used from now on", path=self._first())
            except StError as error:  # it is tried again: the reason may pass without a change of the files
                if (error.strerror or "") != self._told:
                    self._told = error.strerror or ""
                    text = f"{error.strerror}; the old certificates are used on"
                    self._log.error("smtps.tls_files", text, path=self._first())
        self._warn()

    def _first(self) -> str:
        return str(self._settings.pairs[0].cert_file)

    def _warn(self) -> None:
        text, now = ending(self.context.seconds_left()), self._clock.monotonic()
        if text and now - self._warned_s >= _DAY_S:
            self._warned_s = now
            self._log.warn("smtps.tls_ends", text, path=self._first())
