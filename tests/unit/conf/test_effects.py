"""What has no code in this version agrees with the tables and with the programs, and is named by every check."""

import re
from pathlib import Path

import pytest

from meta1g.conf.check import walk
from meta1g.conf.defs import ROOT
from meta1g.conf.defs_session import SNIPPETS
from meta1g.conf.effects import REFUSED, WARNED, has_no_effect
from meta1g.conf.errors import ConfigError
from meta1g.conf.snippet import parse_snippet
from meta1g.conf.values import Flags
from tests.unit.conf.text import load

PACKAGE = Path(__file__).parents[3] / "meta1g"
ALL = sorted(WARNED | REFUSED)
SECTIONS = {" ".join(path) for root, top in ((ROOT, ()), *((row, (row.keyword,)) for row in SNIPPETS.values()))
            for _, path in walk(root, top)}  # fmt: skip


def known_paths():
    yield from SECTIONS
    for definition, path in [*walk(ROOT), *(pair for row in SNIPPETS.values() for pair in walk(row, (row.keyword,)))]:
        for row in definition.options:
            if isinstance(row.kind, Flags):
                for flag in row.kind.flags:
                    yield " ".join((*path, row.name, flag.name))
                    yield " ".join((*path, row.name, f"dont_{flag.name}"))


def test_the_lists_name_what_the_tables_know():
    assert set(known_paths()) >= WARNED | REFUSED
    assert not WARNED & REFUSED


def code_of(component):
    return "\n".join(path.read_text() for path in (PACKAGE / component).rglob("*.py"))


@pytest.mark.parametrize("path", ALL)
def test_no_program_uses_what_has_no_effect(path):
    """If this fails, the program does use it now: remove the line from meta1g/conf/effects.py, make docs again."""
    component, *_, name = path.split()
    code = "\n".join(map(code_of, ("smtps", "smtpc", "smar"))) if component in SNIPPETS else code_of(component)
    asked = r"\.subs?\(" if path in SECTIONS else r"\.(?:get|given|flag)\("
    assert re.findall(rf'{asked}"{re.escape(name)}"\)', code, re.IGNORECASE) == []


def test_what_is_inside_has_no_effect_either():
    assert has_no_effect("smar", "greylisting", "wait")
    assert has_no_effect("smtps", "flags", "greylisting")
    assert not has_no_effect("smtps", "flags", "8bitmime")
    assert not has_no_effect("smtps", "max_hops")


#: What a section needs to be right otherwise.
INSIDE = {"smtps policy_milter": "socket { port = 1; }", "smtps milter": "socket { port = 1; }"}


def written(path):
    """Gives a file, or the value of a map, that asks for something."""
    outer, *middle, name = path.split()
    what = f"{middle[0]} = {{ {name} }};" if middle else f"{name}{' x' * (name == 'milter')} {{ {INSIDE.get(path, '')} }}"
    return what if outer in SNIPPETS else f"{outer} {{\n  {what}\n}}"


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("path", sorted(WARNED))
def test_what_the_samples_of_meta1_have_is_a_warning(path, lenient):
    what = f"{'flag' if 'flags' in path else 'section'} {path.split()[-1]}"
    (warning,) = load(written(path), lenient=lenient).warnings
    assert warning.startswith("t.conf:2:")
    assert warning.endswith(f": {what} has no effect in this version")


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("path", sorted(REFUSED))
def test_all_else_is_refused_by_name_even_leniently(path, lenient):
    component, *_, name = path.split()
    with pytest.raises(ConfigError, match=f"(flag|section) {name}.* is not in this version; remove it"):
        parse_snippet(written(path), component) if component in SNIPPETS else load(written(path), lenient=lenient)


def test_what_is_in_force_is_no_warning():
    assert load("smtps { max_hops = 5; flags = { dont_starttls, dont_greylisting, pipelining }; }").warnings == []
