"""As root with the five accounts: a message goes through, and every process is exactly whom it should be (invariant I7)."""

import os
import smtplib
import subprocess
import tempfile
from pathlib import Path

import pytest

from contrib.lib.gateway import Gateway
from tests.system.conftest import KeepingSink
from tests.unit.mcp.accounts import accounts_of_this_machine

pytestmark = [
    pytest.mark.system,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]
#: user and group, all groups; 264 is for the log file that all share
EXPECTED = {
    "qmgr": (261, {260, 261, 262, 263, 264}),
    "smtps": (260, {260, 262, 263, 264}),
    "smtpc": (262, {262, 264}),
    "smar": (263, {263, 264}),
}


def status(pid: int) -> dict[str, str]:
    return dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


@pytest.fixture
def gateway():
    with tempfile.TemporaryDirectory(prefix="meta1g-") as name, accounts_of_this_machine():
        directory = Path(name)
        directory.chmod(0o755)
        sink = KeepingSink(directory / "maildir")
        made = Gateway(directory / "gateway", f". {sink.port}^[127.0.0.1]", {"smtps": "CDB_gid = 262;"})
        made.setup()
        made.run_tool("setup_dirs", "-f", str(made.conf))
        try:
            made.start()
            yield made, sink
            assert made.stop() == 0, made.last_words()
        finally:
            made.stop()
            sink.stop()


def test_a_message_is_relayed_and_only_mcp_is_root(gateway):
    made, sink = gateway
    with smtplib.SMTP("127.0.0.1", made.port, timeout=60) as client:
        client.sendmail("s@source.example", ["a@sink.example"], b"Subject: x\r\n\r\nx\r\n")
    assert sink.wait_for(1)[0]["rcpts"] == ["a@sink.example"]
    made.wait_empty()
    pids = made.pids()
    assert set(pids) == set(EXPECTED)
    for name, (number, groups) in EXPECTED.items():
        facts = status(pids[name][0])
        assert facts["Uid"].split() == facts["Gid"].split() == [str(number)] * 4, name
        assert {int(word) for word in facts["Groups"].split()} == groups, name
        assert facts["NoNewPrivs"].strip() == "1", name
        assert int(facts["CapPrm"], 16) == 0, name
    check_files(made)


def may(number: int, groups: set[int], *command: str) -> bool:
    """Whether a command succeeds under an account."""
    result = subprocess.run(
        command, user=number, group=number, extra_groups=sorted(groups), capture_output=True, check=False, timeout=60
    )
    return result.returncode == 0


def check_files(made: Gateway) -> None:
    """smtps cannot read the queues, smtpc cannot write them, nobody but qmgr can touch the stores (invariant I7)."""
    queue = made.queue
    for name, (number, groups) in EXPECTED.items():
        for directory in ("ibdb", "defedb", "lost+found"):
            assert may(number, groups, "ls", f"{queue}/{directory}") == (name == "qmgr"), (name, directory)
        for directory, owner in (("qmgr", "qmgr"), ("smar", "smar"), ("smtps", "smtps"), ("smtpc", "smtpc"), ("mcp", "root")):
            assert may(number, groups, "test", "-w", f"{queue}/{directory}") == (name == owner), (name, directory)
        assert may(number, groups, "test", "-w", f"{queue}/cdb/0") == (name in ("smtps", "qmgr")), name
        assert not may(number, groups, "test", "-w", str(queue)), name
        assert not may(number, groups, "test", "-w", str(made.conf)), name
