"""Which mechanisms a session is offered."""

import pytest

from meta1g.smtps.mechanisms import MECHANISMS, SessionFacts, offered

TLS13 = SessionFacts(tls=True, binding=b"x")


@pytest.mark.parametrize(
    ("facts", "plaintext", "names"),
    [
        (SessionFacts(tls=False), False, "SCRAM-SHA-256 SCRAM-SHA-1"),
        (SessionFacts(tls=False), True, "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN"),
        (SessionFacts(tls=True), False, "SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN"),
        (TLS13, False, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN"),
        (SessionFacts(True, None, "joe"), False, "SCRAM-SHA-256 SCRAM-SHA-1 EXTERNAL CRAM-MD5 PLAIN LOGIN"),
    ],
)
def test_what_a_session_is_offered(facts, plaintext, names):
    assert offered(MECHANISMS, facts, plaintext=plaintext) == names.split()
    assert offered(("PLAIN",), facts, plaintext=plaintext) == [name for name in names.split() if name == "PLAIN"]
