import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.errors import BugError
from meta1g.base.tlsneeds import Violation
from meta1g.conf.check import walk
from meta1g.conf.defs_session import SNIPPETS
from meta1g.conf.errors import ConfigError
from meta1g.conf.snippet import parse_snippet
from meta1g.conf.tlsconf import tls_requirements


def test_a_session_snippet_is_a_section():
    section = parse_snippet("max_recipients = 5; flags = { delay_checks, dont_xverp };", "smtps_session_conf")
    assert section.get("max_recipients") == 5
    assert section.given("max_recipients")
    assert not section.given("max_transactions")
    assert section.get("flags") == {"delay_checks": True, "xverp": False}


def test_flags_that_are_not_named_stay_as_they_are():
    assert parse_snippet("max_recipients = 5;", "smtps_session_conf").get("flags") == {}
    with pytest.raises(ConfigError, match="flag xverp is both set and cleared"):
        parse_snippet("flags = { xverp, no_xverp };", "smtps_session_conf")


@pytest.mark.parametrize("kind", sorted(set(SNIPPETS) - {"destination_conf"}))
def test_what_tls_has_to_fulfil_is_read(kind):
    text = (
        "tls_requirements { flags = { verified }; min_cipher_bits = 128; common_name = { a.example }; violation = permanent }"
    )
    with pytest.raises(ConfigError, match="missing ; after the value"):
        parse_snippet(text, kind)
    needs = tls_requirements(parse_snippet(text.replace("permanent }", "permanent; }"), kind))
    assert (needs.verified, needs.min_bits, needs.common_names) == (True, 128, ("a.example",))
    assert needs.violation is Violation.PERMANENT


def test_limits_of_a_destination_fit_each_other():
    assert parse_snippet("max_connections = 5;", "destination_conf").get("max_connections") == 5
    with pytest.raises(ConfigError, match=r"initial_connections \(7\) must not be greater than max_connections \(5\)"):
        parse_snippet("max_connections = 5; initial_connections = 7;", "destination_conf")


def test_an_empty_snippet_says_nothing():
    section = parse_snippet("", "smtpc_rcpt_conf")
    assert not section.sub("tls_requirements").exists


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
