import itertools

import pytest

from meta1g.smtp.data import State, Stuffer, Unstuffer, has_bare, held_back, stuff


def unstuffed(data):
    unstuffer = Unstuffer()
    content = unstuffer.feed(data)
    return content, unstuffer


@pytest.mark.parametrize(
    ("wire", "content", "rest"),
    [
        (b".\r\n", b"", b""),
        (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n"),
        (b"..\r\n.\r\n", b".\r\n", b""),
        (b".a\r\n.\r\n", b"a\r\n", b""),
        (b"a\r\n..b\r\n...\r\n.\r\n", b"a\r\n.b\r\n..\r\n", b""),
        (b"\r\n.\r\n", b"\r\n", b""),
    ],
)
def test_the_end_is_found_and_dots_are_unstuffed(wire, content, rest):
    got, unstuffer = unstuffed(wire)
    assert (got, unstuffer.done, unstuffer.rest) == (content, True, rest)
    assert not unstuffer.bare


@pytest.mark.parametrize(
    "wire",
    [b"a\n.\n", b"a\n.\r\n", b"a\r\n.\n", b"a\r.\r\n", b"a\r\n.\r", b"a\r.\r", b"a\r\n\0.\r\n", b"\n.\r\n", b"a\n\r.\r\n"],
)
def test_nothing_but_cr_lf_dot_cr_lf_ends_a_message(wire):
    assert not unstuffed(wire)[1].done


@pytest.mark.parametrize(
    "wire", [b"a\nb\r\n.\r\n", b"a\rb\r\n.\r\n", b"a\r\n.\nb\r\n.\r\n", b"a\r\r\n.\r\n", b"a\n.\r\nRCPT\r\n.\r\n"]
)
def test_bare_line_ends_are_noticed(wire):
    unstuffer = unstuffed(wire)[1]
    assert unstuffer.done
    assert unstuffer.bare


@pytest.mark.parametrize("step", [1, 7, 998, 1000, 1001, 5000])
@pytest.mark.parametrize(("length", "too_long"), [(998, False), (999, True), (2500, True)])
def test_lines_beyond_the_limit_are_noticed(length, too_long, step):
    wire = b"short\r\n" + b"x" * length + b"\r\nshort\r\n.\r\n"
    unstuffer = Unstuffer()
    for start in range(0, len(wire), step):
        unstuffer.feed(wire[start : start + step])
    assert (unstuffer.done, unstuffer.long_line) == (True, too_long)


def test_the_state_is_what_has_been_seen_of_the_end():
    unstuffer = Unstuffer()
    seen = [unstuffer.state]
    for byte in b"a\r\n.\r\n":
        unstuffer.feed(bytes((byte,)))
        seen.append(unstuffer.state)
    assert seen == [State.LINE_START, State.TEXT, State.CR, State.LINE_START, State.DOT, State.DOT_CR, State.END]


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b".\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.b\r\n", b"a\r\n..b\r\n.\r\n"),
        (b"no end", b"no end\r\n.\r\n"),
        (b"a\r", b"a\r\n.\r\n"),
        (b"a\n.b", b"a\r\n..b\r\n.\r\n"),
        (b"a\r.b", b"a\r\n..b\r\n.\r\n"),
    ],
)
def test_stuffing_leaves_only_cr_lf_and_doubles_dots(content, wire):
    assert stuff(content) == wire


def test_stuffing_knows_line_starts_across_pieces():
    stuffer = Stuffer()
    assert b"".join([stuffer.feed(b"a\r"), stuffer.feed(b"\n"), stuffer.feed(b".b"), stuffer.finish()]) == b"a\r\n..b\r\n.\r\n"


def test_bare_line_ends_are_told_from_whole_ones():
    assert not has_bare(b"a\r\nb\r\n")
    assert has_bare(b"a\n\r\n")
    assert has_bare(b"\r\r\n")
    assert has_bare(b"\n\r")


@pytest.mark.parametrize("padding", [b"", b"x" * 100])
def test_bare_line_ends_are_found_among_short_lines_and_long_ones(padding):
    for length in range(6):
        for octets in itertools.product(b"\r\na", repeat=length):
            data = bytes(octets)
            bare = b"\r" in (rest := data.replace(b"\r\n", b"")) or b"\n" in rest
            bare = bare or data.count(b"\r") != data.count(b"\r\n")
            assert has_bare(padding + data) == has_bare(data + padding) == bare, data


def test_only_what_may_be_the_end_is_held_back():
    assert [held_back(data) for data in (b"a", b"a\r", b"a\r\n", b"a\r\n.", b"a\r\n.\r", b"a.", b"a\n", b"")] == [
        0,
        1,
        2,
        3,
        4,
        0,
        0,
        0,
    ]


def test_without_a_limit_no_line_is_too_long():
    unstuffer = Unstuffer(0)
    unstuffer.feed(b"x" * 5000 + b"\r\n.\r\n")
    assert unstuffer.done
    assert not unstuffer.long_line
