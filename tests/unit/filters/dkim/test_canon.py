"""Canonicalization: the examples of RFC 6376 3.4.5, and bodies in pieces of any size."""

import itertools
import re
import time
import tracemalloc
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meta1g_filters.dkim.canon import BodyHashes, Canonicalization, SignedFields, canonical_field

SIMPLE, RELAXED = Canonicalization.SIMPLE, Canonicalization.RELAXED


def by_the_book(body, way):
    """RFC 6376 3.4.3 and 3.4.4, word by word, of a whole body."""
    if way is RELAXED:
        body = re.sub(rb"[ \t]+", b" ", body)
        body = re.sub(rb" (?=\r\n|\Z)", b"", body)
    end = len(body)
    while body.endswith(b"\r\n", 0, end):
        end -= 2
    body = body[:end]
    return body + b"\r\n" if body or way is SIMPLE else b""


def hashes(pieces, way, limit=None):
    bodies = BodyHashes()
    bodies.want(way, limit)
    for piece in pieces:
        bodies.update(piece)
    return bodies.digest(way, limit), bodies.size_bytes(way)


def expected(body, way, limit=None):
    whole = by_the_book(body, way)
    return sha256(whole[:limit]).digest(), len(whole)


@pytest.mark.parametrize(
    ("body", "simple", "relaxed"),
    [
        (b"", b"\r\n", b""),
        (b"\r\n\r\n", b"\r\n", b""),
        (b" \t\r\n", b" \t\r\n", b""),
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n", b" C\r\nD E\r\n"),
        (b"no end", b"no end\r\n", b"no end\r\n"),
        (b"blank \t", b"blank \t\r\n", b"blank\r\n"),
        (b"a\rb\nc\r\r\n\n", b"a\rb\nc\r\r\n\n\r\n", b"a\rb\nc\r\r\n\n\r\n"),
        (b"a\r\n\r", b"a\r\n\r\r\n", b"a\r\n\r\r\n"),
        (b"\r\n\r\na\r\n \r\n", b"\r\n\r\na\r\n \r\n", b"\r\n\r\na\r\n"),
    ],
)
def test_a_body_is_hashed_as_the_standard_says(body, simple, relaxed):
    assert hashes([body], SIMPLE) == (sha256(simple).digest(), len(simple))
    assert hashes([body], RELAXED) == (sha256(relaxed).digest(), len(relaxed))


OCTETS = st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"\r", b"\n", b"a", b"bc", b".", b"\0", b"\xff"]), max_size=30)


@settings(max_examples=300, deadline=None)
@given(OCTETS, st.lists(st.integers(0, 60), max_size=8), st.sampled_from(Canonicalization), st.none() | st.integers(0, 30))
def test_it_does_not_matter_where_a_body_is_split(octets, cuts, way, limit):
    body = b"".join(octets)
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[begin:end] for begin, end in itertools.pairwise(places)]
    assert hashes(pieces, way, limit) == expected(body, way, limit)


@pytest.mark.parametrize("way", Canonicalization)
def test_many_empty_lines_and_long_runs_of_blanks_take_no_room_and_little_time(way):
    body = b"a" + b"\r\n" * 300_000 + b" \t" * 300_000 + b"\r\n\n" + b"\r\n" * 300_000
    pieces = [body[at : at + 65_536] for at in range(0, len(body), 65_536)]
    began = time.process_time()
    found = hashes(pieces, way)
    assert time.process_time() - began < 1
    assert found == expected(body, way)


def test_all_that_want_a_hash_of_one_body_get_it():
    bodies = BodyHashes()
    wanted = [(way, limit) for way in Canonicalization for limit in (None, 0, 3, 1000)]
    for way, limit in wanted:
        bodies.want(way, limit)
    bodies.update(b" a  b \r\n")
    assert {one: bodies.digest(*one) for one in wanted} == {one: expected(b" a  b \r\n", *one)[0] for one in wanted}


@pytest.mark.parametrize(
    ("field", "relaxed"),
    [
        (b"A: X\r\n", b"a:X\r\n"),
        (b"B : Y\t\r\n\tZ  \r\n", b"b:Y Z\r\n"),
        (b"Subject:\r\n  a  \r\n b\r\n", b"subject:a b\r\n"),
        (b"Empty:\r\n", b"empty:\r\n"),
        (b"X:a:b : c\r\n", b"x:a:b : c\r\n"),
        (b"Utf: \xc3\xa4\r\n", b"utf:\xc3\xa4\r\n"),
    ],
)
def test_a_header_field_is_canonical(field, relaxed):
    assert canonical_field(field, RELAXED) == relaxed
    assert canonical_field(field, SIMPLE) == field


def test_fields_of_one_name_are_taken_from_below_and_each_once():
    own = b"X: own\r\n"
    fields = SignedFields([own, b"X: 1\r\n", b"A: 1\r\n", b"x: 2\r\n"])
    assert fields.hashed((b"x", b"a", b"x", b"none"), SIMPLE, own) == b"x: 2\r\nA: 1\r\nX: 1\r\n"
    assert fields.hashed((b"x", b"x", b"x"), SIMPLE, own) == b"x: 2\r\nX: 1\r\n"
    assert fields.hashed((b"x", b"x", b"x"), SIMPLE) == b"x: 2\r\nX: 1\r\nX: own\r\n"
    assert fields.count(b"x") == 3


@pytest.mark.parametrize("piece", [b"\r\n" * 32_768, b" \t" * 32_768, b"word \r\n" * 9000, b"x" * 65_536])
def test_no_more_of_a_body_is_held_than_the_piece_at_hand(piece):
    bodies = BodyHashes()
    for way in Canonicalization:
        bodies.want(way)
    bodies.update(piece)
    tracemalloc.start()
    try:
        for _ in range(100):
            bodies.update(piece)
        bodies.size_bytes(RELAXED)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * len(piece)
