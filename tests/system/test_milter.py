"""A gateway with a filter: what it makes of a message is what arrives, and what it has held waits for the operator."""

import smtplib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from contrib.lib.gateway import Gateway, wait_until
from meta1g.tools.qmgrctl import _status
from tests.fakes.milter import FakeMilter
from tests.system.conftest import KeepingSink, mailq, running, send

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("milter")]


@dataclass
class System:
    gateway: Gateway
    sink: KeepingSink
    filter: FakeMilter


HELD = "held by milter f: looks like a virus"


def shows(gateway: Gateway, text: str) -> bool:
    """Tells whether mailq shows a text; it cannot while the queue manager is away."""
    try:
        return text in mailq(gateway)
    except RuntimeError:
        return False


@pytest.fixture(scope="module")
def system(tmp_path_factory) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("milter")
    with (
        KeepingSink(directory / "maildir") as sink,
        FakeMilter(directory) as milter,
    ):
        options = {"smtps": f"milter f {{ {milter.conf} }}"}
        with running(Gateway(directory / "gateway", f". {sink.port}^[127.0.0.1]", options)) as gateway:
            yield System(gateway, sink, milter)


def test_header_body_sender_and_recipients_are_what_the_filter_makes_of_them(system):
    system.filter.script(
        answers={
            "BODYEOB": [
                ["INSHEADER", 1, "X-Filter", "seen"],
                ["CHGHEADER", 1, "Subject", "[changed] test"],
                ["REPLBODY", "another body\r\n"],
                ["DELRCPT", "<gone@to.example>"],
                ["ADDRCPT", "<new@to.example>"],
                ["CHGFROM", "<bounces@back.example>"],
                ["CONTINUE"],
            ]
        }
    )
    send(system.gateway, ["gone@to.example", "stays@to.example"])
    (envelope,) = system.sink.wait_for(1)
    assert (envelope["mail"], sorted(envelope["rcpts"])) == ("bounces@back.example", ["new@to.example", "stays@to.example"])
    content = system.sink.content(envelope)
    assert content.startswith(b"Received: ")
    assert content.endswith(b"\r\nX-Filter: seen\r\nFrom: a@test.example\r\nSubject: [changed] test\r\n\r\nanother body\r\n"), (
        content
    )


def test_a_message_in_quarantine_waits_for_the_operator_over_a_restart_of_the_queue_manager(system):
    system.filter.script(answers={"BODYEOB": [["QUARANTINE", "looks like a virus"], ["CONTINUE"]]})
    before = len(system.sink.envelopes())
    send(system.gateway, ["held@to.example"])
    assert HELD in mailq(system.gateway)
    system.gateway.kill("qmgr")
    wait_until(lambda: shows(system.gateway, HELD), 30, "the queue manager is back, and the message is held")
    system.gateway.control("release", "recipient=held@to.example")
    assert system.sink.wait_for(before + 1)[-1]["rcpts"] == ["held@to.example"]
    assert "qmgr.hold" in system.gateway.log.read_text()


def test_status_tells_what_the_filter_did_and_that_it_is_down(system):
    before = len(system.sink.envelopes())
    system.filter.script(answers={"BODYEOB": [["ADDHEADER", "X-Filter", " seen"], ["CONTINUE"]]})
    send(system.gateway, ["seen@to.example"])
    system.sink.wait_for(before + 1)

    def row():
        rows = system.gateway.control("status")["filters"]
        return rows[0] if rows else {"changed": 0}

    wait_until(lambda: row()["changed"] >= 1, 30, "counted")
    one = row()
    assert (one["smtps"], one["filter"], one["state"], one["failures"]) == ("", "milter f", "up", {})
    assert 0 < one["mean_ms"] <= one["worst_ms"]
    assert "milter f" in _status({**system.gateway.control("status"), "components": []})
    system.filter.script(faults={"MAIL": "die"})
    with pytest.raises(smtplib.SMTPException):
        send(system.gateway, ["seen@to.example"])
    wait_until(lambda: row()["failures"] == {"closed": 1}, 30, "counted")
    assert any("milter f is down" in text for text in system.gateway.control("status")["trouble"])
