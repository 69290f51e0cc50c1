"""What SMTPS looks at of its certificates before it is started.

Ref: MeTA1 design, "Functional Specification: Supervisor" (modelled on).
"""

import contextlib
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from meta1g.base.cli import code_of
from meta1g.base.selfcheck import Findings
from meta1g.base.tlsfacts import TlsSettings, ending
from meta1g.smtps.certificates import read_secret
from meta1g.smtps.servernames import sorted_names
from meta1g.st.tls import tls_context, tls_trouble


def check_tls(settings: TlsSettings, where: str, found: Findings) -> None:
    """Loads the certificates as SMTPS would; what ends or can be read by everybody is a warning.

    Args:
        settings: the certificates.
        where: place of their section.
        found: what is wrong is added here.
    """
    if trouble := tls_trouble():
        found.warn(f"{where}: {trouble}")
    _check_pairs(settings, where, found)
    if settings.ticket_secret_file is not None:
        _warn_of_mode(settings.ticket_secret_file, where, found)
        with _told(where, found):
            read_secret(settings.ticket_secret_file)
    if settings.names is not None:
        with found.part():
            names, wrong = sorted_names(settings.names)
            for text in wrong:
                found.add(text)
            for pairs in dict.fromkeys(names.values()):
                _check_pairs(replace(settings, pairs=pairs), where, found)


def _check_pairs(settings: TlsSettings, where: str, found: Findings) -> None:
    for pair in settings.pairs:
        _warn_of_mode(pair.key_file, where, found)
    known = len(found.lines)
    for part in settings.parts():
        with _told(where, found):
            tls_context(part, server=True)
    if len(found.lines) > known:
        return
    with _told(where, found):
        left = tls_context(settings, server=True).seconds_left()
        for pair, left_s in zip(settings.pairs, left, strict=False):
            if text := ending(left_s):
                found.warn(f"{where}: {text}: {pair.cert_file}")


@contextlib.contextmanager
def _told(where: str, found: Findings) -> Iterator[None]:
    """Tells what cannot be used."""
    try:
        yield
    except OSError as error:
        found.add(f"{where}: {error.strerror}", code_of(error))


def _warn_of_mode(path: Path, where: str, found: Findings) -> None:
    with contextlib.suppress(OSError):  # who reads it tells
        if path.stat().st_mode & stat.S_IROTH:
            found.warn(f"{where}: {path} can be read by everybody: chmod o-r {path}")
