"""The verifier of ARC chains: header, then body in pieces, then the state of the chain.

    verifier = ArcVerifier(VerifyLimits())
    verifier.header(fields); verifier.body(chunk); ...
    result = verifier.finish(resolver.txt, now)

Nothing that a message has makes it raise.

Pure.  Ref: RFC 8617 5.2; RFC 8601 2.7.1; docs/dkim.md.
"""

from meta1g.base.dataclass import dataclass
from meta1g_filters.arc.sets import ArcSet, find_sets, sealed
from meta1g_filters.dkim.canon import BodyHashes, SignedFields
from meta1g_filters.dkim.signature import (
    ALGORITHMS,
    KeyFinder,
    Lookup,
    ResultWord,
    SignatureError,
    VerifyLimits,
    check_strength,
    signed_by,
)
from meta1g_filters.dkim.tags import TagError


@dataclass(frozen=True, slots=True)
class ArcResult:
    """The state of a chain.

    Args:
        cv: `none`: there is no ARC set; `pass`; `fail`.
        instances: number of sets, 0 if they are none that can be counted.
        reason: why it fails; printable ASCII.
        oldest_pass: the first instance from which on all message signatures hold, 0 if all of them do; if it is a `pass`.
        sealers: domains of the seals, from the first to the last; empty unless `pass`.
        is_temporary: a key could not be asked for; the chain may be good.
    """

    cv: ResultWord
    instances: int = 0
    reason: str = ""
    oldest_pass: int = 0
    sealers: tuple[str, ...] = ()
    is_temporary: bool = False


class ArcVerifier:
    """Verifies the chain of one message.

    Args:
        limits: what is accepted; `signatures_max` bounds the message signatures of older instances that are looked at.
        bodies: hashes of the body, if others want some of the same body; then they are fed by whoever made them.

    Owner: whoever made it.
    """

    __slots__ = ("_bodies", "_fields", "_limits", "_sets", "_wrong")

    def __init__(self, limits: VerifyLimits | None = None, bodies: BodyHashes | None = None) -> None:
        self._limits = limits or VerifyLimits()
        self._bodies = bodies or BodyHashes()
        self._fields = SignedFields([])
        self._sets: list[ArcSet] = []
        self._wrong = ""

    @property
    def sets(self) -> list[ArcSet]:
        """The sets of the message, empty if they are no chain."""
        return self._sets

    def header(self, fields: list[bytes]) -> None:
        """Takes all header fields from top to bottom, each with its line ends; comes first, and once."""
        self._fields = SignedFields(fields)
        try:
            self._sets = find_sets(fields, self._limits.field_max_bytes)
        except (TagError, SignatureError) as error:
            self._wrong = str(error)
        for one in self._looked_at():
            one.message.want_body(self._bodies)

    def body(self, chunk: bytes) -> None:
        """Takes the next piece of the body."""
        self._bodies.update(chunk)

    def finish(self, lookup: Lookup, now: float) -> ArcResult:
        """Ends the message.  Blocks: as lookup does.

        Args:
            lookup: asks for TXT records.
            now: the time, seconds since 1970.
        """
        if self._wrong:
            return ArcResult("fail", reason=self._wrong)
        if not self._sets:
            return ArcResult("none")
        keys, count = KeyFinder(lookup), len(self._sets)
        try:
            self._check_message(self._sets[-1], keys, now)
            for one in reversed(self._sets):
                self._check_seal(one, keys)
        except SignatureError as error:
            return ArcResult("fail", count, error.reason, is_temporary=error.word == "temperror")
        sealers = tuple(one.seal.domain for one in self._sets)
        return ArcResult("pass", count, oldest_pass=self._oldest_pass(keys, now), sealers=sealers)

    def _looked_at(self) -> list[ArcSet]:
        """Gives the sets whose message signatures are looked at, the last one first."""
        return self._sets[::-1][: max(1, self._limits.signatures_max)]

    def _check_message(self, one: ArcSet, keys: KeyFinder, now: float) -> None:
        try:
            one.message.check(self._fields, self._bodies, keys, now, self._limits)
        except SignatureError as error:
            raise SignatureError(error.word, f"ARC-Message-Signature i={one.instance}: {error.reason}") from error

    def _check_seal(self, one: ArcSet, keys: KeyFinder) -> None:
        """Checks the seal of a set over all sets up to it (RFC 8617 5.2 step 6)."""
        seal = one.seal
        covered = [(each.results, each.message.field, each.seal.field) for each in self._sets[: one.instance]]
        try:
            record = keys.find(seal.domain, seal.selector, ALGORITHMS[seal.algorithm])
            if not signed_by(record, seal.signature, sealed(covered)):
                raise SignatureError("fail", "signature does not fit the sets")
            check_strength(record, self._limits)
        except SignatureError as error:
            raise SignatureError(error.word, f"ARC-Seal i={one.instance}: {error.reason}") from error

    def _oldest_pass(self, keys: KeyFinder, now: float) -> int:
        """Gives the first instance from which on all message signatures hold, 0 if all do (RFC 8617 5.2 step 5)."""
        for one in self._looked_at()[1:]:
            try:
                self._check_message(one, keys, now)
            except SignatureError:
                return one.instance + 1
        older = len(self._sets) - len(self._looked_at())
        return older + 1 if older else 0
