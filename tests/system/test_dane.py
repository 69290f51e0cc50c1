"""A gateway behind a name server that validates (nsd, unbound, signed zones): where mail goes, and where it does not."""

import hashlib
import smtplib
import ssl
import subprocess
from contextlib import ExitStack

import pytest

from contrib.lib.gateway import Gateway, wait_until
from meta1g.tools import qmgrctl
from tests.fakes.certificates import make_certificate, sign_certificate
from tests.fakes.signed_zones import SignedZones, Zone
from tests.fakes.smtp_server import EHLO, ScriptedServer
from tests.system.conftest import FAST_RETRY, HEADER, running, send, verdicts

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("dane")]

SCRIPT = {"EHLO": EHLO.replace("250-PIPELINING", "250-STARTTLS\r\n250-PIPELINING"), "STARTTLS": "220 go\r\n"}
#: Hosts of good.test by the first label of their name, which is that of a domain, too: TLSA records, and whether mail arrives.
#: All of them are one server, whose certificate says mx.good.test, signed by an authority that nobody trusts.
HOSTS = {
    "ee-key": ("3 1 1 {key}", True),
    "ee-cert": ("3 0 1 {cert}", True),
    "ee-cert-512": ("3 0 2 {cert512}", True),
    "ee-wrong": ("3 1 1 {other}", False),
    "two-good": ("3 1 1 {other}|3 1 1 {key}", True),
    "ta-wrong-name": ("2 0 1 {ca}", False),
    "pkix-only": ("1 0 1 {cert}|0 0 1 {ca}", True),  # cannot be used: TLS, with whatever certificate
    "none": ("", True),
    "ee-key-512": ("3 1 2 {key512}", True),
    "ee-key-whole": ("3 1 0 {keywhole}", True),
    "ee-cert-whole": ("3 0 0 {certwhole}", True),
    "ee-key-as-cert": ("3 0 1 {key}", False),
    "ee-cert-as-key": ("3 1 1 {cert}", False),
    "ee-cert-wrong": ("3 0 1 {other}", False),
    "ee-cert-512-wrong": ("3 0 2 {other512}", False),
    "ee-of-ca": ("3 0 1 {ca}", False),
    "ta-of-ee": ("2 0 1 {cert}", False),
    "ta-other": ("2 0 1 {other}", False),
    "ta-or-ee": ("2 0 1 {other}|3 1 1 {key}", True),
    "two-wrong": ("3 1 1 {other}|3 0 1 {ca}", False),
    "pkix-beside-good": ("1 0 1 {other}|3 1 1 {key}", True),
    "pkix-good-beside-wrong": ("1 0 1 {cert}|3 1 1 {other}", False),
    "usage-unknown": ("7 1 1 {other}", True),  # none can be used, as with the next three
    "selector-unknown": ("3 7 1 {other}", True),
    "matching-unknown": ("3 1 7 {other}", True),
    "cut-short": ("3 1 1 abcdef", True),
    "cut-short-beside-wrong": ("3 1 1 abcdef|3 1 1 {other}", False),
}
ZONES = """\
{hosts}
mx           IN A     127.0.0.1
ta           IN MX    10 mx
_{port}._tcp.mx IN TLSA 2 0 1 {ca}
alias        IN MX    10 alias-host
alias-host   IN CNAME ee-key-host
abroad       IN MX    10 host.plain.test.
two          IN MX    10 ee-wrong-host
two          IN MX    20 ee-key-host
"""
PLAIN = """\
host         IN A     127.0.0.1
_{port}._tcp.host IN TLSA 3 1 1 {other}
lonely       IN MX    10 host
into         IN MX    10 ee-wrong-host.good.test.
"""
BOGUS = """\
@            IN MX    10 host
host         IN A     127.0.0.1
_{port}._tcp.host IN TLSA 3 1 1 {key}
"""
#: Domains, and what becomes of their mail.
ARRIVES = [
    *(f"{name}.good.test" for name, (_, arrives) in HOSTS.items() if arrives),
    *("ta.good.test", "alias.good.test", "abroad.good.test", "two.good.test", "lonely.plain.test", "into.plain.test"),
]
WAITS = {
    **{f"{name}.good.test": "fits no TLSA record" for name, (_, arrives) in HOSTS.items() if not arrives},
    "broken.test": "no answer about its TLSA records: SERVFAIL",
    "old.test": "SERVFAIL",
}


def facts(directory, port):
    """Digests of the certificates."""
    found = {"port": port}
    for name, path in (("cert", "mx.good.test"), ("ca", "ca.example"), ("other", "other.example")):
        pem = (directory / f"{path}.pem").read_text().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
        data = ssl.PEM_cert_to_DER_cert(pem)
        found |= digests(name, data)
    asked = ["openssl", "pkey", "-in", directory / "mx.good.test.key", "-pubout", "-outform", "der"]
    return found | digests("key", subprocess.run(asked, check=True, capture_output=True).stdout)


