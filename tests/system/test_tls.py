"""A gateway with a certificate from sm.setup: mail comes in under TLS, from the first start, and its header says so."""

import os
import re
import signal
import smtplib
import ssl
import stat

import pytest

from contrib.lib.gateway import Gateway, free_port, wait_until
from tests.fakes.certificates import make_certificate, sign_certificate
from tests.system.conftest import FAST_RETRY, HEADER, running, send

pytestmark = pytest.mark.system


def test_mail_comes_in_under_tls_from_the_first_start(tmp_path, sink):
    gateway = Gateway(tmp_path / "g", f". {sink.port}^[127.0.0.1]", tls=True)
    with running(gateway):
        key = gateway.conf.parent / "tls/key.pem"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        trusting = ssl.create_default_context(cafile=gateway.conf.parent / "tls/cert.pem")
        with smtplib.SMTP("127.0.0.1", gateway.port, timeout=60) as client:
            client._host = "gateway.example"  # the name that the certificate has to have
            client.ehlo("test.example")
            client.starttls(context=trusting)
            assert client.sendmail("sender@back.example", ["rcpt@sink.example"], HEADER + b"hello\r\n") == {}
        (envelope,) = sink.wait_for(1)
        assert b"with ESMTPS id " in sink.content(envelope)
        gateway.wait_empty()
        assert "func=smtps.tls," in gateway.log.read_text()


def test_two_gateways_speak_tls_with_each_other(tmp_path, sink):
    inner = Gateway(tmp_path / "in", f". {sink.port}^[127.0.0.1]", tls=True)
    with running(inner):
        outer = Gateway(tmp_path / "out", f". {inner.port}^[127.0.0.1]")
        with running(outer):
            for number in range(3):
                send(outer, [f"rcpt{number}@sink.example"])
            envelopes = sink.wait_for(3)
            outer.wait_empty()
            inner.wait_empty()
        for envelope in envelopes:
            first, second = re.findall(rb"with (E?SMTPS?) id ", sink.content(envelope))
            assert (first, second) == (b"ESMTPS", b"ESMTP"), "from the outer gateway, and from the client"
        assert "func=smtpc.tls," in outer.log.read_text()


RULES = """
cltresolve:ok       reject
cltresolve:no       reject
cltresolve:forged   reject
cltresolve:temp     reject
certsubject:cn=friend.example  relay
"""


def client_of(port, files, name):
    """A client on the port with implicit TLS, with a certificate or without."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if name:
        context.load_cert_chain(files / f"{name}.pem", files / f"{name}.key")
    return smtplib.SMTP_SSL("127.0.0.1", port, timeout=60, context=context)


def test_a_certificate_lets_a_client_relay_and_overrules_a_denial(tmp_path, sink):
    files = tmp_path / "files"
    files.mkdir()
    for name in ("mx.example", "ca.example", "stranger.example"):
        make_certificate(files, name)
    for name in ("friend.example", "other.example"):
        sign_certificate(files, name, "ca.example")
    port = free_port()
    options = {
        "smtps": f"""
          listen_socket {{ type = inet; address = 127.0.0.1; port = {port}; implicit_tls = true; }}
          flags = {{ delay_checks }};
          tls {{ cert_file = {files}/mx.example.pem; key_file = {files}/mx.example.key; CAcert_file = {files}/ca.example.pem; }}
        """,
        "smar": "access_map { file = access; type = text; }",
    }
    gateway = Gateway(tmp_path / "g", f". {sink.port}^[127.0.0.1]", options, relay_from="192.0.2.1")
    gateway.setup()
    (gateway.conf.parent / "access").write_text(RULES)
    with running(gateway):
        for name, code in (("", 550), ("stranger.example", 550), ("other.example", 550), ("friend.example", 250)):
            with client_of(port, files, name) as client:
                client.ehlo("client.example")
                assert client.mail("sender@back.example")[0] == 250
                assert client.rcpt("rcpt@sink.example")[0] == code, name
                if code == 250:
                    assert client.data(HEADER + b"hello\r\n")[0] == 250
        (envelope,) = sink.wait_for(1)
        assert b"with ESMTPS id " in sink.content(envelope)
        gateway.wait_empty()


def test_requiretls_is_kept_over_a_restart_and_ends_in_a_report_without_the_body(tmp_path, sink):
    inner = Gateway(tmp_path / "in", f". {sink.port}^[127.0.0.1]", tls=True)
    inner.setup()
    options = {
        "qmgr": FAST_RETRY,
        "smar": 'tls_policy { file = "tls_policy.db"; }',
        "smtpc": f"tls {{ CAcert_file = {inner.conf.parent}/tls/cert.pem; }}",
    }
    outer = Gateway(tmp_path / "out", f". {inner.port}^[127.0.0.1]", options, tls=True)
    outer.conf.parent.mkdir(parents=True)
    outer.write_map("tls_policy", f"[127.0.0.1]:{inner.port} verify match=gateway.example\n")
    with running(outer):
        with tls_client(outer) as client:
            rcpts, text = ["rcpt@sink.example"], HEADER + b"secret\r\n"
            assert client.sendmail("sender@back.example", rcpts, text, mail_options=["REQUIRETLS"]) == {}
        wait_until(lambda: outer.leftovers()["defedb"] == 1, 60, "nobody is there yet")
        (row,) = outer.control("queue")["list"]
        assert outer.control("transaction", row["ta"])["requiretls"] is True
        os.kill(outer.pids()["qmgr"][0], signal.SIGKILL)
        with running(inner):
            (envelope,) = sink.wait_for(1)
            inner.wait_empty()
        assert "tls_policy=verify tls_policy [127.0.0.1]" in outer.log.read_text()
    assert (envelope["mail"], envelope["rcpts"]) == ("", ["sender@back.example"])
    report = sink.content(envelope)
    assert b"5.7.10" in report
    assert b"REQUIRETLS is asked for, and there is no TLS" in b" ".join(report.split())
    assert b"text/rfc822-headers" in report
    assert b"secret" not in report


def tls_client(gateway):
    client = smtplib.SMTP("127.0.0.1", gateway.port, timeout=60)
    client._host = "gateway.example"  # the name that the certificate has to have
    client.ehlo("test.example")
    client.starttls(context=ssl.create_default_context(cafile=gateway.conf.parent / "tls/cert.pem"))
    client.ehlo("test.example")
    return client
