import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.errors import BugError
from meta1g.conf.check import walk
from meta1g.conf.defs_session import SNIPPETS
from meta1g.conf.errors import ConfigError
from meta1g.conf.snippet import parse_snippet


def test_a_session_snippet_is_a_section():
    section = parse_snippet("max_recipients = 5; flags = { delay_checks, dont_starttls };", "smtps_session_conf")
    assert section.get("max_recipients") == 5
    assert section.given("max_recipients")
    assert not section.given("max_transactions")
    assert section.flag("delay_checks")
    assert not section.flag("starttls")


@pytest.mark.parametrize("kind", sorted(SNIPPETS))
def test_tls_requirements_stand_in_all_snippets(kind):
    text = (
        "tls_requirements { flags = { verified }; min_cipher_bits = 128; common_name = { a.example }; violation = permanent }"
    )
    with pytest.raises(ConfigError, match="missing ; after the value"):
        parse_snippet(text, kind)
    rules = parse_snippet(text.replace("permanent }", "permanent; }"), kind).sub("tls_requirements")
    assert (rules.flag("verified"), rules.get("min_cipher_bits"), rules.get("violation")) == (True, 128, "permanent")
    assert rules.get("common_name") == ("a.example",)


def test_an_empty_snippet_says_nothing():
    section = parse_snippet("", "smtpc_rcpt_conf")
    assert not section.sub("tls_requirements").exists


def test_a_long_snippet_is_not_cut():
    names = [f"host{number}.example.org" for number in range(2000)]
    section = parse_snippet(f"tls_requirements {{ common_name = {{ {', '.join(names)} }}; }}", "smtpc_rcpt_conf")
    assert list(section.sub("tls_requirements").get("common_name")) == names


def test_an_error_names_the_entry_and_the_place():
    with pytest.raises(ConfigError) as caught:
        parse_snippet("max_recipient = 5;", "smtps_session_conf", "smtps_session_conf:10")
    assert caught.value.cause.splitlines()[0] == (
        "smtps_session_conf:10:1:1: unknown option max_recipient in section smtps_session_conf; did you mean max_recipients?"
    )


def test_an_unknown_kind_is_a_bug():
    with pytest.raises(BugError):
        parse_snippet("", "nothing")


def test_rows_of_snippets_are_complete():
    for definition in SNIPPETS.values():
        for section, _ in walk(definition):
            assert section.meaning.endswith(".")
            assert all(row.meaning.endswith(".") for row in section.options)


@given(st.text(max_size=60), st.sampled_from(sorted(SNIPPETS)))
def test_any_value_gives_a_section_or_the_configuration_error(text, kind):
    try:
        parse_snippet(text, kind)
    except ConfigError:
        return
