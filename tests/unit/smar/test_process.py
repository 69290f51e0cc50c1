"""The program, run as mcp runs it, asked over its real sockets."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contrib.lib.gateway import wait_until
from meta1g.db.mapfile import MapFile
from meta1g.rcb import qmgr_smar, smtps_smar
from meta1g.rcb.common import DeliveryAgent, ServerAddr
from meta1g.rcb.qmgr_smar import Members, QmgrHelloA, Resolve, ResolveFlags, Route, SmarHelloQ, Unresolved
from meta1g.rcb.smtps_smar import (
    CheckClient,
    CheckMail,
    CheckRcpt,
    Checks,
    ClientResolve,
    FindUser,
    LookupFlags,
    SmarHello,
    SmtpsHelloA,
    VerdictFlags,
)
from tests.fakes.nameserver import DROP, NameServer
from tests.fakes.rcb_peer import RcbPeer

DEADLINE_S = 20


class SmarProcess:
    """One smar with a configuration of its own.  Owner: the test."""

    def __init__(self, directory: Path) -> None:
        self.queue = directory / "q"
        (self.queue / "smar").mkdir(parents=True)
        self.etc = directory / "etc"
        self.etc.mkdir()
        self.conf = self.etc / "meta1.conf"
        self.log = directory / "log"
        self.process: subprocess.Popen | None = None

    def map(self, name: str, entries: dict[str, str]) -> None:
        MapFile.build(self.etc / name, [(key.encode(), value.encode()) for key, value in entries.items()])

    def configure(self, smar: str, glob: str = "") -> None:
        self.conf.write_text(
            f'log_level = 20; queue_directory = "{self.queue}"; hostname = "gateway.example";\n'
            f'log {{ file = "{self.log}"; }}\n{glob}\nsmar {{ {smar} }}\n'
        )

    def start(self, smar: str, glob: str = "") -> None:
        self.configure(smar, glob)
        ready, told = os.pipe()
        environment = {**os.environ, "META1G_READY_FD": str(told)}
        command = [sys.executable, "-m", "meta1g.smar.main", "-f", str(self.conf)]
        self.process = subprocess.Popen(command, env=environment, pass_fds=[told], stderr=subprocess.PIPE, text=True)
        os.close(told)
        byte = os.read(ready, 1)
        os.close(ready)
        assert byte == b"1", self.process.communicate(timeout=DEADLINE_S)[1]

    def stop(self) -> int:
        assert self.process is not None
        process, self.process = self.process, None
        process.send_signal(signal.SIGTERM)
        try:
            _, errors = process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        assert errors == ""
        return process.returncode

    def smtps(self) -> RcbPeer:
        return RcbPeer.connect(self.queue / "smar" / "smtps", smtps_smar.PROTOCOL)

    def qmgr(self) -> RcbPeer:
        return RcbPeer.connect(self.queue / "smar" / "qmgr", qmgr_smar.PROTOCOL)


@pytest.fixture
def smar(tmp_path) -> Iterator[SmarProcess]:
    process = SmarProcess(tmp_path)
    yield process
    if process.process is not None:
        assert process.stop() == 0


@pytest.fixture
def connect(smar) -> Iterator[Callable[[str], RcbPeer]]:
    peers: list[RcbPeer] = []

    def open_peer(which: str) -> RcbPeer:
        peers.append(getattr(smar, which)())
        return peers[-1]

    yield open_peer
    for peer in peers:
        peer.close()


def rcpt(address: str, *, client: str = "127.0.0.1", mail: str = "a@sender.example", flags: int = 0) -> CheckRcpt:
    return CheckRcpt(ta_id="S0", rcpt_idx=0, client_addr=client, mail=mail, rcpt=address, flags=flags)


def resolve(address: str, flags: int = 0) -> Resolve:
    return Resolve(ta_id="S0", rcpt_idx=0, rcpt=address, flags=flags)


GATEWAY = 'mailertable { file = "mailertable.db"; } relay_from = { 127.0.0.1 };'


def test_a_gateway_is_served(smar, connect):
    smar.map("mailertable.db", {".": "2526^[127.0.0.1]", "local.example": "lmtp:"})
    smar.start(GATEWAY)
    smtps, qmgr = connect("smtps"), connect("qmgr")
    assert smtps.request(SmtpsHelloA(smtps_id=0, name="MTA")) == SmarHello(checks=int(Checks.RCPT))
    assert qmgr.request(QmgrHelloA(pid=1)) == SmarHelloQ(by_domain=True)
    assert smtps.request(rcpt("b@far.example")).reply.code == 250
    refused = smtps.request(rcpt("b@far.example", client="192.0.2.1"))
    assert (refused.reply.code, refused.reply.ecode) == (550, "5.7.1")
    verdict = smtps.request(rcpt("b@local.example", client="192.0.2.1"))
    assert (verdict.reply.code, verdict.flags) == (250, VerdictFlags.LOCAL)
    route = qmgr.request(resolve("b@far.example"))
    assert isinstance(route, Route)
    assert (route.da, [(one.addr, one.port) for one in route.servers]) == (DeliveryAgent.ESMTP, [("127.0.0.1", 2526)])
    local = qmgr.request(resolve("b@local.example"))
    assert (local.da, local.servers[0].addr) == (DeliveryAgent.LMTP, f"unix:{smar.queue}/lmtpsock")


def test_sigterm_ends_it_with_exit_code_0_and_removes_its_sockets(smar, connect):
    smar.map("mailertable.db", {".": "[127.0.0.1]"})
    smar.start(GATEWAY)
    peer = connect("smtps")
    peer.request(SmtpsHelloA(smtps_id=0))
    assert smar.stop() == 0
    with pytest.raises(EOFError):
        peer.receive()
    assert list((smar.queue / "smar").iterdir()) == []
    assert "stopped" in smar.log.read_text()


def test_sockets_are_for_owner_and_group_only(smar):
    smar.start("relay_from = { 127.0.0.1 };")
    assert {oct(path.stat().st_mode & 0o777) for path in (smar.queue / "smar").iterdir()} == {"0o660"}


def test_sigusr1_opens_the_log_anew(smar, connect):
    smar.start("relay_from = { 127.0.0.1 };")
    smar.log.rename(smar.log.with_suffix(".old"))
    smar.process.send_signal(signal.SIGUSR1)
    end_s = time.monotonic() + DEADLINE_S
    while not smar.log.exists() and time.monotonic() < end_s:
        connect("smtps").request(SmtpsHelloA(smtps_id=0))
    connect("smtps").request(SmtpsHelloA(smtps_id=7, name="after"))
    wait_until(lambda: "name=after" in smar.log.read_text(), DEADLINE_S, "lines of a turn are written when it ends")


def test_the_end_of_mcp_ends_it(smar):
    alive, held = os.pipe()
    smar.configure("relay_from = { 127.0.0.1 };")
    process = subprocess.Popen(
        [sys.executable, "-m", "meta1g.smar.main", "-f", str(smar.conf)],
        env={**os.environ, "META1G_ALIVE_FD": str(alive)},
        pass_fds=[alive],
    )
    os.close(alive)
    os.close(held)
    assert process.wait(DEADLINE_S) == 0


def run_to_its_end(smar: SmarProcess) -> tuple[int, str]:
    command = [sys.executable, "-m", "meta1g.smar.main", "-f", str(smar.conf)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    return result.returncode, result.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('mailertable { file = "none.db"; }', "none.db: map file is missing; make it with createmap"),
        ('access_map { file = "none.cidr"; type = cidr; }', "none.cidr: cannot read map: No such file or directory"),
        ('map m { type = regex; file = "/dev/null/x"; }', "/dev/null/x: cannot read map: Not a directory"),
    ],
)
def test_what_cannot_work_is_said_in_one_line_at_the_start(smar, text, expected):
    smar.configure(text)
    code, errors = run_to_its_end(smar)
    assert code == 78
    assert expected in errors
    assert errors.count("\n") == 1


def test_a_second_one_does_not_start(smar):
    smar.start("relay_from = { 127.0.0.1 };")
    code, errors = run_to_its_end(smar)
    assert code == 78
    assert "another process listens" in errors


def test_a_stale_socket_is_replaced(smar, connect):
    smar.start("relay_from = { 127.0.0.1 };")
    smar.process.kill()
    smar.process.communicate()
    smar.process = None
    smar.start("relay_from = { 127.0.0.1 };")
    assert connect("qmgr").request(QmgrHelloA(pid=1)) == SmarHelloQ(by_domain=True)


def test_aliases_and_access_map_from_the_configuration(smar, connect):
    smar.map(
        "access.db", {"cltaddr:192.0.2": "reject", "from:spam.example": 'error:"554 5.7.1 no spam"', "to:closed@": "reject"}
    )
    smar.map("aliases.db", {"list": "a@far.example b", "owner-list": "boss@local.example"})
    smar.map("mailertable.db", {"local.example": "lmtp:", "far.example": "[192.0.2.25]"})
    smar.start(
        'nameserver { address = 127.0.0.1; port = 9; } access_map { file = "access.db"; }'
        'mailertable { file = "mailertable.db"; }'
        'aliases { file = "aliases.db"; flags = { localpart, local_domains }; } DNS_timeout = 1; DNS_tries = 1;'
    )
    smtps, qmgr = connect("smtps"), connect("qmgr")
    assert smtps.request(SmtpsHelloA(smtps_id=0)).checks == Checks.CLIENT | Checks.MAIL | Checks.RCPT
    client = smtps.request(CheckClient(session_id="S1", client_addr="192.0.2.77"))
    assert (client.reply.code, client.resolve) == (550, ClientResolve.TEMP)
    assert smtps.request(CheckMail(ta_id="S2", client_addr="192.0.3.1", mail="x@spam.example")).reply.text == "no spam"
    assert smtps.request(rcpt("closed@local.example")).reply.code == 550
    members = qmgr.request(resolve("list@local.example"))
    assert members == Members(members=("a@far.example", "b@local.example"), owner="boss@local.example")
    plain = qmgr.request(resolve("list@local.example", ResolveFlags.NO_ALIAS))
    assert isinstance(plain, Route)


def test_routes_come_from_the_dns_if_no_entry_says_otherwise(smar, connect):
    with NameServer() as server:
        server.add("far.example", "MX", "10 mx.far.example.")
        server.add("mx.far.example", "A", "192.0.2.10", ttl=77)
        smar.start(f"nameserver {{ address = 127.0.0.1; port = {server.port}; }}")
        qmgr = connect("qmgr")
        route = qmgr.request(resolve("b@far.example"))
        expected = ServerAddr(addr="192.0.2.10", port=25, pref=10, ttl_s=77, host="mx.far.example")
        assert route == Route(da=DeliveryAgent.ESMTP, servers=(expected,))
        nowhere = qmgr.request(resolve("b@none.example"))
        assert isinstance(nowhere, Unresolved)
        assert (nowhere.reply.code, nowhere.reply.ecode) == (550, "5.1.2")


def test_a_slow_answer_does_not_hold_up_the_others(smar, connect):
    with NameServer() as server:
        server.script("slow.example", "MX", DROP)
        smar.map("mailertable.db", {"quick.example": "[192.0.2.1]"})
        smar.start(f'nameserver {{ address = 127.0.0.1; port = {server.port}; }} mailertable {{ file = "mailertable.db"; }}')
        qmgr = connect("qmgr")
        qmgr.send(resolve("b@slow.example"), 1)
        server.wait_for(1)
        qmgr.send(resolve("b@quick.example"), 2)
        assert qmgr.receive()[0] == 2


def test_a_question_is_asked_as_often_and_waits_as_long_as_the_configuration_says(smar, connect):
    with NameServer() as server:
        server.script("far.example", "MX", *[DROP] * 9)
        smar.start(f"nameserver {{ address = 127.0.0.1; port = {server.port}; }} DNS_timeout = 1s; DNS_tries = 2;")
        qmgr = connect("qmgr")
        began = time.monotonic()
        assert qmgr.request(resolve("b@far.example")).reply.code == 451
        assert 1.9 < time.monotonic() - began < 5  # by default 15 s
        assert len(server.asked) == 2


def test_passwords_come_from_the_map_that_is_named(smar, connect):
    (smar.etc / "users").write_text("ann {EXTERNAL}\n")
    smar.start("map table { type = text; file = users; } password_map { name = table; }")
    smtps = connect("smtps")
    assert smtps.request(SmtpsHelloA(smtps_id=0)).checks == Checks.RCPT
    assert smtps.request(FindUser(name="ann")).stored == "{EXTERNAL}"
    assert smtps.request(FindUser(name="bob")).reply.code == 550


def test_a_client_name_is_found_and_confirmed(smar, connect):
    with NameServer() as server:
        server.add("1.2.0.192.in-addr.arpa", "PTR", "mail.far.example.")
        server.add("mail.far.example", "A", "192.0.2.1")
        smar.map("access.db", {"cltname:.far.example": "relay"})
        smar.start(f'nameserver {{ address = 127.0.0.1; port = {server.port}; }} access_map {{ file = "access.db"; }}')
        verdict = connect("smtps").request(CheckClient(session_id="S1", client_addr="192.0.2.1"))
        assert (verdict.reply.code, verdict.client_name, verdict.flags) == (220, "mail.far.example", VerdictFlags.RELAY)


def test_names_of_clients_are_found_without_access_map_if_wanted(smar, connect):
    with NameServer() as server:
        server.add("1.2.0.192.in-addr.arpa", "PTR", "mail.far.example.")
        server.add("mail.far.example", "A", "192.0.2.1")
        smar.start(f"nameserver {{ address = 127.0.0.1; port = {server.port}; }} DNS_flags = {{ client_names }};")
        smtps = connect("smtps")
        assert smtps.request(SmtpsHelloA(smtps_id=0)).checks == Checks.CLIENT | Checks.RCPT
        assert smtps.request(CheckClient(session_id="S1", client_addr="192.0.2.1")).client_name == "mail.far.example"


def test_a_listed_client_is_refused(smar, connect):
    with NameServer() as server:
        server.add("1.2.0.192.bl.example", "A", "127.0.0.2")
        smar.map("access.db", {"dnsbl0:127.0.0.2": "error:554 5.7.1 see bl.example"})
        smar.start(
            f"nameserver {{ address = 127.0.0.1; port = {server.port}; }} dnsbl {{ zone = bl.example; }}"
            'access_map { file = "access.db"; }'
        )
        smtps = connect("smtps")
        verdict = smtps.request(CheckClient(session_id="S1", client_addr="192.0.2.1"))
        assert (verdict.reply.code, verdict.reply.text) == (554, "see bl.example")
        assert smtps.request(CheckClient(session_id="S2", client_addr="192.0.2.2")).reply.code == 220


def test_a_changed_mailertable_counts_without_a_restart(smar, connect):
    smar.map("mailertable.db", {".": "[192.0.2.1]"})
    smar.start(GATEWAY)
    qmgr = connect("qmgr")
    assert qmgr.request(resolve("b@far.example")).servers[0].addr == "192.0.2.1"
    smar.map("mailertable.db", {".": "[192.0.2.2]"})
    end_s = time.monotonic() + DEADLINE_S
    while qmgr.request(resolve("b@far.example")).servers[0].addr != "192.0.2.2":
        assert time.monotonic() < end_s, "the change was not noticed"


@pytest.mark.parametrize("garbage", [b"\0" * 64, b"\xff" * 64, b"EHLO me\r\n" * 9])
def test_nonsense_closes_its_own_connection_only(smar, connect, garbage):
    smar.start("relay_from = { 127.0.0.1 };")
    good, bad = connect("smtps"), connect("smtps")
    bad.sock.sendall(garbage)
    with pytest.raises((EOFError, ConnectionResetError)):
        bad.receive()
    assert good.request(rcpt("b@far.example")).reply.code == 250


def test_authenticated_clients_may_relay(smar, connect):
    smar.start("relay_to = { .ours.example };")
    smtps = connect("smtps")
    assert smtps.request(rcpt("b@far.example", client="192.0.2.1")).reply.code == 550
    assert smtps.request(rcpt("b@far.example", client="192.0.2.1", flags=LookupFlags.AUTHENTICATED)).reply.code == 250
    assert smtps.request(rcpt("b@x.ours.example", client="192.0.2.1")).reply.code == 250
