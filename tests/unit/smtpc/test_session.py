"""The client process against scripted servers: what it says, and what it reports."""

import socket
import struct

import pytest

from contrib.lib.gateway import free_port
from meta1g.rcb.common import DeliveryAgent
from meta1g.rcb.smtpc_qmgr import CloseDelivery, SessionClosed
from tests.fakes.smtp_server import ScriptedServer, Seen
from tests.unit.smtpc.conftest import running

pytestmark = pytest.mark.system

CONTENT = b"Received: here\r\nSubject: x\r\n\r\n.dot\r\nbody\r\n"
EIGHT_BIT = CONTENT + b"gr\xfc\xdfe\r\n"


@pytest.fixture(scope="module")
def common(tmp_path_factory):
    """One process for all tests that want no options; its time-outs are short."""
    with running(tmp_path_factory.mktemp("smtpc")) as made:
        yield made


@pytest.fixture
def smtpc(request, common, tmp_path):
    """A process without sessions and content."""
    if options := getattr(request, "param", ""):
        with running(tmp_path, options) as made:
            yield made
        return
    common.wait_idle()
    common.path().unlink(missing_ok=True)
    yield common


def codes(result):
    return {r.rcpt_idx: r.reply.code for r in result.rcpts}


def test_a_message_is_delivered_with_pipelining_in_one_group(smtpc):
    smtpc.store(CONTENT)
    with ScriptedServer() as server:
        result = smtpc.deliver(smtpc.job(server.port, ["a@x", "b@x"]))
        seen = server.connections[0]
    assert codes(result) == {0: 250, 1: 250}
    assert (result.session.code, result.transaction.code, result.session_open) == (0, 0, False)
    assert seen.contents == [CONTENT]
    assert seen.commands[:5] == [
        "EHLO client.example",
        "MAIL FROM:<s@y.example> SIZE=100",
        "RCPT TO:<a@x>",
        "RCPT TO:<b@x>",
        "DATA",
    ]
    assert seen.groups[1] == b"MAIL FROM:<s@y.example> SIZE=100\r\nRCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n"


def probe(smtpc, port, rcpt="a@x", **facts):
    return smtpc.job(port, [rcpt], ta_id="", cdb_id="", mail="", size_bytes=0, probe=True, **facts)


@pytest.mark.parametrize("ehlo", ["250-fake\r\n250 PIPELINING\r\n", "250 fake\r\n"])
@pytest.mark.parametrize("code", [250, 251, 450, 550])
def test_a_probe_says_what_the_server_says_of_the_recipient_and_sends_nothing(smtpc, ehlo, code):
    with ScriptedServer({"EHLO": ehlo, "RCPT": f"{code} {code // 100}.1.1 so it is\r\n"}) as server:
        result = smtpc.deliver(probe(smtpc, server.port))
        smtpc.wait_idle()
        seen = server.connections[0]
    (one,) = result.rcpts
    assert (one.reply.code, one.reply.text, one.reply.origin) == (code, "so it is", "mx.x.example[127.0.0.1]")
    assert (result.session.code, result.transaction.code, result.session_open) == (0, 0, False)
    assert seen.commands == ["EHLO client.example", "MAIL FROM:<>", "RCPT TO:<a@x>", "QUIT"]


def test_a_probe_whose_sender_is_refused_says_nothing_of_the_recipient(smtpc):
    with ScriptedServer({"MAIL": "550 no empty senders\r\n", "RCPT": "503 what?\r\n"}) as server:
        result = smtpc.deliver(probe(smtpc, server.port))
    assert (result.transaction.code, result.rcpts) == (550, ())


def test_a_probe_over_lmtp(smtpc):
    with ScriptedServer({"LHLO": "250-fake\r\n250 PIPELINING\r\n"}) as server:
        result = smtpc.deliver(probe(smtpc, server.port, da=int(DeliveryAgent.LMTP)))
        smtpc.wait_idle()
        assert codes(result) == {0: 250}
        assert server.connections[0].commands == ["LHLO client.example", "MAIL FROM:<>", "RCPT TO:<a@x>", "QUIT"]


def test_a_probe_of_a_server_that_hangs_up_says_why(smtpc):
    with ScriptedServer({"RCPT": None}) as server:
        result = smtpc.deliver(probe(smtpc, server.port))
    assert result.session.code == 451


