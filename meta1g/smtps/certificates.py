"""The certificates of SMTPS: loaded at the start, loaded anew when their files change, and warned of before they end.

A file that is changed is used when all of them can be loaded together; until then the old ones serve on, and the log says why.
Sessions under TLS keep what they began with.

Ref: MeTA1 README, "STARTTLS" (files modelled on); RFC 8446.
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from meta1g.base.clock import Clock
from meta1g.base.errors import Meta1Error, Module, PermError
from meta1g.base.log import Log
from meta1g.base.plainfile import open_plain
from meta1g.base.tlsfacts import TlsSettings, ending
from meta1g.smtps.handshakes import Handshakes
from meta1g.smtps.limits import CERTIFICATES_LOOK_S, CERTIFICATES_TOLD, TICKET_SECRET_MAX_BYTES, US
from meta1g.smtps.servernames import ServerNames
from meta1g.smtps.tickets import SECRET_MIN_BYTES, day_of, keys_on
from meta1g.st import StError, st_usleep
from meta1g.st.libssl import readable
from meta1g.st.tls import TlsContext, tls_context, tls_trouble

_DAY_S: Final = 86400


def read_secret(path: Path) -> bytes:
    """Reads the secret of session tickets.  Blocks: yes (disk).

    Raises:
        StError: it cannot be read, or is too short; the text names it.
    """
    readable(path)
    with open_plain(path) as file:
        secret = file.read(TICKET_SECRET_MAX_BYTES)
    if len(secret) < SECRET_MIN_BYTES:
        raise StError(
            errno.EINVAL, f"{path}: has {len(secret)} bytes, {SECRET_MIN_BYTES} are needed: openssl rand -out {path} 48"
        )
    return secret


class Certificates:
    """The contexts of TLS sessions.

    Args:
        settings: files, versions, ciphers.
        log: the log.
        clock: the clock.
        sessions_max: sessions that can be served at the same time.
        tell: is told what status says of them, empty if all is well.

    Raises:
        PermError: a file cannot be used; the text names it.

    Attributes:
        context: for the next handshake.
        handshakes: those that are not over.
        names: contexts for server names, None without any.

    Owner: the process (one native thread).
    """

    def __init__(
        self, settings: TlsSettings, log: Log, clock: Clock, sessions_max: int, tell: Callable[[str], object] = bool
    ) -> None:
        self.handshakes = Handshakes(sessions_max)
        self._settings = settings
        self._log = log
        self._clock = clock
        self._tell = tell
        self._seen = settings.signature()
        self._warned_s = -float(_DAY_S)
        self._told = ""  # why the files that are there now cannot be used
        self._own_secret = os.urandom(SECRET_MIN_BYTES)
        self._day = day_of(clock.now())
        try:
            self.context: TlsContext = self._made()
            self.names = None if settings.names is None else ServerNames(settings, log)
        except (OSError, Meta1Error) as error:
            text = error.cause if isinstance(error, Meta1Error) else error.strerror
            raise PermError(Module.SMTPS, f"tls: {text}") from error
        self._trouble = tls_trouble()
        if self._trouble:
            log.warn("smtps.tls_poor", self._trouble)

    def _made(self) -> TlsContext:
        """Makes the context of what the files say now."""
        path = self._settings.ticket_secret_file
        self._secret = self._own_secret if path is None else read_secret(path)
        settings = replace(self._settings, ticket_keys=keys_on(self._secret, self._day))
        return tls_context(settings, server=True)

    def watch(self, _arg: object = None) -> None:
        """Looks at the files for ever.  Switches: yes (sleeps, files)."""
        while True:
            self.refresh()
            st_usleep(CERTIFICATES_LOOK_S * US)

    def refresh(self) -> None:
        """Loads anew what has changed, changes the keys of tickets each day, and warns once a day of certificates that end.

        Switches: yes, if there are server names (files).
        """
        self._change_keys()
        seen = self._settings.signature()
        if seen != self._seen:
            try:
                self.context = self._made()
                self._seen, self._told = seen, ""
                self._warned_s = -float(_DAY_S)
                self._log.notice("smtps.tls_loaded", "the files have changed and are used from now on", path=self._first())
            except OSError as error:  # it is tried again: the reason may pass without a change of the files
                if (error.strerror or "") != self._told:
                    self._told = error.strerror or ""
                    text = f"{error.strerror}; the old certificates are used on"
                    self._log.error("smtps.tls_files", text, path=self._first())
        if self.names is not None and self.names.refresh():
            self._warned_s = -float(_DAY_S)
        self._warn()

    def _change_keys(self) -> None:
        day = day_of(self._clock.now())
        if day != self._day:
            self._day = day
            self.context.set_ticket_keys(keys_on(self._secret, day))

    def _first(self) -> str:
        return str(self._settings.pairs[0].cert_file)

    def _warn(self) -> None:
        """Switches: yes, if there are server names (files)."""
        now = self._clock.monotonic()
        if now - self._warned_s < _DAY_S:
            return
        self._warned_s = now
        left = zip(self._settings.pairs, self.context.seconds_left(), strict=False)  # Python's ssl tells nothing
        endings = [(str(pair.cert_file), text) for pair, left_s in left if (text := ending(left_s))]
        if self.names is not None:
            with suppress(OSError):  # no native thread can be made: tomorrow
                endings += self.names.endings()
        for path, text in endings:
            self._log.warn("smtps.tls_ends", text, path=path)
        texts = [f"{path}: {text}" for path, text in endings[:CERTIFICATES_TOLD]]
        more = len(endings) - CERTIFICATES_TOLD
        if more > 0:
            texts.append(f"{more} more certificates end, see the log")
        self._tell("; ".join([*filter(None, [self._trouble]), *texts]))
