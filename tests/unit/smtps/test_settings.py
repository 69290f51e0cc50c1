"""Options of an smtps section as its sessions see them."""

import pytest

from meta1g.conf.load import ConfigError, load_file
from meta1g.rcb.smtps_smar import LookupFlags
from meta1g.smtp.address import STRICT, Leniency
from meta1g.smtp.esmtp import Ext
from meta1g.smtps.settings import ClientSettings, settings_from


@pytest.fixture
def settings(tmp_path):
    def make(options):
        conf = tmp_path / "meta1.conf"
        conf.write_text(f"smtps {{ {options} }}")
        config = load_file(conf)
        return settings_from(config, config.section("smtps"), "mx.example")

    return make


def test_the_defaults_offer_the_common_extensions(settings):
    made = settings("")
    assert made.hostname == "mx.example"
    assert made.offered_names >= {Ext.PIPELINING, Ext.SIZE, Ext.EIGHTBITMIME, Ext.ENHANCEDSTATUSCODES}
    assert made.cdb_gid is None
    assert not made.delay_checks


def test_times_are_microseconds_and_sizes_bytes(settings):
    made = settings("IO_timeout = 2m; max_message_size = 3KB;")
    assert made.io_timeout_us == 120_000_000
    assert made.max_message_bytes == 3072
    assert made.offered[Ext.SIZE] == "3072"


def test_flags_take_extensions_away(settings):
    made = settings("flags = { dont_pipelining, no_8bitmime, delay_checks };")
    assert Ext.PIPELINING not in made.offered_names
    assert Ext.EIGHTBITMIME not in made.offered_names
    assert made.delay_checks


def test_the_group_of_content_files_counts_only_if_it_is_given(settings):
    assert settings("CDB_gid = 4711;").cdb_gid == 4711


def test_addresses_are_read_as_the_rfc_says_unless_flags_take_more(settings):
    assert settings("").lenient == STRICT
    made = settings("flags = { accept_local_senders, accept_bare_addresses, accept_odd_dots };")
    assert made.lenient == Leniency(bare=True, odd_dots=True, sender_domain="mx.example")


def test_the_resolver_is_told_that_routes_are_allowed(settings):
    assert settings("").lookup_flags == 0
    assert settings("flags = { allow_routing };").lookup_flags == LookupFlags.ROUTING


def test_the_resolver_is_told_that_the_access_map_does_not_count(settings):
    assert settings("flags = { no_access };").lookup_flags == LookupFlags.NO_ACCESS
    assert settings("flags = { dont_access, allow_routing };").lookup_flags == LookupFlags.NO_ACCESS | LookupFlags.ROUTING


def test_a_client_has_the_settings_of_the_section_but_for_what_its_snippet_says(tmp_path):
    conf = tmp_path / "meta1.conf"
    conf.write_text("smtps { flags = { delay_checks, dont_8bitmime, no_access }; max_recipients = 7; max_hops = 9; }")
    config = load_file(conf)
    clients = ClientSettings(config, config.section("smtps"), "mx.example")
    made = clients.of("max_recipients = 3; flags = { xverp, dont_delay_checks };")
    assert (made.max_recipients, made.max_hops, made.delay_checks) == (3, 9, False)
    assert Ext.XVERP in made.offered_names
    assert Ext.EIGHTBITMIME not in made.offered_names
    assert made.lookup_flags == LookupFlags.NO_ACCESS
    assert clients.of("max_recipients = 3; flags = { xverp, dont_delay_checks };") is made
    with pytest.raises(ConfigError, match="unknown option max_recipient"):
        clients.of("max_recipient = 3;")
