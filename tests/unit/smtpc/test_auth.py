"""AUTH as a client: mechanisms without a connection, and the process with its options."""

import base64
import hashlib
import re
import ssl
import subprocess
import sys

import pytest
from scramp import ScramMechanism

from contrib.lib.gateway import wait_until
from meta1g.base.tlspolicy import TlsLevel, TlsPolicy
from meta1g.rcb.common import ServerAddr
from meta1g.sasl.base import SaslError
from meta1g.sasl.scram import ITERATIONS_MAX
from meta1g.smtpc.auth import CANCEL, COMMAND_MAX_BYTES, MECHANISMS, Exchange, Secrets, choose, offered_mechanisms
from tests.fakes.certificates import make_certificate
from tests.fakes.smtp_server import EHLO, ScriptedServer
from tests.unit.smtpc.conftest import running

CONTENT = b"Received: here\r\nSubject: x\r\n\r\nbody\r\n"
OFFERED = EHLO.replace("250-PIPELINING", "250-AUTH PLAIN LOGIN CRAM-MD5\r\n250-PIPELINING")
ALL = tuple(MECHANISMS)


def b64(data):
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def who(**facts):
    return Secrets(**{"user": "user", "secret": "pencil", "nonce": "cnonce", "host": "mx.example", "port": 25, **facts})


@pytest.mark.parametrize(
    ("offered", "allowed", "facts", "chosen"),
    [
        ("LOGIN PLAIN", ALL, {}, "PLAIN"),
        ("LOGIN PLAIN", ("LOGIN", "PLAIN"), {}, "LOGIN"),
        ("PLAIN SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-256-PLUS", ALL, {"can_bind": True}, "SCRAM-SHA-256-PLUS"),
        ("PLAIN SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-256-PLUS", ALL, {}, "SCRAM-SHA-256"),
        ("SCRAM-SHA-1-PLUS SCRAM-SHA-1", ALL, {"can_bind": True}, "SCRAM-SHA-1-PLUS"),
        ("PLAIN XOAUTH2 OAUTHBEARER", ALL, {"token": True}, "OAUTHBEARER"),
        ("PLAIN XOAUTH2", ("PLAIN",), {"token": True}, ""),
        ("XOAUTH2", ALL, {}, ""),
        ("NTLM GSSAPI", ALL, {}, ""),
        ("PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1", ALL, {"known": False}, "SCRAM-SHA-1"),
        ("PLAIN LOGIN CRAM-MD5", ALL, {"known": False}, ""),
        ("OAUTHBEARER XOAUTH2", ALL, {"known": False, "token": True}, ""),
        ("", ALL, {}, ""),
    ],
)
def test_the_first_that_may_be_used_and_is_offered_is_chosen(offered, allowed, facts, chosen):
    assert choose(offered.split(), allowed, **{"token": False, "can_bind": False, "known": True, **facts}) == chosen


def test_what_a_server_offers():
    keywords = {"SIZE": "10", "AUTH": "plain Login", "AUTH=CRAM-MD5": "", "AUTHX": "EVIL"}
    assert offered_mechanisms(keywords) == ("PLAIN", "LOGIN", "CRAM-MD5")


