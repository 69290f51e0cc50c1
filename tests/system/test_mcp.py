"""The whole gateway under mcp: what an operator does to it, and what clients notice."""

import os
import re
import shutil
import signal
import smtplib
import socket
import stat
from pathlib import Path

import pytest

from contrib.lib.gateway import Gateway, wait_until
from tests.system.conftest import send

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("mcp")]


def test_clients_wait_while_smtps_restarts_and_nobody_is_refused(shared):
    gateway = shared.gateway
    first = gateway.kill("smtps")
    with socket.create_connection(("127.0.0.1", gateway.port), 60) as client:
        assert client.makefile("rb").readline().startswith(b"220 ")
    assert gateway.pids()["smtps"] != first
    shared.send("restarted@sink.example")
    shared.arrive("restarted@sink.example")


@pytest.mark.parametrize("component", ["qmgr", "smtpc", "smar"])
def test_mail_flows_again_after_a_component_was_killed(shared, component):
    gateway, before, after = shared.gateway, f"before-{component}@sink.example", f"after-{component}@sink.example"
    shared.send(before)
    (old,) = gateway.kill(component)
    wait_until(lambda: gateway.pids().get(component, [old]) != [old], 60, f"{component} again")
    gateway.wait_ready(60)

    def sent() -> bool:
        try:
            shared.send(after)
        except (smtplib.SMTPException, OSError):
            return False
        return True

    wait_until(sent, 60, "a message accepted")
    shared.arrive(before, after)


def test_sighup_restarts_only_the_changed_component(shared):
    gateway, before, right = shared.gateway, shared.gateway.pids(), shared.gateway.conf.read_text()

    def others(pids: dict[str, list[int]]) -> dict[str, list[int]]:
        return {name: found for name, found in pids.items() if name != "smtpc"}

    for text in (right.replace("path = smtpc;", "path = smtpc; log_level = 12;"), right):
        (old,) = gateway.pids()["smtpc"]
        gateway.conf.write_text(text)
        os.kill(gateway.process.pid, signal.SIGHUP)
        wait_until(
            lambda old=old: gateway.pids().get("smtpc", [old]) != [old], 60, lambda: f"smtpc again; {gateway.last_words()}"
        )
        assert others(gateway.pids()) == others(before)
    shared.send("reloaded@sink.example")
    shared.arrive("reloaded@sink.example")


def test_sigusr1_lets_all_components_open_their_log_anew(shared):
    gateway = shared.gateway
    gateway.log.rename(gateway.log.with_suffix(".old"))
    os.kill(gateway.process.pid, signal.SIGUSR1)
    wait_until(gateway.log.exists, 30, "a new log")
    (pid,) = gateway.kill("smtps")
    wait_until(lambda: gateway.pids().get("smtps", [pid]) != [pid], 60, "smtps again")
    wait_until(lambda: f"mcp[{gateway.process.pid}]" in gateway.log.read_text(), 30, "mcp's lines in the new log")


def test_a_running_gateway_keeps_its_sockets_to_itself(shared):
    sockets = [path.stat().st_mode for path in shared.gateway.queue.rglob("*") if path.is_socket()]
    assert sockets
    assert [mode for mode in sockets if mode & stat.S_IRWXO] == []


def _each_takes_from_the_same_socket(gateway):
    """Stops all but one of the smtps processes at a time: that one serves the client."""
    pids = gateway.pids()["smtps"]
    for pid in pids:
        others = [other for other in pids if other != pid]
        for other in others:
            os.kill(other, signal.SIGSTOP)
        try:
            send(gateway, [f"by{pid}@sink.example"])
        finally:
            for other in others:
                os.kill(other, signal.SIGCONT)
        line = rf"smtps\[{pid}\]:.*func=smtps\.rcpt.*rcpt=by{pid}@sink\.example"
        wait_until(lambda line=line: re.search(line, gateway.log.read_text()), 20, line)


@pytest.mark.xdist_group("mcp-several")
def test_several_processes_of_smtps_and_smtpc_share_the_work(tmp_path, sink):
    options = {"smtps": "processes = 3;", "smtpc": "processes = 2;"}
    gateway = Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]", options)
    gateway.setup()
    try:
        gateway.start()
        wait_until(lambda: [len(gateway.pids().get(n, [])) for n in ("smtps", "smtpc")] == [3, 2], 60, "all processes")
        before = gateway.pids()
        gateway.kill("smtps")
        for number in range(10):
            send(gateway, [f"a{number}@sink.example"])
        assert sink.wait_for_rcpts(10) == [f"a{number}@sink.example" for number in range(10)]
        wait_until(lambda: len(set(gateway.pids().get("smtps", [])) - set(before["smtps"])) == 3, 60, "all processes again")
        _each_takes_from_the_same_socket(gateway)
        assert gateway.stop() == 0
    finally:
        gateway.stop()


def test_an_mcp_on_a_copy_of_a_queue_directory_leaves_the_processes_of_the_original_alone(shared, tmp_path):
    gateway = shared.gateway
    gateway.wait_ready()
    before = gateway.pids()
    copy = Gateway(tmp_path / "copy", f". {shared.sink.port}^[127.0.0.1]")
    copy.setup()
    shutil.rmtree(copy.queue)
    shutil.copytree(gateway.queue, copy.queue, ignore=lambda path, names: {n for n in names if (Path(path) / n).is_socket()})
    copy.start()
    try:
        assert gateway.pids() == before
        assert "mcp.leftovers" not in copy.log.read_text()
        send(copy, ["of-the-copy@sink.example"])
        shared.send("of-the-original@sink.example")
        shared.arrive("of-the-copy@sink.example", "of-the-original@sink.example")
    finally:
        assert copy.stop() == 0, copy.last_words()
    assert gateway.pids() == before


def test_a_component_that_keeps_failing_keeps_nobody_else_from_work(shared):
    """smtpc is killed more often than any limit once allowed: mail is taken meanwhile, and goes out when it is back."""
    gateway = shared.gateway
    others = {name: pids for name, pids in gateway.pids().items() if name != "smtpc"}
    for number in range(6):
        wait_until(lambda: gateway.pids().get("smtpc"), 90, lambda: f"smtpc again; {gateway.last_words()}")
        gateway.kill("smtpc")
        if number in (0, 3):
            shared.send(f"meanwhile{number}@sink.example")
        os.kill(gateway.process.pid, signal.SIGHUP)  # starts it at once, instead of after its back-off
    assert {name: pids for name, pids in gateway.pids().items() if name != "smtpc"} == others
    shared.arrive("meanwhile0@sink.example", "meanwhile3@sink.example")
