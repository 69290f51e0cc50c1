"""Content goes by BDAT where it is offered: whole, unchanged, and never beyond what was announced."""

from zlib import crc32

import pytest

from meta1g.rcb.common import DeliveryAgent
from tests.fakes.smtp_server import ScriptedServer
from tests.unit.smtpc.conftest import running
from tests.unit.smtpc.test_session import CONTENT, codes

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("smtpc-bdat")]

EHLO = "250-fake\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n"
BINARY_EHLO = EHLO.replace("250-8BITMIME", "250-BINARYMIME\r\n250-8BITMIME")
CHUNKS = {"EHLO": EHLO, "LHLO": EHLO}
BINARY = {"EHLO": BINARY_EHLO}
LARGE = CONTENT + b"line of text\r\n" * 50_000
OCTETS = b"Subject: x\r\n\r\n\0\r\n.\r\nMAIL FROM:<>\n\r\xff"


def whole(content):
    return {"file_bytes": len(content), "checksum": crc32(content)}


@pytest.mark.parametrize("content", [CONTENT, LARGE, b""], ids=["small", "large", "empty"])
def test_a_message_goes_as_one_chunk_without_stuffed_dots(patient, content):
    patient.store(content)
    with ScriptedServer(CHUNKS) as server:
        result = patient.deliver(patient.job(server.port, ["a@x", "b@x"], **whole(content)))
        patient.wait_idle()
        seen = server.connections[0]
    assert codes(result) == {0: 250, 1: 250}
    assert seen.contents == [content]
    assert seen.commands[3:5] == ["RCPT TO:<b@x>", f"BDAT {len(content)} LAST"]


def test_nothing_is_sent_if_nobody_is_accepted(patient):
    patient.store(CONTENT)
    with ScriptedServer({**CHUNKS, "RCPT": "550 no\r\n"}) as server:
        result = patient.deliver(patient.job(server.port))
        patient.wait_idle()
        assert [line.split()[0] for line in server.connections[0].commands] == ["EHLO", "MAIL", "RCPT", "QUIT"]
    assert codes(result) == {0: 550}


def test_a_refused_chunk_is_the_answer_to_those_who_were_accepted_and_the_session_goes_on(patient):
    patient.store(CONTENT)
    with ScriptedServer(
        {**CHUNKS, "RCPT": ["550 no\r\n", "250 ok\r\n"], "BDAT": ["554 5.7.1 spam\r\n", "250 ok\r\n"]}
    ) as server:
        job = patient.job(server.port, ["a@x", "b@x"], keep_open=True)
        result = patient.deliver(job)
        assert (codes(result), result.session_open) == ({0: 550, 1: 554}, True)
        again = patient.job(server.port, ["c@x"], new_session=False, session_id=job.session_id)
        assert codes(patient.deliver(again)) == {0: 250}
        assert "RSET" in server.connections[0].commands


def test_lmtp_answers_for_each_recipient(patient):
    patient.store(CONTENT)
    said = {**CHUNKS, "BDAT": "250 a\r\n550 b\r\n452 c\r\n"}
    with ScriptedServer(said) as server:
        result = patient.deliver(patient.job(server.port, ["a@x", "b@x", "c@x"], da=int(DeliveryAgent.LMTP)))
    assert codes(result) == {0: 250, 1: 550, 2: 452}


@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
def test_damaged_content_is_never_complete(patient, content):
    patient.store(content)
    with ScriptedServer(CHUNKS) as server:
        changed = {"file_bytes": len(content), "checksum": crc32(content) ^ 1}
        result = patient.deliver(patient.job(server.port, **changed))
        patient.wait_idle()
        assert result.damage
        assert server.connections[0].contents == []


@pytest.mark.parametrize("bare", [b"\n", b"\r"])
def test_a_bare_line_end_does_not_go_out(patient, bare):
    content = LARGE + b"x" + bare + b".\r\n"
    patient.store(content)
    with ScriptedServer(CHUNKS) as server:
        result = patient.deliver(patient.job(server.port, **whole(content)))
        patient.wait_idle()
        assert "bare CR or LF" in result.damage
        assert server.connections[0].contents == []


def test_a_binary_message_goes_where_it_is_taken_and_nowhere_else(patient):
    patient.store(OCTETS)
    job = {"body": "BINARYMIME", **whole(OCTETS)}
    with ScriptedServer(BINARY) as server:
        assert codes(patient.deliver(patient.job(server.port, **job))) == {0: 250}
        assert server.contents == [OCTETS]
        assert server.connections[0].commands[1].endswith(" BODY=BINARYMIME")
    with ScriptedServer(CHUNKS) as server:
        refused = patient.deliver(patient.job(server.port, **job)).transaction
        assert (refused.code, refused.ecode) == (554, "5.6.3")
    patient.store(CONTENT)
    with ScriptedServer() as server:
        assert codes(patient.deliver(patient.job(server.port, body="BINARYMIME", **whole(CONTENT)))) == {0: 250}
        assert server.contents == [CONTENT]


def test_what_needs_smtputf8_is_in_the_message(patient):
    header = CONTENT.replace(b"Subject: x", "Subject: grüße".encode())
    body = CONTENT + "grüße\r\n".encode()
    for content, utf8, code in ((header, True, 554), (body, True, 0), (header, False, 0), (CONTENT, True, 0)):
        patient.store(content)
        with ScriptedServer() as server:
            result = patient.deliver(patient.job(server.port, smtputf8=utf8, body="8BITMIME", **whole(content)))
        assert result.transaction.code == code, content
        assert server.contents == ([] if code else [content])
    with ScriptedServer() as server:
        result = patient.deliver(patient.job(server.port, ["ä@x.example"], smtputf8=True))
        assert (result.transaction.code, result.transaction.ecode) == (553, "5.6.7")
        result = patient.deliver(patient.job(server.port, ["a@ä.example"], smtputf8=True))
        assert codes(result) == {0: 250}
        assert "RCPT TO:<a@xn--4ca.example>" in server.connections[1].commands


def test_long_lines_that_are_refused_go_again_by_data(patient):
    content = CONTENT + b"x" * 2000 + b"\r\n"
    patient.store(content)
    with ScriptedServer({**CHUNKS, "BDAT": "550 5.6.0 line too long\r\n"}) as server:
        assert codes(patient.deliver(patient.job(server.port, **whole(content)))) == {0: 250}
        assert max(map(len, server.contents[-1].split(b"\r\n"))) <= 998


def test_a_report_goes_by_bdat_with_its_own_size(patient):
    patient.store(LARGE)
    with ScriptedServer(CHUNKS) as server:
        job = patient.job(server.port, mail="", dsn_head=b"Subject: bounce\r\n", dsn_full=True, **whole(LARGE))
        assert codes(patient.deliver(job)) == {0: 250}
        assert LARGE in server.contents[0]


def test_the_flag_switches_it_off(tmp_path):
    with running(tmp_path, "flags = { dont_chunking };", step_s=30) as smtpc, ScriptedServer(BINARY) as server:
        smtpc.store(CONTENT)
        assert codes(smtpc.deliver(smtpc.job(server.port, **whole(CONTENT)))) == {0: 250}
        smtpc.store(OCTETS, "S00000000000000BB00")
        job = smtpc.job(server.port, body="BINARYMIME", cdb_id="S00000000000000BB00", **whole(OCTETS))
        assert codes(smtpc.deliver(job)) == {0: 250}
        assert [seen.commands[3].split()[0] for seen in server.connections] == ["DATA", "BDAT"]
