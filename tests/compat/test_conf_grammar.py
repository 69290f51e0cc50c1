"""Facts about the configuration language of MeTA1: meta1.conf(5) of 1.0.PreAlpha22.0, manuals of smap, cfpeek, mailfromd and
mailutils, and the change log of 1.0.Alpha21."""

import pytest

from meta1g.conf.check import walk
from meta1g.conf.defs import ROOT
from meta1g.conf.values import Flags
from tests.unit.conf.text import load


@pytest.mark.parametrize("end", ["}", "};", "}\n;"])
def test_the_semicolon_behind_a_closing_brace_is_optional(end):
    config = load(f"smtps {{ policy_milter {{ socket {{ type = inet; port = 3333; {end} {end} flags = {{ 8bitmime {end} {end}")
    assert config.section("smtps").sub("policy_milter").sub("socket").get("port") == 3333
    assert config.section("smtps").flag("8bitmime")


@pytest.mark.parametrize("name", ["Log_Level", "log_level", "LOG_LEVEL"])
def test_option_names_are_not_case_sensitive(name):
    assert load(f"smtpc {{ {name} = 12; }}").section("smtpc").get("log_level") == 12


@pytest.mark.parametrize("keyword", ["smtps", "SMTPS", "Smtps"])
def test_keywords_are_not_case_sensitive(keyword):
    assert load(f"{keyword} {{ CDB_gid = 261; }}").section("smtps").get("CDB_gid") == 261


@pytest.mark.parametrize("path", ["/usr/libexec/smtps", '"/usr/libexec/smtps"'])
def test_paths_may_be_quoted_or_not(path):
    passed = "start_action = pass; pass_fd_socket = smtps/smtpsfd; listen_socket { port = 25; }"
    config = load(f"smtps {{ path = {path}; {passed} }}")
    assert config.section("smtps").get("path") == "/usr/libexec/smtps"
    assert config.section("smtps").get("pass_fd_socket") == "smtps/smtpsfd"


def test_values_with_blanks_are_quoted():
    config = load('qmgr { arguments = "qmgr -f /etc/smx/smx.conf"; }')
    assert config.section("qmgr").get("arguments") == "qmgr -f /etc/smx/smx.conf"


def test_no_blanks_are_needed_around_the_equals_sign():
    assert load('smtpc{LMTP_socket="lmtpsock";}').section("smtpc").get("LMTP_socket") == "lmtpsock"


def test_layout_is_free():
    assert (
        load("smtps\n{\nlisten_socket\n{\ntype\n=\ninet\n;\nport=25;}}").section("smtps").sub("listen_socket").get("port") == 25
    )


def test_adjacent_strings_are_concatenated():
    config = load('smtps { arguments = "smtps -f " "/etc/meta1" \n "/meta1.conf"; }')
    assert config.section("smtps").get("arguments") == "smtps -f /etc/meta1/meta1.conf"


def test_a_comma_may_end_a_list():
    assert load("qmgr { restart_dependencies = { smtps, smtpc, smar, }; }").section("qmgr").get("restart_dependencies") == (
        *("smtps", "smtpc", "smar"),
    )


@pytest.mark.parametrize(("text", "seconds"), [("5m3s", 303), ("6m", 360), ("6", 6), ("4", 4)])
def test_times_have_units_or_are_seconds(text, seconds):
    assert load(f"smtps {{ IO_timeout = {text}; }}").section("smtps").get("IO_timeout") == seconds


def test_name_servers_are_a_list_of_bare_addresses():
    assert load("smar { nameserver = {10.10.10.9, 127.0.0.1}; }").section("smar").get("nameserver") == (
        "10.10.10.9",
        "127.0.0.1",
    )


def test_sections_have_names_and_nest():
    config = load("smtps MTA { listen_socket { port = 25; } } smar { map password { type = passwd; } }")
    assert config.section("smtps").name == "MTA"
    assert config.section("smar").subs("map")[0].name == "password"


def test_smtps_asks_for_certificates_unless_told_not_to():
    assert load("").section("smtps").sub("tls").flag("request_cert")
    assert not load("smtps { tls { flags = { dont_request_cert }; } }").section("smtps").sub("tls").flag("request_cert")


def test_only_smtps_has_the_flag_request_cert():
    homes = [
        " ".join(path)
        for definition, path in walk(ROOT)
        for row in definition.options
        if isinstance(row.kind, Flags) and any(flag.name == "request_cert" for flag in row.kind.flags)
    ]
    assert homes == ["smtps tls"]


@pytest.mark.parametrize("flag", ["abort", "accept_but_reconnect"])
def test_what_happens_when_the_policy_filter_does_not_answer_is_a_flag(flag):
    config = load(f"smtps {{ policy_milter {{ socket {{ type = unix; path = x; }}; flags = {{ {flag} }}; }}; }};")
    section = config.section("smtps").sub("policy_milter")
    assert [name for name in ("abort", "accept_but_reconnect") if section.flag(name)] == [flag]


def test_components_come_in_the_order_of_the_file():
    """mcp starts them from last to first and stops them from first to last (manual of GNU pies)."""
    assert [one.keyword for one in load("smar { } qmgr { } smtpc { } smtps { }").all_sections] == [
        "smar",
        "qmgr",
        "smtpc",
        "smtps",
    ]


def test_the_queue_directory_is_that_of_meta1():
    assert str(load("").queue_directory) == "/var/spool/meta1"
