"""Reports to senders beside those of test_report_situations.py, and what an operator can do."""

import contextlib
import email
import smtplib
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from contrib.lib.gateway import Gateway, free_port, wait_until
from tests.system.conftest import FAST_RETRY, HEADER, KeepingSink, mailq, running, send

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("reports")]


class Site:
    """A gateway and the server of the senders, which refuses recipients that begin with no; down.example is down.

    Each test sends under a name of its own, NAME@back.example; so reports to it are found.
    """

    def __init__(self, gateway: Gateway, back: KeepingSink, old: KeepingSink) -> None:
        self.gateway = gateway
        self.back = back
        self.old = old  # the server for old.example, which knows no 8BITMIME

    def submit(self, name: str, rcpts: dict[str, list[str]], content: bytes, *mail_options: str) -> None:
        """Sends a message with parameters of MAIL and of each RCPT."""
        with smtplib.SMTP("127.0.0.1", self.gateway.port, timeout=60) as client:
            client.ehlo("test.example")
            assert client.mail(f"{name}@back.example", list(mail_options))[0] == 250
            for rcpt, options in rcpts.items():
                assert client.rcpt(rcpt, options)[0] == 250
            assert client.data(content)[0] == 250

    def returned(self, name: str) -> list[bytes]:
        """The reports to a sender."""
        rcpts = [f"{name}@back.example"]
        return [self.back.content(one) for one in self.back.envelopes() if one["mail"] == "" and one["rcpts"] == rcpts]

    def reports(self, name: str, count: int = 1) -> list[Message]:
        """Waits for reports to a sender, and until nothing is left; gives all there are."""
        wait_until(lambda: len(self.returned(name)) >= count, 60, f"{count} reports; {mailq(self.gateway)}")
        self.gateway.wait_empty()
        return [email.message_from_bytes(content) for content in self.returned(name)]


@contextlib.contextmanager
def site_in(directory: Path, qmgr: str = FAST_RETRY) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        answers = ("--reject", "^no", "--extensions", "PIPELINING,SIZE,8BITMIME")
        back = stack.enter_context(KeepingSink(directory / "back", *answers))
        old = stack.enter_context(KeepingSink(directory / "old", "--extensions", "SIZE"))
        port = free_port()
        domains = {"down": free_port(), "loop": port, "old": old.port}
        lines = [f"{name}.example {number}^[127.0.0.1]" for name, number in domains.items()]
        table = "\n".join([*lines, f". {back.port}^[127.0.0.1]"])
        options = {"qmgr": qmgr, "smtps": "max_hops = 12;", "smtpc": "flags = { talk_to_myself };"}
        gateway = Gateway(directory / "gateway", table, options, port=port)
        yield Site(stack.enter_context(running(gateway)), back, old)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    with site_in(tmp_path_factory.mktemp("reports")) as made:
        yield made


def fields_of(report: Message) -> Message:
    """The fields of the first recipient."""
    return report.get_payload()[1].get_payload()[1]


def test_a_sender_that_wants_no_report_gets_none(site):
    rcpts = {"no1@back.example": ["NOTIFY=NEVER"], "no2@back.example": ["NOTIFY=DELAY"], "yes@back.example": []}
    site.submit("silence", rcpts, HEADER + b"hello\r\n")
    site.gateway.wait_empty()
    assert site.returned("silence") == []
    assert [one["rcpts"] for one in site.back.envelopes() if one["mail"] == "silence@back.example"] == [["yes@back.example"]]


def test_a_report_names_what_the_sender_gave_and_returns_what_it_asked_for(site):
    rcpts = {"no@back.example": ["NOTIFY=FAILURE,DELAY", "ORCPT=rfc822;first+2Bname@old.example"]}
    site.submit("header", rcpts, HEADER + b"line of text\r\n", "RET=HDRS", "ENVID=my+2Bown")
    site.submit("full", rcpts, HEADER + b"line of text\r\n" * 10_000, "RET=FULL")
    (header_only,), (full,) = site.reports("header"), site.reports("full")
    assert header_only.get_payload()[1].get_payload()[0]["Original-Envelope-Id"] == "my+own"
    assert fields_of(header_only)["Original-Recipient"] == "rfc822; first+name@old.example"
    assert "line of text" not in header_only.as_string()
    assert "Subject: test" in header_only.get_payload()[2].as_string()
    assert full.as_string().count("line of text") == 10_000


def test_success_is_reported_if_the_server_does_not_do_it_itself(site):
    site.submit("success", {"r@back.example": ["NOTIFY=SUCCESS"]}, HEADER + b"hello\r\n")
    (report,) = site.reports("success")
    assert fields_of(report)["Action"] == "relayed"
    assert fields_of(report)["Final-Recipient"] == "rfc822; r@back.example"


def test_eight_bit_mail_for_a_server_that_does_not_take_it_is_returned(site):
    site.submit("eight", {"r@old.example": []}, HEADER + "Grüße\r\n".encode(), "BODY=8BITMIME", "RET=FULL")
    site.submit("seven", {"r@old.example": []}, HEADER + b"plain\r\n", "BODY=8BITMIME")
    (report,) = site.reports("eight")
    assert fields_of(report)["Status"] == "5.6.3"
    (content,) = site.returned("eight")
    assert "Grüße".encode() in content
    assert [site.old.content(one).endswith(b"plain\r\n") for one in site.old.envelopes()] == [True]


def test_a_loop_ends_with_a_report(site):
    before = site.gateway.log.read_text().count("func=qmgr.accept")
    site.submit("loop", {"r@loop.example": []}, HEADER + b"hello\r\n")
    (report,) = site.reports("loop")
    assert site.gateway.log.read_text().count("func=qmgr.accept") == before + 13  # 12 hops, and the start
    assert fields_of(report)["Status"] == "5.4.6"


@pytest.mark.xdist_group("reports-retry")
def test_an_operator_lets_waiting_mail_be_tried_at_once(tmp_path):
    port = free_port()
    gateway = Gateway(tmp_path / "gateway", f"down.example {port}^[127.0.0.1]\n. [127.0.0.1]")
    with running(gateway):
        send(gateway, ["r@down.example", "s@down.example"])
        wait_until(lambda: gateway.leftovers()["defedb"] == 2, 60, "both deferred")
        with KeepingSink(tmp_path / "maildir", listen=f"127.0.0.1:{port}") as sink:
            assert gateway.control("retry", "down.example") == {"retried": 2}
            assert sink.wait_for_rcpts(2) == ["r@down.example", "s@down.example"]
            gateway.wait_empty()


def test_an_operator_removes_waiting_mail(site):
    site.submit("removed", {"r@down.example": []}, HEADER + b"hello\r\n")
    wait_until(lambda: site.gateway.leftovers()["defedb"] == 1, 60, "deferred")
    (path,) = site.gateway.content_files()
    wait_until(lambda: _removes(site.gateway, path.name), 60, "removed")
    site.gateway.wait_empty()
    assert site.returned("removed") == []


def _removes(gateway: Gateway, ta_id: str) -> bool:
    """Removes a transaction; tells whether it was not just on its way."""
    gateway.run_tool("qmgrctl", "-f", str(gateway.conf), "remove", ta_id, check=False)
    return not any(gateway.leftovers().values())
