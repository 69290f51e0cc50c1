"""The tables: rows are complete, defaults are inside their bounds, and what the design asks for is there."""

import pytest

from meta1g.conf.check import walk
from meta1g.conf.defs import ROOT
from meta1g.conf.schema import Origin, option
from meta1g.conf.values import Flags, Int

SECTIONS = [(" ".join(path) or "global", definition) for definition, path in walk(ROOT)]
ROWS = [(f"{place}: {row.name}", row) for place, definition in SECTIONS for row in definition.options]

WANTED = {
    "global": "log_level debug_level hostname queue_directory configuration_directory",
    "log": "facility ident file format",
    **dict.fromkeys(
        ("qmgr", "smtps", "smtpc", "smar"),
        "start_action user group path arguments restart_dependencies pass_fd_socket processes log_level debug_level",
    ),
    "smtps listen_socket": "type address port path permissions",
    "smtpc log": "facility ident file format",
    "qmgr smtps": "max_connections max_connection_rate",
    "qmgr smtpc": "initial_connections max_connections",
    "qmgr IBDB": "max_size max_open",
    "qmgr DEFEDB": "cache_size log_directory checkpoint_interval",
    "qmgr conf_map": "name file type",
    "smar map": "type file path address port mapname maps",
    "smar aliases": "name file type flags",
    "smar local_user_map": "name file type flags",
    "smar mailertable": "name file type",
    "smar access_map": "name file type",
    "smar nameserver": "address port",
    "smtps policy_milter": "timeout flags",
    "smtps policy_milter socket": "type address port path",
    "smtps tls": "cert_file key_file CAcert_file CAcert_directory CRL_file flags",
    "smtpc tls": "cert_file key_file CAcert_file CAcert_directory CRL_file",
    "smtps auth": "mechanisms",
}
WANTED_MORE = {
    "qmgr": "AQ_max_entries IQDB_max_entries wait_for_server wait_for_client min_retry_delay max_retry_delay delay_dsn_timeout "
    "return_timeout "
    "dsn_flags double_bounce_address max_rcpts_per_transaction min_free_disk ok_free_disk",
    "smar": "nameserver DNS_timeout DNS_tries DNS_flags address_delimiter local_domains relay_to relay_from",
    "smtps": "wait_for_server IO_timeout flags CDB_gid max_message_size max_recipients max_transactions max_bad_commands "
    "max_noops max_hops max_threads",
    "smtpc": "wait_for_server IO_timeout LMTP_socket connect_timeout greeting_timeout command_timeout data_timeout "
    "block_timeout dot_timeout "
    "source_address max_threads flags",
}


@pytest.mark.parametrize(("place", "row"), ROWS, ids=[place for place, _ in ROWS])
def test_a_row_is_complete(place, row):
    assert row.meaning.endswith("."), "a meaning is a sentence"
    assert row.meaning[0].isupper() or row.meaning[0].isdigit()
    assert row.meaning.isascii()
    assert row.kind.describe()
    if row.default is not None and not row.required:
        words = row.kind.words(row.default)
        assert row.kind.combine([row.kind.parse(word) for word in words]) == row.default


@pytest.mark.parametrize(("place", "definition"), SECTIONS, ids=[place for place, _ in SECTIONS])
def test_a_section_is_complete_and_names_nothing_twice(place, definition):
    assert definition.meaning.endswith(".")
    assert len(definition.by_option) == len(definition.options)
    assert len(definition.by_section) == len(definition.sections)


def test_flags_are_described():
    for _, row in ROWS:
        if isinstance(row.kind, Flags):
            assert all(flag.meaning.endswith(".") and flag.origin in set(Origin) for flag in row.kind.flags)


@pytest.mark.parametrize("table", [WANTED, WANTED_MORE])
def test_what_the_design_asks_for_is_there(table):
    known = dict(SECTIONS)
    for place, names in table.items():
        assert set(names.lower().split()) <= set(known[place].by_option), place


def test_a_default_outside_its_bounds_cannot_be_declared():
    with pytest.raises(ValueError, match="out of bounds"):
        option("x", Int(1, 5), "6", Origin.OWN, "Something.")


@pytest.mark.parametrize(
    ("place", "name", "default"),
    [
        ("global", "log_level", 9),
        ("global", "queue_directory", "/var/spool/meta1"),
        ("qmgr", "aq_max_entries", 8192),
        ("qmgr", "min_retry_delay", 300),
        ("qmgr", "max_retry_delay", 7200),
        ("qmgr", "delay_dsn_timeout", 4 * 3600),
        ("qmgr", "return_timeout", 5 * 86400),
        ("qmgr", "double_bounce_address", "postmaster"),
        ("qmgr smtpc", "initial_connections", 10),
        ("qmgr smtpc", "max_connections", 100),
        ("smar", "address_delimiter", "+"),
        ("smar", "dns_timeout", 5),
        ("smar", "dns_tries", 3),
        ("smtpc", "greeting_timeout", 300),
        ("smtpc", "command_timeout", 300),
        ("smtpc", "data_timeout", 120),
        ("smtpc", "block_timeout", 180),
        ("smtpc", "dot_timeout", 600),
        ("smtps", "io_timeout", 300),
    ],
)
def test_defaults_of_the_design(place, name, default):
    assert dict(SECTIONS)[place].by_option[name].default == default
