"""The example configurations load and can be run; the start script starts, tells, and stops."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from meta1g.base.sysexits import NO_RESTART
from meta1g.conf.load import load_file
from meta1g.db.mapfile import MapFile
from meta1g.mcp.service import services_of
from meta1g.tools import setup_dirs

CONTRIB = Path(__file__).parents[3] / "contrib"
EXAMPLES = sorted((CONTRIB / "etc").glob("*.conf"))


def test_there_are_the_four_examples():
    assert [path.stem for path in EXAMPLES] == ["gateway", "incoming-mx", "smarthost", "submission"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_loads_without_warnings(path):
    config = load_file(path)
    assert config.warnings == []
    assert {service.kind for service in services_of(config.all_sections)} == {"qmgr", "smtps", "smtpc", "smar"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_mcp_would_start_an_example(path, tmp_path):
    conf = tmp_path / "meta1.conf"
    conf.write_text(f'queue_directory = "{tmp_path}/spool";\n{path.read_text()}')
    setup_dirs.main(["-f", str(conf), "--no-accounts", *(["--tls"] if "tls/cert.pem" in path.read_text() else [])])
    (tmp_path / "users").write_text("door.example:{EXTERNAL}\n")
    for name in re.findall(r'file = "(.*\.db)"', path.read_text()):
        MapFile.build(tmp_path / name, [])
    command = [sys.executable, "-m", "meta1g.mcp.main", "-c", str(conf)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_start_script_starts_tells_and_stops(tmp_path):
    conf = tmp_path / "meta1.conf"
    conf.write_text(f'queue_directory = "{tmp_path}/spool"; smtpc {{ wait_for_server = 0; }}')
    setup_dirs.main(["-f", str(conf), "--no-accounts"])
    mcp = tmp_path / "mcp"
    mcp.write_text(f'#!/bin/sh\nexec {sys.executable} -m meta1g.mcp.main "$@"\n')
    mcp.chmod(0o755)
    reload = tmp_path / "reload"
    reload.write_text(f'#!/bin/sh\nexec {sys.executable} -m meta1g.tools.reload "$@"\n')
    reload.chmod(0o755)
    environment = {
        **os.environ,
        "MCP": str(mcp),
        "RELOAD": str(reload),
        "CONF": str(conf),
        "PIDFILE": str(tmp_path / "pid"),
        "PYTHONPATH": str(CONTRIB.parent),
    }

    def call(word: str) -> int:
        command = ["/bin/sh", str(CONTRIB / "init" / "mcp.sh"), word]
        return subprocess.run(command, env=environment, timeout=90, check=False, stdout=subprocess.DEVNULL).returncode

    try:
        words = ("status", "start", "status", "start", "reload", "reopen", "restart", "stop", "status")
        assert [call(word) for word in words] == [3, 0, 0, 0, 0, 0, 0, 0, 3]
    finally:
        call("stop")


def test_the_start_script_leaves_a_process_alone_that_has_got_the_id_of_an_earlier_mcp(tmp_path):
    pid_file = tmp_path / "pid"
    with subprocess.Popen(["sleep", "1000"]) as other:
        pid_file.write_text(f"{other.pid}\n")
        environment = {**os.environ, "PIDFILE": str(pid_file), "CONF": str(tmp_path / "meta1.conf")}
        command = ["/bin/sh", str(CONTRIB / "init" / "mcp.sh")]
        codes = [
            subprocess.run([*command, word], env=environment, timeout=90, check=False, capture_output=True).returncode
            for word in ("status", "stop", "reopen")
        ]
        assert codes == [3, 0, 7]
        assert other.poll() is None
        other.kill()


def test_systemd_does_not_restart_what_mcp_would_not_restart():
    unit = (CONTRIB / "init" / "meta1.service").read_text()
    assert "Type=notify\n" in unit
    assert "Restart=on-failure\n" in unit
    assert re.search(r"^ExecReload=.*/sm\.reload ", unit, re.M)
    codes = next(line for line in unit.splitlines() if line.startswith("RestartPreventExitStatus="))
    assert {int(word) for word in codes.partition("=")[2].split()} == NO_RESTART
