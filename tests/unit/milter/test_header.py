"""What filters make of a header; the expected texts are those that Postfix makes of the same changes."""

import pytest

from meta1g.milter.changes import AddField, ChangeField, FilterChange, InsertField, change_of
from meta1g.milter.errors import MilterProtocolError
from meta1g.milter.frames import FieldData, IndexedField, Smfir, TextData, WordsData
from meta1g.milter.header import ContentSplitter, HeaderEdit, value_for_filter
from meta1g.smtp.header import Field, fields

OWN = b"Received: by us\r\n\tfor you\r\n"
CAME = b"Received: by them\r\nSubject: one\r\nX-Spam: a\r\nx-spam: b\r\n folded\r\n"


def edited(*changes: FilterChange) -> bytes:
    edit = HeaderEdit(OWN, fields(CAME))
    for change in changes:
        edit.apply(change)
    return edit.encode()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (AddField(b"A", b" v"), OWN + CAME + b"A: v\r\n"),
        (InsertField(0, b"A", b" v"), b"A: v\r\n" + OWN + CAME),
        (InsertField(1, b"A", b" v"), OWN + b"A: v\r\n" + CAME),
        (InsertField(2, b"A", b" v"), OWN + b"Received: by them\r\nA: v\r\n" + CAME.partition(b"\r\n")[2]),
        (InsertField(9999, b"A", b" v"), OWN + CAME + b"A: v\r\n"),
        (ChangeField(1, b"SUBJECT", b" two"), OWN + CAME.replace(b"Subject: one", b"SUBJECT: two")),
        (ChangeField(1, b"Received", b""), OWN + CAME.partition(b"\r\n")[2]),
        (ChangeField(2, b"X-Spam", b" c"), OWN + CAME.replace(b"x-spam: b\r\n folded", b"X-Spam: c")),
        (ChangeField(2, b"X-Spam", b""), OWN + CAME.replace(b"x-spam: b\r\n folded\r\n", b"")),
        (ChangeField(3, b"X-Spam", b" c"), OWN + CAME + b"X-Spam: c\r\n"),
        (ChangeField(3, b"X-Spam", b""), OWN + CAME),
        (ChangeField(1, b"New", b" v"), OWN + CAME + b"New: v\r\n"),
    ],
)
def test_one_change(change, text):
    assert edited(change) == text + b"\r\n"


def test_changes_build_upon_each_other():
    got = edited(AddField(b"B", b" 1"), ChangeField(1, b"b", b" 2"), InsertField(0, b"B", b" 0"), ChangeField(2, b"B", b""))
    assert got == b"B: 0\r\n" + OWN + CAME + b"\r\n"


def test_our_own_fields_are_not_seen_and_the_next_filter_sees_the_changes():
    edit = HeaderEdit(OWN, fields(CAME))
    edit.apply(InsertField(0, b"A", b" v"))
    assert edit.visible() == [Field(b"A", b"A: v\r\n"), *fields(CAME)]
    assert edit.changed


@pytest.mark.parametrize(
    ("value", "space", "written"),
    [
        (b"v", False, b" v"),
        (b"v", True, b"v"),
        (b" v", True, b" v"),
        (b"a\n\tb", False, b" a\r\n\tb"),
        (b"a\r\n b", False, b" a\r\n b"),
        (b"a\nEvil: x", False, b" a\r\n\tEvil: x"),
        (b"a\n\nbody", False, b" a\r\n\tbody"),
        (b"a\n \n b\n", False, b" a\r\n b"),
        (b"a\rb", False, b" a\r\n\tb"),
    ],
)
def test_no_value_ends_the_header_or_begins_another_field(value, space, written):
    assert change_of(Smfir.ADDHEADER, FieldData(b"A", value), leading_space=space) == AddField(b"A", written)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Smfir.ADDHEADER, FieldData(b"", b"v")),
        (Smfir.ADDHEADER, FieldData(b"A B", b"v")),
        (Smfir.ADDHEADER, FieldData(b"A:", b"v")),
        (Smfir.ADDHEADER, FieldData(b"A\r\nB", b"v")),
        (Smfir.ADDHEADER, FieldData(b"A" * 998, b"v")),
        (Smfir.INSHEADER, IndexedField(0x80000000, b"A", b"v")),
        (Smfir.CHGHEADER, IndexedField(0xFFFFFFFF, b"A", b"v")),
        (Smfir.ADDRCPT, TextData(b"")),
        (Smfir.ADDRCPT_PAR, WordsData((b"", b"NOTIFY=NEVER"))),
        (Smfir.DELRCPT, TextData(b"")),
    ],
)
def test_a_change_that_cannot_be_is_refused(kind, data):
    with pytest.raises(MilterProtocolError):
        change_of(kind, data, leading_space=False)


def test_an_index_of_nought_means_the_first_field_of_a_name():
    assert change_of(Smfir.CHGHEADER, IndexedField(0, b"A", b""), leading_space=False) == ChangeField(1, b"A", b"")


@pytest.mark.parametrize(
    ("raw", "space", "value"),
    [
        (b"A: v\r\n", False, b"v"),
        (b"A: v\r\n", True, b" v"),
        (b"A:\tv\r\n", False, b"\tv"),
        (b"A:  v\r\n", False, b" v"),
        (b"A:v\r\n b\r\n", False, b"v\n b"),
        (b"A:\r\n", False, b""),
        (b"A: x\0y\r\n", False, b"xy"),
    ],
)
def test_a_value_as_filters_get_it(raw, space, value):
    assert value_for_filter(Field(b"A", raw), leading_space=space) == value


# -- where the header ends


@pytest.mark.parametrize(
    ("content", "names", "body"),
    [
        (b"A: 1\r\nB: 2\r\n c\r\n\r\nbody\r\n", [b"A", b"B"], b"body\r\n"),
        (b"A: 1\r\n\r\n", [b"A"], b""),
        (b"A: 1\r\n", [b"A"], b""),
        (b"\r\nbody\r\n", [], b"body\r\n"),
        (b"no field\r\n\r\nbody\r\n", [], b"no field\r\n\r\nbody\r\n"),
        (b"A: 1\r\nno field\r\nbody\r\n", [b"A"], b"no field\r\nbody\r\n"),
        (b"A: 1\r\n\r\n\r\nx\r\n", [b"A"], b"\r\nx\r\n"),
        (b"", [], b""),
        (b" fold\r\nA: 1\r\n", [], b" fold\r\nA: 1\r\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_header_and_body_are_told_apart_in_pieces_of_any_size(content, names, body, size):
    splitter = ContentSplitter(1000, 100)
    got = b"".join(splitter.feed(content[at : at + size]) for at in range(0, len(content), size)) + splitter.finish()
    assert ([field.name for field in splitter.fields], got, splitter.done) == (names, body, True)
    assert content[splitter.body_offset :] == body


@pytest.mark.parametrize("content", [b"A: " + b"x" * 2000, b"A: 1\r\n" * 300, b"A: 1\r\n" * 300 + b"\r\nbody"])
def test_a_header_is_held_up_to_a_limit(content):
    splitter = ContentSplitter(1000, 100)
    assert b"".join(splitter.feed(content[at : at + 7]) for at in range(0, len(content), 7)) + splitter.finish() == b""
    assert (splitter.too_big, splitter.done, splitter.fields) == (True, False, ())
