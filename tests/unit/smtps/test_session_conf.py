"""Each option and flag of `smtps_session_conf:` is tried: one client has it, the other one hears what the section says."""

import pytest

from meta1g.base.reply import Reply
from meta1g.conf.defs_session import SMTPS_SESSION
from meta1g.conf.effects import REFUSED
from meta1g.rcb.smtps_smar import Checks, ClientVerdict, LookupFlags, Verdict
from tests.fakes.certificates import make_certificate
from tests.fakes.smtps_process import Client, SmtpsProcess

LONG = "x" * 1200
EHLO, MAIL, RCPT = "EHLO client.example", "MAIL FROM:<s@example.org>", "RCPT TO:<r@example.org>"
BEGIN = ((EHLO, "250"), (MAIL, "250"), (RCPT, "250"), ("DATA", "354"))
#: Snippet, what is said before with its replies, what is said then, its reply without the snippet and with it.
ROWS = {
    "8bitmime": ("flags = dont_8bitmime;", (), EHLO, "+8BITMIME", "!8BITMIME"),
    "pipelining": ("flags = dont_pipelining;", (), EHLO, "+PIPELINING", "!PIPELINING"),
    "starttls": ("flags = dont_starttls;", (), EHLO, "+STARTTLS", "!STARTTLS"),
    "smtputf8": ("flags = dont_smtputf8;", (), EHLO, "+SMTPUTF8", "!SMTPUTF8"),
    "chunking": ("flags = dont_chunking;", (), EHLO, "+CHUNKING", "!CHUNKING"),
    "binarymime": ("flags = dont_binarymime;", (), EHLO, "+BINARYMIME", "!BINARYMIME"),
    "deliverby": ("flags = dont_deliverby;", (), EHLO, "+DELIVERBY", "!DELIVERBY"),
    "mt_priority": ("flags = dont_mt_priority;", (), EHLO, "+MT-PRIORITY", "!MT-PRIORITY"),
    "limits": ("flags = dont_limits;", (), EHLO, "+LIMITS", "!LIMITS"),
    "min_deliver_by": ("min_deliver_by = 5m;", (), EHLO, "+DELIVERBY", "+DELIVERBY 300"),
    "xverp": ("flags = { xverp };", (), EHLO, "!XVERP", "+XVERP"),
    "auth": ("flags = { dont_auth };", (), EHLO, "+AUTH ", "!AUTH "),
    "require_auth": ("flags = { require_auth };", BEGIN[:1], MAIL, "250", "530 5.7.0"),
    "delay_checks": ("flags = { delay_checks };", (), "", "554 5.7.1 Denied", "220 "),
    "strict_ehlo": ("flags = { strict_ehlo };", (), "EHLO not_a,domain", "250", "501"),
    "strict_lines": ("flags = { strict_lines };", BEGIN, f"A: b\r\n\r\n{LONG}\r\n.", "250", "550"),
    "accept_local_senders": ("flags = accept_local_senders;", BEGIN[:1], "MAIL FROM:<root>", "5", "250"),
    "accept_bare_addresses": ("flags = accept_bare_addresses;", BEGIN[:1], "MAIL FROM:s@example.org", "501", "250"),
    "accept_odd_dots": ("flags = accept_odd_dots;", BEGIN[:1], "MAIL FROM:<a..b@example.org>", "5", "250"),
    "submission": ("flags = { submission };", BEGIN, "\r\n.", "250", "250"),
    "add_sender": ("flags = { submission, add_sender };", BEGIN, "From: x@y.example\r\n\r\n.", "250", "250"),
    "allow_routing": ("flags = allow_routing;", BEGIN[:2], "RCPT TO:<a%b@example.org>", "550", "250"),
    "max_message_size": ("max_message_size = 2KB;", (), EHLO, "+SIZE 104857600", "+SIZE 2048"),
    "max_header_size": ("max_header_size = 1KB;", BEGIN, f"A: {LONG}\r\n\r\n.", "250", "55"),
    "max_header_lines": ("max_header_lines = 1;", BEGIN, "A: b\r\nC: d\r\n\r\n.", "250", "55"),
    "max_body_size": ("max_body_size = 1KB;", BEGIN, f"A: b\r\n\r\n{LONG}\r\n.", "250", "55"),
    "soft_bounce": ("soft_bounce = true;", BEGIN[:2], "RCPT TO:<r@refused.example>", "550", "4"),
    "max_recipients": ("max_recipients = 1;", BEGIN[:3], "RCPT TO:<q@example.org>", "250", "452"),
    "max_transactions": ("max_transactions = 1;", (*BEGIN[:2], ("RSET", "250")), MAIL, "250", "4"),
    "max_bad_commands": ("max_bad_commands = 1;", ((EHLO, "250"), ("X", "500")), "Y", "500", "500|421"),
    "max_refusals": ("max_refusals = 1;", (*BEGIN[:2], *[("RCPT TO:<r@refused.example>", "550")] * 2), "NOOP", "250", "421|"),
    "max_overshoots": (
        "max_overshoots = 1; max_recipients = 1;",
        BEGIN[:3],
        f"{RCPT}\r\n{RCPT}\r\nNOOP",
        "250|250|250",
        "452|452|421",
    ),
    "max_noops": ("max_noops = 1;", ((EHLO, "250"),), "NOOP", "250", "250|421"),
    "max_hops": ("max_hops = 1;", BEGIN, "Received: a\r\nReceived: b\r\n\r\n.", "250", "554"),
    "verify_recipients": ("verify_recipients = { . };", BEGIN[:2], "RCPT TO:<no@example.org>", "250", "550"),
    "verify_senders": ("verify_senders = { . };", BEGIN[:1], "MAIL FROM:<no@example.org>", "250", "550"),
    "unverified": (
        "verify_recipients = { . }; unverified = accept;",
        BEGIN[:2],
        "RCPT TO:<later@example.org>\r\nRCPT TO:<no@example.org>",
        "250|250",
        "250|550",
    ),
    "milters": ("milters = { gone };", (), "", "220 ", "421 4.7.1"),
    "greet_pause": ("greet_pause = 1s;", (), None, "220 ", "220 "),
    "IO_timeout": ("IO_timeout = 1s;", ((EHLO, "250"),), None, None, "421"),
}
ABOUT_THE_GREETING = ("delay_checks", "milters")
NAMES = {row.name for row in SMTPS_SESSION.options} | {flag.name for flag in SMTPS_SESSION.options[0].kind.flags}