def test_without_pipelining_commands_go_one_by_one(smtpc):
    smtpc.store(CONTENT)
    with ScriptedServer({"EHLO": "250 fake\r\n"}) as server:
        assert codes(smtpc.deliver(smtpc.job(server.port))) == {0: 250}
        assert [g.count(b"\r\n") for g in server.connections[0].groups[:4]] == [1, 1, 1, 1]


@pytest.mark.parametrize("smtpc", ["flags = { no_pipelining };"], indirect=True)
def test_the_flag_switches_pipelining_off(smtpc):
    smtpc.store(CONTENT)
    with ScriptedServer() as server:
        assert codes(smtpc.deliver(smtpc.job(server.port))) == {0: 250}
        assert [g.count(b"\r\n") for g in server.connections[0].groups[:4]] == [1, 1, 1, 1]


def test_helo_follows_a_refused_ehlo(smtpc):
    smtpc.store(CONTENT)
    with ScriptedServer({"EHLO": "502 what?\r\n"}) as server:
        assert codes(smtpc.deliver(smtpc.job(server.port))) == {0: 250}
        assert server.connections[0].commands[:2] == ["EHLO client.example", "HELO client.example"]


@pytest.mark.parametrize("extensions", ["250 fake\r\n", "250-fake\r\n250 PIPELINING\r\n"])
def test_each_recipient_has_its_own_outcome(smtpc, extensions):
    smtpc.store(CONTENT)
    replies = {"EHLO": extensions, "RCPT": ["550 5.1.1 no\r\n", "250 ok\r\n", "450 4.2.1 later\r\n"]}
    with ScriptedServer(replies) as server:
        result = smtpc.deliver(smtpc.job(server.port, ["a@x", "b@x", "c@x"]))
    assert codes(result) == {0: 550, 1: 250, 2: 450}
    assert result.rcpts[0].reply.ecode == "5.1.1"


@pytest.mark.parametrize("extensions", ["250 fake\r\n", "250-fake\r\n250 PIPELINING\r\n"])
@pytest.mark.parametrize("data", ["354 go\r\n", "554 5.5.1 no recipients\r\n"])
def test_nothing_is_sent_when_no_recipient_is_accepted(smtpc, extensions, data):
    smtpc.store(CONTENT)
    replies = {"EHLO": extensions, "RCPT": "550 5.1.1 no\r\n", "DATA": data, "dot": "554 empty\r\n"}
    with ScriptedServer(replies) as server:
        result = smtpc.deliver(smtpc.job(server.port, ["a@x", "b@x"]))
        assert all(content == b"" for content in server.connections[0].contents)
    assert codes(result) == {0: 550, 1: 550}


@pytest.mark.parametrize("extensions", ["250 fake\r\n", "250-fake\r\n250 PIPELINING\r\n"])
def test_a_refused_sender_is_the_outcome_of_the_transaction(smtpc, extensions):
    smtpc.store(CONTENT)
    replies = {"EHLO": extensions, "MAIL": "550 5.7.1 not you\r\n", "RCPT": "503 first MAIL\r\n", "DATA": "503 first MAIL\r\n"}
    with ScriptedServer(replies) as server:
        result = smtpc.deliver(smtpc.job(server.port))
    assert (result.transaction.code, result.transaction.ecode, result.transaction.text, codes(result)) == (
        550,
        "5.7.1",
        "not you",
        {},
    )


def test_a_refused_message_is_the_outcome_of_every_accepted_recipient(smtpc):
    smtpc.store(CONTENT)
    with ScriptedServer({"dot": "554 5.6.0 spam\r\n"}) as server:
        assert codes(smtpc.deliver(smtpc.job(server.port, ["a@x", "b@x"]))) == {0: 554, 1: 554}


