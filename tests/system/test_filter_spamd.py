"""A gateway with milter-spamd and a scripted spamd: marked, refused, held, and what is done without spamd."""

import smtplib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from contrib.lib.gateway import Gateway
from tests.fakes.filter_program import FilterProgram
from tests.fakes.spamd import FakeSpamd, reply
from tests.system.conftest import KeepingSink, mailq, running, send

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("filter_spamd")]

CONF = 'spamd {{ {} }} not_asked = {{ 192.0.2.0/24 }}; subject_tag = "[SPAM]"; hold_score = 10; reject_score = 15; {}'


@dataclass
class System:
    gateway: Gateway
    sink: KeepingSink
    filter: FilterProgram
    spamd: FakeSpamd


@pytest.fixture(scope="module")
def system(tmp_path_factory) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("spamd")
    with (
        KeepingSink(directory / "maildir") as sink,
        FakeSpamd(directory / "spamd.sock") as spamd,
        FilterProgram("meta1g_filters.spamd.main", directory, CONF.format(spamd.conf, "")) as program,
    ):
        options = {"smtps": f"policy_milter {{ {program.conf} flags = {{ abort }}; }}"}
        with running(Gateway(directory / "gateway", f". {sink.port}^[127.0.0.1]", options)) as gateway:
            program.wait_log("func=pmilter.server,")
            yield System(gateway, sink, program, spamd)


def test_spam_arrives_marked_below_the_scores_that_act(system):
    system.spamd.answer = reply(7.5, 5.0, b"GTUBE,BAYES_99")
    before = len(system.sink.envelopes())
    send(system.gateway, ["marked@to.example"])
    content = system.sink.content(system.sink.wait_for(before + 1)[-1])
    assert b"X-Spam-Flag: YES\r\n" in content
    assert b"X-Spam-Status: Yes, score=7.5 required=5.0\r\n\ttests=GTUBE,BAYES_99\r\n" in content
    assert b"Subject: [SPAM] test\r\n" in content
    (head, message) = system.spamd.asked[-1]
    assert head[0] == "SYMBOLS SPAMC/1.5"
    assert b"X-Envelope-From: <sender@back.example>\r\nReceived: from " in message
    assert b" [127.0.0.1])\r\n\tby " in message
    assert b"for <marked@to.example>;" in message


def test_spam_is_held_or_refused_by_its_score(system):
    system.spamd.answer = reply(10.0, 5.0, b"GTUBE")
    before = len(system.sink.envelopes())
    send(system.gateway, ["held@to.example"])
    assert "held by policy_milter: spam, score 10 of 5" in mailq(system.gateway)
    system.gateway.control("release", "recipient=held@to.example")
    assert system.sink.wait_for(before + 1)[-1]["rcpts"] == ["held@to.example"]
    system.spamd.answer = reply(15.0, 5.0, b"GTUBE")
    with pytest.raises(smtplib.SMTPDataError) as raised:
        send(system.gateway, ["refused@to.example"])
    assert (raised.value.smtp_code, raised.value.smtp_error) == (550, b"5.7.1 Looks like spam")
    assert "stat=reject: GTUBE" in system.filter.wait_log("func=pmilter.decided", "key=score 15 of 5", "stat=reject")


def test_spam_is_replaced_by_what_spamassassin_makes_of_it(system):
    report = (
        b"Received: from a by b\r\nSubject: test\r\nX-Spam-Flag: YES\r\n\r\nThis is spam\r\n" + b"because of much\r\n" * 5000
    )
    system.spamd.answer = reply(7.5, 5.0, report)
    system.filter.reload(CONF.format(system.spamd.conf, "method = process;"))
    system.filter.wait_log("func=pmilter.conf,")
    before = len(system.sink.envelopes())
    send(system.gateway, ["report@to.example"])
    content = system.sink.content(system.sink.wait_for(before + 1)[-1])
    assert content.endswith(report.replace(b"Subject: test\r\n", b"").replace(b"YES\r\n", b"YES\r\nSubject: [SPAM] test\r\n"))
    assert content.count(b"\r\nReceived: ") == 1
    assert content.startswith(b"Received: ")


def test_without_spamd_mail_passes_or_comes_again_as_it_is_configured(system):
    system.spamd.answer = b""
    before = len(system.sink.envelopes())
    send(system.gateway, ["passed@to.example"])
    assert b"X-Spam" not in system.sink.content(system.sink.wait_for(before + 1)[-1])
    system.filter.wait_log("sevr=WARN, func=pmilter.no_answer")
    system.filter.reload(CONF.format(system.spamd.conf, "without_spamd = tempfail;"))
    system.filter.wait_log("func=pmilter.conf,")
    with pytest.raises(smtplib.SMTPDataError) as raised:
        send(system.gateway, ["later@to.example"])
    assert raised.value.smtp_code == 451
