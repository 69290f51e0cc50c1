"""From a route to addresses, over a real name server."""

import pytest

from meta1g.rcb.common import DeliveryAgent
from meta1g.rcb.qmgr_smar import Route, Unresolved
from meta1g.smar.dnswire import DnsRecord
from meta1g.smar.limits import MX_HOSTS_MAX, SERVERS_MAX
from meta1g.smar.myself import Myself
from meta1g.smar.request import OWN_HOST, Resolution, known_addresses, usable_hosts
from meta1g.smar.route import RoutePlan, Target
from tests.fakes.nameserver import SERVFAIL

from .conftest import Heard

OWN = frozenset(("gw.example",))
MYSELF = Myself(OWN, [("127.0.0.1", 25), ("198.51.100.9", 25), ("::1", 25)])


def mx(domain="far.example", port=25):
    return Target(domain, port, is_address=False, use_mx=True)


def host(name, port=25):
    return Target(name, port, is_address=False)


def address(text, port=25):
    return Target(text, port, is_address=True)


@pytest.fixture
def resolve(asker):
    def run(*targets, da=DeliveryAgent.ESMTP):
        reply = Heard()
        Resolution(RoutePlan(da, targets), asker.resolver, MYSELF, reply).start()
        return reply.get()

    return run


def addresses(route):
    assert isinstance(route, Route), route
    return [server.addr for server in route.servers]


def test_mx_hosts_come_in_the_order_of_preference(resolve, name_server):
    name_server.add("far.example", "MX", "20 b.far.example.", "10 a.far.example.")
    name_server.add("a.far.example", "A", "192.0.2.1", ttl=50)
    name_server.add("b.far.example", "A", "192.0.2.2", ttl=400)
    route = resolve(mx())
    assert [(s.addr, s.pref, s.host, s.ttl_s, s.port) for s in route.servers] == [
        ("192.0.2.1", 10, "a.far.example", 50, 25),
        ("192.0.2.2", 20, "b.far.example", 300, 25),
    ]


def test_hosts_of_equal_preference_come_in_random_order(asker, name_server):
    name_server.add("far.example", "MX", *(f"10 h{n}.far.example." for n in range(6)), "20 last.far.example.")
    for number in range(6):
        name_server.add(f"h{number}.far.example", "A", f"192.0.2.{number + 1}")
    name_server.add("last.far.example", "A", "192.0.2.99")
    orders = set()
    for _ in range(30):
        reply = Heard()
        Resolution(RoutePlan(DeliveryAgent.ESMTP, (mx(),)), asker.resolver, MYSELF, reply).start()
        orders.add(tuple(addresses(reply.get())))
    assert len(orders) > 10
    assert {order[-1] for order in orders} == {"192.0.2.99"}
    assert len({order[0] for order in orders}) > 1


def test_both_kinds_of_addresses_are_found_ipv4_first(resolve, name_server):
    name_server.add("far.example", "MX", "10 a.far.example.")
    name_server.add("a.far.example", "AAAA", "2001:db8::1")
    name_server.add("a.far.example", "A", "192.0.2.1")
    assert addresses(resolve(mx())) == ["192.0.2.1", "2001:db8::1"]


def test_without_mx_records_the_domain_is_the_host(resolve, name_server):
    name_server.add("far.example", "A", "192.0.2.1")
    assert addresses(resolve(mx())) == ["192.0.2.1"]


def test_mx_records_without_addresses_do_not_fall_back_to_the_domain(resolve, name_server):
    name_server.add("far.example", "MX", "10 a.far.example.")
    name_server.add("far.example", "A", "192.0.2.1")
    answer = resolve(mx())
    assert (answer.reply.code, answer.reply.ecode) == (550, "5.1.2")


def test_a_host_without_mx_look_up_is_asked_for_its_addresses_only(resolve, name_server):
    name_server.add("relay.example", "MX", "10 other.example.")
    name_server.add("relay.example", "A", "192.0.2.5")
    assert addresses(resolve(host("relay.example", 26))) == ["192.0.2.5"]
    assert name_server.questions("relay.example", "MX") == []


def test_a_null_mx_refuses_mail(resolve, name_server):
    name_server.add("far.example", "MX", "0 .")
    answer = resolve(mx())
    assert (answer.reply.code, answer.reply.ecode) == (556, "5.1.10")


