"""One message stays one message: what looks like its end, or like a command, in chunks that come and in chunks that go.

A message with any of these look-alikes comes by BDAT, is stored or refused, and goes on by DATA or BDAT: no server finds a
second message in it, not even one that takes a bare LF or a bare CR for a line end.
"""

import itertools
import re

import pytest

from meta1g.smtp.chunks import BadContentError, ChunkSender, Joiner, parse_chunk
from meta1g.smtp.command import is_chunk, parse_command
from meta1g.smtp.data import Unstuffer, has_bare, stuff

ENDS = [
    b"\r\n", b"\n", b"\r", b"\n\r", b"\r\r\n", b"\0\r\n", b"\r\0\n", b"\x0b", b"\x0c", b"\x85", b"\xc2\x85",
    b"\xe2\x80\xa8",
]  # fmt: skip
DOTS = [b".", b"..", b". ", b" .", b".\0", b"\0.", b"=2E"]
LOOKALIKES = [before + dot + after for before, dot, after in itertools.product(ENDS, DOTS, ENDS)]
BEGIN = b"Subject: x\r\n\r\nbody"
EVIL = b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<r@example.org>\r\nDATA\r\n"


def stored(content, cuts=(7,), *, binary=False):
    """What is kept of a message that came by BDAT in chunks of these sizes, None if it is refused."""
    joiner, got, start = Joiner(binary=binary), b"", 0
    sizes = itertools.cycle(cuts)
    while start < len(content):
        size = next(sizes)
        got += joiner.feed(content[start : start + size])
        start += size
    got += joiner.finish()
    return None if joiner.bare else got


def gone(sender, content):
    """What leaves by BDAT."""
    return sender.feed(content) + sender.finish()


@pytest.mark.parametrize("cuts", [(1,), (2, 3), (1 << 20,)], ids=["octets", "small", "whole"])
def test_no_lookalike_becomes_a_second_message(cuts):
    taken = 0
    for lookalike in LOOKALIKES:
        content = BEGIN + lookalike + EVIL
        kept = stored(content, cuts)
        assert (kept is None) == has_bare(content), lookalike
        if kept is None:
            continue
        taken += 1
        assert kept == content
        wire = stuff(kept)
        unstuffer = Unstuffer(0)
        assert (unstuffer.feed(wire), unstuffer.done, unstuffer.rest) == (kept, True, b""), lookalike
        assert re.sub(rb"\r\n", b"", wire).count(b"\r") == re.sub(rb"\r\n", b"", wire).count(b"\n") == 0
        for line_end in (b"\n", b"\r"):  # servers that take less for a line end find the same end
            assert wire.replace(b"\r\n", line_end).count(line_end + b"." + line_end) == 1, lookalike
    assert len(LOOKALIKES) > 500
    assert taken > 100


def test_what_comes_by_data_and_by_bdat_is_the_same_or_refused_both_times():
    for lookalike in LOOKALIKES:
        content = BEGIN + lookalike + EVIL
        unstuffer = Unstuffer(0)
        by_data = unstuffer.feed(stuff(content))
        kept = stored(content)
        assert kept is None or kept == by_data


def test_chunks_that_go_out_have_only_whole_line_ends():
    for lookalike in LOOKALIKES:
        content = BEGIN + lookalike + EVIL
        sender = ChunkSender(b"BDAT\r\n", len(content), binary=False)
        if has_bare(content):
            with pytest.raises(BadContentError):
                gone(sender, content)
        else:
            assert gone(sender, content) == b"BDAT\r\n" + content


def test_a_binary_body_is_what_it_was_and_its_header_is_not():
    for lookalike in LOOKALIKES:
        assert stored(BEGIN + lookalike + EVIL, binary=True) == BEGIN + lookalike + EVIL
        header = b"Subject: x" + lookalike + b"y: z\r\n\r\n"
        kept = stored(header + b"body", binary=True)
        end = header.index(b"\r\n\r\n") + 4
        assert (kept is None) == has_bare(header[:end]), lookalike


COMMAND_BLANKS = [b" ", b"  ", b"\t", b"\x0b", b"\x0c", b"\xa0", b"\xc2\xa0", b"\0", b"\n", b"\r", b""]
NUMBERS = [b"6", b"06", b"+6", b"-6", b"6.", b"6,0", b"0x6", b"6e0", b"\xd9\xa6", b"1_0", b"", b"9" * 21]
TAILS = [b"", b" ", b" LAST", b" LAST LAST", b" LASTX", b"\nLAST", b" \0", b";LAST", b" LAST\t"]


def test_a_bdat_is_understood_in_one_way_or_ends_the_session():
    understood = []
    for verb, blank, number, tail in itertools.product([b"BDAT", b"bdat"], COMMAND_BLANKS, NUMBERS, TAILS):
        line = verb + blank + number + tail
        command = parse_command(line)
        chunk = parse_chunk(command.argument) if hasattr(command, "verb") else None
        if chunk is None:
            assert is_chunk(line)  # the session ends
        else:
            understood.append(line)
            assert re.fullmatch(rb"(?i)bdat[ \t]+0?6[ \t]*(?:last)?[ \t]*", line), line
            assert chunk.size_bytes == 6
    assert understood
