"""ARC sets: the three fields of each instance, found in a header and read.

    ARC-Seal, ARC-Message-Signature, ARC-Authentication-Results with i=1, then i=2, ... up to 50

Pure.  Ref: RFC 8617 4.1, 4.2, 5.1.1 (what a seal covers), 5.2 steps 1 to 3.
"""

import re
from contextlib import suppress
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g_filters.dkim.canon import Canonicalization, canonical_field, field_name
from meta1g_filters.dkim.signature import (
    MessageSignature,
    SignatureError,
    known_algorithm,
    own_field,
    parse_signature,
    signer_of,
)
from meta1g_filters.dkim.tags import TagError, octets, parse_tags

SEAL: Final = b"arc-seal"
MESSAGE_SIGNATURE: Final = b"arc-message-signature"
RESULTS: Final = b"arc-authentication-results"
KINDS: Final = (RESULTS, MESSAGE_SIGNATURE, SEAL)
#: Ref: RFC 8617 4.2.1.
INSTANCES_MAX: Final = 50
_INSTANCE: Final = re.compile(r"[1-9][0-9]?")
_RESULTS_INSTANCE: Final = re.compile(rb"[ \t\r\n]*+i[ \t\r\n]*+=[ \t\r\n]*+([1-9][0-9]?)[ \t\r\n]*+;")
#: Where `c=` is missing; RFC 8617 is silent, and the public test suite and dkimpy agree.
_WAYS: Final = "relaxed/relaxed"
#: Words of `cv=`.
CV_WORDS: Final = ("none", "fail", "pass")


@dataclass(frozen=True, slots=True)
class Seal:
    """What the tags of an ARC-Seal say.

    Args:
        field: the header field, with all line ends.
        algorithm: `a=`.
        domain: `d=`, in A-labels and lower case.
        selector: `s=`, likewise.
        signature: `b=`.
        cv: `cv=`.
    """

    field: bytes
    algorithm: str
    domain: str
    selector: str
    signature: bytes
    cv: str


@dataclass(frozen=True, slots=True)
class ArcSet:
    """The fields of one instance.

    Args:
        instance: `i=`.
        results: ARC-Authentication-Results, with all line ends.
        message: ARC-Message-Signature.
        seal: ARC-Seal.
    """

    instance: int
    results: bytes
    message: MessageSignature
    seal: Seal


def find_sets(fields: list[bytes], field_max_bytes: int) -> list[ArcSet]:
    """Gives all sets of a header by their instances, each complete.

    Args:
        fields: from top to bottom, each with its line ends.
        field_max_bytes: longest field that may be one of a set.

    Raises:
        SignatureError, TagError: they are no chain.
    """
    found: dict[tuple[int, bytes], tuple[bytes, dict[str, str]]] = {}
    for field in fields:
        kind = field_name(field)
        if kind not in KINDS:
            continue
        if len(field) > field_max_bytes:
            raise TagError(f"{_name(kind)} too long")
        instance, tags = _read_field(kind, field)
        if (instance, kind) in found:
            raise TagError(f"two {_name(kind)} i={instance}")
        found[instance, kind] = field, tags
    last = max((instance for instance, _kind in found), default=0)
    return [_read_set(instance, found) for instance in range(1, last + 1)]


def _name(kind: bytes) -> str:
    return kind.decode().title().replace("Arc", "ARC")


def _read_field(kind: bytes, field: bytes) -> tuple[int, dict[str, str]]:
    """Gives the instance of a field and its tags; those of results are no list of tags but the first one."""
    value = field.partition(b":")[2]
    if kind == RESULTS:
        found = _RESULTS_INSTANCE.match(value)
        tags = {"i": found[1].decode()} if found else {}
    else:
        tags = parse_tags(value)
    if _INSTANCE.fullmatch(tags.get("i", "")) is None or int(tags["i"]) > INSTANCES_MAX:
        raise TagError(f"no i= from 1 to {INSTANCES_MAX} in {_name(kind)}")
    return int(tags["i"]), tags


def last_instance(fields: list[bytes]) -> tuple[int, bool]:
    """Gives the greatest instance in a header, be it a chain or not, 0 if there is none; and whether its seal says cv=fail."""
    found: dict[int, bool] = {}
    for field in fields:
        if (kind := field_name(field)) in KINDS:
            with suppress(TagError):
                instance, tags = _read_field(kind, field)
                found[instance] = found.get(instance, False) or (kind == SEAL and tags.get("cv", "").lower() == "fail")
    last = max(found, default=0)
    return last, found.get(last, False)


def _read_set(instance: int, found: dict[tuple[int, bytes], tuple[bytes, dict[str, str]]]) -> ArcSet:
    for kind in KINDS:
        if (instance, kind) not in found:
            raise TagError(f"no {_name(kind)} i={instance}")
    return ArcSet(
        instance,
        found[instance, RESULTS][0],
        _message_signature(*found[instance, MESSAGE_SIGNATURE]),
        _seal(*found[instance, SEAL], instance),
    )


def _message_signature(field: bytes, tags: dict[str, str]) -> MessageSignature:
    signature = parse_signature(field, tags, _WAYS)
    if SEAL in signature.names:
        raise TagError("h= has ARC-Seal")
    return signature


def _seal(field: bytes, tags: dict[str, str], instance: int) -> Seal:
    if "h" in tags:
        raise TagError("ARC-Seal has h=")
    cv = tags.get("cv", "").lower()
    if cv not in CV_WORDS:
        raise TagError("cv= is unknown" if cv else "no cv=")
    if cv == "fail":
        raise SignatureError("fail", f"i={instance} says cv=fail")
    if (cv == "none") != (instance == 1):
        raise SignatureError("fail", f"i={instance} says cv={cv}")
    return Seal(field, known_algorithm(tags), *signer_of(tags), octets(tags, "b"), cv)


def sealed(fields: list[tuple[bytes, bytes, bytes]]) -> bytes:
    """Gives what a seal covers (RFC 8617 5.1.1): results, signature and seal of each instance, the last seal without its `b=`.

    Args:
        fields: those of each instance, from the first to the one that is sealed.
    """
    text = [canonical_field(field, Canonicalization.RELAXED) for one in fields for field in one]
    text[-1] = own_field(fields[-1][-1], Canonicalization.RELAXED)
    return b"".join(text)
