"""Each option and flag of `smtpc_session_conf:`: the server that it is for is treated so, the others as the section says."""

import re
import socket

import pytest

from meta1g.base.tlsfacts import TlsSettings
from meta1g.base.tlsneeds import TlsRequirements
from meta1g.conf.defs_session import SMTPC_SESSION
from meta1g.conf.effects import REFUSED
from meta1g.conf.errors import ConfigError
from meta1g.rcb.common import ServerAddr
from meta1g.smtpc.settings import ServerSettings
from meta1g.smtpc.sources import Sources
from tests.fakes.smtp_server import ScriptedServer
from tests.unit.conf.text import load
from tests.unit.smtpc.conftest import running

CONTENT = b"Received: here\r\nSubject: x\r\n\r\nbody\r\n"
#: Snippet; the setting, as the section has it, and with the snippet.
ROWS = {
    "pipelining": ("flags = dont_pipelining;", "pipelining", True, False),
    "chunking": ("flags = dont_chunking;", "chunking", True, False),
    "xforward": ("flags = xforward;", "xforward", False, True),
    "starttls": ("flags = dont_starttls;", "tls", TlsSettings(system_ca=True), None),
    "IO_timeout": ("IO_timeout = 7s;", "block_timeout_s", 180, 7),
    "connect_timeout": ("connect_timeout = 7s;", "connect_timeout_s", 30, 7),
    "greeting_timeout": ("greeting_timeout = 7s;", "greeting_timeout_s", 300, 7),
    "command_timeout": ("command_timeout = 7s;", "command_timeout_s", 300, 7),
    "data_timeout": ("data_timeout = 7s;", "data_timeout_s", 120, 7),
    "block_timeout": ("block_timeout = 7s;", "block_timeout_s", 180, 7),
    "dot_timeout": ("dot_timeout = 7s;", "dot_timeout_s", 600, 7),
    "source_address": ("source_address = 127.0.0.2;", "sources", Sources(), Sources("127.0.0.2", "")),
    "source_address6": ("source_address6 = 2001:db8::2;", "sources", Sources(), Sources("", "2001:db8::2")),
}
NAMES = {row.name for row in SMTPC_SESSION.options} | {flag.name for flag in SMTPC_SESSION.options[0].kind.flags}


def test_every_option_and_flag_has_a_row():
    refused = {path.rpartition(" ")[2] for path in REFUSED if path.startswith("smtpc_session_conf flags")}
    assert set(ROWS) == NAMES - refused - {"flags"}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_an_option_of_a_server(name):
    snippet, setting, common, changed = ROWS[name]
    servers = ServerSettings(load("smtpc { }"))
    assert getattr(servers.of(""), setting) == common
    assert getattr(servers.of(snippet), setting) == changed
    assert servers.of(snippet) is servers.of(snippet)
    assert getattr(servers.common, setting) == common


def test_what_the_section_says_stays():
    servers = ServerSettings(load("smtpc { flags = dont_pipelining; dot_timeout = 1m; }"))
    made = servers.of("command_timeout = 7s;")
    assert (made.pipelining, made.dot_timeout_s, made.command_timeout_s) == (False, 60, 7)
    assert (made.needs, servers.common.needs) == (None, None)
    assert servers.of("tls_requirements { min_cipher_bits = 128; }").needs == TlsRequirements(min_bits=128)
    with pytest.raises(ConfigError, match="did you mean min_cipher_bits"):
        servers.of("tls_requirements { min_cipher_bit = 128; }")


def told(port, conf):
    return (ServerAddr(addr="127.0.0.1", port=port, host="mx.x.example", conf=conf),)


@pytest.mark.system
class TestProcess:
    def test_commands_go_one_by_one_to_a_server_that_is_to_have_them_so(self, patient):
        patient.store(CONTENT)
        for conf, groups in (("flags = dont_pipelining;", [1, 1, 1]), ("", [1, 3])):
            with ScriptedServer() as server:
                result = patient.deliver(patient.job(server.port, server=told(server.port, conf)))
                assert result.rcpts[0].reply.code == 250
                assert [one.count(b"\r\n") for one in server.connections[0].groups[: len(groups)]] == groups

    def test_a_wrong_piece_puts_the_delivery_off_and_is_named(self, tmp_path):
        with running(tmp_path, 'log { file = "smtpc.log"; }') as smtpc, ScriptedServer() as server:
            smtpc.store(CONTENT)
            result = smtpc.deliver(smtpc.job(server.port, server=told(server.port, "flags = nonsense;")))
            assert (result.session.code, result.session.ecode, server.connections) == (451, "4.3.5", [])
            log = (smtpc.queue / "smtpc.log").read_text()
        assert re.search(r"sevr=ERROR, func=smtpc\.conf, server=127\.0\.0\.1, server_name=mx\.x\.example, .*nonsense", log)

    def test_a_session_is_not_used_for_a_name_with_other_settings(self, patient):
        patient.store(CONTENT)
        with ScriptedServer() as server:
            for number, (conf, groups) in enumerate((("", [1, 3]), ("flags = dont_pipelining;", [1, 1, 1]))):
                facts = {"session_id": "C00000000000000EE00", "new_session": number == 0, "keep_open": True}
                result = patient.deliver(patient.job(server.port, server=told(server.port, conf), **facts))
                assert (result.rcpts[0].reply.code, result.session_open) == (250, True)
                assert [one.count(b"\r\n") for one in server.connections[number].groups[: len(groups)]] == groups
            assert len(server.connections) == 2

    def test_a_server_that_is_silent_is_waited_for_as_long_as_is_said(self, patient):
        patient.store(CONTENT)
        with ScriptedServer({"banner": ""}) as server:
            result = patient.deliver(patient.job(server.port, server=told(server.port, "greeting_timeout = 1s;")))
        assert "timed out" in result.session.text

    def test_the_connection_comes_from_the_address_that_is_said(self, patient):
        patient.store(CONTENT)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            patient.qmgr.send(patient.job(port, server=told(port, "source_address = 127.0.0.2;")), 999_999)
            conn, (address, _) = server.accept()
            conn.close()
        assert address == "127.0.0.2"
        patient.qmgr.receive()

    def test_a_snippet_that_cannot_be_used_puts_the_delivery_off(self, patient):
        patient.store(CONTENT)
        with ScriptedServer() as server:
            conf = "tls_requirements { flags = { encripted }; }"
            result = patient.deliver(patient.job(server.port, server=told(server.port, conf)))
            assert (result.session.code, result.session.ecode, server.connections) == (451, "4.3.5", [])
