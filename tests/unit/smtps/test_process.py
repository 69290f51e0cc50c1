"""The smtps process as a whole: peers that go away, commits in doubt, stopping, sockets handed over."""

import array
import contextlib
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib

import pytest

from meta1g.base.reply import Reply
from meta1g.rcb import codec
from meta1g.rcb.mcp_child import PROTOCOL, FdTaken, PassFd
from meta1g.rcb.smtps_qmgr import CloseSession, CloseTransaction, DiscardTransaction, NewSession, NewTransaction, Throttle
from meta1g.rcb.smtps_smar import Verdict, VerdictFlags
from tests.fakes.rcb_peer import RcbPeer
from tests.fakes.smtps_process import WAIT_S, NewSmtpsProcess

CONTENT = b"Subject: x\r\n\r\nhello\r\n"


@pytest.fixture
def smtps(tmp_path):
    with NewSmtpsProcess(tmp_path) as process:
        yield process


def wait_until(condition):
    """Waits for what another process does; there is no event to wait on."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.005)


def envelope(client):
    client.command("MAIL FROM:<s@example.org>", "250")
    client.command("RCPT TO:<r@example.org>", "250")
    client.command("DATA", "354")


def test_qmgr_hears_who_wants_a_sender_for_each_recipient_and_what_no_report_may_answer(tmp_path):
    replied = b"Auto-Submitted: auto-replied\r\n" + CONTENT
    with NewSmtpsProcess(tmp_path, "flags = { xverp };") as smtps, smtps.client() as client:
        for mail, content in (("<s@example.org> XVERP=-=", CONTENT), ("<s@example.org>", replied)):
            client.command(f"MAIL FROM:{mail}", "250")
            client.command("RCPT TO:<r@example.org>", "250")
            client.command("DATA", "354")
            client.send(content + b".\r\n")
            client.expect("250")
        assert [msg.verp for msg in smtps.qmgr.of(NewTransaction)] == ["-=", None]
        assert [msg.automatic for msg in smtps.qmgr.of(CloseTransaction)] == [False, True]


def test_a_message_is_stored_before_qmgr_hears_of_it(smtps):
    stored = []

    def commit(msg):
        stored.extend(path.read_bytes() for path in smtps.content_files())
        return Reply(250)

    smtps.qmgr.commit = commit
    with smtps.client() as client:
        client.message(CONTENT)
    assert len(stored) == 1
    assert stored[0].startswith(b"Received: ")
    assert stored[0].endswith(CONTENT)
    (close,) = smtps.qmgr.of(CloseTransaction)
    assert (close.size_bytes, close.checksum) == (len(stored[0]), zlib.crc32(stored[0]))


def test_a_big_message_is_streamed_to_its_file(smtps):
    line = b"0123456789" * 7 + b"\r\n"
    content = b"Subject: big\r\n\r\n" + line * 20_000
    with smtps.client() as client:
        client.message(content)
    (path,) = smtps.content_files()
    stored = path.read_bytes()
    assert stored.endswith(content)
    (close,) = smtps.qmgr.of(CloseTransaction)
    assert (close.size_bytes, close.checksum) == (len(stored), zlib.crc32(stored))


def test_many_clients_at_once_are_all_served(smtps):
    def send(number):
        with smtps.client() as client:
            for _ in range(5):
                client.message(CONTENT)

    threads = [threading.Thread(target=send, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(smtps.content_files()) == 100


def test_a_refusal_of_the_commit_reaches_the_client_and_the_content_goes(smtps):
    smtps.qmgr.commit = lambda msg: Reply(452, "4.3.1", "Queue is full")
    with smtps.client() as client:
        client.message(CONTENT, "452 4.3.1 Queue is full")
        assert smtps.content_files() == []
        smtps.qmgr.commit = lambda msg: Reply(250)
        client.message(CONTENT)


def test_a_commit_in_doubt_is_451_and_the_content_stays(smtps):
    smtps.qmgr.commit = lambda msg: smtps.qmgr.drop()
    with smtps.client() as client:
        client.message(CONTENT, "451 4.3.0")
        assert len(smtps.content_files()) == 1
    smtps.wait_log("func=smtps.commit, .*the content stays")


def test_a_content_that_cannot_be_written_is_told_to_the_client_and_in_the_log(smtps):
    for place in (smtps.queue / "cdb").iterdir():
        place.rename(place.with_name(f"no-{place.name}"))
    with smtps.client() as client:
        client.message(CONTENT, "451 4.3.0")
    smtps.wait_log("sevr=ERROR, func=smtps.cdb, cdb_id=S.*No such file")
    smtps.wait_log("func=smtps.message_refused, .*reply=451")


def test_a_transaction_is_lost_with_the_connection_to_qmgr(smtps):
    with smtps.client() as client:
        envelope(client)
        smtps.qmgr.drop()
        smtps.wait_log(r"link_lost, component=qmgr.*connection lost")
        client.send(CONTENT + b".\r\n")
        client.expect("451 4.3.0")
    assert smtps.content_files() == []
    assert smtps.qmgr.of(CloseTransaction) == []


@pytest.fixture
def impatient(tmp_path):
    with NewSmtpsProcess(tmp_path, "wait_for_link = 1s;") as process:
        yield process


def test_without_qmgr_nobody_is_served_until_it_is_back(impatient):
    smtps = impatient
    smtps.qmgr.stop()
    smtps.wait_log(r"link_lost, component=qmgr.*connection lost")
    with smtps.client(hello=False) as client:
        client.expect("421 4.3.0")
    smtps.qmgr.start()
    wait_until(lambda: sum("smtps.qmgr" in line and "stat=connected" in line for line in smtps.log) == 2)
    with smtps.client() as client:
        client.message(CONTENT)


def test_without_smar_nobody_is_served(impatient):
    impatient.smar.stop()
    impatient.wait_log(r"link_lost, component=smar.*connection lost")
    with impatient.client(hello=False) as client:
        client.expect("421 4.3.0 Address resolver")


def test_nobody_is_accepted_before_qmgr_and_smar_have_been_there(tmp_path):
    smtps = NewSmtpsProcess(tmp_path)
    smtps.config.write_text(smtps.config.read_text().replace("wait_for_server = 10", "wait_for_server = 0"))
    try:
        smtps.start()  # it is ready all the same: mcp must not wait for ever
        with smtps.client(hello=False) as client:
            smtps.qmgr.start()
            smtps.wait_log(r"smtps\.qmgr.*connected")
            assert select.select([client.sock], [], [], 0.3)[0] == []
            smtps.smar.start()
            client.expect("220")
    finally:
        smtps.__exit__()


def test_sigterm_ends_a_process_that_still_waits_for_its_peers(tmp_path):
    smtps = NewSmtpsProcess(tmp_path)
    smtps.config.write_text(smtps.config.read_text().replace("wait_for_server = 10", "wait_for_server = 0"))
    smtps.start()
    assert smtps.end() == 0


@pytest.mark.parametrize("peer", ["qmgr", "smar"])
def test_a_new_client_waits_while_a_link_is_made_again(smtps, peer):
    server = getattr(smtps, peer)
    server.stop()
    smtps.wait_log(rf"component={peer}.*connection lost")
    with smtps.client(hello=False) as client:
        assert select.select([client.sock], [], [], 0.3)[0] == []
        server.start()
        client.expect("220")
        client.command("EHLO client.example", "250")
        client.message(CONTENT)


def test_a_client_that_waits_for_a_link_waits_on_when_the_process_ends_and_the_next_one_serves_it(tmp_path):
    """As mcp does it: the listening socket outlasts the process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for number in (1, 2):
            smtps = NewSmtpsProcess(tmp_path / str(number))
            text = smtps.config.read_text().replace("start_action = wait", 'start_action = pass; pass_fd_socket = "smtps/fds"')
            smtps.config.write_text(text)
            (smtps.queue / "smtps").mkdir(exist_ok=True)
            mcp = threading.Thread(target=pass_socket, args=(smtps.queue / "smtps/fds", listener))
            mcp.start()
            with smtps:
                mcp.join(WAIT_S)
                if number == 1:
                    smtps.smar.stop()
                    smtps.wait_log(r"link_lost, component=smar.*connection lost")
                    client = smtps.client(hello=False)
                    assert select.select([client.sock], [], [], 0.3)[0] == []
                else:
                    client.expect("220")
                    client.command("EHLO client.example", "250")
                    client.message(CONTENT)
                    client.close()