def test_a_dot_beside_other_mx_records_is_passed_over(resolve, name_server):
    name_server.add("far.example", "MX", "0 .", "10 a.far.example.")
    name_server.add("a.far.example", "A", "192.0.2.1")
    assert addresses(resolve(mx())) == ["192.0.2.1"]


def test_this_host_and_all_that_is_not_better_is_dropped(resolve, name_server):
    name_server.add(
        "far.example", "MX", "5 best.far.example.", "10 GW.example.", "10 same.far.example.", "20 worse.far.example."
    )
    for number, name in enumerate(("best", "same", "worse")):
        name_server.add(f"{name}.far.example", "A", f"192.0.2.{number + 1}")
    assert addresses(resolve(mx())) == ["192.0.2.1"]


def test_mail_that_would_come_back_to_this_host_is_refused(resolve, name_server):
    name_server.add("far.example", "MX", "10 gw.example.", "20 b.far.example.")
    assert resolve(mx()) == OWN_HOST
    name_server.add("gw.example", "A", "192.0.2.1")
    assert resolve(mx("gw.example")) == OWN_HOST


def test_a_host_that_fails_does_not_spoil_the_others(resolve, name_server):
    name_server.add("far.example", "MX", "10 a.far.example.", "20 b.far.example.")
    name_server.script("a.far.example", "A", *[SERVFAIL] * 9)
    name_server.script("a.far.example", "AAAA", *[SERVFAIL] * 9)
    name_server.add("b.far.example", "A", "192.0.2.2")
    assert addresses(resolve(mx())) == ["192.0.2.2"]


def test_a_name_server_that_fails_is_a_temporary_error(resolve, name_server):
    name_server.script("far.example", "MX", *[SERVFAIL] * 9)
    answer = resolve(mx())
    assert (answer.reply.code, answer.reply.ecode) == (451, "4.4.3")
    assert "far.example" in answer.reply.text


def test_a_temporary_error_counts_more_than_a_permanent_one(resolve, name_server):
    name_server.add("far.example", "MX", "10 none.far.example.", "20 slow.far.example.")
    name_server.script("slow.far.example", "A", *[SERVFAIL] * 9)
    assert resolve(mx()).reply.code == 451


def test_a_domain_that_does_not_exist_is_a_permanent_error(resolve):
    answer = resolve(mx("none.example"))
    assert (answer.reply.code, answer.reply.ecode) == (550, "5.1.2")


def test_several_targets_keep_their_order(resolve, name_server):
    name_server.add("second.example", "A", "192.0.2.2")
    name_server.add("third.example", "MX", "10 mx.third.example.")
    name_server.add("mx.third.example", "A", "192.0.2.3")
    route = resolve(address("192.0.2.1", 26), host("second.example"), mx("third.example"))
    assert [(server.addr, server.port) for server in route.servers] == [("192.0.2.1", 26), ("192.0.2.2", 25), ("192.0.2.3", 25)]
    assert [server.pref for server in route.servers] == sorted(server.pref for server in route.servers)


def test_a_target_that_fails_leaves_the_others(resolve):
    assert addresses(resolve(address("192.0.2.1"), host("none.example"))) == ["192.0.2.1"]


def test_an_address_is_given_once_at_its_best_place(resolve, name_server):
    name_server.add("far.example", "MX", "10 a.far.example.", "20 b.far.example.")
    for name in ("a", "b"):
        name_server.add(f"{name}.far.example", "A", "192.0.2.1")
    route = resolve(mx())
    assert [(server.addr, server.pref) for server in route.servers] == [("192.0.2.1", 10)]


def test_hosts_and_addresses_are_bounded(resolve, name_server):
    records = tuple(DnsRecord(f"h{number}.example", number) for number in range(100))
    assert len(usable_hosts(records, OWN)) == MX_HOSTS_MAX
    name_server.add("big.example", "A", *(f"192.0.2.{number}" for number in range(200)))
    assert len(resolve(host("big.example")).servers) == SERVERS_MAX


def test_the_delivery_agent_of_the_route_is_kept(resolve, name_server):
    name_server.add("lmtp.example", "A", "192.0.2.1")
    assert resolve(host("lmtp.example", 24), da=DeliveryAgent.LMTP).da is DeliveryAgent.LMTP


def test_no_hosts_are_left_is_an_error():
    assert isinstance(usable_hosts((DnsRecord("gw.example", 0), DnsRecord("b.example", 0)), OWN), Unresolved)


def loops(answer):
    return isinstance(answer, Unresolved) and (answer.reply.code, answer.reply.ecode) == (554, "5.4.6")


