"""STARTTLS of a real smtps process: Python's client, and clients that do what they should not."""

import contextlib
import re
import shutil
import smtplib
import socket
import ssl
import subprocess
import sys

import pytest

from meta1g.base import paths
from tests.fakes.certificates import make_certificate
from tests.fakes.smtps_process import ROOT, SmtpsProcess

WAIT_S = 20
TLS = "tls {{ cert_file = {0}/mx.example.pem; key_file = {0}/mx.example.key; {1} }}"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    for name in ("mx.example", "other.example", "client.example"):
        make_certificate(directory, name)
    return directory


@pytest.fixture(scope="module")
def smtps(tmp_path_factory, files):
    options = TLS.format(files, f"CAcert_file = {files}/client.example.pem;")
    with SmtpsProcess(tmp_path_factory.mktemp("q") / "q", options) as process:
        yield process


def context(files, name=None):
    made = ssl.create_default_context(cafile=files / "mx.example.pem")
    if name:
        made.load_cert_chain(files / f"{name}.pem", files / f"{name}.key")
    return made


def client(process):
    return smtplib.SMTP("127.0.0.1", process.port, timeout=WAIT_S)


def starttls(smtp, made, host="mx.example"):
    smtp._host = host  # the name that the certificate has to have
    return smtp.starttls(context=made)


def raw(process):
    sock = socket.create_connection(("127.0.0.1", process.port), WAIT_S)
    file = sock.makefile("rb")
    assert file.readline().startswith(b"220 ")
    return sock, file


def ehlo(sock, file, name=b"client.example"):
    sock.sendall(b"EHLO " + name + b"\r\n")
    lines = [file.readline()]
    while lines[-1][3:4] == b"-":
        lines.append(file.readline())
    return b"".join(lines)


def test_a_message_comes_under_tls_and_its_header_says_so(smtps, files):
    with client(smtps) as smtp:
        smtp.ehlo("client.example")
        assert smtp.has_extn("starttls")
        assert starttls(smtp, context(files)) == (220, b"2.0.0 Ready to start TLS")
        smtp.ehlo("client.example")
        assert not smtp.has_extn("starttls")
        assert smtp.has_extn("pipelining")
        assert smtp.sendmail("a@b.example", ["r@x.example"], b"Subject: x\r\n\r\nsecret\r\n") == {}
    ta_id = smtps.content_files()[-1].name
    (path,) = smtps.queue.glob(f"cdb/*/{ta_id}")
    text = path.read_bytes()
    pattern = rb"with ESMTPS id \w+\r\n\tfor <r@x\.example>\r\n\ttls TLS_\w+ \(TLSv1\.3, \d+ bits, no client certificate\);"
    assert re.search(pattern, text), text
    assert text.endswith(b"secret\r\n")


@pytest.mark.parametrize(("name", "verify"), [("client.example", "ok"), ("other.example", "self-signed certificate")])
def test_a_client_is_asked_for_a_certificate_and_any_is_taken(smtps, files, name, verify):
    with client(smtps) as smtp:
        smtp.ehlo("client.example")
        starttls(smtp, context(files, name))
        assert smtp.ehlo("client.example")[0] == 250
    smtps.wait_log(rf"func=smtps\.tls, .*verify={verify}, cert_subject=CN=?.?{re.escape(name)}")


def test_what_was_said_in_clear_is_forgotten(smtps, files):
    with client(smtps) as smtp:
        smtp.ehlo("before.example")
        smtp.mail("a@b.example")
        smtp.rcpt("r@x.example")
        starttls(smtp, context(files))
        assert smtp.docmd("MAIL FROM:<a@b.example>")[0] == 503
        assert smtp.docmd("DATA")[0] == 503
        smtp.ehlo("after.example")
        assert smtp.docmd("RCPT TO:<r@x.example>")[0] == 503


@pytest.mark.parametrize(
    "behind", [b"RSET\r\n", b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<r@x.example>\r\n", b"x" * 4000, b"\n", b"EHLO evil\r\n"]
)
def test_nothing_that_is_sent_behind_the_command_counts(smtps, files, behind):
    sock, file = raw(smtps)
    ehlo(sock, file)
    sock.sendall(b"STARTTLS\r\n" + behind)
    assert file.readline().startswith(b"220 ")
    file.close()
    under = context(files).wrap_socket(sock, server_hostname="mx.example")
    file = under.makefile("rb")
    under.sendall(b"NOOP\r\n")
    assert file.readline().startswith(b"250 ")
    under.sendall(b"MAIL FROM:<a@b.example>\r\n")
    assert file.readline().startswith(b"503 ")
    smtps.wait_log(rf"func=smtps\.tls_injection, .*size={len(behind)}\b")
    file.close()
    under.close()


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        ([b"STARTTLS now"], [501]),
        ([b"starttls"], [220]),
        ([b"MAIL FROM:<a@b.example>", b"STARTTLS"], [250, 220]),
    ],
)
def test_the_command_itself(smtps, lines, codes):
    sock, file = raw(smtps)
    ehlo(sock, file)
    for line, code in zip(lines, codes, strict=True):
        sock.sendall(line + b"\r\n")
        assert int(file.readline()[:3]) == code
    file.close()
    sock.close()


