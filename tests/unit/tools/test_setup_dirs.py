import grp
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from meta1g.base import paths
from meta1g.base.cli import CliError
from meta1g.base.paths import Account
from meta1g.conf.load import load_file
from meta1g.conf.tlsconf import tls_settings
from meta1g.st.tls import tls_context
from meta1g.tools import accounts, selfsigned, setup_dirs
from tests.unit.mcp.accounts import accounts_of_this_machine

as_root = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture
def conf(tmp_path) -> Path:
    return tmp_path / "etc" / "meta1.conf"


def setup(conf: Path, *options: str, queue: Path | None = None) -> int:
    named = ["--queue-directory", str(queue)] if queue else []
    return setup_dirs.main(["-f", str(conf), *named, *options])


def test_without_accounts_everything_belongs_to_the_caller(tmp_path, conf, capsys):
    queue = tmp_path / "spool"
    assert setup(conf, "--no-accounts", queue=queue) == 0
    for row in paths.QUEUE_DIRECTORIES:
        facts = (queue / row.name).stat()
        assert (facts.st_uid, facts.st_gid, facts.st_mode & 0o7777) == (os.geteuid(), os.getegid(), row.mode)
    assert f"made {queue}/ibdb" in capsys.readouterr().out
    assert (queue / paths.MCP_NO_ACCOUNTS).exists()


def test_the_directories_above_are_open_for_all_accounts_whatever_the_umask_is(tmp_path):
    old = os.umask(0o077)
    try:
        setup(tmp_path / "x" / "etc" / "meta1.conf", "--no-accounts", queue=tmp_path / "y" / "z" / "spool")
    finally:
        os.umask(old)
    for name in ("x", "x/etc", "y", "y/z", "y/z/spool"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o755, name
    assert (tmp_path / "x/etc/meta1.conf").stat().st_mode & 0o777 == 0o644


def test_the_second_run_has_nothing_to_do_and_says_nothing(tmp_path, conf, capsys):
    setup(conf, "--no-accounts", queue=tmp_path / "spool")
    capsys.readouterr()
    assert setup(conf, "--no-accounts", queue=tmp_path / "spool") == 0
    assert capsys.readouterr().out == ""


def test_the_example_configuration_is_right_and_names_the_queue_directory(tmp_path, conf):
    setup(conf, "--no-accounts", queue=tmp_path / "spool")
    config = load_file(conf)
    assert config.queue_directory == tmp_path / "spool"
    assert [section.keyword for section in config.all_sections] == ["qmgr", "smtps", "smtpc", "smar"]


def test_an_existing_configuration_is_kept_and_names_the_queue_directory(tmp_path, conf):
    conf.parent.mkdir()
    conf.write_text(f'queue_directory = "{tmp_path}/other"; qmgr {{ }}')
    setup(conf, "--no-accounts")
    assert conf.read_text().endswith("qmgr { }")
    assert (tmp_path / "other" / "cdb" / "F").is_dir()


def test_files_in_the_queue_survive_and_a_wrong_mode_is_mended(tmp_path, conf, capsys):
    queue = tmp_path / "spool"
    setup(conf, "--no-accounts", queue=queue)
    (queue / "ibdb" / "1").write_text("envelopes")
    (queue / "ibdb").chmod(0o755)
    capsys.readouterr()
    setup(conf, "--no-accounts", queue=queue)
    assert capsys.readouterr().out == f"sm.setup: mended {queue}/ibdb: has mode 0755, not 0700\n"
    assert (queue / "ibdb" / "1").read_text() == "envelopes"


def test_a_file_in_the_place_of_a_directory_is_an_error(tmp_path, conf):
    queue = tmp_path / "spool"
    queue.mkdir()
    (queue / "cdb").write_text("")
    with pytest.raises(CliError, match="cdb: is no directory; remove it"):
        setup(conf, "--no-accounts", queue=queue)


def test_a_symbolic_link_in_the_place_of_a_directory_is_not_followed(tmp_path, conf):
    queue = tmp_path / "spool"
    queue.mkdir()
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (queue / "ibdb").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CliError, match="ibdb: is no directory; remove it"):
        setup(conf, "--no-accounts", queue=queue)
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o755


