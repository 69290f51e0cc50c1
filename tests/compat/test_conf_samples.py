"""Configurations from public material about MeTA1 load, and mean what they say.  Each file names its source."""

from pathlib import Path

import pytest

from meta1g.conf.load import load_file

SAMPLES = Path(__file__).parent / "samples"


def sample(name):
    return load_file(SAMPLES / f"{name}.conf")


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.conf")), ids=lambda path: path.stem)
def test_a_sample_loads_without_error(path):
    config = load_file(path)
    assert all(warning.endswith("has no effect in this version") for warning in config.warnings)


def test_the_example_of_the_manual_page():
    config = sample("man_page")
    qmgr, smtps, smtpc, smar = config.all_sections
    assert [section.keyword for section in config.all_sections] == ["qmgr", "smtps", "smtpc", "smar"]
    assert qmgr.get("AQ_max_entries") == 8192
    assert (qmgr.sub("smtpc").get("initial_connections"), qmgr.sub("smtpc").get("max_connections")) == (19, 101)
    assert (qmgr.get("wait_for_server"), qmgr.get("wait_for_client"), qmgr.get("start_action")) == (4, 4, "wait")
    assert (qmgr.get("user"), qmgr.get("restart_dependencies")) == ("smxq", ("smtps", "smtpc", "smar"))
    assert (smtps.flag("8bitmime"), smtps.get("CDB_gid"), smtps.get("IO_timeout")) == (True, 261, 303)
    assert (smtps.sub("listen_socket").get("type"), smtps.sub("listen_socket").get("port")) == ("inet", 25)
    assert (smtps.get("start_action"), smtps.get("pass_fd_socket")) == ("pass", "smtps/smtpsfd")
    assert smtps.get("arguments") == "smtps -f /etc/smx/smx.conf"
    assert (smtpc.get("Log_Level"), smtpc.get("IO_timeout")) == (12, 360)
    assert (smar.get("nameserver"), smar.get("DNS_timeout")) == (("10.10.10.9", "127.0.0.1"), 6)


def test_local_users_by_a_sequence_of_maps():
    smar = sample("smap_local_users").section("smar")
    maps = {section.name: section for section in smar.subs("map")}
    assert list(maps) == ["password", "userdb", "locusr"]
    assert maps["userdb"].get("path") == "/var/spool/meta1/smap/userdb"
    assert (maps["userdb"].get("type"), maps["userdb"].get("mapname")) == ("socket", "userdb")
    assert maps["locusr"].get("maps") == ("password", "userdb")
    users = smar.sub("local_user_map")
    assert (users.get("name"), users.flag("localpart"), users.flag("local_domains")) == ("locusr", True, True)


def test_aliases_by_a_sequence_of_maps():
    smar = sample("smap_aliases").section("smar")
    stdal = next(section for section in smar.subs("map") if section.name == "stdal")
    assert (stdal.get("type"), stdal.get("file")) == ("hash", "aliases.db")
    assert smar.sub("aliases").get("name") == "aliasmap"


def test_policy_filters():
    socket = sample("mailfromd_inet").section("smtps").sub("policy_milter").sub("socket")
    assert (socket.get("type"), socket.get("address"), socket.get("port")) == ("inet", "127.0.0.1", 3333)
    socket = sample("mailfromd_unix").section("smtps").sub("policy_milter").sub("socket")
    assert (socket.get("type"), socket.get("path")) == ("unix", "/var/spool/meta1/pmult/socket")


def test_local_delivery():
    assert sample("mailutils").section("smtpc").get("LMTP_socket") == "lmtpsock"
