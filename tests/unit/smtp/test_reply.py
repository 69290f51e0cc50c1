import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.reply import Reply
from meta1g.smtp.limits import PEER_REPLY_LINE_MAX_BYTES, PEER_REPLY_LINES_END, PEER_REPLY_MAX_LINES
from meta1g.smtp.reply import ReplyError, ReplyParser


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"220 host ready\r\n", Reply(220, "", "host ready")),
        (b"250 2.1.0 Ok\r\n", Reply(250, "2.1.0", "Ok")),
        (b"250\r\n", Reply(250, "", "")),
        (b"250 \r\n", Reply(250, "", "")),
        (b"421 4.7.0\r\n", Reply(421, "4.7.0", "")),
        (b"250-a\r\n250-SIZE 10\r\n250 DSN\r\n", Reply(250, "", ("a", "SIZE 10", "DSN"))),
        (b"550-5.1.1 no\r\n550 5.1.1 such user\r\n", Reply(550, "5.1.1", ("no", "such user"))),
        (b"550 2.1.1 liar\r\n", Reply(550, "", "2.1.1 liar")),
        (b"550 \x00\xff\x1b[31m\r\n", Reply(550, "", "\\x00\\xFF\\x1B[31m")),
        (b"220 host ready\n", Reply(220, "", "host ready")),
        (b"250-2.1.0 a\n250 2.1.0 b\n", Reply(250, "2.1.0", ("a", "b"))),
        (b"550\tNo such user\r\n", Reply(550, "", "No such user")),
        (b"550\t5.1.1 no\r\n", Reply(550, "5.1.1", "no")),
        (b"250\tok\n", Reply(250, "", "ok")),
        (b"250-a\r\n251 b\r\n", Reply(251, "", ("a", "b"))),
        (b"550-5.1.1 no\r\n450 4.2.0 later\r\n", Reply(450, "4.2.0", ("5.1.1 no", "later"))),
        (b"250-\r\n550 b\r\n", Reply(550, "", ("", "b"))),
        (b"550 a\nb\rc\r\n", Reply(550, "", "a\\x0Ab\\x0Dc")),
    ],
)
def test_replies_of_servers_are_read(data, reply):
    assert ReplyParser().feed(data) == [reply]


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n",
        b"\r\n",
        b"150 x\r\n",
        b"650 x\r\n",
        b"250x\r\n",
        b"25 x\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"250 " + b"x" * PEER_REPLY_LINE_MAX_BYTES + b"\r\n",
        b"x" * (PEER_REPLY_LINE_MAX_BYTES + 1),
        b"250-a\r\n" * (PEER_REPLY_LINES_END + 1),
    ],
)
def test_what_is_no_reply_is_refused(data):
    with pytest.raises(ReplyError):
        ReplyParser().feed(data)


@given(st.lists(st.integers(1, 9), max_size=40))
def test_replies_come_out_whole_however_the_bytes_arrive(cuts):
    stream = b"220 hi\r\n250-a\r\n250-b\r\n250 c\r\n354 go\r\n550 5.1.1 no\r\n"
    parser, got, offset = ReplyParser(), [], 0
    for cut in [*cuts, len(stream)]:
        got += parser.feed(stream[offset : offset + cut])
        offset += cut
    assert [r.code for r in got] == [220, 250, 354, 550]
    assert not parser.pending


def test_a_line_feed_inside_a_reply_ends_no_line():
    """What a server repeats of a client's words must not become a reply of its own."""
    parser = ReplyParser()
    assert parser.feed(b"550 no such user <a\nb>") == []
    assert parser.feed(b"\r\n") == [Reply(550, "", "no such user <a\\x0Ab>")]
    assert parser.feed(b"550 no <a\nx250 ok\r\n") == [Reply(550, "", "no <a\\x0Ax250 ok")]


def test_an_unfinished_reply_is_pending():
    parser = ReplyParser()
    assert parser.feed(b"250-a\r\n") == []
    assert parser.pending


def test_replies_before_a_line_that_is_none_are_given_first():
    parser = ReplyParser()
    assert parser.feed(b"550 5.1.1 no\r\nwhat?\r\n250 ok\r\n") == [Reply(550, "5.1.1", "no")]
    for again in (parser.check, lambda: parser.feed(b"250 ok\r\n")):
        with pytest.raises(ReplyError, match=r"not a reply: what\?"):
            again()


