"""A message goes in by SMTP and comes out by SMTP, unchanged, through all five processes."""

import os
import random
import re
import smtplib
import subprocess
from email import message_from_bytes

import pytest

from contrib.lib.gateway import Gateway
from tests.system.conftest import KeepingSink, running

pytestmark = pytest.mark.system


def relay(gateway: Gateway, sink: KeepingSink, content: bytes, rcpts=("rcpt@sink.example",), options=()) -> bytes:
    """Sends one message and gives what arrived without our trace header."""
    with smtplib.SMTP("127.0.0.1", gateway.port, timeout=60) as client:
        client.ehlo("test.example")
        assert client.mail("sender@test.example", list(options))[0] == 250
        for rcpt in rcpts:
            assert client.rcpt(rcpt)[0] == 250
        code, text = client.data(content)
        assert code == 250, text
    envelope = sink.wait_for(1)[0]
    assert envelope["mail"] == "sender@test.example"
    received = sink.content(envelope)
    gateway.wait_empty()
    trace = re.match(rb"Received: [^\r\n]*(?:\r\n[ \t][^\r\n]*)*\r\n", received)
    assert trace is not None, received[:200]
    return received[trace.end() :]


HEADER = b"From: a@test.example\r\nTo: b@sink.example\r\nSubject: test\r\n\r\n"


def test_a_small_message_arrives_unchanged(gateway, sink):
    content = HEADER + b"hello\r\n"
    assert relay(gateway, sink, content) == content


def test_lines_that_begin_with_dots_arrive_unchanged(gateway, sink):
    content = HEADER + b".\r\n..\r\n...\r\n.x\r\n\r\n.\r\n"
    assert relay(gateway, sink, content) == content


def test_eight_bit_text_of_every_byte_arrives_unchanged(gateway, sink):
    octets = bytes(b for b in range(1, 256) if b not in (10, 13))
    content = HEADER + b"".join(octets[i:] + octets[:i] + b"\r\n" for i in range(0, 250, 7))
    assert relay(gateway, sink, content) == content


def test_a_message_of_25_megabytes_arrives_unchanged(gateway, sink):
    line = random.Random(1).randbytes(48).hex().encode() + b"\r\n"
    content = HEADER + line * (25 * (1 << 20) // len(line))
    assert relay(gateway, sink, content) == content


def test_a_message_without_a_final_line_end_gets_one(gateway, sink):
    assert relay(gateway, sink, HEADER + b"no end") == HEADER + b"no end\r\n"


def test_a_hundred_recipients_get_one_copy_each(gateway, sink):
    rcpts = [f"r{i}@sink.example" for i in range(100)]
    with smtplib.SMTP("127.0.0.1", gateway.port, timeout=60) as client:
        refused = client.sendmail("sender@test.example", rcpts, HEADER + b"hello\r\n")
    assert refused == {}
    gateway.wait_empty()
    assert sink.wait_for_rcpts(100) == sorted(rcpts)


def test_swaks_delivers_an_attachment(gateway, sink, tmp_path):
    attachment = tmp_path / "attachment.bin"
    attachment.write_bytes(os.urandom(30_000))
    command = ["swaks", "--server", "127.0.0.1", "--port", str(gateway.port), "--from", "a@test.example",
               "--to", "b@sink.example", "--attach", f"@{attachment}", "--silent", "2"]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    received = sink.content(sink.wait_for(1)[0])
    part = message_from_bytes(received).get_payload()[1]
    assert part.get_payload(decode=True) == attachment.read_bytes()
    gateway.wait_empty()


def test_relaying_is_refused_for_a_client_that_is_not_listed(tmp_path, sink):
    gateway = Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]", relay_from="192.0.2.1")
    with running(gateway), smtplib.SMTP("127.0.0.1", gateway.port, timeout=30) as client:
        client.ehlo("test.example")
        assert client.mail("a@test.example")[0] == 250
        code, text = client.rcpt("b@sink.example")
        assert (code, text[:5]) == (550, b"5.7.1")
    assert sink.envelopes() == []


def test_a_local_socket_with_lmtp_gets_the_mail_of_its_domain(tmp_path):
    socket_path = tmp_path / "lmtp"
    with KeepingSink(tmp_path / "lmtp-maildir", "--lmtp", "--reject", "nobody@", listen=f"unix:{socket_path}") as lmtp:
        gateway = Gateway(
            tmp_path / "gateway", "local.example lmtp:\n. [127.0.0.1]", {"smtpc": f'LMTP_socket = "{socket_path}";'}
        )
        with running(gateway):
            with smtplib.SMTP("127.0.0.1", gateway.port, timeout=30) as client:
                client.sendmail("a@local.example", ["x@local.example", "y@local.example"], HEADER + b"hello\r\n")
            assert lmtp.wait_for_rcpts(2) == ["x@local.example", "y@local.example"]
            gateway.wait_empty()


def test_a_load_of_smtp_source_arrives_complete_and_once(tmp_path):
    with KeepingSink(tmp_path / "maildir") as sink:
        gateway = Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]")
        with running(gateway):
            words = "smtp-source -s 20 -m 1000 -l 5000 -N -f s@test.example -t r@sink.example"
            command = [*words.split(), f"127.0.0.1:{gateway.port}"]
            subprocess.run(command, check=True, timeout=120, capture_output=True)
            envelopes = sink.wait_for(1000, 120)
            gateway.wait_empty()
    assert len(envelopes) == len(sink.envelopes()) == 1000
    assert len({rcpt for e in envelopes for rcpt in e["rcpts"]}) == 1000
