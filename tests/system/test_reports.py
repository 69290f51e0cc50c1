"""Reports to senders beside those of test_report_situations.py, and what an operator can do."""

import email
import smtplib
from collections.abc import Iterator
from email.message import Message

import pytest

from contrib.lib.gateway import Gateway, free_port, wait_until
from tests.system.conftest import FAST_RETRY, HEADER, KeepingSink, running, send

pytestmark = pytest.mark.system


@pytest.fixture
def back(tmp_path) -> Iterator[KeepingSink]:
    """The server of the senders; recipients that begin with no are refused."""
    made = KeepingSink(tmp_path / "back", "--reject", "^no", "--extensions", "PIPELINING,SIZE,8BITMIME")
    yield made
    made.stop()


def gateway_to(back: KeepingSink, directory, qmgr: str = FAST_RETRY, smtps: str = "") -> Gateway:
    """A gateway whose server for down.example is down."""
    table = f"down.example {free_port()}^[127.0.0.1]\n. {back.port}^[127.0.0.1]"
    return Gateway(directory / "gateway", table, {"qmgr": qmgr, "smtps": smtps})


def submit(gateway: Gateway, rcpts: dict[str, list[str]], content: bytes, *mail_options: str) -> None:
    """Sends a message with parameters of MAIL and of each RCPT."""
    with smtplib.SMTP("127.0.0.1", gateway.port, timeout=60) as client:
        client.ehlo("test.example")
        assert client.mail("sender@back.example", list(mail_options))[0] == 250
        for rcpt, options in rcpts.items():
            assert client.rcpt(rcpt, options)[0] == 250
        assert client.data(content)[0] == 250


def reports(back: KeepingSink) -> list[Message]:
    return [email.message_from_bytes(back.content(envelope)) for envelope in back.envelopes() if envelope["mail"] == ""]


def fields_of(report: Message) -> Message:
    """The fields of the first recipient."""
    return report.get_payload()[1].get_payload()[1]


def test_a_sender_that_wants_no_report_gets_none(tmp_path, back):
    with running(gateway_to(back, tmp_path)) as gateway:
        rcpts = {"no1@back.example": ["NOTIFY=NEVER"], "no2@back.example": ["NOTIFY=DELAY"], "r@back.example": []}
        submit(gateway, rcpts, HEADER + b"hello\r\n")
        gateway.wait_empty()
    assert reports(back) == []
    assert [envelope["rcpts"] for envelope in back.envelopes()] == [["r@back.example"]]


def test_eight_bit_mail_for_a_server_that_does_not_take_it_is_returned(tmp_path, back):
    old = KeepingSink(tmp_path / "old", "--extensions", "SIZE")
    table = f"old.example {old.port}^[127.0.0.1]\n. {back.port}^[127.0.0.1]"
    try:
        with running(Gateway(tmp_path / "gateway", table)) as gateway:
            submit(gateway, {"r@old.example": []}, HEADER + "Grüße\r\n".encode(), "BODY=8BITMIME", "RET=FULL")
            back.wait_for(1)
            submit(gateway, {"r@old.example": []}, HEADER + b"plain\r\n", "BODY=8BITMIME")
            old.wait_for(1)
            gateway.wait_empty()
        assert old.content(old.envelopes()[0]).endswith(b"plain\r\n")
    finally:
        old.stop()
    (report,) = reports(back)
    assert fields_of(report)["Status"] == "5.6.3"
    assert "Grüße".encode() in back.content(back.envelopes()[0])


def test_a_loop_ends_with_a_report(tmp_path, back):
    gateway = gateway_to(back, tmp_path, smtps="max_hops = 12;")
    gateway.port = free_port()
    gateway.mailertable += f"\nloop.example {gateway.port}^[127.0.0.1]"
    with running(gateway):
        send(gateway, ["r@loop.example"])
        back.wait_for(1)
        gateway.wait_empty()
        assert gateway.log.read_text().count("func=qmgr.accept") == 13  # 12 hops, and the start
    (report,) = reports(back)
    assert fields_of(report)["Status"] == "5.4.6"


def test_an_operator_lets_waiting_mail_be_tried_at_once(tmp_path, back):
    port = free_port()
    gateway = Gateway(tmp_path / "gateway", f"down.example {port}^[127.0.0.1]\n. {back.port}^[127.0.0.1]")
    with running(gateway):
        send(gateway, ["r@down.example", "s@down.example"])
        wait_until(lambda: gateway.leftovers()["defedb"] == 2, 30, "both deferred")
        sink = KeepingSink(tmp_path / "maildir", listen=f"127.0.0.1:{port}")
        try:
            assert gateway.control("retry", "down.example") == {"retried": 2}
            assert sink.wait_for_rcpts(2) == ["r@down.example", "s@down.example"]
            gateway.wait_empty()
        finally:
            sink.stop()


def test_an_operator_removes_waiting_mail(tmp_path, back):
    with running(gateway_to(back, tmp_path)) as gateway:
        send(gateway, ["r@down.example"])
        wait_until(lambda: gateway.leftovers()["defedb"] == 1, 30, "deferred")
        (path,) = gateway.content_files()
        wait_until(lambda: _removes(gateway, path.name), 30, "removed")
        gateway.wait_empty()
    assert back.envelopes() == []


def _removes(gateway: Gateway, ta_id: str) -> bool:
    """Removes a transaction; tells whether it was not just on its way."""
    gateway.run_tool("qmgrctl", "-f", str(gateway.conf), "remove", ta_id, check=False)
    return not any(gateway.leftovers().values())
