"""Replies in one record."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.errors import ProtocolError, UnsendableError
from meta1g.base.reply import NO_REPLY, Reply
from meta1g.rcb import codec
from meta1g.rcb.rectypes import RT
from meta1g.rcb.replies import read_reply, write_reply
from meta1g.rcb.schema import Kind, Message, Role, message, rec
from meta1g.rcb.smtps_qmgr import Stat
from tests.unit.rcb import reference

TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
REPLIES = st.builds(Reply, st.integers(0, 65535), TEXTS, TEXTS | st.lists(TEXTS, min_size=1, max_size=5).map(tuple), TEXTS)


@message(RT.Q2S_STAT, Role.ITEM)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MaybeSaid(Message):
    reply: Reply = rec(RT.Q2S_REPLY, Kind.REPLY, default=NO_REPLY)


@given(REPLIES)
def test_any_reply_reads_back(reply):
    assert read_reply(write_reply(reply)) == reply


@given(REPLIES)
def test_both_codecs_write_the_same_reply(reply):
    assert codec.encode_fields(Stat(reply=reply)) == reference.encode_fields(Stat(reply=reply))
    assert codec.encode_fields(MaybeSaid(reply=reply)) == reference.encode_fields(MaybeSaid(reply=reply))


@given(st.binary(max_size=40))
def test_any_bytes_are_a_reply_or_refused(data):
    try:
        reply = read_reply(data)
    except (ProtocolError, UnicodeDecodeError):
        return
    assert write_reply(reply) == data


@given(REPLIES, st.data())
def test_what_is_cut_short_is_refused_or_says_less(reply, data):
    value = write_reply(reply)
    cut = value[: data.draw(st.integers(0, len(value)))]
    try:
        assert read_reply(cut) == dataclasses.replace(reply, text=read_reply(cut).text)
    except (ProtocolError, UnicodeDecodeError):
        return


def test_what_was_never_said_takes_no_record():
    assert codec.encode_fields(MaybeSaid()) == codec.encode_fields(MaybeSaid(reply=Reply(0))) == b""
    assert codec.decode_fields(MaybeSaid, b"") == MaybeSaid()


@pytest.mark.parametrize(
    "reply",
    [
        Reply(-1),
        Reply(65536),
        Reply(250, "x" * 65536),
        Reply(250, "", ("x" * 65536,)),
        Reply(250, "", "\udcff"),
        "250 Ok",
        None,
    ],
)
def test_a_value_that_is_no_reply_is_refused_by_the_sender(reply):
    with pytest.raises(UnsendableError, match=r"Stat\.reply cannot be sent"):
        codec.encode(Stat(reply=reply))
