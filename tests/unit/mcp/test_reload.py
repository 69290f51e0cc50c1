"""Reloads that answer: the way back from a component that does not start, one after the other, nothing left open."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from meta1g.base import paths
from tests.unit.mcp.conftest import PYTHON, WAIT_S, child
from tests.unit.mcp.test_passfd import ask, passing

#: Ends of fifos that stay open until the end of a test, whenever the child comes to open its own.
HELD: list[int] = []


@pytest.fixture(autouse=True)
def _close_held():
    yield
    while HELD:
        os.close(HELD.pop())


def release(fifo) -> None:
    """Lets a child go on that waits for the fifo; does not wait for it, should it be gone."""
    HELD.append(os.open(fifo, os.O_RDWR))


def wait_for(condition, what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("keyword", "section", "changed"),
    [
        ("smtpc", "remote_port = 2525;", "smar smtpc"),
        ("smtpc", "flags = { talk_to_myself };", "smar smtpc"),
        ("smtps", "listen_socket { address = 127.0.0.1; port = 2525; }", "smar smtps"),
        ("smtpc", "dot_timeout = 11m;", "smtpc"),
    ],
)
def test_smar_restarts_with_what_it_reads_in_the_sections_of_others(mcp, keyword, section, changed):
    mcp.start(child("smtps"), child("smtpc"), child("smar"))
    new = {name: child(name, section=section if name == keyword else "") for name in ("smtps", "smtpc", "smar")}
    result = mcp.reload(*new.values())
    assert (result.exit_code, f'"changed: {changed}"' in result.text) == (0, True), result.text


def test_qmgr_restarts_with_the_file_of_its_texts(mcp):
    texts = mcp.conf.parent / "texts"
    texts.write_text("failure_template = <<EOF\nSubject: one\n\nx\nEOF\n")
    qmgr = child("qmgr", section="dsn_templates = texts;")
    mcp.start(qmgr, child("smar"))
    assert '"nothing changed"' in mcp.reload(qmgr, child("smar")).text
    texts.write_text("failure_template = <<EOF\nSubject: three\n\nx\nEOF\n")
    assert '"changed: qmgr"' in mcp.reload(qmgr, child("smar")).text
    texts.unlink()
    assert '"changed: qmgr"' in mcp.reload(qmgr, child("smar")).text, "the child of this test does not miss it"


def test_a_reload_answers_what_has_changed_when_it_runs(mcp):
    mcp.start(child("smtps"), child("smar"))
    result = mcp.reload(child("smtps", section="log_level = 3;"), child("smar"))
    assert (result.exit_code, '"changed: smtps"' in result.text) == (0, True)
    assert mcp.status()["smtps"]["state"] == "running"
    assert mcp.names("start").count("smtps") == 2
    assert (mcp.facts()["reload"]["exit"], mcp.facts()["well"]) == (0, True)


def test_a_component_that_does_not_start_with_the_new_configuration_brings_the_old_one_back(mcp):
    mcp.start(child("smtps"), child("smtpc"), child("smar"))
    result = mcp.reload(child("smtps"), child("smtpc", section="log_level = 3;"), child("smar", "--exit 70"))
    assert result.exit_code == 70
    assert result.text == (
        f"smar ended with exit code 70 with the new configuration; the reason is in the log, or in {mcp.queue}/smar.log\n"
        "everything goes on with the old configuration"
    )
    facts = mcp.facts()
    assert {one["component"]: one["state"] for one in facts["components"]} == dict.fromkeys(
        ["smtps", "smtpc", "smar"], "running"
    )
    assert (facts["reload"]["exit"], facts["reload"]["number"]) == (70, 1)
    assert mcp.names("start").count("smtps") == 1
    assert mcp.stop() == 0


@pytest.mark.parametrize("code", [1, 64, 77, 78])
def test_a_new_component_that_does_not_start_goes_again_and_mcp_goes_on(mcp, code):
    mcp.start(child("smar"))
    assert mcp.reload(child("smtpc", f"--exit {code}"), child("smar")).exit_code == code
    assert set(mcp.status()) == {"smar"}
    assert mcp.names("signal") == []
    assert mcp.stop() == 0
    assert ("sevr=ERROR, func=mcp.broken, component=smtpc, time_ms=" in mcp.log()) == (code != 1)


def test_a_section_that_was_removed_by_a_reload_that_failed_is_back(mcp, port):
    mcp.start(passing(mcp, "smtps", port), child("smar"))
    assert mcp.reload(child("smar", "--exit 78")).exit_code == 78
    assert ask(port)[0] == "smtps"
    assert {name: facts["state"] for name, facts in mcp.status().items()} == {"smtps": "running", "smar": "running"}


def test_the_old_port_is_served_again_after_a_reload_that_failed(mcp, port):
    with socket.create_server(("127.0.0.1", 0)) as free:
        other = free.getsockname()[1]
    mcp.start(passing(mcp, "smtps", port))
    before = mcp.descriptors()
    result = mcp.reload(passing(mcp, "smtps", other, options="--exit 1"))
    assert result.exit_code == 1
    assert ask(port)[0] == "smtps"
    with pytest.raises(ConnectionRefusedError):
        ask(other)
    wait_for(lambda: len(mcp.descriptors()) <= len(before), f"{before} {mcp.descriptors()}")


def test_the_log_goes_on_in_the_old_file_after_a_reload_that_failed(mcp):
    mcp.start(child("smar"))
    old = mcp.log_options
    mcp.log_options = f'file = "{mcp.directory}/new.log";'
    assert mcp.reload(child("smar", "--exit 1")).exit_code == 1
    assert "everything goes on with the old one" in mcp.log()
    mcp.log_options = old
    assert mcp.reload(child("smar")).exit_code == 0
    assert "nothing changed" in mcp.log()


def test_a_component_that_fails_before_and_after_is_told_and_started_again(mcp):
    refusal = mcp.directory / "exit"
    mcp.start(child("smtps"), child("smar", f"--exit-file {refusal}"))
    refusal.write_text("1")
    result = mcp.reload(child("smtps"), child("smar", f"--exit-file {refusal}", "log_level = 3;"))
    assert result.exit_code == 1
    assert "smar ended with exit code 1 with the old configuration, too; it is started again" in result.text
    assert mcp.facts()["well"] is False
    refusal.unlink()
    mcp.wait("facts smar", 2)
    wait_for(lambda: mcp.facts()["well"], mcp.log())


def test_a_program_that_cannot_be_executed_is_told_before_anything_stops(mcp):
    program = mcp.directory / "program"
    program.write_text("#!/nonexistent/interpreter\n")
    program.chmod(0o755)
    mcp.start(child("smtps"), child("smar"))
    result = mcp.reload(child("smtps"), f'smar {{ path = "{program}"; }}\n')
    assert result.exit_code != 0
    assert "smar cannot be started: " in result.text
    assert {name: facts["state"] for name, facts in mcp.status().items()} == {"smtps": "running", "smar": "running"}


def test_a_program_that_is_gone_at_a_restart_is_tried_again_until_it_is_there(mcp):
    link = mcp.directory / "python"
    link.symlink_to(PYTHON)
    mcp.start(child("smtps"), child("smar").replace(PYTHON, str(link)))
    link.unlink()
    os.kill(mcp.pid("smar"), signal.SIGKILL)
    wait_for(lambda: f"{link}: no such file or directory" in mcp.log(), mcp.log())
    link.symlink_to(PYTHON)
    mcp.pid("smar", 2)
    mcp.wait("facts smar", 2)
    assert mcp.names("signal") == []
    assert mcp.stop() == 0


def test_reloads_that_come_together_are_carried_out_one_after_the_other_and_all_are_answered(mcp):
    fifo = mcp.directory / "fifo"
    os.mkfifo(fifo)
    mcp.start(child("smar"))
    mcp.configure(child("smar", f"--late {fifo}"))
    results = []
    threads = [threading.Thread(target=lambda: results.append(mcp.ask("reload"))) for _ in range(4)]
    threads[0].start()
    mcp.wait("facts smar", 2)  # the first one waits for the new process
    assert mcp.facts()["reloading"] is True
    for thread in threads[1:]:
        thread.start()
    mcp.signal(signal.SIGHUP)
    release(fifo)
    for thread in threads:
        thread.join(3 * WAIT_S)
    assert [result.exit_code for result in results] == [0] * 4
    assert mcp.names("start").count("smar") == 2


def test_who_waits_for_a_reload_is_told_when_mcp_stops(mcp):
    fifo = mcp.directory / "fifo"
    os.mkfifo(fifo)
    mcp.start(child("smar"))
    mcp.configure(child("smar", f"--late {fifo}"))
    results = []
    thread = threading.Thread(target=lambda: results.append(mcp.ask("reload")))
    thread.start()
    mcp.wait("facts smar", 2)
    stopped = len(mcp.told_to_stop())
    mcp.signal(signal.SIGTERM)
    wait_for(lambda: len(mcp.told_to_stop()) > stopped, mcp.log())
    release(fifo)
    thread.join(3 * WAIT_S)
    assert [(result.exit_code, result.text) for result in results] == [(69, "mcp stops")]
    assert mcp.end() == 0


def test_an_order_while_mcp_still_starts_waits_for_the_end_of_the_start(mcp):
    fifo = mcp.directory / "fifo"
    os.mkfifo(fifo)
    mcp.start(child("smtps"), child("smar", f"--late {fifo}", "restart_dependencies = { smtps };"), ready=False)
    mcp.wait("facts smar")
    mcp.configure(child("smtps"), child("smar", "--late /dev/null", "restart_dependencies = { smtps };"))
    mcp.signal(signal.SIGHUP)
    assert mcp.facts()["reload"] is None
    release(fifo)
    mcp.wait("facts smar", 2)
    wait_for(lambda: mcp.facts()["reload"], mcp.log())
    assert mcp.facts()["reload"]["exit"] == 0


def test_a_port_that_mcp_itself_serves_at_another_address_is_named(mcp, port):
    mcp.start(passing(mcp, "smtps", port))
    result = mcp.reload(passing(mcp, "smtps", port).replace("address = 127.0.0.1; ", ""))
    assert result.exit_code == 71
    assert f"cannot listen on * port {port}: mcp itself serves 127.0.0.1 port {port}" in result.text
    assert ask(port)[0] == "smtps"


def test_nonsense_commands_are_refused(mcp):
    mcp.start(child("smar"))
    assert mcp.ask("stop").exit_code == 64
    assert mcp.ask("reload", "/etc/passwd").exit_code == 64
    assert mcp.ask("reload", str(mcp.conf)).exit_code == 0


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_only_root_and_the_account_of_mcp_may_order_a_reload(mcp):
    mcp.directory.chmod(0o755)
    mcp.start(child("smar"))
    (mcp.queue / "mcp").chmod(0o755)
    (mcp.queue / paths.MCP_STATUS_SOCKET).chmod(0o666)
    code = (
        "import sys; from meta1g.tools.ctlclient import ControlClient\n"
        "import os; os.setresuid(65534, 65534, 65534)\n"
        "client = ControlClient(sys.argv[1])\n"
        "print(client.ask('status')['pid'])\n"
        "client.ask('reload')"
    )
    command = [sys.executable, "-c", code, str(mcp.queue / paths.MCP_STATUS_SOCKET)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert result.stdout == f"{mcp.process.pid}\n"
    assert "user id 65534 may not order a reload" in result.stderr


def test_reloads_of_every_outcome_cost_no_descriptor(mcp, port):
    mcp.start(passing(mcp, "smtps", port), child("smar"))
    mcp.reload(passing(mcp, "smtps", port), child("smar"))
    before = len(mcp.descriptors())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        used = taken.getsockname()[1]
        for number in range(5):
            level = f"log_level = {number};"
            assert mcp.reload(passing(mcp, "smtps", port), child("smar", section=level)).exit_code == 0
            assert mcp.reload(passing(mcp, "smtps", port), child("smar", "--exit 1")).exit_code == 1
            assert mcp.reload(passing(mcp, "smtps", port, used), child("smar")).exit_code == 71
            assert mcp.reload("nonsense").exit_code == 78
    wait_for(lambda: len(mcp.descriptors()) <= before, f"{before}: {mcp.descriptors()}")


def test_without_descriptors_components_and_clients_wait_and_mcp_goes_on(mcp):
    mcp.start(child("smtps"), child("smar"))
    pid = mcp.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    before = len(mcp.descriptors())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))  # what smar leaves behind must not help
    os.kill(mcp.pid("smar"), signal.SIGKILL)
    waiting = socket.socket(socket.AF_UNIX)
    with waiting:
        waiting.connect(str(mcp.queue / paths.MCP_STATUS_SOCKET))
        mcp.signal(signal.SIGUSR1)
        mcp.signal(signal.SIGHUP)
        wait_for(lambda: mcp.log().count("func=mcp.not_started, component=smar, stat=Too many open files") >= 2, mcp.log())
        wait_for(lambda: "func=mcp.status, stat=Too many open files" in mcp.log(), mcp.log())
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        mcp.pid("smar", 2)
        mcp.wait("facts smar", 2)
        waiting.settimeout(WAIT_S)
        assert waiting.recv(100)
    wait_for(lambda: len(mcp.descriptors()) <= before, f"{before}: {mcp.descriptors()}")
    assert mcp.status()["smar"]["state"] == "running"
    assert mcp.stop() == 0


def test_a_log_that_cannot_be_opened_at_sigusr1_costs_nothing(mcp):
    mcp.log_options = f'file = "{mcp.directory}/logs/mcp.log";'
    logs = mcp.directory / "logs"
    logs.mkdir()
    mcp.start(child("smar"))
    logs.rename(mcp.directory / "rotated")
    mcp.signal(signal.SIGUSR1)
    mcp.wait("signal smar SIGUSR1")
    text = (mcp.directory / "rotated" / "mcp.log").read_text()
    assert "func=log.reopen" in text
    assert "lines go on to the old file" in text
    (mcp.directory / "rotated").rename(logs)
    assert mcp.stop() == 0
    assert "stat=stopped" in (logs / "mcp.log").read_text()
