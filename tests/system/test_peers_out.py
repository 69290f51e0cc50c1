"""smtpc with servers that others wrote: AUTH at Postfix with Dovecot's users, LMTP to Dovecot."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.relays import PostfixRelay
from contrib.lib.gateway import free_port, wait_until
from meta1g.rcb.common import DeliveryAgent, ServerAddr
from tests.fakes.certificates import make_certificate
from tests.fakes.dovecot_conf import dovecot_conf
from tests.manual.blocks import shown
from tests.system.conftest import directory_for_all
from tests.unit.smtpc.conftest import SmtpcProcess
from tests.unit.smtpc.conftest import running as smtpc_running

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("postfix")]

WAIT_S = 30
CONTENT = b"Received: here\r\nFrom: a@test.example\r\nSubject: x\r\n\r\nbody\r\n"
MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")
POSTFIX = """\
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {directory}/auth
smtpd_sasl_security_options = noanonymous
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_tls_cert_file = {directory}/mx.x.example.pem
smtpd_tls_key_file = {directory}/mx.x.example.key
smtpd_relay_restrictions = permit_sasl_authenticated, reject
mynetworks = 192.0.2.1/32
"""
LOGINS = """\
mx.x.example      ada@x.example  password  right battery
wrong.x.example   ada@x.example  password  wrong battery
"""


@dataclass
class Peers:
    """Dovecot, a Postfix with a port for each mechanism, and smtpc."""

    directory: Path
    postfix: PostfixRelay
    ports: dict[str, int]
    smtpc: SmtpcProcess


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Path]:
    """The directory of a Dovecot of our own."""
    program = shutil.which("dovecot", path="/usr/sbin:/usr/bin")
    if program is None or os.geteuid() != 0:
        pytest.skip("Dovecot is not installed, or we are not root, as whom it is started")
    with directory_for_all() as directory:
        (directory / "users").write_text("ada@x.example:right battery\n")
        (directory / "mail").mkdir()
        shutil.chown(directory / "mail", "mail", "mail")
        conf = directory / "dovecot.conf"
        own = shown("auth.md", "a part of dovecot.conf").replace("/var/spool/meta1", str(directory)).replace("meta1s", "mail")
        conf.write_text(own + dovecot_conf(directory, mechanisms=" ".join(MECHANISMS).lower(), lmtp=f"{directory}/lmtp"))
        process = subprocess.Popen([program, "-F", "-c", str(conf)])
        try:
            wait_until(
                lambda: all((directory / name).exists() for name in ("auth", "lmtp", "dovecot-auth")),
                WAIT_S,
                "the sockets of Dovecot",
            )
            yield directory
        finally:
            process.terminate()
            process.wait(WAIT_S)


@pytest.fixture(scope="module")
def peers(dovecot: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    make_certificate(dovecot, "mx.x.example")
    logins = dovecot / "logins"
    logins.write_text(LOGINS)
    logins.chmod(0o600)
    postfix = PostfixRelay(dovecot / "postfix", 0, 1, POSTFIX.format(directory=dovecot))
    try:
        ports = {name: free_port() for name in MECHANISMS}
        with (dovecot / "postfix/etc/master.cf").open("a") as master:
            for name, port in ports.items():
                master.write(f"127.0.0.1:{port} inet n - n - - smtpd -o smtpd_sasl_mechanism_filter={name}\n")
        subprocess.run(["postfix", "-c", str(dovecot / "postfix/etc"), "reload"], check=True, capture_output=True, timeout=60)
        options = f'tls {{ CAcert_file = {dovecot}/mx.x.example.pem; }} auth {{ file = "{logins}"; }}'
        with smtpc_running(tmp_path_factory.mktemp("smtpc"), options, step_s=WAIT_S) as smtpc:
            smtpc.store(CONTENT)
            yield Peers(dovecot, postfix, ports, smtpc)
    finally:
        postfix.stop()


def deliver(peers: Peers, port: int, host: str = "mx.x.example"):
    return peers.smtpc.deliver(peers.smtpc.job(port, server=(ServerAddr(addr="127.0.0.1", port=port, host=host),)))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_postfix_takes_mail_from_who_has_logged_in(peers, mechanism):
    port = peers.ports[mechanism]

    def accepted() -> bool:
        result = deliver(peers, port)
        return bool(result.rcpts) and result.rcpts[0].reply.code == 250

    wait_until(accepted, WAIT_S, "the new port of Postfix")


def test_postfix_refuses_a_wrong_password_and_the_message_waits(peers):
    port = peers.ports["SCRAM-SHA-256"]
    wait_until(lambda: deliver(peers, port, "wrong.x.example").session.code == 451, WAIT_S, "the refusal")


def test_postfix_refuses_who_has_no_login(peers):
    result = deliver(peers, peers.postfix.port, "other.x.example")
    assert (result.rcpts[0].reply.code, result.rcpts[0].reply.ecode) == (554, "5.7.1")


def test_dovecot_takes_mail_by_lmtp_and_answers_for_each_recipient(peers):
    told = (ServerAddr(addr=f"unix:{peers.directory}/lmtp", port=0, host="lmtp"),)
    rcpts = ["ada@x.example", "nobody@x.example"]
    result = peers.smtpc.deliver(peers.smtpc.job(0, rcpts, server=told, da=int(DeliveryAgent.LMTP)))
    assert {one.rcpt_idx: one.reply.code for one in result.rcpts} == {0: 250, 1: 550}
    (message,) = (peers.directory / "mail/ada@x.example/new").iterdir()
    assert message.read_bytes().replace(b"\n", b"\r\n").endswith(CONTENT)
