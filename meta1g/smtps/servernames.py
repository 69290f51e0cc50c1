"""Certificates by the name that a client asks for (SNI): the map is held in memory, contexts are made when they are needed.

A name is looked up after the hello has come, between two steps of the handshake; files are read by native threads: nobody else
waits for a name.  What is changed is used when it can be loaded; until then the old one serves on, and the log says why.

Owner: the process (one native thread; those of offload() for what reads files).
Ref: RFC 6066 3.
"""

import errno
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import TOLD_MAX, Meta1Error, Module, PermError
from meta1g.base.log import Log
from meta1g.base.rsc import Rsc
from meta1g.base.tlsfacts import KeyPair, ServerNamesFile, TlsFiles, TlsSettings, ending
from meta1g.conf.tlsconf import pairs_of
from meta1g.maps.lookup import domain_keys
from meta1g.maps.textmap import read_entries
from meta1g.smtps.limits import SERVER_NAME_CONTEXTS, SERVER_NAMES_MAX
from meta1g.st import st_checkpoint, st_mutex_lock, st_mutex_new, st_mutex_unlock
from meta1g.st.offload import offload
from meta1g.st.tls import TlsContext, cert_file_seconds_left, tls_context

Pairs = tuple[KeyPair, ...]
_TEXT: Final = "text"


def read_names(names: ServerNamesFile) -> dict[str, Pairs]:
    """Reads the map.  Blocks: yes (disk).

    Raises:
        Meta1Error: it cannot be read, entries are wrong, or there are more than SERVER_NAMES_MAX; the text names them.
    """
    found, wrong = sorted_names(names)
    if wrong:
        raise PermError(Module.SMTPS, "; ".join(wrong))
    return found


def sorted_names(names: ServerNamesFile) -> tuple[dict[str, Pairs], list[str]]:
    """Reads the map; gives the entries that are right, and a text for each of the others.  Blocks: yes (disk).

    Raises:
        Meta1Error: it cannot be read, or has more than SERVER_NAMES_MAX.
    """
    found: dict[str, Pairs] = {}
    wrong: list[str] = []
    for where, key, value in _entries(names):
        try:
            found[key.lower()] = pairs_of(value, names.directory)
        except ValueError as error:
            wrong.append(f"{where}: key {key}: {error}")
            if len(wrong) >= TOLD_MAX:
                break
        if len(found) > SERVER_NAMES_MAX:
            raise PermError(Module.SMTPS, f"{names.path}: has more than {SERVER_NAMES_MAX} names; use several smtps")
    return found, wrong


def _entries(names: ServerNamesFile) -> Iterator[tuple[str, str, str]]:
    if names.kind == _TEXT:
        for number, key, value in read_entries(names.path):
            yield f"{names.path}:{number}", key, value
        return
    from meta1g.db.mapfile import MapFile

    opened = MapFile.open_checked(names.path)
    try:
        for key_bytes, value_bytes in opened.items():
            yield str(names.path), key_bytes.decode(errors="replace"), value_bytes.decode(errors="replace")
    finally:
        opened.close()


@dataclass(slots=True)
class _Loaded:
    """A context with what its files were like.  Owner: that of ServerNames."""

    context: TlsContext
    seen: TlsFiles
    told: str = ""  # why its files of now cannot be used


