"""One message stays one message on its way out: look-alikes of its end in what was stored, by DATA and by BDAT, under TLS too.

A server sees one message with whole line ends, octet by octet what was accepted if that had no others; what had a bare CR or LF
does not leave by BDAT, whose size was announced.  A control character in an envelope keeps all of it here.
"""

import itertools
import re
import ssl
from dataclasses import replace
from zlib import crc32

import pytest

from meta1g.smtp.data import has_bare
from tests.fakes.certificates import make_certificate
from tests.fakes.smtp_server import EHLO, ScriptedServer
from tests.unit.smtp.test_smuggling import BEGIN, ENDS, EVIL
from tests.unit.smtpc.conftest import running
from tests.unit.smtpc.test_session import codes

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("smtpc-smuggling")]

CONTENTS = [BEGIN + before + b"." + after + EVIL for before, after in itertools.product(ENDS, repeat=2)][::3]
CONTENTS += [BEGIN + b"\r\n." + EVIL, BEGIN + b"\r\n.\r\n", b".\r\n" + EVIL]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    make_certificate(directory, "mx.x.example")
    return directory


@pytest.fixture(scope="module")
def smtpc(tmp_path_factory):
    with running(tmp_path_factory.mktemp("smtpc"), step_s=20) as made:
        yield made


def server_of(chunking, tls, files):
    """Gives a server; what is offered under TLS is what was offered before it."""
    context = None
    offered = EHLO.replace("250 SIZE", "250-CHUNKING\r\n250 SIZE") if chunking else EHLO
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files / "mx.x.example.pem", files / "mx.x.example.key")
        offered = offered.replace("250 SIZE", "250-STARTTLS\r\n250 SIZE")
    return ScriptedServer({"EHLO": offered, "STARTTLS": "220 go\r\n"}, tls=context)


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("chunking", [False, True], ids=["data", "bdat"])
def test_no_lookalike_in_content_becomes_a_second_message(smtpc, files, chunking, tls):
    with server_of(chunking, tls, files) as server:
        for content in CONTENTS:
            smtpc.store(content)
            facts = {"file_bytes": len(content), "checksum": crc32(content), "size_bytes": len(content)}
            result = smtpc.deliver(smtpc.job(server.port, **facts))
            seen = server.connections[-1]
            bare = has_bare(content)
            if chunking and bare:
                assert (result.damage != "", seen.contents) == (True, []), content
                continue
            whole = re.sub(rb"\r\n|\r|\n", b"\r\n", content)
            assert (codes(result), seen.contents) == ({0: 250}, [whole + b"\r\n" * (not whole.endswith(b"\r\n"))]), content
            said = [one.split()[0] for one in seen.commands if one.split()[0] not in ("EHLO", "STARTTLS", "QUIT")]
            assert said == ["MAIL", "RCPT", "BDAT" if chunking else "DATA"], content
            assert bool(seen.tls) == tls
        assert len(server.connections) == len(CONTENTS) > 50
    assert 5 < sum(map(has_bare, CONTENTS)) < len(CONTENTS) - 5


FIELDS = {
    "mail": "s@y.example",
    "envid": "id",
    "ret": "HDRS",
    "body": "8BITMIME",
    "rcpt": "r@x.example",
    "orcpt": "rfc822;a",
    "notify": "NEVER",
}
CONTROLS = [chr(one) for one in (*range(32), 127)]


@pytest.mark.parametrize("field", FIELDS)
def test_no_control_character_in_an_envelope_gets_into_a_command(smtpc, files, field):
    content = BEGIN + b"\r\n"
    smtpc.store(content)
    with server_of(False, False, files) as server:
        for end in ("\r\n", *CONTROLS):
            text = f"{FIELDS[field]}>{end}RCPT TO:<evil@example.org>"
            job = smtpc.job(server.port, file_bytes=len(content), checksum=crc32(content))
            if field in ("rcpt", "orcpt", "notify"):
                job = replace(job, rcpts=(replace(job.rcpts[0], **{field: text}),))
            else:
                job = replace(job, **{field: text})
            assert smtpc.deliver(job).transaction.code == 554
            assert [one for one in server.connections[-1].commands if one != "QUIT"] == ["EHLO client.example"], end