@pytest.mark.parametrize(
    ("replies", "code", "ecode"),
    [
        ({"banner": "554 go away\r\n"}, 554, ""),
        ({"banner": "421 4.3.2 busy\r\n"}, 421, "4.3.2"),
        ({"banner": None}, 451, "4.4.2"),
        ({"banner": ""}, 451, "4.4.2"),
        ({"banner": "\x00\xff garbage\r\n"}, 451, "4.5.0"),
        ({"banner": "220" + "x" * 100_000 + "\r\n"}, 451, "4.5.0"),
        ({"EHLO": "550 no\r\n", "HELO": "550 no\r\n"}, 550, ""),
        ({"EHLO": "250-a\r\n" * 2000 + "250 b\r\n"}, 451, "4.5.0"),
        ({"MAIL": "421 4.3.2 closing\r\n"}, 421, "4.3.2"),
        ({"RCPT": None}, 451, "4.4.2"),
    ],
)
def test_a_server_that_cannot_be_used_fails_the_session_only(smtpc, replies, code, ecode):
    smtpc.store(CONTENT)
    with ScriptedServer(replies) as server:
        result = smtpc.deliver(smtpc.job(server.port))
        assert (result.session.code, result.session.ecode, result.session_open) == (code, ecode, False)
    with ScriptedServer() as server:
        assert codes(smtpc.deliver(smtpc.job(server.port))) == {0: 250}


def test_a_server_that_closes_after_the_dot_leaves_the_outcome_open(smtpc):
    smtpc.store(CONTENT)
    with ScriptedServer({"dot": None}) as server:
        result = smtpc.deliver(smtpc.job(server.port))
    assert (result.session.code, codes(result)) == (0, {0: 451})


def test_no_server_is_a_failed_session(smtpc):
    smtpc.store(CONTENT)
    result = smtpc.deliver(smtpc.job(free_port()))
    assert (result.session.code, result.session.ecode) == (451, "4.4.1")
    assert "Connection refused" in result.session.text


def test_a_session_is_used_again(smtpc):
    smtpc.store(CONTENT)
    with ScriptedServer() as server:
        first = smtpc.job(server.port, keep_open=True)
        assert smtpc.deliver(first).session_open
        again = smtpc.job(server.port, session_id=first.session_id, new_session=False, keep_open=True)
        assert smtpc.deliver(again).session_open
        assert len(server.connections) == 1
        smtpc.qmgr.send(CloseDelivery(session_id=first.session_id))
        with server.changed:
            assert server.changed.wait_for(lambda: server.connections[0].commands[-1] == "QUIT", 10)


def test_a_failed_transaction_is_reset_before_the_next(smtpc):
    smtpc.store(CONTENT)
    with ScriptedServer(
        {"MAIL": ["450 later\r\n", "250 ok\r\n"], "RCPT": ["503 no\r\n", "250 ok\r\n"], "DATA": ["503 no\r\n", "354 go\r\n"]}
    ) as server:
        first = smtpc.job(server.port, keep_open=True)
        assert smtpc.deliver(first).transaction.code == 450
        again = smtpc.job(server.port, session_id=first.session_id, new_session=False)
        assert codes(smtpc.deliver(again)) == {0: 250}
        assert "RSET" in server.connections[0].commands


def test_an_idle_session_that_the_server_closes_is_reported(smtpc):
    smtpc.store(CONTENT)
    with ScriptedServer() as server:
        job = smtpc.job(server.port, keep_open=True)
        assert smtpc.deliver(job).session_open
        server._open[0].shutdown(socket.SHUT_RDWR)
        while (closed := smtpc.qmgr.expect(SessionClosed)[1]).session_id != job.session_id:
            pass  # of another test
    assert closed == SessionClosed(session_id=job.session_id)


def test_a_delivery_for_a_session_that_is_gone_opens_it_again(smtpc):
    smtpc.store(CONTENT)
    with ScriptedServer() as server:
        job = smtpc.job(server.port, new_session=False)
        assert codes(smtpc.deliver(job)) == {0: 250}


def test_lmtp_has_an_outcome_for_each_recipient_after_the_dot(smtpc):
    smtpc.store(CONTENT)
    replies = {"RCPT": ["250 ok\r\n", "550 5.1.1 no\r\n", "250 ok\r\n"], "dot": "250 one\r\n452 4.2.2 full\r\n"}
    with ScriptedServer(replies) as server:
        result = smtpc.deliver(smtpc.job(server.port, ["a@x", "b@x", "c@x"], da=int(DeliveryAgent.LMTP)))
        assert server.connections[0].commands[0] == "LHLO client.example"
    assert codes(result) == {0: 250, 1: 550, 2: 452}


