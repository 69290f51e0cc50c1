"""What is accepted has effect: each option, flag, tag and value has code that uses it, and a test that shows what it does.

Three walks: the tables against the code (meta1g/conf/effects.py), the settings of a component against its code, and the tables
against the tests (tests/shown.py).
"""

import ast
import functools
import importlib
import re
from itertools import chain
from pathlib import Path

import pytest

from meta1g.conf.access import DNSBL, TAGS, WORDS, Action
from meta1g.conf.check import walk
from meta1g.conf.defs import COMPONENTS, ROOT
from meta1g.conf.defs_common import COMMON, COMMON_SECTIONS
from meta1g.conf.defs_session import SNIPPETS
from meta1g.conf.effects import REFUSED, USERS, VALUES, has_no_effect
from meta1g.conf.values import Flags
from meta1g.qmgr import settings as qmgr_settings
from meta1g.smtpc import settings as smtpc_settings
from meta1g.smtps import settings as smtps_settings
from tests.shown import SHOWN, VALUES_SHOWN
from tests.sources import nodes
from tests.unit.conf.text import load

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "meta1g"
KEYWORDS = [row.keyword for row in COMPONENTS]


def sections():
    """Gives each section of the tables once, by its place in USERS."""
    yield "global", ROOT.options
    yield "component", COMMON
    for definition, path in walk(ROOT):
        place = " ".join(path)
        if not path or (path[0] in KEYWORDS and definition in COMMON_SECTIONS):
            continue
        own = [row for row in definition.options if not (place in KEYWORDS and any(row is one for one in COMMON))]
        yield place, own
    for definition in COMMON_SECTIONS:
        yield f"component {definition.keyword}", definition.options
    for definition in SNIPPETS.values():
        for inner, path in walk(definition, (definition.keyword,)):
            yield " ".join(path), inner.options


def names(options):
    """Gives what may be said: options that take a value, and flags."""
    for row in options:
        if isinstance(row.kind, Flags):
            yield from ((row.name, flag.name) for flag in row.kind.flags)  # a list of flags says nothing but these
        else:
            yield (row.name,)


ROWS = [(place, *name) for place, options in sections() for name in names(options)]
#: A flag that cannot be switched off has nothing to tell apart.
FIXED = {tuple(path.replace("dont_", "").split()) for path in REFUSED if "dont_" in path}
WITH_EFFECT = [row for row in ROWS if not has_no_effect(*row[0].split(), *row[1:]) and row not in FIXED]


@functools.cache
def code_of(user):
    """Gives the code of `module:attribute`; the attribute is there.

    Raises:
        AttributeError, ModuleNotFoundError: it is not.
    """
    module_name, _, attribute = user.partition(":")
    functools.reduce(getattr, attribute.split("."), importlib.import_module(module_name))
    node = ast.parse((PROJECT / f"{module_name.replace('.', '/')}.py").read_text())
    for part in attribute.split("."):
        node = next(one for one in ast.walk(node) if isinstance(one, ast.FunctionDef | ast.ClassDef) and one.name == part)
    return node


@functools.cache
def words_of(user):
    """Gives the texts in the code of a user, in lower case."""
    return {
        one.value.lower() for one in ast.walk(code_of(user)) if isinstance(one, ast.Constant) and isinstance(one.value, str)
    }


# -- the tables and the code


def test_the_table_names_the_sections_that_there_are():
    assert set(USERS) == {row[0] for row in WITH_EFFECT} | {"smtpc_rcpt_conf"}, "smtpc_rcpt_conf has only a section inside"


@pytest.mark.parametrize("row", WITH_EFFECT, ids=" ".join)
def test_an_option_or_flag_has_code_that_asks_for_it(row):
    place, name = row[0], row[-1].lower()
    users = USERS.get(place, ())
    assert any(name in words_of(user) for user in users), f"no user of {' '.join(row)}; add it to conf/effects.py or refuse it"


@pytest.mark.parametrize("user", sorted({*chain.from_iterable(USERS.values()), *VALUES.values()}))
def test_a_user_is_there(user):
    assert code_of(user) is not None


@pytest.mark.parametrize("user", sorted(set(chain.from_iterable(USERS.values()))))
def test_a_user_asks_for_something_of_its_sections(user):
    places = [place for place, users in USERS.items() if user in users]
    asked = {row[-1].lower() for row in ROWS if row[0] in places}
    takes_all = ("ClientSettings.of", "ServerSettings.of", "HostConf.recipient", "configuration_map")
    assert asked & words_of(user) or user.endswith(takes_all)


