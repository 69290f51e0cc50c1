"""The verifier of DKIM signatures: header, then body in pieces, then an answer for each signature.

    verifier = DkimVerifier(VerifyLimits())
    verifier.header(fields); verifier.body(chunk); ...
    for result in verifier.finish(resolver.txt, now): ...

Nothing that a message has makes it raise.  What is held of a message is its header.

Pure.  Ref: RFC 6376 6; RFC 8301; RFC 8463; RFC 8601 2.7.1 (words), RFC 6008 (`header.b`); docs/dkim.md.
"""

import re
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g_filters.dkim.canon import BodyHashes, SignedFields, field_name
from meta1g_filters.dkim.signature import (
    KeyFinder,
    Lookup,
    MessageSignature,
    ResultWord,
    SignatureError,
    VerifyLimits,
    parse_signature,
)
from meta1g_filters.dkim.tags import TagError, compact, domain_name, parse_tags, words

_NAME: Final = b"dkim-signature"
_FROM: Final = b"from"
#: Letters of `b=` that are told.  Ref: RFC 6008 4 (least number).
_HEADER_B_MIN: Final = 8
_HEADER_B_MAX: Final = 64
_B64: Final = re.compile(r"[A-Za-z0-9+/=]*")


@dataclass(frozen=True, slots=True)
class DkimResult:
    """What came of one signature.

    Args:
        result: a word of RFC 8601 2.7.1; `none`: the message has no signature, all other fields are empty.
        domain: `d=` in A-labels and lower case, empty if it is none.
        selector: `s=` likewise.
        identity: `i=` as it is written, or `@` and the domain; any characters but blanks at its ends, controls and `;`.
        algorithm: `a=`, if it is known.
        header_b: the first letters of `b=`, as many as tell it from other signatures, 8 at least if it has them, 64 at most.
        reason: why it is no pass, or what is odd; printable ASCII.
        key_bits: length of the key, 0 if it was not needed.
    """

    result: ResultWord
    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    header_b: str = ""
    reason: str = ""
    key_bits: int = 0


@dataclass(frozen=True, slots=True)
class _Seen:
    """One field: its tags, and what it says or what is wrong."""

    tags: dict[str, str]
    signature: MessageSignature | None
    wrong: SignatureError | None


class DkimVerifier:
    """Verifies the signatures of one message.

    Args:
        limits: what is accepted, and how much work is done.
        bodies: hashes of the body, if others want some of the same body; then they are fed by whoever made them.

    Owner: whoever made it.
    """

    __slots__ = ("_bodies", "_fields", "_left_out", "_limits", "_seen")

    def __init__(self, limits: VerifyLimits | None = None, bodies: BodyHashes | None = None) -> None:
        self._limits = limits or VerifyLimits()
        self._bodies = bodies or BodyHashes()
        self._fields = SignedFields([])
        self._seen: list[_Seen] = []
        self._left_out = 0

    def header(self, fields: list[bytes]) -> None:
        """Takes all header fields from top to bottom, each with its line ends; comes first, and once."""
        self._fields = SignedFields(fields)
        signatures = [field for field in fields if field_name(field) == _NAME]
        self._left_out = max(0, len(signatures) - self._limits.signatures_max)
        self._seen = [self._read(field) for field in signatures[: self._limits.signatures_max]]
        for one in self._seen:
            if one.signature:
                one.signature.want_body(self._bodies)

    def body(self, chunk: bytes) -> None:
        """Takes the next piece of the body."""
        self._bodies.update(chunk)

    def finish(self, lookup: Lookup, now: float) -> list[DkimResult]:
        """Ends the message.  Blocks: as lookup does.

        Args:
            lookup: asks for TXT records.
            now: the time, seconds since 1970.

        Returns:
            One for each signature from the top, and one for those that were not looked at; at least one.
        """
        keys = KeyFinder(lookup)
        letters = [_letters(one.tags) for one in self._seen]
        results = [self._result(one, b, keys, now) for one, b in zip(self._seen, _told_apart(letters), strict=True)]
        if self._left_out:
            results.append(DkimResult("policy", reason=f"{self._left_out} more signatures, not looked at"))
        return results or [DkimResult("none")]

    def _read(self, field: bytes) -> _Seen:
        tags: dict[str, str] = {}
        try:
            if len(field) > self._limits.field_max_bytes:
                raise TagError("field too long")
            tags = parse_tags(field.partition(b":")[2])
            return _Seen(tags, _dkim_signature(field, tags), None)
        except TagError as error:
            return _Seen(tags, None, SignatureError("neutral", str(error)))
        except SignatureError as error:
            return _Seen(tags, None, error)

    def _result(self, one: _Seen, header_b: str, keys: KeyFinder, now: float) -> DkimResult:
        word: ResultWord = "pass"
        reason, bits = "", 0
        try:
            if one.signature is None:
                raise one.wrong or SignatureError("neutral", "")
            record = one.signature.check(self._fields, self._bodies, keys, now, self._limits)
            if record.is_strict and not _same_domain(one.tags):
                raise SignatureError("permerror", "i= is below d=, which the key forbids")
            bits, reason = record.bits, "test key" if record.is_test else ""
        except SignatureError as error:
            word, reason = error.word, error.reason
        domain = domain_name(one.tags.get("d", ""))
        return DkimResult(
            word,
            domain,
            domain_name(one.tags.get("s", "")),
            one.tags.get("i", f"@{domain}" if domain else ""),
            one.signature.algorithm if one.signature else "",
            header_b,
            reason,
            bits,
        )


def _dkim_signature(field: bytes, tags: dict[str, str]) -> MessageSignature:
    """Reads a signature, and checks what needs nothing else than the field.

    Raises:
        SignatureError, TagError: it is wrong.
    """
    if tags.get("v") != "1":
        raise TagError("v= is not 1" if "v" in tags else "no v=")
    if "q" in tags and "dns/txt" not in words(tags["q"].lower()):
        raise TagError("q= is unknown")
    signature = parse_signature(field, tags)
    if signature.expires_at_s is not None and signature.expires_at_s < (signature.signed_at_s or 0):
        raise TagError("x= is before t=")
    if _FROM not in signature.names:
        raise SignatureError("permerror", "From is not signed")
    identity = _identity_domain(tags)
    if identity != signature.domain and not identity.endswith(f".{signature.domain}"):
        raise SignatureError("permerror", "i= is not below d=")
    return signature


def _identity_domain(tags: dict[str, str]) -> str:
    """Gives the domain of `i=`, by default that of `d=`."""
    return domain_name(tags["i"].rpartition("@")[2] if "i" in tags else tags.get("d", ""))


def _same_domain(tags: dict[str, str]) -> bool:
    return _identity_domain(tags) == domain_name(tags.get("d", ""))


def _letters(tags: dict[str, str]) -> str:
    """Gives the letters of `b=` up to one that is none of base64."""
    letters = _B64.match(compact(tags.get("b", "")))
    return letters[0] if letters else ""


def _told_apart(letters: list[str]) -> list[str]:
    """Shortens each `b=` as far as it stays different from the others (RFC 6008 4)."""
    size, longest = _HEADER_B_MIN, min(_HEADER_B_MAX, max(map(len, letters), default=0))
    while size < longest and len({one[:size] for one in letters}) < len({*letters}):
        size += 1
    return [one[:size] for one in letters]
