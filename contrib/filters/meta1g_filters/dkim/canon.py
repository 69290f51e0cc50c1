"""Canonicalization of header fields and bodies, and the hashes of a body while it arrives.

    chunks of any size -> Relaxed? -> EmptyLines -> one hash for each limit

What a line end or a run of blanks means may depend on the next chunk: two bytes and a count of empty lines wait for it at most.
A body is hashed once for each way and each limit, whoever asks for it: verifiers and signers of one message share BodyHashes.

Octets are what they are: a CR or LF alone is no line end.

Pure.  Ref: RFC 6376 3.4, 3.5 (`l=`), 3.7.
"""

import re
from enum import StrEnum
from hashlib import sha256
from typing import Final

_CRLF: Final = b"\r\n"
_FOLD: Final = re.compile(rb"\r\n(?=[ \t]|\Z)")
#: Empty lines that are hashed at a time.
_LINES_AT_ONCE: Final = 4096


class Canonicalization(StrEnum):
    """The two ways of RFC 6376 3.4."""

    SIMPLE = "simple"
    RELAXED = "relaxed"


def _single_blanks(data: bytes) -> bytes:
    """Makes each run of blanks one space."""
    data = data.replace(b"\t", b" ")
    while b"  " in data:  # each turn halves the longest run
        data = data.replace(b"  ", b" ")
    return data


# -- header fields


def canonical_field(field: bytes, way: Canonicalization) -> bytes:
    """Gives a header field as it is hashed.

    Args:
        field: name, colon, value, with all line ends.
        way: RFC 6376 3.4.1 or 3.4.2.
    """
    if way is Canonicalization.SIMPLE:
        return field
    name, colon, value = field.partition(b":")
    value = _single_blanks(_FOLD.sub(b"", value)).strip(b" ")
    return name.rstrip(b" \t").lower() + colon + value + _CRLF


def field_name(field: bytes) -> bytes:
    """Gives the name of a header field in lower case."""
    return field.partition(b":")[0].rstrip(b" \t").lower()


class SignedFields:
    """The header fields of a message, found as `h=` names them: the last one first, each once (RFC 6376 5.4.2).

    Args:
        fields: all of them, from top to bottom, each with its line ends.
    """

    __slots__ = ("_by_name",)

    def __init__(self, fields: list[bytes]) -> None:
        self._by_name: dict[bytes, list[bytes]] = {}
        for field in fields:
            self._by_name.setdefault(field_name(field), []).append(field)

    def count(self, name: bytes) -> int:
        """Tells how many fields have a name, which is in lower case."""
        return len(self._by_name.get(name, ()))

    def hashed(self, names: tuple[bytes, ...], way: Canonicalization, own: bytes = b"") -> bytes:
        """Gives what is hashed for the names of `h=`, in lower case; a field that is not there is nothing.

        Args:
            names: of `h=`.
            way: canonicalization.
            own: the field of the signature itself, which is no other one's and none of its own.
        """
        left = {name: [one for one in self._by_name.get(name, ()) if one is not own] for name in {*names}}
        return b"".join(canonical_field(left[name].pop(), way) for name in names if left[name])


# -- bodies


class _BodyHash:
    """The hash of one limit.

    Args:
        limit: octets that are hashed at most; None for all.
    """

    __slots__ = ("_hash", "_left")

    def __init__(self, limit: int | None) -> None:
        self._hash = sha256()
        self._left = limit

    def update(self, data: bytes) -> None:
        if self._left is None:
            self._hash.update(data)
        elif self._left:
            self._hash.update(data[: self._left])
            self._left -= min(len(data), self._left)

    def digest(self) -> bytes:
        return self._hash.digest()


def _lines_begin(data: bytes) -> int:
    """Gives where the line ends at the end of a piece begin, one behind the other."""
    if not data.endswith(_CRLF):
        return len(data)
    begin = len(data.rstrip(_CRLF))
    begin = max(begin, data.rfind(b"\n\n", begin) + 1, data.rfind(b"\r\r", begin) + 1)
    return begin + data.startswith(b"\n", begin)


