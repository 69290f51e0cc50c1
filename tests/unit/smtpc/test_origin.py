"""Who said it: a reply of a server carries its name into the result, what smtpc found by itself carries none."""

import pytest

from contrib.lib.gateway import free_port
from meta1g.base.reply import NO_REPLY, Reply
from tests.fakes.smtp_server import ScriptedServer

SERVER = "mx.x.example[127.0.0.1]"
CONTENT = b"Subject: hi\r\n\r\nHello\r\n"


@pytest.fixture(autouse=True)
def content(patient):
    patient.store(CONTENT)


def only_reply(result) -> Reply:
    """Gives the one reply of a result that is about one recipient."""
    said = [reply for reply in (result.session, result.transaction, *(one.reply for one in result.rcpts)) if reply != NO_REPLY]
    assert len(said) == 1, result
    return said[0]


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ({"banner": "554 go away\r\n"}, "554 go away"),
        ({"EHLO": "550 5.7.1 no\r\n", "HELO": "550 5.7.1 no\r\n"}, "550 5.7.1 no"),
        ({"MAIL": "421 4.3.2 closing\r\n"}, "421 4.3.2 closing"),
        ({"MAIL": "550 5.7.1 not you\r\n"}, "550 5.7.1 not you"),
        ({"RCPT": "450-4.2.1 full\r\n450 4.2.1 come back\r\n"}, "450 4.2.1 full come back"),
        ({"DATA": "451 4.3.0 later\r\n"}, "451 4.3.0 later"),
        ({"dot": "554 5.6.0 spam\r\n"}, "554 5.6.0 spam"),
        ({"dot": "250 2.0.0 queued\r\n"}, "250 2.0.0 queued"),
    ],
)
def test_what_a_server_says_has_its_name(patient, script, line):
    with ScriptedServer(script) as server:
        reply = only_reply(patient.deliver(patient.job(server.port)))
    assert (str(reply), reply.origin) == (line, SERVER)


@pytest.mark.parametrize(
    ("script", "facts", "text"),
    [
        ({"banner": None}, {}, "connection"),
        ({"banner": "hello\r\n"}, {}, "not a reply"),
        ({"dot": None}, {}, "connection"),
        ({"MAIL": "354 go\r\n"}, {}, "unexpected reply 354"),
        ({"EHLO": "250-fake\r\n250 SIZE 10\r\n"}, {}, "takes at most 10 bytes"),
        ({}, {"requiretls": True}, "REQUIRETLS"),
        ({}, {"smtputf8": True, "mail": "ä@y.example"}, "SMTPUTF8"),
    ],
)
def test_what_we_find_about_a_server_names_it_in_the_text_alone(patient, script, facts, text):
    with ScriptedServer(script) as server:
        reply = only_reply(patient.deliver(patient.job(server.port, **facts)))
        where = f"{SERVER}:{server.port}"
    assert reply.origin == ""
    assert text in reply.text
    assert where in reply.text


def test_a_refused_connection_is_our_finding(patient):
    port = free_port()
    reply = only_reply(patient.deliver(patient.job(port)))
    assert (reply.origin, reply.text) == ("", f"{SERVER}:{port}: connecting: Connection refused")
