"""What a section milter means, and which ones a section of smtps has."""

from pathlib import Path

import pytest

from meta1g.conf.errors import ConfigError
from meta1g.conf.snippet import parse_snippet
from meta1g.milter.settings import DefaultAction, MilterSettings
from meta1g.smtps.limits import US
from meta1g.smtps.milters import milters_of
from tests.unit.conf.text import load

QUEUE = Path("/var/spool/meta1")
TWO = """
  milter one { socket { path = "run/one"; } }
  milter two {
    socket { type = inet; address = "::1"; port = 8891; }
    connect_timeout = 1s; send_timeout = 2s; reply_timeout = 3s; end_timeout = 4s;
    default_action = quarantine; macros = { "{daemon_name}=ORIGINATING", "x = a=b" };
  }
"""


def section(options):
    return load(f"smtps {{ {options} }}").section("smtps")


def names(found):
    return [one.name for one in milters_of(found, QUEUE)]


def test_options_become_settings():
    one, two = milters_of(section(TWO), QUEUE)
    assert one == MilterSettings(
        "one", "/var/spool/meta1/run/one", 30 * US, 30 * US, 30 * US, 300 * US, DefaultAction.TEMPFAIL, {}
    )
    macros = {"daemon_name": "ORIGINATING", "x": "a=b"}
    assert two == MilterSettings("two", ("::1", 8891), 1 * US, 2 * US, 3 * US, 4 * US, DefaultAction.QUARANTINE, macros)


@pytest.mark.parametrize(
    ("options", "expected"),
    [("", []), (TWO, ["one", "two"]), (f"{TWO} milters = {{ two, one }};", ["two", "one"]), (f"{TWO} milters = {{ }};", [])],
)
def test_those_that_are_named_count_in_their_order(options, expected):
    assert names(section(options)) == expected


def test_a_client_may_have_other_ones():
    found = section(f"{TWO} milters = {{ two }};")
    assert names(found.changed(parse_snippet("milters = { one };", "smtps_session_conf"))) == ["one"]
    assert names(found.changed(parse_snippet("milters = { };", "smtps_session_conf"))) == []
    with pytest.raises(ConfigError, match="there is no section milter three"):
        names(found.changed(parse_snippet("milters = { three };", "smtps_session_conf")))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ("milter a { }", "section milter a has no socket"),
        ("milter { socket { path = x; } }", "name"),
        ("milter a { socket { } }", "needs port"),
        ("milter a { socket { type = unix; } }", "needs path"),
        ("milter a { socket { path = x; } macros = { x }; }", "x is no macro; write name=value"),
        ("milter a { socket { path = x; } } milters = { b };", "there is no section milter b"),
        ("milter a { socket { path = x; } } milters = { a, a };", "can be passed only once"),
        ("milters = { b };", "add milter b"),
    ],
)
def test_what_is_wrong_is_named(options, error):
    with pytest.raises(ConfigError, match=error):
        section(options)