class _EmptyLines:
    """Leaves the empty lines at the end of a body out (RFC 6376 3.4.3); counts what it gives.

    Attributes:
        hashes: whom it gives the body to, by their limit.
        size_bytes: octets that it gave.
    """

    __slots__ = ("_half", "_waiting", "hashes", "size_bytes")

    def __init__(self) -> None:
        self.hashes: dict[int | None, _BodyHash] = {}
        self.size_bytes = 0
        self._half = b""  # the CR of what may be an empty line
        self._waiting = 0  # line ends since the last line that is not empty, its own included

    def update(self, data: bytes) -> None:
        data = self._half + data
        self._half = data[-1:] if data.endswith(b"\r") else b""
        data = data.removesuffix(self._half)
        end = _lines_begin(data)
        if end:
            self._give_lines()
            self._give(data[:end])
        self._waiting += (len(data) - end) // 2

    def finish(self, empty: bytes) -> None:
        """Ends the body.

        Args:
            empty: what a body without any line is.
        """
        if self._half:
            self._give_lines()
            self._give(self._half)
        if self.size_bytes:
            self._give(_CRLF)
        elif empty:
            self._give(empty)

    def _give_lines(self) -> None:
        while self._waiting:
            now = min(self._waiting, _LINES_AT_ONCE)
            self._give(_CRLF * now)
            self._waiting -= now

    def _give(self, data: bytes) -> None:
        self.size_bytes += len(data)
        for one in self.hashes.values():
            one.update(data)


class _SimpleBody(_EmptyLines):
    """RFC 6376 3.4.3: an empty body is one line end."""

    __slots__ = ()

    def end(self) -> None:
        self.finish(_CRLF)


class _RelaxedBody(_EmptyLines):
    """RFC 6376 3.4.4: runs of blanks are one, none before a line end; an empty body is nothing."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        super().__init__()
        self._held = b""  # a blank, a CR, or both, from the end of the last chunk

    def update(self, data: bytes) -> None:
        data = _single_blanks(self._held + data)
        kept = data.removesuffix(b"\r").removesuffix(b" ")
        self._held = data[len(kept) :]
        super().update(kept.replace(b" \r\n", _CRLF))

    def end(self) -> None:
        super().update(self._held.removesuffix(b" "))  # a line end that is missing is added on the way
        self.finish(b"")


class BodyHashes:
    """Hashes of one body in all the ways that somebody wants.

    Owner: whoever made it; the ones that want a hash say so before the first chunk.
    """

    __slots__ = ("_bodies", "_ended")

    def __init__(self) -> None:
        self._bodies: dict[Canonicalization, _SimpleBody | _RelaxedBody] = {}
        self._ended = False

    def want(self, way: Canonicalization, limit: int | None = None) -> None:
        """Asks for a hash.

        Args:
            way: canonicalization of the body.
            limit: octets that are hashed at most, as `l=` says; None for all.
        """
        body = self._bodies.get(way)
        if body is None:
            body = self._bodies[way] = _SimpleBody() if way is Canonicalization.SIMPLE else _RelaxedBody()
        body.hashes.setdefault(limit, _BodyHash(limit))

    def update(self, chunk: bytes) -> None:
        """Takes the next piece of the body."""
        for body in self._bodies.values():
            body.update(chunk)

    def digest(self, way: Canonicalization, limit: int | None = None) -> bytes:
        """Gives a hash that was asked for; the body has ended."""
        self._end()
        return self._bodies[way].hashes[limit].digest()

    def size_bytes(self, way: Canonicalization) -> int:
        """Gives the size of the body in a canonicalization that was asked for; the body has ended."""
        self._end()
        return self._bodies[way].size_bytes

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            for body in self._bodies.values():
                body.end()
