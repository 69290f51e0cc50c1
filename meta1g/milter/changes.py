"""The changes that a filter asks for at the end of a message, read from its frames.

A field value is made safe while it is read: its lines end in CR LF, each line but the first begins with a blank, no line is
empty, so that no filter ends a header inside a value.

Pure.  Ref: sendmail 8, libmilter/docs "smfi_addheader", "smfi_insheader", "smfi_chgheader", "smfi_addrcpt_par", "smfi_chgfrom".
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from meta1g.base.dataclass import dataclass
from meta1g.milter.errors import MilterProtocolError
from meta1g.milter.frames import BodyChunk, FieldData, IndexedField, Smfir, TextData, WordsData
from meta1g.milter.limits import FIELD_NAME_MAX_BYTES, REASON_MAX_BYTES

_NAME: Final = re.compile(rb"[!-9;-~]+")
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_INDEX_MAX: Final = 0x7FFFFFFF


@dataclass(frozen=True, slots=True)
class AddField:
    """Puts a field after all others."""

    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class InsertField:
    """Puts a field at a place; 0 is before all others, our own Received among them; beyond the last one is after it."""

    index: int
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class ChangeField:
    """Replaces the value of a field, or removes it if the value is empty.

    Args:
        index: which one of that name, from 1, our own Received not counted; if there is none, one is added.
        name: in any case of letters.
        value: with the blank after the colon.
    """

    index: int
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class NewBody:
    """A piece of the body that takes the place of the one that came."""

    data: bytes


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A piece of the message, header and body, that takes the place of the one that came; policy milters only."""

    data: bytes


@dataclass(frozen=True, slots=True)
class AddRcpt:
    """Adds a recipient: its path, and parameters as in RCPT."""

    path: bytes
    params: bytes = b""


@dataclass(frozen=True, slots=True)
class DeleteRcpt:
    """Takes a recipient away."""

    path: bytes


@dataclass(frozen=True, slots=True)
class ChangeSender:
    """Sets another sender: its path, and parameters as in MAIL."""

    path: bytes
    params: bytes = b""


@dataclass(frozen=True, slots=True)
class HoldMail:
    """Quarantine: the message is accepted and held, with a reason."""

    reason: str


FilterChange = AddField | InsertField | ChangeField | NewBody | NewMessage | AddRcpt | DeleteRcpt | ChangeSender | HoldMail


def change_of(kind: Smfir, data: Any, *, leading_space: bool) -> FilterChange:
    """Reads a change.

    Args:
        kind: one of CHANGES.
        data: that of the frame.
        leading_space: values begin with the blank after the colon; otherwise it is put there.

    Raises:
        MilterProtocolError: a name that is no name of a field, an index that is none, an empty path.
    """
    return CHANGES[kind](data, leading_space)


def _add(data: FieldData, space: bool) -> FilterChange:
    return AddField(_name(data.name), _value(data.value, space))


def _insert(data: IndexedField, space: bool) -> FilterChange:
    return InsertField(_index(data.index), _name(data.name), _value(data.value, space))


def _change(data: IndexedField, space: bool) -> FilterChange:
    value = _value(data.value, space) if data.value else b""
    return ChangeField(max(1, _index(data.index)), _name(data.name), value)


def _new_body(data: BodyChunk, _space: bool) -> FilterChange:
    return NewBody(data.data)


def _add_rcpt(data: TextData, _space: bool) -> FilterChange:
    return AddRcpt(_path(data.text))


def _add_rcpt_par(data: WordsData, _space: bool) -> FilterChange:
    return AddRcpt(_path(data.words[0]), b" ".join(data.words[1:]))


def _delete_rcpt(data: TextData, _space: bool) -> FilterChange:
    return DeleteRcpt(_path(data.text))


def _change_sender(data: WordsData, _space: bool) -> FilterChange:
    return ChangeSender(data.words[0], b" ".join(data.words[1:]))


def _hold(data: TextData, _space: bool) -> FilterChange:
    return HoldMail(data.text[:REASON_MAX_BYTES].decode("utf-8", "replace"))


CHANGES: Final[Mapping[Smfir, Callable[[Any, bool], FilterChange]]] = {
    Smfir.ADDHEADER: _add,
    Smfir.INSHEADER: _insert,
    Smfir.CHGHEADER: _change,
    Smfir.REPLBODY: _new_body,
    Smfir.ADDRCPT: _add_rcpt,
    Smfir.ADDRCPT_PAR: _add_rcpt_par,
    Smfir.DELRCPT: _delete_rcpt,
    Smfir.CHGFROM: _change_sender,
    Smfir.QUARANTINE: _hold,
}


def _name(name: bytes) -> bytes:
    if len(name) > FIELD_NAME_MAX_BYTES or not _NAME.fullmatch(name):
        raise MilterProtocolError(f"{name[:40]!r} is no name of a header field")
    return name


def _index(index: int) -> int:
    if index > _INDEX_MAX:
        raise MilterProtocolError(f"{index} is no place in a header")
    return index


def _path(path: bytes) -> bytes:
    if not path:
        raise MilterProtocolError("an empty recipient")
    return path


def _value(value: bytes, space: bool) -> bytes:
    first, *rest = _LINE_END.split(value)
    lines = [line if line[:1] in (b" ", b"\t") else b"\t" + line for line in rest if line.strip(b" \t")]
    return b"\r\n".join([first if space else b" " + first, *lines])
