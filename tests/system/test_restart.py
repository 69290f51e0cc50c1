"""While a component starts again, clients wait; they are not sent away (invariant I8)."""

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
