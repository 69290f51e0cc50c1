"""A gateway, a name server, a web server with policies, a mail server under TLS: policies are obeyed, reports are sent."""

import email
import gzip
import json
import re
import ssl
import time

import pytest

from contrib.lib.gateway import Gateway, wait_until
from meta1g.tls.mtasts import PATH
from meta1g.tls.rptday import RptDay, content_of
from meta1g.tls.tlsrpt import PolicyType, RptPolicy, day_of
from meta1g.tools import tlsrpt
from tests.fakes.certificates import make_certificate, sign_certificate, sign_expired
from tests.fakes.nameserver import NameServer
from tests.fakes.policyserver import Page, PolicyServer
from tests.fakes.smtp_server import EHLO, ScriptedServer
from tests.system.conftest import running, send, verdicts

pytestmark = pytest.mark.system

MX = "mx.good.example"
DOMAINS = ("good.example", "strict.example", "tested.example")
#: Domains whose record leads to no policy: 404, a certificate of another name or one that has expired, mode none, two records.
WITHOUT = ("absent.example", "forged.example", "expired.example", "off.example", "twice.example")
TLS = {"EHLO": EHLO.replace("250-PIPELINING", "250-STARTTLS\r\n250-PIPELINING"), "STARTTLS": "220 go\r\n"}
WAIT_S = 30


def policy(mode, mx):
    return f"version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 86400\r\n".encode()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    make_certificate(directory, "ca.example")
    return directory, {name: sign_certificate(directory, name, "ca.example") for name in (MX, "mta-sts.good.example")} | {
        f"mta-sts.{name}": sign_certificate(directory, f"mta-sts.{name}", "ca.example")
        for name in (*DOMAINS[1:], "absent.example", "off.example", "twice.example")
    } | {"mta-sts.expired.example": sign_expired(directory, "mta-sts.expired.example", "ca.example")}


@pytest.fixture
def world(files, tmp_path):
    """Gives a gateway that is not yet running, and the mail server of all domains."""
    directory, certificates = files
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates[MX])
    web = {name: pair for name, pair in certificates.items() if name != MX}
    with NameServer() as names, PolicyServer(web) as policies, ScriptedServer(TLS, tls=context) as server:
        names.add(MX, "A", "127.0.0.1")
        names.add("mx.strict.example", "A", "127.0.0.1")
        for domain in DOMAINS:
            names.add(domain, "MX", f"10 {MX if domain != 'strict.example' else 'mx.strict.example'}.")
            names.add(f"_mta-sts.{domain}", "TXT", '"v=STSv1; id=1"')
            names.add(f"mta-sts.{domain}", "A", "127.0.0.1")
            names.add(f"_smtp._tls.{domain}", "TXT", '"v=TLSRPTv1; rua=mailto:rpt@good.example"')
        for domain in WITHOUT:
            names.add(domain, "MX", f"10 {MX}.")
            names.add(f"mta-sts.{domain}", "A", "127.0.0.1")
            names.add(f"_mta-sts.{domain}", "TXT", '"v=STSv1; id=1"')
            policies.pages[f"mta-sts.{domain} {PATH}"] = Page(policy("enforce", "mx.strict.example"))
        policies.pages[f"mta-sts.absent.example {PATH}"] = Page(b"", "404 Not Found")
        policies.pages[f"mta-sts.off.example {PATH}"] = Page(policy("none", "mx.strict.example"))
        names.add("_mta-sts.twice.example", "TXT", '"v=STSv1; id=2"')
        for domain, mode, mx in zip(
            DOMAINS, ("enforce", "enforce", "testing"), (MX, "mx.strict.example", "other"), strict=True
        ):
            policies.pages[f"mta-sts.{domain} {PATH}"] = Page(policy(mode, mx))
        options = {
            "smar": f"nameserver {{ address = {names.address}; port = {names.port}; }} "
            f'mta_sts {{ CAcert_file = "{directory}/ca.example.pem"; port = {policies.port}; }} '
            'tls_reports { from = tls@gateway.example; organization = "Example & Sons"; delay = 0; }',
            "smtpc": f'remote_port = {server.port}; tls {{ CAcert_file = "{directory}/ca.example.pem"; }}',
        }
        yield Gateway(tmp_path / "g", "unused.example [127.0.0.1]", options), server


