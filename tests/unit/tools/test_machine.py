"""What a configuration needs of its machine; what is told stands in tests/vectors/checkers."""

import socket

import pytest

from meta1g.base import paths, sysexits
from meta1g.conf.load import load_file
from meta1g.tools import machine, smconf


@pytest.fixture
def config(tmp_path):
    (tmp_path / "meta1.conf").write_text(f'queue_directory = "{tmp_path}/queue"; qmgr {{ }} smar {{ user = nobody; }}')
    return load_file(tmp_path / "meta1.conf")


def test_accounts_that_the_file_does_not_name_count_where_there_is_an_installation_with_them(config, tmp_path, monkeypatch):
    monkeypatch.setitem(paths.COMPONENT_ACCOUNTS, "qmgr", "no_such_user")
    assert machine.uses_accounts(config) is False
    (tmp_path / "queue" / "mcp").mkdir(parents=True)
    assert machine.uses_accounts(config) is True
    (text,) = machine.account_problems(config, use_accounts=True)
    assert "user no_such_user of qmgr does not exist; run sm.setup, or name another one with user" in text
    (tmp_path / "queue" / paths.MCP_NO_ACCOUNTS).touch()
    assert machine.uses_accounts(config) is False
    assert list(machine.account_problems(config, use_accounts=False)) == []


def test_a_file_without_components_needs_no_name(tmp_path):
    (tmp_path / "meta1.conf").write_text("log_level = 9;")
    assert list(machine.name_problems(load_file(tmp_path / "meta1.conf"))) == []


@pytest.mark.parametrize("owner", ["smar", "qmgr"])
def test_a_socket_map_without_a_socket_is_a_warning_until_its_server_runs(tmp_path, capsys, owner):
    conf, queue = tmp_path / "meta1.conf", tmp_path / "queue"
    maps = 'map m { type = socket; path = "maps/m"; } map n { type = socket; address = 127.0.0.1; port = 1; }'
    maps += (
        "map both { type = sequence; maps = { m, n }; }"
        + ("mailertable" if owner == "smar" else "conf_map")
        + "{ name = both; }"
    )
    conf.write_text(f'hostname = mx.example.org; queue_directory = "{queue}";\n{owner} {{ {maps} }}\n')
    assert smconf.main([str(conf)]) == sysexits.EX_OK
    said = capsys.readouterr().err
    assert said == f"smconf: warning: {conf}:2: {queue}/maps/m: no such socket; start the server of map m, or mend path\n"
    (queue / "maps").mkdir(parents=True)
    (queue / "mcp").mkdir()
    (queue / paths.MCP_NO_ACCOUNTS).touch()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(queue / "maps/m"))
        assert smconf.main([str(conf)]) == sysexits.EX_OK
    assert capsys.readouterr().err == ""