def test_each_outage_has_its_own_time(impatient):
    smtps = impatient
    for number in (1, 2, 3):
        smtps.smar.stop()
        wait_until(lambda number=number: sum("connection lost" in line for line in smtps.log) == number)
        client = smtps.client(hello=False)
        assert select.select([client.sock], [], [], 0.2)[0] == []
        smtps.smar.start()
        client.expect("220")
        client.close()


def test_a_client_survives_that_qmgr_goes_while_it_is_asked_about_it(smtps):
    real, dropped = smtps.qmgr._handler, []

    def drop_once(conn, request_id, msg):
        if isinstance(msg, NewSession) and not dropped:
            dropped.append(msg)
            smtps.qmgr.drop()
            return
        real(conn, request_id, msg)

    smtps.qmgr._handler = drop_once
    with smtps.client() as client:
        client.message(CONTENT)
    assert len(dropped) == 1


@pytest.mark.parametrize("back", ["before", "after"])
def test_a_client_that_was_greeted_before_qmgr_went_begins_its_message_with_the_next_one(smtps, back):
    with smtps.client() as client:
        smtps.wait_log("func=smtps.connect,")
        smtps.qmgr.stop()
        smtps.wait_log(r"link_lost, component=qmgr.*connection lost")
        if back == "after":
            client.send(b"MAIL FROM:<s@example.org>\r\n")
            assert select.select([client.sock], [], [], 0.3)[0] == []
        smtps.qmgr.start()
        if back == "before":
            wait_until(lambda: sum("smtps.qmgr" in line and "stat=connected" in line for line in smtps.log) == 2)
            client.send(b"MAIL FROM:<s@example.org>\r\n")
        client.expect("250 2.1.0")
        client.command("RSET", "250")
        client.message(CONTENT)
    assert len(smtps.qmgr.of(NewSession)) == 2


