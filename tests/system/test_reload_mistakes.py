"""A reload with a mistake changes nothing: the old state serves on, exit code and message say what is wrong."""

import contextlib
import os
import resource
import shutil
import signal
import smtplib
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from contrib.lib.gateway import COMPONENTS, Gateway, wait_until
from meta1g.base.sysexits import EX_CANTCREAT, EX_CONFIG, EX_NOPERM, EX_OSERR
from tests.called import call_program
from tests.fakes.certificates import make_certificate
from tests.system.conftest import KeepingSink, directory_for_all, running, send
from tests.unit.mcp.accounts import accounts_of_this_machine

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("reload-mistakes")]

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to start components under their accounts")


@dataclass(frozen=True)
class Mistake:
    """What somebody does wrong before a reload, and what is told."""

    name: str
    code: int
    text: str  # part of the message; {etc}, {spool}, {dir} and {port} are filled in
    change: tuple[str, str] = ("", "")  # in the configuration
    before: Callable[[Gateway], object] = lambda gateway: None
    after: Callable[[Gateway], object] = lambda gateway: None


def swap(relative: str) -> tuple[Callable[[Gateway], object], Callable[[Gateway], object]]:
    """Takes a file or directory away, and puts it back."""
    return (
        lambda gateway: (gateway.directory / relative).rename(gateway.directory / "away"),
        lambda gateway: (gateway.directory / "away").rename(gateway.directory / relative),
    )


def mode(relative: str, wrong: int, right: int) -> tuple[Callable[[Gateway], object], Callable[[Gateway], object]]:
    return (
        lambda gateway: (gateway.directory / relative).chmod(wrong),
        lambda gateway: (gateway.directory / relative).chmod(right),
    )


MISTAKES = [
    Mistake(
        "a brace is missing",
        EX_CONFIG,
        "section smar is not closed",
        ('mailertable { file = "mailertable.db"; }', "mailertable {"),
    ),
    Mistake("an option is misspelt", EX_CONFIG, "did you mean log_level?", ("log_level = 9", "log_levle = 9")),
    Mistake("a value is out of bounds", EX_CONFIG, "max_hops", ("max_hops = 30", "max_hops = 100000000000")),
    Mistake("a value is no number", EX_CONFIG, "max_hops: many is not a number", ("max_hops = 30", "max_hops = many")),
    Mistake(
        "a map is misspelt",
        EX_CONFIG,
        "{etc}/mailertabel.db: map file is missing",
        ('"mailertable.db"', '"mailertabel.db"'),
    ),
    Mistake("a map is gone", EX_CONFIG, "{etc}/mailertable.db: map file is missing", ("", ""), *swap("etc/mailertable.db")),
    Mistake(
        "a map is in a directory that does not exist",
        EX_CONFIG,
        "smar: /nowhere/maps/m.db: out of reach: directory /nowhere is missing",
        ('"mailertable.db"', '"/nowhere/maps/m.db"'),
    ),
    Mistake("a map is no map", EX_CONFIG, "map mailertable: {etc}/meta1.conf: no", ('"mailertable.db"', '"meta1.conf"')),
    Mistake(
        "a map is not declared",
        EX_CONFIG,
        "map nothere is not declared",
        ('mailertable { file = "mailertable.db"; }', "mailertable { name = nothere; }"),
    ),
    Mistake(
        "a port is taken",
        EX_OSERR,
        "cannot listen on 127.0.0.1 port {port}: another program uses it",
        ("port = @free;", "port = @taken;"),
    ),
    Mistake(
        "a program is missing", EX_CONFIG, "/nowhere/smtpc2: no such program", ("path = smtpc;", "path = /nowhere/smtpc2;")
    ),
    Mistake("a program is a directory", EX_NOPERM, "/tmp is not a program", ("path = smtpc;", "path = /tmp;")),
    Mistake(
        "the log is in a directory that does not exist",
        EX_CANTCREAT,
        "/nowhere/x.log: out of reach: directory /nowhere is missing",
        ('log { file = "@log"', 'log { file = "/nowhere/x.log"'),
    ),
    Mistake(
        "the log is a directory",
        EX_CANTCREAT,
        "cannot open log file {etc}: Is a directory",
        ('log { file = "@log"', 'log { file = "{etc}"'),
    ),
    Mistake(
        "the log of one component is a directory",
        EX_CANTCREAT,
        "smtpc: cannot open log file {etc}: Is a directory",
        ("path = smtpc;", 'path = smtpc; log { file = "{etc}"; }'),
    ),
    Mistake(
        "a directory of the queue is gone",
        EX_CONFIG,
        "{spool}/ibdb: no such directory; run sm.setup",
        ("", ""),
        *swap("spool/ibdb"),
    ),
    Mistake(
        "the place of a socket is gone",
        EX_CONFIG,
        "{spool}/nowhere: no such directory",
        ("pass_fd_socket = smtps/smtpsfd", "pass_fd_socket = nowhere/smtpsfd"),
    ),
    Mistake(
        "the directory of DEFEDB's log is gone",
        EX_CONFIG,
        "qmgr: {spool}/nowhere: no such directory",
        ("path = qmgr;", "path = qmgr; DEFEDB { log_directory = nowhere; }"),
    ),
    Mistake(
        "the file for standard error is a link",
        EX_CANTCREAT,
        "{spool}/smar.log",
        ("", ""),
        lambda g: (swap("spool/smar.log")[0](g), (g.queue / "smar.log").symlink_to("/etc/passwd")),
        lambda g: ((g.queue / "smar.log").unlink(), swap("spool/smar.log")[1](g)),
    ),
    Mistake(
        "the queue directory is another one",
        EX_CONFIG,
        "queue_directory cannot change to",
        ('queue_directory = "{spool}"', 'queue_directory = "{dir}/other"'),
    ),
    Mistake(
        "arguments are wrong",
        64,
        "smtpc: unrecognized arguments: --wrong",
        ('arguments = "smtpc', 'arguments = "smtpc --wrong'),
    ),
    Mistake("there is no component left", EX_CONFIG, "nothing to start", ("@everything", "")),
]


