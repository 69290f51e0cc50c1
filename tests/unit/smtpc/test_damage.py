"""What is stored is checked where it is used: no server gets the whole of a message that is not what was accepted (I3)."""

import os
from zlib import crc32

import pytest

from meta1g.rcb.common import DeliveryAgent
from tests.fakes.smtp_server import ScriptedServer
from tests.unit.smtpc.conftest import TA

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("smtpc-damage")]

HEADER = b"Received: here\r\nSubject: x\r\n\r\n"
SMALL = HEADER + b"line of text\r\n" * 100
LARGE = HEADER + b"line of text\r\n" * 50_000
OTHER = "S00000000000000BB00"
DSN = {"mail": "", "dsn_head": b"Subject: bounce\r\n"}
KINDS = {
    "message": {},
    "whole report": {**DSN, "dsn_full": True},
    "report with the header": DSN,
    "message for a server without 8BITMIME": {"body": "8BITMIME"},
    "LMTP": {"da": int(DeliveryAgent.LMTP)},
}


def truncated(path, content):
    os.truncate(path, len(content) - 1)


def empty(path, content):
    os.truncate(path, 0)


def extended(path, content):
    path.write_bytes(content + b"more\r\n")


def altered(path, content):
    changed = bytearray(content)
    changed[-5] ^= 0x80  # no ASCII any more
    path.write_bytes(changed)


def altered_at_the_beginning(path, content):
    path.write_bytes(b"r" + content[1:])


def zero_page(path, content):
    path.write_bytes(content[:500] + bytes(100) + content[600:])


def swapped(path, content):
    path.write_bytes(content[::-1])


def missing(path, content):
    path.unlink()


def symbolic_link(path, content):
    path.symlink_to(path.rename(path.parent / "kept"))


def fifo(path, content):
    path.unlink()
    os.mkfifo(path)


def directory(path, content):
    path.unlink()
    path.mkdir()


DAMAGES = {
    truncated: "bytes, not", empty: "has 0 bytes", extended: "bytes, not", altered: "checksum",
    altered_at_the_beginning: "checksum", zero_page: "checksum", swapped: "checksum", missing: "is missing",
    symbolic_link: "no plain file", fifo: "no plain file", directory: "no plain file",
}  # fmt: skip


def put_back(patient, content):
    """Stores the content in place of what a damage has left."""
    path = patient.path()
    path.parent.mkdir(exist_ok=True)
    path.with_name("kept").unlink(missing_ok=True)
    if path.is_dir():
        path.rmdir()
    patient.store(content)


def facts(content, kind):
    return {"file_bytes": len(content), "checksum": crc32(content), **KINDS[kind]}


@pytest.mark.parametrize("kind", KINDS)
def test_content_that_was_damaged_is_never_completed_and_other_mail_goes_on(patient, kind):
    patient.store(SMALL, OTHER)
    replies = {"EHLO": "250-fake\r\n250 PIPELINING\r\n"}
    with ScriptedServer(replies) as server:
        for content in (SMALL, LARGE):
            for damage, text in DAMAGES.items():
                put_back(patient, content)
                damage(patient.path(), content)
                result = patient.deliver(patient.job(server.port, ["a@x", "b@x"], **facts(content, kind)))
                assert text in result.damage, (damage, result)
                assert TA in result.damage
                assert (result.session.code, result.transaction.code, result.rcpts) == (0, 0, ()), (damage, result)
                assert server.contents == [], damage
        good = patient.job(server.port, cdb_id=OTHER, **facts(SMALL, kind))
        assert [one.reply.code for one in patient.deliver(good).rcpts] == [250]
        assert len(server.contents) == 1


@pytest.mark.parametrize("kind", ["message", "report with the header"])
def test_damage_that_is_seen_before_the_envelope_leaves_the_session_open(patient, kind):
    put_back(patient, SMALL)
    missing(patient.path(), SMALL)
    with ScriptedServer() as server:
        first = patient.job(server.port, keep_open=True, **facts(SMALL, kind))
        result = patient.deliver(first)
        assert (result.damage[-10:], result.session_open) == ("is missing", True)
        patient.store(SMALL)
        again = patient.job(server.port, session_id=first.session_id, new_session=False, **facts(SMALL, kind))
        assert [one.reply.code for one in patient.deliver(again).rcpts] == [250]
        assert len(server.connections) == 1


def test_recipients_that_were_refused_have_their_own_result_beside_the_damage(patient):
    put_back(patient, LARGE)
    altered(patient.path(), LARGE)
    with ScriptedServer({"RCPT": ["550 5.1.1 no\r\n", "250 ok\r\n"]}) as server:
        result = patient.deliver(patient.job(server.port, ["a@x", "b@x"], **facts(LARGE, "message")))
        assert server.contents == []
    assert ([(one.rcpt_idx, one.reply.code) for one in result.rcpts], result.session_open) == ([(0, 550)], False)
    assert "checksum" in result.damage


def test_only_what_is_known_is_compared(patient):
    put_back(patient, LARGE)
    with ScriptedServer() as server:
        for known in ({}, {"file_bytes": len(LARGE)}, {"checksum": crc32(LARGE)}):
            assert [one.reply.code for one in patient.deliver(patient.job(server.port, **known)).rcpts] == [250]
        assert server.contents == [LARGE] * 3


def test_a_directory_that_is_away_is_a_passing_failure(patient):
    put_back(patient, SMALL)
    patient.path().unlink()
    patient.path().parent.rmdir()
    with ScriptedServer() as server:
        result = patient.deliver(patient.job(server.port, **facts(SMALL, "message")))
    assert (result.damage, result.session.code, [one.reply.code for one in result.rcpts]) == ("", 0, [451])


def test_the_end_of_a_header_is_found_wherever_the_pieces_end(patient):
    """The end of the header lies across the end of what is read and of what is kept."""
    sizes = [boundary + offset for boundary in (16 << 10, 64 << 10) for offset in range(-5, 2)]
    with ScriptedServer({"EHLO": "250 fake\r\n"}) as server:
        for size in sizes:
            header = b"Received: here\r\n" + b"X: y\r\n" * ((size - 16) // 6 - 1)
            header += b"X:" + b"x" * (size - 4 - len(header)) + b"\r\n"
            assert len(header) == size
            content = header + b"\r\nbody\r\n\r\nmore\r\n" + b"y" * 100_000
            put_back(patient, content)
            job = patient.job(server.port, **facts(content, "report with the header"))
            assert [one.reply.code for one in patient.deliver(job).rcpts] == [250]
            kept = header if size <= 64 << 10 else header[: header.rindex(b"X:")]
            returned = server.contents[-1].partition(b"Header of the message\r\n\r\n")[2].partition(b"\r\n--=")[0]
            assert returned == kept, size


def test_a_message_that_is_one_header_is_bounced_with_the_fields_there_is_room_for(patient):
    content = b"Received: here\r\n" + b"X: " + b"y" * 300_000 + b"\r\n"
    put_back(patient, content)
    with ScriptedServer() as server:
        job = patient.job(server.port, **facts(content, "report with the header"))
        assert [one.reply.code for one in patient.deliver(job).rcpts] == [250]
        assert b"\r\n\r\nReceived: here\r\n\r\n--=" in server.contents[0]
        assert b"yyy" not in server.contents[0]