def digests(name, data):
    return {name: hashlib.sha256(data).hexdigest(), f"{name}512": hashlib.sha512(data).hexdigest(), f"{name}whole": data.hex()}


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dane")
    make_certificate(directory, "ca.example")
    make_certificate(directory, "other.example")
    sign_certificate(directory, "mx.good.test", "ca.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "mx.good.test.pem", directory / "mx.good.test.key")
    with ExitStack() as stack:
        server = stack.enter_context(ScriptedServer(SCRIPT, tls=context))
        known = facts(directory, server.port)
        hosts = ""
        for name, (records, _) in HOSTS.items():
            hosts += f"{name} IN MX 10 {name}-host\n{name}-host IN A 127.0.0.1\n"
            hosts += "".join(f"_{server.port}._tcp.{name}-host IN TLSA {one}\n" for one in records.split("|") if one)
        zones = {
            "good.test": Zone(ZONES.format(**known, hosts=hosts.format(**known))),
            "plain.test": Zone(PLAIN.format(**known), signed=False),
            "broken.test": Zone(BOGUS.format(**known), broken=True),
            "old.test": Zone(BOGUS.format(**known), expired=True),
        }
        dns = stack.enter_context(SignedZones(directory / "dns", zones))
        smar = f"nameserver {{ address = 127.0.0.1; port = {dns.port}; }} DNS_flags = {{ trust_ad }}; DNS_tries = 1;"
        smar += 'tls_policy { file = "tls_policy.db"; }'
        gateway = Gateway(
            directory / "gateway",
            "",
            {"qmgr": FAST_RETRY, "smar": smar, "smtpc": f"remote_port = {server.port};"},
        )
        gateway.conf.parent.mkdir(parents=True)
        gateway.write_map("tls_policy", "may.good.test may\n")
        yield stack.enter_context(running(gateway)), server, dns


def arrived(server):
    """The recipients whose mail came, each with whether it came under TLS."""
    found = {}
    for seen in list(server.connections):
        rcpts = [one.partition("<")[2].partition(">")[0] for one in seen.commands if one.startswith("RCPT")]
        found |= dict.fromkeys(rcpts[: len(seen.contents)], bool(seen.tls))
    return found


def explained(gateway, word):
    return gateway.control("explain", word)["list"]


def test_mail_goes_only_where_the_certificate_fits_the_records(farm):
    gateway, server, _ = farm
    for domain in (*ARRIVES, *WAITS):
        send(gateway, [f"dane@{domain}"])
    wanted = {f"dane@{domain}" for domain in ARRIVES}
    wait_until(lambda: arrived(server).keys() >= wanted, 60, lambda: f"all of them; {gateway.last_words()}")
    wait_until(lambda: gateway.leftovers()["defedb"] == len(WAITS), 60, f"the others wait; {gateway.leftovers()}")
    assert arrived(server) == dict.fromkeys(wanted, True)
    listed = {row["rcpt"].partition("@")[2]: row["status"] for row in gateway.control("queue")["list"]}
    assert listed.keys() == WAITS.keys()
    for domain, text in WAITS.items():
        assert text in listed[domain], listed
        (told,) = verdicts(gateway, "--rcpt", f"dane@{domain}").values()
        assert told.startswith("waits until ")
        assert text in told
    log = gateway.log.read_text()
    assert "tls_policy=dane TLSA _" in log
    assert "tls_policy=encrypt TLSA _" in log


def test_who_asks_is_told_before(farm, capsys):
    gateway, server, _ = farm
    place = f"_{server.port}._tcp"
    (row,) = explained(gateway, "ee-key.good.test")
    assert (row["server"], row["tls"], row["source"]) == (
        "ee-key-host.good.test", "dane", f"TLSA {place}.ee-key-host.good.test",
    )  # fmt: skip
    assert row["demands"] == ["one of 1 TLSA records, server name ee-key-host.good.test"]
    rows = explained(gateway, "somebody@two.good.test")
    assert [one["server"] for one in rows] == ["ee-wrong-host.good.test", "ee-key-host.good.test"]
    assert [one["tls"] for one in explained(gateway, "lonely.plain.test")] == ["may"]
    (row,) = explained(gateway, "broken.test")
    assert "no answer about its TLSA records" in row["refused"]
    assert qmgrctl.main(["-f", str(gateway.conf), "explain", "pkix-only.good.test"]) == 0
    assert "none can be used" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="SERVFAIL"):
        explained(gateway, "old.test")


def test_a_message_that_asks_for_it_goes_in_spite_of_the_records(farm):
    gateway, server, _ = farm
    rcpt = "optional@ee-wrong.good.test"
    send(gateway, [rcpt], body=b"")
    with gateway_client(gateway) as client:
        client.sendmail("s@back.example", ["relaxed@ee-wrong.good.test"], b"TLS-Required: No\r\n" + HEADER + b"x\r\n")
    wait_until(lambda: "relaxed@ee-wrong.good.test" in arrived(server), 60, gateway.last_words)
    assert rcpt not in arrived(server)


def gateway_client(gateway):
    return smtplib.SMTP("127.0.0.1", gateway.port, timeout=60)
