"""Mail finds its way by the MX records of a real name server (Debian's nsd)."""

import email
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query
import pytest

from contrib.lib.gateway import Gateway, free_port, wait_until
from tests.system.conftest import FAST_RETRY, KeepingSink, mailq, running, send

pytestmark = pytest.mark.system

ZONE = """\
$TTL 300
@            IN SOA   ns hostmaster 1 3600 600 86400 60
             IN NS    ns
ns           IN A     127.0.0.1
two          IN MX    10 first
             IN MX    20 second
equal        IN MX    10 first
             IN MX    10 second
several      IN MX    10 several-hosts
six          IN MX    10 six-host
both         IN MX    10 both-host
alias        IN CNAME two
plain        IN A     127.0.0.3
null         IN MX    0 .
nowhere      IN MX    10 no-such-host
empty        IN TXT   "neither mail server nor address"
first        IN A     127.0.0.2
second       IN A     127.0.0.3
several-hosts IN A    127.0.0.4
             IN A     127.0.0.5
             IN A     127.0.0.3
six-host     IN AAAA  ::1
both-host    IN AAAA  ::1
             IN A     127.0.0.3
loop-name    IN MX    10 localhost.
loop-addr    IN MX    10 127.0.0.1.
loop-zero    IN MX    10 zero-host
zero-host    IN A     0.0.0.0
loop-alias   IN MX    10 our-other-name
our-other-name IN A   127.0.0.1
loop-plain   IN A     127.0.0.1
backup       IN MX    10 down-host
             IN MX    20 our-other-name
             IN MX    30 first
down-host    IN A     127.0.0.4
"""
DOMAINS = ("two", "equal", "several", "six", "both", "alias", "plain", "null", "nowhere", "empty", "missing")
NSD = """\
server:
  ip-address: 127.0.0.1@{port}
  username: ""
  chroot: ""
  zonesdir: "{directory}"
  database: ""
  pidfile: "{directory}/pid"
  zonelistfile: "{directory}/zone.list"
  xfrdfile: "{directory}/xfrd.state"
  logfile: "{directory}/log"
remote-control:
  control-enable: no
zone:
  name: example
  zonefile: zone
zone:
  name: broken.test
  zonefile: not-there
"""


@pytest.fixture(scope="module")
def nsd(tmp_path_factory) -> Iterator[int]:
    """nsd with the zone example, and with a zone that it cannot load, which it answers with SERVFAIL; gives its port."""
    program = shutil.which("nsd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    assert program is not None, "nsd is missing: apt-get install nsd"
    directory: Path = tmp_path_factory.mktemp("nsd")
    port = free_port()
    (directory / "zone").write_text(ZONE)
    (directory / "nsd.conf").write_text(NSD.format(port=port, directory=directory))
    process = subprocess.Popen([program, "-d", "-c", str(directory / "nsd.conf")], stderr=subprocess.DEVNULL)

    def answers() -> bool:
        assert process.poll() is None, (directory / "log").read_text()
        try:
            dns.query.udp(dns.message.make_query("two.example", "MX"), "127.0.0.1", 1, port=port)
        except (OSError, dns.exception.DNSException):
            return False
        return True

    wait_until(answers, 20, "an answer of nsd")
    yield port
    process.terminate()
    process.wait(10)


class Farm:
    """A gateway that asks nsd, and servers on one port of several addresses; 127.0.0.4 and 127.0.0.5 are always down."""

    def __init__(self, directory: Path, nsd: int, *up: str) -> None:
        port = free_port("127.0.0.3")
        self.sinks = {address: KeepingSink(directory / f"sink-{address}", listen=f"{address}:{port}") for address in up}
        back = next(iter(self.sinks))
        domains = [*(f"{name}.example" for name in DOMAINS), "some.broken.test"]
        table = [f"{domain} {port}^{domain}" for domain in domains]
        table.append(f"back.example {port}^[{back}]")
        smar = f"nameserver {{ address = 127.0.0.1; port = {nsd}; }} DNS_timeout = 2s; DNS_tries = 2;"
        self.gateway = Gateway(directory / "gateway", "\n".join(table), {"qmgr": FAST_RETRY, "smar": smar})
        self.back = self.sinks[back]

    def __enter__(self) -> "Farm":
        self._running = running(self.gateway)
        self._running.__enter__()
        return self

    def __exit__(self, *exc) -> None:
        try:
            self._running.__exit__(*exc)
        finally:
            for sink in self.sinks.values():
                sink.stop()

    def bounce(self, rcpt: str) -> dict[str, str]:
        """Sends a message that is returned and gives the fields of the report about its recipient."""
        send(self.gateway, [rcpt])
        envelope = self.back.wait_for(1)[0]
        self.gateway.wait_empty()
        assert (envelope["mail"], envelope["rcpts"]) == ("", ["sender@back.example"])
        report = email.message_from_bytes(self.back.content(envelope)).get_payload()[1]
        fields = report.get_payload()[1]
        assert fields["Final-Recipient"] == f"rfc822; {rcpt}"
        assert fields["Action"] == "failed"
        return dict(fields.items())


def came(sink: KeepingSink) -> list[str]:
    return [rcpt for envelope in sink.envelopes() for rcpt in envelope["rcpts"]]


def test_the_server_of_the_first_preference_gets_the_mail(tmp_path, nsd):
    with Farm(tmp_path, nsd, "127.0.0.2", "127.0.0.3") as farm:
        rcpts = [f"r{number}@{name}.example" for number in range(5) for name in ("two", "alias")]
        send(farm.gateway, rcpts)
        wait_until(lambda: len(came(farm.sinks["127.0.0.2"])) == len(rcpts), 30, "all at the first server")
        farm.gateway.wait_empty()
        assert came(farm.sinks["127.0.0.3"]) == []


def test_servers_of_equal_preference_share_the_mail(tmp_path, nsd):
    with Farm(tmp_path, nsd, "127.0.0.2", "127.0.0.3") as farm:
        first, second = farm.sinks.values()
        for number in range(40):  # all of one side: once in 2 ** 39 runs
            send(farm.gateway, [f"r{number}@equal.example"])
        wait_until(lambda: len(came(first)) + len(came(second)) == 40, 30, "all of them")
        assert came(first)
        assert came(second)
        farm.gateway.wait_empty()


@pytest.mark.parametrize("name", ["two", "equal", "several", "plain"])
def test_another_server_gets_the_mail_if_one_is_down(tmp_path, nsd, name):
    with Farm(tmp_path, nsd, "127.0.0.3") as farm:
        send(farm.gateway, [f"r@{name}.example"])
        assert farm.sinks["127.0.0.3"].wait_for(1)[0]["rcpts"] == [f"r@{name}.example"]
        farm.gateway.wait_empty()
        assert "defer" not in log_of(farm.gateway, f"r@{name}.example")


def log_of(gateway: Gateway, rcpt: str) -> str:
    """Gives the lines of qmgr about a recipient."""
    return "\n".join(line for line in gateway.log.read_text().splitlines() if " qmgr[" in line and rcpt in line)


@pytest.mark.parametrize("name", ["six", "both"])
def test_a_server_is_reached_by_ipv6(tmp_path, nsd, name):
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no ::1")
    with Farm(tmp_path, nsd, "::1") as farm:
        send(farm.gateway, [f"r@{name}.example"])
        assert farm.sinks["::1"].wait_for(1)[0]["rcpts"] == [f"r@{name}.example"]
        farm.gateway.wait_empty()


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("null", "5.1.10", "Domain accepts no mail (null MX)"),
        ("missing", "5.1.2", "host not found"),
        ("nowhere", "5.1.2", "no-such-host.example: host not found"),
        ("empty", "5.1.2", "no mail server and no address"),
    ],
)
def test_mail_for_a_domain_that_takes_none_is_returned(tmp_path, nsd, name, status, text):
    with Farm(tmp_path, nsd, "127.0.0.3") as farm:
        fields = farm.bounce(f"r@{name}.example")
    assert fields["Status"] == status
    assert text in fields["Diagnostic-Code"]


