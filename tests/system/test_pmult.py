"""A gateway with pmult, and two filters of sendmail 8 behind it: what they make of a message arrives, what one holds waits."""

import contextlib
import smtplib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from contrib.lib.gateway import Gateway, wait_until
from tests.fakes.filter_program import FilterProgram
from tests.fakes.milter import FakeMilter
from tests.system.conftest import KeepingSink, mailq, running, send

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("pmult")]


@dataclass
class System:
    gateway: Gateway
    sink: KeepingSink
    first: FakeMilter
    second: FakeMilter


@pytest.fixture(scope="module")
def system(tmp_path_factory) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("pmult")
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(KeepingSink(directory / "maildir"))
        first, second = (stack.enter_context(FakeMilter(directory, name)) for name in ("one", "two"))
        text = f"milter one {{ {first.conf} }} milter two {{ {second.conf} }}"
        pmult = stack.enter_context(FilterProgram("meta1g_filters.pmult.main", directory, text))
        options = {"smtps": f"policy_milter {{ {pmult.conf} }}"}
        gateway = stack.enter_context(running(Gateway(directory / "gateway", f". {sink.port}^[127.0.0.1]", options)))
        pmult.wait_log("func=pmilter.server,")
        yield System(gateway, sink, first, second)


def test_what_both_filters_make_of_a_message_is_what_arrives(system):
    system.first.script(
        answers={
            "BODYEOB": [
                ["CHGHEADER", 1, "Subject", "[one] test"],
                ["REPLBODY", "another body\r\n"],
                ["DELRCPT", "<gone@to.example>"],
                ["CHGFROM", "<bounces@back.example>"],
                ["CONTINUE"],
            ]
        }
    )
    system.second.script(
        answers={"BODYEOB": [["INSHEADER", 1, "X-Two", "seen"], ["ADDRCPT", "<new@to.example>"], ["CONTINUE"]]}
    )
    send(system.gateway, ["gone@to.example", "stays@to.example"])
    (envelope,) = system.sink.wait_for(1)
    assert (envelope["mail"], sorted(envelope["rcpts"])) == ("bounces@back.example", ["new@to.example", "stays@to.example"])
    content = system.sink.content(envelope)
    assert content.startswith(b"Received: ")
    assert content.endswith(b"\r\nX-Two: seen\r\nFrom: a@test.example\r\nSubject: [one] test\r\n\r\nanother body\r\n"), content


def test_a_refusal_is_told_and_a_quarantine_waits_for_the_operator(system):
    before = len(system.sink.envelopes())
    system.first.script(answers={"RCPT": [["REPLYCODE", "550 5.7.1 no such luck"]]})
    system.second.script()
    with pytest.raises(smtplib.SMTPRecipientsRefused, match="no such luck"):
        send(system.gateway, ["somebody@to.example"])
    system.first.script()
    system.second.script(answers={"BODYEOB": [["QUARANTINE", "virus"], ["CONTINUE"]]})
    send(system.gateway, ["held@to.example"])
    wait_until(lambda: "held by policy_milter: milter two: virus" in mailq(system.gateway), 30, "held")
    system.gateway.control("release", "recipient=held@to.example")
    assert system.sink.wait_for(before + 1)[-1]["rcpts"] == ["held@to.example"]
