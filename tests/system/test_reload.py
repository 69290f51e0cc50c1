"""SIGHUP under load: right and wrong configurations come and go, no message is lost, nobody finds the port closed."""

import errno
import json
import signal
import smtplib
import socket
import threading

import pytest

from contrib.lib.gateway import COMPONENTS, Gateway, wait_until
from tests.jsonshapes import Shapes
from tests.system.conftest import KeepingSink, running
from tests.system.crash import Source, arrived_numbers

pytestmark = pytest.mark.system

MESSAGES = 1000
#: What each reload changes in the configuration: text to find, text to put in its place; the odd ones are wrong.
CHANGES = (
    ("log_level = 9;", "log_level = 10;"),
    ("log_level = 10;", "log_levle = 10;"),
    ("log_levle = 10;", "log_level = 9;"),
    ("max_hops = 50;", "max_hops = fifty;"),
    ("max_hops = fifty;", "max_hops = 40; flags = { dont_8bitmime };"),
    ("relay_from = { 127.0.0.1 };", "relay_from = { 127.0.0.1 ;"),
    ("relay_from = { 127.0.0.1 ;", "relay_from = { 127.0.0.1, 10.0.0.0/8 };"),
    ("hostname =", "}} hostname ="),
    ("}} hostname =", "hostname ="),
    ("max_hops = 40; flags = { dont_8bitmime };", "max_hops = 50;"),
)


class Prober(threading.Thread):
    """Connects again and again; notes every refusal of the port itself."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port = port
        self.stop = threading.Event()
        self.connections = 0
        self.refused = 0

    def run(self):
        while not self.stop.wait(0.01):
            try:
                socket.create_connection(("127.0.0.1", self.port), 10).close()
                self.connections += 1
            except OSError as error:
                self.refused += error.errno == errno.ECONNREFUSED


def reload(gateway, before, after):
    """Changes the configuration, sends SIGHUP and waits until mcp has decided about it."""
    text = gateway.conf.read_text()
    assert before in text
    gateway.conf.write_text(text.replace(before, after))
    decided = gateway.log.read_text().count("func=mcp.reload")
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: gateway.log.read_text().count("func=mcp.reload") > decided, 60, f"reload; {gateway.last_words()}")


@pytest.mark.timeout(240)
def test_ten_reloads_under_load_lose_no_message_and_never_close_the_port(tmp_path):
    with KeepingSink(tmp_path / "maildir") as sink:
        options = {"smtps": "max_hops = 50;", "qmgr": "min_retry_delay = 1s; max_retry_delay = 2s;"}
        gateway = Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]", options)
        with running(gateway):
            source, prober = Source(gateway.port, MESSAGES), Prober(gateway.port)
            threads = source.start(4)
            prober.start()
            try:
                for number, (before, after) in enumerate(CHANGES):
                    goal = number * MESSAGES // len(CHANGES)
                    wait_until(lambda goal=goal: len(source.acknowledged) >= goal, 60, f"{goal}; {gateway.last_words()}")
                    pids = gateway.pids()
                    reload(gateway, before, after)
                    if number % 2 == 1 and number < 9:
                        assert gateway.pids() == pids, f"a wrong file changes nothing: {after}"
                wait_until(lambda: len(source.acknowledged) >= MESSAGES, 60, f"all messages; {gateway.last_words()}")
                gateway.wait_ready(30)
                gateway.wait_empty(60)
                assert source.acknowledged == set(arrived_numbers(sink))
                assert prober.refused == 0
                assert prober.connections > 0
                assert gateway.process.poll() is None
            finally:
                source.stop.set()
                prober.stop.set()
                for thread in [*threads, prober]:
                    thread.join(30)


def test_a_component_that_is_started_again_uses_the_configuration_that_was_checked(gateway, sink):
    """Somebody edits the file and has not told mcp yet: a crash in between must not make a component stay down."""
    right = gateway.conf.read_text()
    gateway.conf.write_text(right.replace("log_level", "log_levle"))
    try:
        for component in COMPONENTS:
            wait_until(lambda: set(gateway.pids()) == set(COMPONENTS), 60, f"all run; {gateway.last_words()}")
            before = gateway.kill(component)
            wait_until(lambda c=component, b=before: gateway.pids().get(c, b) != b, 60, gateway.last_words())
        gateway.wait_ready()
        with smtplib.SMTP("127.0.0.1", gateway.port, timeout=30) as client:
            client.sendmail("a@x.example", ["b@sink.example"], "Subject: x\r\n\r\nhello\r\n")
        sink.wait_for(1)
    finally:
        gateway.conf.write_text(right)
    gateway.wait_empty()


def test_status_shows_the_components_of_mcp(gateway):
    def facts():
        return gateway.control("status")["components"]

    assert sorted(row["component"] for row in facts()) == ["qmgr", "smar", "smtpc", "smtps"]
    wait_until(lambda: {row["state"] for row in facts()} == {"running"}, 30, "all run: smtps greets before it tells mcp")
    assert {row["component"]: row["pids"] for row in facts()} == gateway.pids()
    Shapes.of_page().check(
        "status", json.loads(gateway.run_tool("qmgrctl", "-f", str(gateway.conf), "--json", "status").stdout)
    )
    text = gateway.run_tool("qmgrctl", "-f", str(gateway.conf), "status").stdout
    assert "component" in text
    assert "running" in text
