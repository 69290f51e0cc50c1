"""smpasswd: users come and go, files are replaced as a whole, passwords are seen nowhere."""

import contextlib
import io
import os
import pty
import stat
import subprocess
import sys
import threading

import pytest

from meta1g.base import sysexits
from meta1g.base.cli import CliError
from meta1g.sasl.users import read_users
from meta1g.tools import smpasswd

FAST = ("-i", "4096")


class Stdin:
    """Standard input that is no terminal."""

    def __init__(self, text):
        self.buffer = io.BytesIO(text.encode())

    def isatty(self):
        return False


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    path = tmp_path / "users"

    def call(*words, password="pencil\n"):
        monkeypatch.setattr(sys, "stdin", Stdin(password))
        code = smpasswd.main(["-p", str(path), *words])
        return code, capsys.readouterr().out

    call.path = path
    return call


def users(run):
    read, wrong = read_users(run.path.read_text(), "users")
    assert wrong == []
    return read


def test_users_are_added_changed_listed_checked_and_deleted(run):
    run("add", "Ann@Example.org", *FAST)
    run("add", "-s", "argon2id", "-s", "scram-sha-1", *FAST, "bob")
    run("add", "door.example", "-s", "external")
    assert run("list")[1] == "ann@example.org scram-sha-256\nbob argon2id scram-sha-1\ndoor.example external\n"
    for user in ("ann@example.org", "ANN@example.org", "bob"):
        assert run("check", user)[0] == 0
        with pytest.raises(CliError, match=r"the password is wrong, or .* no such user"):
            run("check", user, password="pencils\n")
    run("change", "bob", *FAST, password="chalk\n")
    assert run("check", "bob", password="chalk\n")[0] == 0
    run("delete", "bob")
    assert users(run).names() == ["ann@example.org", "door.example"]
    assert run("verify")[0] == 0
    assert "pencil" not in run.path.read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("add",), "add needs the name of a user"),
        (("list", "ann"), "list takes no user"),
        (("delete", "ann", "-s", "external"), "-s and -i are for add and change"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_told(run, words, told, capsys):
    with pytest.raises(SystemExit) as end:
        run(*words)
    assert end.value.code == sysexits.EX_USAGE
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "password", "code", "told"),
    [
        (("add", "ann"), "pencil\n", sysexits.EX_DATAERR, "there is a user ann; use change"),
        (("change", "bob"), "pencil\n", sysexits.EX_NOUSER, "there is no user bob; use add"),
        (("delete", "bob"), "", sysexits.EX_NOUSER, "there is no user bob"),
        (("add", "a b"), "pencil\n", sysexits.EX_USAGE, "no blank"),
        (("add", "bob"), "\n", sysexits.EX_DATAERR, "1 to 512 bytes"),
        (("add", "bob"), "x" * 600, sysexits.EX_DATAERR, "1 to 512 bytes"),
        (("add", "bob"), "a\x07b\n", sysexits.EX_DATAERR, "character may not stand"),
        (("add", "bob", "-i", "5"), "pencil\n", sysexits.EX_USAGE, "from 4096"),
        (("check", "nobody"), "pencil\n", sysexits.EX_NOPERM, "no such user"),
    ],
)
def test_what_cannot_be_done_leaves_the_file_as_it_was(run, words, password, code, told):
    run("add", "ann", *FAST)
    before = run.path.read_bytes()
    with pytest.raises(CliError, match=r"\w") as error:
        run(*words, password=password)
    assert told in str(error.value)
    assert error.value.exit_code == code
    assert run.path.read_bytes() == before
    assert [one.name for one in run.path.parent.iterdir()] == ["users"]


def test_a_file_with_a_wrong_line_is_not_touched(run):
    run.path.write_text("ann:*\n")
    for words in (("add", "bob", *FAST), ("list",), ("verify",)):
        with pytest.raises(CliError, match=r"users:1: the password is locked"):
            run(*words)
    assert run.path.read_text() == "ann:*\n"


