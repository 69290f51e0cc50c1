"""Reports to senders: of delay, of final failure, as the sender asked for them (RFC 3461), and what an operator can do."""

import email
import smtplib
from collections.abc import Iterator
from email.message import Message

import pytest

from contrib.lib.gateway import Gateway, free_port, wait_until
from tests.system.conftest import FAST_RETRY, HEADER, KeepingSink, mailq, running, send

pytestmark = pytest.mark.system


@pytest.fixture
def back(tmp_path) -> Iterator[KeepingSink]:
    """The server of the senders; recipients that begin with no are refused."""
    made = KeepingSink(tmp_path / "back", "--reject", "^no", "--extensions", "PIPELINING,SIZE,8BITMIME")
    yield made
    made.stop()


def gateway_to(back: KeepingSink, directory, qmgr: str = FAST_RETRY, smtps: str = "", smtpc: str = "") -> Gateway:
    """A gateway whose server for down.example is down."""
    table = f"down.example {free_port()}^[127.0.0.1]\n. {back.port}^[127.0.0.1]"
    return Gateway(directory / "gateway", table, {"qmgr": qmgr, "smtps": smtps, "smtpc": smtpc})


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


def test_the_sender_is_warned_once_of_a_delay_and_then_told_of_the_failure(tmp_path, back):
    qmgr = f"{FAST_RETRY} delay_dsn_timeout = 2s; return_timeout = 8s;"
    with running(gateway_to(back, tmp_path, qmgr)) as gateway:
        send(gateway, ["r@down.example"], body=b"text of the message\r\n")
        wait_until(lambda: len(reports(back)) == 2, 40, f"two reports; {mailq(gateway)}")
        gateway.wait_empty()
    warning, bounce = reports(back)
    assert (fields_of(warning)["Action"], fields_of(bounce)["Action"]) == ("delayed", "failed")
    assert fields_of(warning)["Status"] == "4.4.1"
    assert fields_of(warning)["Will-Retry-Until"]
    assert fields_of(bounce)["Status"] == "5.4.7"
    assert "delivery time expired" in fields_of(bounce)["Diagnostic-Code"]
    for report in (warning, bounce):
        assert "Subject: test" in report.get_payload()[2].as_string()
        assert "text of the message" not in report.as_string()


def test_a_bounce_returns_the_whole_of_a_small_message_if_the_operator_wants_it(tmp_path, back):
    with running(gateway_to(back, tmp_path, f"{FAST_RETRY} dsn_flags = {{ dont_headers_only }};")) as gateway:
        send(gateway, ["no@back.example"], body=b"text of the message\r\n")
        back.wait_for(1)
        gateway.wait_empty()
    (bounce,) = reports(back)
    assert "text of the message" in bounce.get_payload()[2].as_string()


def test_a_sender_that_wants_no_report_gets_none(tmp_path, back):
    with running(gateway_to(back, tmp_path)) as gateway:
        rcpts = {"no1@back.example": ["NOTIFY=NEVER"], "no2@back.example": ["NOTIFY=DELAY"], "r@back.example": []}
        submit(gateway, rcpts, HEADER + b"hello\r\n")
        gateway.wait_empty()
    assert reports(back) == []
    assert [envelope["rcpts"] for envelope in back.envelopes()] == [["r@back.example"]]


def test_a_report_names_what_the_sender_gave_and_returns_what_it_asked_for(tmp_path, back):
    with running(gateway_to(back, tmp_path)) as gateway:
        rcpts = {"no@back.example": ["NOTIFY=FAILURE,DELAY", "ORCPT=rfc822;first+2Bname@old.example"]}
        submit(gateway, rcpts, HEADER + b"line of text\r\n", "RET=HDRS", "ENVID=my+2Bown")
        back.wait_for(1)
        submit(gateway, rcpts, HEADER + b"line of text\r\n" * 10_000, "RET=FULL")
        back.wait_for(2)
        gateway.wait_empty()
    header_only, full = reports(back)
    assert header_only.get_payload()[1].get_payload()[0]["Original-Envelope-Id"] == "my+own"
    assert fields_of(header_only)["Original-Recipient"] == "rfc822; first+name@old.example"
    assert "line of text" not in header_only.as_string()
    assert "Subject: test" in header_only.get_payload()[2].as_string()
    assert full.as_string().count("line of text") == 10_000


def test_success_is_reported_if_the_server_does_not_do_it_itself(tmp_path, back):
    with running(gateway_to(back, tmp_path)) as gateway:
        submit(gateway, {"r@back.example": ["NOTIFY=SUCCESS"]}, HEADER + b"hello\r\n")
        back.wait_for(2)
        gateway.wait_empty()
    (report,) = reports(back)
    assert fields_of(report)["Action"] == "relayed"
    assert fields_of(report)["Final-Recipient"] == "rfc822; r@back.example"


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
    gateway = gateway_to(back, tmp_path, smtps="max_hops = 12;", smtpc="flags = { talk_to_myself };")
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