def test_recipients_wait_while_smar_starts_again(smtps):
    with smtps.client() as client:
        client.command("MAIL FROM:<s@example.org>", "250")
        smtps.smar.stop()
        smtps.wait_log(r"link_lost, component=smar.*connection lost")
        client.send(b"RCPT TO:<a@example.org>\r\nRCPT TO:<b@refused.example>\r\n")
        assert select.select([client.sock], [], [], 0.3)[0] == []
        smtps.smar.start()
        client.expect("250")
        client.expect("550")


def test_a_client_that_may_write_to_anybody_is_asked_about_once_a_connection(smtps):
    asked = []

    def rcpt(msg):
        asked.append(msg.rcpt)
        flags = 0 if msg.rcpt.startswith("first") else VerdictFlags.ANY_RCPT
        return Verdict(reply=Reply(250), flags=flags)

    smtps.smar.rcpt = rcpt
    for _ in (1, 2):
        with smtps.client() as client:
            client.command("MAIL FROM:<s@example.org>", "250")
            client.send(
                b"RCPT TO:<first@x.example>\r\nRCPT TO:<@>\r\nRCPT TO:<second@x.example>\r\nRCPT TO:<third@x.example>\r\n"
            )
            for code in ("250", "501", "250", "250"):
                client.expect(code)
            client.command("RCPT TO:<fourth@x.example>", "250")
    assert asked == ["first@x.example", "second@x.example", "third@x.example"]
    smtps.smar.stop()
    smtps.wait_log(r"link_lost, component=smar.*connection lost")
    smtps.smar.start()
    smtps.smar.rcpt = lambda msg: Verdict(reply=Reply(550, "5.7.1", "Relaying denied"))
    with smtps.client() as client:
        client.command("MAIL FROM:<s@example.org>", "250")
        client.command("RCPT TO:<fourth@x.example>", "550")


