"""A gateway with authfilter: what our users send leaves signed, what comes from others arrives with results, or not at all."""

import gzip
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path

import pytest

from contrib.lib.gateway import Gateway, free_port
from tests.fakes.filter_program import FilterProgram
from tests.fakes.nameserver import NameServer
from tests.system.conftest import KeepingSink, mailq, running, verdicts
from tests.unit.filters.test_authfilter import KEYS, MAIL, pem, record

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("authfilter")]


@dataclass
class System:
    gateway: Gateway
    sink: KeepingSink
    filter: FilterProgram
    names: NameServer
    text: str
    rows: Path

    def send(self, message: bytes, mail: str, rcpt: str, client: str) -> None:
        """Sends a message for a client that the gateway believes it to be."""
        with smtplib.SMTP("127.0.0.1", self.gateway.port, timeout=60) as smtp:
            smtp.ehlo()
            assert smtp.docmd("XCLIENT", f"ADDR={client} NAME=[UNAVAILABLE]")[0] == 220
            smtp.helo_resp = smtp.ehlo_resp = None  # the session begins anew
            smtp.sendmail(mail, [rcpt], message)

    def arrived(self, rcpt: str) -> bytes:
        """Gives the message that a recipient gets."""
        found: list[dict] = []
        count = len(self.sink.envelopes())
        while not found:
            found = [one for one in self.sink.envelopes() if one["rcpts"] == [rcpt]]
            if not found:
                count = len(self.sink.wait_for(count + 1))
        return self.sink.content(found[0])