def test_missing_content_is_damage_and_the_server_does_not_hear_of_the_message(smtpc):
    with ScriptedServer() as server:
        result = smtpc.deliver(smtpc.job(server.port))
        assert server.connections[0].commands[:1] == ["EHLO client.example"]
        assert "MAIL" not in str(server.connections[0].commands)
    assert result.damage.endswith("is missing")
    assert (result.session.code, result.transaction.code, codes(result)) == (0, 0, {})


def test_a_bounce_carries_the_header_of_the_original_only(smtpc):
    smtpc.store(CONTENT)
    with ScriptedServer() as server:
        assert codes(smtpc.deliver(smtpc.job(server.port, mail="", dsn_head=b"Subject: bounce\r\n"))) == {0: 250}
        (content,) = server.connections[0].contents
    assert content.startswith(b"Subject: bounce\r\nContent-Type: multipart/report;")
    assert b"\r\n\r\nReceived: here\r\nSubject: x\r\n\r\n--=" in content
    assert b"Subject: x\r\n\r\nline" not in content


OLD = "250-old\r\n250-PIPELINING\r\n250 SIZE 20000\r\n"


@pytest.mark.parametrize("content", [EIGHT_BIT, CONTENT + b"line of text\r\n" * 3000, EIGHT_BIT + b"\xff\r\n" * 9000])
def test_a_bounce_goes_to_a_server_that_would_not_take_the_message(smtpc, content):
    smtpc.store(content)
    facts = {"mail": "", "size_bytes": len(content), "body": "8BITMIME", "smtputf8": True}
    with ScriptedServer({"EHLO": OLD}) as server:
        job = smtpc.job(server.port, dsn_head=b"Subject: bounce\r\n", dsn_full=True, **facts)
        assert codes(smtpc.deliver(job)) == {0: 250}
        (seen,) = server.connections
    (mail,) = [line for line in seen.commands if line.startswith("MAIL")]
    assert mail == f"MAIL FROM:<> SIZE={len(seen.contents[0])}"
    assert seen.contents[0].isascii()
    assert len(seen.contents[0]) < 20_000


def test_a_bounce_of_eight_bit_mail_returns_all_of_it_to_a_server_that_takes_it(smtpc):
    smtpc.store(EIGHT_BIT)
    with ScriptedServer() as server:
        job = smtpc.job(server.port, mail="", dsn_head=b"Subject: bounce\r\n", dsn_full=True)
        assert codes(smtpc.deliver(job)) == {0: 250}
        (seen,) = server.connections
    assert EIGHT_BIT in seen.contents[0]
    assert next(line for line in seen.commands if line.startswith("MAIL")).endswith(" BODY=8BITMIME")


def test_many_recipients_leave_in_bounded_groups(smtpc):
    smtpc.store(CONTENT)
    with ScriptedServer() as server:
        result = smtpc.deliver(smtpc.job(server.port, [f"r{i}@x" for i in range(250)]))
        assert len(server.connections[0].contents) == 1
    assert codes(result) == dict.fromkeys(range(250), 250)


def test_a_big_message_arrives_whole(smtpc):
    content = CONTENT + b"0123456789abcdef" * 64 * 4 * 1024 + b"\r\n"
    smtpc.store(content)
    with ScriptedServer() as server:
        assert codes(smtpc.deliver(smtpc.job(server.port))) == {0: 250}
        assert server.connections[0].contents == [content]


@pytest.mark.parametrize("end", ["reads on", "closes", "resets"])
def test_a_refusal_in_the_middle_of_the_content_is_the_answer_to_those_who_were_accepted(patient, end):
    patient.store(CONTENT + b"0123456789abcdef" * 64 * 4 * 1024 + b"\r\n")

    def serve(conn: socket.socket) -> None:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with conn.makefile("rb") as lines:
            for reply in (b"220 x", b"250 x", b"250 ok", b"550 5.1.1 no", b"250 ok", b"354 go"):
                conn.sendall(reply + b"\r\n")
                if reply != b"354 go":
                    lines.readline()
            lines.read(10_000)
            conn.sendall(b"552 5.3.4 too big\r\n")
            if end == "resets":
                conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            while end == "reads on" and lines.read(1 << 16):
                pass

    with ScriptedServer(on_connection=serve) as server:
        result = patient.deliver(patient.job(server.port, ["a@x", "b@x"]))
    assert (result.session.code, codes(result), result.session_open) == (0, {0: 550, 1: 552}, False)