@pytest.mark.parametrize("mx_host", ["localhost", "mail.localhost", "127.0.0.1", "0.0.0.0", "[127.0.0.1]"])
def test_an_mx_that_leads_to_this_machine_is_a_loop(resolve, name_server, mx_host):
    name_server.add("far.example", "MX", f"10 {mx_host}.")
    answer = resolve(mx())
    assert loops(answer)
    assert "come back to this host by" in answer.reply.text
    assert next(s.addr for s in resolve(mx(port=2525)).servers) in ("127.0.0.1", "0.0.0.0")


def test_our_address_under_another_name_is_a_loop(resolve, name_server):
    name_server.add("far.example", "MX", "10 other-name.example.")
    name_server.add("other-name.example", "A", "198.51.100.9")
    assert (
        resolve(mx()).reply.text
        == "Mail for this recipient would come back to this host by other-name.example[198.51.100.9]:25"
    )


def test_our_address_in_the_place_of_an_mx_record_is_a_loop(resolve, name_server):
    name_server.add("far.example", "A", "198.51.100.9")
    assert loops(resolve(mx()))


def test_a_backup_under_another_name_leaves_the_better_servers(resolve, name_server):
    name_server.add("far.example", "MX", "10 best.example.", "20 us.example.", "20 equal.example.", "30 worse.example.")
    name_server.add("best.example", "A", "192.0.2.1")
    name_server.add("us.example", "A", "198.51.100.9")
    name_server.add("equal.example", "A", "192.0.2.2")
    name_server.add("worse.example", "A", "192.0.2.3")
    assert addresses(resolve(mx())) == ["192.0.2.1"]


def test_one_of_several_addresses_of_a_host_is_enough(resolve, name_server):
    name_server.add("far.example", "MX", "10 us.example.")
    name_server.add("us.example", "A", "192.0.2.1", "198.51.100.9")
    assert loops(resolve(mx()))


def test_a_better_server_whose_address_is_not_known_now_is_waited_for(resolve, name_server):
    name_server.add("far.example", "MX", "10 best.example.", "20 us.example.")
    name_server.add("us.example", "A", "198.51.100.9")
    name_server.script("best.example", "A", *[SERVFAIL] * 20)
    name_server.script("best.example", "AAAA", *[SERVFAIL] * 20)
    assert resolve(mx()).reply.code == 451


def test_a_worse_server_whose_address_is_not_known_now_is_not_waited_for(resolve, name_server):
    name_server.add("far.example", "MX", "10 us.example.", "20 worse.example.")
    name_server.add("us.example", "A", "198.51.100.9")
    name_server.script("worse.example", "A", *[SERVFAIL] * 20)
    name_server.script("worse.example", "AAAA", *[SERVFAIL] * 20)
    assert loops(resolve(mx()))


def test_a_route_through_ourselves_ends_before_us(resolve):
    route = resolve(address("192.0.2.1"), address("198.51.100.9"), address("192.0.2.2"))
    assert addresses(route) == ["192.0.2.1"]
    assert addresses(resolve(address("198.51.100.9", 26), address("192.0.2.2"))) == ["198.51.100.9", "192.0.2.2"]


def test_an_mx_that_is_an_address_is_tried(resolve, name_server):
    name_server.add("far.example", "MX", "10 192.0.2.7.", "20 named.example.")
    name_server.add("named.example", "A", "192.0.2.8")
    route = resolve(mx())
    assert [(s.addr, s.host) for s in route.servers] == [("192.0.2.7", "192.0.2.7"), ("192.0.2.8", "named.example")]
    assert name_server.questions("192.0.2.7", "A") == []


def test_an_mx_that_is_an_ipv6_address_is_tried(resolve, name_server):
    name_server.add("far.example", "MX", "10 2001:db8::7.")
    assert addresses(resolve(mx())) == ["2001:db8::7"]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("192.0.2.1", ("192.0.2.1",)),
        ("[192.0.2.1]", ("192.0.2.1",)),
        ("2001:DB8::1", ("2001:db8::1",)),
        ("[ipv6:2001:db8::1]", ("2001:db8::1",)),
        ("localhost", ("127.0.0.1", "::1")),
        ("a.localhost", ("127.0.0.1", "::1")),
        ("notlocalhost", ()),
        ("localhost.example", ()),
        ("1.2.3", ()),
    ],
)
def test_what_the_dns_need_not_be_asked(name, known):
    assert known_addresses(name) == known
