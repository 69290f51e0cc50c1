import contextlib
import struct
import time

import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meta1g.smar.dnsreader import DnsMessage, WireError
from meta1g.smar.dnswire import RRType, parse_answer
from meta1g.smar.limits import ANSWER_MAX_BYTES, RECORDS_MAX

LABELS = st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=6)


def header(answers, flags=0x8180, questions=1):
    return struct.pack(">HHHHHH", 1, flags, questions, answers, 0, 0)


def packet(name, records, rrtype=1):
    """One question for a name given as bytes, and records behind it."""
    return header(len(records)) + name + struct.pack(">HH", rrtype, 1) + b"".join(records)


def record(data, rrtype=1, name=b"\xc0\x0c"):
    return name + struct.pack(">HHIH", rrtype, 1, 60, len(data)) + data


@given(st.lists(LABELS, min_size=1, max_size=5))
def test_names_are_read_as_dnspython_reads_them(names):
    wanted = [dns.name.Name([*labels, b""]) for labels in names]
    question = dns.message.make_query("x.example", "MX")
    answer = dns.message.make_response(question)
    for number, name in enumerate(wanted):
        data = dns.rdata.from_text("IN", "CNAME", ".").replace(target=name)
        answer.answer.append(dns.rrset.from_rdata(dns.name.from_text(f"n{number}.example"), 60, data))
    message = DnsMessage(answer.to_wire())
    found = [message.name_at(one) for one in message.answer]
    assert found == [name.canonicalize().to_text(omit_final_dot=True) for name in wanted]
    assert [one.name for one in message.answer] == [f"n{number}.example" for number in range(len(wanted))]


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_give_a_message_or_a_wire_error(data):
    with contextlib.suppress(WireError):
        DnsMessage(data)
    with contextlib.suppress(WireError):
        parse_answer(header(3) + data, "x.example", RRType.MX)


@settings(max_examples=200)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_gives_an_answer_or_a_wire_error(place, byte):
    good = bytearray(packet(b"\x01x\x07example\0", [record(b"\0\x05\x02mx\xc0\x0c", 15), record(b"\x7f\0\0\x01")], 15))
    good[place % len(good)] = byte
    with contextlib.suppress(WireError):
        parse_answer(bytes(good), "x.example", RRType.MX)


def test_compression_that_leads_in_a_circle_or_forward_is_damage():
    for at in (0x0C, 0x0D, 0x3FFF, 0x20):
        with pytest.raises(WireError):
            DnsMessage(packet(b"\xc0" + bytes((at & 0xFF,)) if at < 0x100 else b"\xff\xff", [record(b"\0\0\0\0")]))


def test_a_name_that_is_too_long_is_damage():
    name = b"\x3f" + b"a" * 63
    with pytest.raises(WireError, match="too long"):
        DnsMessage(packet(name * 4 + b"\0", []))
    chained = [record(b"\x3f" + b"b" * 63 + b"\xc0\x0c", 5) for _ in range(1)]
    message = DnsMessage(packet(name * 3 + b"\0", chained))
    with pytest.raises(WireError, match="too long"):
        message.name_at(message.answer[0])


def test_more_records_than_the_limit_are_damage():
    with pytest.raises(WireError, match="records"):
        DnsMessage(header(RECORDS_MAX) + b"\x01x\0" + struct.pack(">HH", 1, 1))


@pytest.mark.parametrize("data", [b"", b"\x7f\0\0", b"\x7f\0\0\x01\x01"])
def test_an_address_of_a_wrong_length_is_damage(data):
    with pytest.raises(WireError):
        parse_answer(packet(b"\x01x\x07example\0", [record(data)]), "x.example", RRType.A)


def test_the_largest_answers_are_read_in_a_bounded_turn():
    long = b"\x01a" * 120 + b"\0"
    name = ".".join(["a"] * 120)
    hostile = [
        packet(long, [record(struct.pack(">H", n) + b"\x01b\xc0\x0c", 15) for n in range(900)], 15)[:ANSWER_MAX_BYTES],
        packet(long, [record(struct.pack(">H", n) + b"\xc0\x0c", 15) for n in range(900)], 15)[:ANSWER_MAX_BYTES],
    ]
    start = time.process_time()
    for data in hostile:
        count = (len(data) - 12 - len(long) - 4) // 17
        answer = header(count) + data[12:]
        with contextlib.suppress(WireError):
            parse_answer(answer, name, RRType.MX)
    assert time.process_time() - start < 1.0  # a reader that is quadratic takes many seconds


def test_the_same_record_twice_counts_once():
    found = parse_answer(packet(b"\x01x\x07example\0", [record(b"\x7f\0\0\x01")] * 3), "x.example", RRType.A)
    assert [one.value for one in found.records] == ["127.0.0.1"]
