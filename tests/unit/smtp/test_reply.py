import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.smtp.limits import PEER_REPLY_LINE_MAX_BYTES, PEER_REPLY_MAX_LINES
from meta1g.smtp.reply import ReplyError, ReplyParser, SmtpReply, printable


def test_a_reply_is_one_line_with_both_codes():
    assert SmtpReply(250, "2.1.0", "Sender ok").encode() == b"250 2.1.0 Sender ok\r\n"


def test_a_reply_of_several_lines_repeats_the_codes():
    assert SmtpReply(550, "5.7.1", ("No", "See us")).encode() == b"550-5.7.1 No\r\n550 5.7.1 See us\r\n"


def test_a_reply_without_enhanced_code_has_none():
    assert SmtpReply(354, "", "Go on").encode() == b"354 Go on\r\n"


def test_line_ends_and_bytes_beyond_ascii_do_not_reach_the_client():
    assert SmtpReply(550, "5.1.1", "a\r\n250 ok \u00e9").encode() == b"550 5.1.1 a\\x0D\\x0A250 ok \\xC3\\xA9\r\n"


def test_a_long_text_is_cut_to_the_line_limit():
    assert len(SmtpReply(550, "5.7.100", "x" * 2000).encode()) == 512


def test_printable_escapes_undecodable_bytes_one_by_one():
    assert printable(b"a\xff\x00".decode("utf-8", "surrogateescape")) == "a\\xFF\\x00"


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"220 host ready\r\n", SmtpReply(220, "", "host ready")),
        (b"250 2.1.0 Ok\r\n", SmtpReply(250, "2.1.0", "Ok")),
        (b"250\r\n", SmtpReply(250, "", "")),
        (b"250 \r\n", SmtpReply(250, "", "")),
        (b"421 4.7.0\r\n", SmtpReply(421, "4.7.0", "")),
        (b"250-a\r\n250-SIZE 10\r\n250 DSN\r\n", SmtpReply(250, "", ("a", "SIZE 10", "DSN"))),
        (b"550-5.1.1 no\r\n550 5.1.1 such user\r\n", SmtpReply(550, "5.1.1", ("no", "such user"))),
        (b"550 2.1.1 liar\r\n", SmtpReply(550, "", "2.1.1 liar")),
        (b"550 \x00\xff\x1b[31m\r\n", SmtpReply(550, "", "\\x00\\xFF\\x1B[31m")),
        (b"220 host ready\n", SmtpReply(220, "", "host ready")),
        (b"250-2.1.0 a\n250 2.1.0 b\n", SmtpReply(250, "2.1.0", ("a", "b"))),
        (b"250-a\r\n251 b\r\n", SmtpReply(251, "", ("a", "b"))),
        (b"550-5.1.1 no\r\n450 4.2.0 later\r\n", SmtpReply(450, "4.2.0", ("5.1.1 no", "later"))),
        (b"250-\r\n550 b\r\n", SmtpReply(550, "", ("", "b"))),
        (b"550 a\nb\rc\r\n", SmtpReply(550, "", "a\\x0Ab\\x0Dc")),
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
        b"250-a\r\n" * (PEER_REPLY_MAX_LINES + 1),
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
    assert parser.feed(b"\r\n") == [SmtpReply(550, "", "no such user <a\\x0Ab>")]
    assert parser.feed(b"550 no <a\nx250 ok\r\n") == [SmtpReply(550, "", "no <a\\x0Ax250 ok")]


def test_an_unfinished_reply_is_pending():
    parser = ReplyParser()
    assert parser.feed(b"250-a\r\n") == []
    assert parser.pending


def test_the_classes_of_replies():
    assert (SmtpReply(250).is_ok, SmtpReply(354).is_more, SmtpReply(451).is_temp, SmtpReply(554).is_perm) == (True,) * 4
    assert str(SmtpReply(550, "5.1.1", ("no", "body"))) == "550 5.1.1 no body"
