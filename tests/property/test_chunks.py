"""Properties of content that comes by BDAT: however it is cut, it is what it is in one piece, or what DATA makes of it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from meta1g.smtp.chunks import Chunk, Joiner, parse_chunk
from meta1g.smtp.data import LineEnds, Unstuffer, has_bare, stuff
from tests.fuzz.extensions_fuzz import TARGETS
from tests.fuzz.runner import run
from tests.property.test_data import CUTS, HARD, pieces

LINES = st.lists(st.sampled_from([b"a", b"", b".", b"..", b"Subject: x", b"x" * 30]), max_size=8).map(
    lambda lines: b"".join(line + b"\r\n" for line in lines)
)


def joined(content, cuts, **kind):
    joiner = Joiner(**kind)
    got = b"".join(joiner.feed(piece) for piece in pieces(content, cuts))
    return got + joiner.finish(), joiner.bare, joiner.long_line


@settings(max_examples=200)
@given(HARD, CUTS)
def test_text_is_kept_a_missing_line_end_is_added_and_nothing_else(content, cuts):
    got, bare, _ = joined(content, cuts, binary=False)
    complete = not content or content.endswith(b"\r\n")
    assert got == content if complete else got == content + b"\r\n"
    assert bare == has_bare(content)


@settings(max_examples=200)
@given(LINES, CUTS)
def test_a_message_is_stored_as_if_it_had_come_by_data(content, cuts):
    unstuffer = Unstuffer(0)
    assert joined(content, cuts, binary=False)[0] == unstuffer.feed(stuff(content))
    assert unstuffer.done


@settings(max_examples=200)
@given(HARD, HARD, CUTS)
def test_a_binary_body_is_kept_to_the_last_octet_and_its_header_has_lines(header, body, cuts):
    content = header + b"\r\n\r\n" + body
    got, bare, _ = joined(content, cuts, binary=True)
    end = content.index(b"\r\n\r\n") + 4 if not content.startswith(b"\r\n") else 2
    assert got == content
    assert bare == has_bare(content[:end])


@settings(max_examples=300)
@given(LINES, CUTS, st.integers(2, 40))
def test_long_lines_are_found_however_they_are_cut(content, cuts, limit):
    assert joined(content, cuts, binary=False, max_line_bytes=limit)[2] == any(
        len(line) > limit for line in content.splitlines(keepends=True)
    )


@given(st.integers(0, 10**20 - 1), st.booleans(), st.sampled_from(["LAST", "last", "Last"]))
def test_a_chunk_says_how_much_and_whether_it_is_the_last(size, last, word):
    assert parse_chunk(f"{size} {word}" if last else str(size)) == Chunk(size, last)


@settings(max_examples=200)
@given(st.text(st.sampled_from("0123456789 LASTlast-+\t.xX٣"), max_size=30))
def test_anything_else_is_no_chunk(text):
    chunk = parse_chunk(text)
    if chunk is not None:
        assert text.split()[0] == text.split(" ")[0]
        assert text.isascii()
        assert int(text.split()[0]) == chunk.size_bytes
        assert [word.upper() for word in text.split()[1:]] == ["LAST"] * chunk.last


def test_random_input_gives_a_value_or_a_refusal():
    assert run(TARGETS, 2000, 1).total() == 2000


@given(st.one_of(st.binary(max_size=40), HARD), CUTS)
def test_line_ends_are_made_the_same_however_content_is_cut(content, cuts):
    ends = LineEnds()
    made = b"".join(map(ends.feed, pieces(content, cuts))) + ends.finish()
    expected = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    assert made == expected + (b"" if not content or expected.endswith(b"\r\n") else b"\r\n")
    assert not has_bare(made)
