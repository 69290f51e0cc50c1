"""The header of a message as filters see and change it, and the place where it ends.

Our own Received field stands above all others; filters do not see it, and do not count it when they change a field, but an
inserted field is placed with it counted: 0 is above it (as sendmail and Postfix do).

Pure.  Ref: RFC 5322 2.2; sendmail 8, libmilter/docs "smfi_insheader", "smfi_chgheader", "xxfi_header".
"""

from collections.abc import Iterable
from itertools import islice
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.milter.changes import AddField, ChangeField, InsertField
from meta1g.smtp.header import Field, HeaderMeter, fields

_LINE_END: Final = b"\r\n"


class ContentSplitter:
    """Tells header and body of a message apart while it arrives, in pieces of any size.

    Args:
        max_bytes: greatest header that is held.
        max_fields: most fields that it may have.

    Attributes:
        fields: of the header, when it is complete.
        body_offset: where the body begins in the content, when the header is complete.
        separated: an empty line is behind it.
        done: it is.
        too_big: it is greater than max_bytes; what is beyond is forgotten.
        too_many: it has more than max_fields; further ones are forgotten.

    Owner: whoever made it.
    """

    __slots__ = (
        "_held",
        "_max_bytes",
        "_max_fields",
        "_meter",
        "body_offset",
        "done",
        "fields",
        "separated",
        "too_big",
        "too_many",
    )

    def __init__(self, max_bytes: int, max_fields: int) -> None:
        self._max_bytes = max_bytes
        self._max_fields = max_fields
        self._meter = HeaderMeter()
        self._held = bytearray()
        self.body_offset = 0
        self.separated = False
        self.fields: tuple[Field, ...] = ()
        self.done = False
        self.too_big = self.too_many = False

    def feed(self, piece: bytes) -> bytes:
        """Takes the next piece of the content; gives what of it belongs to the body."""
        if self.done:
            return piece
        if self.too_big:
            return b""
        self._held += piece
        self._meter.feed(piece)
        if self._meter.size_bytes > self._max_bytes or (not self._meter.done and len(self._held) > self._max_bytes):
            self.too_big = True
            self._held.clear()
            return b""
        return self._split(self._meter.size_bytes) if self._meter.done else b""

    def finish(self) -> bytes:
        """Is told that the content is complete; gives what belongs to the body and was held."""
        return b"" if self.done or self.too_big else self._split(len(self._held))

    def _split(self, end: int) -> bytes:
        self.done = True
        held, self._held = bytes(self._held), bytearray()
        self.fields = tuple(islice(fields(held[:end]), self._max_fields + 1))
        self.too_many = len(self.fields) > self._max_fields
        self.separated = held.startswith(_LINE_END, end)
        self.body_offset = end + len(_LINE_END) * self.separated
        return held[self.body_offset :]


@dataclass(slots=True)
class _Place:
    """A field in a header that is being changed.  Owner: its HeaderEdit."""

    name: bytes  # in lower case
    raw: bytes
    own: bool = False


class HeaderEdit:
    """A header that filters change.

    Args:
        own: our own fields above the header, complete with line ends.
        found: the fields that came.

    Attributes:
        changed: something differs from what came.

    Owner: whoever made it.
    """

    __slots__ = ("_places", "changed")

    def __init__(self, own: bytes, found: Iterable[Field]) -> None:
        places = [_Place(field.name.lower(), field.raw, own=True) for field in fields(own)]
        self._places = places + [_Place(field.name.lower(), field.raw) for field in found]
        self.changed = False

    def apply(self, change: AddField | InsertField | ChangeField) -> None:
        """Makes one change."""
        self.changed = True
        if isinstance(change, AddField):
            self._places.append(_place(change.name, change.value))
        elif isinstance(change, InsertField):
            self._places.insert(change.index, _place(change.name, change.value))
        else:
            self._change(change)

    def _change(self, change: ChangeField) -> None:
        name = change.name.lower()
        same = [at for at, place in enumerate(self._places) if place.name == name and not place.own]
        if change.index > len(same):
            if change.value:
                self._places.append(_place(change.name, change.value))
        elif change.value:
            self._places[same[change.index - 1]] = _place(change.name, change.value)
        else:
            del self._places[same[change.index - 1]]

    def visible(self) -> list[Field]:
        """Gives the fields that filters see."""
        return [Field(place.raw.partition(b":")[0].rstrip(b" \t"), place.raw) for place in self._places if not place.own]

    def encode(self) -> bytes:
        """Gives the header with our own fields and the empty line after it."""
        return b"".join(place.raw for place in self._places) + _LINE_END


def _place(name: bytes, value: bytes) -> _Place:
    return _Place(name.lower(), b"%s:%s\r\n" % (name, value))


def value_for_filter(field: Field, *, leading_space: bool) -> bytes:
    """Gives the value of a field as a filter gets it: lines end in LF, without NUL.

    Args:
        field: a field with all its line ends.
        leading_space: the blank after the colon stays.
    """
    value = field.raw.partition(b":")[2].removesuffix(_LINE_END).replace(_LINE_END, b"\n").replace(b"\0", b"")
    return value if leading_space else value.removeprefix(b" ")
