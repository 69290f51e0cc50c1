"""What a message asks for by parameters is done, kept over restarts, and goes on; what nobody can do is returned."""

import contextlib
import email
import socket

import pytest

from contrib.lib.gateway import Gateway, free_port, wait_until
from tests.fakes.smtp_server import ScriptedServer
from tests.system.conftest import running

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("extensions")]

WORDS = ["all", "PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "DELIVERBY"]
ALL = "".join(f"250-{word}\r\n" for word in WORDS) + "250 MT-PRIORITY\r\n"
FAST = {"qmgr": "min_retry_delay = 1s; max_retry_delay = 2s;", "smtpc": "connect_timeout = 3s;"}
TEXT = b"Subject: x\r\n\r\ntext\r\n"
OCTETS = b"Subject: x\r\n\r\n\0\n.\r\n\xff"


class Client:
    """Says MAIL with parameters, one RCPT, and the content by BDAT."""

    def __init__(self, port):
        self._sock = socket.create_connection(("127.0.0.1", port), 30)
        self._file = self._sock.makefile("rb")
        self._reply()
        self.say("EHLO client.example")

    def _reply(self):
        lines = []
        while not lines or lines[-1][3:4] == b"-":
            lines.append(self._file.readline())
        return lines[-1].decode()

    def say(self, line, content=b""):
        self._sock.sendall(line.encode() + b"\r\n" + content)
        return self._reply()

    def message(self, mail, rcpt, content):
        replies = [self.say(f"MAIL FROM:{mail}"), self.say(f"RCPT TO:{rcpt}")]
        half = len(content) // 2
        replies.append(self.say(f"BDAT {half}", content[:half]))
        replies.append(self.say(f"BDAT {len(content) - half} LAST", content[half:]))
        assert all(reply.startswith("250 ") for reply in replies), replies

    def close(self):
        self._file.close()
        self._sock.close()


def send(port, mail, rcpt, content=TEXT):
    with contextlib.closing(Client(port)) as client:
        client.message(mail, rcpt, content)


def test_what_a_message_asks_for_outlives_a_restart_and_goes_on(tmp_path):
    port = free_port()
    gateway = Gateway(tmp_path / "gateway", f"bücher.example {port}^[127.0.0.1]", dict(FAST))
    with running(gateway):
        asked = "<é@back.example> BODY=BINARYMIME SMTPUTF8 BY=3600;N MT-PRIORITY=3"
        send(gateway.port, asked, "<ü@xn--bcher-kva.example> NOTIFY=FAILURE ORCPT=utf-8;ü@bücher.example", OCTETS)
        wait_until(lambda: gateway.leftovers().get("defedb") == 1, 30, "it waits")
        assert gateway.stop() == 0
        gateway.start()
        with ScriptedServer({"EHLO": ALL}, port=port) as server:
            gateway.wait_empty()
            seen = next(one for one in server.connections if one.contents)
    mail = next(line for line in seen.commands if line.startswith("MAIL"))
    words = mail.split()
    assert words[1] == "FROM:<é@back.example>"
    assert {"BODY=BINARYMIME", "SMTPUTF8", "MT-PRIORITY=3"} <= set(words)
    left = next(word for word in words if word.startswith("BY="))
    assert 3000 < int(left[3:-2]) < 3600
    assert left.endswith(";N")
    (content,) = seen.contents
    assert content.endswith(OCTETS)
    assert b" with UTF8SMTP id " in content
    assert b"PRIORITY 3" in content


#: Domain of the recipient, parameters of MAIL, local part, content; status, action, and type of the status in the report.
SITUATIONS = {
    "an address that the server cannot have": (
        "plain", "SMTPUTF8", "ü", TEXT, "5.6.7", "failed", "message/global-delivery-status",
    ),
    "a header that it cannot have": (
        "plain", "SMTPUTF8", "r", "Subject: grün\r\n\r\n".encode(), "5.6.7", "failed", "message/delivery-status",
    ),
    "a body that it cannot have": ("plain", "BODY=BINARYMIME", "r", OCTETS, "5.6.3", "failed", "message/delivery-status"),
    "a time that is over": ("later", "BY=1;R", "r", TEXT, "5.4.7", "failed", "message/delivery-status"),
    "a time that is over, to be told": ("later", "BY=1;N", "r", TEXT, "4.2.1", "delayed", "message/delivery-status"),
    "a time that the server does not watch": ("plain", "BY=600;R", "r", TEXT, "5.3.3", "failed", "message/delivery-status"),
    "the same, to be told": ("plain", "BY=600;N", "r", TEXT, "2.0.0", "relayed", "message/delivery-status"),
    "a trace": ("full", "BY=600;RT", "r", TEXT, "2.0.0", "relayed", "message/delivery-status"),
}  # fmt: skip


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """A gateway, and the server of those who get reports."""
    with contextlib.ExitStack() as stack:
        said = {
            "back": {"EHLO": ALL},
            "plain": {"EHLO": "250-plain\r\n250 PIPELINING\r\n", "dot": "250 2.0.0 kept\r\n"},
            "later": {"EHLO": ALL, "RCPT": "450 4.2.1 later\r\n"},
            "full": {"EHLO": ALL, "BDAT": "250 2.0.0 kept\r\n"},
        }
        up = {name: stack.enter_context(ScriptedServer(replies)) for name, replies in said.items()}
        lines = "\n".join(f"{name}.example {server.port}^[127.0.0.1]" for name, server in up.items())
        gateway = stack.enter_context(running(Gateway(tmp_path_factory.mktemp("gateway"), lines, dict(FAST))))
        yield gateway, up


@pytest.mark.parametrize("name", SITUATIONS)
def test_its_sender_is_told(servers, name):
    domain, asked, local, content, status, action, kind = SITUATIONS[name]
    gateway, up = servers
    sender = f"s{list(SITUATIONS).index(name)}@back.example"
    send(gateway.port, f"<{sender}> {asked}", f"<{local}@{domain}.example>", content)
    wait_until(lambda: report_to(up["back"], sender), 30, "a report")
    message = email.message_from_bytes(report_to(up["back"], sender))
    if action == "delayed":
        gateway.control("remove", f"recipient={local}@{domain}.example")
    _, told, *_ = message.get_payload()
    assert told.get_content_type() == kind
    text = told.as_string()
    assert f"Action: {action}" in text
    assert f"Status: {status}" in text
    assert ("Deliver-By-Date: " in text) == asked.startswith("BY=")
    assert (f"utf-8; {local}@" in text or "utf-8;" in text) == (local == "ü")


def test_a_sender_whose_domain_has_other_letters_is_told_by_a_server_without_them(tmp_path):
    with ScriptedServer({"EHLO": "250 old\r\n", "RCPT": ["550 5.1.1 no\r\n", "250 ok\r\n"]}) as server:
        with running(Gateway(tmp_path / "gateway", f". {server.port}^[127.0.0.1]", dict(FAST))) as gateway:
            send(gateway.port, "<s@grüße.example> SMTPUTF8", "<r@plain.example>")
            gateway.wait_empty()
        (report,) = server.contents
        assert "RCPT TO:<s@xn--gre-6ka8l.example>" in [line for seen in server.connections for line in seen.commands]
    assert email.message_from_bytes(report)["To"] == "<s@xn--gre-6ka8l.example>"


def report_to(server, sender):
    """The report that a sender got, None without one."""
    for seen in server.connections:
        for rcpt, content in zip([line for line in seen.commands if line.startswith("RCPT")], seen.contents, strict=False):
            if sender in rcpt:
                return content
    return None