@pytest.mark.parametrize("name", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
@pytest.mark.parametrize("password", ["pencil", "pass word", "sécret", "a,b=c"])
def test_scram_with_another_implementation(name, password):
    mechanism = ScramMechanism(name)
    salt, stored, server_key, count = mechanism.make_auth_info(password, iteration_count=5000)
    server = mechanism.make_server(lambda _user: (salt, stored, server_key, count))
    exchange = Exchange(name, who(secret=password))
    server.set_client_first(base64.b64decode(exchange.command().split()[2]).decode())
    server.set_client_final(base64.b64decode(exchange.answer(b64(server.get_server_first()))).decode())
    assert not exchange.is_proven
    assert exchange.answer(b64(server.get_server_final())) == ""
    assert exchange.is_proven


def test_a_server_that_offers_no_binding_hears_that_we_could_have_bound():
    first = [Exchange("SCRAM-SHA-256", who(binding=b"x", plus_offered=plus)).command() for plus in (False, True)]
    assert [base64.b64decode(line.split()[2])[:2] for line in first] == [b"y,", b"n,"]
    bound = Exchange("SCRAM-SHA-256-PLUS", who(binding=b"x", plus_offered=True)).command()
    assert base64.b64decode(bound.split()[2]).startswith(b"p=tls-exporter,,")


@pytest.mark.parametrize("count", ["0", "-1", "x", str(ITERATIONS_MAX + 1), "9" * 300])
def test_a_server_cannot_ask_for_more_work_than_there_may_be(count):
    exchange = Exchange("SCRAM-SHA-256", who())
    exchange.command()
    assert exchange.answer(b64(f"r=cnonceserver,s=c2FsdA==,i={count}")) == CANCEL
    assert "iterations" in exchange.trouble


def test_work_that_takes_long_is_known_before():
    exchange = Exchange("SCRAM-SHA-256", who())
    assert not exchange.is_costly
    exchange.command()
    assert exchange.is_costly
    assert not Exchange("PLAIN", who()).is_costly


def test_a_long_token_waits_until_the_server_asks_for_it():
    token = "t" * 2000
    exchange = Exchange("XOAUTH2", who(secret=token))
    assert exchange.command() == "AUTH XOAUTH2"
    assert base64.b64decode(exchange.answer("")) == f"user=user\1auth=Bearer {token}\1\1".encode()
    short = Exchange("XOAUTH2", who(secret="t" * 200)).command()
    assert short.startswith("AUTH XOAUTH2 ")
    assert len(short) <= COMMAND_MAX_BYTES


def test_after_the_exchange_was_given_up_only_that_is_said():
    exchange = Exchange("PLAIN", who())
    exchange.command()
    assert [exchange.answer(""), exchange.answer("YQ=="), exchange.is_proven] == [CANCEL, CANCEL, False]


@pytest.mark.parametrize("name", ["PLAIN", "SCRAM-SHA-256"])
def test_what_may_not_be_in_a_name_or_password_is_not_sent(name):
    with pytest.raises(SaslError, match="may not stand"):
        Exchange(name, who(user="a\u0007é")).command()


def test_secrets_are_in_no_form_for_people():
    assert "pencil" not in repr(who())
    assert hashlib.md5(b"x").hexdigest() not in repr(who(binding=b"x"))


# -- the process


def logins(directory, text="mx.x.example user password pencil\n"):
    path = directory / "logins"
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture
def smtpc(tmp_path, request):
    options = f'log {{ file = "smtpc.log"; }} log_level = 15; auth {{ file = "{logins(tmp_path)}"; {request.param} }}'
    with running(tmp_path, options, step_s=30) as made:
        made.store(CONTENT)
        yield made


@pytest.mark.system
@pytest.mark.parametrize("smtpc", ["flags = without_tls;"], indirect=True)
def test_a_message_goes_to_a_server_that_knows_us(smtpc):
    with ScriptedServer({"EHLO": OFFERED.replace(" CRAM-MD5", ""), "AUTH": "235 2.7.0 welcome\r\n"}) as server:
        result = smtpc.deliver(smtpc.job(server.port))
        assert result.rcpts[0].reply.code == 250
        assert server.connections[0].commands[1:3] == ["AUTH PLAIN AHVzZXIAcGVuY2ls", "MAIL FROM:<s@y.example> SIZE=100"]
    log = smtpc.queue / "smtpc.log"
    wait_until(lambda: "func=smtpc.deliver," in log.read_text(), 20, "the line of the delivery")
    text = log.read_text()
    assert re.search(r"func=smtpc\.auth, .*auth=user, mechanism=PLAIN", text)
    assert not any(secret in text for secret in ("pencil", "AHVzZXIAcGVuY2ls"))


@pytest.mark.system
@pytest.mark.parametrize("smtpc", ["flags = without_tls; mechanisms = { login, scram-sha-256 };"], indirect=True)
def test_only_mechanisms_that_may_be_used_are(smtpc):
    with ScriptedServer({"EHLO": OFFERED, "AUTH": "454 4.7.0 later\r\n"}) as server:
        result = smtpc.deliver(smtpc.job(server.port))
        assert (result.session.code, result.session.text) == (454, "later")
        assert server.connections[0].commands[1] == "AUTH LOGIN"


@pytest.mark.system
@pytest.mark.parametrize("smtpc", [""], indirect=True)
def test_nothing_is_said_in_clear_unless_told(smtpc):
    with ScriptedServer({"EHLO": OFFERED}) as server:
        result = smtpc.deliver(smtpc.job(server.port))
        assert (result.session.code, result.session.ecode) == (451, "4.7.0")
        assert "the session is in clear; the flag without_tls of auth" in result.session.text
        smtpc.wait_idle()
        assert server.connections[0].commands == ["EHLO client.example", "QUIT"]
    log = (smtpc.queue / "smtpc.log").read_text()
    assert re.search(r"sevr=ERROR, func=smtpc\.auth_failed, .*auth=user", log)


UNDER_TLS = {
    "EHLO": OFFERED.replace(" CRAM-MD5", "").replace("250-PIPELINING", "250-STARTTLS\r\n250-PIPELINING"),
    "STARTTLS": "220 go\r\n",
    "AUTH": "235 2.7.0 welcome\r\n",
}


@pytest.mark.system
@pytest.mark.parametrize("smtpc", ["", "flags = unverified_tls;"], indirect=True)
def test_a_password_goes_to_a_server_that_is_known_and_to_no_other(smtpc, tmp_path):
    cert, key = make_certificate(tmp_path, "mx.x.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    prints = (hashlib.sha256(ssl.PEM_cert_to_DER_cert(cert.read_text())).hexdigest(),)
    known = TlsPolicy(TlsLevel.FINGERPRINT, fingerprints=prints)
    to_anybody = "unverified_tls" in (smtpc.queue.parent / "meta1.conf").read_text()
    with ScriptedServer(UNDER_TLS, tls=context) as server:
        for policy, right in ((TlsPolicy(), to_anybody), (TlsPolicy(TlsLevel.ENCRYPT), to_anybody), (known, True)):
            there = ServerAddr(addr="127.0.0.1", port=server.port, host="mx.x.example", tls=policy.demands())
            result = smtpc.deliver(smtpc.job(server.port, server=(there,)))
            smtpc.wait_idle()
            assert ("AUTH PLAIN AHVzZXIAcGVuY2ls" in server.connections[-1].commands) == right
            if right:
                assert result.rcpts[0].reply.code == 250
            else:
                assert (result.session.code, result.session.ecode) == (451, "4.7.0")
                assert "the flag unverified_tls of auth" in result.session.text


@pytest.mark.system
@pytest.mark.parametrize("smtpc", ["flags = without_tls;"], indirect=True)
def test_a_server_that_wants_to_know_us_is_told_of_in_the_log(smtpc):
    with ScriptedServer({"MAIL": "530 5.7.0 who?\r\n"}) as server:
        told = (ServerAddr(addr="127.0.0.1", port=server.port, host="other.example"),)
        result = smtpc.deliver(smtpc.job(server.port, server=told))
    told = result.transaction  # in words of ours: nobody's mail was refused, so it is not quoted as an answer (RFC 3464 2.3.6)
    assert (told.code, told.ecode, told.origin) == (451, "4.7.0", "")
    assert told.text == "other.example[127.0.0.1]: MAIL: 530 5.7.0 who?"
    log = (smtpc.queue / "smtpc.log").read_text()
    assert re.search(r"func=smtpc\.auth_demanded, .*server_name=other\.example, .*has no login for it", log)


@pytest.mark.system
@pytest.mark.parametrize("smtpc", ["flags = without_tls;"], indirect=True)
def test_a_login_that_fails_at_one_address_is_not_tried_at_a_better_one_at_once(smtpc):
    with ScriptedServer({"EHLO": OFFERED, "AUTH": "535 5.7.8 no\r\n"}) as other:
        both = tuple(ServerAddr(addr=addr, port=other.port, host="mx.x.example") for addr in ("127.0.0.2", "127.0.0.1"))
        said = smtpc.deliver(smtpc.job(other.port, server=both)).session
        assert (said.code, said.text, said.origin) == (451, "mx.x.example[127.0.0.1]: AUTH: 535 5.7.8 no", "")
        with ScriptedServer(port=other.port, address="127.0.0.2") as better:
            assert smtpc.deliver(smtpc.job(other.port, server=both)).session.code == 451
            assert (len(better.connections), len(other.connections)) == (0, 2)


@pytest.mark.parametrize(
    ("text", "mode", "about"),
    [
        ("mx.example ada password one\n", 0o600, ""),
        ("mx.example ada password one\n", 0o644, "logins may be read by others"),
        ("\nmx.example ada\n", 0o600, "logins:2: write SERVER USER KIND SECRET"),
        (None, 0, "logins: No such file"),
    ],
)
def test_the_check_of_the_process_looks_at_the_file(tmp_path, text, mode, about):
    path = tmp_path / "logins"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    conf = tmp_path / "meta1.conf"
    conf.write_text(f'hostname = "a.example";\nqueue_directory = "{tmp_path}";\nsmtpc {{ auth {{ file = "logins"; }} }}\n')
    command = [sys.executable, "-c", "import sys; from meta1g.smtpc.check import main; main(sys.argv[1:])", "-f", str(conf)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (about in done.stdout + done.stderr) if about else "logins" not in done.stdout + done.stderr
