"""What a configuration needs of its machine; what is told stands in tests/vectors/checkers."""

import pytest

from meta1g.base import paths
from meta1g.conf.load import load_file
from meta1g.tools import machine


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
