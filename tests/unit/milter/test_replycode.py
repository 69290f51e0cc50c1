import pytest

from meta1g.base.reply import Reply
from meta1g.milter.errors import MilterProtocolError
from meta1g.milter.replycode import parse_replycode


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        (b"550 5.7.1 Go away", Reply(550, "5.7.1", "Go away")),
        (b"451 4.7.1 100%% full of 5%d", Reply(451, "4.7.1", "100% full of 5d")),
        (b"554 no enhanced code", Reply(554, "", "no enhanced code")),
        (b"554", Reply(554, "", "")),
        (b"554 5.7.1", Reply(554, "5.7.1", "")),
        (b"550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three", Reply(550, "5.7.1", ("one", "two", "three"))),
        (b"550-one\r\n550 two\r\n", Reply(550, "", ("one", "two"))),
        (b"450 4.2.0 gr\xfc\xdf", Reply(450, "4.2.0", "gr\udcfc\udcdf")),
        (b"421 4.3.2 closing", Reply(421, "4.3.2", "closing")),
    ],
)
def test_a_reply_is_read(text, reply):
    assert parse_replycode(text) == reply


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"250 2.0.0 fine",
        b"354 go on",
        b"55 x",
        b"5500 x",
        b"550x",
        b"550 4.7.1 mixed",
        b"450 5.7.1 mixed",
        b"550 2.0.0 mixed",
        b"550-5.7.1 one",
        b"550 one\r\n550 two",
        b"550-one\r\n551 two",
        b"550-one\rtwo\r\n550 x",
        b"550-a\r\n" * 40 + b"550 a",
        b"550 " + b"x" * 1000,
        b"\xff\xff\xff",
    ],
)
def test_what_is_no_reply_of_a_filter_is_refused(text):
    with pytest.raises(MilterProtocolError):
        parse_replycode(text)
