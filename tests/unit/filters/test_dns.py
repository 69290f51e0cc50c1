"""DNS for filters: answers of a real name server on the loopback, kept for as long as they hold."""

import pytest

from meta1g_filters.dns import AnswerCache, FilterResolver, NamesAnswer, TxtAnswer, _Kept
from tests.fakes.nameserver import DROP, SERVFAIL, TRUNCATE, NameServer


class TurnedClock:
    def __init__(self):
        self.at_s = 1000.0

    def now(self):
        return self.at_s

    def monotonic(self):
        return self.at_s


@pytest.fixture
def server():
    with NameServer() as server:
        yield server


@pytest.fixture
def clock():
    return TurnedClock()


@pytest.fixture
def resolver(server, clock):
    return FilterResolver([(server.address, server.port)], timeout_s=0.3, lifetime_s=0.5, clock=clock)


def test_strings_of_one_record_are_put_together(server, resolver):
    server.add("example.org", "TXT", '"v=spf1 " "-all"', '"other"')
    answer = resolver.txt("example.org")
    assert (answer.status, set(answer.texts)) == ("ok", {b"v=spf1 -all", b"other"})


def test_what_is_not_there_says_which_kind_of_nothing_it_is(server, resolver):
    server.add("example.org", "A", "192.0.2.1")
    assert resolver.txt("example.org") == TxtAnswer("nodata")
    assert resolver.txt("nothing.example.org") == TxtAnswer("nxdomain")


@pytest.mark.parametrize("act", [SERVFAIL, DROP])
def test_a_failure_is_told_and_not_kept(server, resolver, act):
    server.add("example.org", "TXT", '"here"')
    server.script("example.org", "TXT", *[act] * 2)
    assert resolver.txt("example.org").status == "temperror"
    server._scripts.clear()
    assert resolver.txt("example.org") == TxtAnswer("ok", (b"here",))


def test_a_server_that_fails_is_followed_by_the_next(server, clock):
    with NameServer() as other:
        server.add("example.org", "TXT", '"here"')
        other.script("example.org", "TXT", SERVFAIL)
        both = [(other.address, other.port), (server.address, server.port)]
        assert FilterResolver(both, clock=clock).txt("example.org").status == "ok"


def test_a_truncated_answer_comes_over_tcp(server, resolver):
    server.add("example.org", "TXT", '"here"')
    server.script("example.org", "TXT", TRUNCATE)
    assert resolver.txt("example.org") == TxtAnswer("ok", (b"here",))
    assert [one.transport for one in server.asked] == ["udp", "tcp"]


def test_names_and_addresses_come_as_text_mail_servers_by_preference(server, resolver):
    server.add("example.org", "MX", "20 b.example.org.", "10 a.example.org.")
    server.add("null.example.org", "MX", "0 .")
    server.add("example.org", "AAAA", "2001:db8::1")
    server.add("1.2.0.192.in-addr.arpa", "PTR", "Host.example.org.")
    assert resolver.mail_servers("example.org") == NamesAnswer("ok", ("a.example.org", "b.example.org"))
    assert resolver.mail_servers("null.example.org") == NamesAnswer("ok", ("",))
    assert resolver.addresses("example.org", "AAAA") == NamesAnswer("ok", ("2001:db8::1",))
    assert resolver.names("1.2.0.192.in-addr.arpa.") == NamesAnswer("ok", ("Host.example.org",))


@pytest.mark.parametrize(
    "name", ["a..example.org", ".example.org", "x" * 64 + ".example.org", "a." * 130 + "org", "bücher.example", ""]
)
def test_what_cannot_be_a_name_does_not_exist(server, resolver, name):
    assert resolver.txt(name).status == "nxdomain"
    assert [one for one in server.asked if one.name != "."] == []


def test_a_backslash_in_a_name_is_no_escape(server, resolver):
    server.add(r"a\\046b.example.org", "TXT", '"here"')
    assert resolver.txt(r"a\046b.example.org").status == "ok"
    assert resolver.txt("a.b.example.org").status == "nxdomain"


@pytest.mark.parametrize(("ttl", "still_s", "gone_s"), [(60, 59, 2), (1_000_000, 3599, 2)])
def test_a_fact_is_kept_for_its_ttl_within_bounds(server, clock, resolver, ttl, still_s, gone_s):
    server.add("example.org", "TXT", '"here"', ttl=ttl)
    resolver.txt("example.org")
    clock.at_s += still_s
    resolver.txt("EXAMPLE.org.")
    assert len(server.asked) == 1
    clock.at_s += gone_s
    resolver.txt("example.org")
    assert len(server.asked) == 2


def test_nothing_is_kept_for_the_time_of_the_zone_within_bounds(server, clock, resolver):
    server.negative_ttl = 3600
    resolver.txt("example.org")
    clock.at_s += 299
    resolver.txt("example.org")
    assert len(server.asked) == 1
    clock.at_s += 2
    resolver.txt("example.org")
    assert len(server.asked) == 2


def test_an_alias_is_followed(server, resolver):
    server.add("www.example.org", "CNAME", "example.org.")
    server.add("example.org", "TXT", '"here"')
    assert resolver.txt("www.example.org") == TxtAnswer("ok", (b"here",))


def test_the_cache_is_bounded_by_number_and_bytes():
    cache = AnswerCache(entries=3, size_bytes=2000)
    for number in range(5):
        cache.put((str(number), "TXT"), _Kept((b"x",), "ok", 10.0))
    assert [cache.get((str(number), "TXT"), 1.0) is not None for number in range(5)] == [False, False, True, True, True]
    cache.put(("big", "TXT"), _Kept((b"x" * 1500,), "ok", 10.0))
    assert len(cache) == 1
    cache.put(("big", "TXT"), _Kept((b"x",), "ok", 10.0))
    cache.put(("small", "TXT"), _Kept((b"x",), "ok", 10.0))
    assert len(cache) == 2


def test_the_questions_of_a_message_have_an_end_together(server, clock, resolver):
    server.add("example.org", "TXT", '"here"')
    server.add("example.net", "TXT", '"here"')
    timed = resolver.within(10)
    clock.at_s += 9.9
    assert timed.txt("example.org").status == "ok"
    clock.at_s += 0.1
    assert timed.txt("example.net").status == "temperror"
    assert timed.txt("example.org").status == "ok", "what is kept costs no time"
    assert server.questions("example.net", "TXT") == []
    assert resolver.txt("example.net").status == "ok"