class ServerNames:
    """The contexts for server names.

    Args:
        settings: with the map; all but the certificates holds for each context.
        log: the log.

    Raises:
        Meta1Error: the map cannot be used.
    """

    def __init__(self, settings: TlsSettings, log: Log) -> None:
        assert settings.names is not None
        self._settings = settings
        self._file = settings.names
        self._log = log
        self._seen = self._signature()
        self._table: Mapping[str, Pairs] = read_names(self._file)
        self._contexts: Rsc[Pairs, _Loaded] = Rsc(SERVER_NAME_CONTEXTS, Module.SMTPS)
        self._broken: dict[Pairs, str] = {}  # until the next refresh()
        self._told = ""
        self._loading = st_mutex_new()

    def _signature(self) -> TlsFiles:
        return TlsSettings(ca_file=self._file.path).signature()

    def choose(self, name: str) -> "TlsContext | None":
        """Gives the context for a name, None for that of the section.  Switches: yes, if it has to be loaded.

        Args:
            name: what the client asks for, in lower case; empty for nothing.

        Raises:
            StError: EINTR.
        """
        pairs = next((self._table[key] for key in domain_keys(name.rstrip(".")) if key in self._table), None)
        if pairs is None:
            return None
        known = self._contexts.get(pairs)
        return known.context if known is not None else self._load(pairs)

    def _load(self, pairs: Pairs) -> "TlsContext | None":
        """Makes a context; None if its files cannot be used, which is told once for each refresh().  Switches: yes."""
        st_mutex_lock(self._loading)
        try:
            known = self._contexts.get(pairs)  # another handshake was faster
            if known is None and pairs not in self._broken:
                known = self._made(pairs)
                self._contexts.put(pairs, known)
        except OSError as error:
            if error.errno == errno.EINTR:
                raise
            self._broken[pairs] = error.strerror or str(error)
            self._tell(pairs, f"{self._broken[pairs]}; the certificate of the section is used")
        finally:
            st_mutex_unlock(self._loading)
        return None if known is None else known.context

    def _made(self, pairs: Pairs) -> _Loaded:
        """Switches: yes (files)."""
        settings = replace(self._settings, pairs=pairs)
        seen = settings.signature()
        return _Loaded(offload(tls_context, settings, server=True), seen)

    def _tell(self, pairs: Pairs, text: str) -> None:
        self._log.error("smtps.tls_files", text, path=str(pairs[0].cert_file))

    def refresh(self) -> bool:
        """Reads anew what has changed; tells whether it did.  Switches: yes (files)."""
        self._broken.clear()
        seen = self._signature()
        changed = seen != self._seen and self._read_table(seen)
        for pairs in tuple(self._contexts):
            st_checkpoint()
            changed = self._renew(pairs) or changed
        return changed

    def _read_table(self, seen: TlsFiles) -> bool:
        """Switches: yes (files)."""
        try:
            self._table, self._seen, self._told = offload(read_names, self._file), seen, ""
        except (Meta1Error, OSError) as error:
            text = error.cause if isinstance(error, Meta1Error) else error.strerror or str(error)
            if text != self._told:
                self._told = text
                self._log.error("smtps.tls_files", f"{text}; the old map is used on", path=str(self._file.path))
            return False
        self._log.notice("smtps.tls_loaded", "the map has changed and is used from now on", path=str(self._file.path))
        return True

    def _renew(self, pairs: Pairs) -> bool:
        """Loads the files of a context anew if they have changed.  Switches: yes (files)."""
        old = self._contexts.get(pairs)
        if old is None or replace(self._settings, pairs=pairs).signature() == old.seen:
            return False
        try:
            self._contexts.put(pairs, self._made(pairs))
        except OSError as error:
            text = error.strerror or str(error)
            if text != old.told:
                old.told = text
                self._tell(pairs, f"{text}; the old certificates are used on")
            return False
        text = "the files have changed and are used from now on"
        self._log.notice("smtps.tls_loaded", text, path=str(pairs[0].cert_file))
        return True

    def endings(self) -> list[tuple[str, str]]:
        """Gives file and text of each certificate that is about to end.  Switches: yes (files)."""
        files = sorted({str(pair.cert_file): pair.cert_file for pairs in self._table.values() for pair in pairs}.items())

        def read() -> list[tuple[str, str]]:
            found = []
            for text, path in files:
                with suppress(OSError):  # told when it is needed, and by every checker
                    found.append((text, ending(cert_file_seconds_left(path))))
            return [one for one in found if one[1]]

        return offload(read)