def within(component: str, options: str) -> tuple[str, str]:
    return f"path = {component};", f"path = {component}; {options}"


MISTAKES += [
    Mistake(
        "a certificate is missing",
        EX_CONFIG,
        "{etc}/x.pem: No such file",
        within("smtps", 'tls { cert_file = "x.pem"; key_file = "x.key"; }'),
    ),
    Mistake(
        "the map of server names is missing",
        EX_CONFIG,
        "{etc}/sni: map file is missing",
        within("smtps", 'tls { cert_file = "x.pem"; key_file = "x.key"; server_names { file = "sni"; } }'),
    ),
    Mistake(
        "the password file is none",
        EX_CONFIG,
        "{etc}/meta1.conf:1",
        within("smtps", 'auth { password_file = "meta1.conf"; flags = { plaintext_without_tls }; }'),
    ),
    Mistake("a milter has no socket", EX_CONFIG, "socket", within("smtps", "milter a { }")),
    Mistake("a proxy is no network", EX_CONFIG, "proxy_from: nonsense", within("smtps", "proxy_from = { nonsense };")),
    Mistake(
        "trusted certificates are missing",
        EX_CONFIG,
        "{etc}/x.pem: No such file",
        within("smtpc", 'tls { CAcert_file = "x.pem"; }'),
    ),
    Mistake("users are missing", EX_CONFIG, "{etc}/users: No such file", within("smtps", "auth { password_file = users; }")),
    Mistake("texts of reports are missing", EX_CONFIG, "dsn_templates names it", within("qmgr", "dsn_templates = none;")),
    Mistake("logins are missing", EX_CONFIG, "{etc}/logins: No such file", within("smtpc", 'auth { file = "logins"; }')),
    Mistake(
        "those who may sign for policy servers are missing",
        EX_CONFIG,
        "CAcert_file: {etc}/x.pem: No such file",
        within("smar", 'mta_sts { CAcert_file = "x.pem"; }'),
    ),
    Mistake(
        "those who may sign for policy servers are none",
        EX_CONFIG,
        "CAcert_file: {etc}/meta1.conf: no certificate in PEM",
        within("smar", 'mta_sts { CAcert_file = "meta1.conf"; }'),
    ),
    Mistake(
        "revoked certificates are certificates",
        EX_CONFIG,
        "{etc}/ca.pem: no list of revoked certificates in PEM",
        within("smtpc", 'tls { CAcert_file = "ca.pem"; CRL_file = "ca.pem"; }'),
        lambda g: make_certificate(g.conf.parent, "ca"),
        lambda g: [(g.conf.parent / name).unlink() for name in ("ca.pem", "ca.key")],
    ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[tuple[Gateway, KeepingSink]]:
    directory = tmp_path_factory.mktemp("reload")
    with KeepingSink(directory / "maildir") as sink:
        gateway = Gateway(directory / "gateway", f". {sink.port}^[127.0.0.1]", {"smtps": "max_hops = 30;"})
        with running(gateway):
            send(gateway, ["first@sink.example"])
            sink.wait_for(1)
            shutil.copytree(gateway.queue, gateway.directory / "other", ignore=no_sockets)
            yield gateway, sink


def no_sockets(directory: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(directory) / name).is_socket()]


def reload(gateway: Gateway):
    return call_program("reload", "-f", gateway.conf)


def check_mistake(gateway: Gateway, sink: KeepingSink, mistake: Mistake) -> None:
    right, pids, arrived = gateway.conf.read_text(), gateway.pids(), len(sink.envelopes())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        places = {"{etc}": gateway.conf.parent, "{spool}": gateway.queue, "{dir}": gateway.directory, "{port}": port}
        places |= {"@log": gateway.log, "@free": gateway.port, "@taken": port}

        def filled(text: str) -> str:
            for word, value in places.items():
                text = text.replace(word, str(value))
            return text

        old, new = map(filled, mistake.change)
        wrong = right.partition("qmgr {")[0] if old == "@everything" else right.replace(old, new) if old else right
        assert not old or wrong != right, old
        gateway.conf.write_text(wrong)
        mistake.before(gateway)
        try:
            if "queue_directory" in mistake.text:
                gateway.process.send_signal(signal.SIGHUP)
                wait_until(lambda: "queue_directory cannot change" in gateway.log.read_text(), 30, gateway.last_words())
            else:
                result = reload(gateway)
                assert filled(mistake.text) in result.stderr, result
                assert (result.returncode, result.stdout) == (mistake.code, ""), result.stderr
                assert "Traceback" not in result.stderr
                if not result.stderr.startswith(f"sm.reload: {gateway.conf}:"):
                    assert result.stderr.splitlines()[-1] == "everything goes on with the old configuration"
        finally:
            mistake.after(gateway)
            gateway.conf.write_text(right)
    assert gateway.pids() == pids
    wait_until(lambda: accepted(gateway), 30, f"a message accepted; {gateway.last_words()}")
    sink.wait_for(arrived + 1)


def accepted(gateway: Gateway) -> bool:
    """Sends a message; while a directory was closed, the load control may have found no room on the disk."""
    try:
        send(gateway, ["r@sink.example"])
    except smtplib.SMTPException:
        return False
    return True


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_changes_nothing_and_is_told(site, mistake):
    check_mistake(*site, mistake)


def test_a_right_reload_tells_what_has_changed_and_the_status_tells_the_last_result(site):
    gateway, sink = site
    arrived = len(sink.envelopes())
    right = gateway.conf.read_text()
    gateway.conf.write_text(right.replace("max_hops = 30", "max_hops = 0"))
    assert reload(gateway).returncode == EX_CONFIG
    gateway.conf.write_text(right.replace("max_hops = 30", "max_hops = 31"))
    before = gateway.pids()
    result = gateway.run_tool("reload", "-f", str(gateway.conf), "-v")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0] == "changed: smtps"
    after = gateway.pids()
    assert [name for name in COMPONENTS if after[name] != before[name]] == ["smtps"]
    send(gateway, ["r@sink.example"])
    sink.wait_for(arrived + 1)


