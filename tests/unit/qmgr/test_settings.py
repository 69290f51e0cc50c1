import os
import pwd

from meta1g.conf.load import load_file
from meta1g.qmgr.main import socket_access
from meta1g.qmgr.settings import Settings

TEXT = """
hostname = "mx.example";
qmgr {
  AQ_max_entries = 100;
  min_retry_delay = 7m;
  dsn_flags = { dont_delay, no_double_bounce };
  smtps { max_connections = 3; }
  smtpc { initial_connections = 4; max_connections = 5; }
  IBDB { max_size = 1MB; max_open = 7; }
  DEFEDB { cache_size = 2MB; log_directory = "logs"; }
}
"""


def read(tmp_path, text):
    path = tmp_path / "meta1.conf"
    path.write_text(text)
    return Settings.from_config(load_file(path))


def test_options_become_settings(tmp_path):
    it = read(tmp_path, TEXT)
    assert (it.hostname, it.aq_max_entries, it.min_retry_delay_s, it.double_bounce_address) == (
        "mx.example", 100, 420, "postmaster",
    )  # fmt: skip
    assert (it.smtps_max_connections, it.smtpc_initial_connections, it.smtpc_max_connections) == (3, 4, 5)
    assert (it.dsn_delay, it.dsn_headers_only, it.dsn_double_bounce) == (False, True, False)
    assert (it.ibdb_max_size, it.defedb_cache_size, it.defedb_log_directory) == (1 << 20, 2 << 20, "logs")
    assert it.ibdb_max_open == 7
    assert read(tmp_path, 'qmgr { double_bounce_address = "dead@x.example"; }').double_bounce_address == "dead@x.example"


def test_the_defaults_are_those_of_the_original(tmp_path):
    it = read(tmp_path, "qmgr { }\n")
    assert (it.aq_max_entries, it.smtpc_initial_connections, it.smtpc_max_connections) == (8192, 10, 100)
    assert (it.min_retry_delay_s, it.return_timeout_s, it.delay_dsn_timeout_s) == (300, 5 * 86400, 4 * 3600)
    assert it.double_bounce_address == "postmaster"
    assert it.hostname


def access(tmp_path, text):
    path = tmp_path / "meta1.conf"
    path.write_text(text)
    return socket_access(load_file(path))


def test_under_another_account_only_the_caller_and_root_may_connect(tmp_path):
    found = access(tmp_path, 'qmgr { user = "nobody-of-this-name"; }')
    assert set(found) == {"qmgr/smtps", "qmgr/smtpc", "qmgr/control"}
    assert {(one.gid, one.uids) for one in found.values()} == {(None, frozenset((0, os.geteuid())))}


def test_under_the_account_that_the_configuration_names_its_clients_may_connect(tmp_path):
    own = pwd.getpwuid(os.geteuid()).pw_name
    other = next(one for one in pwd.getpwall() if one.pw_uid not in (0, os.geteuid()))
    found = access(tmp_path, f"qmgr {{ user = {own}; }} smtps {{ user = {other.pw_name}; }} smtpc {{ user = {own}; }}")
    assert set(found) == {"qmgr/smtps", "qmgr/smtpc"}
    assert found["qmgr/smtps"].uids == {0, other.pw_uid}
    assert found["qmgr/smtpc"].uids == {0, os.geteuid()}


def test_accounts_named_by_their_numbers_are_the_same_accounts(tmp_path):
    other = next(one for one in pwd.getpwall() if one.pw_uid not in (0, os.geteuid()))
    found = access(tmp_path, f"qmgr {{ user = {os.geteuid()}; }} smtps {{ user = {other.pw_uid}; }}")
    assert found["qmgr/smtps"].uids == {0, other.pw_uid}


def test_the_texts_of_reports_and_the_senders_with_verp_are_those_of_the_configuration(tmp_path):
    (tmp_path / "texts").write_text("failure_template = <<EOF\nSubject: Zurück\n\nHallo\nEOF\n")
    options = 'dsn_templates = texts; verp_senders = { "List@X.example", "@lists.example" }; verp_delimiters = "-=";'
    it = read(tmp_path, f"qmgr {{ {options} }}\n")
    assert it.templates["failure_template"].fields["Subject"] == "Zurück"
    assert it.verp.delimiters_for("LIST@x.example") == "-="
    assert it.verp.delimiters_for("a@Lists.example") == "-="
    assert it.verp.delimiters_for("other@x.example") == ""
    plain = read(tmp_path, "qmgr { }\n")
    assert plain.verp.delimiters_for("list@x.example") == ""
    assert plain.templates["failure_template"].fields["Subject"] == "Undelivered mail returned to sender"
