import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from meta1g.base import paths
from meta1g.base.cli import CliError
from meta1g.db.mapfile import MapFile
from meta1g.tools import check_install, setup_dirs
from tests.unit.mcp.accounts import accounts_of_this_machine, existing

CONF = """\
hostname = "mx.example";
queue_directory = "{queue}";
qmgr {{ }}
smtps {{ start_action = pass; pass_fd_socket = smtps/smtpsfd; listen_socket {{ port = 2525; }} CDB_gid = 262; }}
smtpc {{ }}
smar {{
  mailertable {{ file = "mailertable.db"; }}
  map extra {{ type = text; file = extra; }}
  aliases {{ name = extra; flags = {{ localpart }}; }}
}}
"""


@pytest.fixture
def conf(tmp_path) -> Path:
    """An installation without accounts that is right."""
    return installation(tmp_path)


@pytest.fixture
def open_conf() -> Iterator[Path]:
    """The same in a directory that all accounts can pass through."""
    with tempfile.TemporaryDirectory(prefix="meta1g-test-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield installation(directory)


def installation(directory: Path) -> Path:
    path = directory / "etc" / "meta1.conf"
    path.parent.mkdir()
    path.write_text(CONF.format(queue=directory / "spool"))
    path.chmod(0o644)
    (path.parent / "mailertable").write_text(". [192.0.2.1]\n")
    (path.parent / "extra").write_text("a b\n")
    MapFile.build(path.parent / "mailertable.db", [(b".", b"[192.0.2.1]")], "hash")
    assert setup_dirs.main(["-f", str(path), "--no-accounts"]) == 0
    return path


def check(conf: Path, capsys, *options: str) -> list[str]:
    """The output's lines; exit code and output must agree."""
    capsys.readouterr()
    code = check_install.main(["-f", str(conf), *(options or ("--no-accounts",))])
    lines = capsys.readouterr().out.splitlines()
    assert code == (1 if lines else 0)
    return lines


def test_a_right_installation_is_silent(conf, capsys):
    assert check(conf, capsys) == []


def test_what_has_no_code_yet_is_named(conf, capsys):
    conf.write_text(conf.read_text().replace("smar {", "smar { greylisting { }", 1))
    assert check_install.main(["-f", str(conf), "--no-accounts"]) == 0
    assert "section greylisting has no effect in this version" in capsys.readouterr().err


def test_a_missing_directory_and_a_wrong_mode_name_the_command_that_mends_them(conf, capsys, tmp_path):
    (tmp_path / "spool" / "ibdb").rmdir()
    (tmp_path / "spool" / "defedb").chmod(0o777)
    remedy = f"    sm.setup -f {conf} --no-accounts"
    assert check(conf, capsys) == [
        f"{tmp_path}/spool/ibdb is missing",
        remedy,
        f"{tmp_path}/spool/defedb has mode 0777, not 0700",
        remedy,
    ]
    setup_dirs.main(["-f", str(conf), "--no-accounts"])
    assert check(conf, capsys) == []


def test_a_missing_map_names_createmap(conf, capsys):
    path = conf.parent / "mailertable.db"
    path.unlink()
    assert check(conf, capsys) == [
        f"{path}: map of section smar is missing",
        f"    createmap {path} < {conf.parent}/mailertable",
    ]


def test_a_map_older_than_its_source_is_told(conf, capsys):
    path = conf.parent / "mailertable.db"
    os.utime(path, (1, 1))
    assert check(conf, capsys)[0] == f"{path} is older than {conf.parent}/mailertable"


def test_a_damaged_map_is_told(conf, capsys):
    path = conf.parent / "mailertable.db"
    path.write_bytes(b"no map" * 2000)
    lines = check(conf, capsys)
    assert str(path) in lines[0]
    assert lines[1].startswith("    createmap ")


def test_a_missing_text_map_is_told(conf, capsys):
    (conf.parent / "extra").unlink()
    assert check(conf, capsys)[0] == f"{conf.parent}/extra: map of section smar is missing"


def test_a_socket_path_that_is_too_long_is_told(conf, capsys, tmp_path):
    long = tmp_path / ("x" * 100)
    conf.write_text(conf.read_text().replace(str(tmp_path / "spool"), str(long)))
    setup_dirs.main(["-f", str(conf), "--no-accounts"])
    assert any("too long for a socket" in line for line in check(conf, capsys))


def test_a_configuration_that_others_may_write_is_told(conf, capsys):
    conf.chmod(0o666)
    assert check(conf, capsys) == [f"{conf} can be written by others than its owner", f"    chmod go-w {conf}"]


def test_what_mcp_would_refuse_is_told(conf, capsys):
    conf.write_text(conf.read_text().replace("smtpc {", "smtpc { path = /nonexistent/program;"))
    lines = check(conf, capsys)
    assert lines[0] == f"{conf}:5: path of smtpc: /nonexistent/program: no such program"
    assert f"mcp -c {conf}" in lines[1]


def test_no_configuration_is_an_error(tmp_path):
    with pytest.raises(CliError, match="run sm\\.setup"):
        check_install.main(["-f", str(tmp_path / "none.conf")])


def test_a_wrong_configuration_is_an_error(conf):
    conf.write_text("nonsense")
    command = [sys.executable, "-m", "meta1g.tools.check_install", "-f", str(conf)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 78


@pytest.mark.root
@pytest.mark.xdist_group("accounts")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_with_accounts_owners_readers_and_directories_above_are_checked(open_conf, capsys):
    conf, directory = open_conf, open_conf.parents[1]
    with accounts_of_this_machine():
        assert any("made with --no-accounts" in line for line in check(conf, capsys, "-f", str(conf)))
        setup_dirs.main(["-f", str(conf)])
        problems = check(conf, capsys, "-f", str(conf))[::2]
        assert [text for text in problems if str(directory) in text] == []  # the checkout itself may be closed to the accounts
        directory.chmod(0o700)
        problems = check(conf, capsys, "-f", str(conf))[::2]
        assert {text.partition(" ")[0] for text in problems if f"directory {directory} is closed to" in text} == {
            f"{name}:" for name in ("qmgr", "smtps", "smtpc", "smar")
        }
        directory.chmod(0o755)
        os.chown(directory / "spool" / "qmgr", 0, 0)
        (conf.parent / "mailertable.db").chmod(0o600)
        lines = check(conf, capsys, "-f", str(conf))
    assert lines == [
        f"{directory}/spool/qmgr belongs to root:root, not to meta1q:meta1q",
        f"    sm.setup -f {conf}",
        f"{conf.parent}/mailertable.db: smar may not read it",
        f"    chmod a+r {conf.parent}/mailertable.db",
    ]


@pytest.mark.root
@pytest.mark.xdist_group("accounts")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_missing_accounts_are_told(conf, capsys):
    with accounts_of_this_machine():
        if existing() & {f"user {account.name}" for account in paths.ACCOUNTS}:
            pytest.skip("this machine has the accounts")
        lines = check(conf, capsys, "-f", str(conf))
    assert "there is no group meta1s (260)" in lines
    assert f"    sm.setup -f {conf}" in lines