def test_a_filter_or_daemon_that_is_not_there_is_told_and_changes_what_was_asked_for(site):
    gateway, _sink = site
    right = gateway.conf.read_text()
    milter = 'milter a { socket { path = "/nowhere/m"; } default_action = accept; }'
    auth = 'auth { saslauthd_socket = "/nowhere/mux"; flags = { plaintext_without_tls }; }'
    gateway.conf.write_text(right.replace(*within("smtps", f"{milter} {auth}")))
    try:
        result = gateway.run_tool("reload", "-f", str(gateway.conf))
    finally:
        gateway.conf.write_text(right)
        assert reload(gateway).returncode == 0
    assert [line.partition(": warning: ")[0] for line in result.stderr.splitlines()] == ["sm.reload: smtps"] * 2
    assert "milter a: /nowhere/m: out of reach: directory /nowhere is missing" in result.stderr
    assert "/nowhere/mux: out of reach: directory /nowhere is missing" in result.stderr
    assert (
        len([line for line in gateway.log.read_text().splitlines() if "func=mcp.config" in line and "/nowhere/" in line]) == 2
    )


def test_the_number_of_processes_changes_with_a_reload(site):
    gateway, sink = site
    arrived, right = len(sink.envelopes()), gateway.conf.read_text()
    for processes in (3, 1):
        gateway.conf.write_text(right.replace("max_hops", f"processes = {processes}; max_hops"))
        result = reload(gateway)
        assert (result.returncode, result.stderr) == (0, "")
        assert len(gateway.pids()["smtps"]) == processes
        send(gateway, ["r@sink.example"])
    gateway.conf.write_text(right)
    assert reload(gateway).returncode == 0
    sink.wait_for(arrived + 2)


