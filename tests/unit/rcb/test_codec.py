import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meta1g.base.errors import ProtocolError, UnsendableError
from meta1g.base.reply import Reply
from meta1g.rcb import codec
from meta1g.rcb.control import ControlCommand
from meta1g.rcb.framing import FRAME_MAX_BYTES, Splitter, preamble
from meta1g.rcb.generate import HEADER
from meta1g.rcb.protocols import DISK_RECORDS, PROTOCOLS, describe
from meta1g.rcb.rectypes import RT
from meta1g.rcb.schema import Role
from meta1g.rcb.smtps_qmgr import PROTOCOL, NewRecipient, NewTransaction, Stat
from tests.unit.rcb.samples import all_messages, full, sparse

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests/vectors/rcb/messages.txt"
MESSAGES = all_messages()
EVERY_TABLE = {cls.PLAN.rt: cls for cls in MESSAGES}


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("make", [full, sparse])
def test_every_message_reads_back_as_it_was_written(cls, make):
    frame = codec.encode(make(cls), 77)
    assert codec.decode(EVERY_TABLE, frame[4:]) == (77, make(cls))


def test_the_bytes_of_every_message_are_the_golden_ones():
    made = [f"{cls.__name__} {codec.encode(full(cls), 1).hex()}\n" for cls in MESSAGES]
    assert "".join(made) == GOLDEN.read_text(), "a record changed: raise the version of its pair, then renew the file"


def test_the_documentation_is_made_from_the_tables():
    assert (ROOT / "docs/record-types.md").read_text() == describe()


def test_no_record_type_has_two_kinds():
    kinds = {}
    for cls in MESSAGES:
        for plan in cls.PLAN.fields:
            assert kinds.setdefault(plan.rt, plan.kind) == plan.kind, plan


def test_every_request_has_a_reply_in_the_other_direction():
    for pair in PROTOCOLS:
        for mine, other in ((pair.from_client, pair.from_server), (pair.from_server, pair.from_client)):
            if any(cls.PLAN.role is Role.REQUEST for cls in mine.values()):
                assert any(cls.PLAN.role is Role.REPLY for cls in other.values())


@given(st.binary(max_size=200))
def test_any_bytes_give_a_message_or_a_protocol_error(data):
    with contextlib.suppress(ProtocolError):
        codec.decode(EVERY_TABLE, data)


@settings(max_examples=300)
@given(st.sampled_from(MESSAGES), st.data())
def test_a_changed_message_gives_a_message_or_a_protocol_error(cls, data):
    body = bytearray(codec.encode(full(cls), 5)[4:])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        codec.decode(EVERY_TABLE, bytes(body[: data.draw(st.integers(0, len(body)))]))


@given(st.lists(st.text(max_size=30), max_size=5), st.integers(0, 2**32 - 1))
def test_any_words_read_back(words, request_id):
    msg = ControlCommand(words=tuple(words))
    try:
        frame = codec.encode(msg, request_id)
    except ProtocolError:  # lone surrogates are no text
        return
    assert codec.decode(EVERY_TABLE, frame[4:]) == (request_id, msg)


def test_a_message_of_the_other_direction_is_refused():
    frame = codec.encode(Stat(reply=Reply(250)))
    with pytest.raises(ProtocolError, match="not allowed here"):
        codec.decode(PROTOCOL.from_client, frame[4:])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda body: body[:-4], "cut short"),
        (lambda body: body + b"\0\0\0\0", "cut short"),
        (lambda body: body + HEADER.pack(0, RT.S2Q_MAIL), "left over"),
        (lambda body: body[:-1] + b"x", "padded with other bytes"),
        (lambda body: HEADER.pack(8, RT.S2Q_RCPT) + b"\0" * 8 + body[12:], "has 8 bytes, not 4"),
    ],
)
def test_what_the_table_does_not_allow_is_refused(change, error):
    body = codec.encode(NewRecipient(ta_id="S1", rcpt_idx=0, rcpt="a@b.c"))[4:]
    with pytest.raises(ProtocolError, match=error):
        codec.decode(PROTOCOL.from_client, change(body))


@pytest.mark.parametrize("size", [-1, 2**64, "7"])
def test_a_value_that_does_not_fit_is_refused_by_the_sender(size):
    with pytest.raises(ProtocolError, match=r"NewTransaction\.size_bytes cannot be sent"):
        codec.encode(NewTransaction(session_id="S", ta_id="S", mail="", size_bytes=size))


def test_disk_records_read_back_without_a_head():
    for cls in DISK_RECORDS:
        assert codec.decode_fields(cls, codec.encode_fields(full(cls))) == full(cls)


def test_records_that_an_older_release_has_left_are_read():
    for line in (ROOT / "tests/vectors/rcb/older.txt").read_text().splitlines():
        name, octets = line.split()
        cls = next(one for one in DISK_RECORDS if one.__name__ == name)
        _, record = codec.decode({cls.PLAN.rt: cls}, bytes.fromhex(octets)[4:])
        for plan in cls.PLAN.fields:
            assert getattr(record, plan.name) in (getattr(full(cls), plan.name), plan.default)
        assert (record.by, record.by_mode, record.priority) == (0.0, None, 0)


def frames_of(count):
    return [codec.encode(NewRecipient(ta_id="S", rcpt_idx=i, rcpt="a" * i)) for i in range(count)]


@given(st.lists(st.integers(1, 40), max_size=60))
def test_frames_come_out_whole_however_the_bytes_arrive(cuts):
    frames = frames_of(5)
    stream = preamble(PROTOCOL) + b"".join(frames)
    splitter, got, offset = Splitter(PROTOCOL), [], 0
    for cut in [*cuts, len(stream)]:
        got += splitter.feed(stream[offset : offset + cut])
        offset += cut
    assert got == [frame[4:] for frame in frames]


@pytest.mark.parametrize("length", [0, 8, 13, FRAME_MAX_BYTES + 4])
def test_a_frame_length_out_of_bounds_is_refused(length):
    with pytest.raises(ProtocolError, match="frame of"):
        Splitter(PROTOCOL).feed(length.to_bytes(4, "big"))


def test_another_version_is_refused_with_advice():
    other = preamble(PROTOCOL)[:-1] + b"\xee"
    with pytest.raises(ProtocolError, match="run all components from the same release"):
        Splitter(PROTOCOL).feed(other)


def test_a_message_that_does_not_fit_a_frame_is_refused_by_the_sender():
    """The receiver would close the connection, which belongs to others as well."""
    most = "x" * (FRAME_MAX_BYTES - 1000)
    codec.encode(Stat(reply=Reply(250, text=most)))
    with pytest.raises(UnsendableError, match="frame of"):
        codec.encode(Stat(reply=Reply(250, text=most + "x" * 1000)))


def test_a_connection_that_does_not_begin_with_the_version_is_refused():
    with pytest.raises(ProtocolError, match="version"):
        Splitter(PROTOCOL).feed(frames_of(1)[0])