CONF = """
authserv_id = gateway.example;
nameserver {{ address = {names.address}; port = {names.port}; }}
trusted = {{ 10.0.0.0/8, 127.0.0.1 }};
reports {{ directory = "{rows}"; email = "reports@example.net"; port = {port}; }}
dmarc_fail = obey;
quarantine = hold;
domain example.net {{ key r1 {{ file = "r1.pem"; }} key e1 {{ file = "e1.pem"; }} }}
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("authfilter")
    for selector, key in KEYS.items():
        path = directory / f"{selector}.pem"
        path.write_bytes(pem(key))
        path.chmod(0o600)
    with (
        KeepingSink(directory / "maildir") as sink,
        NameServer() as names,
    ):
        names.add("example.net", "TXT", '"v=spf1 ip4:192.0.2.1 -all"')
        names.add("_dmarc.example.net", "TXT", '"v=DMARC1; p=reject"')
        names.add("_dmarc.odd.example", "TXT", '"v=DMARC1; p=quarantine; rua=mailto:dmarc@odd.example"')
        for selector, key in KEYS.items():
            names.add(f"{selector}._domainkey.example.net", "TXT", record(key))
        (directory / "rows").mkdir()
        port = free_port()
        text = CONF.format(names=names, rows=directory / "rows", port=port)
        program = FilterProgram("meta1g_filters.auth.main", directory, text)
        options = {"smtps": f"xclient_from = {{ 127.0.0.1 }}; policy_milter auth {{ {program.conf} }}"}
        relay = "10.0.0.0/8, 127.0.0.1, 192.0.2.0/24, 203.0.113.0/24"
        gateway = Gateway(directory / "gateway", f". {sink.port}^[127.0.0.1]", options, port, relay_from=relay)
        with program, running(gateway):
            yield System(gateway, sink, program, names, text, directory / "rows")


def test_mail_of_a_trusted_client_leaves_signed_and_passes_at_the_next_gateway(system):
    system.send(MAIL, "ada@example.net", "signed@to.example", "10.1.2.3")
    content = system.arrived("signed@to.example")
    assert content.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=r1;")
    assert b"Authentication-Results" not in content
    system.send(content, "list@example.com", "verified@to.example", "203.0.113.9")
    results, _, rest = system.arrived("verified@to.example").partition(b"\r\nReceived:")
    assert results.startswith(
        b"Authentication-Results: gateway.example;\r\n\tspf=none smtp.mailfrom=list@example.com;\r\n\tdkim=pass"
    )
    assert results.count(b"dkim=pass") == 2
    assert results.endswith(b"\r\n\tarc=none;\r\n\tdmarc=pass header.from=example.net")
    assert rest.endswith(content[content.index(b"DKIM-Signature") :])


def test_what_pretends_to_be_of_a_domain_is_refused_as_the_domain_wants(system):
    before = len(system.sink.envelopes())
    with pytest.raises(smtplib.SMTPDataError) as refused:
        system.send(MAIL, "eve@free.example", "refused@to.example", "203.0.113.9")
    assert refused.value.smtp_code == 550
    assert refused.value.smtp_error.startswith(b"5.7.26 DMARC: neither SPF nor DKIM passes for example.net")
    system.filter.wait_log("func=pmilter.decided", "key=dmarc", "client=203.0.113.9")
    (told,) = verdicts(system.gateway, "--rcpt", "refused@to.example").values()
    assert told.startswith("refused after DATA: 550 5.7.26 DMARC: neither SPF nor DKIM passes for example.net")
    assert told.endswith("(by policy_milter auth)")
    system.send(MAIL, "ada@example.net", "passed@to.example", "192.0.2.1")
    assert b"dmarc=pass header.from=example.net" in system.arrived("passed@to.example")
    assert len(system.sink.envelopes()) == before + 1


def test_what_is_to_be_in_quarantine_is_held_in_the_queue(system):
    system.send(MAIL.replace(b"example.net", b"odd.example"), "x@odd.example", "held@to.example", "203.0.113.9")
    assert "held by policy_milter auth: DMARC of odd.example" in mailq(system.gateway)
    (told,) = verdicts(system.gateway, "--rcpt", "held@to.example").values()
    assert told.startswith("held by policy_milter auth: DMARC of odd.example")
    system.gateway.control("release", "recipient=held@to.example")
    assert b"dmarc=fail (p=quarantine dis=quarantine)" in system.arrived("held@to.example")


def test_the_report_of_a_day_that_is_over_leaves_signed_through_the_gateway(system):
    (path,) = system.rows.iterdir()
    path.rename(path.with_name(f"{date.fromisoformat(path.stem) - timedelta(days=1)}.jsonl"))
    code = "from meta1g_filters.auth.main import run_dmarcrpt; run_dmarcrpt()"
    command = [sys.executable, "-c", code, "-f", str(system.filter.file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    message = message_from_bytes(system.arrived("dmarc@odd.example"), policy=SMTP)
    assert "d=example.net; s=r1" in message["DKIM-Signature"]
    (attachment,) = message.iter_attachments()
    xml = gzip.decompress(attachment.get_content())
    assert b"<disposition>quarantine</disposition>" in xml
    assert b"<source_ip>203.0.113.9</source_ip>\n<count>1</count>" in xml
    assert list(system.rows.iterdir()) == []


def test_the_file_is_read_again_while_mail_flows_and_a_wrong_one_changes_nothing(system):
    text = system.text
    system.filter.reload(f"{text} spf_fial = reject;")
    system.filter.wait_log("func=pmilter.conf_wrong,", "unknown option spf_fial", "did you mean spf_fail?")
    system.send(MAIL, "ada@example.net", "still@to.example", "192.0.2.1")
    system.arrived("still@to.example")
    system.filter.reload(f"{text} spf_fail = reject;")
    system.filter.wait_log("func=pmilter.conf,")
    with pytest.raises(smtplib.SMTPSenderRefused) as refused:
        system.send(MAIL, "ada@example.net", "refused@to.example", "203.0.113.9")
    assert refused.value.smtp_error == b"5.7.23 SPF: 203.0.113.9 may not send for example.net"
    text = "refused at MAIL: 550 5.7.23 SPF: 203.0.113.9 may not send for example.net (by policy_milter auth)"
    assert text in verdicts(system.gateway, "--sender", "ada@example.net", "--client", "203.0.113.9").values()


def test_who_makes_the_filter_wait_for_name_servers_lets_others_send(system):
    """Invariant I11: a client has two thirds of the 32 threads."""
    system.filter.reload(f"{system.text} DNS_timeout = 20s;")
    system.filter.wait_log("func=pmilter.conf,")
    system.send(MAIL, "ada@example.net", "before@to.example", "192.0.2.1")  # what it asks for is known from now on
    system.names.hold()
    with ThreadPoolExecutor(40) as pool:
        greedy = [pool.submit(system.send, MAIL, f"eve@{n}.example", "greedy@to.example", "203.0.113.66") for n in range(40)]
        try:
            system.names.wait_for(21, lambda asked: asked.name.rstrip(".").removesuffix(".example").isdigit())
            system.send(MAIL, "ada@example.net", "others@to.example", "192.0.2.1")
            system.send(MAIL, "ada@example.net", "ours@to.example", "10.1.2.3")
            assert not any(one.done() for one in greedy)
        finally:
            system.names.release()
    for one in greedy:  # SPF has no result, and DMARC of another's domain fails
        assert isinstance(one.exception(), smtplib.SMTPDataError)