def test_comments_secret_owner_and_mode_stay(run):
    run("add", "ann", *FAST)
    assert stat.S_IMODE(run.path.stat().st_mode) == 0o640
    text = run.path.read_text()
    secret = next(line for line in text.splitlines() if line.startswith(":"))
    run.path.write_text(f"# mine\n{text}")
    run.path.chmod(0o600)
    os.chown(run.path, -1, os.getgid())
    run("add", "bob", *FAST)
    changed = run.path.read_text()
    assert changed.startswith("# mine\n")
    assert changed.count(secret) == 1
    assert stat.S_IMODE(run.path.stat().st_mode) == 0o600


def test_a_link_stays_one_and_what_it_names_is_changed(run, tmp_path):
    (tmp_path / "there").mkdir()
    run.path.symlink_to("there/users")
    run("add", "ann", *FAST)
    run("add", "bob", *FAST)
    assert run.path.is_symlink()
    assert users(run).names() == ["ann", "bob"]
    assert [one.name for one in (tmp_path / "there").iterdir()] == ["users"]


def test_verify_sees_who_can_read_the_file(run):
    run("add", "ann", *FAST)
    run.path.chmod(0o644)
    with pytest.raises(CliError, match="chmod o-rwx"):
        run("verify")
    run.path.unlink()
    with pytest.raises(CliError, match="no such file"):
        run("verify")


def test_two_at_the_same_time_lose_nothing(tmp_path):
    path = tmp_path / "users"
    command = [sys.executable, "-c", "from meta1g.tools.smpasswd import run; run()", "-p", str(path), "add"]
    started = [
        subprocess.Popen([*command, f"user{number}", *FAST], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for number in range(6)
    ]
    with contextlib.ExitStack() as stack:
        for process in started:
            stack.enter_context(process)
        for process in started:
            assert process.communicate(b"pencil\n", 60)[1] == b""
    read, wrong = read_users(path.read_text(), "users")
    assert (sorted(read.names()), wrong) == ([f"user{number}" for number in range(6)], [])


def test_the_file_is_that_of_the_configuration(tmp_path, monkeypatch, capsys):
    conf = tmp_path / "meta1.conf"
    text = "smtps {} {{ auth {{ password_file = {}; }} }}\n"
    head = f'configuration_directory = "{tmp_path}";\n'
    monkeypatch.setattr(sys, "stdin", Stdin("pencil\n"))
    conf.write_text(head + text.format("MSA", "users"))
    smpasswd.main(["-f", str(conf), "add", "ann", *FAST])
    assert (tmp_path / "users").exists()
    conf.write_text(head + text.format("A", "users") + text.format("B", "other"))
    with pytest.raises(CliError, match="choose by -n: A, B"):
        smpasswd.main(["-f", str(conf), "list"])
    smpasswd.main(["-f", str(conf), "-n", "A", "list"])
    assert capsys.readouterr().out == "ann scram-sha-256\n"
    conf.write_text(head)
    with pytest.raises(CliError, match="no section smtps has a password_file"):
        smpasswd.main(["-f", str(conf), "list"])


def test_a_terminal_shows_no_password(tmp_path):
    path = tmp_path / "users"
    master, slave = pty.openpty()
    command = [sys.executable, "-c", "from meta1g.tools.smpasswd import run; run()", "-p", str(path), "add", "ann", *FAST]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    shown = b""

    def read():
        nonlocal shown
        with contextlib.suppress(OSError):
            while data := os.read(master, 1000):
                shown += data
                for _ in range(data.count(b": ")):
                    os.write(master, b"pencil\n")

    reader = threading.Thread(target=read)
    reader.start()
    assert process.wait(60) == 0
    reader.join(60)
    os.close(master)
    assert b"Password of ann: " in shown
    assert b"The same again: " in shown
    assert b"pencil" not in shown
