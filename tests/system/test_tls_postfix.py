"""smtpc and a Postfix: TLS 1.2 and 1.3, what is demanded of it, and a Postfix that offers no TLS."""

import re
import subprocess

import pytest

from bench.relays import PostfixRelay
from contrib.lib.gateway import free_port, wait_until
from meta1g.base.tlspolicy import TlsLevel, TlsPolicy
from meta1g.rcb.common import ServerAddr
from tests.fakes.certificates import make_certificate, sign_certificate
from tests.system.conftest import directory_for_all
from tests.unit.smtpc.conftest import running

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("tls-postfix")]

CONTENT = b"Received: here\r\nSubject: x\r\n\r\nbody\r\n"
POSTFIX = """
smtpd_tls_security_level = may
smtpd_tls_cert_file = {0}/mx.x.example.pem
smtpd_tls_key_file = {0}/mx.x.example.key
smtpd_tls_chain_files =
"""
POLICIES = {
    "may": TlsPolicy(),
    "encrypt": TlsPolicy(TlsLevel.ENCRYPT),
    "verify": TlsPolicy(TlsLevel.VERIFY, names=("mx.x.example",)),
    "wrong name": TlsPolicy(TlsLevel.VERIFY, names=("other.example",)),
}


@pytest.fixture(scope="module")
def postfix():
    with directory_for_all() as directory:
        make_certificate(directory, "ca.example")
        sign_certificate(directory, "mx.x.example", "ca.example")
        relay = PostfixRelay(directory / "postfix", 0, free_port(), POSTFIX.format(directory))
        yield relay, directory
        relay.stop()


def change(directory, *settings):
    config = directory / "postfix/etc"
    subprocess.run(["postconf", "-c", config, "-e", *settings], check=True, timeout=60)
    subprocess.run(["postfix", "-c", config, "reload"], check=True, timeout=60, capture_output=True)


def test_what_is_demanded_of_a_postfix(postfix, tmp_path):
    relay, directory = postfix
    options = f'log {{ file = "smtpc.log"; }} log_level = 9; tls {{ CAcert_file = {directory}/ca.example.pem; }}'
    with running(tmp_path, options, step_s=30) as smtpc:
        smtpc.store(CONTENT)

        def outcome(name):
            policy = POLICIES[name]
            server = ServerAddr(
                addr="127.0.0.1", port=relay.port, host="mx.x.example", tls=policy.demands(), tls_source=name.replace(" ", "-")
            )
            result = smtpc.deliver(smtpc.job(relay.port, ["r@sink.example"], server=(server,)))
            reply = result.rcpts[0].reply if result.rcpts else result.session
            return f"{reply.code} {reply.ecode}"

        for version in ("TLSv1.3", "TLSv1.2"):
            change(directory, f"smtpd_tls_protocols = {version}", "smtpd_tls_security_level = may")
            log = smtpc.queue / "smtpc.log"
            line = rf"func=smtpc\.tls, .*tls={re.escape(version)} "
            wait_until(lambda line=line, log=log: outcome("may") and re.search(line, log.read_text()), 30, version)
            found = {name: outcome(name) for name in POLICIES}
            assert found == {**dict.fromkeys(POLICIES, "250 2.0.0"), "wrong name": "451 4.7.5"}
        change(directory, "smtpd_tls_security_level = none")
        wait_until(lambda: outcome("encrypt") == "451 4.7.4", 30, "no TLS any more")
        assert outcome("may") == "250 2.0.0"
