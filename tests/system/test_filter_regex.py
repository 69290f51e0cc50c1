"""A gateway with milter-regex: what its rules refuse, discard and hold, over real connections."""

import smtplib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from contrib.lib.gateway import Gateway
from tests.fakes.filter_program import FilterProgram
from tests.system.conftest import KeepingSink, mailq, running, send

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("filter_regex")]

RULES = r"""
reject "no dot" helo /\./n
reject "gone" envrcpt /<gone@/
friends = envfrom /friend@/
reject "no attachments" body ,name=".*\.(exe|pif)"$,ei and ( not $friends )
discard header /^Subject$/i /^drop/
quarantine "looks like a lottery" body /lottery/
"""


@dataclass
class System:
    gateway: Gateway
    sink: KeepingSink
    filter: FilterProgram


@pytest.fixture(scope="module")
def system(tmp_path_factory) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("regex")
    with (
        KeepingSink(directory / "maildir") as sink,
        FilterProgram("meta1g_filters.regex.main", directory, RULES) as program,
    ):
        options = {"smtps": f"policy_milter {{ {program.conf} flags = {{ abort }}; }}"}
        with running(Gateway(directory / "gateway", f". {sink.port}^[127.0.0.1]", options)) as gateway:
            program.wait_log("func=pmilter.server,")
            yield System(gateway, sink, program)


DATA = b"Subject: x\r\n\r\nx\r\n"


def refused(system, data=DATA, rcpts=("bob@to.example",), mail="ada@back.example", helo="client.example"):
    client = smtplib.SMTP("127.0.0.1", system.gateway.port, local_hostname=helo, timeout=60)
    with client, pytest.raises(smtplib.SMTPException) as raised:
        client.sendmail(mail, rcpts, data)
    return raised.value


def test_refusals_are_told_in_the_words_of_the_rule_at_their_step(system):
    assert refused(system, helo="nodot").args[:2] == (554, b"5.7.1 no dot")
    assert refused(system, rcpts=["gone@to.example"]).recipients == {"gone@to.example": (554, b"5.7.1 gone")}
    evil = b'Subject: x\r\n\r\nContent-Disposition: x; name="a.exe"\r\n'
    assert refused(system, evil).args[:2] == (554, b"5.7.1 no attachments")
    line = system.filter.wait_log("stat=reject: no attachments")
    assert f"key={system.filter.file}:5, " in line
    assert "mail=<ada@back.example>" in line
    assert "map=policy_milter" in system.gateway.log.read_text()


def test_what_no_rule_is_about_arrives_what_is_discarded_does_not_and_what_is_held_waits(system):
    before = len(system.sink.envelopes())
    with smtplib.SMTP("127.0.0.1", system.gateway.port, local_hostname="client.example", timeout=60) as client:
        client.sendmail("ada@back.example", ["dropped@to.example"], b"Subject: drop me\r\n\r\nx\r\n")
        client.sendmail("friend@back.example", ["kept@to.example"], b'Subject: x\r\n\r\nfile; name="a.exe"\r\n')
    assert system.sink.wait_for(before + 1)[-1]["rcpts"] == ["kept@to.example"]
    send(system.gateway, ["held@to.example"], body=b"You won the lottery\r\n")
    assert "held by policy_milter: looks like a lottery" in mailq(system.gateway)
    system.gateway.control("release", "recipient=held@to.example")
    assert system.sink.wait_for(before + 2)[-1]["rcpts"] == ["held@to.example"]
    assert "dropped@to.example" not in {rcpt for one in system.sink.envelopes() for rcpt in one["rcpts"]}


def test_new_rules_hold_for_the_next_session(system):
    system.filter.reload('reject "closed" helo // \n')
    system.filter.wait_log("func=pmilter.conf,")
    assert refused(system).args[:2] == (554, b"5.7.1 closed")
    system.filter.reload("accept helo //\n")
    system.filter.wait_log("func=pmilter.conf,")
    before = len(system.sink.envelopes())
    send(system.gateway, ["again@to.example"])
    assert system.sink.wait_for(before + 1)[-1]["rcpts"] == ["again@to.example"]
