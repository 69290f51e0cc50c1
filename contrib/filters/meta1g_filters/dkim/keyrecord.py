"""The record that publishes a key: what it says, and whether it fits a signature.

    v=DKIM1; k=rsa; h=sha256; s=email; t=s; p=MIIBIjANBg...

Pure.  Ref: RFC 6376 3.6.1, 6.1.2; RFC 8301 (lengths of keys); RFC 8463 3 (Ed25519).
"""

from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from meta1g.base.dataclass import dataclass
from meta1g_filters.dkim.tags import TagError, compact, octets, parse_tags, words

#: Bits of an RSA key: what RFC 8301 3.2 wants of a signer, and the least that a verifier may accept.
RSA_SIGN_MIN_BITS: Final = 2048
RSA_VERIFY_MIN_BITS: Final = 1024
#: Longer ones cost more than a signature is worth.  RFC 8301 3.2 wants 4096 at least.
RSA_MAX_BITS: Final = 8192
ED25519_BITS: Final = 256
#: A record that is longer holds no key that is accepted.
RECORD_MAX_BYTES: Final = 16_384
RSA: Final = "rsa"
ED25519: Final = "ed25519"
_SHA256: Final = SHA256()


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What a record says.

    Args:
        key: the public key; None if it is revoked, `p=` being empty.
        kind: `k=`.
        hashes: `h=`; empty for any.
        services: `s=`.
        flags: `t=`.
    """

    key: RSAPublicKey | Ed25519PublicKey | None
    kind: str
    hashes: tuple[str, ...]
    services: tuple[str, ...]
    flags: tuple[str, ...]

    @property
    def bits(self) -> int:
        """Length of the key, 0 if it is revoked."""
        if self.key is None:
            return 0
        return self.key.key_size if isinstance(self.key, RSAPublicKey) else ED25519_BITS

    @property
    def is_test(self) -> bool:
        """The domain only tests DKIM (`t=y`)."""
        return "y" in self.flags

    @property
    def is_strict(self) -> bool:
        """The domain of `i=` has to be that of `d=` (`t=s`)."""
        return "s" in self.flags

    def misfit(self, kind: str) -> str:
        """Tells why the record is none for a signature of this kind of key with SHA-256 on mail; empty if it is one."""
        if self.key is None:
            return "key revoked"
        if self.kind != kind:
            return f"key is for {self.kind}, signature is {kind}"
        if self.hashes and "sha256" not in self.hashes:
            return "key is not for sha256"
        if not {"*", "email"} & {*self.services}:
            return "key is not for email"
        if self.bits > RSA_MAX_BITS:
            return f"key of {self.bits} bits"
        return ""


def parse_record(text: bytes) -> KeyRecord:
    """Reads the text of a TXT record.

    Raises:
        TagError: it is no record of a key.
    """
    if len(text) > RECORD_MAX_BYTES:
        raise TagError("key record too long")
    tags = parse_tags(text)
    if "v" in tags and (next(iter(tags)), tags["v"]) != ("v", "DKIM1"):
        raise TagError("v= is not DKIM1")
    if "p" not in tags:
        raise TagError("no p=")
    kind = tags.get("k", RSA).lower()
    return KeyRecord(
        _key(kind, octets(tags, "p")) if compact(tags["p"]) else None,
        kind,
        tuple(words(tags["h"].lower())) if tags.get("h") else (),
        tuple(words(tags.get("s", "*").lower())),
        tuple(words(tags.get("t", "").lower())),
    )


def _key(kind: str, data: bytes) -> RSAPublicKey | Ed25519PublicKey:
    try:
        if kind == ED25519:
            return Ed25519PublicKey.from_public_bytes(data)
        if kind == RSA and isinstance(found := load_der_public_key(data), RSAPublicKey):
            return found
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TagError(f"p= is no key of {kind}") from error
    raise TagError(f"p= is no key of {kind}" if kind == RSA else "k= is unknown")


def is_signature(key: RSAPublicKey | Ed25519PublicKey, signature: bytes, digest: bytes) -> bool:
    """Tells whether a key made a signature of a digest by SHA-256."""
    try:
        if isinstance(key, RSAPublicKey):
            key.verify(signature, digest, PKCS1v15(), Prehashed(_SHA256))
        else:
            key.verify(signature, digest)
    except InvalidSignature:
        return False
    return True
