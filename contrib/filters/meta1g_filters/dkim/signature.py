"""What DKIM-Signature and ARC-Message-Signature have in common: reading the field, and checking it with a key.

    field -> tags -> MessageSignature -> body hash, key record, signature -> a word of RFC 8601, and why

Whatever goes wrong is a SignatureError that has the word.

Pure.  Ref: RFC 6376 3.5, 6.1; RFC 8301; RFC 8601 2.7.1; RFC 8617 4.1.2.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Final, Literal

from meta1g.base.dataclass import dataclass
from meta1g_filters.dkim.canon import BodyHashes, Canonicalization, SignedFields, canonical_field
from meta1g_filters.dkim.keyrecord import ED25519, RSA, RSA_VERIFY_MIN_BITS, KeyRecord, is_signature, parse_record
from meta1g_filters.dkim.tags import TagError, domain_name, number, octets, without_b, words
from meta1g_filters.dns import TxtAnswer

ResultWord = Literal["none", "pass", "fail", "policy", "neutral", "temperror", "permerror"]
Lookup = Callable[[str], TxtAnswer]

#: The kind of key of each algorithm that is verified.
ALGORITHMS: Final = {"rsa-sha256": RSA, "ed25519-sha256": ED25519}
#: RFC 8301 3.1: permanently failed.
_HISTORIC: Final = "rsa-sha1"
_WAYS: Final = {way.value: way for way in Canonicalization}
#: Questions without answer in one message.
LOST_MAX: Final = 3
#: Names of `h=` that mean nothing more; longer lists are no signature.
NAMES_MAX: Final = 5000


class SignatureError(Exception):
    """A signature is not to be trusted.

    Args:
        word: what RFC 8601 calls this.
        reason: why, for the log and for Authentication-Results; printable ASCII.
    """

    def __init__(self, word: ResultWord, reason: str) -> None:
        super().__init__(reason)
        self.word: ResultWord = word
        self.reason = reason


@dataclass(frozen=True, slots=True)
class VerifyLimits:
    """What a verifier accepts, and how much work it does.

    Args:
        signatures_max: signatures that are looked at, from the top of the header; further ones are not.
        rsa_min_bits: shortest key, 1024 at least (RFC 8301 3.2).
        partial_body: accepts `l=` that leaves a part of the body unsigned.
        clock_skew_s: how far the clock of a signer may be off, seconds.
        field_max_bytes: longest field of a signature.
    """

    signatures_max: int = 10
    rsa_min_bits: int = RSA_VERIFY_MIN_BITS
    partial_body: bool = False
    clock_skew_s: int = 300
    field_max_bytes: int = 65_536


@dataclass(frozen=True, slots=True)
class MessageSignature:
    """What the tags of a signature of a message say.

    Args:
        field: the header field, with all line ends.
        algorithm: `a=`.
        domain: `d=`, in A-labels and lower case.
        selector: `s=`, likewise.
        names: `h=`, in lower case.
        header_way: `c=`, before the slash.
        body_way: `c=`, behind it.
        signature: `b=`.
        body_hash: `bh=`.
        length: `l=`; None if it is not there.
        signed_at_s: `t=`, seconds since 1970.
        expires_at_s: `x=`, likewise.
    """

    field: bytes
    algorithm: str
    domain: str
    selector: str
    names: tuple[bytes, ...]
    header_way: Canonicalization
    body_way: Canonicalization
    signature: bytes
    body_hash: bytes
    length: int | None
    signed_at_s: int | None
    expires_at_s: int | None

    def want_body(self, bodies: BodyHashes) -> None:
        """Asks for the hash of the body that this signature has one of."""
        bodies.want(self.body_way, self.length)

    def check(
        self, fields: SignedFields, bodies: BodyHashes, keys: "KeyFinder", now_s: float, limits: VerifyLimits
    ) -> KeyRecord:
        """Checks everything.

        Args:
            fields: header of the message.
            bodies: hashes of its body.
            keys: finds the key.
            now_s: the time, seconds since 1970.
            limits: what is accepted.

        Raises:
            SignatureError: the signature is not good enough.
        """
        self._check_body(bodies)
        record = keys.find(self.domain, self.selector, ALGORITHMS[self.algorithm])
        signed = fields.hashed(self.names, self.header_way, self.field) + own_field(self.field, self.header_way)
        if not signed_by(record, self.signature, signed):
            raise SignatureError("fail", "signature does not fit the header fields")
        check_strength(record, limits)
        if self.length is not None and not limits.partial_body and (rest := bodies.size_bytes(self.body_way) - self.length):
            raise SignatureError("policy", f"l=: {rest} octets of the body are not signed")
        self._check_times(now_s, limits.clock_skew_s)
        return record

    def _check_body(self, bodies: BodyHashes) -> None:
        if self.length is not None and self.length > bodies.size_bytes(self.body_way):
            raise SignatureError("fail", "l=: body is shorter")
        if bodies.digest(self.body_way, self.length) != self.body_hash:
            raise SignatureError("fail", "body hash does not fit the body")

    def _check_times(self, now_s: float, skew_s: int) -> None:
        if self.expires_at_s is not None and self.expires_at_s + skew_s < now_s:
            raise SignatureError("policy", "signature expired")
        if self.signed_at_s is not None and self.signed_at_s - skew_s > now_s:
            raise SignatureError("policy", "signature is from the future")


def own_field(field: bytes, way: Canonicalization) -> bytes:
    """Gives the field of a signature as it is hashed for itself (RFC 6376 3.7)."""
    return canonical_field(without_b(field), way).removesuffix(b"\r\n")


def signed_by(record: KeyRecord, signature: bytes, signed: bytes) -> bool:
    """Tells whether a key that is not revoked signed something."""
    return record.key is not None and is_signature(record.key, signature, sha256(signed).digest())


def check_strength(record: KeyRecord, limits: VerifyLimits) -> None:
    """Refuses keys that are too short.

    Raises:
        SignatureError: it is one.
    """
    if record.kind == RSA and record.bits < limits.rsa_min_bits:
        raise SignatureError("policy", f"key of {record.bits} bits is too short")


def parse_signature(field: bytes, tags: dict[str, str], ways: str = "simple/simple") -> MessageSignature:
    """Reads what both kinds of signatures have.

    Args:
        field: the header field.
        tags: of its value.
        ways: what `c=` is if it is not there.

    Raises:
        SignatureError, TagError: it cannot be understood, or nobody may use it.
    """
    algorithm = known_algorithm(tags)
    header_way, _, body_way = tags.get("c", ways).lower().partition("/")
    if header_way not in _WAYS or (body_way or "simple") not in _WAYS:
        raise TagError("c= is unknown")
    domain, selector = signer_of(tags)
    names = tuple(word.encode("ascii", "replace") for word in words(tags.get("h", "").lower()))
    if not names[0] or len(names) > NAMES_MAX:
        raise TagError("no h=" if len(names) == 1 else "h= has too many names")
    return MessageSignature(
        field,
        algorithm,
        domain,
        selector,
        names,
        _WAYS[header_way],
        _WAYS[body_way or "simple"],
        octets(tags, "b"),
        octets(tags, "bh"),
        number(tags, "l"),
        number(tags, "t"),
        number(tags, "x"),
    )


def known_algorithm(tags: dict[str, str]) -> str:
    """Gives `a=`.

    Raises:
        SignatureError: it is rsa-sha1.
        TagError: it is another unknown one.
    """
    algorithm = tags.get("a", "").lower()
    if algorithm == _HISTORIC:
        raise SignatureError("permerror", "rsa-sha1 is historic")
    if algorithm not in ALGORITHMS:
        raise TagError("a= is unknown" if algorithm else "no a=")
    return algorithm


def signer_of(tags: dict[str, str]) -> tuple[str, str]:
    """Gives domain and selector.

    Raises:
        TagError: one of them is not there, or no name.
    """
    domain, selector = domain_name(tags.get("d", "")), domain_name(tags.get("s", ""))
    if "." not in domain:
        raise TagError("d= is no domain" if tags.get("d") else "no d=")
    if not selector:
        raise TagError("s= is no selector" if tags.get("s") else "no s=")
    return domain, selector


class KeyFinder:
    """The keys of one message, each asked for once.

    After three questions without answer none is asked: a message does not wait for as many time-outs as it has signatures.

    Args:
        lookup: asks for TXT records.
    """

    __slots__ = ("_answers", "_lookup", "_lost")

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._answers: dict[str, TxtAnswer] = {}
        self._lost = 0

    def find(self, domain: str, selector: str, kind: str) -> KeyRecord:
        """Gives the one key of a selector that is fit for signatures of mail.  Blocks: as lookup does.

        Raises:
            SignatureError: there is none, or nobody knows.
        """
        name = f"{selector}._domainkey.{domain}"
        if name not in self._answers:
            self._answers[name] = answer = self._lookup(name) if self._lost < LOST_MAX else TxtAnswer("temperror")
            self._lost += answer.status == "temperror"
        record = one_record(self._answers[name])
        if misfit := record.misfit(kind):
            raise SignatureError("permerror", misfit)
        return record


def one_record(answer: TxtAnswer) -> KeyRecord:
    """Gives the key that an answer has, among texts that are none.

    Raises:
        SignatureError: there is none, more than one, or nobody knows.
    """
    if answer.status == "temperror":
        raise SignatureError("temperror", "DNS does not answer for the key")
    if answer.status != "ok":
        raise SignatureError("permerror", "no key")
    found, wrong = [], ""
    for text in answer.texts:
        try:
            found.append(parse_record(text))
        except TagError as error:
            wrong = f"key record: {error}"
    if len(found) > 1:
        raise SignatureError("permerror", f"{len(found)} keys under one selector")
    if not found:
        raise SignatureError("permerror", wrong or "no key")
    return found[0]
