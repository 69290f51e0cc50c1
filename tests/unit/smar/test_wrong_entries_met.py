"""A wrong entry that mail meets is logged with map, key as it stands in the map, and value; and once in a while only."""

import pytest

from meta1g.base.log import Log
from meta1g.maps.static import StaticMap
from meta1g.maps.wrong import WrongEntries
from meta1g.smar.alias import Aliases
from meta1g.smar.entries import DEFAULTS
from meta1g.smar.relay import RelayRules
from meta1g.smar.route import Routes
from meta1g.smtp.address import parse_path
from tests.fakes.lines import Lines


@pytest.fixture
def lines():
    return Lines()


def expand(entries, address, lines):
    Aliases(
        StaticMap("names", entries),
        localpart=True,
        local_domains=True,
        delimiter="+",
        relay=RelayRules((), (), ["x.org"], Routes(None, DEFAULTS)),
        hostname="gw.example",
        wrong=WrongEntries(Log("smar", sink=lines)),
    ).expand(parse_path(address))


@pytest.mark.parametrize(
    ("entries", "address", "key", "value"),
    [
        ({"root": "a@@b"}, "root@x.org", "root", "a@@b"),
        ({"root+*": "|prog"}, "root+y@x.org", "root+*", "|prog"),
        ({"@x.org": "list@x.org", "list": "ok@y.org /file"}, "any@x.org", "list", "/file"),
        ({"list": ", ,"}, "list@x.org", "list", None),
        ({"a": "b", "b": "a"}, "a@x.org", "a@x.org", None),
    ],
)
def test_an_alias(lines, entries, address, key, value):
    expand(entries, address, lines)
    (line,) = lines.lines
    assert f"func=map.entry, map=names, key={key}," in line
    assert value is None or f"answer={value}," in line
    assert "mail to it is returned until it is mended" in line


def test_an_alias_that_is_right_says_nothing(lines):
    expand({"a": "b c@y.org", "b": "a"}, "a@x.org", lines)
    assert lines.lines == []


def test_an_entry_of_a_mailertable(lines):
    routes = Routes(
        StaticMap("mt", {".x.org": "0^[192.0.2.1]", "y.org": "lmtp:"}), DEFAULTS, WrongEntries(Log("smar", sink=lines))
    )
    for domain in ("a.x.org", "b.x.org", "y.org", "z.org"):
        routes.plan(domain)
    (line,) = lines.lines
    assert "func=map.entry, map=mt, key=.x.org, answer=0^[192.0.2.1]," in line
    assert "port is not 1 to 65535; mail is put off until it is mended" in line
