"""The two services over real sockets: what answers at once, what goes to a worker, what happens when things fail."""

import threading
from pathlib import Path

import pytest

from meta1g.maps.sockmap import SocketMap
from meta1g.maps.static import StaticMap
from meta1g.maps.wrong import WrongEntries
from meta1g.pt.rcblisten import RcbListener
from meta1g.pt.workers import Workers
from meta1g.rcb import qmgr_smar, smtps_smar
from meta1g.rcb.qmgr_smar import QmgrHelloA, Resolve, Route, SmarContained, SmarHelloQ
from meta1g.rcb.smtps_smar import CheckClient, CheckMail, CheckRcpt, ClientResolve
from meta1g.smar.access import AccessMap
from meta1g.smar.checks import Policy
from meta1g.smar.clientname import ClientNames
from meta1g.smar.dnsbl import DnsLists
from meta1g.smar.guard import GuardedMap, MapGate
from meta1g.smar.hostconf import HostConf
from meta1g.smar.limits import CLIENT_SHARE, LOOKUP_S, LOOKUPS_MAX, LOOKUPS_WAITING_MAX
from meta1g.smar.recipient import Recipients
from meta1g.smar.relay import RelayRules
from meta1g.smar.route import RouteDefaults, Routes
from meta1g.smar.server import Offload, QmgrService, SmtpsService
from meta1g.smar.turns import Turns
from tests.fakes.mapserver import MapServer
from tests.fakes.rcb_peer import RcbPeer

from .conftest import Heard

DEFAULTS = RouteDefaults(25, "lmtpsock", Path("/q"))


class Services:
    """Both services in one system.  Owner: the test."""

    def __init__(self, asker, path, *, table, access=None, workers=2, queue_max=10_000):
        system = asker.system
        self.path, self.peers = path, []
        self.workers = Workers(workers, name="look-up", log=system.log, queue_max=queue_max)
        self.offload = offload = Offload(self.workers, system.log, Turns(system.evthr, system.log), system.evthr)
        routes = Routes(table, DEFAULTS)
        policy = Policy(routes, RelayRules(["127.0.0.1"], (), (), routes), None if access is None else AccessMap(access, "+"))
        lists = DnsLists(system.evthr, asker.resolver, ())
        smtps = SmtpsService(policy, ClientNames(system.evthr, asker.resolver), lists, offload, system.log)
        conf = None if access is None else HostConf(access, "+", WrongEntries(system.log))
        qmgr = QmgrService(Recipients(routes, None, asker.resolver, "gw.example", system.log), offload, system.log, conf)
        self.service = qmgr
        for name, pair, service in (("smtps", smtps_smar.PROTOCOL, smtps), ("qmgr", qmgr_smar.PROTOCOL, qmgr)):
            RcbListener(system.evthr, path / name, pair, on_connect=service.on_connect, log=system.log)

    def smtps(self):
        self.peers.append(RcbPeer.connect(self.path / "smtps", smtps_smar.PROTOCOL))
        return self.peers[-1]

    def qmgr(self):
        self.peers.append(RcbPeer.connect(self.path / "qmgr", qmgr_smar.PROTOCOL))
        return self.peers[-1]


@pytest.fixture
def make(asker, tmp_path):
    made = []

    def services(**arguments):
        made.append(Services(asker, tmp_path, **arguments))
        return made[-1]

    yield services
    for one in made:
        assert one.workers.close(20)
        for peer in one.peers:
            peer.close()


def rcpt(address="u@far.org"):
    return CheckRcpt(ta_id="S0", rcpt_idx=0, client_addr="127.0.0.1", mail="", rcpt=address)


def resolve(address="u@far.org"):
    return Resolve(ta_id="S0", rcpt_idx=0, rcpt=address)


def test_maps_in_memory_start_no_thread(make):
    services = make(table=StaticMap("mt", {".": "[192.0.2.1]"}))
    for _ in range(20):
        assert services.smtps().request(rcpt()).reply.code == 250
        assert isinstance(services.qmgr().request(resolve()), Route)
    assert not any(thread.name == "look-up" for thread in threading.enumerate())


