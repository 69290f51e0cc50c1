"""One message while it arrives: header and body go to who verifies or signs it; nothing but the header is held.

    chunks -> header complete -> DkimVerifier, or DkimSigner with the keys of the author's domain
                           -> ArcVerifier, ArcSealer
           -> body            -> hashes, if somebody wants them

Ref: docs/filter-authentication.md.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from meta1g.milter.header import ContentSplitter
from meta1g.smtp.header import Field
from meta1g_filters.arc.seal import ArcSealer
from meta1g_filters.arc.verify import ArcVerifier
from meta1g_filters.auth.decide import QUARANTINE_FIELD, SpfChecked
from meta1g_filters.auth.settings import AuthFilterSettings
from meta1g_filters.authres.results import FIELD_NAME, claims
from meta1g_filters.dkim.canon import BodyHashes
from meta1g_filters.dkim.sign import DkimSigner
from meta1g_filters.dkim.signature import VerifyLimits
from meta1g_filters.dkim.verify import DkimVerifier
from meta1g_filters.dmarc.author import author_domains

#: Header and its fields that are looked at; the gateway takes no more (docs/milters.md).
_HEADER_MAX_BYTES: Final = 1 << 20
_FIELDS_MAX: Final = 5000
_FROM: Final = b"from"
_SIGNATURES: Final = (b"dkim-signature", b"arc-message-signature")
_LIMITS: Final = VerifyLimits()


class AuthMessage:
    """One transaction and its message.

    Args:
        settings: the configuration when it began.
        trusted: it is signed and not checked.
        spf: what SPF said at MAIL.

    Attributes:
        settings, trusted, spf: the same.
        fields: of the header, when it is complete.
        authors: domains in From, likewise.
        verifier: of signatures, None if none is verified.
        signatures: how many it looks at.
        arc: of the chain of ARC, None if nobody wants to know.
        signer: makes signatures, None if nothing is signed.
        sealer: makes an ARC set, None if nothing is sealed.

    Owner: the session.
    """

    __slots__ = (
        "_bodies",
        "_splitter",
        "_wants_body",
        "arc",
        "authors",
        "fields",
        "sealer",
        "settings",
        "signatures",
        "signer",
        "spf",
        "trusted",
        "verifier",
    )

    def __init__(self, settings: AuthFilterSettings, *, trusted: bool, spf: SpfChecked | None) -> None:
        self.settings = settings
        self.trusted = trusted
        self.spf = spf
        self.fields: tuple[Field, ...] = ()
        self.authors: tuple[str, ...] = ()
        self.verifier: DkimVerifier | None = None
        self.signatures = 0
        self.arc: ArcVerifier | None = None
        self.signer: DkimSigner | None = None
        self.sealer: ArcSealer | None = None
        self._bodies = BodyHashes()
        self._wants_body = False
        self._splitter = ContentSplitter(_HEADER_MAX_BYTES, _FIELDS_MAX)

    def feed(self, chunk: bytes) -> bool:
        """Takes the next piece of the content; tells whether more of it is needed."""
        was_done = self._splitter.done
        body = self._splitter.feed(chunk)
        if self._splitter.done and not was_done:
            self._begin()
        self._bodies.update(body)
        return not self._splitter.done or self._wants_body

    def finish(self) -> None:
        """Is told that the content is complete."""
        if not self._splitter.done:
            body = self._splitter.finish()
            self._begin()
            self._bodies.update(body)

    def _begin(self) -> None:
        """Begins with the header."""
        self.fields = self._splitter.fields
        self.authors = author_domains(one.raw.partition(b":")[2] for one in self.fields if one.name.lower() == _FROM)
        if self.trusted:
            self._begin_signing()
        else:
            self._begin_checks()

    def _begin_signing(self) -> None:
        keys = [key for author in self.authors[:1] for key in self.settings.keys_for(author)]
        if keys:
            self.signer = DkimSigner(keys, bodies=self._bodies)
            self.signer.header([one.raw for one in self.fields])
            self._wants_body = True

    def _begin_checks(self) -> None:
        settings, raw = self.settings, [one.raw for one in self.fields]
        if "dkim" in settings.flags:
            self.verifier = DkimVerifier(_LIMITS, self._bodies)
            self.verifier.header(raw)
            count = sum(one.name.lower() == _SIGNATURES[0] for one in self.fields)
            self.signatures = min(count, _LIMITS.signatures_max)
        if "arc" in settings.flags or settings.seal is not None:
            self.arc = ArcVerifier(bodies=self._bodies)
            self.arc.header(raw)
        if settings.seal is not None:
            self.sealer = ArcSealer(settings.seal, bodies=self._bodies)
            self.sealer.header(self._kept())
        signed = any(one.name.lower() in _SIGNATURES for one in self.fields)
        self._wants_body = signed or self.sealer is not None

    def _kept(self) -> list[bytes]:
        """Gives the fields that the next one sees of what came."""
        gone = {(name.lower().encode(), number) for name, number in self.forged()}
        seen: Counter[bytes] = Counter()
        kept = []
        for one in self.fields:
            key = one.name.lower()
            if (key, seen[key]) not in gone:
                kept.append(one.raw)
            seen[key] += 1
        return kept

    def forged(self) -> Iterator[tuple[str, int]]:
        """Gives name and number, counted from 0, of fields that only we may write, the last of each name first."""
        ours = {FIELD_NAME.lower().encode(): FIELD_NAME, QUARANTINE_FIELD.lower().encode(): QUARANTINE_FIELD}
        for key, name in ours.items():
            same = [one for one in self.fields if one.name.lower() == key]
            for number, one in reversed(list(enumerate(same))):
                if name == QUARANTINE_FIELD or claims(one.raw.partition(b":")[2], self.settings.authserv_id):
                    yield name, number
