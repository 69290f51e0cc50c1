"""Reports about TLS: what is counted outlasts a restart, and goes once to each who wants it, by mail and by https."""

import email
import errno
import gzip
import json
import os
import time

import pytest

from contrib.lib.gateway import wait_until
from meta1g.base.tlsfacts import Tlsa
from meta1g.base.tlspolicy import TlsLevel, TlsPolicy
from meta1g.pt.workers import Workers
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.tlssession import TlsSession
from meta1g.smar import tlscounts
from meta1g.smar.https import HttpsClient
from meta1g.smar.limits import RPT_RETRY_S
from meta1g.smar.tlscounts import TlsCounts
from meta1g.smar.tlsreporter import TlsReporter
from meta1g.smar.tlssettings import RptSettings
from meta1g.tls.tlsrpt import PolicyType, ResultType, RptSender, day_of
from tests.fakes.certificates import make_certificate, sign_certificate
from tests.fakes.nameserver import SERVFAIL
from tests.fakes.policyserver import Page, PolicyServer
from tests.fakes.smtp_server import ScriptedServer
from tests.unit.pt.conftest import DEADLINE_S
from tests.unit.smar.conftest import JumpClock

DOMAIN = "wants.example"
WEB = "report.wants.example"
DAY_S = 86_400


class TurnedClock(JumpClock):
    def now(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certificates")
    make_certificate(directory, "ca.example")
    return directory / "ca.example.pem", {WEB: sign_certificate(directory, WEB, "ca.example")}


class Gate:
    """A gateway's view of reports.  Owner: the test."""

    def __init__(self, asker, names, web, sink, ca_file, directory):
        self.asker, self.names, self.web = asker, names, web
        self.clock = asker.system.evthr.clock = TurnedClock()
        self.workers = Workers(4, name="reports", log=asker.system.log)
        self._ca_file, self._directory = ca_file, directory
        self._settings = RptSettings(
            RptSender("Example", "tls@gw.example", "gw.example"), "gw.example", ("127.0.0.1", sink.port), 0, directory
        )
        names.add(f"_smtp._tls.{DOMAIN}", "TXT", f'"v=TLSRPTv1; rua=mailto:rpt@{DOMAIN},https://{WEB}:{web.port}/v1"')
        names.add(WEB, "A", "127.0.0.1")
        self.restart()

    def restart(self):
        evthr, log = self.asker.system.evthr, self.asker.system.log
        self.counts = TlsCounts(evthr, self.asker.resolver, None, self.workers, self._directory, log)

    def report(self):
        evthr, log = self.asker.system.evthr, self.asker.system.log
        client = HttpsClient(self._ca_file)
        self.reporter = TlsReporter(evthr, self.asker.resolver, self.counts, client, self.workers, self._settings, log)

    def session(self, domain=DOMAIN, **facts):
        facts = {"offered": True, "secured": True, "verified": True, **facts}
        server = facts.pop("server", ServerAddr(addr="192.0.2.1", port=25, host="mx.wants.example"))
        self.counts.add(TlsSession(domain=domain, server=(server,), source="192.0.2.9", **facts))

    def today(self, count, domain=DOMAIN):
        """Gives what was counted today, when it is that much."""
        found = []

        def enough():
            found[:] = self.counts.counts(day_of(self.clock.now()), domain)
            return sum(one.good + one.bad for one in found) == count

        wait_until(enough, DEADLINE_S, "the counts")
        return found

    def tomorrow(self):
        self.clock.ahead_s += DAY_S

    def wait_done(self):
        wait_until(lambda: not self.counts.due("9999"), DEADLINE_S, f"reports that are sent: {self.asker.log}")


@pytest.fixture
def gate(asker, name_server, certificates, sink, tmp_path):
    with PolicyServer(certificates[1]) as web:
        web.pages["/v1"] = Page(b"thanks")
        gate = Gate(asker, name_server, web, sink, certificates[0], tmp_path / "tlsrpt")
        yield gate
        assert gate.workers.close(timeout_s=20)


@pytest.fixture
def sink():
    with ScriptedServer({"EHLO": "250-fake\r\n250 DSN\r\n"}) as server:
        yield server


def test_sessions_of_domains_that_want_it_are_counted(gate):
    gate.session()
    gate.session(secured=False, verified=False, offered=False)
    gate.session(domain="does-not.example")
    (count,) = gate.today(2)
    assert (count.policy.kind, count.good, count.bad) == (PolicyType.NONE, 1, 1)
    ((failure, sessions),) = count.failures
    assert (failure.result, failure.mx_host, failure.mx_ip, failure.sending_ip, sessions) == (
        ResultType.STARTTLS_NOT_SUPPORTED, "mx.wants.example", "192.0.2.1", "192.0.2.9", 1,
    )  # fmt: skip
    gate.names.wait_for(1, lambda one: "does-not" in one.name)
    gate.session()
    gate.today(3)
    assert gate.counts.due("9999") == [(day_of(gate.clock.now()), DOMAIN)]


def test_dane_is_counted_with_its_records(gate):
    policy = TlsPolicy(level=TlsLevel.DANE, tlsa=(Tlsa(3, 1, 1, b"\1" * 32),))
    gate.session(server=ServerAddr(addr="192.0.2.1", port=25, host="mx.wants.example", tls=policy.demands()))
    (count,) = gate.today(1)
    assert (count.policy.kind, count.policy.lines) == (PolicyType.TLSA, (f"3 1 1 {'01' * 32}",))


def test_what_was_counted_outlasts_a_restart(gate):
    gate.session()
    before = gate.today(1)
    gate.counts.write()
    gate.restart()
    assert gate.today(1) == before


def test_a_shortage_while_a_file_is_read_does_not_cost_what_was_counted(gate, monkeypatch):
    gate.session()
    before = gate.today(1)
    gate.counts.write()
    with monkeypatch.context() as short:
        short.setattr(tlscounts, "day_from", no_memory)
        gate.restart()
    assert gate.counts.due("9999") == []
    gate.restart()
    assert gate.today(1) == before


def test_a_full_disk_costs_no_count_and_is_told(gate, monkeypatch):
    gate.session()
    gate.today(1)
    gate.counts.write()
    gate.session()
    before = gate.today(2)
    with monkeypatch.context() as short:
        short.setattr(os, "write", no_space)
        short.setattr(os, "fsync", no_space)
        gate.counts.write()
    assert "func=smar.tlsrpt_file" in str(gate.asker.log)
    gate.restart()
    (kept,) = gate.today(1)
    assert kept.good == 1, "what was written before is whole"
    gate.session()
    gate.today(2)
    gate.counts.write()
    gate.restart()
    assert gate.today(2) == before, "it is written when there is room again"


def no_space(*_args):
    raise OSError(errno.ENOSPC, "No space left on device")


def no_memory(_day, _content):
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


def test_a_damaged_file_is_set_aside(gate, tmp_path):
    gate.session()
    gate.today(1)
    gate.counts.write()
    (path,) = (tmp_path / "tlsrpt").iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    gate.restart()
    assert gate.counts.due("9999") == []
    assert [one.name for one in (tmp_path / "tlsrpt").iterdir()] == [f"{path.name}.damaged"]
    assert "func=smar.tlsrpt_file," in gate.asker.log


def test_what_is_no_file_is_set_aside(gate, tmp_path):
    os.mkfifo(tmp_path / "tlsrpt" / "2026-01-01.rpt")
    gate.restart()
    assert [one.name for one in (tmp_path / "tlsrpt").iterdir()] == ["2026-01-01.rpt.damaged"]


def test_a_report_goes_once_to_each_who_wants_it(gate, sink, tmp_path):
    gate.session()
    gate.session(secured=False, reason="TLS: no shared cipher")
    gate.today(2)
    gate.report()
    gate.tomorrow()
    gate.reporter._task.sleep_until(0)  # the clock was put forward
    gate.wait_done()
    ((method, _, path, fields, body),) = gate.web.asked
    assert (method, path, fields["content-type"]) == ("POST", "/v1", "application/tlsrpt+gzip")
    content = json.loads(gzip.decompress(body))
    assert content["policies"][0]["summary"] == {"total-successful-session-count": 1, "total-failure-session-count": 1}
    (seen,) = sink.connections
    assert {"mail from:<tls@gw.example>", f"rcpt to:<rpt@{DOMAIN}> notify=never"} <= {one.lower() for one in seen.commands}
    message = email.message_from_bytes(seen.contents[0])
    assert message["TLS-Report-Domain"] == DOMAIN
    assert json.loads(gzip.decompress(message.get_payload()[1].get_payload(decode=True))) == content
    gate.counts.write()
    assert list((tmp_path / "tlsrpt").iterdir()) == []
    assert gate.asker.log.count("func=smar.tlsrpt,") == 2


def test_who_did_not_take_a_report_gets_it_later_and_the_others_not_again(gate, sink):
    gate.web.pages["/v1"] = Page(b"", "503 Later")
    gate.session()
    gate.today(1)
    gate.report()
    gate.tomorrow()
    gate.reporter._task.sleep_until(0)
    wait_until(lambda: sink.contents, DEADLINE_S, "a message")
    wait_until(lambda: "func=smar.tlsrpt_failed," in gate.asker.log, DEADLINE_S, "the refusal")
    wait_until(lambda: not gate.reporter.sending(), DEADLINE_S, "the end of the attempt")
    gate.web.pages["/v1"] = Page(b"")
    gate.restart()
    gate.report()  # as after a restart of the process: what was sent stands in the file
    gate.wait_done()
    assert len(gate.web.asked) == 2
    assert len(sink.contents) == 1


def test_it_is_tried_again_after_a_while_and_given_up_after_days(gate, sink):
    gate.names.script(f"_smtp._tls.{DOMAIN}", "TXT", *[SERVFAIL] * 99)
    gate.session()
    gate.today(1)
    gate.asker.resolver.flush()
    gate.report()
    gate.tomorrow()
    gate.reporter._task.sleep_until(0)
    gate.names.wait_for(6, lambda one: one.rrtype == "TXT")
    wait_until(lambda: not gate.reporter.sending(), DEADLINE_S, "the end of the attempt")
    gate.clock.ahead_s += RPT_RETRY_S + 1
    gate.reporter._task.sleep_until(0)
    gate.names.wait_for(9, lambda one: one.rrtype == "TXT")
    gate.clock.ahead_s += 3 * DAY_S
    gate.reporter._task.sleep_until(0)
    gate.wait_done()
    assert "not taken for two days" in gate.asker.log


def test_a_domain_that_wants_none_any_more_gets_none(gate, sink):
    gate.session()
    gate.today(1)
    gate.names.remove(f"_smtp._tls.{DOMAIN}", "TXT")
    gate.asker.resolver.flush()
    gate.report()
    gate.tomorrow()
    gate.reporter._task.sleep_until(0)
    gate.wait_done()
    assert gate.web.asked == []


def test_a_domain_in_other_letters_is_counted_as_the_dns_has_it(gate):
    gate.names.add("_smtp._tls.xn--bcher-kva.example", "TXT", '"v=TLSRPTv1; rua=mailto:a@b.example"')
    gate.session(domain="b\xfccher.example")
    gate.today(1, "xn--bcher-kva.example")