def test_every_option_and_flag_has_a_row():
    refused = {path.rpartition(" ")[2] for path in REFUSED if path.startswith("smtps_session_conf flags")}
    assert set(ROWS) == NAMES - refused - {"flags"}


@pytest.fixture(scope="module")
def smtps(tmp_path_factory):
    cert, key = make_certificate(tmp_path_factory.mktemp("tls"), "mx.example")
    tls = f"tls {{ cert_file = {cert}; key_file = {key}; }} auth {{ dovecot_socket = none; flags = plaintext_without_tls; }}"
    tls += "\nmilters = { };\nmilter gone { socket { path = gone; } }"
    with SmtpsProcess(tmp_path_factory.mktemp("s"), tls, checks=Checks.RCPT | Checks.CLIENT) as process:
        yield process


def deny_what_is_routed(msg):
    code = 550 if "refused" in msg.rcpt or ("%" in msg.rcpt and not msg.flags & LookupFlags.ROUTING) else 250
    return Verdict(reply=Reply(code, "5.7.1" if code == 550 else "", "No"))


def verify(msg):
    return Reply(550 if msg.address.startswith("no") else 450, "", "what a server said")


def hears(client, said, expected):
    """Says something and compares the replies: what they begin with, or, after `+` and `!`, what they have and have not."""
    if said:
        client.send(said.encode() + b"\r\n")
    for part in expected.split("|"):
        reply = client.reply()
        if part[:1] in ("+", "!"):
            assert (part[1:] in reply) == (part[0] == "+"), reply
        else:
            assert reply.startswith(part)


#: What stands in a message by the snippet of a row, and otherwise does not.
STORED = {"submission": "From: <s@example.org>", "add_sender": "Sender: <s@example.org>"}
#: What stands in the log likewise.
LOGGED = {"greet_pause": "smtps.paused"}


def talk(smtps, snippet, name, expected):
    _, before, said, _, _ = ROWS[name]
    greeting = Reply(550, "5.7.1", "Denied") if name == "delay_checks" else Reply(220)
    smtps.smar.client = lambda msg: ClientVerdict(reply=greeting, session_conf=snippet)
    smtps.smar.rcpt = deny_what_is_routed
    smtps.qmgr.verify = verify
    with Client(smtps.port) as client:
        if name not in (*ABOUT_THE_GREETING, *LOGGED):
            client.expect("220 ")
        for line, reply in before:
            client.command(line, reply)
        hears(client, said, expected)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_an_option_of_a_client(smtps, name):
    snippet, _, _, without, expected = ROWS[name]
    if without is not None:
        talk(smtps, "", name, without)
        assert not seen(smtps, name)
    talk(smtps, snippet, name, expected)
    if name in LOGGED:
        smtps.wait_log(LOGGED[name])
    assert seen(smtps, name) or name not in {*STORED, *LOGGED}


def seen(smtps, name):
    """Tells whether the effect of a row that no reply tells has been there."""
    texts = [path.read_text() for path in smtps.content_files()] if name in STORED else smtps.log if name in LOGGED else []
    return any({**STORED, **LOGGED}[name] in text for text in texts)


def test_a_snippet_that_cannot_be_used_puts_the_client_off(smtps):
    smtps.smar.client = lambda msg: ClientVerdict(reply=Reply(220), session_conf="flags = { no_such_flag };")
    with Client(smtps.port) as client:
        client.expect("421 ")
    assert "no_such_flag" in smtps.wait_log("smtps.conf.*")[0]


def test_the_limits_that_are_told_are_those_of_the_client(smtps):
    smtps.smar.client = lambda msg: ClientVerdict(reply=Reply(220), session_conf="max_recipients = 5; max_transactions = 7;")
    with Client(smtps.port) as client:
        client.expect("220 ")
        assert "LIMITS RCPTMAX=5 MAILMAX=7" in client.command("EHLO client.example", "250-")
