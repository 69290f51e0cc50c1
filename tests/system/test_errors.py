"""What is wrong with a configuration or its surroundings is told in one line that says what to do; nothing keeps running."""

import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from contrib.lib.gateway import Gateway, free_port, wait_until
from meta1g.base import paths
from meta1g.base.sysexits import EX_CANTCREAT, EX_CONFIG, EX_NOPERM, EX_OSERR, EX_UNAVAILABLE
from tests.fakes.nameserver import NameServer
from tests.system.conftest import FAST_RETRY, mailq, processes_of, running, send

pytestmark = pytest.mark.system

NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
NOBODY_ID = 65534


@pytest.fixture
def idle(tmp_path) -> Gateway:
    """A gateway that is set up and does not run."""
    made = Gateway(tmp_path / "gateway", ". [127.0.0.1]")
    made.setup()
    return made


def fails(gateway: Gateway, exit_code: int, *, prefix=(), python=sys.executable) -> str:
    """Runs mcp until it ends by itself and gives its standard error."""
    command = [*prefix, python, "-m", "meta1g.mcp.main", str(gateway.conf)]
    result = subprocess.run(
        command, env=gateway.environment(), capture_output=True, text=True, timeout=60, check=False, cwd="/"
    )
    assert result.returncode == exit_code, result.stderr + gateway.last_words()
    assert result.stdout == ""
    assert processes_of(gateway.directory) == {}
    assert "Traceback" not in result.stderr + gateway.last_words()
    return result.stderr


def change(gateway: Gateway, old: str, new: str) -> None:
    text = gateway.conf.read_text()
    assert text.count(old) == 1
    gateway.conf.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "place", "text"),
    [
        (
            "start_action = pass;",
            "start_acton = pass;",
            "17:3",
            "unknown option start_acton in section smtps; did you mean start_action?",
        ),
        ("start_action = pass;", "start_action = passs;", "17:18", "start_action: passs is not known; did you mean pass?"),
        ("log_level = 9;", "log_level = high;", "2:13", "log_level: high is not a number"),
        ('mailertable { file = "mailertable.db"; }', "mailertable {", "29:1", "section smar is not closed; add } at its end"),
    ],
    ids=["misspelt option", "wrong word", "wrong number", "unclosed brace"],
)
def test_a_wrong_configuration_is_refused_with_its_line(idle, old, new, place, text):
    change(idle, old, new)
    first, *context = fails(idle, EX_CONFIG).splitlines()
    assert first == f"mcp: {idle.conf}:{place}: {text}"
    assert all(line.startswith((" ", str(idle.conf))) or line in idle.conf.read_text() for line in context)
    assert not idle.log.exists()


def test_a_configuration_that_is_missing_is_named(idle):
    idle.conf.unlink()
    assert fails(idle, EX_CONFIG) == (
        f"mcp: {idle.conf}: cannot read the configuration: no such file or directory; name the configuration file by -f\n"
    )


def test_a_port_in_use_is_named(idle):
    with socket.create_server(("127.0.0.1", idle.port)):
        assert fails(idle, EX_OSERR) == (
            f"mcp: {idle.conf}:16: cannot listen on 127.0.0.1 port {idle.port}: another program uses it; "
            "stop that one or choose another port in listen_socket\n"
        )


@pytest.mark.parametrize("name", [".", "cdb", "cdb/A", "ibdb", "defedb", "lost+found", "qmgr", "smar", "smtps", "smtpc", "mcp"])
def test_a_missing_queue_directory_is_named(idle, name):
    shutil.rmtree(idle.queue / name)
    assert fails(idle, EX_CONFIG) == f"mcp: {idle.queue / name}: no such directory; run sm.setup\n"


def test_a_queue_of_an_older_version_needs_no_sm_setup(idle):
    """What its component makes by itself may be missing."""
    for row in paths.QUEUE_DIRECTORIES:
        if row.made_at_need:
            (idle.queue / row.name).rmdir()
    idle.start()
    assert idle.stop() == 0