@pytest.mark.parametrize(
    ("data", "replies", "nonsense"),
    [
        (b"Warning: low\r\n250 ok\r\n", [Reply(250, "", "ok")], "not a reply: Warning: low"),
        (b"250-a\r\nWarning\r\n\r\n250 b\r\n", [Reply(250, "", ("a", "b"))], "not a reply: Warning"),
        (b"650 x\r\n", [], "not a reply: 650 x"),
        (b"2500 x\r\n", [], "not a reply: 2500 x"),
        (b"250: kept\r\n", [Reply(250, "", ": kept")], ""),
        (b"250MB free\r\n550 no\r\n", [Reply(550, "", "no")], "not a reply: 250MB free"),
        (b"250-a\r\n250.\r\n", [Reply(250, "", ("a", "."))], ""),
        (b"550\xa0no\r\n", [Reply(550, "", "\\xA0no")], ""),
        (b"\0\r\n550 no\r\nx\r\n250 ok\r\n", [Reply(550, "", "no"), Reply(250, "", "ok")], "not a reply: \\x00"),
        (b"x" * 5000, [], f"reply line longer than {PEER_REPLY_LINE_MAX_BYTES} bytes"),
        (b"250-a\r\n" * PEER_REPLY_LINES_END + b"250-x\r\n250 ok\r\n",
         [Reply(250, "", "ok")],
         f"reply of more than {PEER_REPLY_LINES_END} lines"),
    ],
)  # fmt: skip
def test_a_liberal_reader_passes_over_what_is_no_reply(data, replies, nonsense):
    parser = ReplyParser()
    assert parser.feed(data, liberal=True) == replies
    assert parser.nonsense == nonsense


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"250 2.0.0 ke", Reply(250, "2.0.0", "ke")),
        (b"250", Reply(250, "", "")),
        (b"250-", Reply(250, "", "")),
        (b"250-kept\r\n", Reply(250, "", "kept")),
        (b"250-kept\r\n25", Reply(250, "", "kept")),
        (b"250-kept\r\n554 sp", Reply(554, "", ("kept", "sp"))),
        (b"25", None),
        (b"", None),
        (b"250 whole\r\n", None),
        (b"what", None),
    ],
)
def test_the_rest_of_a_reply_that_breaks_off_counts_if_its_code_has_come(data, reply):
    parser = ReplyParser()
    parser.feed(data)
    assert parser.rest() == reply
    assert not parser.pending


@pytest.mark.parametrize(
    ("data", "replies"),
    [
        (b"250-a\n250 b\r\n", [Reply(250, "", ("a", "b"))]),
        (b"250-a\n250-b\r\n250 c\n", [Reply(250, "", ("a", "b", "c"))]),
        (b"250-a\r\n250-b\n250 c\r\n", [Reply(250, "", ("a", "b", "c"))]),
        (b"550-no <a\n250 ok>\r\n550 no\r\n", [Reply(550, "", ("no <a\\x0A250 ok>", "no"))]),
        (b"550 no <a\n550 b>\r\n", [Reply(550, "", "no <a\\x0A550 b>")]),
        (b"550-a\nb\r\n550 c\r\n", [Reply(550, "", ("a\\x0Ab", "c"))]),
    ],
)
def test_the_lines_of_one_reply_may_end_differently(data, replies):
    assert ReplyParser().feed(data) == replies


def test_of_a_long_reply_the_first_lines_and_the_last_one_are_kept_and_the_last_one_decides():
    parser = ReplyParser()
    data = b"250-a\r\n" * (PEER_REPLY_LINES_END - 1) + b"550 5.1.1 no\r\n250 next\r\n"
    replies = []
    for first in range(0, len(data), 1000):
        replies += parser.feed(data[first : first + 1000])
        assert len(parser._lines) <= PEER_REPLY_MAX_LINES
    assert replies == [Reply(550, "5.1.1", ("a",) * (PEER_REPLY_MAX_LINES - 1) + ("no",)), Reply(250, "", "next")]


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"550-5.1.1 no\r\n550 5.7.1 never\r\n", Reply(550, "5.7.1", ("5.1.1 no", "never"))),
        (b"550-5.1.1 no\r\n550 5.1.1 never\r\n", Reply(550, "5.1.1", ("no", "never"))),
        (b"550-5.1.1 no\r\n550 never\r\n", Reply(550, "5.1.1", ("no", "never"))),
        (b"550-4.1.1 no\r\n550 5.1.1 never\r\n", Reply(550, "5.1.1", ("4.1.1 no", "never"))),
        (b"550 4.1.1 no\r\n", Reply(550, "", "4.1.1 no")),
    ],
)
def test_nothing_of_a_reply_is_lost_if_its_lines_have_different_enhanced_codes(data, reply):
    assert ReplyParser().feed(data) == [reply]
