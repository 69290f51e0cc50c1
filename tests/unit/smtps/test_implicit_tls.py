"""Sessions of a real smtps process that begin with TLS, and handshakes that are too many."""

import contextlib
import smtplib
import socket
import ssl
import subprocess

import pytest

from meta1g.base.reply import Reply
from meta1g.rcb.smtps_qmgr import NewSession
from meta1g.rcb.smtps_smar import Checks, ClientVerdict
from tests.fakes.certificates import make_certificate
from tests.fakes.smtps_process import WAIT_S, SmtpsProcess

OPTIONS = """
  listen_socket {{ type = inet; address = "127.0.0.1"; port = 0; implicit_tls = true; }}
  tls {{ cert_file = {0}/mx.example.pem; key_file = {0}/mx.example.key; }}
"""
HALF = b"\x16\x03\x01\x02\x00\x01"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    make_certificate(directory, "mx.example")
    return directory


@pytest.fixture(scope="module")
def smtps(tmp_path_factory, files):
    with SmtpsProcess(tmp_path_factory.mktemp("q") / "q", OPTIONS.format(files), checks=Checks.RCPT | Checks.CLIENT) as process:
        yield process


def welcome(msg):
    return ClientVerdict(reply=Reply(220))


def under_tls(process, files):
    context = ssl.create_default_context(cafile=files / "mx.example.pem")
    sock = socket.create_connection(("127.0.0.1", process.port_of(1)), WAIT_S)
    return context.wrap_socket(sock, server_hostname="mx.example")


def test_a_session_begins_with_tls(smtps, files):
    context = ssl.create_default_context(cafile=files / "mx.example.pem")
    context.check_hostname = False
    with smtplib.SMTP_SSL("127.0.0.1", smtps.port_of(1), timeout=WAIT_S, context=context) as smtp:
        smtp.ehlo("client.example")
        assert not smtp.has_extn("starttls")
        assert smtp.docmd("STARTTLS")[0] == 503
        assert smtp.sendmail("a@b.example", ["r@x.example"], b"Subject: x\r\n\r\nsecret\r\n") == {}
    assert b"\r\n\ttls TLS_" in smtps.content_files()[-1].read_bytes()


def test_swaks_sends_to_it(smtps):
    command = ["swaks", "--server", f"127.0.0.1:{smtps.port_of(1)}", "--tls-on-connect", "--from", "a@b.example"]
    done = subprocess.run([*command, "--to", "r@x.example"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_the_other_socket_begins_in_clear(smtps):
    with smtps.client() as client:
        client.command("NOOP", "250")


def test_a_client_that_is_not_welcome_is_told_so_under_tls(smtps, files):
    smtps.smar.client = lambda msg: ClientVerdict(reply=Reply(550, "5.7.1", "go away"))
    try:
        with under_tls(smtps, files) as sock, sock.makefile("rb") as file:
            assert file.readline() == b"554 5.7.1 go away\r\n"
    finally:
        smtps.smar.client = welcome


def test_for_a_passing_reason_no_handshake_is_made(smtps, files):
    smtps.smar.client = lambda msg: ClientVerdict(reply=Reply(451, "4.7.1", "passing reason"))
    try:
        with pytest.raises((ssl.SSLError, OSError)):
            under_tls(smtps, files)
    finally:
        smtps.smar.client = welcome
    smtps.wait_log(r"func=smtps\.connect_refused, .*passing reason")


def test_a_command_before_the_greeting_is_one_here_too(smtps, files):
    """The handshake itself is none: all the other tests show that."""
    held = []
    smtps.smar.client = lambda msg: held.append(msg) or ClientVerdict(reply=Reply(220))
    try:
        with socket.create_connection(("127.0.0.1", smtps.port_of(1)), WAIT_S) as sock:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            context = ssl.create_default_context(cafile=files / "mx.example.pem")
            tls = context.wrap_bio(incoming, outgoing, server_hostname="mx.example")
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            sock.sendall(outgoing.read())
            while True:
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
                    break
                incoming.write(sock.recv(65536))
            tls.write(b"EHLO too.early\r\n")
            sock.sendall(outgoing.read())  # in one piece with the end of the handshake
            said = b""
            while data := sock.recv(65536):
                incoming.write(data)
                with contextlib.suppress(ssl.SSLWantReadError):
                    said += tls.read(999)
                if b"\r\n" in said:
                    break
            assert said.startswith(b"554 "), said
    finally:
        smtps.smar.client = welcome


@pytest.mark.parametrize("junk", [b"EHLO in.clear\r\nMAIL FROM:<a@b.example>\r\n", b"GET / HTTP/1.1\r\n\r\n", bytes(300)])
def test_what_is_no_handshake_ends_the_connection_without_an_answer_in_clear(smtps, junk):
    with socket.create_connection(("127.0.0.1", smtps.port_of(1)), WAIT_S) as sock:
        sock.sendall(junk)
        said = b""
        with contextlib.suppress(OSError):  # it may have reset the connection
            sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while data := sock.recv(9999):
                said += data
        assert said[:1] in (b"", b"\x15"), "at most an alert"
    smtps.wait_log(r"func=smtps\.tls_failed, ")


def test_a_hello_of_tls_on_the_other_socket_is_an_early_talker(smtps, files):
    with socket.create_connection(("127.0.0.1", smtps.port), WAIT_S) as sock, pytest.raises((ssl.SSLError, OSError)):
        ssl.create_default_context().wrap_socket(sock, server_hostname="mx.example")


def test_half_a_handshake_does_not_delay_the_stop(tmp_path, files):
    with (
        SmtpsProcess(tmp_path / "q", OPTIONS.format(files), limits={"STOP_GRACE_S": 600}) as process,
        socket.create_connection(("127.0.0.1", process.port_of(1)), WAIT_S) as sock,
    ):
        sock.sendall(HALF)
        process.qmgr.wait_for(NewSession)
        assert process.end() == 0, "it was killed"


def test_handshakes_that_are_not_over_leave_places_for_others(tmp_path, files):
    """Of 40 sessions 20 may be in a handshake, of one client less; the next one hears 454, and in clear all goes on."""
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(SmtpsProcess(tmp_path / "q", f"max_threads = 40; {OPTIONS.format(files)}"))
        begun = 0
        while True:
            client = stack.enter_context(process.client())
            client.send(b"STARTTLS\r\n")
            reply = client.reply()
            if not reply.startswith("220"):
                break
            client.send(HALF)
            begun += 1
        assert reply.startswith("454 4.7.0 "), reply
        assert begun == 13, "two thirds"
        client.message(b"x\r\n")
        with pytest.raises((ssl.SSLError, OSError)):
            under_tls(process, files)
        process.wait_log(r"func=smtps\.connect_refused, .*too many handshakes")
