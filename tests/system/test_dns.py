"""Mail finds its way by the MX records of a real name server (Debian's nsd)."""

import email
import re
import shutil
import smtplib
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import dns.message
import dns.query
import pytest

from contrib.lib.gateway import Gateway, free_port, wait_until
from tests.system.conftest import FAST_RETRY, HEADER, KeepingSink, mailq, running, send

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("dns")]

#: Servers run on one port of 127.0.0.2, .3, .9, .10 and ::1; the other addresses are always down, each domain has its own.
ZONE = """\
$TTL 300
@            IN SOA   ns hostmaster 1 3600 600 86400 60
             IN NS    ns
ns           IN A     127.0.0.1
two          IN MX    10 first
             IN MX    20 second
equal        IN MX    10 first
             IN MX    10 second
alias        IN CNAME two
two-down     IN MX    10 down-4
             IN MX    20 second
equal-down   IN MX    10 down-5
             IN MX    10 second
several      IN MX    10 several-hosts
six          IN MX    10 six-host
both         IN MX    10 both-host
plain        IN A     127.0.0.3
null         IN MX    0 .
nowhere      IN MX    10 no-such-host
empty        IN TXT   "neither mail server nor address"
first        IN A     127.0.0.2
second       IN A     127.0.0.3
down-4       IN A     127.0.0.4
down-5       IN A     127.0.0.5
several-hosts IN A    127.0.0.6
             IN A     127.0.0.7
             IN A     127.0.0.3
six-host     IN AAAA  ::1
both-host    IN AAAA  ::1
             IN A     127.0.0.8
hosted-1     IN MX    10 hosting
hosted-2     IN MX    10 hosting
hosted-3     IN MX    10 hosting
hosted-4     IN MX    10 hosting
hosting      IN A     127.0.0.9
             IN A     127.0.0.10
loop-name    IN MX    10 localhost.
loop-addr    IN MX    10 127.0.0.1.
loop-zero    IN MX    10 zero-host
zero-host    IN A     0.0.0.0
loop-alias   IN MX    10 our-other-name
our-other-name IN A   127.0.0.1
loop-plain   IN A     127.0.0.1
backup       IN MX    10 down-4
             IN MX    20 our-other-name
             IN MX    30 first
"""
DOMAINS = (
    "hosted-1", "hosted-2", "hosted-3", "hosted-4",
    "two", "equal", "alias", "two-down", "equal-down", "several", "six", "both", "plain", "null", "nowhere", "empty", "missing"
)  # fmt: skip
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


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


@dataclass(frozen=True)
class Farm:
    """A gateway that asks nsd, and servers by their addresses; reports go to that of 127.0.0.3."""

    gateway: Gateway
    sinks: dict[str, KeepingSink]

    def got(self, address: str, domain: str) -> list[str]:
        """The recipients of a domain that came to a server."""
        rcpts = [rcpt for envelope in self.sinks[address].envelopes() for rcpt in envelope["rcpts"]]
        return [rcpt for rcpt in rcpts if rcpt.endswith(f"@{domain}.example")]

    def arrive(self, address: str, domain: str, count: int = 1) -> list[str]:
        """Waits until recipients of a domain came to a server and nothing is left in the queues."""
        wait_until(lambda: len(self.got(address, domain)) >= count, 60, f"{count} at {address}; {self.gateway.last_words()}")
        self.gateway.wait_empty()
        return self.got(address, domain)

    def bounce(self, rcpt: str) -> dict[str, str]:
        """Sends a message that is returned and gives the fields of the report about its recipient."""
        sender = f"about-{rcpt.replace('@', '-')}"
        send(self.gateway, [rcpt], mail=f"{sender}@back.example")
        self.arrive("127.0.0.3", "back")
        sink = self.sinks["127.0.0.3"]
        (envelope,) = (one for one in sink.envelopes() if one["rcpts"] == [f"{sender}@back.example"])
        assert envelope["mail"] == ""
        words, report, *_ = email.message_from_bytes(sink.content(envelope)).get_payload()
        fields = report.get_payload()[1]
        assert fields["Final-Recipient"] == f"rfc822; {rcpt}"
        assert fields["Action"] == "failed"
        assert "Diagnostic-Code" not in fields  # no other server has said anything
        return {**dict(fields.items()), "words": " ".join(words.get_payload().split())}


@pytest.fixture(scope="module")
def farm(tmp_path_factory, nsd) -> Iterator[Farm]:
    directory, port = tmp_path_factory.mktemp("farm"), free_port("127.0.0.3")
    table = [f"{name}.example {port}^{name}.example" for name in DOMAINS]
    table += [f"some.broken.test {port}^some.broken.test", f"back.example {port}^[127.0.0.3]"]
    smar = f"nameserver {{ address = 127.0.0.1; port = {nsd}; }} DNS_timeout = 2s; DNS_tries = 2;"
    gateway = Gateway(directory / "gateway", "\n".join(table), {"qmgr": FAST_RETRY, "smar": smar})
    with ExitStack() as stack:
        sinks = {}
        for address in ("127.0.0.2", "127.0.0.3", "127.0.0.9", "127.0.0.10", *(["::1"] if has_ipv6() else [])):
            sinks[address] = stack.enter_context(KeepingSink(directory / f"sink-{address}", listen=f"{address}:{port}"))
        yield Farm(stack.enter_context(running(gateway)), sinks)


def test_the_server_of_the_first_preference_gets_the_mail(farm):
    for domain in ("two", "alias"):
        rcpts = [f"r{number}@{domain}.example" for number in range(5)]
        send(farm.gateway, rcpts)
        assert sorted(farm.arrive("127.0.0.2", domain, 5)) == rcpts
        assert farm.got("127.0.0.3", domain) == []


