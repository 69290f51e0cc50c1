"""runas: the program runs as the account and has nothing of the caller left."""

import os
import subprocess
import sys

import pytest

from contrib.lib.gateway import ROOT
from meta1g.base import sysexits

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
pytestmark = [pytest.mark.root]
NOBODY = 65534


def runas(*arguments, **how):
    command = [sys.executable, "-c", "from meta1g.tools.runas import run; run()", *arguments]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/root", "MARK": "kept"}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=60, **how)


def status_of(text):
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


@as_root
def test_the_program_has_the_ids_of_the_account_and_no_privilege():
    done = runas("nobody", "cat", "/proc/self/status")
    assert done.returncode == 0, done.stderr
    found = status_of(done.stdout)
    assert found["Uid"].split() == found["Gid"].split() == [str(NOBODY)] * 4
    assert found["Groups"].split() == [str(NOBODY)]
    assert {found[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {""}
    assert found["NoNewPrivs"] == "1"


@as_root
def test_groups_are_those_that_are_asked_for():
    found = status_of(runas("-g", "mail", "-G", "daemon,bin", "nobody", "cat", "/proc/self/status").stdout)
    numbers = [subprocess.getoutput(f"getent group {name}").split(":")[2] for name in ("mail", "daemon", "bin")]
    assert found["Gid"].split() == [numbers[0]] * 4
    assert sorted(found["Groups"].split()) == sorted(numbers)


@as_root
def test_the_environment_is_that_of_the_account_and_descriptors_are_closed(tmp_path):
    secret = os.open(tmp_path / "secret", os.O_CREAT | os.O_RDWR)
    try:
        done = runas("nobody", "sh", "-c", f"echo $HOME $USER $LOGNAME $MARK; ls /proc/self/fd/{secret}", pass_fds=[secret])
    finally:
        os.close(secret)
    assert done.stdout == "/nonexistent nobody nobody kept\n"
    assert f"{secret}'" in done.stderr


@as_root
def test_the_exit_code_is_that_of_the_program_and_arguments_arrive_as_they_are():
    assert runas("nobody", "sh", "-c", 'test "$1" = "-x y" && exit 9', "sh", "-x y").returncode == 9


@as_root
@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["nobody-here", "true"], sysexits.EX_NOUSER, "user nobody-here does not exist"),
        (["-g", "no-group", "nobody", "true"], sysexits.EX_NOUSER, "group no-group does not exist"),
        (["-G", "mail,no-group", "nobody", "true"], sysexits.EX_NOUSER, "group no-group does not exist"),
        (["root", "true"], sysexits.EX_USAGE, "would keep all privileges"),
        (["nobody", "no-such-program"], sysexits.EX_UNAVAILABLE, "no-such-program in PATH: no program that user nobody"),
        (["nobody", "/etc/passwd"], sysexits.EX_UNAVAILABLE, "/etc/passwd: no program that user nobody may execute"),
        (["nobody"], sysexits.EX_USAGE, "PROGRAM"),
    ],
)
def test_what_cannot_be_is_said(arguments, code, text):
    done = runas(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr


@as_root
def test_a_program_that_only_root_may_reach_is_not_run(tmp_path):
    program = tmp_path / "closed" / "program"
    program.parent.mkdir(mode=0o700)
    program.write_text("#!/bin/sh\necho ran\n")
    program.chmod(0o755)
    done = runas("nobody", str(program))
    assert (done.returncode, done.stdout) == (sysexits.EX_UNAVAILABLE, "")


@as_root
def test_somebody_else_can_become_nobody_but_himself(program_readable):
    def as_nobody(*arguments):
        inner = f"import sys; sys.path.insert(0, {program_readable!r}); from meta1g.tools.runas import run; run()"
        return runas("nobody", sys.executable, "-c", inner, *arguments)

    assert as_nobody("nobody", "id", "-un").stdout == "nobody\n"
    refused = as_nobody("daemon", "id")
    assert (refused.returncode, refused.stdout) == (sysexits.EX_NOPERM, "")
    assert "only root can become user daemon" in refused.stderr


@pytest.fixture
def program_readable(tmp_path_factory):
    """A copy of the package that everybody can read."""
    import shutil
    import tempfile

    directory = tempfile.mkdtemp(prefix="meta1g-test-", dir="/tmp")
    for name in ("base", "tools"):
        shutil.copytree(ROOT / "meta1g" / name, f"{directory}/meta1g/{name}", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "meta1g/__init__.py", f"{directory}/meta1g/")
    subprocess.run(["chmod", "-R", "a+rX", directory], check=True)
    yield directory
    shutil.rmtree(directory)
