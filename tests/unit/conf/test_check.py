"""The check against the tables; wrong files stand in wrong/, see test_wrong.py."""

import pytest

from meta1g.conf.check import PROTECTS, walk
from meta1g.conf.defs import ROOT
from meta1g.conf.errors import ConfigError
from meta1g.conf.port import Port
from meta1g.conf.values import Flags
from tests.unit.conf.text import load


def test_a_single_value_is_a_list_of_one():
    assert load("smar { nameserver = 127.0.0.1; }").section("smar").get("nameserver") == ("127.0.0.1",)


def test_a_single_flag_needs_no_braces():
    assert load("smtps { flags = delay_checks; }").section("smtps").flag("delay_checks")


def test_name_servers_may_be_given_several_times_and_with_ports():
    smar = load(
        "smar { nameserver = 192.0.2.1; nameserver = { ::1 }; nameserver { address = 127.0.0.1; port = 5353; } }"
    ).section("smar")
    assert smar.get("nameserver") == ("192.0.2.1", "::1")
    assert smar.sub("nameserver").get("port") == 5353


def test_dns_lists_need_no_names():
    config = load("smar { dnsbl { zone = a.example; } dnsbl { zone = b.example; } }")
    assert [sub.get("zone") for sub in config.section("smar").subs("dnsbl")] == ["a.example", "b.example"]


def test_an_empty_list_of_flags_leaves_the_defaults():
    assert load("smtps { flags = { }; }").section("smtps").flag("8bitmime")


def test_components_come_in_the_order_of_the_file():
    config = load("smar { } smtps A { } qmgr { } smtps B { } log { } mcp { }")
    assert [section.title for section in config.all_sections] == ["smar", "smtps A", "qmgr", "smtps B"]


def test_all_errors_are_told_at_once_in_the_order_of_the_text():
    with pytest.raises(ConfigError) as caught:
        load("log_level = x;\nsmtps { max_hops = 0 }\nfoo = 1;\nsmar { map m { } }\n")
    assert [line.split(":")[1] for line in caught.value.cause.splitlines() if line.startswith("t.conf:")] == [
        "1",
        "2",
        "2",
        "3",
        "4",
    ]


def test_more_than_a_hundred_errors_are_counted_only():
    with pytest.raises(ConfigError) as caught:
        load("foo = 1;\n" * 150)
    assert caught.value.cause.count(" unknown option ") == 100
    assert caught.value.cause.endswith("t.conf: and 50 more errors")


@pytest.mark.parametrize(
    "text",
    [
        "new_option = 5;",
        "smtps { new_option = { a, b }; }",
        "new_section { anything = 5; inside { x = y; } }",
        "smtps { flags = { 8bitmime, new_flag }; }",
        "mcp { speed = high; }",
    ],
)
def test_what_nobody_knows_is_left_out_if_the_owner_says_so(text):
    with pytest.raises(ConfigError):
        load(text)
    config = load(text, lenient=True)
    assert len(config.warnings) == 1
    assert config.warnings[0].startswith("t.conf:1:")
    assert config.warnings[0].endswith("; left out")


@pytest.mark.parametrize(
    "text",
    [
        "smtps { tls { new_option = 5; } }",
        "smtps { tls { flags = { new_flag }; } }",
        "smtps { auth { new_option = 5; } }",
        "smtps { requiretls = true; }",
        "smtps { flags = { authenticated_only }; }",
        "smar { access_map { file = a.db; new_option = 5; } }",
        "smar { relay_for = { example.org }; }",
        "new_section { inside { deny_all = true; } }",
        "new_section { what = relay; }",
        "smtps { session_rules { cltaddr = 10.0.0.1; } }",
        "smar { local_domain_map { file = x; } }",
        "smtps { milters { socket { port = 1; } } }",
        "smar { greylist { wait = 5m; } }",
        "smar { dnswl { zone = a.example; } }",
        "smtps { flags = { strict_helo }; }",
        "smtps { ehlo_map { file = x; } }",
        "qmgr { conf_maps { file = x; } }",
        "smtps { encryption = required; }",
        "smtps { bare_lf = accept; }",
    ],
)
def test_what_concerns_tls_auth_access_or_relaying_is_never_left_out(text):
    with pytest.raises(ConfigError, match="unknown"):
        load(text, lenient=True)


def protecting():
    """Gives each option, section and flag that protects: the sections it stands in, how it is written, its name."""
    for definition, path in walk(ROOT):
        forms = {row.name: "NAME = x;" for row in definition.options} | {row.keyword: "NAME { }" for row in definition.sections}
        flags = {row.name: row.kind.flags for row in definition.options if isinstance(row.kind, Flags)}
        forms |= {flag.name: f"{option} = {{ NAME }};" for option, known in flags.items() for flag in known}
        yield from ((path, form, name) for name, form in forms.items() if PROTECTS.search(name))


@pytest.mark.parametrize(
    ("path", "form", "name"), list(protecting()), ids=lambda one: " ".join(one) if isinstance(one, tuple) else one
)
def test_a_letter_that_is_missing_changes_nothing_of_that(path, form, name):
    for at in range(len(name)):
        text = form.replace("NAME", name[:at] + name[at + 1 :])
        for keyword in reversed(path):
            text = f"{keyword} {{ {text} }}"
        with pytest.raises(ConfigError, match="unknown"):
            load(text, lenient=True)


def test_a_wrong_value_of_a_known_option_stays_an_error():
    with pytest.raises(ConfigError, match="not a number"):
        load("log_level = x;", lenient=True)


@pytest.mark.parametrize(
    "text",
    [
        "smtps { milter f { socket { port = 0; address = 127.0.0.1; } } }",
        "smtps { policy_milter { socket { port = 0; address = 127.0.0.1; } } }",
        "smar { map a { type = socket; address = 127.0.0.1; port = 0; } }",
        "qmgr { map a { type = socket; address = 127.0.0.1; port = 0; } }",
        "smar { nameserver { address = 127.0.0.1; port = 0; } }",
        "smar { mta_sts { port = 0; } }",
        "smtpc { remote_port = 0; }",
        "smtpc { remote_port = 0x0; }",
    ],
)
def test_a_port_that_nobody_can_connect_to_is_refused_by_name(text):
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert "port: 0 cannot be connected to; name a port, 1 to 65535" in str(caught.value)


def test_only_what_listens_takes_port_0():
    found = [
        (definition.keyword, one.kind)
        for definition, _path in walk(ROOT)
        for one in definition.options
        if "port" in one.name.lower().split("_")
    ]
    assert all(isinstance(kind, Port) for _keyword, kind in found)
    assert {keyword for keyword, kind in found if kind.listen} == {"listen_socket"}
    assert len(found) > 6
