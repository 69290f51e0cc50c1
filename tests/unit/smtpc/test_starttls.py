"""STARTTLS of the client process, against servers that do it right, wrong, or not at all."""

import re
import shutil
import ssl

import pytest

from contrib.lib.gateway import wait_until
from meta1g.base.errors import TempError
from meta1g.base.log import Log
from meta1g.base.tlsfacts import TlsSettings
from meta1g.rcb.common import ServerAddr
from meta1g.smtpc.tlsout import TlsOut
from tests.fakes.certificates import make_certificate, sign_certificate
from tests.fakes.lines import Lines
from tests.fakes.smtp_server import DEFAULT, EHLO, End, ScriptedServer
from tests.unit.smtpc.conftest import running

pytestmark = pytest.mark.system

CONTENT = b"Received: here\r\nSubject: x\r\n\r\nbody\r\n"
OFFERED = EHLO.replace("250-PIPELINING", "250-STARTTLS\r\n250-PIPELINING")
TLS = {"EHLO": OFFERED, "STARTTLS": "220 go\r\n"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    make_certificate(directory, "ca.example")
    for name in ("mx.x.example", "other.example"):
        sign_certificate(directory, name, "ca.example")
    return directory


@pytest.fixture(scope="module")
def smtpc(tmp_path_factory, files):
    options = f'log {{ file = "smtpc.log"; }} log_level = 9; tls {{ CAcert_file = {files}/ca.example.pem; }}'
    with running(tmp_path_factory.mktemp("smtpc"), options, step_s=30) as made:
        yield made


@pytest.fixture
def careless(tmp_path, request):
    with running(tmp_path, request.param, step_s=30) as made:
        yield made


def context(files, name="mx.x.example"):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(files / f"{name}.pem", files / f"{name}.key")
    return made


def codes(result):
    return {r.rcpt_idx: r.reply.code for r in result.rcpts}


def log_of(smtpc, pattern):
    """Waits for a line of the log that matches."""
    path = smtpc.queue / "smtpc.log"
    wait_until(lambda: re.search(pattern, path.read_text()), 20, f"{pattern} in the log")


@pytest.mark.parametrize(("name", "verify"), [("mx.x.example", "ok"), ("other.example", "hostname mismatch")])
def test_a_message_goes_under_tls_and_the_log_says_who_is_there(smtpc, files, name, verify):
    smtpc.store(CONTENT)
    with ScriptedServer(TLS, tls=context(files, name)) as server:
        assert codes(smtpc.deliver(smtpc.job(server.port))) == {0: 250}
        (seen,) = server.connections
    assert seen.commands[:3] == ["EHLO client.example", "STARTTLS", "EHLO client.example"]
    assert seen.tls == 2
    assert seen.contents == [CONTENT]
    log_of(smtpc, rf"func=smtpc\.tls, .*tls=TLSv1\.3 \S+, bits=256, verify={verify}, cert_subject=CN=?.?{re.escape(name)}")


@pytest.mark.parametrize("careless", [""], indirect=True)
def test_without_trusted_authorities_any_certificate_will_do(careless, files):
    smtpc = careless
    smtpc.store(CONTENT)
    with ScriptedServer(TLS, tls=context(files, "other.example")) as server:
        assert codes(smtpc.deliver(smtpc.job(server.port))) == {0: 250}
        assert server.connections[0].tls == 2


def test_the_name_of_the_server_is_sent(smtpc, files):
    smtpc.store(CONTENT)
    asked = []
    made = context(files)
    made.sni_callback = lambda _sock, name, _context: asked.append(name)
    with ScriptedServer(TLS, tls=made) as server:
        assert codes(smtpc.deliver(smtpc.job(server.port))) == {0: 250}
    assert asked == ["mx.x.example"]


def test_an_address_is_no_name_to_be_sent(smtpc, files):
    smtpc.store(CONTENT)
    asked = []
    made = context(files)
    made.sni_callback = lambda _sock, name, _context: asked.append(name)
    with ScriptedServer(TLS, tls=made) as server:
        told = (ServerAddr(addr="127.0.0.1", port=server.port, host="127.0.0.1"),)
        assert codes(smtpc.deliver(smtpc.job(server.port, server=told))) == {0: 250}
    assert asked == [None]


def test_changed_files_are_used_when_they_can_be_loaded_and_the_old_ones_until_then(files, tmp_path):
    lines = Lines()
    out, ca = TlsOut(Log("smtpc", sink=lines)), tmp_path / "ca.pem"
    settings = TlsSettings(ca_file=ca)
    with pytest.raises(TempError, match=r"ca\.pem: No such file"):
        out.context(settings)
    shutil.copy(files / "ca.example.pem", ca)
    first = out.context(settings)
    assert out.context(settings) is first
    ca.write_text("half of it")
    assert out.context(settings) is first
    assert out.context(settings) is first
    assert [line.partition(",")[0] for line in lines.lines if "func=smtpc.tls_files" in line] == ["sevr=ERROR"]
    ca.write_bytes((files / "ca.example.pem").read_bytes())
    assert out.context(settings) is not first


def test_what_the_server_said_in_clear_is_forgotten(smtpc, files):
    smtpc.store(CONTENT)
    replies = {**TLS, "EHLO": [OFFERED, "250-fake\r\n250 STARTTLS\r\n"]}
    with ScriptedServer(replies, tls=context(files)) as server:
        assert codes(smtpc.deliver(smtpc.job(server.port))) == {0: 250}
        (seen,) = server.connections
    assert seen.commands[2:4] == ["EHLO client.example", "MAIL FROM:<s@y.example>"], "neither SIZE nor STARTTLS any more"


@pytest.mark.parametrize("careless", ["flags = { dont_starttls };"], indirect=True)
def test_without_the_flag_the_session_stays_in_clear(careless, files):
    smtpc = careless
    smtpc.store(CONTENT)
    with ScriptedServer(TLS, tls=context(files)) as server:
        assert codes(smtpc.deliver(smtpc.job(server.port))) == {0: 250}
        assert "STARTTLS" not in server.connections[0].commands


@pytest.mark.parametrize("reply", ["454 4.7.0 not now\r\n", "502 5.5.1 what?\r\n", "554 5.7.3 no\r\n"])
def test_a_server_that_refuses_it_after_all_gets_the_message_in_clear(smtpc, reply):
    smtpc.store(CONTENT)
    with ScriptedServer({**TLS, "STARTTLS": reply}) as server:
        assert codes(smtpc.deliver(smtpc.job(server.port))) == {0: 250}
        (seen,) = server.connections
    assert seen.commands[1:3] == ["STARTTLS", "MAIL FROM:<s@y.example> SIZE=100"]


@pytest.mark.parametrize(
    "answer",
    [
        "220 go\r\n250 evil\r\n",  # more in clear behind the reply (RFC 3207 5)
        "220 go\r\n250-ev",
        "220 go\r\nnot TLS at all\r\n",
        End("220 go\r\n"),
        End("220 go\r\n", "reset"),
        "421 4.3.2 bye\r\n",
        "354 go ahead\r\n",
        "what?\r\n",
        None,
    ],
    ids=repr,
)
def test_after_a_handshake_that_failed_the_server_is_asked_again_in_clear(smtpc, answer):
    smtpc.store(CONTENT)
    with ScriptedServer({**DEFAULT, **TLS, "STARTTLS": answer}) as server:
        assert codes(smtpc.deliver(smtpc.job(server.port))) == {0: 250}
        first, second = server.connections
    assert first.contents == []
    assert "STARTTLS" not in second.commands
    assert second.contents == [CONTENT]
    log_of(smtpc, r"func=smtpc\.tls_failed, .*tried in clear")


def test_a_session_under_tls_is_used_again(smtpc, files):
    smtpc.store(CONTENT)
    with ScriptedServer(TLS, tls=context(files)) as server:
        first = smtpc.job(server.port, keep_open=True)
        assert smtpc.deliver(first).session_open
        again = smtpc.job(server.port, session_id=first.session_id, new_session=False)
        assert codes(smtpc.deliver(again)) == {0: 250}
        (seen,) = server.connections
    assert seen.contents == [CONTENT, CONTENT]


def test_large_content_goes_whole(smtpc, files):
    content = CONTENT + b"".join(b"%070d\r\n" % number for number in range(40_000))
    smtpc.store(content)
    with ScriptedServer({**TLS, "EHLO": OFFERED.replace("1000000", "0")}, tls=context(files)) as server:
        assert codes(smtpc.deliver(smtpc.job(server.port, size_bytes=len(content)))) == {0: 250}
        assert server.contents == [content]
