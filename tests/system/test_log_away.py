"""A gateway whose log nobody takes: mail flows, the status says so, and all lines come when somebody takes them."""

import contextlib
import os
import socket
import threading

import pytest

from contrib.lib.gateway import Gateway, wait_until
from tests.system.conftest import running, send

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("log")]

WAIT_S = 30


@pytest.fixture
def gateway(tmp_path, sink):
    where = f'facility = mail; protocol = rfc5424; socket = "{tmp_path}/log";'
    with running(Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]", {"log": where})) as gateway:
        yield gateway


def trouble(gateway):
    return gateway.run_tool("qmgrctl", "-f", str(gateway.conf), "status", check=False).stdout


def test_lines_that_nobody_takes_are_kept_named_and_delivered(gateway, tmp_path):
    for number in range(5):
        send(gateway, [f"r{number}@sink.example"])
    gateway.wait_empty()
    told = trouble(gateway)
    for component in ("smtps", "qmgr", "smar", "smtpc", "mcp"):
        assert f"{gateway.queue}/{component}/log.kept" in told
    assert "the log" in gateway.last_words()
    taken = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(os.fspath(tmp_path / "log"))
        service.settimeout(0.2)
        over = threading.Event()

        def take():
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    taken.append(service.recv(1 << 16).decode())

        reader = threading.Thread(target=take)
        reader.start()
        try:
            wait_until(lambda: sum("func=log.back" in line for line in taken) == 5, WAIT_S, "all processes deliver")
            wait_until(lambda: "log.kept" not in trouble(gateway), WAIT_S, "the status is well again")
            send(gateway, ["last@sink.example"])
            wait_until(
                lambda: any("rcpt=last@sink.example" in line for line in taken if "qmgr.delivered" in line), WAIT_S, "live"
            )
        finally:
            over.set()
            reader.join()
    for number in range(5):
        assert sum("func=qmgr.delivered" in line and f"rcpt=r{number}@sink.example" in line for line in taken) == 1
    assert sum("func=log.away" in line for line in taken) == 5
    assert not any("func=log.dropped" in line for line in taken)
    assert {line.split()[3] for line in taken} == {"mcp", "smtps", "qmgr", "smar", "smtpc"}
