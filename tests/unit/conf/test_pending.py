"""The list of what has no effect agrees with the tables and with the programs."""

import re
from pathlib import Path

import pytest

from meta1g.conf.check import walk
from meta1g.conf.defs import ROOT
from meta1g.conf.defs_common import COMMON
from meta1g.conf.pending import NO_EFFECT, has_no_effect
from meta1g.conf.values import Flags
from tests.unit.conf.text import load

PACKAGE = Path(__file__).parents[3] / "meta1g"


def known_paths():
    for definition, path in [*walk(ROOT), (None, ("component",))]:
        yield " ".join(path)
        for row in definition.options if definition else COMMON:
            yield " ".join((*path, row.name))
            if isinstance(row.kind, Flags):
                yield from (" ".join((*path, row.name, flag.name)) for flag in row.kind.flags)


def code_of(component):
    folders = [component] if component != "component" else ["qmgr", "smar", "smtps", "smtpc", "mcp", "base"]
    return "\n".join(path.read_text() for folder in folders for path in (PACKAGE / folder).rglob("*.py"))


def test_the_list_names_what_the_tables_know():
    assert set(known_paths()) >= NO_EFFECT


@pytest.mark.parametrize("path", sorted(NO_EFFECT))
def test_no_program_uses_what_has_no_effect(path):
    """If this fails, the program does use it now: remove the line from meta1g/conf/pending.py, make docs again."""
    component, *_, name = path.split()
    code = code_of(component)
    is_section = any(" ".join(place) == path for _, place in walk(ROOT))
    asked = r"\.subs?\(" if is_section else r"\.(?:get|given|flag)\("
    uses = re.findall(rf'{asked}"{re.escape(name)}"\)', code, re.IGNORECASE)
    refuses = 2 if path == "smar greylisting" else 0
    assert len(uses) <= refuses


def test_what_is_inside_has_no_effect_either():
    assert has_no_effect("smtps", "tls", "cert_file")
    assert has_no_effect("smtps", "flags", "greylisting")
    assert not has_no_effect("smtps", "flags", "8bitmime")
    assert not has_no_effect("smtps", "max_hops")


def test_a_section_without_effect_is_a_warning():
    config = load("smtps {\n  tls { cert_file = a; }\n}")
    assert config.warnings == ["t.conf:2:3: section tls has no effect in this version"]
    assert load("smtps { max_hops = 5; }").warnings == []
