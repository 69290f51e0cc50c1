"""MTA-STS with a real name server and a real web server: what is found, whatever either of them does."""

import socket
import threading
import time
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from contrib.lib.gateway import wait_until
from meta1g.base.tlspolicy import TlsLevel, TlsPolicy, policy_of
from meta1g.pt.workers import Workers
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.qmgr_smar import Route
from meta1g.smar import sts
from meta1g.smar.https import HttpsClient, HttpsError, HttpsServer
from meta1g.smar.limits import STS_FETCHES, STS_LOOK_S, STS_REFRESH_S, STS_RETRY_S, STS_WAIT_S
from meta1g.smar.sts import StsPolicies, StsSource
from meta1g.smar.stscache import StsCache
from meta1g.smar.tlsmap import PolicyEntry
from meta1g.smar.tlspolicies import Hop, TlsPolicies
from meta1g.tls.mtasts import PATH, POLICY_MAX_BYTES, StsMode, StsPolicy
from meta1g.tls.tlsrpt import ResultType
from tests.fakes.certificates import make_certificate, sign_certificate, sign_expired
from tests.fakes.key_updates import key_updates
from tests.fakes.nameserver import SERVFAIL
from tests.fakes.policyserver import Page, PolicyServer
from tests.unit.pt.conftest import DEADLINE_S
from tests.unit.smar.conftest import Heard, JumpClock

GOOD = "good.example"
POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mx.good.example\r\nmx: *.mx.example\r\nmax_age: 604800\r\n"
PARSED = StsPolicy(StsMode.ENFORCE, ("mx.good.example", "*.mx.example"), 604800)
TESTING = POLICY.replace(b"enforce", b"testing")


