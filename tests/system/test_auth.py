"""A gateway for users: who has a password sends anywhere, under TLS, with the own sender; GNU gsasl speaks each mechanism."""

import smtplib
import ssl
import subprocess

import pytest

from contrib.lib.gateway import Gateway
from meta1g.sasl.stored import make_stored
from tests.system.conftest import HEADER, KeepingSink, Shared, running

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("auth")]
ANN = "ann@gateway.example"
SMTPS = "flags = { delay_checks }; auth { password_file = users; failure_delay = 0; }"
SMAR = """
  map senders { type = static; entries = { "* own" }; }
  auth_sender { name = senders; }
  map access { type = static; entries = { "cltaddr:127.0.0.1 reject" }; }
  access_map { name = access; }
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A gateway whose access map refuses this machine, and where its mail goes."""
    directory = tmp_path_factory.mktemp("auth")
    with KeepingSink(directory / "maildir") as sink:
        options = {"smtps": SMTPS, "smar": SMAR}
        gateway = Gateway(directory / "g", f". {sink.port}^[127.0.0.1]", options, tls=True, relay_from="192.0.2.1")
        stored = [make_stored(kind, "pencil", b"salt" * 4, 4096) for kind in ("SCRAM-SHA-256", "SCRAM-SHA-1")]
        gateway.conf.parent.mkdir(parents=True)
        (gateway.conf.parent / "users").write_text(f"{ANN}:{' '.join(map(str, stored))}\n")
        with running(gateway):
            yield Shared(gateway, sink)


def test_passwords_in_a_map(tmp_path):
    stored = make_stored("SCRAM-SHA-256", "pencil", b"salt" * 4, 4096)
    options = {
        "smtps": "auth { password_map = true; failure_delay = 0; max_failures = 9; }",
        "smar": f'map users {{ type = static; entries = {{ "{ANN} {stored}" }}; }} password_map {{ name = users; }}',
    }
    gateway = Gateway(tmp_path, ". 9^[127.0.0.1]", options, tls=True, relay_from="192.0.2.1")
    with running(gateway), connected(gateway) as smtp:
        for user, word in ((ANN, "pencils"), ("bob@gateway.example", "pencil")):
            with pytest.raises(smtplib.SMTPAuthenticationError, match="535"):
                smtp.login(user, word)
        assert smtp.login(ANN, "pencil")[0] == 235


def connected(gateway):
    smtp = smtplib.SMTP("127.0.0.1", gateway.port, timeout=60)
    smtp.ehlo("client.example")
    smtp.starttls(context=ssl._create_unverified_context())
    smtp.ehlo("client.example")
    return smtp


def test_a_user_sends_anywhere_and_overrules_the_denial_of_its_address(shared):
    with connected(shared.gateway) as smtp:
        assert smtp.mail(ANN)[0] == 250
        assert smtp.rcpt("r@far.example")[0] == 550
        smtp.rset()
        smtp.login(ANN, "pencil")
        assert smtp.sendmail(ANN, ["user@far.example"], HEADER + b"hello\r\n") == {}
    shared.arrive("user@far.example")
    (envelope,) = [one for one in shared.sink.envelopes() if one["rcpts"] == ["user@far.example"]]
    assert b" with ESMTPSA id " in shared.sink.content(envelope)


def test_a_user_has_its_own_sender_only(shared):
    with connected(shared.gateway) as smtp:
        smtp.login(ANN, "pencil")
        assert smtp.mail("bob@gateway.example")[0] == 553
        assert smtp.mail("ann+shop@gateway.example")[0] == 250
        smtp.rset()
        assert smtp.mail("")[0] == 250


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
@pytest.mark.parametrize("password", ["pencil", "pencils"])
def test_gsasl_logs_in(shared, mechanism, password):
    command = ["gsasl", "--smtp", f"--connect=127.0.0.1:{shared.gateway.port}", "-m", mechanism, "-a", ANN, "-p", password]
    command += ["--x509-ca-file="] if mechanism.endswith("PLUS") else ["--x509-ca-file=", "--no-cb"]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=60, check=False)
    assert ("235 2.7.0" in done.stdout) == (password == "pencil"), done.stdout + done.stderr
    assert ("535 5.7.8" in done.stdout) == (password != "pencil")
