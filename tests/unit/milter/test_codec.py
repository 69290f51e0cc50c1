"""The wire form of frames, byte by byte as libmilter writes and reads it."""

import struct

import pytest

from meta1g.milter.codec import FrameReader, decode, encode
from meta1g.milter.errors import MilterProtocolError
from meta1g.milter.frames import (
    ANSWERS_BY_CODE,
    COMMANDS_BY_CODE,
    KINDS,
    BodyChunk,
    ConnectData,
    Family,
    FieldData,
    Frame,
    IndexedField,
    MacroData,
    MacroList,
    MilterMacro,
    OptNeg,
    PeerAddress,
    Smfic,
    Smfir,
    TextData,
    WordsData,
)
from meta1g.milter.limits import CHUNK_64K_BYTES, FRAME_SLACK_BYTES, MACROS_MAX, WORDS_MAX

C, R = Smfic, Smfir
WIRE = [
    (Frame(C.OPTNEG, OptNeg(6, 0x1FF, 0x1FFFFF)), b"O\0\0\0\6\0\0\1\xff\0\x1f\xff\xff"),
    (
        Frame(R.OPTNEG, OptNeg(6, 1, 0x80, (MacroList(0, b"j {if_addr}"), MacroList(5, b"i")))),
        b"O\0\0\0\6\0\0\0\1\0\0\0\x80\0\0\0\0j {if_addr}\0\0\0\0\5i\0",
    ),
    (
        Frame(C.CONNECT, ConnectData(b"mx.example.org", PeerAddress(Family.INET, 2525, b"192.0.2.1"))),
        b"Cmx.example.org\x004\x09\xdd192.0.2.1\0",
    ),
    (
        Frame(C.CONNECT, ConnectData(b"x", PeerAddress(Family.INET6, 1, b"2001:db8::1"))),
        b"Cx\x006\0\x012001:db8::1\0",
    ),
    (Frame(C.CONNECT, ConnectData(b"localhost", PeerAddress(Family.UNKNOWN))), b"Clocalhost\0U"),
    (
        Frame(C.MACRO, MacroData(C.MAIL, (MilterMacro(b"i", b"S1"), MilterMacro(b"{auth_type}", b"")))),
        b"DMi\0S1\0{auth_type}\0\0",
    ),
    (Frame(C.MACRO, MacroData(C.DATA, ())), b"DT"),
    (Frame(C.HELO, TextData(b"client.example")), b"Hclient.example\0"),
    (Frame(C.MAIL, WordsData((b"<a@b.example>", b"SIZE=10"))), b"M<a@b.example>\0SIZE=10\0"),
    (Frame(C.MAIL, WordsData((b"",))), b"M\0"),
    (Frame(C.HEADER, FieldData(b"Subject", b"a\n b")), b"LSubject\0a\n b\0"),
    (Frame(C.BODYEOB, BodyChunk(b"")), b"E"),
    (Frame(C.BODY, BodyChunk(b"a\0b\r\n")), b"Ba\0b\r\n"),
    (Frame(C.QUIT), b"Q"),
    (Frame(R.INSHEADER, IndexedField(1, b"A", b"v")), b"i\0\0\0\1A\0v\0"),
    (Frame(R.CHGHEADER, IndexedField(2, b"Subject", b"")), b"m\0\0\0\2Subject\0\0"),
    (Frame(R.ADDRCPT_PAR, WordsData((b"<a@b>", b"NOTIFY=NEVER"))), b"2<a@b>\0NOTIFY=NEVER\0"),
    (Frame(R.REPLYCODE, TextData(b"550 5.7.1 no")), b"y550 5.7.1 no\0"),
    (Frame(R.CONTINUE), b"c"),
]


def on_wire(payload):
    return struct.pack("!I", len(payload)) + payload


def kinds_of(frame):
    return COMMANDS_BY_CODE if isinstance(frame.kind, Smfic) else ANSWERS_BY_CODE


@pytest.mark.parametrize(("frame", "payload"), WIRE, ids=lambda one: one.kind.name if isinstance(one, Frame) else None)
def test_a_frame_is_written_and_read_as_libmilter_does(frame, payload):
    assert encode(frame) == on_wire(payload)
    assert decode(payload[0], payload[1:], kinds_of(frame)) == frame


def test_every_kind_has_a_layout_and_a_code_of_its_own():
    assert set(KINDS) == {*Smfic, *Smfir}
    assert (len(COMMANDS_BY_CODE), len(ANSWERS_BY_CODE)) == (len(Smfic), len(Smfir))