def test_qmgr_alone_names_a_missing_queue_directory_too(idle):
    (idle.queue / "ibdb").rmdir()
    command = [sys.executable, "-m", "meta1g.qmgr.main", "-f", str(idle.conf)]
    result = subprocess.run(command, env=idle.environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (EX_CONFIG, f"qmgr: {idle.queue}/ibdb: no such directory; run sm.setup\n")


def test_a_missing_mailertable_is_named_and_nothing_is_started(idle):
    (idle.conf.parent / "mailertable.db").unlink()
    text = fails(idle, EX_CONFIG)
    assert re.fullmatch(
        rf"mcp: smar: {idle.conf}:\d+: map mailertable: {idle.conf.parent}/mailertable.db: "
        r"map file is missing; make it with createmap\n",
        text,
    )


class Foreign:
    """A gateway that nobody runs, in directories that belong to nobody unless said otherwise."""

    def __init__(self, directory: Path, program: Path) -> None:
        self.gateway = Gateway(directory / "gateway", ". [127.0.0.1]", env={"PYTHONPATH": str(program)})
        self.gateway.setup()
        self.gateway.log.touch()
        os.chown(self.gateway.log, NOBODY_ID, NOBODY_ID)

    def give_away(self) -> None:
        for path in [self.gateway.queue, *self.gateway.queue.rglob("*")]:
            os.chown(path, NOBODY_ID, NOBODY_ID)

    def fails(self, exit_code: int) -> str:
        return fails(self.gateway, exit_code, prefix=NOBODY, python=os.path.realpath(sys.executable))


@pytest.fixture
def foreign(open_directory, program_for_all) -> Foreign:
    return Foreign(open_directory, program_for_all)


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")


@pytest.mark.root
@root_only
@pytest.mark.xdist_group("accounts")
def test_the_queue_directory_of_another_user_is_refused(foreign):
    assert foreign.fails(EX_NOPERM) == f"mcp: {foreign.gateway.queue}/mcp: cannot write there; start mcp as its owner\n"


@pytest.mark.root
@root_only
@pytest.mark.xdist_group("accounts")
@pytest.mark.parametrize(("name", "component"), [("ibdb", "qmgr"), ("defedb", "qmgr"), ("cdb/3", "smtps"), ("smar", "smar")])
def test_a_sub_directory_of_another_user_is_refused(foreign, name, component):
    foreign.give_away()
    os.chown(foreign.gateway.queue / name, 0, 0)
    assert foreign.fails(EX_NOPERM) == (
        f"mcp: {foreign.gateway.queue / name}: {component} runs as nobody and cannot write there; "
        "run sm.setup or mend its owner\n"
    )


@pytest.mark.root
@root_only
@pytest.mark.xdist_group("accounts")
def test_a_log_file_that_cannot_be_written_is_named(foreign):
    foreign.give_away()
    os.chown(foreign.gateway.log, 0, 0)
    assert foreign.fails(EX_CANTCREAT) == (
        f"mcp: cannot open log file {foreign.gateway.log}: Permission denied; mend it, or choose another file in log {{ }}\n"
    )


@pytest.mark.root
@root_only
@pytest.mark.xdist_group("accounts")
def test_a_configuration_that_cannot_be_read_is_named(foreign):
    foreign.gateway.conf.chmod(0o600)
    text = foreign.fails(EX_NOPERM)
    assert text.startswith(f"mcp: {foreign.gateway.conf}: cannot read the configuration: permission denied; ")
    assert len(text.splitlines()) == 1


def test_a_second_mcp_on_the_same_queue_directory_is_refused_and_the_first_one_goes_on(gateway, sink):
    assert gateway.process is not None
    command = [sys.executable, "-m", "meta1g.mcp.main", str(gateway.conf)]
    result = subprocess.run(command, env=gateway.environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (
        EX_UNAVAILABLE,
        f"mcp: {gateway.queue}: mcp with process id {gateway.process.pid} serves it already; stop that one first\n",
    )
    send(gateway, ["r@sink.example"])
    sink.wait_for(1)
    gateway.wait_empty()


@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "is silent"])
def test_mail_waits_with_a_clear_status_while_the_name_server_is_down(tmp_path, sink, silent):
    port = free_port()
    smar = f"nameserver {{ address = 127.0.0.1; port = {port}; }} DNS_timeout = 1s; DNS_tries = 1;"
    options = {"qmgr": FAST_RETRY, "smar": smar}
    with ExitStack() as stack:
        silence = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) if silent else None
        if silence is not None:
            silence.bind(("127.0.0.1", port))
        table = f"far.example {sink.port}^far.example\n. {sink.port}^[127.0.0.1]"
        gateway = stack.enter_context(running(Gateway(tmp_path / "gateway", table, options)))
        send(gateway, ["r@far.example"])
        wait_until(
            lambda: gateway.leftovers().get("defedb") == 1, 30, lambda: f"one recipient in DEFEDB; {gateway.last_words()}"
        )
        wait_until(lambda: "4.4.3" in mailq(gateway), 30, "status 4.4.3")
        assert "<r@far.example>" in mailq(gateway)
        assert "Name server: far.example: " in mailq(gateway)
        send(gateway, ["r@near.example"])
        assert sink.wait_for(1)[0]["rcpts"] == ["r@near.example"]
        if silence is not None:
            silence.close()
        with NameServer(port=port) as nameserver:
            nameserver.add("far.example", "MX", "10 mx.far.example.")
            nameserver.add("mx.far.example", "A", "127.0.0.1")
            assert sink.wait_for(2)[1]["rcpts"] == ["r@far.example"]
            gateway.wait_empty()