def test_a_wrong_configuration_changes_nothing(tmp_path, conf):
    conf.parent.mkdir()
    conf.write_text("nonsense")
    command = [sys.executable, "-m", "meta1g.tools.setup_dirs", "-f", str(conf), "--queue-directory", str(tmp_path / "q")]
    result = subprocess.run([*command, "--no-accounts"], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 78
    assert f"{conf}:1:" in result.stderr
    assert not (tmp_path / "q").exists()


def test_numbers_that_somebody_else_has_are_told():
    root = pwd.getpwuid(0).pw_name
    found = accounts.conflicts((Account("meta1-test", 0, "test"),))
    assert found == [
        f"user id 0 of meta1-test belongs to {root}",
        f"group id 0 of meta1-test belongs to {grp.getgrgid(0).gr_name}",
    ]


def test_what_is_missing_is_made_by_groups_users_memberships():
    steps = list(accounts.missing((Account("meta1-test", 60987, "a test", ("root",)),)))
    assert [step.command[0] for step in steps] == ["groupadd", "useradd", "usermod"]
    assert steps[0].command == ("groupadd", "-g", "60987", "meta1-test")
    assert steps[1].command[:7] == ("useradd", "-u", "60987", "-g", "meta1-test", "-c", "a test")
    assert steps[2].command == ("usermod", "-a", "-G", "root", "meta1-test")


def test_a_failing_command_is_told_with_its_own_words():
    step = accounts.AccountStep(("groupadd", "-g", "nonsense", "meta1-test"), "group meta1-test")
    with pytest.raises(CliError, match=r"cannot make group meta1-test: groupadd .*nonsense"):
        accounts.make(step)


@pytest.mark.xdist_group("accounts")
class TestAsRoot:
    pytestmark = as_root

    def test_the_accounts_are_made_as_in_meta1(self, tmp_path, conf):
        tmp_path.chmod(0o755)
        with accounts_of_this_machine():
            assert setup(conf, queue=tmp_path / "spool") == 0
            for account in paths.ACCOUNTS:
                user = pwd.getpwnam(account.name)
                assert (user.pw_uid, user.pw_gid, grp.getgrnam(account.name).gr_gid) == (account.number,) * 3
                assert user.pw_dir == "/nonexistent"
                assert user.pw_shell.endswith("nologin")
            assert set(grp.getgrnam("meta1c").gr_mem) == {"meta1s"}
            assert set(grp.getgrnam("meta1m").gr_mem) == {"meta1s", "meta1q"}

    def test_directories_belong_to_their_components(self, tmp_path, conf):
        with accounts_of_this_machine():
            setup(conf, "--no-accounts", queue=tmp_path / "spool")
            assert setup(conf, queue=tmp_path / "spool") == 0
            for row in paths.QUEUE_DIRECTORIES:
                facts = (tmp_path / "spool" / row.name).stat()
                assert facts.st_uid == pwd.getpwnam(row.user).pw_uid, row.name
                assert facts.st_gid == grp.getgrnam(row.group).gr_gid, row.name
                assert facts.st_mode & 0o7777 == row.mode, row.name
            assert not (tmp_path / "spool" / paths.MCP_NO_ACCOUNTS).exists()
            setup(conf.with_name("fresh.conf"), queue=tmp_path / "spool")
            assert load_file(conf.with_name("fresh.conf")).section("smtps").get("CDB_gid") == 262

    def test_the_user_of_a_section_owns_its_directory(self, tmp_path, conf):
        conf.parent.mkdir()
        conf.write_text("smar { user = nobody; }")
        with accounts_of_this_machine():
            setup(conf, queue=tmp_path / "spool")
            assert (tmp_path / "spool" / "smar").stat().st_uid == pwd.getpwnam("nobody").pw_uid


def test_a_certificate_is_made_once_and_named_in_the_example(tmp_path, conf, capsys):
    queue = tmp_path / "spool"
    assert setup(conf, "--no-accounts", "--tls", queue=queue) == 0
    cert, key = conf.parent / "tls/cert.pem", conf.parent / "tls/key.pem"
    assert f"made {cert} for " in capsys.readouterr().out
    assert (cert.stat().st_mode & 0o777, key.stat().st_mode & 0o777) == (0o644, 0o600)
    config = load_file(conf)
    settings = tls_settings(config, config.sections("smtps")[0].sub("tls"), server=True)
    assert tls_context(settings, server=True).seconds_left()[0] > 3600 * 86400
    before = key.read_bytes()
    assert setup(conf, "--no-accounts", "--tls", queue=queue) == 0
    assert key.read_bytes() == before
    assert capsys.readouterr().out == ""


def test_a_configuration_that_names_no_certificate_is_left_alone_and_told(tmp_path, conf, capsys):
    conf.parent.mkdir(parents=True)
    conf.write_text(f'hostname = "mx.example"; queue_directory = "{tmp_path}/spool";\nsmtps {{ }}\n')
    text = conf.read_text()
    assert setup(conf, "--no-accounts", "--tls") == 0
    said = capsys.readouterr().out
    assert f"put this into smtps of {conf}: tls {{ cert_file = tls/cert.pem; key_file = tls/key.pem; }}" in said
    assert "for mx.example, signed by its own key" in said
    assert conf.read_text() == text


@pytest.mark.parametrize("missing", ["cert.pem", "key.pem"])
def test_half_a_pair_is_not_completed(tmp_path, conf, missing):
    assert setup(conf, "--no-accounts", "--tls", queue=tmp_path / "spool") == 0
    (conf.parent / "tls" / missing).unlink()
    with pytest.raises(CliError, match=f"{missing} is not; put it there, or remove the first"):
        setup(conf, "--no-accounts", "--tls", queue=tmp_path / "spool")


def test_without_openssl_it_is_said_what_to_install(tmp_path, conf, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CliError, match="apt-get install openssl"):
        setup(conf, "--no-accounts", "--tls", queue=tmp_path / "spool")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_key_is_for_the_group_that_asked(tmp_path):
    assert selfsigned.make(tmp_path, "mx.example", 65534)
    facts = (tmp_path / "tls/key.pem").stat()
    assert (facts.st_uid, facts.st_gid, facts.st_mode & 0o777) == (0, 65534, 0o640)