@pytest.mark.parametrize(("text", "kind"), [(b"y550 no", R.REPLYCODE), (b"qsuspicious", R.QUARANTINE)])
def test_the_last_text_of_a_frame_may_lack_its_nul(text, kind):
    assert decode(text[0], text[1:], ANSWERS_BY_CODE) == Frame(kind, TextData(text[1:]))


@pytest.mark.parametrize(
    "payload",
    [
        b"?",
        b"O\0\0\0",
        b"O\0\0\0\6\0\0\0\1\0\0\0\x80\0\0",
        b"O\0\0\0\6\0\0\0\1\0\0\0\x80\0\0\0\0i",
        b"O" + b"\0" * 12 + b"\0\0\0\1\0" * (MACROS_MAX + 1),
        b"cx",
        b"+<a@b>",
        b"+<a@b>\0<c@d>\0",
        b"+",
        b"2",
        b"2a",
        b"2" + b"a\0" * (WORDS_MAX + 1),
        b"hName\0value",
        b"hName",
        b"i\0\0\0",
        b"iName\0",
        b"m\0\0\0\1Name\0value\0more\0",
        b"y550 a\0b\0",
        b"B",
    ],
)
def test_an_answer_of_another_form_is_refused(payload):
    with pytest.raises(MilterProtocolError):
        decode(payload[0], payload[1:], ANSWERS_BY_CODE)


@pytest.mark.parametrize(
    "payload",
    [b"Chost\0", b"Chost\0X", b"Chost\x004\0", b"Chost\x004\0\x19192.0.2.1", b"Chost\0Uxx", b"D", b"D?", b"DMi\0", b"DMi\0v",
     b"DM" + b"a\0b\0" * (MACROS_MAX + 1), b"M", b"c"],
)  # fmt: skip
def test_a_command_of_another_form_is_refused(payload):
    with pytest.raises(MilterProtocolError):
        decode(payload[0], payload[1:], COMMANDS_BY_CODE)


@pytest.mark.parametrize(
    "frame",
    [
        Frame(C.HELO, TextData(b"a\0b")),
        Frame(C.MAIL, WordsData(())),
        Frame(C.MAIL, WordsData((b"a\0",))),
        Frame(R.INSHEADER, IndexedField(-1, b"a", b"b")),
        Frame(R.INSHEADER, IndexedField(1 << 32, b"a", b"b")),
        Frame(C.CONNECT, ConnectData(b"x", PeerAddress(Family.INET, 1 << 16, b"a"))),
        Frame(C.MACRO, MacroData(C.MAIL, (MilterMacro(b"a\0", b""),))),
    ],
)
def test_what_does_not_fit_its_form_is_not_written(frame):
    with pytest.raises(MilterProtocolError):
        encode(frame)


# -- the reader


def test_frames_come_out_in_order_however_they_arrive():
    stream = b"".join(on_wire(payload) for payload in (b"c", b"p", b"hA\0b\0"))
    reader = FrameReader(ANSWERS_BY_CODE)
    got = []
    for at in range(len(stream)):
        reader.feed(stream[at : at + 1])
        got += reader.frames()
    assert got == [Frame(R.CONTINUE), Frame(R.PROGRESS), Frame(R.ADDHEADER, FieldData(b"A", b"b"))]
    assert reader.held_bytes == 0


@pytest.mark.parametrize("length", [0, CHUNK_64K_BYTES + FRAME_SLACK_BYTES + 1, 0x63000000, 0xFFFFFFFF])
def test_a_length_that_cannot_be_is_refused_before_anything_is_waited_for(length):
    reader = FrameReader(ANSWERS_BY_CODE)
    reader.feed(struct.pack("!I", length))
    with pytest.raises(MilterProtocolError, match=f"a frame of {length} bytes"):
        reader.take()


def test_the_greatest_frame_is_taken_and_grows_with_what_is_agreed_on():
    reader = FrameReader(ANSWERS_BY_CODE)
    reader.feed(on_wire(b"b" + b"x" * CHUNK_64K_BYTES))
    assert reader.take() == Frame(R.REPLBODY, BodyChunk(b"x" * CHUNK_64K_BYTES))
    reader.max_bytes = 1 << 20
    reader.feed(on_wire(b"b" + b"x" * ((1 << 20) - 1)))
    assert reader.take() is not None


def test_a_frame_that_is_not_complete_is_no_error():
    reader = FrameReader(ANSWERS_BY_CODE)
    reader.feed(on_wire(b"y550 no\0")[:-1])
    assert reader.take() is None
    assert reader.held_bytes == 11