def test_a_second_time_is_refused(smtps, files):
    with client(smtps) as smtp:
        smtp.ehlo("client.example")
        starttls(smtp, context(files))
        smtp.ehlo("client.example")
        assert smtp.docmd("STARTTLS")[0] == 503
        assert smtp.docmd("NOOP")[0] == 250


@pytest.mark.parametrize(
    "junk", [b"EHLO in.clear\r\n", b"\x16\x03\x01\x00\x05hello", bytes(range(256)), b"\x15\x03\x01\x00\x02\x02\x28"]
)
def test_a_handshake_of_something_else_ends_the_connection(smtps, junk):
    sock, file = raw(smtps)
    ehlo(sock, file)
    sock.sendall(b"STARTTLS\r\n")
    assert file.readline().startswith(b"220 ")
    sock.sendall(junk)
    rest = b""
    with contextlib.suppress(OSError):  # it may reset the connection
        sock.shutdown(socket.SHUT_WR)
        rest = file.read()
    assert b"250" not in rest
    assert b"220" not in rest
    file.close()
    sock.close()
    smtps.wait_log(r"func=smtps\.tls_failed, ")
    with client(smtps) as smtp:
        assert smtp.noop()[0] == 250
    smtps.wait_log(r"func=smtps\.tls_failed, ")


def test_a_handshake_byte_by_byte_works(smtps, files):
    sock, file = raw(smtps)
    ehlo(sock, file)
    sock.sendall(b"STARTTLS\r\n")
    file.readline()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(files).wrap_bio(incoming, outgoing, server_hostname="mx.example")
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            for byte in outgoing.read():
                sock.sendall(bytes((byte,)))
            incoming.write(sock.recv(65536))
    tls.write(b"NOOP\r\n")
    sock.sendall(outgoing.read())
    reply = b""
    while not reply:
        try:
            reply = tls.read(99)
        except ssl.SSLWantReadError:
            incoming.write(sock.recv(65536))
    assert reply.startswith(b"250 ")
    file.close()
    sock.close()


def test_a_client_that_drops_the_connection_without_a_word_has_just_gone(smtps, files):
    smtp = client(smtps)
    smtp.ehlo("client.example")
    starttls(smtp, context(files))
    smtp.ehlo("client.example")
    smtp.mail("dropped@b.example")
    smtp.rcpt("r@x.example")
    assert smtp.docmd("DATA")[0] == 354
    smtp.sock.sendall(b"Subject: x\r\n")
    smtp.sock.shutdown(socket.SHUT_RDWR)
    smtp.close()
    smtps.wait_log(r"func=smtps\.message_lost, .*mail=<?dropped@b\.example")
    assert not [line for line in smtps.log if "sevr=ERROR" in line]


def test_half_a_handshake_holds_nobody_else_up(smtps, files):
    socks = []
    for _ in range(50):
        sock, file = raw(smtps)
        ehlo(sock, file)
        sock.sendall(b"STARTTLS\r\n")
        file.readline()
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")
        file.close()
        socks.append(sock)
    with client(smtps) as smtp:
        smtp.ehlo("client.example")
        starttls(smtp, context(files))
        assert smtp.ehlo("client.example")[0] == 250
    for sock in socks:
        sock.close()


