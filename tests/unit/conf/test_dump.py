import json
from pathlib import Path

import pytest

from meta1g.conf import dump
from tests.unit.conf.text import load

SAMPLES = Path(__file__).parents[2] / "compat" / "samples"
TEXT = """
log_level = 5;
smtps "M S A" { flags = { delay_checks, dont_access }; listen_socket { type = unix; path = "a b"; permissions = 0600; } }
smar {
  map m { type = static; entries = { "a \\"b\\"" }; }
  aliases { name = m; }
  relay_from = { 192.0.2.0/24 };
}
"""


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.conf")), ids=lambda path: path.stem)
def test_the_effective_configuration_of_a_sample_means_the_same(path):
    config = load(path.read_text())
    assert dump.differences(config, load(dump.effective(config))) == []


#: What smtps offers without a word of its section.
OFFERED = "8bitmime, pipelining, starttls, auth, smtputf8, chunking, binarymime, deliverby, mt_priority, limits"


def test_the_effective_configuration_means_the_same_and_names_the_origin_of_values():
    config = load(TEXT)
    text = dump.effective(config)
    assert dump.differences(config, load(text)) == []
    lines = {line.split("#")[0].strip(): line.split("#")[1].strip() for line in text.splitlines() if "#" in line}
    assert lines["permissions = 0600;"] == "t.conf:3"
    assert lines["max_hops = 100;"] == "default"
    assert lines[f"flags = {{ {OFFERED}, dont_access, delay_checks }};"] == "t.conf:3"
    assert "  # user is not given" in text.splitlines()


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.conf")), ids=lambda path: path.stem)
def test_what_a_sample_gives_means_the_same(path):
    config = load(path.read_text())
    assert dump.differences(config, load(dump.given(config))) == []


def test_what_is_given_has_no_defaults_and_nothing_from_outside():
    assert dump.given(load(TEXT)).splitlines() == [
        "log_level = 5;",
        'smtps "M S A" {',
        "  flags = { dont_access, delay_checks };",
        "  listen_socket {",
        "    type = unix;",
        '    path = "a b";',
        "    permissions = 0600;",
        "  }",
        "}",
        "smar {",
        "  relay_from = { 192.0.2.0/24 };",
        "  map m {",
        "    type = static;",
        '    entries = { "a \\"b\\"" };',
        "  }",
        "  aliases {",
        "    name = m;",
        "  }",
        "}",
    ]


def test_a_value_that_is_given_as_its_default_is_given():
    assert (
        dump.given(load("smtps { max_hops = 100; flags = { 8bitmime }; }")) == "smtps {\n  flags = { };\n  max_hops = 100;\n}\n"
    )


def test_a_level_from_outside_is_shown_with_its_place():
    text = dump.effective(load("log_level = 5;\nsmar { }\n"))
    assert [line.split("#")[1] for line in text.splitlines() if line.startswith("  log_level = 5;")] == [" t.conf:1"]


def test_data_are_json_with_places():
    data = json.loads(json.dumps(dump.as_data(load(TEXT))))
    assert data["options"]["log_level"] == {"value": 5, "given": "t.conf:2"}
    smtps, smar = data["sections"]
    assert (smtps["keyword"], smtps["name"], smtps["where"]) == ("smtps", "M S A", "t.conf:3")
    assert smtps["options"]["flags"]["value"] == [
        "8bitmime", "auth", "binarymime", "chunking", "delay_checks", "deliverby", "limits", "mt_priority", "pipelining",
        "smtputf8", "starttls",
    ]  # fmt: skip
    assert smar["options"]["relay_from"]["value"] == ["192.0.2.0/24"]
    assert [section["keyword"] for section in smar["sections"]] == ["map", "aliases"]


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("log_level = 9;", "", []),
        ("smtps { max_hops = 100; }", "smtps { }", []),
        ("smtps { max_hops = 50; }", "smtps { }", ["! smtps: max_hops = 50 -> 100"]),
        ("smtps { user = a; }", "smtps { }", ["- smtps: user = a"]),
        ("smtps { }", "smtps { user = a; }", ["+ smtps: user = a"]),
        ("", "smtps A { max_hops = 1; }", ["+ smtps A { ... }", "+ smtps A: max_hops = 1"]),
        ("qmgr { }", "qmgr { smtpc { max_connections = 50; } }", ["! qmgr: smtpc: max_connections = 100 -> 50"]),
        ("smar { }", "smar { aliases { file = a; } }", ["+ smar: aliases { ... }", "+ smar: aliases: file = a"]),
        (
            "smtps { listen_socket { port = 25; } listen_socket { port = 26; } }",
            "smtps { listen_socket { port = 25; } listen_socket { port = 27; } }",
            ["! smtps: listen_socket #2: port = 26 -> 27"],
        ),
        ("smtps { flags = access; }", "smtps { flags = { dont_access }; }", [
            f"! smtps: flags = {{ {OFFERED}, access }} -> {{ {OFFERED}, dont_access }}"
        ]),
    ],
)  # fmt: skip
def test_differences_in_meaning(old, new, lines):
    assert dump.differences(load(old), load(new)) == lines
