import pytest

from meta1g.conf.errors import ConfigError
from meta1g.conf.merge import merge
from meta1g.conf.tree import Source
from tests.unit.conf.text import load


def merged(user, example):
    result = merge(Source("user", user), Source("new", example))
    return result.text, result.changes


def test_the_same_text_changes_nothing():
    text = "log_level = 9;\nsmtps A { max_hops = 5; }\n"
    assert merged(text, text) == (text, [])


def test_a_new_option_is_added_at_the_end_of_its_section():
    assert merged("smtps {\n  max_hops = 5;   # mine\n}\n# end\n", "smtps { max_noops = 7; max_hops = 9; }") == (
        "smtps {\n  max_hops = 5;   # mine\n  max_noops = 7;\n}\n# end\n",
        ["new:1: smtps: added max_noops = 7;", "user:2: smtps: kept max_hops = 5; the example has max_hops = 9;"],
    )


def test_a_section_on_one_line_is_opened_for_additions():
    text, _ = merged("  smtps { max_hops = 5; }\n", "smtps { max_noops = 7; }")
    assert text == "  smtps { max_hops = 5;\n  max_noops = 7;\n  }\n"
    load(text)


def test_a_new_option_outside_of_all_sections():
    assert merged("log_level = 9;", "hostname = mx.example;")[0] == "log_level = 9;\nhostname = mx.example;\n"
    assert merged("", "hostname = mx.example;")[0] == "hostname = mx.example;\n"


def test_a_component_that_is_missing_is_added():
    text, changes = merged("smtps { }\n", 'qmgr { smtpc { initial_connections = 5; } user = "a b"; }\n')
    assert text == 'smtps { }\nqmgr {\n  smtpc {\n    initial_connections = 5;\n  }\n  user = "a b";\n}\n'
    assert changes == ["new:1: outside of all sections: added section qmgr"]


def test_a_second_server_is_only_proposed():
    text, changes = merged("smtps MTA { }\nsmtps X { }\n", "smtps MSA { listen_socket { port = 587; } }\n")
    assert text.endswith("smtps X { }\n# smtps MSA {\n#   listen_socket {\n#     port = 587;\n#   }\n# }\n")
    assert changes == ["new:1: outside of all sections: proposed as a comment section smtps MSA"]


def test_sections_match_without_names_if_there_is_one_of_a_kind():
    assert "added max_noops = 7;" in merged("smtps { }", "smtps MTA { max_noops = 7; }")[1][0]


def test_sockets_of_the_user_stay_as_they_are():
    text = "smtps { listen_socket { port = 2525; } }"
    assert merged(text, "smtps { listen_socket { port = 25; } listen_socket { port = 26; } }") == (text, [])


@pytest.mark.parametrize(
    "example",
    [
        "smar { relay_from = { 127.0.0.1 }; }",
        "smar { access_map { file = a.db; } }",
        "smar { flagged = relay; }",
        "smtps { tls { cert_file = a; } }",
    ],
)
def test_what_concerns_tls_auth_access_or_relaying_is_only_proposed(example):
    keyword = example.split()[0]
    text, changes = merged(f"{keyword} {{\n}}\n", example)
    assert all(line.startswith("  #") for line in text.splitlines()[1:-1])
    assert len(text.splitlines()) > 2
    assert all("proposed as a comment" in change for change in changes)


def test_options_that_are_not_known_any_more_are_told():
    _, changes = merged("old = 1;\nsmtps { older { } }\n", "smtps { }")
    assert changes == [
        "user:1: outside of all sections: option old is not known any more",
        "user:2: smtps: section older is not known any more",
    ]


def test_a_text_that_cannot_be_parsed_is_refused():
    with pytest.raises(ConfigError, match="user:1:5"):
        merged("a b c", "")