def test_a_map_server_that_is_slow_holds_up_neither_others_nor_hellos(make):
    gate = threading.Event()

    def answer(text):
        gate.wait(20)
        return "OK [192.0.2.5]"

    with MapServer(answer) as server:
        table = SocketMap("mt", server.target, "mt")
        services = make(table=table)
        qmgr = services.qmgr()
        for number in (1, 2):
            qmgr.send(resolve(f"u@n{number}.org"), number)
        qmgr.send(QmgrHelloA(pid=1), 3)
        number, hello = qmgr.receive()
        assert (number, type(hello)) == (3, SmarHelloQ)
        gate.set()
        replies = dict(qmgr.receive() for _ in range(2))
        assert {number: one.servers[0].addr for number, one in replies.items()} == {1: "192.0.2.5", 2: "192.0.2.5"}
        table.close()


def test_more_look_ups_than_can_wait_are_a_temporary_failure(make):
    gate = threading.Event()

    def answer(text):
        gate.wait(20)
        return "NOTFOUND"

    with MapServer(answer) as server:
        access = SocketMap("a", server.target, "a")
        services = make(table=StaticMap("mt", {}), access=access, workers=1, queue_max=1)
        smtps = services.smtps()
        for number in range(1, 21):
            smtps.send(CheckMail(ta_id="S0", client_addr="127.0.0.1", mail="a@b.org"), number)
        number, refused = smtps.receive()
        assert (refused.reply.code, refused.reply.ecode) == (451, "4.3.0")
        gate.set()
        codes = {number: refused.reply.code} | {number: one.reply.code for number, one in (smtps.receive() for _ in range(19))}
        assert set(codes) == set(range(1, 21))
        assert 250 in codes.values()
        access.close()


class Broken(StaticMap):
    """A map with a bug."""

    def lookup(self, key):
        raise ZeroDivisionError("of the test")


@pytest.mark.parametrize("blocking", [False, True])
def test_a_look_up_with_a_bug_costs_its_own_question_only(make, asker, blocking):
    broken = Broken("b", {})
    broken.blocking = blocking
    services = make(table=broken, access=StaticMap("a", {}))
    smtps, qmgr = services.smtps(), services.qmgr()
    assert smtps.request(rcpt()).reply.code == 451
    assert qmgr.request(resolve()).reply.code == 451
    assert smtps.request(CheckMail(ta_id="S0", client_addr="127.0.0.1", mail="a@b.org")).reply.code == 250
    assert isinstance(qmgr.request(QmgrHelloA(pid=1)), SmarHelloQ)
    assert "ZeroDivisionError" in asker.log


def test_a_client_check_with_a_bug_is_refused_for_now(make):
    verdict = make(table=StaticMap("mt", {}), access=Broken("b", {"cltaddr:x": "ok"})).smtps()
    answer = verdict.request(CheckClient(session_id="S1", client_addr="unix:/x"))
    assert answer.reply.code == 421


def test_a_client_is_known_by_one_form_of_its_address(make, name_server):
    services = make(table=StaticMap("mt", {}), access=StaticMap("a", {"cltaddr:192.0.2.1": "reject"}))
    verdict = services.smtps().request(CheckClient(session_id="S1", client_addr="::ffff:192.0.2.1"))
    assert (verdict.reply.code, verdict.resolve) == (550, ClientResolve.NO_NAME)
    assert name_server.questions("1.2.0.192.in-addr.arpa", "PTR")


def test_many_questions_of_one_connection_are_all_answered(make, name_server):
    for number in range(200):
        name_server.add(f"d{number}.org", "A", f"192.0.2.{number}")
    qmgr = make(table=StaticMap("mt", {})).qmgr()
    for number in range(200):
        qmgr.send(resolve(f"u@d{number}.org"), number + 1)
    replies = dict(qmgr.receive() for _ in range(200))
    assert {number: one.servers[0].addr for number, one in replies.items()} == {n + 1: f"192.0.2.{n}" for n in range(200)}


