"""The generated functions against the reference that asks the plan for each field."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meta1g.base.errors import ProtocolError
from meta1g.rcb import codec, generate
from meta1g.rcb.rectypes import RT
from meta1g.rcb.schema import Role, message
from tests.unit.rcb import reference
from tests.unit.rcb.samples import all_messages, full, sparse

MESSAGES = all_messages()
EVERY_TABLE = {cls.PLAN.rt: cls for cls in MESSAGES}


def outcome(decode, body):
    try:
        return decode(EVERY_TABLE, body)
    except ProtocolError:
        return "refused"


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("make", [full, sparse])
def test_both_write_the_same_bytes(cls, make):
    assert codec.encode(make(cls), 9) == reference.encode(make(cls), 9)
    assert codec.encode_fields(make(cls)) == reference.encode_fields(make(cls))


@settings(max_examples=400)
@given(st.sampled_from(MESSAGES), st.booleans(), st.data())
def test_both_read_or_refuse_a_changed_frame_alike(cls, whole, data):
    body = bytearray(codec.encode((full if whole else sparse)(cls), 5)[4:])
    for _ in range(data.draw(st.integers(0, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)) | st.just(len(body)))
    assert outcome(codec.decode, bytes(body[:cut])) == outcome(reference.decode, bytes(body[:cut]))


@settings(max_examples=300)
@given(st.sampled_from(MESSAGES), st.data())
def test_both_read_or_refuse_frames_with_records_left_out_or_twice(cls, data):
    body = codec.encode(full(cls), 5)[4:]
    starts, offset = [], 0
    while offset < len(body):
        starts.append(offset)
        length = generate.HEADER.unpack_from(body, offset)[0]
        offset += 8 + length + (-length & 3)
    records = [body[a:b] for a, b in zip(starts, [*starts[1:], len(body)], strict=True)]
    chosen = data.draw(st.lists(st.sampled_from(range(len(records))), max_size=len(records) + 2))
    changed = records[0] + b"".join(records[number] for number in sorted(chosen))
    assert outcome(codec.decode, changed) == outcome(reference.decode, changed)


@given(st.binary(max_size=64))
def test_both_read_or_refuse_any_bytes_alike(data):
    assert outcome(codec.decode, data) == outcome(reference.decode, data)


def test_the_reader_of_disk_records_goes_on_behind_a_message():
    first, second = (full(cls) for cls in MESSAGES if cls.PLAN.role is Role.ITEM and cls.PLAN.rt in (RT.D_TA, RT.D_RCPT))
    body = codec.encode_fields(first) + generate.HEADER.pack(0, RT.D_DONE) + codec.encode_fields(second)
    reader = codec.Reader(body)
    assert reader.fields(type(first)) == first
    assert reader.value(RT.D_DONE) == b""
    assert reader.fields(type(second)) == second
    reader.finish()


def test_a_message_that_computes_something_when_made_is_refused():
    class Late:
        __slots__ = ()

        def __post_init__(self) -> None: ...

    Late.PLAN = message.__globals__["Plan"](RT.PROT_VER, Role.POST, ())
    with pytest.raises(TypeError, match="__post_init__"):
        generate.reader_of(Late)


def test_the_code_of_a_message_can_be_looked_at():
    command = [sys.executable, "-m", "meta1g.rcb.generate"]
    shown = subprocess.run([*command, "NewRecipient"], capture_output=True, text=True, check=True)
    assert "msg.rcpt_idx" in shown.stdout
    assert subprocess.run([*command, "Nothing"], capture_output=True, check=False).returncode == 1
