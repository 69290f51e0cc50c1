"""The signer: header, then body in pieces, then one DKIM-Signature field for each key.

    signer = DkimSigner(keys, SignSettings())
    signer.header(fields); signer.body(chunk); ...
    for field in signer.finish(now): insert it above all others

All keys sign the same: their fields name the same header fields and none of the others' signatures.

Pure.  Ref: RFC 6376 5, 5.4.1 (what is signed), 8.15 (signed once more than it is there); RFC 8301; RFC 8463.
"""

import base64
from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from meta1g.base.dataclass import dataclass
from meta1g_filters.dkim.canon import BodyHashes, Canonicalization, SignedFields
from meta1g_filters.dkim.signature import own_field

#: What is signed if it is there.  Ref: RFC 6376 5.4.1; not what others on the way change or add.
SIGNED: Final = (
    *("from", "sender", "reply-to", "subject", "date", "message-id", "to", "cc", "mime-version", "content-type"),
    *("content-transfer-encoding", "content-id", "content-description", "resent-date", "resent-from", "resent-sender"),
    *("resent-to", "resent-cc", "resent-message-id", "in-reply-to", "references", "list-id", "list-help", "list-unsubscribe"),
    *("list-unsubscribe-post", "list-subscribe", "list-post", "list-owner", "list-archive", "autocrypt"),
)
#: What is signed once more than it is there, so that nobody adds another one.
OVERSIGNED: Final = (
    *("from", "reply-to", "subject", "date", "message-id", "to", "cc", "mime-version", "content-type"),
    *("content-transfer-encoding",),
)
_LINE_MAX: Final = 76
#: Letters of `b=` in a line.
_LETTERS: Final = 72
_SHA256: Final = SHA256()
_PADDING: Final = PKCS1v15()


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, and the name under which its public key stands in DNS.

    Args:
        domain: `d=`, in A-labels and lower case.
        selector: `s=`.
        key: the key.
    """

    domain: str
    selector: str
    key: RSAPrivateKey | Ed25519PrivateKey

    @property
    def algorithm(self) -> str:
        """The value of `a=`."""
        return "rsa-sha256" if isinstance(self.key, RSAPrivateKey) else "ed25519-sha256"

    def sign(self, signed: bytes) -> bytes:
        """Signs something by its SHA-256 (RFC 6376 3.3.2, RFC 8463 3)."""
        digest = sha256(signed).digest()
        if isinstance(self.key, RSAPrivateKey):
            return self.key.sign(digest, _PADDING, Prehashed(_SHA256))
        return self.key.sign(digest)


@dataclass(frozen=True, slots=True)
class SignSettings:
    """How a message is signed.

    Args:
        header_way: canonicalization of the header.
        body_way: that of the body.
        signed: names of fields that are signed as often as they are there, in lower case; `from` always is.
        oversigned: names that are signed once more than that; those of them that are not in `signed`, too.
        lifetime_s: seconds after which a signature expires; None for never.
    """

    header_way: Canonicalization = Canonicalization.RELAXED
    body_way: Canonicalization = Canonicalization.RELAXED
    signed: tuple[str, ...] = SIGNED
    oversigned: tuple[str, ...] = OVERSIGNED
    lifetime_s: int | None = None

    def names(self, fields: SignedFields) -> tuple[bytes, ...]:
        """Gives the names of `h=` for a header."""
        found: list[bytes] = []
        for name in dict.fromkeys(("from", *self.signed, *self.oversigned)):
            word = name.encode()
            found += [word] * (fields.count(word) + (name in self.oversigned))
        return tuple(found)


class DkimSigner:
    """Signs one message.

    Args:
        keys: those that sign, in the order of their fields from the top.
        settings: how.
        bodies: hashes of the body, if others want some of the same body; then they are fed by whoever made them.

    Owner: whoever made it.
    """

    __slots__ = ("_bodies", "_fields", "_keys", "_settings")

    def __init__(self, keys: list[SigningKey], settings: SignSettings | None = None, bodies: BodyHashes | None = None) -> None:
        self._keys = keys
        self._settings = settings or SignSettings()
        self._bodies = bodies or BodyHashes()
        self._fields = SignedFields([])
        self._bodies.want(self._settings.body_way)

    def header(self, fields: list[bytes]) -> None:
        """Takes all header fields from top to bottom, each with its line ends."""
        self._fields = SignedFields(fields)

    def body(self, chunk: bytes) -> None:
        """Takes the next piece of the body."""
        self._bodies.update(chunk)

    def finish(self, now: float) -> list[bytes]:
        """Ends the message.

        Args:
            now: the time, seconds since 1970.

        Returns:
            The fields, folded, with their line ends.
        """
        return [self._signature(key, int(now)) for key in self._keys]

    def _signature(self, key: SigningKey, now: int) -> bytes:
        settings = self._settings
        tags = {"v": "1", "a": key.algorithm, "c": f"{settings.header_way}/{settings.body_way}", "d": key.domain}
        tags |= {"s": key.selector, "t": str(now)}
        if settings.lifetime_s is not None:
            tags["x"] = str(now + settings.lifetime_s)
        return signed_field("DKIM-Signature", tags, key, settings, self._fields, self._bodies)


def signed_field(
    name: str, tags: dict[str, str], key: SigningKey, settings: SignSettings, fields: SignedFields, bodies: BodyHashes
) -> bytes:
    """Gives the field of a signature of a message.

    Args:
        name: of the field.
        tags: all but `h`, `bh` and `b`.
        key: that signs.
        settings: what is signed.
        fields: header of the message.
        bodies: hashes of its body.
    """
    names = settings.names(fields)
    body_hash = base64.b64encode(bodies.digest(settings.body_way)).decode()
    field = unsigned_field(name, tags | {"h": ":".join(map(bytes.decode, names)), "bh": body_hash})
    return with_signature(field, key, fields.hashed(names, settings.header_way) + own_field(field, settings.header_way))


def with_signature(field: bytes, key: SigningKey, signed: bytes) -> bytes:
    """Puts the signature of `signed` behind the `b=` at the end of a field."""
    letters = base64.b64encode(key.sign(signed)).decode()
    lines = [letters[at : at + _LETTERS] for at in range(0, len(letters), _LETTERS)]
    return field.removesuffix(b"\r\n") + "\r\n\t ".join(lines).encode() + b"\r\n"


def unsigned_field(name: str, tags: dict[str, str]) -> bytes:
    """Gives a field, folded, with an empty tag `b` at its end."""
    lines, line = [], f"{name}:"
    for piece in _pieces(tags):
        if len(line) + len(piece) > _LINE_MAX:
            lines.append(line)
            line = f"\t{piece.strip()}"
        else:
            line += piece
    return "\r\n".join([*lines, line, "\tb=\r\n"]).encode()


def _pieces(tags: dict[str, str]) -> Iterator[str]:
    """Gives tags with what stands between them; in front of each piece a line may end."""
    for name, value in tags.items():
        first, *others = value.split(":") if name == "h" else [value]
        pieces = [f" {name}={first}", *(f":{other}" for other in others)]
        pieces[-1] += ";"
        yield from pieces