def test_another_file_than_that_of_mcp_is_refused(site):
    gateway, _sink = site
    other = gateway.conf.with_name("other.conf")
    other.write_text(gateway.conf.read_text())
    result = gateway.run_tool("reload", "-f", str(other), check=False)
    assert result.returncode == 64
    assert f"mcp runs with {gateway.conf}, not with {other}" in result.stderr


def open_fds(gateway: Gateway) -> list[int]:
    return [int(path.name) for path in Path(f"/proc/{gateway.process.pid}/fd").iterdir()]


def descriptors(gateway: Gateway) -> int:
    return len(open_fds(gateway))


def test_ten_reloads_good_and_bad_ones_cost_no_descriptor(site):
    gateway, _sink = site
    right = gateway.conf.read_text()
    reload(gateway)
    before = descriptors(gateway)
    try:
        for number in range(5):
            gateway.conf.write_text(right.replace("log_level = 9", f"log_levle = {number}"))
            assert reload(gateway).returncode == EX_CONFIG
            gateway.conf.write_text(right + f"# {number}\n")
            assert reload(gateway).returncode == 0
    finally:
        gateway.conf.write_text(right)
    wait_until(lambda: descriptors(gateway) <= before, 30, f"{before} descriptors; {descriptors(gateway)} are open")


def test_a_reload_without_descriptors_changes_nothing_and_leaks_nothing(site):
    gateway, sink = site
    pid, pids, arrived = gateway.process.pid, gateway.pids(), len(sink.envelopes())
    before = descriptors(gateway)
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    try:
        for spare in range(1, 12):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (max(open_fds(gateway)) + 1 + spare, limits[1]))
            decided = gateway.log.read_text().count("func=mcp.reload")
            gateway.process.send_signal(signal.SIGHUP)
            wait_until(lambda n=decided: gateway.log.read_text().count("func=mcp.reload") > n, 60, gateway.last_words())
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    assert "Too many open files" in gateway.log.read_text()
    assert gateway.process.poll() is None
    assert gateway.pids() == pids
    assert reload(gateway).returncode == 0
    wait_until(lambda: descriptors(gateway) <= before, 30, f"{before} descriptors; {descriptors(gateway)} are open")
    send(gateway, ["r@sink.example"])
    sink.wait_for(arrived + 1)


# under the accounts

