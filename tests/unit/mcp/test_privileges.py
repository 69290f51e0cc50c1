"""As root: every child is exactly whom it should be (invariant I7).  The accounts are made by sm.setup and removed again."""

import os
import signal
from collections.abc import Iterator

import pytest

from contrib.lib.gateway import copy_package
from meta1g.tools import setup_dirs
from tests.unit.mcp.accounts import accounts_of_this_machine
from tests.unit.mcp.conftest import child

pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("accounts"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]
SECTIONS = (
    child("qmgr", section="restart_dependencies = { smtps, smtpc };"),
    child("smtps", section="CDB_gid = 262;"),
    child("smtpc"),
    child("smar"),
)
#: by component: user and group, all groups
EXPECTED = {
    "qmgr": (261, {260, 261, 262, 263}),
    "smtps": (260, {260, 262, 263}),
    "smtpc": (262, {262}),
    "smar": (263, {263}),
}


@pytest.fixture
def accounts(mcp) -> Iterator[None]:
    """The accounts, and a queue directory that belongs to them."""
    mcp.directory.chmod(0o755)
    library = mcp.directory / "lib"  # the checkout may be where only root can read
    copy_package(library)
    mcp.env["PYTHONPATH"] = str(library)
    with accounts_of_this_machine():
        assert setup_dirs.main(["-f", str(mcp.directory / "etc" / "meta1.conf"), "--queue-directory", str(mcp.queue)]) == 0
        yield
        mcp.close()


def facts(mcp, name: str) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in mcp.wait(f"facts {name}").split()[2:])


def test_every_child_has_its_own_user_groups_descriptors_and_umask(mcp, accounts):
    mcp.log_options = "facility = mail;"
    mcp.start(*SECTIONS)
    for name, (number, groups) in EXPECTED.items():
        found = facts(mcp, name)
        assert found["Uid"] == ",".join([str(number)] * 4), name
        assert found["Gid"] == ",".join([str(number)] * 4), name
        assert {int(word) for word in found["Groups"].split(",")} == groups, name
        assert found["fds"] == "0,1,2,alive,ready", name
        assert found["Umask"] == "0007", name
        assert found["NoNewPrivs"] == "1", name
        assert int(found["CapPrm"], 16) == int(found["CapEff"], 16) == 0, name
        assert found["root"] == "never", name
    assert mcp.stop() == 0


def test_sockets_are_passed_from_root_to_an_account(mcp, accounts, port):
    from tests.unit.mcp.test_passfd import ask, passing

    mcp.start(passing(mcp, "smtps", port).replace("start_action", "CDB_gid = 260; start_action"))
    assert ask(port)[0] == "smtps"
    assert mcp.status()["smtps"]["user"] == "meta1s"
    assert mcp.stop() == 0


def test_a_log_that_mcp_cannot_make_at_sigusr1_is_told_and_costs_nothing(mcp, accounts):
    logs = mcp.directory / "logs"
    logs.mkdir()
    mcp.start(child("smar", section=f'log {{ file = "{logs}/smar.log"; }}'))
    logs.rename(mcp.directory / "away")
    mcp.signal(signal.SIGUSR1)
    mcp.wait("signal smar SIGUSR1")
    assert f"sevr=ERROR, func=mcp.reopen, stat=cannot make log file {logs}" in mcp.log()
    assert mcp.stop() == 0


def test_a_log_file_of_several_accounts_belongs_to_their_common_group(mcp, accounts):
    mcp.start(*SECTIONS)
    log = mcp.directory / "mcp.log"
    assert (log.stat().st_uid, log.stat().st_gid, log.stat().st_mode & 0o777) == (0, 264, 0o660)
    for name, (_number, groups) in EXPECTED.items():
        assert {int(word) for word in facts(mcp, name)["Groups"].split(",")} == groups | {264}


def test_content_that_smtpc_could_not_read_is_refused(mcp, accounts):
    mcp.start(child("smtps", section="CDB_gid = 261;"), child("smtpc"), child("smar"), ready=False)
    assert mcp.end() == 78
    assert "user meta1s is not in group 261" in mcp.errors


def test_a_directory_of_somebody_else_is_refused(mcp, accounts):
    os.chown(mcp.queue / "smar", 0, 0)
    mcp.start(child("smar"), ready=False)
    assert mcp.end() == 77
    assert mcp.errors == (
        f"mcp: {mcp.queue}/smar: smar runs as meta1m and cannot write there; run sm.setup or mend its owner\n"
    )


def test_no_component_may_be_root(mcp, accounts):
    mcp.start(child("smar", section="user = root;"), ready=False)
    assert mcp.end() == 78
    assert "smar must not run as root" in mcp.errors


def test_a_missing_account_names_the_command_that_makes_it(mcp, accounts):
    mcp.start(child("smar", section="user = nobody-of-this-name;"), ready=False)
    assert mcp.end() == 78
    assert "user nobody-of-this-name of smar does not exist; create it or mend user" in mcp.errors
