"""Full means later, never lost and never a hang (invariant I4)."""

import contextlib
import smtplib
import socket
import threading

import pytest

from contrib.lib.gateway import Gateway, free_port, wait_until
from tests.system.conftest import FAST_RETRY, HEADER, KeepingSink, running, send
from tests.system.crash import Source, arrived_numbers

pytestmark = pytest.mark.system


def test_more_mail_than_the_active_queue_holds_waits_on_disk_and_arrives(tmp_path):
    port = free_port()
    options = {"qmgr": f"AQ_max_entries = 16; {FAST_RETRY}"}
    with running(Gateway(tmp_path / "gateway", f". {port}^[127.0.0.1]", options)) as gateway:
        for number in range(40):
            send(gateway, [f"r{number}-{one}@sink.example" for one in range(10)])
        assert gateway.control("status")["aq"] <= 16
        wait_until(lambda: gateway.leftovers()["defedb"] == 400, 30, "all in DEFEDB")
        with KeepingSink(tmp_path / "maildir", listen=f"127.0.0.1:{port}") as sink:
            gateway.wait_empty(90)
            came = [rcpt for envelope in sink.envelopes() for rcpt in envelope["rcpts"]]
    assert sorted(came) == sorted(f"r{number}-{one}@sink.example" for number in range(40) for one in range(10))


def test_clients_beyond_the_incoming_queue_are_told_to_come_back_and_all_mail_arrives(tmp_path, sink):
    options = {"qmgr": f"IQDB_max_entries = 16; {FAST_RETRY}"}
    with running(Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]", options)) as gateway:
        source = Source(gateway.port, 300)
        threads = source.start(30)
        try:
            wait_until(lambda: len(source.acknowledged) == 300, 90, f"{len(source.acknowledged)} acknowledged")
        finally:
            source.stop.set()
            for thread in threads:
                thread.join(30)
        gateway.wait_empty()
        assert "func=smtps.mail_refused" in gateway.log.read_text() or "func=smtps.connect_refused" in gateway.log.read_text()
    assert sorted(arrived_numbers(sink)) == list(range(1, 301))


def test_mail_is_refused_for_now_while_the_disk_is_nearly_full(tmp_path, sink):
    options = {"qmgr": "min_free_disk = 1000000GB; ok_free_disk = 1000001GB;"}
    gateway = Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]", options)
    gateway.setup()
    gateway.launch()
    try:
        wait_until(lambda: banner_of(gateway.port), 60, gateway.last_words())
        banner = banner_of(gateway.port)
        assert banner.startswith(b"421 4.3."), banner
        assert b"disk" in banner or b"Insufficient resources" in banner, banner
        assert any(used == 100 for used in gateway.control("usage").values())
    finally:
        assert gateway.stop() == 0


def banner_of(port: int) -> bytes:
    """What a client is greeted with, nothing if nobody listens yet."""
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 30) as client:
        return client.makefile("rb").readline()
    return b""


def test_one_client_gets_only_its_share_of_the_sessions(tmp_path, sink):
    options = {"qmgr": "smtps { max_connections = 3; }"}
    with (
        running(Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]", options)) as gateway,
        contextlib.ExitStack() as stack,
    ):
        wait_until(
            lambda: gateway.control("status")["iqdb_sessions"] == 0, 30, "the session that looked whether all run is over"
        )
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), 10)) for _ in range(4)]
        assert [_admitted(client) for client in clients] == [True] * 3 + [False]
        stack.close()
        wait_until(lambda: _served(gateway.port), 10, "a session again")
        send(gateway, ["r@sink.example"])
        gateway.wait_empty()


def _admitted(client: socket.socket) -> bool:
    """Tells whether MAIL is taken; a client that has its share is told 421, at the latest then."""
    with contextlib.suppress(ConnectionError), client.makefile("rb") as lines:
        for line in lines:
            if line.startswith(b"220 "):
                client.sendall(b"HELO client.example\r\nMAIL FROM:<>\r\n")
            elif line.startswith((b"421 4.7.0", b"250 2.1.0")):
                return line.startswith(b"250")
    raise AssertionError("the connection was closed without a word")


def _served(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        return _admitted(client)


def test_smtps_has_a_greatest_number_of_sessions(tmp_path, sink):
    options = {"smtps": "max_threads = 5;"}
    with running(Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]", options)) as gateway:
        source = Source(gateway.port, 100)
        threads = source.start(15)
        wait_until(lambda: len(source.acknowledged) == 100, 60, "all acknowledged")
        for thread in threads:
            thread.join(30)
        gateway.wait_empty()
    assert sorted(arrived_numbers(sink)) == list(range(1, 101))


def test_a_message_that_is_too_large_is_refused(tmp_path, sink):
    with running(Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]", {"smtps": "max_message_size = 20KB;"})) as gateway:
        with smtplib.SMTP("127.0.0.1", gateway.port, timeout=30) as client:
            client.ehlo("test.example")
            assert client.mail("a@test.example", ["SIZE=30000"])[0] == 552
            assert client.mail("a@test.example")[0] == 250
            assert client.rcpt("r@sink.example")[0] == 250
            assert client.data(HEADER + b"x" * 70 + b"\r\n" + (b"x" * 70 + b"\r\n") * 400)[0] == 552
            assert client.mail("a@test.example")[0] == 250
            assert client.rcpt("r@sink.example")[0] == 250
            assert client.data(HEADER + b"small\r\n")[0] == 250
        gateway.wait_empty()
    (envelope,) = sink.envelopes()
    assert sink.content(envelope).endswith(b"small\r\n")


def test_idle_and_slow_clients_do_not_hold_up_others(tmp_path, sink):
    with running(Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]")) as gateway, contextlib.ExitStack() as stack:
        for number in range(200):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), 10))
            if number % 2:
                client.sendall(
                    b"EHLO slow.example\r\nMAIL FROM:<s@slow.example>\r\nRCPT TO:<r@sink.example>\r\nDATA\r\nhalf a li"
                )
        done = threading.Event()

        def work() -> None:
            for number in range(20):
                send(gateway, [f"m{number}@sink.example"])
            done.set()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        assert done.wait(30)
        thread.join()
        sink.wait_for(20)
    assert len(sink.envelopes()) == 20
