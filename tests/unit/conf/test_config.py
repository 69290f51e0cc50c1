from pathlib import Path

import pytest

from meta1g.base.errors import BugError, PermError
from tests.unit.conf.text import load

TEXT = """
log_level = 5;
qmgr { AQ_max_entries = 100; smtpc { initial_connections = 3; } }
smtps MTA {
  listen_socket { port = 25; }
  listen_socket { type = unix; path = x; }
  flags = { delay_checks, dont_8bitmime };
}
smtps MSA { listen_socket { port = 587; } }
smtpc { }
"""


def test_given_values_and_defaults():
    qmgr = load(TEXT).section("qmgr")
    assert (qmgr.get("AQ_max_entries"), qmgr.given("AQ_max_entries")) == (100, True)
    assert (qmgr.get("IQDB_max_entries"), qmgr.given("IQDB_max_entries")) == (32768, False)


def test_names_are_asked_for_in_any_case():
    config = load(TEXT)
    assert config.section("QMGR").get("aq_MAX_entries") == 100
    assert config.glob.get("Log_Level") == 5
    assert config.section("qmgr").sub("SMTPC").get("initial_connections") == 3


def test_sections_come_by_name():
    config = load(TEXT)
    assert config.section("smtps", "MSA").sub("listen_socket").get("port") == 587
    assert [section.name for section in config.sections("smtps")] == ["MTA", "MSA"]
    assert [section.title for section in config.all_sections] == ["qmgr", "smtps MTA", "smtps MSA", "smtpc"]


def test_a_section_that_is_missing_has_all_defaults():
    section = load("").section("smar")
    assert (section.get("DNS_timeout"), section.where, section.exists) == (5, "", False)
    assert section.sub("aliases").get("file") is None
    assert section.subs("map") == ()


def test_a_name_that_is_missing_is_an_error():
    with pytest.raises(PermError, match="there is no section smtps MSB; did you mean MSA"):
        load(TEXT).section("smtps", "MSB")


def test_one_of_several_named_sections_has_to_be_chosen():
    with pytest.raises(PermError, match="several sections smtps; choose one of MTA, MSA by -n"):
        load(TEXT).section("smtps")


def test_the_only_section_needs_no_name():
    assert load("smtps MTA { }").section("smtps").name == "MTA"


def test_the_section_without_a_name_comes_before_named_ones():
    assert load("smtps MTA { } smtps { }").section("smtps").name is None


def test_flags_after_defaults_and_negations():
    section = load(TEXT).section("smtps", "MTA")
    assert section.flag("delay_checks")
    assert section.flag("pipelining")
    assert not section.flag("8bitmime")


def test_repeated_sections_keep_their_order():
    subs = load(TEXT).section("smtps", "MTA").subs("listen_socket")
    assert [sub.get("type") for sub in subs] == ["inet", "unix"]


def test_a_section_knows_its_place():
    assert load(TEXT).section("qmgr").where == "t.conf:3"


@pytest.mark.parametrize(
    "ask",
    [
        lambda section: section.get("nothing"),
        lambda section: section.given("nothing"),
        lambda section: section.flag("nothing"),
        lambda section: section.sub("nothing"),
        lambda section: section.subs("nothing"),
    ],
)
def test_asking_for_what_the_table_does_not_have_is_a_bug(ask):
    with pytest.raises(BugError):
        ask(load(TEXT).section("smtps", "MTA"))


def test_directories_and_host_name():
    config = load('queue_directory = /q; configuration_directory = "/c"; hostname = MX.example;')
    assert (config.queue_directory, config.configuration_directory, config.hostname) == (Path("/q"), Path("/c"), "mx.example")


def test_directories_and_host_name_without_options():
    config = load("")
    assert config.queue_directory == Path("/var/spool/meta1")
    assert config.configuration_directory == Path("/etc/meta1"), "the directory of the file"
    assert config.hostname == ""


def test_all_options_can_be_listed():
    items = {item.row.name: item for item in load(TEXT).section("qmgr").items()}
    assert (items["AQ_max_entries"].value, items["AQ_max_entries"].where) == (100, "t.conf:3")
    assert (items["IQDB_max_entries"].value, items["IQDB_max_entries"].where) == (32768, None)


def test_a_log_level_outside_of_all_sections_holds_for_components_without_one():
    config = load("smtps { } smtpc { log_level = 3; } log_level = 12;")
    assert config.section("smtps").get("log_level") == 12
    assert config.section("smtpc").get("log_level") == 3
    assert config.section("smar").get("log_level") == 12, "there is no section smar"
    assert not config.section("smtps").given("log_level")
    assert load("").section("smtps").get("log_level") == 9
