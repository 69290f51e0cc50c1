"""While a component starts again, clients wait; they are not sent away (invariant I8)."""

import json
import smtplib
import threading

import pytest

from contrib.lib.gateway import Gateway, wait_until
from tests.system.conftest import running, send

pytestmark = pytest.mark.system


@pytest.mark.parametrize(("component", "noticed"), [("smar", "smar"), ("qmgr", "qmgr"), ("smtps", "")])
def test_clients_that_come_while_a_component_starts_again_are_served(component, noticed, tmp_path, sink):
    with running(Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]")) as gateway:
        send(gateway, ["before@sink.example"])
        gateway.kill(component)
        wait_until(
            lambda: (
                not noticed or f"func=smtps.link_lost, component={noticed}, stat=connection lost" in gateway.log.read_text()
            ),
            20,
            "it is noticed",
        )
        failed = []

        def one(number):
            try:
                send(gateway, [f"r{number}@sink.example"])
            except Exception as error:  # noqa: BLE001 - it is told by the test
                failed.append(error)

        clients = [threading.Thread(target=one, args=(number,)) for number in range(5)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(60)
        assert failed == []
        expected = {"before@sink.example", *(f"r{number}@sink.example" for number in range(5))}
        # one whose delivery was not recorded when qmgr was killed may come twice
        wait_until(lambda: {rcpt for one in sink.envelopes() for rcpt in one["rcpts"]} == expected, 60, "all have come")


def test_a_queue_that_is_stopped_stays_stopped_whatever_becomes_of_its_processes(tmp_path, sink):
    """mcp starts a qmgr that has crashed, and the machine starts mcp: neither is a reason to deliver again."""
    gateway = Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]")

    def command(*words):
        return gateway.run_tool("qmgrctl", "-f", str(gateway.conf), *words, check=False)

    def still_stopped(*others):
        wait_until(lambda: command("status").returncode == 1, 30, gateway.last_words)
        status = json.loads(command("--json", "status").stdout)
        assert (status["mode"], status["mode_since"]) == ("stop", since)
        assert len(others) == len(set(others)), others
        with smtplib.SMTP() as client:
            wait_until(lambda: client.connect("127.0.0.1", gateway.port)[0] == 421, 30, "clients are sent away")

    with running(gateway):
        gateway.wait_ready()
        assert command("stop").returncode == 0
        since = json.loads(command("--json", "status").stdout)["mode_since"]
        killed = gateway.kill("qmgr")
        still_stopped(*killed, *gateway.pids().get("qmgr", []))
        assert gateway.stop() == 0
        gateway.launch()
        still_stopped()
        assert command("resume").stdout.split() == ["mode", "normal"]
        wait_until(lambda: command("status").returncode == 0, 30, "all is well")
        send(gateway, ["r@sink.example"])
        sink.wait_for(1)