@pytest.mark.parametrize("row", [*TAGS.values(), DNSBL], ids=lambda row: row.tag)
def test_a_tag_has_code(row):
    assert code_of(row.user) is not None


def test_each_word_of_the_access_map_is_told_apart_somewhere():
    source = "\n".join((PACKAGE / f"smar/{name}.py").read_text() for name in ("access", "checks"))
    assert {action for action in Action if f"Action.{action.name}" in source} == set(Action) - {Action.OK}, "ok is no other one"
    assert {f"access_map {word}" for word in WORDS} <= set(VALUES)


# -- the settings of a component


SETTINGS = {
    "meta1g.smtps.settings:Settings": "smtps",
    "meta1g.smtpc.settings:Settings": "smtpc",
    "meta1g.qmgr.settings:Settings": "qmgr",
    "meta1g.qmgr.destinations:DestinationLimits": "qmgr",
    "meta1g.smar.settings:Settings": "smar",
}


@functools.cache
def attributes_read(component, but):
    """Gives the attributes that a component reads, outside of the module that makes the settings."""
    paths = [path for path in (PACKAGE / component).rglob("*.py") if path.name != but]
    return {one.attr for path in paths for one in nodes(path) if isinstance(one, ast.Attribute)}


@pytest.mark.parametrize("settings", sorted(SETTINGS))
def test_each_setting_is_used(settings):
    module, _, name = settings.partition(":")
    fields = set(functools.reduce(getattr, [name], importlib.import_module(module)).__annotations__)
    own = "" if module.endswith("destinations") else f"{module.rpartition('.')[2]}.py"
    assert fields <= attributes_read(SETTINGS[settings], own)


#: A value that is not the default, by the kind of an option.
OTHER = {
    "Text": "other",
    "MailAddress": "other@x.example",
    "IpAddress": "127.0.0.9",
    "Ipv6Address": "::9",
    "Choice": lambda row: next(name for name in row.kind.names if name != row.default),
    "Bool": lambda row: "false" if row.default else "true",
    "Int": lambda row: str((row.default or 0) + 1),
    "Time": lambda row: str((row.default or 0) + 1),
    "Size": lambda row: str((row.default or 0) + 1),
    "Port": lambda row: str((row.default or 0) + 1),
    "ListOf": lambda row: OTHER_ITEMS.get(type(row.kind.item).__name__, lambda _item: "other@x.example")(row.kind.item),
    "Flags": lambda row: ", ".join(f"dont_{flag.name}" if flag.default else flag.name for flag in row.kind.flags),
}
OTHER_ITEMS = {
    "Network": lambda _item: "192.0.2.9",
    "Domain": lambda _item: "x.example",
    "Choice": lambda item: "login" if "login" in item.names else item.names[0],
}
#: What is read elsewhere: by mcp, by the process itself, by SMAR; or names a file.
ELSEWHERE = {"dsn_templates", "LMTP_socket", "remote_port", "wait_for_server"}
MAKERS = {
    "qmgr": qmgr_settings.Settings.from_config,
    "smtpc": smtpc_settings.Settings.from_config,
    "smtps": lambda config: smtps_settings.settings_from(config, config.section("smtps"), "mx.example"),
}
OWN = [(place, row) for place, options in sections() if place.split(" ")[0] in MAKERS for row in options
       if not has_no_effect(*place.split(" "), row.name) and place.split(" ")[-1] not in ("map", "conf_map", "server_names")
       and row.name not in ELSEWHERE - ({"wait_for_server"} if place == "qmgr" else set())]  # fmt: skip


@pytest.mark.parametrize(("place", "row"), OWN, ids=[f"{place} {row.name}" for place, row in OWN])
def test_an_option_changes_the_settings_of_its_component(place, row):
    other = OTHER[type(row.kind).__name__]
    value = other if isinstance(other, str) else other(row)
    text = f"{row.name} = {{ {value} }};" if row.kind.many else f"{row.name} = {value};"
    before = "" if row.name in ("cert_file", *FIRST) else BESIDE.get(place, {}).get(row.name, BESIDE.get(place, {}).get("", ""))
    before, after = OF_ITS_OWN.get((place, row.name), (before, before + text))
    make = MAKERS[place.split(" ")[0]]
    without = "" if row.name in FIRST else inside(place, before)  # an empty section auth is refused
    assert make(load(inside(place, after), lenient=True)) != make(load(without))


