from pathlib import Path

import pytest

from meta1g.base.cli import CliError
from meta1g.conf.check import check_text
from meta1g.conf.tree import Source
from meta1g.mcp.service import StartAction, dependents_of, options_of, same, services_of

SAMPLE = """
qmgr { AQ_max_entries = 8192; start_action = wait; user = smxq; restart_dependencies = { smtps, smtpc, smar };
  path = "/usr/libexec/qmgr"; arguments = "qmgr -f /etc/smx/smx.conf"; }
smtps { CDB_gid = 261; listen_socket { type = inet; port = 25; } start_action = pass; pass_fd_socket = smtps/smtpsfd;
  user = smxs; path = /usr/libexec/smtps; arguments = "smtps -f /etc/smx/smx.conf"; }
"""


def sections(text):
    return check_text(Source("meta1.conf", text), Path("meta1.conf")).all_sections


def services(text):
    return services_of(sections(text))


def test_the_sample_of_meta1_is_understood():
    qmgr, smtps = services(SAMPLE)
    assert (qmgr.label, qmgr.user, qmgr.start_action, qmgr.path) == ("qmgr", "smxq", StartAction.WAIT, "/usr/libexec/qmgr")
    assert qmgr.arguments == ("qmgr", "-f", "/etc/smx/smx.conf")
    assert (smtps.start_action, smtps.pass_fd_socket) == (StartAction.PASS, "smtps/smtpsfd")
    assert [listen.text for listen in smtps.listens] == ["* port 25"]
    assert smtps.where == "meta1.conf:4"


def test_components_without_a_section_are_nobodys_dependents():
    assert dependents_of(services(SAMPLE)) == {"qmgr": {"smtps"}, "smtps": frozenset()}


def test_processes_get_labels_and_indexes_of_their_kind():
    found = services("smtps MX { processes = 2; } smtps MSA { } smtpc { processes = 2; }")
    assert [(s.label, s.index) for s in found] == [
        ("smtps MX[0]", 0),
        ("smtps MX[1]", 1),
        ("smtps MSA", 2),
        ("smtpc[0]", 0),
        ("smtpc[1]", 1),
    ]


def test_a_dependency_names_all_sections_of_a_kind_or_one():
    found = dependents_of(
        services("smtps A { } smtps B { } smar { restart_dependencies = { smtps }; } qmgr { restart_dependencies = { B }; }")
    )
    assert found["smar"] == {"smtps A", "smtps B"}
    assert found["qmgr"] == {"smtps B"}


def test_a_section_that_names_itself_does_not_restart_with_itself():
    assert dependents_of(services("smtps { processes = 2; restart_dependencies = { smtps }; }")) == {
        "smtps[0]": frozenset(),
        "smtps[1]": frozenset(),
    }


def test_arguments_are_split_as_a_shell_does_without_variables():
    (found,) = services("""smar { arguments = "smar -f 'a b.conf' $HOME"; }""")
    assert found.arguments == ("smar", "-f", "a b.conf", "$HOME")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing to start"),
        ("qmgr { processes = 2; }", "meta1.conf:1: there can be only one qmgr process"),
        ("smtps { processes = 200; } smtpc { } smtps B { processes = 57; }", "more than 256 smtps processes; lower processes"),
        ("""smar { arguments = "smar 'x"; }""", "arguments of smar cannot be split"),
        (
            "smtps { start_action = accept; listen_socket { port = 1; } listen_socket { port = 2; } }",
            "start_action = accept of smtps takes one listen_socket only",
        ),
    ],
)
def test_what_cannot_be_run_is_told(text, message):
    with pytest.raises(CliError, match=message.replace("(", r"\(")):
        services(text)


def test_the_place_in_the_file_is_no_change():
    old, new = services(SAMPLE), services("# comment\n\n" + SAMPLE)
    assert all(same(a, b) for a, b in zip(old, new, strict=True))
    assert not same(services("smar { }")[0], services("smar { user = x; }")[0])


def test_options_are_compared_by_value():
    (one,), (two,), (three,) = (
        sections(text) for text in ("smtpc { IO_timeout = 6m; }", "smtpc { io_timeout = 360; }", "smtpc { IO_timeout = 7m; }")
    )
    assert options_of(one) == options_of(two) != options_of(three)
    (one,), (two,) = (sections(f"smar {{ dnsbl {{ zone = {zone}; }} }}") for zone in ("a.example", "b.example"))
    assert options_of(one) != options_of(two)