def test_swaks_sends_under_tls(smtps):
    command = ["swaks", "--server", f"127.0.0.1:{smtps.port}", "--tls", "--from", "a@b.example", "--to", "r@x.example"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    assert "TLS started with cipher TLSv1.3" in done.stdout


def test_renewed_certificates_are_used_without_a_restart(tmp_path, files):
    for name in ("mx.example", "other.example"):
        for suffix in ("pem", "key"):
            shutil.copy(files / f"{name}.{suffix}", tmp_path)
    with SmtpsProcess(tmp_path / "q", TLS.format(tmp_path, ""), limits={"CERTIFICATES_LOOK_S": 1}) as process:
        with client(process) as old:
            old.ehlo("client.example")
            starttls(old, context(files))
            (tmp_path / "mx.example.key").write_text("half a key\n")
            process.wait_log(r"func=smtps\.tls_files, .*mx\.example\.key.*the old certificates are used on")
            with client(process) as other:
                other.ehlo("client.example")
                starttls(other, context(files))
            (tmp_path / "other.example.key").replace(tmp_path / "mx.example.key")
            (tmp_path / "other.example.pem").replace(tmp_path / "mx.example.pem")
            process.wait_log(r"func=smtps\.tls_loaded")
            with client(process) as new:
                new.ehlo("client.example")
                trusting = ssl.create_default_context(cafile=tmp_path / "mx.example.pem")
                starttls(new, trusting, "other.example")
            assert old.noop()[0] == 250, "a session goes on with what it began with"
        process.wait_log(r"func=smtps\.tls_ends, .*the certificate ends in 1 days")


@pytest.mark.parametrize("options", ["", f"flags = {{{{ dont_starttls }}}}; {TLS}"])
def test_without_a_certificate_or_the_flag_it_is_not_offered(tmp_path, files, options):
    with SmtpsProcess(tmp_path / "q", options.format(files, "")) as process, client(process) as smtp:
        smtp.ehlo("client.example")
        assert not smtp.has_extn("starttls")
        assert smtp.docmd("STARTTLS")[0] == 502


def checked(tmp_path, files, tls):
    """What `smtps --check` says, and its exit code."""
    process = SmtpsProcess(tmp_path / "q", tls)
    for directory in (paths.QMGR_SMTPS_SOCKET, paths.SMAR_SMTPS_SOCKET):
        (process.queue / directory).parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "meta1g.smtps.main", "--check", "-f", process.config]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    return done.returncode, done.stderr


def test_the_check_looks_at_the_files(tmp_path, files):
    key = tmp_path / "open.key"
    key.write_bytes((files / "mx.example.key").read_bytes())
    key.chmod(0o644)
    code, text = checked(tmp_path, files, f"tls {{ cert_file = {files}/mx.example.pem; key_file = {key}; }}")
    assert code == 0, text
    assert re.search(r"warning: .*: the certificate ends in \d days: .*mx\.example\.pem", text)
    assert f"{key} can be read by everybody: chmod o-r {key}" in text


@pytest.mark.parametrize(
    ("tls", "text"),
    [
        (
            "cert_file = {0}/mx.example.pem; key_file = {0}/other.example.key;",
            "other.example.key: no private key in PEM without a passphrase, or not that of the certificate",
        ),
        ("cert_file = {0}/none.pem;", "none.pem: No such file or directory"),
        ("cert_file = {0}/mx.example.pem;", "mx.example.pem: "),
        ("key_file = {0}/mx.example.key;", "key_file is given without cert_file"),
        ("cert_file = {0}/mx.example.pem; key_file = {0}/mx.example.key; ciphers = rot13;", "ciphers rot13"),
        ("cert_file = {0}/mx.example.pem; key_file = {0}/mx.example.key; DH_file = {0}/mx.example.pem;", "mx.example.pem"),
    ],
)
def test_the_check_names_what_cannot_be_used(tmp_path, files, tls, text):
    code, said = checked(tmp_path, files, f"tls {{ {tls.format(files)} }}")
    assert code == 78, said
    assert "meta1.conf:" in said
    assert text in said


def test_half_a_handshake_does_not_delay_the_stop(tmp_path, files):
    with SmtpsProcess(tmp_path / "q", TLS.format(files, ""), limits={"STOP_GRACE_S": 600}) as process:
        sock, file = raw(process)
        ehlo(sock, file)
        sock.sendall(b"STARTTLS\r\n")
        assert file.readline().startswith(b"220 ")
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert process.end() == 0, "it was killed"
        assert file.read() == b"", "nothing in clear"
        process.wait_log(r"func=smtps\.closed, ")
        file.close()
        sock.close()


def test_renegotiation_is_refused(smtps):
    command = ["openssl", "s_client", "-starttls", "smtp", "-tls1_2", "-connect", f"127.0.0.1:{smtps.port}"]
    done = subprocess.run(command, input="R\n", capture_output=True, text=True, timeout=60, check=False)
    assert "RENEGOTIATING" in done.stdout + done.stderr
    assert "no renegotiation" in done.stdout + done.stderr
    with client(smtps) as smtp:
        assert smtp.noop()[0] == 250


def test_a_chain_of_certificates_without_end_is_refused(smtps, files, tmp_path):
    """OpenSSL takes 100 KiB of them at most."""
    chain = tmp_path / "chain.pem"
    chain.write_text((files / "client.example.pem").read_text() + (files / "other.example.pem").read_text() * 400)
    made = context(files)
    made.load_cert_chain(chain, files / "client.example.key")
    with client(smtps) as smtp:
        smtp.ehlo("client.example")
        with contextlib.suppress(smtplib.SMTPServerDisconnected, OSError):  # TLS 1.3 lets the client find out later
            starttls(smtp, made)
    smtps.wait_log(r"func=smtps\.tls_failed, .*excessive message size")
    with client(smtps) as smtp:
        assert smtp.noop()[0] == 250