def counted(gateway, capsys):
    """What tlsrpt shows."""
    capsys.readouterr()
    assert tlsrpt.main(["--queue-directory", str(gateway.queue), "--json"]) == 0
    return {one["domain"]: one for one in map(json.loads, capsys.readouterr().out.splitlines())}


def test_policies_are_obeyed_kept_and_reported(world, capsys):
    gateway, server = world
    with running(gateway):
        send(gateway, ["a@good.example", "b@tested.example", "c@strict.example"])
        wait_until(lambda: len(server.contents) == 2, WAIT_S, lambda: f"two deliveries: {gateway.last_words()}")
        send(gateway, [f"d@{domain}" for domain in WITHOUT])
        without = {f"RCPT TO:<d@{domain}>" for domain in WITHOUT}
        wait_until(lambda: without <= {line for one in server.connections for line in one.commands}, WAIT_S, "five more")
        told = gateway.control("explain", "x@good.example")["list"]
        assert [(one["tls"], one["source"]) for one in told] == [("verify", "MTA-STS of good.example: enforce by policy 1")]
        log = r"its certificate cannot be verified: hostname mismatch (verify: MTA-STS of strict.example: enforce by policy 1)"
        wait_until(lambda: log in gateway.log.read_text(), WAIT_S, "the reason")
        (waiting,) = gateway.control("queue")["list"]
        assert waiting["rcpt"] == "c@strict.example"
        (told,) = verdicts(gateway, "--rcpt", "c@strict.example").values()
        why = r"its certificate cannot be verified: hostname mismatch \(verify: MTA-STS of strict\.example: .*\)"
        assert re.fullmatch(rf"waits until .*: 451 4\.7\.5 mx\.strict\.example\S+ {why}; 2 other recipients", told)
    assert sorted(one.name for one in (gateway.queue / "smar/mta-sts").iterdir()) == [
        f"{one}.sts" for one in sorted((*DOMAINS, "off.example"))
    ]
    found = counted(gateway, capsys)
    assert {name: list(one["summary"].values()) for name, one in found.items()} == {
        "good.example": [1, 0], "tested.example": [0, 1], "strict.example": [0, 1],
    }  # fmt: skip
    assert {name: one["failure-details"][0]["result-type"] for name, one in found.items() if name != "good.example"} == {
        "tested.example": "validation-failure",
        "strict.example": "certificate-host-mismatch",
    }


def test_the_report_of_yesterday_goes_out_through_the_queue(world):
    gateway, server = world
    gateway.setup()
    day = RptDay(day_of(time.time() - 86400))
    day.add(RptPolicy(PolicyType.NONE, "good.example"), None)
    path = gateway.queue / f"smar/tlsrpt/{day.day}.rpt"
    path.write_bytes(content_of(list(day.lines())))
    gateway.start()
    try:
        wait_until(lambda: server.contents, WAIT_S, lambda: f"the report: {gateway.last_words()}")
        wait_until(lambda: not path.exists(), WAIT_S, "the end of the day's file")
    finally:
        assert gateway.stop() == 0
    message = email.message_from_bytes(server.contents[0])
    assert (message["From"], message["TLS-Report-Domain"]) == ("<tls@gateway.example>", "good.example")
    report = json.loads(gzip.decompress(message.get_payload()[1].get_payload(decode=True)))
    assert report["organization-name"] == "Example & Sons"
    assert report["policies"][0]["summary"]["total-successful-session-count"] == 1