def test_a_question_is_asked_again_when_the_connection_breaks_over_it(smtps):
    real, dropped = smtps.smar.rcpt, []

    def drop_once(msg):
        if not dropped:
            dropped.append(msg)
            smtps.smar.drop()
            return None
        return real(msg)

    smtps.smar.rcpt = drop_once
    with smtps.client() as client:
        client.command("MAIL FROM:<s@example.org>", "250")
        client.command("RCPT TO:<r@example.org>", "250")
    assert len(dropped) == 1


def test_recipients_are_refused_for_now_when_smar_stays_away(impatient):
    with impatient.client() as client:
        client.command("MAIL FROM:<s@example.org>", "250")
        impatient.smar.stop()
        client.send(b"RCPT TO:<a@example.org>\r\n" * 20)
        for _ in range(20):
            client.expect("451 4.3.0")
        client.command("NOOP", "250")


def test_smar_that_goes_away_fails_the_open_question_only(smtps):
    smtps.smar.rcpt = lambda msg: smtps.smar.drop()
    with smtps.client() as client:
        client.command("MAIL FROM:<s@example.org>", "250")
        client.command("RCPT TO:<r@example.org>", "451 4.3.0")
        client.command("NOOP", "250")


def test_a_throttled_server_greets_nobody_with_the_reason(smtps):
    smtps.qmgr.send(Throttle(max_threads=0, text="Disk is full"))
    smtps.wait_log(r"smtps\.throttle.*limit=0")
    with smtps.client(hello=False) as client:
        client.expect("421 4.3.2 Disk is full")
    smtps.wait_log("func=smtps.connect_refused, .*client=127.0.0.1, reply=421, .*Disk is full")


@pytest.mark.parametrize("text", ["Disk is full", ""])
def test_a_session_that_is_open_hears_at_mail_that_the_server_is_throttled(smtps, text):
    with smtps.client() as client:
        smtps.qmgr.send(Throttle(max_threads=0, text=text))
        smtps.wait_log(r"smtps\.throttle.*limit=0")
        client.command("MAIL FROM:<s@example.org>", f"452 4.3.1 {text or 'Out of space; try again later'}")
        smtps.qmgr.send(Throttle(max_threads=9, text=""))
        smtps.wait_log(r"smtps\.throttle.*limit=9")
        client.message(CONTENT)


def test_content_that_finds_no_room_is_refused_for_now_and_leaves_nothing(smtps):
    pid, limit = smtps.process.pid, resource.RLIMIT_FSIZE
    hard = resource.prlimit(pid, limit)[1]
    with smtps.client() as client:
        for content in (CONTENT, CONTENT * 20_000):
            before = smtps.content_files()
            resource.prlimit(pid, limit, (1, hard))
            client.message(content, "452 4.3.1 Out of space")
            assert smtps.content_files() == before
            resource.prlimit(pid, limit, (hard, hard))
            client.message(content)


def test_a_client_that_vanishes_in_its_content_leaves_nothing(smtps):
    client = smtps.client()
    envelope(client)
    client.send(CONTENT * 20_000)
    client.close()
    smtps.qmgr.wait_for(CloseSession)
    assert smtps.content_files() == []
    assert len(smtps.qmgr.of(DiscardTransaction)) == len(smtps.qmgr.of(NewTransaction)) == 1


def test_sigterm_lets_the_open_transaction_end_and_takes_no_other(smtps):
    with smtps.client() as client, smtps.client() as idle:
        envelope(client)
        smtps.process.send_signal(signal.SIGTERM)
        idle.expect("421 4.3.2")
        client.send(CONTENT + b".\r\n")
        client.expect("250 2.0.0")
        client.expect("421 4.3.2")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", smtps.port), timeout=WAIT_S)
    assert smtps.process.wait(WAIT_S) == 0
    assert len(smtps.content_files()) == 1


