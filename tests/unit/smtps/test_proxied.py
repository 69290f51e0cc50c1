"""Clients that come by a proxy: who they are to the checks, the queue and the log; with HAProxy, and by hand."""

import contextlib
import socket
import ssl
import struct
import subprocess
import time

import pytest

from contrib.lib.gateway import free_port
from meta1g.base.reply import Reply
from meta1g.rcb.smtps_qmgr import NewSession
from meta1g.rcb.smtps_smar import CheckClient, Checks, ClientVerdict
from tests.fakes.certificates import make_certificate
from tests.fakes.smtps_process import WAIT_S, Client, SmtpsProcess
from tests.manual.blocks import shown

HEADER = b"PROXY TCP4 192.0.2.9 127.0.0.1 4711 25\r\n"
BINARY = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes([192, 0, 2, 9, 127, 0, 0, 1]) + struct.pack("!HH", 4711, 25)

PROXIED = "proxy_from = { 127.0.0.0/8 };"


@pytest.fixture(scope="module")
def smtps(tmp_path_factory):
    with SmtpsProcess(tmp_path_factory.mktemp("p"), PROXIED, checks=Checks.RCPT | Checks.CLIENT) as process:
        yield process


@pytest.mark.parametrize("header", [HEADER, BINARY], ids=["v1", "v2"])
@pytest.mark.parametrize("piece", [1, 5, 100])
def test_all_checks_and_the_log_have_the_client_behind_the_proxy(smtps, header, piece):
    before = len(smtps.qmgr.messages), len(smtps.smar.messages)
    with Client(smtps.port) as client:
        for start in range(0, len(header), piece):
            client.send(header[start : start + piece])
        client.expect("220 ")
        client.command("EHLO client.example", "250-mx.example greets client.example [192.0.2.9]")
        assert "from client.example (client.example [192.0.2.9])" in received(smtps, client)
    asked = [
        msg for msg in [*smtps.qmgr.messages[before[0] :], *smtps.smar.messages[before[1] :]] if hasattr(msg, "client_addr")
    ]
    assert {type(msg) for msg in asked} >= {NewSession, CheckClient}
    assert {msg.client_addr for msg in asked} == {"192.0.2.9"}
    smtps.wait_log(
        r"func=smtps.proxied, .*client=192\.0\.2\.9, port=4711, peer=127\.0\.0\.1, stat=connected to 127\.0\.0\.1 port 25"
    )


def received(smtps, client):
    """Sends a message and gives the beginning of its content file."""
    known = set(smtps.content_files())
    client.message(b"Subject: x\r\n\r\n")
    (new,) = set(smtps.content_files()) - known
    return new.read_text()


def test_a_client_is_refused_by_the_address_that_the_proxy_gives(smtps):
    welcome = smtps.smar.client
    smtps.smar.client = lambda msg: ClientVerdict(reply=Reply(554 if msg.client_addr == "192.0.2.66" else 220, "", "No"))
    try:
        with Client(smtps.port) as client:
            client.send(HEADER.replace(b"192.0.2.9", b"192.0.2.66"))
            client.expect("554 ")
            client.send(b"QUIT\r\n")
            client.expect("221 ")
    finally:
        smtps.smar.client = welcome


def test_a_proxy_that_sends_no_header_is_cut_off_after_its_time(tmp_path):
    with SmtpsProcess(tmp_path / "q", PROXIED, limits={"PROXY_HEADER_TIMEOUT_US": 300_000}) as smtps:
        with Client(smtps.port) as client:
            client.send(HEADER[:10])
            client.expect("")
        smtps.wait_log("func=smtps.proxy_refused, .*peer=127.0.0.1, stat=the PROXY header did not come within 0 s")


def test_a_proxy_that_goes_away_inside_its_header_is_told_and_one_that_says_nothing_is_not(smtps):
    told = sum("smtps.proxy_refused" in line for line in smtps.log)
    Client(smtps.port).close()
    with Client(smtps.port) as client:
        client.send(BINARY[:20])
        client.sock.shutdown(socket.SHUT_WR)
        client.expect("")
    smtps.wait_log("func=smtps.proxy_refused, .*stat=the connection was closed inside the PROXY header")
    assert sum("smtps.proxy_refused" in line for line in smtps.log) == told + 1


def test_those_who_send_no_header_hold_up_nobody(smtps):
    silent = [Client(smtps.port) for _ in range(50)]
    with Client(smtps.port) as client:
        client.send(HEADER)
        client.expect("220 ")
    for one in silent:
        one.close()


HAPROXY = """
global
  maxconn 50
defaults
  mode tcp
  timeout connect 5s
  timeout client 20s
  timeout server 20s
{parts}
"""


def part(number, port, smtps, how):
    """That of the manual, for a port of this machine and what is to be sent."""
    text = shown("servers.md", "a part of haproxy.cfg")
    for old, new in (
        ("listen smtp", f"listen smtp{number}"), (":25\n", f"127.0.0.1:{port}\n"), ("10.0.0.25:25", f"127.0.0.1:{smtps}"),
        ("send-proxy-v2", how),
    ):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def haproxy(smtps, tmp_path_factory):
    """Ports of HAProxy by what it sends."""
    ports = {how: free_port() for how in ("send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id")}
    parts = [part(number, port, smtps.port, how) for number, (how, port) in enumerate(ports.items())]
    conf = tmp_path_factory.mktemp("h") / "haproxy.cfg"
    conf.write_text(HAPROXY.format(parts="".join(parts)))
    with subprocess.Popen(["haproxy", "-db", "-f", conf]) as process:
        yield ports
        process.terminate()


def from_address(address, port):
    """Connects from one of the addresses of this machine, when the other end is there."""
    end = time.monotonic() + WAIT_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), WAIT_S, (address, 0))
        except ConnectionRefusedError:
            assert time.monotonic() < end


@pytest.mark.parametrize("how", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"])
def test_haproxy_hands_its_clients_on(smtps, haproxy, how):
    with from_address("127.0.0.7", haproxy[how]) as sock:
        client = Client.__new__(Client)
        client.sock, client.file = sock, sock.makefile("rb")
        client.expect("220 ")
        client.command("EHLO client.example", "250-mx.example greets client.example [127.0.0.7]")
        assert "[127.0.0.7]" in received(smtps, client)
        client.command("QUIT", "221")
        client.file.close()


def test_a_session_that_begins_with_tls_begins_with_the_header_of_the_proxy(tmp_path):
    cert, key = make_certificate(tmp_path, "mx.example")
    options = f"proxy_from = {{ 127.0.0.1 }}; greet_pause = 1s; tls {{ cert_file = {cert}; key_file = {key}; }}"
    made = SmtpsProcess(tmp_path / "q", options)
    made.config.write_text(made.config.read_text().replace("port = 0;", "port = 0; implicit_tls = true;"))
    context = ssl.create_default_context(cafile=cert)
    with made, socket.create_connection(("127.0.0.1", made.port), WAIT_S) as sock:
        hello, ended = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(ended, hello, server_hostname="mx.example")
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        sock.sendall(BINARY + hello.read())  # in one piece, as proxies hand it on
        text = b""
        while b"\n" not in text:
            ended.write(sock.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                sock.sendall(hello.read())
                text += tls.read(1000)
        assert text.startswith(b"220 mx.example ESMTP")
        made.wait_log(r"func=smtps.proxied, .*client=192\.0\.2\.9")
        made.wait_log(r"func=smtps.tls, .*client=192\.0\.2\.9")
        made.wait_log(r"func=smtps.paused, .*client=192\.0\.2\.9")
