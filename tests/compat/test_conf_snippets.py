"""Configuration data in the access map (tag smtpc_rcpt_conf:) may be long: limit raised in MeTA1 1.0.0.0, 2014-05-28."""

from meta1g.conf.snippet import parse_snippet


def test_long_configuration_data_are_not_cut():
    names = [f"a-quite-long-host-name-number-{number}.example.org" for number in range(500)]
    text = f"tls_requirements {{ common_name = {{ {', '.join(names)} }}; violation = permanent; }}"
    assert len(text) > 20_000
    rules = parse_snippet(text, "smtpc_rcpt_conf").sub("tls_requirements")
    assert rules.get("common_name") == tuple(names)
    assert rules.get("violation") == "permanent", "what stands at the end"