def test_mail_for_a_domain_whose_name_server_fails_waits(tmp_path, nsd):
    with Farm(tmp_path, nsd, "127.0.0.3") as farm:
        send(farm.gateway, ["r@some.broken.test", "r@plain.example"])
        assert farm.sinks["127.0.0.3"].wait_for(1)[0]["rcpts"] == ["r@plain.example"]
        wait_until(lambda: farm.gateway.leftovers().get("defedb") == 1, 30, "one recipient in DEFEDB")
        wait_until(lambda: "451 4.4.3" in mailq(farm.gateway), 30, "status 4.4.3")
        assert "some.broken.test" in mailq(farm.gateway)


LOOPS = [*(f"r@loop-{name}.example" for name in ("name", "addr", "zero", "alias", "plain")), "r@[127.0.0.1]", "r@[0.0.0.0]"]


def statuses(sink: KeepingSink) -> dict[str, str]:
    """Gives the status of each recipient that reports tell of."""
    reports = [email.message_from_bytes(sink.content(envelope)).get_payload()[1] for envelope in sink.envelopes()]
    groups = [group for report in reports for group in report.get_payload()[1:]]
    return {group["Final-Recipient"].removeprefix("rfc822; "): group["Status"] for group in groups}


def test_mail_that_would_come_back_is_accepted_once_and_returned(tmp_path, nsd):
    """RFC 5321 5.1: the gateway knows itself by address and port, whatever name leads there; a backup waits for its primary."""
    sink, port = KeepingSink(tmp_path / "maildir"), free_port()
    smar = f"nameserver {{ address = 127.0.0.1; port = {nsd}; }}"
    options = {"qmgr": FAST_RETRY, "smar": smar, "smtpc": f"remote_port = {port};"}
    try:
        with running(Gateway(tmp_path / "gateway", f"back.example {sink.port}^[127.0.0.1]", options, port=port)) as gateway:
            send(gateway, [*LOOPS, "r@backup.example"])
            wait_until(lambda: len(statuses(sink)) == len(LOOPS), 60, "reports about all of them")
            assert statuses(sink) == dict.fromkeys(LOOPS, "5.4.6")
            wait_until(lambda: "connecting" in mailq(gateway), 30, "the backup's primary was tried")
            assert gateway.leftovers()["cdb"] == 1
            assert gateway.log.read_text().count("func=smtps.message") == 1
    finally:
        sink.stop()
