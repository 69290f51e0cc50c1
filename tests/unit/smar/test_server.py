"""The two services over real sockets: what answers at once, what goes to a worker, what happens when things fail."""

import threading
from pathlib import Path

import pytest

from meta1g.maps.sockmap import SocketMap
from meta1g.maps.static import StaticMap
from meta1g.pt.rcbcom import RcbListener
from meta1g.pt.workers import Workers
from meta1g.rcb import qmgr_smar, smtps_smar
from meta1g.rcb.qmgr_smar import QmgrHelloA, Resolve, Route, SmarHelloQ
from meta1g.rcb.smtps_smar import CheckClient, CheckMail, CheckRcpt, ClientResolve
from meta1g.smar.access import AccessMap
from meta1g.smar.checks import Policy
from meta1g.smar.clientname import ClientNames
from meta1g.smar.dnsbl import DnsLists
from meta1g.smar.recipient import Recipients
from meta1g.smar.relay import RelayRules
from meta1g.smar.route import RouteDefaults, Routes
from meta1g.smar.server import Offload, QmgrService, SmtpsService
from tests.fakes.mapserver import MapServer
from tests.fakes.rcb_peer import RcbPeer

from .conftest import Reply

DEFAULTS = RouteDefaults(25, "lmtpsock", Path("/q"))


class Services:
    """Both services in one system.  Owner: the test."""

    def __init__(self, asker, path, *, table, access=None, workers=2, queue_max=10_000):
        system = asker.system
        self.path, self.peers = path, []
        self.workers = Workers(workers, name="look-up", log=system.log, queue_max=queue_max)
        offload = Offload(self.workers, system.log)
        routes = Routes(table, DEFAULTS)
        policy = Policy(routes, RelayRules(["127.0.0.1"], (), (), routes), None if access is None else AccessMap(access, "+"))
        lists = DnsLists(system.evthr, asker.resolver, ())
        smtps = SmtpsService(policy, ClientNames(system.evthr, asker.resolver), lists, offload, system.log)
        qmgr = QmgrService(Recipients(routes, None, asker.resolver, "gw.example"), offload, system.log)
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
    before = threading.active_count()
    for _ in range(20):
        assert services.smtps().request(rcpt()).code == 250
        assert isinstance(services.qmgr().request(resolve()), Route)
    assert threading.active_count() <= before


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
        assert qmgr.receive() == (3, SmarHelloQ())
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
        assert (refused.code, refused.ecode) == (451, "4.3.0")
        gate.set()
        codes = {number: refused.code} | {number: reply.code for number, reply in (smtps.receive() for _ in range(19))}
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
    assert smtps.request(rcpt()).code == 451
    assert qmgr.request(resolve()).code == 451
    assert smtps.request(CheckMail(ta_id="S0", client_addr="127.0.0.1", mail="a@b.org")).code == 250
    assert qmgr.request(QmgrHelloA(pid=1)) == SmarHelloQ()
    assert "ZeroDivisionError" in asker.log


def test_a_client_check_with_a_bug_is_refused_for_now(make):
    verdict = make(table=StaticMap("mt", {}), access=Broken("b", {})).smtps()
    reply = verdict.request(CheckClient(session_id="S1", client_addr="unix:/x"))
    assert reply.code == 421


def test_a_client_is_known_by_one_form_of_its_address(make, name_server):
    services = make(table=StaticMap("mt", {}), access=StaticMap("a", {"cltaddr:192.0.2.1": "reject"}))
    verdict = services.smtps().request(CheckClient(session_id="S1", client_addr="::ffff:192.0.2.1"))
    assert (verdict.code, verdict.resolve) == (550, ClientResolve.NO_NAME)
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
    assert other.request(QmgrHelloA(pid=1), 8) == SmarHelloQ()
    name_server.release()
    assert other.receive()[0] == 7


def test_an_offload_answers_at_once_if_nothing_blocks():
    workers, done = Workers(1), Reply()
    offload = Offload(workers, None)
    offload.run(lambda: done("here"), done, blocking=False)
    assert done.came
    assert workers.close(5)