def test_one_connection_serves_all_domains_of_a_host_at_whichever_of_its_addresses(farm):
    domains = [f"hosted-{number % 4 + 1}" for number in range(12)]
    for number, domain in enumerate(domains):
        send(farm.gateway, [f"r{number}@{domain}.example"])
        farm.gateway.wait_empty()
    lines = [line for line in farm.gateway.log.read_text().splitlines() if "func=smtpc.deliver," in line and "@hosted-" in line]
    assert len(lines) == len(domains)
    sessions = {re.search(r"da_sess=(\w+)", line)[1] for line in lines}
    addresses = {re.search(r"server=([0-9.]+)", line)[1] for line in lines}
    assert (len(sessions), len(addresses)) == (1, 1)


def test_servers_of_equal_preference_share_the_mail(farm):
    rcpts = sorted(f"r{number}@equal.example" for number in range(40))  # all of one side: once in 2 ** 39 runs
    with smtplib.SMTP("127.0.0.1", farm.gateway.port, timeout=60) as client:
        for rcpt in rcpts:
            client.sendmail("sender@back.example", [rcpt], HEADER)

    def came() -> list[str]:
        return sorted(farm.got("127.0.0.2", "equal") + farm.got("127.0.0.3", "equal"))

    wait_until(lambda: len(came()) >= 40, 60, "all of them")
    farm.gateway.wait_empty()
    assert came() == rcpts
    assert farm.got("127.0.0.2", "equal")
    assert farm.got("127.0.0.3", "equal")


@pytest.mark.parametrize("domain", ["two-down", "equal-down", "several", "plain"])
def test_another_server_gets_the_mail_if_one_is_down(farm, domain):
    rcpt = f"r@{domain}.example"
    send(farm.gateway, [rcpt])
    assert farm.arrive("127.0.0.3", domain) == [rcpt]
    assert "defer" not in log_of(farm.gateway, rcpt)


def log_of(gateway: Gateway, rcpt: str) -> str:
    """Gives the lines of qmgr about a recipient."""
    return "\n".join(line for line in gateway.log.read_text().splitlines() if " qmgr[" in line and rcpt in line)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
@pytest.mark.parametrize("domain", ["six", "both"])
def test_a_server_is_reached_by_ipv6(farm, domain):
    send(farm.gateway, [f"r@{domain}.example"])
    assert farm.arrive("::1", domain) == [f"r@{domain}.example"]


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("null", "5.1.10", "Domain accepts no mail (null MX)"),
        ("missing", "5.1.2", "host not found"),
        ("nowhere", "5.1.2", "no-such-host.example: host not found"),
        ("empty", "5.1.2", "no mail server and no address"),
    ],
)
def test_mail_for_a_domain_that_takes_none_is_returned(farm, name, status, text):
    fields = farm.bounce(f"r@{name}.example")
    assert fields["Status"] == status
    assert text in fields["words"]


def test_mail_for_a_domain_whose_name_server_fails_waits(farm):
    send(farm.gateway, ["r@some.broken.test", "waits-not@plain.example"])
    wait_until(lambda: "waits-not@plain.example" in farm.got("127.0.0.3", "plain"), 60, "the other recipient")
    wait_until(lambda: "451 4.4.3" in mailq(farm.gateway), 60, "status 4.4.3")
    assert "some.broken.test" in mailq(farm.gateway)
    wait_until(lambda: remove_all(farm.gateway), 60, "an empty queue")


def remove_all(gateway: Gateway) -> bool:
    """Removes what waits; tells whether nothing was just on its way."""
    for row in gateway.control("queue")["list"]:
        with suppress(RuntimeError):
            gateway.control("remove", row["ta"])
    return not any(gateway.leftovers().values())


LOOPS = [*(f"r@loop-{name}.example" for name in ("name", "addr", "zero", "alias", "plain")), "r@[127.0.0.1]", "r@[0.0.0.0]"]


def statuses(sink: KeepingSink) -> dict[str, str]:
    """Gives the status of each recipient that reports tell of."""
    reports = [email.message_from_bytes(sink.content(envelope)).get_payload()[1] for envelope in sink.envelopes()]
    groups = [group for report in reports for group in report.get_payload()[1:]]
    return {group["Final-Recipient"].removeprefix("rfc822; "): group["Status"] for group in groups}


def test_mail_that_would_come_back_is_accepted_once_and_returned(tmp_path, nsd):
    """RFC 5321 5.1: the gateway knows itself by address and port, whatever name leads there; a backup waits for its primary."""
    port, smar = free_port(), f"nameserver {{ address = 127.0.0.1; port = {nsd}; }}"
    options = {"qmgr": FAST_RETRY, "smar": smar, "smtpc": f"remote_port = {port};"}
    with (
        KeepingSink(tmp_path / "maildir") as sink,
        running(Gateway(tmp_path / "gateway", f"back.example {sink.port}^[127.0.0.1]", options, port=port)) as gateway,
    ):
        send(gateway, [*LOOPS, "r@backup.example"])
        wait_until(lambda: len(statuses(sink)) == len(LOOPS), 60, "reports about all of them")
        assert statuses(sink) == dict.fromkeys(LOOPS, "5.4.6")
        wait_until(lambda: "connecting" in mailq(gateway), 30, "the backup's primary was tried")
        assert gateway.leftovers()["cdb"] == 1
        assert gateway.log.read_text().count("func=smtps.message") == 1