AS_ACCOUNTS = [
    Mistake(
        "users cannot be read by the account",
        EX_NOPERM,
        "password_file {etc}/users: Permission denied",
        ("path = smtps;", 'path = smtps; auth { password_file = "users"; flags = { plaintext_without_tls }; }'),
        lambda g: (g.conf.parent / "users").touch(0o600),
        lambda g: (g.conf.parent / "users").unlink(),
    ),
    Mistake(
        "logins cannot be read by the account",
        EX_NOPERM,
        "{etc}/logins: Permission denied",
        ("path = smtpc;", 'path = smtpc; auth { file = "logins"; }'),
        lambda g: (g.conf.parent / "logins").touch(0o600),
        lambda g: (g.conf.parent / "logins").unlink(),
    ),
    Mistake(
        "a map cannot be read by its account",
        EX_CONFIG,
        "{etc}/mailertable.db: cannot read map: permission denied",
        ("", ""),
        *mode("etc/mailertable.db", 0o600, 0o644),
    ),
    Mistake(
        "the directory of the maps is closed",
        EX_NOPERM,
        "smar: {etc}/mailertable.db: out of reach: directory {etc} is closed to meta1m",
        ("", ""),
        *mode("etc", 0o700, 0o755),
    ),
    Mistake(
        "a directory above the queue is closed",
        EX_NOPERM,
        "directory {dir} is closed to meta1q",
        ("", ""),
        *mode(".", 0o700, 0o755),
    ),
    Mistake(
        "a queue directory is closed to its user",
        EX_NOPERM,
        "smtps: {spool}/smar: meta1s cannot reach the sockets in it",
        ("", ""),
        *mode("spool/smar", 0o700, 0o710),
    ),
    Mistake(
        "content cannot be removed",
        EX_NOPERM,
        "qmgr: {spool}/cdb/3: meta1q cannot remove content there",
        ("", ""),
        *mode("spool/cdb/3", 0o751, 0o771),
    ),
    Mistake(
        "the interpreter is out of reach",
        EX_NOPERM,
        "python: out of reach: directory {dir}/interpreter is closed to meta1",
        ("", ""),
        *mode("interpreter", 0o700, 0o755),
    ),
    Mistake(
        "the program is out of reach",
        EX_NOPERM,
        "/meta1g/__init__.py: out of reach: directory {dir}/program/meta1g is closed to meta1",
        ("", ""),
        *mode("program/meta1g", 0o700, 0o755),
    ),
    Mistake(
        "a file of the program cannot be read",
        EX_NOPERM,
        "smtps: {dir}/program/meta1g/smtps/session.py: meta1s cannot read it",
        ("", ""),
        *mode("program/meta1g/smtps/session.py", 0o600, 0o644),
    ),
    Mistake(
        "a library is out of reach",
        EX_NOPERM,
        "/ply/__init__.py: out of reach: directory {dir}/program/ply is closed to meta1",
        ("", ""),
        *mode("program/ply", 0o700, 0o755),
    ),
    Mistake(
        "a log file cannot be written by its account",
        EX_CANTCREAT,
        "smtpc: cannot open log file {dir}/smtpc.log: Permission denied",
        ("path = smtpc;", 'path = smtpc; log { file = "{dir}/smtpc.log"; }'),
        lambda g: (g.directory / "smtpc.log").touch(0o600),
        lambda g: (g.directory / "smtpc.log").unlink(),
    ),
    Mistake(
        "a user does not exist",
        EX_CONFIG,
        "user nobody-of-this-name of smtpc does not exist",
        ("path = smtpc;", "path = smtpc; user = nobody-of-this-name;"),
    ),
    Mistake("a user is root", EX_CONFIG, "smtpc must not run as root", ("path = smtpc;", "path = smtpc; user = root;")),
    Mistake(
        "a user has no directories",
        EX_NOPERM,
        "{spool}/smar: smar runs as nobody and cannot write there",
        ("path = smar;", "path = smar; user = nobody;"),
    ),
    Mistake("the group of content is wrong", EX_CONFIG, "is not in group 261", ("CDB_gid = 262", "CDB_gid = 261")),
    Mistake(
        "a file of a store belongs to root",
        EX_NOPERM,
        "qmgr: {spool}/ibdb/made-by-root: meta1q cannot use it",
        ("", ""),
        lambda g: (g.queue / "ibdb/made-by-root").touch(0o600),
        lambda g: (g.queue / "ibdb/made-by-root").unlink(),
    ),
]


@pytest.fixture(scope="module")
def accounts_site(program_for_all) -> Iterator[tuple[Gateway, KeepingSink]]:
    with accounts_of_this_machine(), directory_for_all() as directory, contextlib.ExitStack() as stack:
        sink = stack.enter_context(KeepingSink(directory / "maildir"))
        home = directory / "gateway"
        (home / "interpreter").mkdir(parents=True)
        home.chmod(0o755)
        (home / "interpreter" / "python").symlink_to(os.path.realpath(sys.executable))
        shutil.copytree(program_for_all, home / "program")
        gateway = Gateway(
            home,
            f". {sink.port}^[127.0.0.1]",
            {"smtps": "CDB_gid = 262;"},
            accounts=True,
            python=str(home / "interpreter" / "python"),
            env={"PYTHONPATH": str(home / "program"), "PYTHONSAFEPATH": "1"},
        )
        stack.enter_context(running(gateway))
        send(gateway, ["first@sink.example"])
        sink.wait_for(1)
        yield gateway, sink


@pytest.mark.root
@root_only
@pytest.mark.xdist_group("accounts")
@pytest.mark.parametrize("mistake", AS_ACCOUNTS, ids=lambda mistake: mistake.name)
def test_what_an_account_cannot_use_changes_nothing_and_is_told(accounts_site, mistake):
    check_mistake(*accounts_site, mistake)


@pytest.mark.root
@root_only
@pytest.mark.xdist_group("accounts")
def test_a_right_reload_under_the_accounts_makes_the_log_file_that_is_new(accounts_site):
    gateway, _sink = accounts_site
    log = gateway.directory / "smtpc-new.log"
    right = gateway.conf.read_text()
    gateway.conf.write_text(right.replace("path = smtpc;", f'path = smtpc; log {{ file = "{log}"; }}'))
    assert reload(gateway).returncode == 0
    assert log.stat().st_uid == 262
    gateway.conf.write_text(right)
    assert reload(gateway).returncode == 0