class TurnedClock(JumpClock):
    """Both clocks go forward together."""

    def now(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certificates")
    make_certificate(directory, "ca.example")
    make_certificate(directory, "mta-sts.self.example")
    return directory, {
        f"mta-sts.{GOOD}": sign_certificate(directory, f"mta-sts.{GOOD}", "ca.example"),
        "mta-sts.self.example": (directory / "mta-sts.self.example.pem", directory / "mta-sts.self.example.key"),
        "mta-sts.expired.example": sign_expired(directory, "mta-sts.expired.example", "ca.example"),
    }


@pytest.fixture
def server(certificates):
    with PolicyServer(certificates[1]) as server:
        server.pages[PATH] = Page(POLICY)
        yield server


class Gate:
    """A gateway's view of MTA-STS.  Owner: the test."""

    def __init__(self, asker, name_server, server, ca_file, directory):
        self.asker, self.names, self.server = asker, name_server, server
        self.clock = TurnedClock()
        asker.system.evthr.clock = self.clock
        self.workers = Workers(STS_FETCHES, name="https", log=asker.system.log)
        self._ca_file, self._directory = ca_file, directory
        self.restart()
        for domain in (GOOD, "self.example", "expired.example", "wrong.example"):
            self.publish(domain, "1")
            name_server.add(f"mta-sts.{domain}", "A", "127.0.0.1")

    def restart(self, port=None):
        system = self.asker.system
        self.cache = StsCache(self._directory, self.clock, system.log)
        client = HttpsClient(self._ca_file)
        self.policies = StsPolicies(
            system.evthr, self.asker.resolver, self.cache, client, self.workers, system.log, port or self.server.port
        )

    def publish(self, domain, policy_id):
        self.names.remove(f"_mta-sts.{domain}", "TXT")
        self.names.add(f"_mta-sts.{domain}", "TXT", f'"v=STSv1; " "id={policy_id};"')
        self.asker.resolver.flush()

    def start(self, domain):
        heard = Heard()
        self.policies.find(domain, heard)
        return heard

    def find(self, domain=GOOD):
        return self.start(domain).get()


@pytest.fixture
def gate(asker, name_server, server, certificates, tmp_path):
    gate = Gate(asker, name_server, server, certificates[0] / "ca.example.pem", tmp_path / "sts")
    yield gate
    assert gate.workers.close(timeout_s=20)


def test_a_policy_is_fetched_once_and_then_known(gate):
    found = gate.find()
    assert (found.policy, found.failed, found.why) == (PARSED, None, "policy 1")
    assert gate.find().policy == PARSED
    assert [(one[0], one[1], one[2]) for one in gate.server.asked] == [("GET", f"mta-sts.{GOOD}:{gate.server.port}", PATH)]
    assert "func=smar.sts," in gate.asker.log


def test_many_who_ask_at_once_wait_for_one_fetch(gate):
    gate.names.hold()
    waiting = [gate.start(GOOD) for _ in range(50)]
    gate.names.release()
    assert {one.get().policy for one in waiting} == {PARSED}
    assert len(gate.server.asked) == 1


@pytest.mark.parametrize("domain", ["no-record.example", "localhost", "[192.0.2.1]", "a." * 130 + "example", "\xe9.example"])
def test_a_domain_without_record_has_no_policy(gate, domain):
    found = gate.find(domain)
    assert (found.policy, found.failed) == (None, None)
    assert gate.server.asked == []


def slow(conn):
    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    for _ in range(2000):  # ends as soon as the client goes
        conn.sendall(b"x")
        time.sleep(0.01)


BROKEN = {
    "redirect": (Page(b"", "302 Found", {"Location": "https://other.example/"}), ResultType.STS_POLICY_FETCH_ERROR, "302"),
    "partial": (Page(POLICY, "206 Partial Content"), ResultType.STS_POLICY_FETCH_ERROR, "206"),
    "missing": (Page(b"", "404 Not Found"), ResultType.STS_POLICY_FETCH_ERROR, "404"),
    "error": (Page(b"", "503 Busy"), ResultType.STS_POLICY_FETCH_ERROR, "503"),
    "too big": (Page(b"x" * (POLICY_MAX_BYTES + 1)), ResultType.STS_POLICY_FETCH_ERROR, "more than 65536 bytes"),
    "endless header": (
        Page(POLICY, "200 OK\r\n" + "X: y\r\n" * 200),
        ResultType.STS_POLICY_FETCH_ERROR,
        "more than 100 headers",
    ),
    "cut short": (
        Page(POLICY, fields={"Content-Type": "text/plain", "Content-Length": "9999"}),
        ResultType.STS_POLICY_FETCH_ERROR,
        "cut short",
    ),
    "no http": (Page(act=lambda conn: conn.sendall(b"\xff\x00garbage\r\n" * 9)), ResultType.STS_POLICY_FETCH_ERROR, "garbage"),
    "closed": (Page(act=lambda conn: None), ResultType.STS_POLICY_FETCH_ERROR, ""),
    "drips": (Page(act=slow), ResultType.STS_POLICY_FETCH_ERROR, "takes too long"),
    "html": (Page(POLICY, fields={"Content-Type": "text/html; charset=utf-8"}), ResultType.STS_POLICY_INVALID, "text/plain"),
    "no type": (Page(POLICY, fields={}), ResultType.STS_POLICY_INVALID, "text/plain"),
    "garbage": (Page(b"\x00\xff" * 50), ResultType.STS_POLICY_INVALID, "UTF-8"),
    "no mode": (Page(POLICY.replace(b"mode", b"node")), ResultType.STS_POLICY_INVALID, "mode"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_policy_that_cannot_be_had_is_none_and_is_told(gate, what, monkeypatch):
    monkeypatch.setattr(sts, "STS_FETCH_S", 0.3 if what == "drips" else 30.0)
    page, failed, word = BROKEN[what]
    gate.server.pages[PATH] = page
    found = gate.find()
    assert (found.policy, found.failed) == (None, failed)
    assert word in found.why
    assert "func=smar.sts_failed," in gate.asker.log
    assert gate.find() == found
    assert len(gate.server.asked) == 1, "not tried again so soon"


@pytest.mark.parametrize(
    ("domain", "word"),
    [("self.example", "self-signed"), ("expired.example", "expired"), ("wrong.example", "mismatch")],
)
def test_a_server_without_the_right_certificate_is_not_believed(gate, domain, word):
    found = gate.find(domain)
    assert (found.policy, found.failed) == (None, ResultType.STS_WEBPKI_INVALID)
    assert word in found.why
    assert gate.server.asked == []


def test_a_server_that_is_not_there_or_has_no_address(gate):
    gate.restart(port=1)
    assert gate.find().failed is ResultType.STS_POLICY_FETCH_ERROR
    gate.names.remove("mta-sts.self.example", "A")
    assert "has no address" in gate.find("self.example").why


def test_a_damaged_record_is_no_policy(gate):
    gate.names.add(f"_mta-sts.{GOOD}", "TXT", "v=STSv1; id=2")
    found = gate.find()
    assert (found.policy, found.failed, found.why) == (None, None, "there is more than one record with v=STSv1")


def test_a_new_id_brings_the_new_policy(gate):
    gate.find()
    gate.server.pages[PATH] = Page(TESTING)
    assert gate.find().policy == PARSED
    gate.publish(GOOD, "2")
    assert gate.find().policy.mode is StsMode.TESTING
    assert len(gate.server.asked) == 2


@pytest.mark.parametrize("trouble", ["server", "record", "name server"])
def test_a_policy_that_is_known_holds_until_its_end_after_a_restart_too(gate, trouble):
    gate.find()
    if trouble == "server":
        gate.publish(GOOD, "2")
    else:
        gate.names.remove(f"_mta-sts.{GOOD}", "TXT")
        gate.asker.resolver.flush()
    if trouble == "name server":
        gate.names.script(f"_mta-sts.{GOOD}", "TXT", *[SERVFAIL] * 9)
    gate.restart(port=1)
    found = gate.find()
    assert found.policy == PARSED
    assert found.why.startswith("policy 1 of the cache: ")
    assert (found.failed is not None) == (trouble == "server")
    gate.clock.ahead_s = PARSED.max_age_s + 1
    assert gate.find().policy is None


def test_after_a_failure_it_is_tried_again_later(gate):
    gate.server.pages[PATH] = Page(b"", "500 Broken")
    assert gate.find().policy is None
    gate.server.pages[PATH] = Page(POLICY)
    gate.clock.ahead_s += STS_RETRY_S + 1
    assert gate.find().policy == PARSED


def test_nobody_waits_longer_than_a_moment_for_a_server_that_hangs(gate):
    go_on = threading.Event()
    gate.server.pages[PATH] = Page(act=lambda conn: go_on.wait(DEADLINE_S))
    heard = gate.start(GOOD)
    gate.server.wait_for(1)
    gate.clock.ahead_s += STS_WAIT_S + 1
    gate.start("no-record.example").get()
    gate.policies._late._task.sleep_until(0)  # the clock was put forward
    found = heard.get()
    go_on.set()
    assert (found.policy, found.failed) == (None, ResultType.STS_POLICY_FETCH_ERROR)
    assert "still being fetched" in found.why


def test_a_policy_is_fetched_again_before_it_ends_while_the_old_one_is_used(gate):
    gate.find()
    gate.server.pages[PATH] = Page(TESTING)
    gate.clock.ahead_s += STS_REFRESH_S + 1
    assert gate.find().policy == PARSED, "nobody waits"
    gate.server.wait_for(2)
    wait_until(lambda: not gate.policies.fetching(), DEADLINE_S, "the end of the fetch")
    assert gate.find().policy.mode is StsMode.TESTING
    gate.server.pages[PATH] = Page(POLICY)
    gate.clock.ahead_s += STS_REFRESH_S + STS_LOOK_S + 1
    gate.policies._task.sleep_until(0)  # nobody asks; the clock was put forward
    gate.server.wait_for(3)


def test_what_holds_at_a_server(gate):
    source = StsSource(gate.policies)

    def ask(host, domain=GOOD, use_mx=True):
        heard = Heard()
        source.ask(Hop(domain, host, 25, use_mx=use_mx), heard)
        return heard.get()

    good = ask("mx.good.example")
    assert (good.level, good.names, good.refused) == (TlsLevel.VERIFY, ("mx.good.example",), "")
    assert good.source == f"MTA-STS of {GOOD}: enforce by policy 1"
    assert ask("a.mx.example").names == ("a.mx.example",)
    assert ask("mx.evil.example").refused == f"MTA-STS policy of {GOOD} does not name mx.evil.example"
    assert ask("mx.good.example", use_mx=False) is None
    assert ask("mx.example", "no-record.example") is None
    failed = ask("mx.example", "self.example")
    assert (failed.level, failed.demands()) == (TlsLevel.MAY, "")
    assert "no MTA-STS policy of self.example" in failed.source
    gate.server.pages[PATH] = Page(TESTING)
    gate.publish(GOOD, "2")
    tested = ask("mx.evil.example")
    assert (tested.demands(), ": testing by policy 2: " in tested.source) == ("", True)
    gate.server.pages[PATH] = Page(b"version: STSv1\nmode: none\nmax_age: 86400")
    gate.publish(GOOD, "3")
    assert ask("mx.evil.example") is None


def test_one_domain_does_not_take_all_fetches(gate, monkeypatch):
    monkeypatch.setattr(sts, "STS_FETCHES_OPEN_MAX", 2)
    gate.restart()
    go_on = threading.Event()
    gate.server.pages[PATH] = Page(act=lambda conn: go_on.wait(DEADLINE_S))
    for domain in ("a.good.example", "b.good.example"):
        gate.publish(domain, "1")
        gate.names.add(f"mta-sts.{domain}", "A", "127.0.0.1")
    first = gate.start(GOOD)
    gate.server.wait_for(1)
    assert gate.find("a.good.example").why == "too many policies are fetched now"
    gate.server.pages[PATH] = Page(POLICY)
    assert gate.find("self.example").failed is ResultType.STS_WEBPKI_INVALID, "others have their share"
    go_on.set()
    assert first.get().failed is ResultType.STS_POLICY_FETCH_ERROR


def test_one_domain_does_not_take_all_threads_that_fetch(gate):
    hang = [f"h{number}.evil.example" for number in range(2 * STS_FETCHES)]
    for domain in hang:
        gate.publish(domain, "1")
        gate.names.add(f"mta-sts.{domain}", "A", "127.0.0.2")
    with socket.create_server(("127.0.0.2", gate.server.port), backlog=100) as hung:
        heard = [gate.start(domain) for domain in hang]
        taken = [hung.accept()[0] for _ in range(STS_FETCHES // 2)]
        assert gate.find().policy == PARSED, "others have their share"
        assert gate.policies.fetching() == len(hang)
    for sock in taken:
        sock.close()
    assert all(one.get().policy is None for one in heard)


def test_a_name_in_other_letters_is_asked_for_as_the_dns_has_it(gate):
    gate.find("b\xfccher.example")
    assert gate.names.questions("_mta-sts.xn--bcher-kva.example", "TXT")


class Says:
    """A source that knows one answer.  Owner: the test."""

    def __init__(self, policy):
        self.policy = policy

    def ask(self, hop, on_policy):
        on_policy(self.policy)


@pytest.mark.parametrize(
    ("dane", "entry", "level", "counted"),
    [
        (TlsPolicy(TlsLevel.DANE, source="TLSA"), None, TlsLevel.DANE, GOOD),
        (TlsPolicy(refused="no answer about its TLSA records"), None, TlsLevel.MAY, GOOD),
        (None, None, TlsLevel.VERIFY, GOOD),
        (None, PolicyEntry(TlsPolicy(TlsLevel.NONE, fixed=True), dane=False), TlsLevel.NONE, ""),
    ],
)
def test_dane_and_the_map_come_before_it(gate, dane, entry, level, counted):
    policies = TlsPolicies([Says(dane), StsSource(gate.policies)], gate.asker.system.log, counted=True)
    route = Route(da=0, servers=(ServerAddr(addr="192.0.2.1", port=25, host="mx.good.example"),))
    heard = Heard()
    policies.apply(route, [Hop(GOOD, "mx.good.example", 25, use_mx=True, entry=entry)], heard)
    (server,) = heard.get().servers
    assert (policy_of(server.tls).level, server.domain) == (level, counted)
    assert len(gate.server.asked) == (level is TlsLevel.VERIFY)


def test_a_server_that_does_not_begin_tls_costs_a_moment(gate, monkeypatch):
    monkeypatch.setattr(sts, "STS_FETCH_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        gate.restart(port=silent.getsockname()[1])
        found = gate.find()
    assert (found.failed, found.why) == (ResultType.STS_POLICY_FETCH_ERROR, f"mta-sts.{GOOD}: takes too long")


def _changes_keys(conn, pair):
    """A server under TLS that sends nothing but other keys, as fast as it can."""
    conn.sendall(key_updates(conn, 20_000, pair))
    while conn.recv(4096):
        pass


def _wants_handshakes(conn, _pair):
    """A server that wants a handshake all the time, while one is made."""
    while True:
        conn.sendall(bytes.fromhex("160303000400000000") * 5000)


@pytest.mark.parametrize("flood", [_changes_keys, _wants_handshakes])
def test_a_server_that_floods_in_the_frame_of_tls_is_left_soon(gate, certificates, flood):
    """Python's ssl reads on over a socket, without a look at the time, as long as such records come."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gate.restart(port=listener.getsockname()[1])
        heard = gate.start(GOOD)
        conn, _ = listener.accept()
        with conn, suppress(OSError):
            flood(conn, certificates[1][f"mta-sts.{GOOD}"])
        found = heard.get()
    assert found.failed is ResultType.STS_POLICY_FETCH_ERROR
    assert "sends too much" in found.why


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.binary(max_size=300) | some.binary(max_size=100).map(lambda rest: b"HTTP/1.1 200 OK\r\n" + rest))
def test_any_bytes_are_an_answer_or_an_error(server, certificates, data):
    server.pages[PATH] = Page(act=lambda conn: conn.sendall(data))
    client = HttpsClient(certificates[0] / "ca.example.pem")
    where = HttpsServer(f"mta-sts.{GOOD}", ("127.0.0.1",), server.port)
    with suppress(HttpsError):
        assert len(client.request(where, PATH, timeout_s=DEADLINE_S, max_bytes=64).content) <= 64
