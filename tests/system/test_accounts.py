"""Started as root, only mcp stays root; each component has its own account and sees no more than it needs (invariant I7)."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from contrib.lib.gateway import Gateway, free_port, wait_until
from tests.system.conftest import FAST_RETRY, KeepingSink, directory_for_all, running, send
from tests.unit.mcp.accounts import accounts_of_this_machine

pytestmark = [
    pytest.mark.system,
    pytest.mark.root,
    pytest.mark.xdist_group("accounts"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make accounts and to start components under them"),
]

IDS = {"smtps": 260, "qmgr": 261, "smtpc": 262, "smar": 263}
NAMES = {"smtps": "meta1s", "qmgr": "meta1q", "smtpc": "meta1c", "smar": "meta1m"}
SHARED_LOG = 264  # the group of a log file that all components write
GROUPS = {"smtps": {260, 262, 263}, "qmgr": {261, 260, 262, 263}, "smtpc": {262}, "smar": {263}}


@dataclass(frozen=True)
class Site:
    """A gateway under the accounts, its sink, and the content file of a message that waits in the queues."""

    gateway: Gateway
    sink: KeepingSink
    waiting: Path


@pytest.fixture(scope="module")
def site(program_for_all) -> Iterator[Site]:
    with (
        accounts_of_this_machine(),
        directory_for_all() as directory,
        KeepingSink(directory / "maildir") as sink,
    ):
        gateway = Gateway(
            directory / "gateway",
            f"waits.example {free_port()}^[127.0.0.1]\n. {sink.port}^[127.0.0.1]",
            {"qmgr": FAST_RETRY, "smtps": f"CDB_gid = {IDS['smtpc']};"},
            accounts=True,
            tls=True,
            python=os.path.realpath(sys.executable),
            env={"PYTHONPATH": str(program_for_all)},
        )
        with running(gateway):
            send(gateway, ["r@waits.example"])
            wait_until(lambda: gateway.leftovers().get("defedb") == 1, 30, "one recipient in DEFEDB")
            (waiting,) = gateway.content_files()
            yield Site(gateway, sink, waiting)


def status_of(pid: int) -> dict[str, list[str]]:
    """Gives /proc/PID/status by key."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.split() for key, _, value in (line.partition(":") for line in lines)}


def child_status(gateway: Gateway, component: str) -> dict[str, list[str]]:
    (pid,) = gateway.pids()[component]
    return status_of(pid)


def tries(gateway: Gateway, component: str, code: str) -> str:
    """Runs Python code with the ids of a running component; gives `ok` or the name of the error that it met."""
    facts = child_status(gateway, component)
    program = (
        f"import os, sys\ntry:\n    {code}\nexcept OSError as error:\n    print(type(error).__name__)\nelse:\n    print('ok')"
    )
    result = subprocess.run(
        [gateway.python, "-I", "-c", program],
        user=int(facts["Uid"][0]), group=int(facts["Gid"][0]), extra_groups=[int(word) for word in facts["Groups"]],
        capture_output=True, text=True, timeout=30, check=True, cwd="/",
    )  # fmt: skip
    return result.stdout.strip()


def test_a_message_is_relayed_by_components_under_their_own_accounts(site):
    gateway = site.gateway
    send(gateway, ["r@sink.example"], body=b"by five accounts\r\n")
    envelope = site.sink.wait_for(1)[0]
    assert site.sink.content(envelope).endswith(b"\r\n\r\nby five accounts\r\n")
    wait_until(lambda: [*gateway.content_files()] == [site.waiting], 30, "content of the delivered message removed")
    assert set(gateway.pids()) == set(IDS)
    for component, number in IDS.items():
        facts = child_status(gateway, component)
        assert facts["Uid"] == facts["Gid"] == [str(number)] * 4, component
        assert {int(word) for word in facts["Groups"]} == {*GROUPS[component], SHARED_LOG}, component
    assert gateway.process is not None
    assert status_of(gateway.process.pid)["Uid"] == ["0"] * 4


