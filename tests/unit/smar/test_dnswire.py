import dns.message
import dns.name
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.smar.dnswire import (
    DnsAnswer,
    DnsStatus,
    RRType,
    WireError,
    build_question,
    is_truncated,
    normal_name,
    parse_answer,
    question_id_of,
    reverse_name,
)
from meta1g.smar.limits import EDNS_PAYLOAD_BYTES, NEGATIVE_TTL_DEFAULT_S, NEGATIVE_TTL_MAX_S


def answer_to(name, rrtype, *sets, authority=(), rcode=0):
    message = dns.message.make_response(dns.message.make_query(f"{name}.", rrtype.name), recursion_available=True)
    message.answer, message.authority = list(sets), list(authority)
    message.set_rcode(rcode)
    return message.to_wire()


def records(name, rrtype, *values, ttl=300):
    return dns.rrset.from_text(name, ttl, "IN", rrtype, *values)


def soa(ttl, minimum):
    return records("example.", "SOA", f"ns. root. 1 2 3 4 {minimum}", ttl=ttl)


def test_a_question_can_be_read_by_others():
    packet = build_question("one.example", RRType.MX, 4711, edns=True)
    message = dns.message.from_wire(packet)
    assert (message.id, message.payload, str(message.question[0])) == (4711, EDNS_PAYLOAD_BYTES, "one.example. IN MX")
    assert dns.message.from_wire(build_question("one.example", RRType.MX, 1, edns=False)).edns == -1
    assert message.flags == dns.message.make_query("one.example", "MX").flags


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters=".\\"), min_size=1, max_size=20), max_size=6))
def test_every_name_is_asked_for_as_it_is(labels):
    text = ".".join(labels)
    try:
        name = normal_name(text)
    except WireError:
        return
    message = dns.message.from_wire(build_question(name, RRType.A, 1, edns=True))
    assert message.question[0].name == dns.name.from_text(text)
    assert normal_name(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("One.Example.", "one.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("_dmarc.x", "_dmarc.x"),
    ],
)
def test_names_have_one_form(text, name):
    assert normal_name(text) == name


@pytest.mark.parametrize("text", ["a..b", "x" * 64 + ".example", "a." * 130 + "example", ".x"])
def test_names_that_cannot_stand_in_the_dns(text):
    with pytest.raises(WireError):
        normal_name(text)


def test_reverse_names():
    assert reverse_name("192.0.2.1") == "1.2.0.192.in-addr.arpa"
    assert reverse_name("2001:db8::1").endswith(".8.b.d.0.1.0.0.2.ip6.arpa")


def test_a_null_mx_has_an_empty_host():
    packet = answer_to("one.example", RRType.MX, records("one.example.", "MX", "0 ."))
    assert parse_answer(packet, "one.example", RRType.MX).records[0].value == ""


def test_mx_beside_cname_and_rrsig():
    sig = records("web.example.", "RRSIG", "MX 5 2 60 20300101000000 20200101000000 1 example. AAAA")
    packet = answer_to(
        "one.example",
        RRType.MX,
        sig,
        records("one.example.", "CNAME", "web.example.", ttl=9),
        records("web.example.", "TXT", '"x"'),
        records("web.example.", "MX", "5 mx.example."),
    )
    answer = parse_answer(packet, "one.example", RRType.MX)
    assert (answer.status, [one.value for one in answer.records], answer.ttl_s) == (DnsStatus.OK, ["mx.example"], 9)


@pytest.mark.parametrize(
    ("authority", "ttl_s"),
    [([], NEGATIVE_TTL_DEFAULT_S), ([soa(100, 40)], 40), ([soa(30, 40)], 30), ([soa(10**6, 10**6)], NEGATIVE_TTL_MAX_S)],
)
def test_negative_answers_live_as_the_soa_record_says(authority, ttl_s):
    packet = answer_to("one.example", RRType.A, authority=authority, rcode=3)
    assert parse_answer(packet, "one.example", RRType.A) == DnsAnswer(DnsStatus.NXDOMAIN, ttl_s=ttl_s)


def test_an_endless_chain_inside_one_answer_ends():
    packet = answer_to("a.x", RRType.A, records("a.x.", "CNAME", "b.x."), records("b.x.", "CNAME", "a.x."))
    assert parse_answer(packet, "a.x", RRType.A).status is not DnsStatus.OK


def test_ids_of_short_packets_and_questions_are_refused():
    for packet in (b"", b"\0" * 11, build_question("a.x", RRType.A, 1, edns=False)):
        with pytest.raises(WireError):
            question_id_of(packet)


def test_truncation_is_seen():
    packet = bytearray(answer_to("a.x", RRType.A))
    assert not is_truncated(packet)
    packet[2] |= 2
    assert is_truncated(packet)


@given(st.binary(max_size=80), st.integers(0, 60))
def test_any_bytes_are_an_answer_or_a_wire_error(noise, at):
    good = answer_to("a.x", RRType.MX, records("a.x.", "MX", "5 mx.example."))
    for packet in (noise, good[:at] + noise, good[:at]):
        try:
            assert isinstance(parse_answer(packet, "a.x", RRType.MX), DnsAnswer)
        except WireError:
            continue