LONG = b"Received: here\r\nSubject: x\r\n\r\n" + b"y" * 3000 + b"\r\nend\r\n"
BROKEN = (
    b"Received: here\r\nSubject: x\r\n\r\n" + b"y" * 998 + b"\r\n " + b"y" * 997 + b"\r\n " + b"y" * 997 + b"\r\n " + b"y" * 8
)
LINE_REFUSED = "550 maximum allowed line length is 998 octets, got 3000\r\n"


def test_a_long_line_goes_as_it_came(smtpc):
    smtpc.store(LONG)
    with ScriptedServer() as server:
        assert codes(smtpc.deliver(smtpc.job(server.port))) == {0: 250}
        assert server.contents == [LONG]


def test_a_long_line_is_broken_for_a_server_that_refuses_it(smtpc):
    smtpc.store(LONG)
    with ScriptedServer(
        {"dot": [LINE_REFUSED, "250 2.0.0 kept\r\n"], "RCPT": ["250 ok\r\n", "550 5.1.1 no\r\n", "250 ok\r\n"]}
    ) as server:
        result = smtpc.deliver(smtpc.job(server.port, ["a@x", "b@x", "c@x"], keep_open=True))
        assert server.contents == [LONG, BROKEN + b"\r\nend\r\n"]
        assert [c for c in server.connections[-1].commands if c.startswith("RCPT")] == ["RCPT TO:<a@x>", "RCPT TO:<c@x>"]
    assert codes(result) == {0: 250, 1: 550, 2: 250}
    assert result.session_open


def test_a_server_that_hangs_up_at_a_long_line_gets_it_broken(smtpc):
    smtpc.store(b"Subject: x\r\n\r\n" + b"y" * 3_000_000 + b"\r\n")
    first = []

    def talk(conn):
        server._talk(conn, Seen()) if first else refuse(conn)

    def refuse(conn):
        first.append(conn)
        conn.sendall(b"220 fake\r\n")
        for reply in (b"250 fake\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            conn.recv(65536)
            conn.sendall(reply)
        conn.recv(65536)
        conn.sendall(b"500 Line too long\r\n")

    with ScriptedServer(on_connection=talk) as server:
        assert codes(smtpc.deliver(smtpc.job(server.port))) == {0: 250}
    assert len(server.connections) == 2


def test_a_message_is_broken_once_only(smtpc):
    smtpc.store(LONG)
    with ScriptedServer({"dot": LINE_REFUSED}) as server:
        assert codes(smtpc.deliver(smtpc.job(server.port))) == {0: 550}
        assert len(server.contents) == 2


@pytest.mark.parametrize(
    ("content", "reply"), [(LONG, "554 5.7.1 spam\r\n"), (LONG, "450 4.5.0 line too long\r\n"), (CONTENT, LINE_REFUSED)]
)
def test_other_refusals_stand(smtpc, content, reply):
    smtpc.store(content)
    with ScriptedServer({"dot": reply}) as server:
        assert codes(smtpc.deliver(smtpc.job(server.port))) == {0: int(reply[:3])}
        assert server.contents == [content]


def test_an_lmtp_server_may_refuse_long_lines_too(smtpc):
    smtpc.store(LONG)
    with ScriptedServer({"dot": [LINE_REFUSED, "250 2.0.0 kept\r\n"]}) as server:
        assert codes(smtpc.deliver(smtpc.job(server.port, da=int(DeliveryAgent.LMTP)))) == {0: 250}
        assert server.contents == [LONG, BROKEN + b"\r\nend\r\n"]


def test_a_message_that_cannot_be_sent_again_now_waits(smtpc):
    smtpc.store(LONG)
    replies = {
        "dot": LINE_REFUSED,
        "banner": ["220 fake\r\n", "421 4.3.2 busy\r\n"],
        "RCPT": ["250 ok\r\n", "550 5.1.1 no\r\n"],
    }
    with ScriptedServer(replies) as server:
        result = smtpc.deliver(smtpc.job(server.port, ["a@x", "b@x"]))
    assert codes(result) == {1: 550}
    assert result.session.code == 421