def test_a_stop_waits_for_no_link_that_goes_away_with_it(smtps):
    """All processes are told to stop at the same time: SMAR does not come back to answer what it was asked."""
    with smtps.client() as client:
        client.command("MAIL FROM:<s@example.org>", "250")
        smtps.smar.stop()
        smtps.wait_log("func=smtps.link_lost, component=smar")
        client.send(b"RCPT TO:<r@example.org>\r\n")
        smtps.process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        client.expect("451 4.3")
        assert time.monotonic() - begun < 5, "wait_for_link is twice that"
        client.send(b"QUIT\r\n")
        client.expect("221")
    assert smtps.process.wait(WAIT_S) == 0


def test_the_end_of_mcp_ends_the_process(smtps):
    os.close(smtps.alive_fd)
    assert smtps.process.wait(WAIT_S) == 0
    smtps.wait_log("func=smtps.mcp, stat=mcp is gone")


@pytest.fixture
def with_file(tmp_path):
    with NewSmtpsProcess(tmp_path) as process:
        process.end()
        text = process.config.read_text()
        process.config.write_text(text.replace("smtps {", 'smtps { log { file = "smtps.log"; }', 1))
        process.wait_log = lambda pattern: None
        yield process


def test_the_log_goes_to_its_file_which_is_opened_again_on_sigusr1(with_file, tmp_path):
    log = tmp_path / "smtps.log"
    with contextlib.suppress(TypeError):  # start() takes the port from the log on standard error, which is empty
        with_file.start()
    wait_until(lambda: "smtps.listen" in log.read_text())
    log.rename(tmp_path / "smtps.log.0")
    with_file.process.send_signal(signal.SIGUSR1)
    wait_until(log.exists)
    with_file.end()
    assert "smtps.stop" in log.read_text()


def test_sockets_are_taken_from_mcp(tmp_path):
    process = NewSmtpsProcess(tmp_path)
    text = process.config.read_text().replace("start_action = wait", 'start_action = pass; pass_fd_socket = "smtps/fds"')
    process.config.write_text(text)
    (tmp_path / "smtps").mkdir(exist_ok=True)
    answers = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        mcp = threading.Thread(target=lambda: answers.append(pass_socket(tmp_path / "smtps/fds", listener)))
        mcp.start()
        with process:
            mcp.join(WAIT_S)
            assert answers == [FdTaken(status=0)]
            assert process.port == listener.getsockname()[1]
            with process.client() as client:
                client.message(CONTENT)


def listens(path):
    """Tells whether somebody listens at a path, which is a little later than it is there."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def pass_socket(path, listener):
    """Plays mcp: waits for the socket, hands the listener over, gives the answer."""
    wait_until(lambda: listens(path))
    peer = RcbPeer.connect(path, PROTOCOL)
    frame = codec.encode(PassFd(name="127.0.0.1:25", index=0, count=1), 1)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener.fileno()]))]
    peer.sock.sendmsg([frame], rights)
    answer = peer.receive()[1]
    peer.close()
    return answer


def test_a_wrong_index_is_refused_before_anything_is_opened(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "meta1g.smtps.main", "-f", str(tmp_path / "none"), "-i", "256"],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert ended.returncode == 64
    assert "index must be 0 to 255" in ended.stderr


def test_a_port_in_use_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = NewSmtpsProcess(tmp_path)
        port = taken.getsockname()[1]
        process.config.write_text(process.config.read_text().replace("port = 0", f"port = {port}"))
        ended = subprocess.run(
            [sys.executable, "-m", "meta1g.smtps.main", "-f", str(process.config)],
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
    assert ended.returncode == 71
    assert f"cannot listen on 127.0.0.1 port {port}: another program uses it" in ended.stderr