#: Options that make what they stand in.
FIRST = ("password_file", "password_map", "saslauthd_socket", "dovecot_socket")
#: What an option needs beside it to have effect, by its section and name; "" for all others of the section.
BESIDE = {
    "smtps tls": {
        "": "cert_file = c.pem; ",
        "CRL_file": "cert_file = c.pem; CAcert_file = ca.pem; ",
        "DSA_key_file": "cert_file = c.pem; DSA_cert_file = d.pem; ",
    },
    "qmgr": {"verp_delimiters": "verp_senders = a@x.example; "},
    "qmgr smtps": dict.fromkeys(("rate_time_unit", "rate_exempt"), "max_message_rate = 1; "),
    "smtpc auth": {"mechanisms": 'file = "l"; ', "flags": 'file = "l"; '},
    "smtps": {
        "unverified": "verify_recipients = x.example; ",
        "flags": "xclient_from = { 127.0.0.1 }; ",
    },
    "smtps auth": {"": "password_file = p; "},
    "smtpc tls": {"key_file": "cert_file = c.pem; ", "DSA_key_file": "DSA_cert_file = d.pem; "},
    "smtps policy_milter": {"": "socket { port = 1; } "},
    "smtps policy_milter socket": {"": "port = 1; "},
    "smtps milter": {"": "socket { port = 1; } "},
    "smtps milter socket": {"": "port = 1; "},
}
#: What is compared if no value of the kind will do.
OF_ITS_OWN = {
    ("smtps tls_requirements", "violation"): ("flags = { encrypted };", "flags = { encrypted }; violation = permanent;"),
    ("smtps", "milters"): ("milter x { socket { port = 1; } }", "milter x { socket { port = 1; } } milters = { };"),
    ("smtps milter", "macros"): ("socket { port = 1; }", 'socket { port = 1; } macros = { "x=y" };'),
    ("smtps policy_milter", "flags"): ("socket { port = 1; }", "socket { port = 1; } flags = { abort };"),
    **{
        (f"smtps {one} socket", "path"): ("type = unix; path = p;", "type = unix; path = q;")
        for one in ("milter", "policy_milter")
    },
    ("smtps policy_milter socket", "port"): ("port = 1;", "port = 2;"),
    ("smtps policy_milter socket", "type"): ("port = 1;", "type = unix; path = p;"),
    ("smtps milter socket", "port"): ("port = 1;", "port = 2;"),
    ("smtps milter socket", "type"): ("port = 1;", "type = unix; path = p;"),
}


#: What a section needs beside it.
AROUND = {"smtps tls_requirements": "tls { cert_file = c.pem; }"}


def inside(place, text):
    """Puts options into their section."""
    around = AROUND.get(place, "")
    for keyword in reversed(place.split(" ")):
        name = " x" if keyword == "milter" else ""
        text, around = f"{keyword}{name} {{ {text} }} {around}", ""
    return text


# -- the tables and the tests


def test_every_option_and_flag_is_shown_by_a_test():
    """Snippets have tables of their own: unit/smtps, unit/smtpc/test_session_conf.py, unit/qmgr/test_destinations.py."""
    assert set(SHOWN) == {" ".join(row) for row in WITH_EFFECT if row[0].split("_")[-1] != "conf"}


@pytest.mark.parametrize("what", sorted(SHOWN))
def test_a_test_that_shows_an_option_is_there_and_names_it(what):
    name = what.split(" ")[-1]
    text = source_of(SHOWN[what])
    spelled = rf"(?<![a-z]){re.escape(name)}(_s|_us|_bytes)?(?![a-z])"
    assert re.search(spelled, text, re.IGNORECASE), f"{SHOWN[what]} does not say {name}"


@pytest.mark.parametrize("what", sorted({*VALUES, *(f"{row.tag}:" for row in (*TAGS.values(), DNSBL))}))
def test_a_right_hand_side_and_a_tag_is_shown_by_a_test(what):
    source_of(VALUES_SHOWN[what])


def source_of(where):
    """Gives the file of a test, which has it; a dialogue is one by itself."""
    path, _, name = where.partition("::")
    text = (PROJECT / "tests" / path).read_text()
    assert not name or re.search(rf"^\s*def {name.split('::')[-1]}\(", text, re.MULTILINE), f"{where}: no such test"
    return text
