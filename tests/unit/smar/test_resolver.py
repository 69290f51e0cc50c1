"""The resolver against a real name server on the loopback; times-out that are meant to happen are short."""

import itertools
import socket
import threading

import dns.message
import dns.rdatatype
import dns.rrset
import pytest

from meta1g.smar import dnswire, limits
from meta1g.smar.dnsaddress import ServerAddress
from meta1g.smar.dnswire import DnsRecord, DnsStatus, RRType
from meta1g.smar.resolver import zone_of
from tests.fakes.nameserver import (
    DROP,
    FORMERR,
    GARBAGE,
    LAME,
    QUERY,
    REFUSED,
    SERVFAIL,
    TRUNCATE,
    WRONG_ID,
    WRONG_NAME,
    NameServer,
)
from tests.fakes.shortage import no_descriptors

SHORT_S = 0.1
#: Threads that the event system of these tests may have.
THREADS = 16


def dead_server() -> ServerAddress:
    """Gives an address at which nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return ServerAddress(*sock.getsockname())


@pytest.mark.parametrize(
    ("rrtype", "value"), [(RRType.A, "192.0.2.1"), (RRType.AAAA, "2001:db8::1"), (RRType.PTR, "host.example.")]
)
def test_records_of_each_type_are_given(asker, name_server, rrtype, value):
    name_server.add("one.example", rrtype.name, value)
    answer = asker.ask("One.Example.", rrtype)
    assert (answer.status, [record.value for record in answer.records]) == (DnsStatus.OK, [value.rstrip(".")])


def test_mx_records_have_preference_and_host_in_lower_case(asker, name_server):
    name_server.add("one.example", "MX", "20 B.example.", "10 a.example.")
    assert set(asker.ask("one.example", RRType.MX).records) == {DnsRecord("a.example", 10), DnsRecord("b.example", 20)}


def test_records_of_other_types_in_an_answer_are_passed_over(asker, name_server):
    name_server.add("one.example", "MX", "10 a.example.")
    name_server.add_beside(
        "one.example", "MX", "one.example", "RRSIG", "MX 5 2 60 20300101000000 20200101000000 1 example. AAAA"
    )
    name_server.add_beside("one.example", "MX", "other.example", "A", "192.0.2.99")
    assert asker.ask("one.example", RRType.MX).records == (DnsRecord("a.example", 10),)


def test_a_cname_chain_is_followed_inside_an_answer(asker, name_server):
    name_server.add("www.example", "CNAME", "web.example.", ttl=30)
    name_server.add("web.example", "CNAME", "host.example.")
    name_server.add("host.example", "A", "192.0.2.7")
    answer = asker.ask("www.example")
    assert ([record.value for record in answer.records], answer.ttl_s) == (["192.0.2.7"], 30)
    assert len(name_server.asked) == 1


def only_cname(answer: dns.message.Message) -> list[bytes]:
    answer.answer, answer.authority = answer.answer[:1], []
    answer.set_rcode(0)
    return [answer.to_wire()]


def test_a_cname_that_leads_out_of_an_answer_is_asked_for(asker, name_server):
    name_server.add("www.example", "CNAME", "host.example.")
    name_server.add("host.example", "A", "192.0.2.7")
    name_server.script("www.example", "A", only_cname)
    assert asker.values("www.example") == ["192.0.2.7"]
    assert [one.name for one in name_server.asked] == ["www.example", "host.example"]


def test_a_cname_loop_is_a_temporary_failure(asker, name_server):
    name_server.add("a.example", "CNAME", "b.example.")
    name_server.add("b.example", "CNAME", "a.example.")
    for name in ("a.example", "b.example"):
        name_server.script(name, "A", *[only_cname] * 20)
    answer = asker.ask("a.example")
    assert (answer.status, answer.reason) == (DnsStatus.TEMP, "CNAME chain is too long or a loop")
    assert len(name_server.asked) <= limits.CNAME_MAX + 1


def test_a_name_that_does_not_exist_and_one_without_such_records_differ(asker, name_server):
    name_server.add("one.example", "A", "192.0.2.1")
    assert asker.ask("one.example", RRType.MX).status is DnsStatus.NODATA
    assert asker.ask("none.example", RRType.MX).status is DnsStatus.NXDOMAIN


def test_a_name_that_cannot_stand_in_the_dns_is_not_asked_for(asker, name_server):
    assert asker.ask(f"{'x' * 64}.example").status is DnsStatus.NXDOMAIN
    assert asker.ask("a..example").status is DnsStatus.NXDOMAIN
    assert name_server.asked == []


def test_answers_are_kept_for_their_time_to_live(asker, name_server):
    name_server.add("one.example", "A", "192.0.2.1", ttl=100)
    asker.ask("one.example")
    asker.clock.ahead_s = 99
    asker.ask("ONE.example")
    assert len(name_server.asked) == 1
    asker.clock.ahead_s = 102
    asker.ask("one.example")
    assert len(name_server.asked) == 2


def test_no_answer_lives_longer_than_a_day(asker, name_server):
    name_server.add("one.example", "A", "192.0.2.1", ttl=10 * 86400)
    assert asker.ask("one.example").ttl_s == limits.TTL_MAX_S


def test_an_answer_that_may_not_be_kept_is_asked_for_again(asker, name_server):
    name_server.add("one.example", "A", "192.0.2.1", ttl=0)
    asker.ask("one.example")
    asker.ask("one.example")
    assert len(name_server.asked) == 2


@pytest.mark.parametrize("name", ["none.example", "one.example"])
def test_negative_answers_are_kept_as_long_as_the_zone_says(asker, name_server, name):
    name_server.add("one.example", "MX", "10 a.example.")
    asker.ask(name)
    asker.clock.ahead_s = name_server.negative_ttl - 1
    asker.ask(name)
    assert len(name_server.asked) == 1
    asker.clock.ahead_s = name_server.negative_ttl + 1
    asker.ask(name)
    assert len(name_server.asked) == 2


def test_flush_forgets_answers(asker, name_server):
    name_server.add("one.example", "A", "192.0.2.1")
    asker.ask("one.example")
    asker.resolver.flush()
    asker.ask("one.example")
    assert len(name_server.asked) == 2


def test_equal_questions_at_the_same_time_are_asked_once(asker, name_server):
    name_server.add("one.example", "A", "192.0.2.1")
    name_server.hold()
    replies = [asker.start("one.example") for _ in range(50)]
    name_server.wait_for(1)
    name_server.release()
    assert {reply.get().records[0].value for reply in replies} == {"192.0.2.1"}
    assert len(name_server.asked) == 1


@pytest.mark.parametrize("act", [WRONG_ID, WRONG_NAME, GARBAGE, QUERY])
def test_packets_that_are_not_the_answer_are_passed_over(asker, name_server, act):
    name_server.add("one.example", "A", "192.0.2.1")
    name_server.script("one.example", "A", act)
    assert asker.values("one.example") == ["192.0.2.1"]
    assert len(name_server.asked) == 1


def test_an_answer_from_another_address_is_not_taken(asker, name_server):
    name_server.add("one.example", "A", "192.0.2.1")
    name_server.hold()
    reply = asker.start("one.example")
    asked = name_server.wait_for(1)[0]
    forged = dns.message.make_response(dns.message.make_query("one.example.", "A", id=asked.number))
    forged.answer = [dns.rrset.from_text("one.example.", 300, "IN", "A", "203.0.113.66")]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
        forger.bind(("127.0.0.1", 0))
        forger.sendto(forged.to_wire(), ("127.0.0.1", asked.port))
    name_server.release()
    assert [record.value for record in reply.get().records] == ["192.0.2.1"]


def test_a_lost_packet_is_sent_again(make_asker, name_server):
    name_server.add("one.example", "A", "192.0.2.1")
    name_server.script("one.example", "A", DROP, DROP)
    asker = make_asker(name_server, timeout_s=SHORT_S, tries=3)
    assert asker.values("one.example") == ["192.0.2.1"]
    assert len(name_server.asked) == 3
    assert "no answer in time" in asker.log


def test_a_late_answer_to_an_earlier_packet_does_no_harm(make_asker, name_server):
    name_server.add("one.example", "A", "192.0.2.1")
    asker = make_asker(name_server, timeout_s=SHORT_S, tries=50)
    name_server.hold()
    reply = asker.start("one.example")
    name_server.wait_for(3)
    name_server.release()
    assert [record.value for record in reply.get().records] == ["192.0.2.1"]


def test_silence_is_a_temporary_failure_after_all_tries(make_asker, name_server):
    name_server.script("one.example", "A", *[DROP] * 10)
    answer = make_asker(name_server, timeout_s=SHORT_S, tries=2).ask("one.example")
    assert (answer.status, answer.ttl_s) == (DnsStatus.TEMP, 0)
    assert len(name_server.asked) == 2


@pytest.mark.parametrize("act", [SERVFAIL, REFUSED, LAME])
def test_a_server_that_fails_is_replaced_by_the_next_one(make_asker, name_server, act):
    with NameServer() as second:
        for server in (name_server, second):
            server.add("one.example", "A", "192.0.2.1")
        name_server.script("one.example", "A", *[act] * 10)
        asker = make_asker(name_server, second)
        assert asker.values("one.example") == ["192.0.2.1"]
        assert len(name_server.asked) == len(second.asked) == 1


def test_failures_are_not_kept(make_asker, name_server):
    name_server.add("one.example", "A", "192.0.2.1")
    name_server.script("one.example", "A", SERVFAIL, SERVFAIL)
    asker = make_asker(name_server, tries=2)
    answer = asker.ask("one.example")
    assert (answer.status, answer.reason) == (DnsStatus.TEMP, "SERVFAIL")
    assert asker.values("one.example") == ["192.0.2.1"]


def test_a_server_that_nobody_listens_at_is_left_at_once_and_then_avoided(make_asker, name_server):
    name_server.add("one.example", "A", "192.0.2.1")
    name_server.add("two.example", "A", "192.0.2.2")
    asker = make_asker(dead_server(), name_server)
    assert asker.values("one.example") == ["192.0.2.1"]
    lines = asker.log.count("dns.server")
    assert lines >= 1
    assert asker.values("two.example") == ["192.0.2.2"]
    assert asker.log.count("dns.server") == lines  # it was not asked again


def test_all_servers_away_is_a_temporary_failure(make_asker):
    answer = make_asker(dead_server(), dead_server(), timeout_s=SHORT_S).ask("one.example")
    assert answer.status is DnsStatus.TEMP


def test_an_answer_that_did_not_fit_is_asked_for_over_tcp(asker, name_server):
    many = [f"192.0.2.{number}" for number in range(200)]
    name_server.add("big.example", "A", *many)
    name_server.script("big.example", "A", TRUNCATE)
    assert asker.values("big.example") == sorted(many)
    assert [one.transport for one in name_server.asked] == ["udp", "tcp"]


def test_a_refused_tcp_connection_is_a_temporary_failure(make_asker):
    with NameServer(tcp=False) as server:
        server.add("big.example", "A", "192.0.2.1")
        server.script("big.example", "A", *[TRUNCATE] * 10)
        answer = make_asker(server, tries=2).ask("big.example")
        assert (answer.status, answer.reason) == (DnsStatus.TEMP, "TCP connection failed")


def test_a_tcp_server_that_stays_silent_costs_one_try(make_asker, name_server):
    name_server.add("big.example", "A", "192.0.2.1")
    name_server.script("big.example", "A", TRUNCATE, DROP, TRUNCATE)
    asker = make_asker(name_server, timeout_s=SHORT_S, tries=5)
    assert asker.values("big.example") == ["192.0.2.1"]


def test_all_questions_go_over_tcp_if_told_so(make_asker, name_server):
    name_server.add("one.example", "A", "192.0.2.1")
    assert make_asker(name_server, use_tcp=True).values("one.example") == ["192.0.2.1"]
    assert {one.transport for one in name_server.asked} == {"tcp"}


def test_a_server_without_edns_is_asked_without_it_from_then_on(asker, name_server):
    for name in ("one.example", "two.example"):
        name_server.add(name, "A", "192.0.2.1")
    name_server.script("one.example", "A", FORMERR)
    asker.ask("one.example")
    asker.ask("two.example")
    assert [one.edns for one in name_server.asked] == [True, False, False]


def test_edns_can_be_switched_off(make_asker, name_server):
    name_server.add("one.example", "A", "192.0.2.1")
    make_asker(name_server, edns=False).ask("one.example")
    assert [one.edns for one in name_server.asked] == [False]


def test_ids_and_source_ports_are_random(asker, name_server):
    for number in range(3 * limits.PORT_QUESTIONS):
        asker.ask(f"n{number}.example")
    assert len({one.port for one in name_server.asked}) >= 3
    numbers = [one.number for one in name_server.asked]
    assert len(set(numbers)) > len(numbers) * 0.9
    assert [after - before for before, after in itertools.pairwise(numbers)].count(1) < len(numbers) / 2


def test_used_ports_are_closed(asker, name_server):
    for number in range(5 * limits.PORT_QUESTIONS):
        asker.ask(f"n{number}.example")
    assert all(len(server.channels) <= 2 for server in asker.resolver._servers)


def test_a_name_server_is_reached_over_ipv6(make_asker):
    with NameServer("::1") as server:
        server.add("one.example", "A", "192.0.2.1")
        assert make_asker(server).values("one.example") == ["192.0.2.1"]


def test_ten_thousand_open_questions_need_no_threads(make_asker, name_server):
    asker = make_asker(name_server, timeout_s=60)
    name_server.hold()
    before = threading.active_count()
    replies = [asker.start(f"n{number}.example", RRType.MX) for number in range(100)]
    name_server.wait_for(100)
    for number in range(100, 10_000):  # the loopback drops what the name server is too slow for
        asker.start(f"n{number}.example", RRType.MX)
    assert asker.resolver.open_questions() == 10_000
    assert threading.active_count() <= before + THREADS
    name_server.release()
    assert {reply.get().status for reply in replies} == {DnsStatus.NXDOMAIN}
    assert threading.active_count() <= before + THREADS


def test_questions_beyond_the_limit_are_a_temporary_failure(asker, name_server, monkeypatch):
    monkeypatch.setattr("meta1g.smar.resolver.QUESTIONS_MAX", 3)
    name_server.hold()
    open_ones = [asker.start(f"n{number}.example") for number in range(3)]
    assert asker.ask("more.example").status is DnsStatus.TEMP
    name_server.wait_for(3)
    name_server.release()
    assert {one.get().status for one in open_ones} == {DnsStatus.NXDOMAIN}


def test_an_asker_that_fails_does_not_cost_the_others_their_answer(asker, name_server):
    def fail(answer):
        raise ValueError("of the test")

    name_server.hold()
    asker.resolver.ask("one.example", RRType.A, fail)
    second = asker.start("one.example")
    name_server.wait_for(1)
    name_server.release()
    assert second.get().status is DnsStatus.NXDOMAIN
    assert asker.ask("two.example").status is DnsStatus.NXDOMAIN
    assert "of the test" in asker.log


def test_the_end_of_a_tcp_connection_does_not_act_for_a_later_attempt(make_asker):
    with NameServer() as silent, NameServer() as slow:
        silent.script("big.example", "A", TRUNCATE, DROP)
        slow.add("big.example", "A", "192.0.2.1")
        slow.hold()
        asker = make_asker(silent, slow, timeout_s=0.3, tries=2)
        reply = asker.start("big.example")
        silent.wait_for(1, lambda one: one.transport == "tcp")
        slow.wait_for(1)
        slow.release()
        assert [record.value for record in reply.get().records] == ["192.0.2.1"]
        assert [one.transport for one in silent.asked] == ["udp", "tcp"]
        assert len(slow.asked) == 1


def test_an_answer_to_an_attempt_that_is_over_is_void(make_asker):
    with NameServer() as late, NameServer() as healthy:
        late.add("one.example", "A", "192.0.2.66")
        late.hold()
        healthy.add("one.example", "A", "192.0.2.1")
        healthy.hold()
        asker = make_asker(late, healthy, tries=2)
        reply = asker.start("one.example")
        late.wait_for(1)
        asker.clock.ahead_s = 21
        asker.system.evthr.wakeup(asker.resolver._late._task)
        healthy.wait_for(1)
        late.release()
        assert not reply.came
        healthy.release()
        assert [record.value for record in reply.get().records] == ["192.0.2.1"]


def test_no_descriptor_costs_the_question_and_not_those_with_a_socket(make_asker, name_server):
    name_server.add("one.example", "A", "192.0.2.1")
    name_server.add("two.example", "A", "192.0.2.2")
    fresh, used = make_asker(name_server), make_asker(name_server)
    assert used.values("one.example") == ["192.0.2.1"]
    with no_descriptors():
        answer = fresh.ask("one.example")
        assert (answer.status, "Too many open files" in answer.reason) == (DnsStatus.TEMP, True)
        assert used.values("two.example") == ["192.0.2.2"]
    assert fresh.values("one.example") == ["192.0.2.1"]
    assert fresh.resolver.open_questions() == 0


def test_a_worn_port_is_used_on_for_want_of_another(make_asker, name_server, monkeypatch):
    monkeypatch.setattr("meta1g.smar.dnsserver.PORT_QUESTIONS", 1)
    name_server.add("one.example", "A", "192.0.2.1")
    name_server.add("two.example", "A", "192.0.2.2")
    asker = make_asker(name_server)
    name_server.hold()
    first = asker.start("one.example")
    with no_descriptors():
        second = asker.start("two.example")
        name_server.wait_for(2)
    name_server.release()
    assert [one.get().records[0].value for one in (first, second)] == ["192.0.2.1", "192.0.2.2"]
    assert len({one.port for one in name_server.asked}) == 1


def test_no_descriptor_for_a_tcp_connection_costs_that_try(make_asker, name_server):
    name_server.add("big.example", "A", "192.0.2.1")
    name_server.script("big.example", "A", TRUNCATE)
    asker = make_asker(name_server, tries=2)
    asker.ask("warm.example")
    with no_descriptors():
        assert asker.values("big.example") == ["192.0.2.1"]  # the second try is answered over UDP


def test_names_below_one_domain_have_their_share_of_the_open_questions(make_asker, name_server, monkeypatch):
    monkeypatch.setattr("meta1g.smar.resolver.QUESTIONS_MAX", 8)
    asker = make_asker(name_server)
    name_server.hold()
    hung = [asker.start(f"n{number}.hung.example") for number in range(10)]
    refused = [one.get() for one in hung if one.came]
    assert len(refused) == 6
    assert {one.status for one in refused} == {DnsStatus.TEMP}
    assert "hung.example" in refused[0].reason
    other = asker.start("other.example")
    assert not other.came
    name_server.wait_for(5)
    name_server.release()
    assert other.get().status is DnsStatus.NXDOMAIN
    assert [one.get().status for one in hung].count(DnsStatus.NXDOMAIN) == 4
    again = [asker.start(f"m{number}.hung.example") for number in range(4)]
    assert {one.get().status for one in again} == {DnsStatus.NXDOMAIN}


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("a.b.example", "b.example"),
        ("example", "example"),
        ("1.2.0.192.in-addr.arpa", "0.192.in-addr.arpa"),
        (".".join("0" * 32) + ".ip6.arpa", ".".join("0" * 8) + ".ip6.arpa"),
        ("4.3.2.1.bl.example", "bl.example"),
    ],
)
def test_the_domain_of_a_share(name, zone):
    assert zone_of(name) == zone


def test_thousands_of_askers_of_one_question_all_hear_of_the_answer(asker, name_server):
    name_server.add("one.example", "A", "192.0.2.1")
    name_server.hold()
    replies = [asker.start("one.example") for _ in range(3000)]
    name_server.wait_for(1)
    name_server.release()
    assert {reply.get().records[0].value for reply in replies} == {"192.0.2.1"}
    assert len(name_server.asked) == 1


def test_an_unexpected_error_in_a_packet_costs_that_packet(asker, name_server, monkeypatch):
    name_server.add("one.example", "A", "192.0.2.1")
    real, failed = dnswire.parse_answer, threading.Event()

    def parse(*arguments):
        if not failed.is_set():
            failed.set()
            raise ArithmeticError("of the test")
        return real(*arguments)

    monkeypatch.setattr(dnswire, "parse_answer", parse)
    reply = asker.start("one.example")
    assert failed.wait(20)
    asker.clock.ahead_s = 21
    asker.system.evthr.wakeup(asker.resolver._late._task)
    assert reply.get().records[0].value == "192.0.2.1"
    assert "ArithmeticError" in asker.log


def test_an_answer_over_tcp_that_is_too_long_or_another_one_ends_the_try(make_asker, name_server):
    asker = make_asker(name_server, tries=1)
    for number, act in enumerate((LONG, WRONG_ID_ALONE, GARBAGE_ALONE, NOTHING)):
        name = f"big{number}.example"
        name_server.add(name, "A", "192.0.2.1")
        name_server.script(name, "A", TRUNCATE, act)
        assert asker.ask(name).status is DnsStatus.TEMP
    assert asker.resolver.open_questions() == 0


def LONG(answer):
    return [answer.to_wire() + bytes(limits.ANSWER_MAX_BYTES)]


def WRONG_ID_ALONE(answer):
    answer.id ^= 1
    return [answer.to_wire()]


def GARBAGE_ALONE(answer):
    return [answer.to_wire()[:14] + b"\xff" * 30]


def NOTHING(answer):
    return [b""]
