"""What smtpc tells of sessions with servers of domains whose sessions are counted for reports, and of no others."""

import ssl

import pytest

from meta1g.base.tlspolicy import TlsLevel, TlsPolicy
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.smtpc_qmgr import DeliveryResult
from meta1g.rcb.tlssession import TlsSession
from tests.fakes.certificates import make_certificate, sign_certificate
from tests.fakes.smtp_server import EHLO, End, ScriptedServer
from tests.unit.smtpc.conftest import running

pytestmark = pytest.mark.system

OFFERED = EHLO.replace("250-PIPELINING", "250-STARTTLS\r\n250-PIPELINING")
TLS = {"EHLO": OFFERED, "STARTTLS": "220 go\r\n"}
MX = "mx.x.example"
VERIFY = TlsPolicy(TlsLevel.VERIFY, names=(MX,))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    make_certificate(directory, "ca.example")
    make_certificate(directory, "alone.example")
    for name in (MX, "other.example"):
        sign_certificate(directory, name, "ca.example")
    return directory


@pytest.fixture(scope="module")
def smtpc(tmp_path_factory, files):
    with running(tmp_path_factory.mktemp("smtpc"), f"tls {{ CAcert_file = {files}/ca.example.pem; }}", step_s=30) as made:
        made.store(b"Received: here\r\nSubject: x\r\n\r\nbody\r\n")
        yield made


@pytest.mark.parametrize(
    ("replies", "cert", "policy", "told", "word"),
    [
        (TLS, MX, TlsPolicy(), (True, True, True), ""),
        (TLS, MX, VERIFY, (True, True, True), ""),
        (TLS, "other.example", TlsPolicy(), (True, True, False), "mismatch"),
        (TLS, "alone.example", TlsPolicy(), (True, True, False), "self-signed"),
        (TLS, "other.example", VERIFY, (True, False, False), "mismatch"),
        ({}, MX, TlsPolicy(), (False, False, False), ""),
        ({}, MX, VERIFY, (False, False, False), "TLS is required"),
        ({**TLS, "STARTTLS": "454 4.7.0 not now\r\n"}, MX, TlsPolicy(), (True, False, False), "refused"),
        ({**TLS, "STARTTLS": End("220 go\r\n")}, MX, VERIFY, (True, False, False), "handshake"),
        (TLS, MX, TlsPolicy(refused="policy names others"), (True, False, False), "policy names others"),
    ],
)
def test_a_session_is_told_as_it_was(smtpc, files, replies, cert, policy, told, word):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(files / f"{cert}.pem", files / f"{cert}.key")
    host = MX if cert != "alone.example" else cert
    with ScriptedServer(replies, tls=made) as server:
        to = ServerAddr(addr="127.0.0.1", port=server.port, host=host, tls=policy.demands(), domain="x.example")
        smtpc.qmgr.send(smtpc.job(server.port, server=(to,)), next(smtpc.numbers))
        _, session = smtpc.qmgr.expect(TlsSession)
        smtpc.qmgr.expect(DeliveryResult)
    assert (session.domain, session.server[0].host, session.server[0].tls) == ("x.example", host, policy.demands())
    assert (session.offered, session.secured, session.verified) == told
    assert word in session.reason
    assert session.source == ("" if policy.refused else "127.0.0.1")


def test_nothing_is_told_of_other_sessions(smtpc):
    with ScriptedServer() as server:
        smtpc.qmgr.send(smtpc.job(server.port), next(smtpc.numbers))
        _, first = smtpc.qmgr.receive()
    assert isinstance(first, DeliveryResult)
