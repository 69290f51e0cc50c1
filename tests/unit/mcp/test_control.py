"""Reload, status, start-up errors, systemd, background: what an operator sees of mcp."""

import os
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from tests.unit.mcp.conftest import ROOT, WAIT_S, child
from tests.unit.mcp.test_passfd import ask, passing


def reload(mcp, *sections: str) -> str:
    """Gives the log lines of the reload."""
    before = len(mcp.log())
    mcp.configure(*sections)
    mcp.signal(signal.SIGHUP)
    mcp.wait("READY=1", 2)
    return mcp.log()[before:]


def test_a_reload_restarts_what_changed_and_nothing_else(mcp):
    mcp.start(child("smtps"), child("smtpc"), child("smar"))
    reload(mcp, child("smtps"), child("smtpc", section="log_level = 3;"), child("smar"))
    mcp.wait("start smtpc", 2)
    assert mcp.names("signal") == ["smtpc"]
    assert mcp.stop() == 0


def test_a_reload_restarts_dependents_of_what_changed(mcp):
    smar = "restart_dependencies = { smtps };"
    mcp.start(child("smtps"), child("smtpc"), child("smar", section=smar))
    reload(mcp, child("smtps"), child("smtpc"), child("smar", section=smar + "log_level = 3;"))
    mcp.wait("start smtps", 2)
    assert mcp.names("signal") == ["smtps", "smar"]
    assert mcp.names("start")[3:] == ["smar", "smtps"]


def test_a_reload_of_the_same_configuration_changes_nothing(mcp):
    mcp.start(child("smtps"), child("smar"))
    assert "nothing changed" in reload(mcp, "# a comment\n", child("smtps"), child("smar"))
    assert mcp.names("signal") == []


def test_a_wrong_configuration_changes_nothing_and_is_logged(mcp):
    mcp.start(child("smtps"), child("smar"))
    log = reload(mcp, child("smtps", section="log_levle = 3;"))
    assert "log_levle" in log
    assert "everything goes on with the old one" in log
    assert "sevr=ERROR, func=mcp.reload_failed, " in log
    assert mcp.names("signal") == []
    assert mcp.status()["smar"]["state"] == "running"


def test_a_port_in_use_refuses_the_reload(mcp, port):
    mcp.start(child("smar"))
    with socket.create_server(("127.0.0.1", port)):
        assert "another program uses it" in reload(mcp, child("smar"), passing(mcp, "smtps", port))
    assert mcp.names("start") == ["smar"]


def test_sections_come_and_go_with_a_reload(mcp, port):
    mcp.start(child("smtpc"), child("smar"))
    reload(mcp, passing(mcp, "smtps", port), child("smar"))
    mcp.wait("signal smtpc SIGTERM")
    assert ask(port) == ["smtps", str(mcp.pid("smtps"))]
    assert set(mcp.status()) == {"smtps", "smar"}
    assert sorted(mcp.names("signal")) == ["smar", "smtpc"], "smar has to know where smtps listens"


def test_a_changed_listen_socket_is_bound_and_the_old_one_closed(mcp, port):
    with socket.create_server(("127.0.0.1", 0)) as free:
        other = free.getsockname()[1]
    mcp.start(passing(mcp, "smtps", port), child("smar"))
    reload(mcp, passing(mcp, "smtps", other), child("smar"))
    mcp.pid("smtps", 2)
    assert ask(other) == ["smtps", str(mcp.pid("smtps", 2))]
    with pytest.raises(ConnectionRefusedError):
        ask(port)


def test_an_unchanged_socket_stays_open_over_a_reload_of_its_section(mcp, port):
    mcp.start(passing(mcp, "smtps", port))
    reload(mcp, passing(mcp, "smtps", port).replace("}\n", "log_level = 3; }\n"))
    assert ask(port)[0] == "smtps"
    mcp.pid("smtps", 2)


def test_the_status_tells_state_pid_restarts_and_since(mcp):
    mcp.start(child("smtps"), child("smar"))
    os.kill(mcp.pid("smtps"), signal.SIGKILL)
    mcp.pid("smtps", 2)
    mcp.wait("facts smtps", 2)
    found = mcp.status()
    assert (found["smar"]["state"], found["smar"]["pid"], found["smar"]["restarts"]) == ("running", mcp.pid("smar"), 0)
    assert (found["smtps"]["pid"], found["smtps"]["restarts"], found["smtps"]["exit"]) == (mcp.pid("smtps", 2), 1, -9)
    assert found["smtps"]["since"] > found["smar"]["since"]


def test_nonsense_at_the_status_socket_costs_a_connection_only(mcp):
    mcp.start(child("smar"))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(WAIT_S)
        sock.connect(str(mcp.queue / "mcp" / "status"))
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while sock.recv(100):
            pass
    assert mcp.status()["smar"]["state"] == "running"
    assert "sevr=WARN, func=mcp.status_peer, " in mcp.log()


def one_line(mcp, code: int) -> str:
    mcp.start(ready=False)
    assert mcp.end() == code
    assert mcp.names("start") == []
    assert mcp.errors.count("\n") == 1, mcp.errors
    return mcp.errors


def test_a_missing_queue_directory_names_the_command_that_makes_it(mcp):
    mcp.conf.write_text('queue_directory = "/nonexistent/meta1"; smar { }')
    assert one_line(mcp, 78) == "mcp: /nonexistent/meta1: no such directory; run sm.setup\n"


