"""The table of events and the code agree: each call that logs has an event, its severity and its keys, and no event is idle."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from meta1g.base import eventlist
from meta1g.base.events import EVENTS, component_of
from meta1g.base.logkeys import LOG_KEYS
from tests.seen import SEEN
from tests.sources import nodes

pytestmark = pytest.mark.xdist_group("sources")


ROOT = Path(__file__).parent.parent
PACKAGES = ("meta1g", "contrib/filters/meta1g_filters")
COMPONENTS = {"dns", "evthr", "failure", "log", "map", "mcp", "pmilter", "qmgr", "rcb", "smar", "smtpc", "smtps", "st"}
SEVERITIES = {"fatal", "error", "warn", "notice", "info", "debug"}
#: What writes the line of an event that is given to it: place of the event among its arguments, and the keys that it adds.
_REFUSAL = {"ss_sess", "client", "client_name", "ehlo", "reply", "ecode", "map", "key"}
_OUTCOME = {"ss_ta", "rcpt_idx", "mail", "rcpt", "relay", "reply", "ecode", "delay_ms", "tries", "next_try"}
FORWARDERS: dict[str, tuple[int, set[str]]] = {
    "refuse": (0, _REFUSAL),
    "log_refusal": (0, _REFUSAL),
    "log_outcome": (3, _OUTCOME),
    "_log_order": (1, _OUTCOME),
    "say": (0, set()),
    "QueueCommand": (1, {"ss_ta", "rcpt_idx", "rcpt"}),
}
#: Where they are, and what they do with what they were given.
INSIDE = {
    "meta1g/smtps/dialogue.py": {"event", "self.event"},
    "meta1g/qmgr/outcome.py": {"what"},
    "meta1g/qmgr/orders.py": {"what"},
    "meta1g/qmgr/control/changing.py": {"verb.event"},
    "meta1g/base/log.py": {"event"},
}


class Use:
    """A call that makes a line."""

    def __init__(self, path: Path, call: ast.Call, event: ast.expr, keys: set[str], severity: str | None):
        self.where = f"{path.relative_to(ROOT)}:{call.lineno}"
        self.path = str(path.relative_to(ROOT))
        self.event = event
        self.severity = severity
        self.keys = keys | {one.arg for one in call.keywords if one.arg is not None and one.arg in LOG_KEYS}
        self.open = any(one.arg is None for one in call.keywords)

    @property
    def names(self) -> list[str]:
        values = [self.event.body, self.event.orelse] if isinstance(self.event, ast.IfExp) else [self.event]
        return [one.value for one in values if isinstance(one, ast.Constant) and isinstance(one.value, str)]


@functools.cache
def uses() -> list[Use]:
    return list(_uses())


def _uses() -> Iterator[Use]:
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for call in nodes(path):
            if not isinstance(call, ast.Call):
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if isinstance(call.func, ast.Attribute) and name in SEVERITIES and len(call.args) == 2:
                yield Use(path, call, call.args[0], set(), name)
            elif name in FORWARDERS and len(call.args) > max(1, place := FORWARDERS[name][0]):
                yield Use(path, call, call.args[place], FORWARDERS[name][1], None)


def test_each_line_is_an_event_of_the_table_with_its_severity_and_its_keys():
    wrong = []
    for use in uses():
        if not use.names and ast.unparse(use.event) not in INSIDE.get(use.path, ()):
            wrong.append(f"{use.where}: {ast.unparse(use.event)} is no name of an event")
        for name in use.names:
            row = EVENTS.get(name)
            if row is None:
                wrong.append(f"{use.where}: {name} is not in the table")
                continue
            if use.severity is not None and row.sevr.name != use.severity.upper():
                wrong.append(f"{use.where}: {name} is {row.sevr.name}, not {use.severity}")
            missing = set() if use.open else set(row.must) - use.keys
            extra = use.keys - {*row.must, *row.may} - (_OUTCOME | _REFUSAL if use.severity is None else set())
            if missing or extra:
                wrong.append(f"{use.where}: {name} lacks {sorted(missing)}, has {sorted(extra)} that the table does not know")
    assert not wrong, "\n".join(wrong)


def test_each_event_of_the_table_is_written_by_some_code():
    used = {name for use in uses() for name in use.names}
    assert sorted(set(EVENTS) - used) == []


@pytest.mark.parametrize("event", EVENTS)
def test_a_row_is_well_formed(event):
    row = EVENTS[event]
    assert component_of(event) in COMPONENTS
    assert {*row.must, *row.may} <= set(LOG_KEYS)
    assert not set(row.must) & set(row.may)
    assert row.meaning.endswith(".")


def test_the_document_is_made_from_the_table():
    text = "\n".join(eventlist.lines()) + "\n"
    assert (ROOT / "docs/log-events.md").read_text() == text, "run `python -m meta1g.base.eventlist > docs/log-events.md`"


def test_each_event_is_seen_by_a_test():
    """Its name stands in a test, or tests/seen.py says which one sees it."""
    pages = [path for path in (ROOT / "tests").rglob("*.py") if path.name not in ("seen.py", "test_events.py")]
    text = "\n".join(path.read_text() for path in pages if "metalog" not in path.relative_to(ROOT).parts).replace("\\.", ".")
    named = {event for event in EVENTS if re.search(re.escape(event) + r"(?![a-z_])", text)}
    assert set(EVENTS) - named == {*SEEN}
    for test in SEEN.values():
        file, *_, name = test.split("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), test
