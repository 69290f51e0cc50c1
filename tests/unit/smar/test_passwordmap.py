"""The map of passwords: what smar says of a user, and what of it stands in the log."""

import pytest

from meta1g.base.log import Log
from meta1g.maps.base import MapResult, MapStatus
from meta1g.maps.static import StaticMap
from meta1g.maps.wrong import WrongEntries
from meta1g.sasl.stored import make_stored
from meta1g.smar.entries import PASSWORDS, EntryRules, MapEntry, check_entries
from meta1g.smar.passwordmap import PasswordMap
from meta1g.smtps.passwordmap import UNKNOWN
from tests.fakes.lines import Lines

STORED = str(make_stored("SCRAM-SHA-256", "pencil", b"salt" * 4, 4096))
ENTRIES = {"ann": STORED, "joe": f"{STORED} {{EXTERNAL}}:1000:1000::/home/joe:", "bad": "{MD5}secret-of-bad", UNKNOWN: STORED}


class NoAnswer(StaticMap):
    def lookup(self, key):
        return MapResult(MapStatus.TEMP, "away")


@pytest.mark.parametrize(
    ("user", "code", "stored"),
    [
        ("ann", 250, STORED),
        ("joe", 250, f"{STORED} {{EXTERNAL}}"),
        ("bob", 550, ""),
        ("bad", 451, ""),
        (UNKNOWN, 250, STORED),
    ],
)
def test_what_is_stored_of_a_user(user, code, stored):
    entry = PasswordMap(StaticMap("users", ENTRIES)).find(user)
    assert (entry.reply.code, entry.stored) == (code, stored)


def test_a_map_that_does_not_answer_has_not_said_no():
    assert PasswordMap(NoAnswer("users", {})).find("ann").reply.code == 451


def test_a_wrong_entry_is_told_without_what_it_stores():
    lines = Lines()
    PasswordMap(StaticMap("users", ENTRIES), WrongEntries(Log("smar", sink=lines))).find("bad")
    (text,) = lines.lines
    assert "key=bad" in text
    assert "secret-of-bad" not in text


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("ann", "", "no password"),
        ("ann", "pencil", "too weak"),
        ("ann", "*", "locked"),
        ("ann", f"{STORED} {STORED}", "two passwords of one kind"),
        ("*", STORED, "does not begin with # or *"),
        ("an:n", STORED, "no blank, colon"),
    ],
)
def test_wrong_entries_are_named(key, value, told):
    (text,) = check_entries([MapEntry("f:1", key, value)], [EntryRules(use=PASSWORDS)])
    assert told in text
    assert value == "*" or not value or value not in text


def test_right_entries_are_not():
    entries = [MapEntry("f:1", key, value) for key, value in ENTRIES.items() if key != "bad"]
    assert list(check_entries(entries, [EntryRules(use=PASSWORDS)])) == []
