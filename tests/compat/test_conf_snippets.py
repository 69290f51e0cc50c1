"""Configuration data in the access map (tag smtpc_rcpt_conf:) may be long: limit raised in MeTA1 1.0.0.0, 2014-05-28."""

import pytest

from meta1g.conf.errors import ConfigError
from meta1g.conf.snippet import parse_snippet
from meta1g.conf.tlsconf import tls_requirements

NAMES = [f"a-quite-long-host-name-number-{number}.example.org" for number in range(500)]


def test_long_configuration_data_are_not_cut():
    text = f"tls_requirements {{ common_name = {{ {', '.join(NAMES)} }}; violation = permanent; }}"
    assert len(text) > 20_000
    needs = tls_requirements(parse_snippet(text, "smtpc_rcpt_conf"))
    assert needs.common_names == tuple(NAMES)
    with pytest.raises(ConfigError, match="permanen is not known; did you mean permanent"):
        parse_snippet(text.replace("permanent", "permanen"), "smtpc_rcpt_conf")


def test_a_long_value_of_another_kind_is_not_cut():
    text = " " * 30_000 + "max_recipients = 7;"
    assert parse_snippet(text, "smtps_session_conf").get("max_recipients") == 7
