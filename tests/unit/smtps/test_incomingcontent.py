"""Content in memory: what it holds, however small the pieces are that it comes in."""

import email
import tracemalloc
import zlib
from types import SimpleNamespace

import pytest

from meta1g import st
from meta1g.base.ids import CdbId
from meta1g.base.log import Log
from meta1g.db.cdb import Cdb
from meta1g.smtp.completion import Missing
from meta1g.smtp.data import Unstuffer
from meta1g.smtps.incomingcontent import IncomingContent
from meta1g.smtps.limits import SMALL_CONTENT_BYTES, STREAM_PIECE_BYTES

ID = CdbId("S000000000000000100")
TRACE = b"Received: from x\r\n"


@pytest.fixture
def content(tmp_path):
    """Content that goes to a real store."""
    st.st_init()
    for digit in "0123456789ABCDEF":
        (tmp_path / digit).mkdir()
    return new_content(tmp_path)


def new_content(directory, missing=None):
    settings = SimpleNamespace(max_message_bytes=0, max_hops=100, cdb_gid=None, parts=None)
    context = SimpleNamespace(cdb=Cdb(directory), log=Log("test", level=0))
    return IncomingContent(context, settings, ID, TRACE, missing)


def feed(content, data, size):
    """Gives data in pieces of a size, as they come from the wire."""
    unstuffer = Unstuffer()
    for start in range(0, len(data), size):
        content.add(unstuffer.feed(data[start : start + size]))


def test_two_bytes_at_a_time_cost_two_bytes(content):
    data = (b"0123456789" * 7 + b"\r\n") * ((SMALL_CONTENT_BYTES - 1000) // 72)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        feed(content, data, 2)
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert content.size_bytes > len(data) - 5
    assert held < 1.5 * len(data)


@pytest.mark.parametrize("size", [2, 1000, 65536])
@pytest.mark.parametrize("lines", [0, 10, 5000, 20_000])
def test_the_file_its_size_and_its_checksum_do_not_depend_on_the_pieces(content, tmp_path, size, lines):
    data = b"Subject: x\r\n\r\n" + (b"0123456789" * 7 + b"\r\n") * lines
    if size == 2 and lines > 5000:
        lines = 5000
        data = data[: 14 + 72 * lines]
    feed(content, data + b".\r\n", size)
    content.store()
    stored = Cdb(tmp_path).path(ID).read_bytes()
    assert stored == TRACE + data
    assert (content.stored_bytes, content.checksum) == (len(stored), zlib.crc32(stored))
    assert SMALL_CONTENT_BYTES < 5000 * 72 < SMALL_CONTENT_BYTES + STREAM_PIECE_BYTES < 20_000 * 72


@pytest.mark.parametrize("first", [b" spam", b"\tX: y", b" "])
@pytest.mark.parametrize("size", [1, 65536])
def test_a_first_line_that_begins_with_a_blank_is_body_and_not_part_of_our_field(content, tmp_path, first, size):
    data = first + b"\r\nReceived: from y\r\n"
    feed(content, data + b".\r\n", size)
    content.check_header()
    content.store()
    stored = Cdb(tmp_path).path(ID).read_bytes()
    assert stored == TRACE + b"\r\n" + data
    assert (content.stored_bytes, content.checksum) == (len(stored), zlib.crc32(stored))
    assert len(email.message_from_bytes(stored).get_all("received")) == 1


MISSING = Missing("<1@mx.example>", "today", "user@example.org")
ADDED = b"Message-ID: <1@mx.example>\r\nDate: today\r\nFrom: <user@example.org>\r\n"
BODY = (b"0123456789" * 7 + b"\r\n") * 3000


@pytest.mark.parametrize(
    ("data", "before"),
    [
        (b"Subject: x\r\n\r\nbody\r\n", ADDED),
        (b"Subject: x\r\n", ADDED),
        (b"\r\nbody\r\n", ADDED),
        (b"", ADDED),
        (b"body\r\n\r\nDate: x\r\n", ADDED + b"\r\n"),
        (b" folded\r\n", ADDED + b"\r\n"),
        (b"Date: x\r\nFrom: x\r\n\r\n" + BODY, ADDED[: ADDED.index(b"Date")]),
        (b"X: y\r\n" * 30_000 + b"Date: behind what is looked at\r\n\r\n" + BODY, b""),
    ],
    ids=["header and body", "header", "body behind no header", "nothing", "body", "folded body", "streamed", "endless header"],
)
@pytest.mark.parametrize("size", [3, 65536])
def test_a_header_is_completed_while_the_content_comes(content, tmp_path, data, before, size):
    completed = new_content(tmp_path, MISSING)
    feed(completed, data + b".\r\n", size)
    completed.check_header()
    completed.store()
    stored = Cdb(tmp_path).path(ID).read_bytes()
    assert stored == TRACE + before + data
    assert (completed.stored_bytes, completed.checksum) == (len(stored), zlib.crc32(stored))
    assert completed.message_id == (MISSING.message_id if before else None)
