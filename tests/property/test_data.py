"""Properties of stuffing and unstuffing: the table, byte by byte, is the model."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from meta1g.smtp.data import TRANSITIONS, Octet, State, Stuffer, Unstuffer, has_bare, stuff

HARD = st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n.\r", b"x", b"xy"]), max_size=40).map(b"".join)
CUTS = st.lists(st.integers(1, 7), min_size=1, max_size=20)
OCTETS = {b"\r": Octet.CR, b"\n": Octet.LF, b".": Octet.DOT}


def pieces(data, cuts):
    offset, turn = 0, 0
    while offset < len(data):
        yield data[offset : offset + cuts[turn % len(cuts)]]
        offset += cuts[turn % len(cuts)]
        turn += 1


def model(wire):
    """Follows the table byte by byte: content, and where the message ends (-1 if it does not)."""
    state, content = State.LINE_START, bytearray()
    for index in range(len(wire)):
        byte = wire[index : index + 1]
        after = TRANSITIONS[state, OCTETS.get(byte, Octet.OTHER)]
        if after is State.END:
            del content[-1:]  # the CR after the dot
            return bytes(content), index + 1
        if after is not State.DOT:  # a dot at the start of a line is not content
            content += byte
        state = after
    return bytes(content), -1


@settings(max_examples=400)
@given(HARD, CUTS)
def test_unstuffing_in_pieces_is_what_the_table_says(wire, cuts):
    wire += b"\r\n.\r\nNEXT"
    content, end = model(wire)
    unstuffer, got, fed = Unstuffer(), b"", 0
    for piece in pieces(wire, cuts):
        got += unstuffer.feed(piece)
        fed += len(piece)
        if unstuffer.done:
            break
    assert got == content
    assert unstuffer.rest + wire[fed:] == wire[end:]
    assert unstuffer.bare == has_bare(content)


@settings(max_examples=400)
@given(HARD, CUTS)
def test_what_is_stuffed_in_pieces_is_what_is_stuffed_whole(content, cuts):
    stuffer = Stuffer()
    assert b"".join(stuffer.feed(piece) for piece in pieces(content, cuts)) + stuffer.finish() == stuff(content)


@settings(max_examples=400)
@given(HARD)
def test_stuffed_content_reads_back_with_clean_line_ends(content):
    unstuffer = Unstuffer()
    got = unstuffer.feed(stuff(content))
    clean = re.sub(rb"\r\n|\r|\n", b"\r\n", content)
    if clean and not clean.endswith(b"\r\n"):
        clean += b"\r\n"
    assert got == clean
    assert (unstuffer.done, unstuffer.rest, unstuffer.bare) == (True, b"", False)


@given(st.binary(max_size=300), CUTS)
def test_any_bytes_are_content_or_end_and_never_grow_the_buffer(data, cuts):
    unstuffer = Unstuffer()
    for piece in pieces(data, cuts):
        if unstuffer.done:
            break
        unstuffer.feed(piece)
        assert unstuffer.state in State
