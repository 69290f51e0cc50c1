"""What AUTH changes for a client (sourced, MeTA1 ChangeLog 2014-07-07 on delay_checks)."""

import base64

import pytest

from meta1g.base.reply import Reply
from meta1g.rcb.smtps_smar import Checks, ClientVerdict
from meta1g.sasl.stored import make_stored
from tests.fakes.smtps_process import SmtpsProcess

LOGIN = "AUTH PLAIN " + base64.b64encode(b"\0ann\0pencil").decode()


@pytest.mark.parametrize(("flag", "greeting"), [("delay_checks", "220"), ("dont_delay_checks", "554 5.7.1")])
def test_relaying_by_auth_overrides_a_denial_by_cltresolve_if_checks_are_delayed(tmp_path, flag, greeting):
    (tmp_path / "users").write_text(f"ann:{make_stored('SCRAM-SHA-256', 'pencil', b'salt' * 4, 4096)}\n")
    options = f"flags = {{ {flag} }}; auth {{ password_file = {tmp_path}/users; flags = plaintext_without_tls; }}"
    denial = ClientVerdict(reply=Reply(550, "5.7.1", "No name"), rule="access cltresolve:no")
    with SmtpsProcess(tmp_path / "q", options, checks=Checks.RCPT | Checks.CLIENT) as process:
        process.smar.client = lambda msg: denial
        with process.client(hello=False) as client:
            client.expect(greeting)
            if greeting != "220":
                return
            client.command("EHLO client.example", "250-")
            client.command("MAIL FROM:<s@example.org>", "250")
            client.command("RCPT TO:<r@example.org>", "550 5.7.1 No name")
            client.command("RSET", "250")
            client.command(LOGIN, "235")
            client.command("MAIL FROM:<s@example.org>", "250")
            client.command("RCPT TO:<r@example.org>", "250")