def test_a_connection_that_goes_away_with_open_questions_harms_nobody(make, name_server):
    services = make(table=StaticMap("mt", {}))
    name_server.add("d.org", "A", "192.0.2.1")
    name_server.hold()
    gone = services.qmgr()
    gone.send(resolve("u@d.org"), 1)
    name_server.wait_for(1)
    gone.close()
    other = services.qmgr()
    other.send(resolve("u@d.org"), 7)
    assert isinstance(other.request(QmgrHelloA(pid=1), 8), SmarHelloQ)
    name_server.release()
    assert other.receive()[0] == 7


def test_an_offload_answers_at_once_if_nothing_blocks():
    workers, done = Workers(1), Heard()
    offload = Offload(workers, None)
    offload.run(lambda: done("here"), done, blocking=False, source=None, asker="")
    assert done.came
    assert workers.close(5)


def test_a_map_server_that_hangs_holds_up_questions_to_it_and_no_others(make, asker):
    gate = threading.Event()

    def hang(text):
        gate.wait(20)
        return "OK [192.0.2.5]"

    with MapServer(hang) as hung, MapServer(lambda text: "NOTFOUND") as healthy:
        table = GuardedMap(SocketMap("mt", hung.target, "mt"), "", asker.system.log)
        access = GuardedMap(SocketMap("a", healthy.target, "a"), "", asker.system.log)
        services = make(table=table, access=access, workers=LOOKUPS_MAX + 2)
        qmgr, smtps = services.qmgr(), services.smtps()
        for number in range(1, 101):
            qmgr.send(resolve(f"u@n{number}.org"), number)
        for _ in range(20):
            assert smtps.request(CheckMail(ta_id="S0", client_addr="127.0.0.1", mail="a@b.org")).reply.code == 250
        assert len(hung.requests) <= LOOKUPS_MAX
        gate.set()
        replies = dict(qmgr.receive() for _ in range(100))
        assert {one.servers[0].addr for one in replies.values()} == {"192.0.2.5"}
        table.close()
        access.close()


