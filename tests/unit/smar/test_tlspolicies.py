import pytest

from meta1g.base.log import Log
from meta1g.base.tlspolicy import TlsLevel, TlsPolicy
from meta1g.rcb.common import DeliveryAgent, ServerAddr
from meta1g.rcb.qmgr_smar import Route
from meta1g.smar.tlspolicies import Hop, TlsPolicies
from tests.fakes.lines import Lines

VERIFY = TlsPolicy(TlsLevel.VERIFY, names=("mx.example",), source="first")
HOPS = [Hop("x.example", name, 25, use_mx=True) for name in ("mx1.example", "mx1.example", "mx2.example")]
ROUTE = Route(da=DeliveryAgent.ESMTP, servers=tuple(ServerAddr(addr=f"192.0.2.{n}", port=25) for n in range(3)))


class Source:
    """Says what it is told to, when it is told to."""

    def __init__(self, says=None):
        self.says = says
        self.asked = []

    def ask(self, hop, on_policy):
        self.asked.append((hop, on_policy))
        if self.says is not None:
            on_policy(self.says(hop))


def fails(hop):
    raise RuntimeError("source is broken")


def apply(*sources):
    routes = []
    TlsPolicies(sources, Log("smar", sink=Lines())).apply(ROUTE, HOPS, routes.append)
    return routes


def test_a_host_is_asked_for_once_and_its_servers_have_its_policy():
    source = Source(lambda hop: VERIFY if hop.host == "mx1.example" else None)
    (route,) = apply(source)
    assert [hop.host for hop, _ in sorted(source.asked, key=lambda one: one[0].host)] == ["mx1.example", "mx2.example"]
    assert [(one.tls, one.tls_source) for one in route.servers] == [(VERIFY.demands(), "first")] * 2 + [("", "")]
    assert [one.addr for one in route.servers] == [one.addr for one in ROUTE.servers]


def test_the_next_source_is_asked_where_the_one_before_says_nothing():
    first, second = Source(lambda hop: None if hop.host == "mx1.example" else VERIFY), Source(lambda hop: VERIFY)
    (route,) = apply(first, second)
    assert {hop.host for hop, _ in second.asked} == {"mx1.example"}
    assert all(one.tls == VERIFY.demands() for one in route.servers)


def test_the_route_comes_once_when_the_last_source_has_answered():
    source = Source()
    routes = apply(source)
    (_, first), (_, second) = source.asked
    first(VERIFY)
    assert not routes
    second(None)
    first(None)
    assert len(routes) == 1


@pytest.mark.parametrize("others", [[], [Source(lambda hop: None)]])
def test_a_source_that_fails_refuses_the_host_instead_of_being_passed_over(others):
    (route,) = apply(Source(fails), *others)
    assert all("its TLS policy is not known" in one.tls for one in route.servers)
