"""Mail that cannot be delivered now waits, is visible, and goes out when the server is back; what never can is returned."""

import email
import smtplib

import pytest

from contrib.lib.gateway import Gateway, free_port, wait_until
from tests.system.conftest import KeepingSink, running

pytestmark = pytest.mark.system

HEADER = b"From: a@test.example\r\nSubject: test\r\n\r\n"
FAST_RETRY = {"qmgr": "min_retry_delay = 1s; max_retry_delay = 2s;"}


def send(gateway, rcpts, mail="sender@back.example", body=b"hello\r\n"):
    with smtplib.SMTP("127.0.0.1", gateway.port, timeout=30) as client:
        assert client.sendmail(mail, rcpts, HEADER + body) == {}


def test_mail_for_a_server_that_is_down_waits_and_is_delivered_when_it_is_back(tmp_path):
    port = free_port()
    gateway = Gateway(tmp_path / "gateway", f". {port}^[127.0.0.1]", dict(FAST_RETRY))
    with running(gateway):
        send(gateway, ["r@sink.example"])
        wait_until(lambda: gateway.leftovers().get("defedb") == 1, 30, "one recipient in DEFEDB")
        listing = gateway.run_tool("mailq", "-f", str(gateway.conf)).stdout
        assert "r@sink.example" in listing
        assert gateway.stop() == 0
        gateway.start()
        assert gateway.leftovers()["defedb"] == 1
        with KeepingSink(tmp_path / "maildir", listen=f"127.0.0.1:{port}") as sink:
            assert sink.wait_for(1)[0]["rcpts"] == ["r@sink.example"]
            gateway.wait_empty()
            assert len(sink.envelopes()) == 1


def test_a_recipient_that_is_refused_for_good_is_returned_to_the_sender(tmp_path):
    with KeepingSink(tmp_path / "maildir", "--reject", "nobody@") as sink:
        gateway = Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]", dict(FAST_RETRY))
        with running(gateway):
            send(gateway, ["nobody@sink.example", "somebody@sink.example"], body=b"secret text\r\n")
            envelopes = sink.wait_for(2)
            gateway.wait_empty()
    bounce = next(e for e in envelopes if e["mail"] == "")
    assert bounce["rcpts"] == ["sender@back.example"]
    message = email.message_from_bytes(sink.content(bounce))
    assert message.get_content_type() == "multipart/report"
    human, status, original = message.get_payload()
    assert "nobody@sink.example" in human.get_payload()
    fields = status.get_payload()[1]
    assert fields["Final-Recipient"] == "rfc822; nobody@sink.example"
    assert (fields["Action"], fields["Status"]) == ("failed", "5.1.1")
    assert "no such user here" in fields["Diagnostic-Code"]
    assert original.get_content_type() in ("text/rfc822-headers", "message/rfc822")
    assert "Subject: test" in original.as_string()
    assert {r for e in envelopes if e["mail"] for r in e["rcpts"]} == {"somebody@sink.example"}


def test_a_bounce_that_cannot_be_delivered_is_not_bounced_for_ever(tmp_path):
    with KeepingSink(tmp_path / "maildir", "--reject", "@") as sink:
        gateway = Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]", dict(FAST_RETRY))
        with running(gateway):
            send(gateway, ["nobody@sink.example"])
            gateway.wait_empty()
    assert sink.envelopes() == []


def notify_success(gateway):
    with smtplib.SMTP("127.0.0.1", gateway.port, timeout=30) as client:
        client.ehlo("test.example")
        assert client.mail("sender@back.example", ["RET=HDRS", "ENVID=QQ314159"])[0] == 250
        assert client.rcpt("r@sink.example", ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;R+2Bx@sink.example"])[0] == 250
        assert client.data(HEADER + b"hello\r\n")[0] == 250


def test_success_is_reported_as_relayed_when_the_server_sends_no_reports(tmp_path):
    with KeepingSink(tmp_path / "maildir") as sink:
        gateway = Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]")
        with running(gateway):
            notify_success(gateway)
            envelopes = sink.wait_for(2)
            gateway.wait_empty()
    report = next(e for e in envelopes if e["mail"] == "")
    assert report["rcpts"] == ["sender@back.example"]
    _, status, original = email.message_from_bytes(sink.content(report)).get_payload()
    whole, fields = status.get_payload()
    assert whole["Original-Envelope-Id"] == "QQ314159"
    assert (fields["Action"], fields["Status"]) == ("relayed", "2.0.0")
    assert fields["Original-Recipient"] == "rfc822; R+x@sink.example"
    assert original.get_content_type() == "text/rfc822-headers"


def test_success_is_left_to_a_server_that_knows_dsn(tmp_path):
    with KeepingSink(tmp_path / "maildir", "--extensions", "PIPELINING,DSN") as sink:
        gateway = Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]")
        with running(gateway):
            notify_success(gateway)
            sink.wait_for(1)
            gateway.wait_empty()
    assert [e["mail"] for e in sink.envelopes()] == ["sender@back.example"]