def test_no_component_can_become_root_again(site):
    for component in IDS:
        facts = child_status(site.gateway, component)
        assert [int(facts[key][0], 16) for key in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [0, 0, 0, 0], component
        assert facts["NoNewPrivs"] == ["1"], component
        assert tries(site.gateway, component, "os.setuid(0)") == "PermissionError"
        assert tries(site.gateway, component, "os.setgroups([0])") == "PermissionError"


@pytest.mark.parametrize("component", ["smtps", "smtpc", "smar"])
def test_only_qmgr_can_look_into_the_queues(site, component):
    gateway = site.gateway
    for name in ("ibdb", "defedb", "lost+found"):
        directory = gateway.queue / name
        assert tries(gateway, component, f"os.listdir({str(directory)!r})") == "PermissionError"
        for path in directory.iterdir():
            assert tries(gateway, component, f"open({str(path)!r})") == "PermissionError"
        assert tries(gateway, "qmgr", f"os.listdir({str(directory)!r})") == "ok"


def test_smtpc_reads_content_and_cannot_change_it(site):
    gateway = site.gateway
    path = site.waiting
    facts = path.stat()
    assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (260, 262, 0o640)
    assert tries(gateway, "smtpc", f"open({str(path)!r}).read(1)") == "ok"
    for code in (
        f"open({str(path)!r}, 'r+')",
        f"os.unlink({str(path)!r})",
        f"os.rename({str(path)!r}, {str(path) + '.new'!r})",
        f"open({str(path.parent / 'new')!r}, 'x')",
        f"os.chmod({str(path)!r}, 0o666)",
    ):
        assert tries(gateway, "smtpc", code) == "PermissionError", code
    assert tries(gateway, "smtpc", f"os.listdir({str(path.parent)!r})") == "PermissionError"
    assert tries(gateway, "smar", f"open({str(path)!r})") == "PermissionError"


@pytest.mark.parametrize(
    ("socket", "allowed"),
    [
        ("qmgr/smtps", {"smtps"}),
        ("qmgr/smtpc", {"smtpc"}),
        ("qmgr/control", {"qmgr"}),
        ("smar/smtps", {"smtps", "smar"}),
        ("smar/qmgr", {"qmgr", "smar"}),
    ],
)
def test_each_socket_is_for_its_clients_only(site, socket, allowed):
    gateway = site.gateway
    path = gateway.queue / socket
    code = f"import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect({str(path)!r}); "
    code += "s.settimeout(2); sys.exit(print('refused')) if s.recv(1) == b'' else None"
    for component in IDS:
        outcome = tries(gateway, component, code)
        assert (outcome in ("ok", "TimeoutError")) == (component in allowed), (component, outcome)


def test_no_component_can_change_what_mcp_keeps(site):
    for path in (site.gateway.queue / "mcp").iterdir():
        for component in IDS:
            assert tries(site.gateway, component, f"os.unlink({str(path)!r})") == "PermissionError", path
            if not path.is_socket():
                assert tries(site.gateway, component, f"open({str(path)!r}, 'r+')") == "PermissionError", path


def test_root_may_change_the_queue_and_nobody_may_not(site):
    gateway = site.gateway
    assert "r@waits.example" in gateway.run_tool("mailq", "-f", str(gateway.conf)).stdout
    command = [gateway.python, "-c", "from meta1g.tools.mailq import run; run()", "-f", str(gateway.conf)]
    result = subprocess.run(
        command, user="nobody", group="nogroup", extra_groups=[], env=gateway.environment(), cwd="/",
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert result.returncode == 77, result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "r@waits.example" not in result.stdout


def asked_as_nobody(site: Site, groups: list[int], *words: str) -> tuple[int, str]:
    """Runs qmgrctl under an account of no component that is a member of groups; gives exit code and output."""
    command = [site.gateway.python, "-c", "from meta1g.tools.qmgrctl import run; run()", "-f", str(site.gateway.conf), *words]
    result = subprocess.run(
        command, user="nobody", group="nogroup", extra_groups=groups, env=site.gateway.environment(), cwd="/",
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return result.returncode, result.stdout + result.stderr


def test_members_of_groups_see_what_the_manual_says(site):
    ta_id = site.waiting.name
    looks = [IDS["qmgr"]]
    assert asked_as_nobody(site, [], "show", ta_id)[0] == 77
    code, said = asked_as_nobody(site, looks, "show", ta_id)
    assert (code, "<r@waits.example>" in said) == (0, True), said
    assert asked_as_nobody(site, looks, "--dry-run", "hold", ta_id) == (
        0, "nothing was changed; it would be:\nheld  1\n"
    )  # fmt: skip
    for order in (["hold", ta_id], ["remove", "all"], ["stop"], ["limits", "default"], ["forget", "all"]):
        code, said = asked_as_nobody(site, looks, *order)
        assert (code, "for root and the account of qmgr only" in said) == (77, True), said
    for part in ("--header", "--body"):
        code, said = asked_as_nobody(site, looks, part, "show", ta_id)
        assert (code, said.count("\n"), "hello" in said) == (77, 1, False), said
        code, said = asked_as_nobody(site, [*looks, IDS["smtpc"]], part, "show", ta_id)
        assert (code, ("hello" if part == "--body" else "Subject: test") in said) == (0, True), said


def test_setup_a_second_time_changes_nothing(site):
    gateway = site.gateway
    result = gateway.run_tool("setup_dirs", "-f", str(gateway.conf))
    assert result.stdout == ""
    for name in NAMES.values():
        assert f"{name}:" in Path("/etc/passwd").read_text()