def test_a_missing_queue_directory_hides_neither_users_nor_programs(mcp):
    mcp.conf.write_text(
        'queue_directory = "/nonexistent/meta1";\n'
        'smar { user = nobody-here; }\nqmgr { user = nor-here; path = "/usr/libexec/nonsense"; }\n'
    )
    mcp.start(arguments=("-c",), ready=False)
    assert mcp.end() == 78
    wanted = [
        "/nonexistent/meta1: no such directory",
        "path of qmgr: /usr/libexec/nonsense: no such program",
        "hostname is not set",
    ]
    wanted += ["nobody-here", "nor-here"] if os.geteuid() == 0 else []
    for text in wanted:
        assert mcp.errors.count(text) == 1, mcp.errors
    assert "looked at when this is mended" in mcp.errors.splitlines()[-1]


def test_a_missing_directory_of_one_component_does_not_hide_what_another_finds(mcp):
    mcp.configure('smar { access_map { file = access; type = text; } }\nqmgr { path = "/usr/libexec/nonsense"; }')
    (mcp.conf.parent / "access").write_text("to:a@b.org rejct\n")
    (mcp.queue / "qmgr").rmdir() if (mcp.queue / "qmgr").is_dir() else (mcp.queue / "ibdb").rename(mcp.queue / "away")
    mcp.start(arguments=("-c",), ready=False)
    assert mcp.end() == 78
    for text in ("no such directory; run sm.setup", "/usr/libexec/nonsense: no such program", "did you mean reject?"):
        assert mcp.errors.count(text) == 1, mcp.errors


def test_a_missing_directory_of_a_component_is_told(mcp):
    mcp.configure(child("smar"))
    shutil.rmtree(mcp.queue / "smar")
    assert one_line(mcp, 78) == f"mcp: {mcp.queue}/smar: no such directory; run sm.setup\n"


def test_a_missing_program_is_told_with_its_place(mcp):
    mcp.configure('smar { path = "/usr/libexec/nonsense"; }')
    assert one_line(mcp, 78) == f"mcp: {mcp.conf}:2: path of smar: /usr/libexec/nonsense: no such program\n"


def test_a_wrong_configuration_starts_nothing(mcp):
    mcp.configure(child("smar", section="start_action = sometimes;"))
    mcp.start(ready=False)
    assert mcp.end() == 78
    assert f"{mcp.conf}:2:" in mcp.errors
    assert mcp.names("start") == []


def test_no_configuration_is_told(mcp):
    assert "cannot read the configuration" in one_line(mcp, 78)


def test_a_configuration_without_components_is_told(mcp):
    mcp.configure("")
    assert "nothing to start" in one_line(mcp, 78)


def test_the_check_touches_nothing(mcp):
    mcp.configure(child("smar"))
    mcp.start(arguments=("-c",), ready=False)
    assert (mcp.end(), mcp.errors, mcp.names("start")) == (0, "", [])
    assert not (mcp.queue / "mcp" / "lock").exists()


def test_the_pid_file_is_there_while_mcp_runs(mcp):
    path = mcp.directory / "mcp.pid"
    mcp.start(child("smar"), arguments=("-p", str(path)))
    assert path.read_text() == f"{mcp.process.pid}\n"
    assert mcp.stop() == 0
    assert not path.exists()


def test_in_the_background_the_parent_ends_with_0_when_everything_runs(mcp):
    path = mcp.directory / "mcp.pid"
    mcp.start(child("smar"), arguments=("-D", "-p", str(path)))
    assert mcp.end() == 0
    assert mcp.status()["smar"]["state"] == "running"
    daemon = os.pidfd_open(int(path.read_text()))
    signal.pidfd_send_signal(daemon, signal.SIGTERM)
    mcp.wait("signal smar SIGTERM")
    import select

    assert select.select([daemon], [], [], WAIT_S)[0]
    os.close(daemon)


def test_in_the_background_the_parent_ends_with_the_error(mcp):
    mcp.configure(child("smar", "--exit 78"))
    mcp.start(arguments=("-D",), ready=False)
    assert mcp.end() == 78
    assert "smar ended with exit code 78" in mcp.errors


def test_systemd_hears_of_reload_stop_and_life(mcp):
    mcp.env = {"WATCHDOG_USEC": "200000"}
    mcp.start(child("smar"))
    mcp.wait("WATCHDOG=1", 3)
    reload(mcp, child("smar"))
    assert any(event.startswith("RELOADING=1\nMONOTONIC_USEC=") for event in mcp.events)
    assert mcp.stop() == 0
    mcp.wait("STOPPING=1")


def test_unknown_options_start_with_a_warning_if_their_owner_says_so(mcp):
    mcp.configure(child("smar", section="future_option = 3;"))
    mcp.start(arguments=("-L",))
    assert "future_option" in mcp.log()
    assert mcp.stop() == 0


def test_the_bundled_program_gets_configuration_name_and_index(mcp):
    """Seen in /proc: an unchanged MeTA1 path that does not exist here runs this package's program."""
    smtpc = 'path = "/nonexistent/libexec/smtpc"; arguments = "smtpc -f /nonexistent/smx.conf"; wait_for_server = 0;'
    mcp.configure(f"smtpc {{ {smtpc} }}")
    mcp.start()
    pid = mcp.status()["smtpc"]["pid"]
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read().decode().split("\0")[:-1]
    assert words == [sys.executable, "-m", "meta1g.smtpc.main", "-f", str(mcp.conf)]
    assert mcp.stop() == 0


def test_help_and_a_wrong_option():
    base = [sys.executable, "-m", "meta1g.mcp.main"]
    shown = subprocess.run([*base, "--help"], capture_output=True, text=True, cwd=ROOT, timeout=WAIT_S, check=False)
    assert shown.returncode == 0
    assert "FILE" in shown.stdout
    wrong = subprocess.run([*base, "--nonsense"], capture_output=True, text=True, cwd=ROOT, timeout=WAIT_S, check=False)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (64, 1)