def test_more_questions_than_can_wait_for_a_map_are_a_temporary_failure(make, asker, monkeypatch):
    gate = threading.Event()

    def hang(text):
        gate.wait(20)
        return "OK [192.0.2.5]"

    with MapServer(hang) as hung:
        table = GuardedMap(SocketMap("mt", hung.target, "mt"), "", asker.system.log)
        table._gate = MapGate(LOOKUPS_MAX, 10)
        qmgr = make(table=table, workers=LOOKUPS_MAX + 2).qmgr()
        for number in range(1, 51):
            qmgr.send(resolve(f"u{number}@hung.org"), number)
        held = (LOOKUPS_MAX * 3 // 4) + 5  # the share of one destination, of those at a time and of those that wait
        refused = [qmgr.receive()[1] for _ in range(50 - held)]
        assert {(one.reply.code, one.reply.ecode) for one in refused} == {(451, "4.3.0")}
        gate.set()
        assert all(isinstance(qmgr.receive()[1], Route) for _ in range(held))
        table.close()


def test_a_client_that_asks_all_the_time_does_not_use_up_a_slow_map(make, asker):
    gate = threading.Event()

    def hang(text):
        gate.wait(20)
        return "NOTFOUND"

    def mail(client):
        return CheckMail(ta_id="S0", client_addr=client, mail="a@b.org")

    with MapServer(hang) as hung:
        access = GuardedMap(SocketMap("a", hung.target, "a"), "", asker.system.log)
        services = make(table=StaticMap("mt", {}), access=access, workers=LOOKUPS_MAX + 2)
        greedy, other = services.smtps(), services.smtps()
        count = LOOKUPS_WAITING_MAX + 100
        for number in range(1, count + 1):
            greedy.send(mail(f"2001:db8::{number:x}"), number)
        assert greedy.receive()[1].reply.code == 451  # its share is used up
        for number in (1, 2):
            other.send(mail("192.0.2.1"), number)
        greedy.send(mail("2001:db8::1"), count + 1)  # has been read when the last of them is refused
        while greedy.receive()[0] != count + 1:
            pass
        gate.set()
        assert {other.receive()[1].reply.code for _ in range(2)} == {250}
        access.close()


def test_a_look_up_that_takes_too_long_is_answered_once_for_now(make, asker):
    gate = threading.Event()

    def hang(text):
        gate.wait(20)
        return "OK [192.0.2.5]"

    with MapServer(hang) as hung:
        table = GuardedMap(SocketMap("mt", hung.target, "mt"), "", asker.system.log)
        services = make(table=table, workers=LOOKUPS_MAX + 2)
        qmgr = services.qmgr()
        for number in range(1, 21):
            qmgr.send(resolve(f"u@n{number}.org"), number)
        assert isinstance(qmgr.request(QmgrHelloA(pid=1), 99), SmarHelloQ)
        asker.clock.ahead_s = LOOKUP_S + 1
        asker.system.evthr.wakeup(services.offload._late._task)
        late = dict(qmgr.receive() for _ in range(20))
        assert set(late) == set(range(1, 21))
        assert {one.reply.code for one in late.values()} == {451}
        gate.set()
        assert isinstance(qmgr.request(QmgrHelloA(pid=1), 100), SmarHelloQ)  # and nothing else came
        assert isinstance(qmgr.request(resolve("u@after.org"), 101), Route)
        table.close()


def test_an_answer_that_cannot_be_sent_is_a_temporary_failure(make):
    routed = make(table=StaticMap("mt", {".": "lmtp:/\udce9"})).qmgr()
    assert routed.request(resolve()).reply.code == 451
    assert isinstance(routed.request(QmgrHelloA(pid=1)), SmarHelloQ)


def test_a_contained_failure_is_told_to_qmgr(make):
    services = make(table=StaticMap("mt", {}))
    qmgr, gone = services.qmgr(), services.qmgr()
    for peer in (qmgr, gone):
        assert isinstance(peer.request(QmgrHelloA(pid=1)), SmarHelloQ)
    gone.close()
    services.service.contained(3, "smar.look_up: ValueError: caf\udce9")
    assert qmgr.receive()[1] == SmarContained(count=3, last="smar.look_up: ValueError: caf?")


def test_one_client_has_its_share_of_the_searches(make, name_server):
    services = make(table=StaticMap("mt", {}), access=StaticMap("a", {}))
    name_server.hold()
    smtps = services.smtps()
    for number in range(1, CLIENT_SHARE + 11):
        smtps.send(CheckClient(session_id="S1", client_addr=f"2001:db8::{number:x}"), number)
    refused = [smtps.receive()[1] for _ in range(10)]
    assert {one.resolve for one in refused} == {ClientResolve.TEMP}
    smtps.send(CheckClient(session_id="S1", client_addr="192.0.2.1"), 999)
    name_server.wait_for(CLIENT_SHARE + 1)
    name_server.release()
    replies = dict(smtps.receive() for _ in range(CLIENT_SHARE + 1))
    assert replies[999].resolve == ClientResolve.NO_NAME
    assert smtps.request(CheckClient(session_id="S1", client_addr="2001:db8::1")).resolve == ClientResolve.NO_NAME


RULES = {"smtpc_session_conf:192.0.2.1": "dot_timeout = 1m;", "smtpc_rcpt_conf:secret@far.org": "tls_requirements { }"}


@pytest.mark.parametrize("blocking", [False, True])
def test_a_route_brings_what_the_access_map_says_about_its_servers_and_the_recipient(make, blocking):
    rules = StaticMap("a", RULES)
    rules.blocking = blocking
    qmgr = make(table=StaticMap("mt", {".": "[192.0.2.1] [192.0.2.2]"}), access=rules).qmgr()
    assert [one.conf for one in qmgr.request(resolve()).servers] == ["dot_timeout = 1m;", ""]
    assert [qmgr.request(resolve(one)).rcpt_conf for one in ("secret@far.org", "open@far.org")] == ["tls_requirements { }", ""]


@pytest.mark.parametrize(("access", "by_domain"), [(None, True), (StaticMap("a", {}), False)])
def test_recipients_of_a_domain_are_asked_for_together_only_if_no_rule_can_tell_them_apart(make, access, by_domain):
    qmgr = make(table=StaticMap("mt", {".": "[192.0.2.1]"}), access=access).qmgr()
    assert qmgr.request(QmgrHelloA(pid=1)) == SmarHelloQ(by_domain=by_domain)
