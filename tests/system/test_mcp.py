"""The whole gateway under mcp: what an operator does to it, and what clients notice."""

import os
import shutil
import signal
import smtplib
import socket
import stat
from pathlib import Path

import pytest

from contrib.lib.gateway import Gateway, wait_until

pytestmark = pytest.mark.system


def send(gateway, rcpt: str) -> None:
    with smtplib.SMTP("127.0.0.1", gateway.port, timeout=60) as client:
        client.sendmail("s@source.example", [rcpt], b"Subject: x\r\n\r\nx\r\n")


def received(sink, count: int) -> set[str]:
    return {rcpt for envelope in sink.wait_for(count) for rcpt in envelope["rcpts"]}


def test_clients_wait_while_smtps_restarts_and_nobody_is_refused(gateway, sink):
    first = gateway.kill("smtps")
    with socket.create_connection(("127.0.0.1", gateway.port), 60) as client:
        assert client.makefile("rb").readline().startswith(b"220 ")
    assert gateway.pids()["smtps"] != first
    send(gateway, "a@sink.example")
    assert received(sink, 1) == {"a@sink.example"}


@pytest.mark.parametrize("component", ["qmgr", "smtpc", "smar"])
def test_mail_flows_again_after_a_component_was_killed(gateway, sink, component):
    send(gateway, "before@sink.example")
    (old,) = gateway.kill(component)
    wait_until(lambda: gateway.pids().get(component, [old]) != [old], 60, f"{component} again")
    gateway.wait_ready(60)

    def sent() -> bool:
        try:
            send(gateway, "after@sink.example")
        except (smtplib.SMTPException, OSError):
            return False
        return True

    wait_until(sent, 60, "a message accepted")
    wait_until(lambda: "after@sink.example" in received(sink, 1), 60, "a message relayed")


def test_sighup_restarts_only_the_changed_component(gateway, sink):
    before = gateway.pids()
    gateway.conf.write_text(
        gateway.conf.read_text().replace("smtpc -f", "smtpc  -f").replace("path = smtpc;", "path = smtpc; log_level = 12;")
    )
    os.kill(gateway.process.pid, signal.SIGHUP)
    wait_until(lambda: gateway.pids().get("smtpc", before["smtpc"]) != before["smtpc"], 60, "smtpc again")
    assert {name: pids for name, pids in gateway.pids().items() if name != "smtpc"} == {
        name: pids for name, pids in before.items() if name != "smtpc"
    }
    send(gateway, "a@sink.example")
    assert received(sink, 1) == {"a@sink.example"}


def test_sigusr1_lets_all_components_open_their_log_anew(gateway):
    moved = gateway.log.with_suffix(".old")
    gateway.log.rename(moved)
    os.kill(gateway.process.pid, signal.SIGUSR1)
    wait_until(gateway.log.exists, 30, "a new log")
    (pid,) = gateway.kill("smtps")
    wait_until(lambda: gateway.pids().get("smtps", [pid]) != [pid], 60, "smtps again")
    wait_until(lambda: f"mcp[{gateway.process.pid}]" in gateway.log.read_text(), 30, "mcp's lines in the new log")


def test_a_running_gateway_keeps_its_sockets_to_itself(gateway):
    for path in gateway.queue.rglob("*"):
        facts = path.stat()
        if stat.S_ISSOCK(facts.st_mode):
            assert not facts.st_mode & stat.S_IRWXO, path


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
            send(gateway, f"a{number}@sink.example")
        assert received(sink, 10) == {f"a{number}@sink.example" for number in range(10)}
        wait_until(lambda: len(set(gateway.pids().get("smtps", [])) - set(before["smtps"])) == 3, 60, "all processes again")
        assert gateway.stop() == 0
    finally:
        gateway.stop()


def test_an_mcp_on_a_copy_of_a_queue_directory_leaves_the_processes_of_the_original_alone(gateway, sink, tmp_path):
    before = gateway.pids()
    copy = Gateway(tmp_path / "copy", f". {sink.port}^[127.0.0.1]")
    copy.setup()
    shutil.rmtree(copy.queue)
    shutil.copytree(gateway.queue, copy.queue, ignore=lambda path, names: {n for n in names if (Path(path) / n).is_socket()})
    copy.start()
    try:
        assert gateway.pids() == before
        assert "mcp.leftovers" not in copy.log.read_text()
        send(copy, "a@sink.example")
        send(gateway, "b@sink.example")
        assert received(sink, 2) == {"a@sink.example", "b@sink.example"}
    finally:
        assert copy.stop() == 0, copy.last_words()
    assert gateway.pids() == before


def test_a_component_that_keeps_failing_keeps_nobody_else_from_work(gateway, sink):
    """smtpc is killed more often than any limit once allowed: mail is taken meanwhile, and goes out when it is back."""
    others = {name: pids for name, pids in gateway.pids().items() if name != "smtpc"}
    for number in range(6):
        wait_until(lambda: gateway.pids().get("smtpc"), 90, f"smtpc again; {gateway.last_words()}")
        gateway.kill("smtpc")
        if number in (0, 3):
            send(gateway, f"a{number}@sink.example")
    assert {name: pids for name, pids in gateway.pids().items() if name != "smtpc"} == others
    os.kill(gateway.process.pid, signal.SIGHUP)  # starts it at once, instead of after its back-off
    assert received(sink, 2) == {"a0@sink.example", "a3@sink.example"}
