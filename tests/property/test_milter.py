"""Properties of the milter codec: what is written is read back, whole or byte by byte, and any bytes are frames or an error."""

from hypothesis import given, settings
from hypothesis import strategies as st

from meta1g.milter.codec import FrameReader, encode
from meta1g.milter.errors import MilterProtocolError
from meta1g.milter.frames import (
    ANSWERS_BY_CODE,
    COMMANDS_BY_CODE,
    KINDS,
    Family,
    Form,
    Frame,
    MacroList,
    MilterMacro,
    PeerAddress,
    Smfic,
)
from meta1g.milter.header import ContentSplitter
from tests.fuzz.milter_fuzz import converse
from tests.property.test_data import CUTS, pieces

TEXT = st.binary(max_size=20).map(lambda text: text.replace(b"\0", b"."))
U32 = st.integers(0, 0xFFFFFFFF)
PEERS = st.one_of(
    st.just(PeerAddress(Family.UNKNOWN)),
    st.builds(PeerAddress, st.sampled_from([Family.UNIX, Family.INET, Family.INET6]), st.integers(0, 0xFFFF), TEXT),
)
FORMS = {
    Form.U32: U32,
    Form.TEXT: TEXT,
    Form.LAST: TEXT,
    Form.WORDS: st.lists(TEXT, min_size=1, max_size=3).map(tuple),
    Form.PAIRS: st.lists(st.builds(MilterMacro, TEXT, TEXT), max_size=2).map(tuple),
    Form.CODE: st.sampled_from(Smfic),
    Form.PEER: PEERS,
    Form.LISTS: st.lists(st.builds(MacroList, U32, TEXT), max_size=2).map(tuple),
    Form.BYTES: st.binary(max_size=50),
}


def frames_of(kind):
    layout = KINDS[kind]
    if layout.data is None:
        return st.just(Frame(kind))
    return st.builds(Frame, st.just(kind), st.builds(layout.data, *(FORMS[form] for _name, form in layout.forms)))


def streams(by_code):
    return st.tuples(st.just(by_code), st.lists(st.one_of(*map(frames_of, by_code.values())), max_size=4))


def test_every_form_has_a_strategy():
    assert set(FORMS) == set(Form)


@settings(max_examples=200)
@given(st.one_of(streams(COMMANDS_BY_CODE), streams(ANSWERS_BY_CODE)), CUTS)
def test_what_is_written_is_read_back_in_pieces_of_any_size(case, cuts):
    by_code, frames = case
    reader, got = FrameReader(by_code), []
    for piece in pieces(b"".join(map(encode, frames)), cuts):
        reader.feed(piece)
        got += reader.frames()
    assert (got, reader.held_bytes) == (frames, 0)


def read(by_code, parts):
    """Gives what is read, and whether it ends in an error."""
    reader, got = FrameReader(by_code), []
    try:
        for part in parts:
            reader.feed(part)
            got += list_until_error(reader, got)
    except MilterProtocolError as error:
        return got, str(error)
    return got, ""


def list_until_error(reader, got):
    while (frame := reader.take()) is not None:
        got.append(frame)
    return []


@settings(max_examples=300)
@given(st.sampled_from([COMMANDS_BY_CODE, ANSWERS_BY_CODE]), st.lists(st.binary(max_size=30), max_size=4), CUTS)
def test_any_bytes_are_frames_or_an_error_and_the_same_ones_byte_by_byte(by_code, payloads, cuts):
    stream = b"".join(len(payload).to_bytes(4, "big") + payload for payload in payloads)
    assert read(by_code, [stream]) == read(by_code, pieces(stream, cuts))


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=40), max_size=30), st.randoms(use_true_random=False))
def test_whatever_a_filter_answers_is_an_answer_or_an_error(answers, rng):
    converse(answers, rng)


LINES = st.lists(st.sampled_from([b"A: 1", b"B: 2", b" c", b"", b"no field", b"\r", b"x" * 50]), max_size=12)


@settings(max_examples=200)
@given(LINES, CUTS)
def test_header_and_body_do_not_depend_on_how_the_content_arrives(lines, cuts):
    content = b"".join(line + b"\r\n" for line in lines)
    whole, cut = ContentSplitter(10_000, 100), ContentSplitter(10_000, 100)
    body = whole.feed(content) + whole.finish()
    assert b"".join(map(cut.feed, pieces(content, cuts))) + cut.finish() == body
    assert cut.fields == whole.fields
    joined = b"".join(field.raw for field in whole.fields)
    assert content in (joined + body, joined + b"\r\n" + body)
