"""One message stays one message at a real server: look-alikes of line ends and of the end, in content and in commands.

Each row goes by DATA and by BDAT, in clear and under TLS.  A server that took a look-alike for the end would answer the
commands behind it, and would hand more messages to the queue manager than it has said 250 for.
"""

import contextlib
import itertools
import ssl

import pytest

from meta1g.base.reply import Reply
from meta1g.smtp.data import END, has_bare
from tests.fakes.certificates import make_certificate
from tests.fakes.smtps_process import Client, SmtpsProcess
from tests.unit.smtp.test_smuggling import BEGIN, ENDS, EVIL, LOOKALIKES

pytestmark = pytest.mark.xdist_group("smtps-smuggling")

CONTENTS = [BEGIN + before + b"." + after + EVIL for before, after in itertools.product(ENDS, repeat=2)]
CONTENTS += [BEGIN + one + EVIL for one in LOOKALIKES[:: len(LOOKALIKES) // 10]]
COMMANDS = [b"NOOP", b"RSET", b"HELP", b"VRFY a", b"EHLO x", b"MAIL FROM:<s@example.org>", b"RCPT TO:<r@example.org>", b"DATA",
            b"BDAT 0 LAST"]  # fmt: skip
NO_ENDS = [one for one in ENDS if one not in (b"\r\n", b"\r\r\n", b"\0\r\n")]
LINES = [command + end + b"MAIL FROM:<evil@example.org>\r\n" for command, end in itertools.product(COMMANDS, NO_ENDS)]
LINES += [b"MAIL FROM:<s" + end + b"RCPT TO:<r@example.org>\r\n" for end in NO_ENDS]
LINES += [b"RCPT TO:<r@example.org> ORCPT=rfc822;a" + end + b"DATA\r\n" for end in NO_ENDS]
ENVELOPE = b"MAIL FROM:<s@example.org>\r\nRCPT TO:<r@example.org>\r\n"
MANY = "max_bad_commands = 9999; max_refusals = 9999; max_transactions = 99999; max_noops = 99999;"


@pytest.fixture(scope="module")
def smtps(tmp_path_factory):
    files = tmp_path_factory.mktemp("files")
    make_certificate(files, "mx.example")
    tls = f"tls {{ cert_file = {files}/mx.example.pem; key_file = {files}/mx.example.key; }}"
    tls += ' listen_socket { type = inet; address = "127.0.0.1"; port = 0; implicit_tls = true; }'
    with SmtpsProcess(tmp_path_factory.mktemp("q"), tls + MANY) as process:
        process.closed = []

        def commit(msg):
            process.closed.append(msg)
            return Reply(250)

        process.qmgr.commit = commit
        yield process


@pytest.fixture(params=["clear", "tls"])
def connect(smtps, request):
    """Connects and says EHLO."""
    context = ssl._create_unverified_context()
    wrap = (lambda sock: sock) if request.param == "clear" else context.wrap_socket

    def connected():
        client = stack.enter_context(Client(smtps.port_of(request.param == "tls"), wrap))
        client.expect("220 ")
        client.command("EHLO client.example", "250-")
        return client

    with contextlib.ExitStack() as stack:
        yield connected


def answers(client, data):
    """Sends data; gives what comes before the answer to a command behind it, or before the end of the session."""
    client.send(data + b"VRFY mark\r\n")
    replies = []
    while (reply := client.reply()) and not reply.startswith("252"):
        replies.append(reply[:9])
    return replies if reply else [*replies, "closed"]


def by_data(content):
    return b"DATA\r\n", content + END


def by_bdat(content):
    return b"", b"BDAT %d LAST\r\n" % len(content) + content


def by_bdat_in_three(content):
    parts = content[:20], content[20:27], content[27:]
    return b"", b"".join(b"BDAT %d%s\r\n" % (len(one), b" LAST" * (one is parts[-1])) + one for one in parts)


@pytest.mark.parametrize("way", [by_data, by_bdat, by_bdat_in_three])
def test_no_lookalike_in_content_becomes_a_second_message(smtps, connect, way):
    client = connect()
    rows = [one for one in CONTENTS if way is not by_data or END not in one]
    smtps.closed.clear()
    for content in rows:
        command, data = way(content)
        client.send(ENVELOPE + command)
        for start in ("250 2.1.0", "250 2.1.5", *["354"] * bool(command)):
            client.expect(start)
        replies = answers(client, data)
        assert len(replies) == (3 if way is by_bdat_in_three else 1), (content, replies)
        assert (replies[-1] == "250 2.0.0") == (not has_bare(content)), (content, replies)
        client.command("RSET", "250")
    good = [one for one in rows if not has_bare(one)]
    assert len(smtps.closed) == len(good)
    assert len(rows) > (120 if way is by_data else 150)
    assert 20 < len(good) < 100


def test_no_lookalike_of_a_line_end_parts_a_command(connect):
    client = connect()
    for line in LINES:
        if line.startswith((b"RCPT", b"DATA", b"BDAT")):
            client.command("MAIL FROM:<s@example.org>", "250")
        replies = answers(client, line)
        if line.startswith(b"BDAT"):  # nobody knows what follows
            assert replies[1:] == ["closed"], (line, replies)
            client = connect()
            continue
        assert len(replies) == 1, (line, replies)
        assert replies[0].startswith("5" if line[:4] in (b"MAIL", b"RCPT", b"DATA") else ("2", "5")), (line, replies)
        client.command("RSET", "250")
    assert len(LINES) == 99
