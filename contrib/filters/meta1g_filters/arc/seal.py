"""The sealer of ARC: header, then body in pieces, then one ARC set.

    sealer = ArcSealer(key)
    sealer.header(fields); sealer.body(chunk); ...
    for field in sealer.finish(chain, b"mx.example.org; spf=pass ...", now): insert them above all others, in this order

Pure.  Ref: RFC 8617 4.1, 5.1 (sealing), 5.1.2 (chains that fail).
"""

from typing import Final

from meta1g_filters.arc.sets import INSTANCES_MAX, KINDS, find_sets, last_instance, sealed
from meta1g_filters.arc.verify import ArcResult
from meta1g_filters.dkim.canon import BodyHashes, SignedFields
from meta1g_filters.dkim.sign import SIGNED, SigningKey, SignSettings, signed_field, unsigned_field, with_signature

#: What a message signature covers: as DKIM, and the signatures of DKIM (RFC 8617 4.1.2).
ARC_SETTINGS: Final = SignSettings(signed=(*SIGNED, "dkim-signature"))


class ArcSealer:
    """Seals one message.

    Args:
        key: that signs and seals.
        settings: what the message signature covers and how; `lifetime_s` is not used, a chain does not expire.
        bodies: hashes of the body, if others want some of the same body; then they are fed by whoever made them.

    Raises:
        ValueError: the settings name fields of ARC to be signed.

    Owner: whoever made it.
    """

    __slots__ = ("_bodies", "_fields", "_key", "_settings")

    def __init__(self, key: SigningKey, settings: SignSettings = ARC_SETTINGS, bodies: BodyHashes | None = None) -> None:
        if names := {kind.decode() for kind in KINDS} & {*settings.signed, *settings.oversigned}:
            raise ValueError(f"ARC does not sign {', '.join(sorted(names))} with the message: the seal does")
        self._key = key
        self._settings = settings
        self._bodies = bodies or BodyHashes()
        self._fields: list[bytes] = []
        self._bodies.want(settings.body_way)

    def header(self, fields: list[bytes]) -> None:
        """Takes all header fields from top to bottom, each with its line ends, as the next one will see them."""
        self._fields = fields

    def body(self, chunk: bytes) -> None:
        """Takes the next piece of the body."""
        self._bodies.update(chunk)

    def finish(self, chain: ArcResult, results: bytes, now: float) -> list[bytes]:
        """Ends the message.

        Args:
            chain: what ArcVerifier said of the message as it came.
            results: what Authentication-Results says, without the name of the field: name of the server, `;`, results.
            now: the time, seconds since 1970.

        Returns:
            Seal, message signature and results, from the top; nothing if no set may be added: the chain has failed before, it
            has 50 instances, or nobody knows whether it is good: a key could not be asked for, `chain` is of another one.
        """
        last, has_failed = last_instance(self._fields)
        is_another = chain.cv != "fail" and chain.instances != last
        if has_failed or last >= INSTANCES_MAX or chain.is_temporary or is_another:
            return []
        instance, time = last + 1, str(int(now))
        tags = {"i": str(instance), "a": self._key.algorithm, "d": self._key.domain, "s": self._key.selector, "t": time}
        own = b"ARC-Authentication-Results: i=%d; %s\r\n" % (instance, results.strip())
        ways = {"c": f"{self._settings.header_way}/{self._settings.body_way}"}
        fields = SignedFields(self._fields)
        message = signed_field("ARC-Message-Signature", tags | ways, self._key, self._settings, fields, self._bodies)
        unsigned = unsigned_field("ARC-Seal", tags | {"cv": chain.cv})
        covered = [*self._older(chain), (own, message, unsigned)]
        return [with_signature(unsigned, self._key, sealed(covered)), message, own]

    def _older(self, chain: ArcResult) -> list[tuple[bytes, bytes, bytes]]:
        """Gives the sets that the seal covers beside its own: none if the chain fails (RFC 8617 5.1.2)."""
        if chain.cv != "pass":
            return []
        longest = max(map(len, self._fields))
        return [(one.results, one.message.field, one.seal.field) for one in find_sets(self._fields, longest)]
