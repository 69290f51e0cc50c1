"""BDAT of a real smtps process: what is stored, what is left of a message that does not become whole, also under TLS."""

import re
import ssl
import time

import pytest

from contrib.lib.gateway import wait_until
from meta1g.base.reply import Reply
from meta1g.rcb.smtps_qmgr import CloseTransaction, NewTransaction
from tests.fakes.certificates import make_certificate
from tests.fakes.smtps_process import SmtpsProcess

pytestmark = pytest.mark.xdist_group("smtps-bdat")

WAIT_S = 20
HEADER = b"Subject: x\r\n\r\n"
LARGE = HEADER + b"line of text\r\n" * 60_000
ENVELOPE = "MAIL FROM:<s@example.org>", "RCPT TO:<r@example.org>"


@pytest.fixture(scope="module")
def smtps(tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    make_certificate(directory, "mx.example")
    tls = f"tls {{ cert_file = {directory}/mx.example.pem; key_file = {directory}/mx.example.key; }}"
    with SmtpsProcess(tmp_path_factory.mktemp("q") / "q", tls) as process:
        yield process


def begin(client, parameters=""):
    client.command(ENVELOPE[0] + parameters, "250")
    client.command(ENVELOPE[1], "250")


def chunks(content, size):
    """The commands and octets of a message in chunks of a size."""
    parts = [content[start : start + size] for start in range(0, len(content), size)] or [b""]
    lines = [b"BDAT %d%b\r\n" % (len(part), b" LAST" if part is parts[-1] else b"") for part in parts]
    return b"".join(line + part for line, part in zip(lines, parts, strict=True)), len(parts)


def stored(smtps, reply):
    """The content of a message without our field, by the reply to it."""
    ta_id = re.search(r"queued as (S\w+)", reply)[1]
    (path,) = [path for path in smtps.content_files() if path.name.startswith(ta_id)]
    content = path.read_bytes()
    path.unlink()
    field, found, rest = content.partition(b"+0000\r\n")
    if not found:
        field, found, rest = content.partition(re.search(rb"[+-]\d{4}\r\n", content)[0])
    assert field.startswith(b"Received: from client.example")
    return rest


@pytest.mark.parametrize("size", [7, 4096, 100_000, 1 << 30])
@pytest.mark.parametrize("content", [HEADER + b".\r\n..\r\ntext\r\n", LARGE], ids=["small", "large"])
def test_what_is_stored_is_what_came_however_it_was_cut(smtps, content, size):
    if size == 7 and content is LARGE:
        content = LARGE[: len(HEADER) + 14 * 500]
    with smtps.client() as client:
        begin(client)
        wire, count = chunks(content, size)
        client.send(wire)
        for _ in range(count - 1):
            client.expect("250 2.0.0 ")
        assert stored(smtps, client.expect("250 2.0.0 Ok")) == content


def test_a_binary_body_is_stored_to_the_last_octet(smtps):
    content = HEADER + bytes(range(256)) * 1000
    seen = []
    smtps.qmgr.commit = lambda msg: seen.append(msg) or Reply(250)
    with smtps.client() as client:
        begin(client, " BODY=BINARYMIME")
        client.send(chunks(content, 50_000)[0])
        for _ in range(len(content) // 50_000):
            client.expect("250 2.0.0 50000")
        assert stored(smtps, client.expect("250 2.0.0 Ok")) == content
    smtps.qmgr.commit = lambda msg: Reply(250)
    assert isinstance(seen[0], CloseTransaction)
    assert seen[0].body == "BINARYMIME"


def end_by_rset(client):
    client.command("RSET", "250")


def end_by_ehlo(client):
    client.command("EHLO client.example", "250-")


def end_by_quit(client):
    client.command("QUIT", "221")


def end_by_leaving(client):
    client.close()


def end_in_a_chunk(client):
    client.send(b"BDAT 1000 LAST\r\nhalf")
    client.close()


def end_by_bare_line_end(client):
    client.send(b"BDAT 1\r\n\n")
    client.expect("550 5.5.2")


def end_by_nonsense(client):
    client.command("BDAT x", "501")
    client.expect("")


ENDS = [end_by_rset, end_by_ehlo, end_by_quit, end_by_leaving, end_in_a_chunk, end_by_bare_line_end, end_by_nonsense]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_nothing_is_left_of_a_message_that_does_not_become_whole(smtps, end):
    with smtps.client() as client:
        begin(client)
        wire, _ = chunks(LARGE, len(LARGE))
        client.send(wire.replace(b" LAST", b"", 1))
        client.expect("250 2.0.0 ")
        wait_until(smtps.content_files, WAIT_S, "it is so large that there is a file")
        end(client)
        wait_until(lambda: not smtps.content_files(), WAIT_S, "the file is gone")


def test_a_client_that_announces_and_says_nothing_is_sent_away(tmp_path):
    with SmtpsProcess(tmp_path / "q", "IO_timeout = 1s;") as smtps, smtps.client() as client:
        begin(client)
        client.send(b"BDAT 100\r\nhalf")
        client.expect("421 4.4.2")
        client.expect("")


def test_chunks_that_come_too_slowly_end_the_session(tmp_path):
    with SmtpsProcess(tmp_path / "q", limits={"CONTENT_GRACE_S": 1}) as smtps, smtps.client() as client:
        begin(client)
        client.command("BDAT 0", "250")
        replies = []

        def too_slow():
            client.send(b"BDAT 0\r\n")
            replies.append(client.reply())
            return replies[-1].startswith("421 4.4.2")

        wait_until(too_slow, WAIT_S, "the time is over")
        client.expect("")


def test_under_tls_it_is_the_same_and_nothing_of_the_clear_text_counts(smtps):
    with smtps.client() as client:
        begin(client)
        client.send(b"BDAT 6\r\na: b\r\nSTARTTLS\r\n")
        client.expect("250 2.0.0 6")
        client.expect("220 2.0.0")
        client.file.close()
        made = ssl.create_default_context()
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        client.sock = made.wrap_socket(client.sock)
        client.file = client.sock.makefile("rb")
        client.command("BDAT 0 LAST", "503 5.5.1 Send EHLO")
        assert "LIMITS RCPTMAX=1000" in client.command("EHLO client.example", "250-mx.example")
        content = HEADER + b"\r\n.\r\nMAIL FROM:<>\r\n" * 10
        wire, count = chunks(content, 33)
        client.send("\r\n".join([*ENVELOPE, ""]).encode() + wire + b"BDAT 6\r\nQUIT\r\nNOOP\r\n")
        for _ in range(2 + count - 1):
            client.expect("250 2.")
        assert stored(smtps, client.expect("250 2.0.0 Ok")) == content
        client.expect("503 5.5.1 Send MAIL")
        client.expect("250")


def test_what_a_client_asks_for_reaches_the_queue_manager(smtps):
    seen = []
    smtps.qmgr.refuse = seen.append
    before = time.time()
    with smtps.client() as client:
        begin(client, " SMTPUTF8 BY=600;RT MT-PRIORITY=-4")
        client.command("BDAT 0 LAST", "250")
    smtps.qmgr.refuse = lambda msg: None
    (msg,) = seen
    assert isinstance(msg, NewTransaction)
    assert (msg.smtputf8, msg.by_mode, msg.priority) == (True, "RT", -4)
    assert before + 600 <= msg.by <= time.time() + 600
