"""What servers do well is used, what they do wrong costs one session: sessions, pipelining, replies, broken connections."""

import email
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from contrib.lib.gateway import Gateway, wait_until
from tests.fakes.smtp_server import DEFAULT, Replies, ScriptedServer
from tests.system.conftest import FAST_RETRY, KeepingSink, mailq, running, send

pytestmark = pytest.mark.system

SHORT = " ".join(f"{step}_timeout = 1s;" for step in ("connect", "greeting", "command", "data", "block", "dot"))
EHLO_PLAIN = "250-fake\r\n250 SIZE 1000000\r\n"

FAULTS: dict[str, Replies] = {
    "closes instead of a greeting": {"banner": None},
    "greets with 421": {"banner": "421 4.3.2 busy\r\n"},
    "greets with garbage": {"banner": "\x00\xff\xfe garbage\r\n"},
    "greets with a line without end": {"banner": "220-" + "x" * 3_000_000},
    "greets with lines without end": {"banner": "220-more\r\n" * 100_000},
    "never greets": {"banner": ""},
    "never answers EHLO": {"EHLO": ""},
    "answers EHLO with garbage": {"EHLO": "\x16\x03\x01\x02\r\n"},
    "answers MAIL in words": {"MAIL": "what do you want?\r\n"},
    "never answers MAIL": {"MAIL": ""},
    "answers MAIL with 421": {"MAIL": "421 4.3.2 closing\r\n"},
    "closes after RCPT": {"RCPT": None},
    "answers RCPT with 354": {"RCPT": "354 go ahead\r\n"},
    "answers RCPT with 450": {"RCPT": "450 4.2.1 later\r\n"},
    "never answers DATA": {"DATA": ""},
    "answers DATA with 250": {"DATA": "250 2.0.0 fine\r\n"},
    "closes after DATA": {"DATA": None},
    "never answers the dot": {"dot": ""},
    "closes after the dot": {"dot": None},
    "answers the dot with 452": {"dot": "452 4.3.1 disk is full\r\n"},
    "answers the dot with garbage": {"dot": "\x01\x02\r\n"},
}


@dataclass(frozen=True)
class Site:
    """A gateway, a healthy server, and one server for each fault under the domain faultN.example."""

    gateway: Gateway
    sink: KeepingSink
    servers: dict[str, ScriptedServer]

    def domain(self, fault: str) -> str:
        return f"fault{list(self.servers).index(fault)}.example"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("delivery")
    with ExitStack() as stack:
        servers = {fault: stack.enter_context(ScriptedServer(dict(replies))) for fault, replies in FAULTS.items()}
        sink = KeepingSink(directory / "maildir")
        stack.callback(sink.stop)
        lines = [f"fault{number}.example {server.port}^[127.0.0.1]" for number, server in enumerate(servers.values())]
        table = "\n".join([*lines, f". {sink.port}^[127.0.0.1]"])
        gateway = Gateway(directory / "gateway", table, {"qmgr": FAST_RETRY, "smtpc": SHORT})
        yield Site(stack.enter_context(running(gateway)), sink, servers)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_misbehaves_costs_one_session_and_gets_its_mail_when_it_is_mended(site, fault):
    server, gateway, rcpt = site.servers[fault], site.gateway, f"r@{site.domain(fault)}"
    before, pids = len(site.sink.envelopes()), gateway.pids()
    send(gateway, [rcpt], body=b"to be kept\r\n")
    send(gateway, [f"r{before}@healthy.example"])
    assert site.sink.wait_for(before + 1)[before]["rcpts"] == [f"r{before}@healthy.example"]
    wait_until(lambda: f"<{rcpt}>  next try in" in mailq(gateway), 30, f"{rcpt} deferred; {gateway.last_words()}")
    listing = mailq(gateway)
    status = listing[listing.index(f"<{rcpt}>") :].splitlines()[1].split()
    assert status[0][0] == "4", listing
    assert status[1][:2] == "4.", listing
    server.replies.update(DEFAULT)
    kept = len(server.contents)
    wait_until(lambda: len(server.contents) > kept, 30, f"the message; {gateway.last_words()}")
    gateway.wait_empty()
    assert server.contents[-1].endswith(b"to be kept\r\n")
    assert gateway.pids() == pids


def test_sessions_are_used_again_by_one_message_after_the_other(gateway, sink):
    for number in range(10):
        send(gateway, [f"r{number}@sink.example"])
        sink.wait_for(number + 1)
        gateway.wait_empty()
    assert len({envelope["peer"] for envelope in sink.envelopes()}) == 1


@pytest.mark.parametrize("pipelining", [True, False])
def test_commands_leave_together_only_if_the_server_knows_pipelining(tmp_path, pipelining):
    with ScriptedServer({} if pipelining else {"EHLO": EHLO_PLAIN}) as server:
        with running(Gateway(tmp_path / "gateway", f". {server.port}^[127.0.0.1]")) as gateway:
            send(gateway, ["r@sink.example", "s@sink.example"])
            gateway.wait_empty()
        (seen,) = server.connections
    groups = [group for group in seen.groups if b"MAIL" in group or b"RCPT" in group or b"DATA\r\n" in group]
    assert [line.split(":")[0] for line in seen.commands[1:5]] == ["MAIL FROM", "RCPT TO", "RCPT TO", "DATA"]
    assert [group.count(b"\r\n") for group in groups] == ([4] if pipelining else [1, 1, 1, 1])


@pytest.fixture
def back(tmp_path) -> Iterator[KeepingSink]:
    """The server that bounces go to."""
    made = KeepingSink(tmp_path / "back")
    yield made
    made.stop()


def failed_rcpts(back: KeepingSink) -> dict[str, str]:
    """Waits for the bounce and gives recipients and statuses of its report."""
    (envelope,) = back.wait_for(1)
    assert (envelope["mail"], envelope["rcpts"]) == ("", ["sender@back.example"])
    report = email.message_from_bytes(back.content(envelope)).get_payload()[1]
    return {fields["Final-Recipient"].partition("; ")[2]: fields["Status"] for fields in report.get_payload()[1:]}


def test_lmtp_replies_count_for_their_recipients_only(tmp_path, back):
    with ScriptedServer({"dot": "250 2.0.0 kept\r\n552 5.2.2 mailbox is full\r\n250 2.0.0 kept\r\n"}) as server:
        table = f"local.example lmtp:{server.port}^[127.0.0.1]\n. {back.port}^[127.0.0.1]"
        with running(Gateway(tmp_path / "gateway", table, {"qmgr": FAST_RETRY})) as gateway:
            send(gateway, [f"{name}@local.example" for name in ("first", "full", "third")])
            found = failed_rcpts(back)
            gateway.wait_empty()
        (seen,) = server.connections
        refused = [line for line in seen.commands if line.startswith("RCPT")][1].partition("<")[2].partition(">")[0]
    assert found == {refused: "5.2.2"}
    assert len(server.contents) == 1


def test_lmtp_recipients_that_have_to_wait_are_tried_again_alone(tmp_path, back):
    with ScriptedServer({"dot": ["250 2.0.0 kept\r\n452 4.2.2 mailbox is full\r\n", "250 2.0.0 kept\r\n"]}) as server:
        table = f"local.example lmtp:{server.port}^[127.0.0.1]\n. {back.port}^[127.0.0.1]"
        with running(Gateway(tmp_path / "gateway", table, {"qmgr": FAST_RETRY})) as gateway:
            send(gateway, ["one@local.example", "two@local.example"])
            wait_until(lambda: len(server.contents) == 2, 30, "the second attempt")
            gateway.wait_empty()
        rcpts = [line for seen in server.connections for line in seen.commands if line.startswith("RCPT")]
    assert len(rcpts) == 3
    assert rcpts[2] == rcpts[1]
    assert back.envelopes() == []


def test_a_message_refused_after_the_dot_is_returned(tmp_path, back):
    with ScriptedServer({"dot": "554 5.7.1 looks like spam\r\n"}) as server:
        table = f"far.example {server.port}^[127.0.0.1]\n. {back.port}^[127.0.0.1]"
        with running(Gateway(tmp_path / "gateway", table, {"qmgr": FAST_RETRY})) as gateway:
            send(gateway, ["one@far.example", "two@far.example"])
            found = failed_rcpts(back)
            gateway.wait_empty()
        assert len(server.contents) == 1
    assert found == {"one@far.example": "5.7.1", "two@far.example": "5.7.1"}


def test_mail_for_a_server_that_greets_with_554_is_returned(tmp_path, back):
    with ScriptedServer({"banner": "554 5.3.2 no mail service here\r\n"}) as server:
        table = f"far.example {server.port}^[127.0.0.1]\n. {back.port}^[127.0.0.1]"
        with running(Gateway(tmp_path / "gateway", table)) as gateway:
            send(gateway, ["one@far.example"])
            assert failed_rcpts(back) == {"one@far.example": "5.3.2"}
            gateway.wait_empty()


def test_a_message_that_is_too_large_for_the_server_is_returned_without_being_sent(tmp_path, back):
    with ScriptedServer({"EHLO": "250-fake\r\n250 SIZE 1000\r\n"}) as server:
        table = f"far.example {server.port}^[127.0.0.1]\n. {back.port}^[127.0.0.1]"
        with running(Gateway(tmp_path / "gateway", table)) as gateway:
            send(gateway, ["one@far.example"], body=b"x" * 998 + b"\r\n")
            assert failed_rcpts(back) == {"one@far.example": "5.3.4"}
            gateway.wait_empty()
        (seen,) = server.connections
    assert not any(line.startswith("MAIL") for line in seen.commands)


def test_a_server_that_breaks_off_in_the_middle_of_the_content_gets_it_whole_later(tmp_path):
    body = (b"0123456789" * 7 + b"\r\n") * 12_000
    broken = []

    def break_off(conn: socket.socket) -> None:
        """Reads the beginning of the content, then closes with a reset."""
        conn.sendall(b"220 fake\r\n")
        with conn.makefile("rb") as lines:
            for reply in (EHLO_PLAIN.encode(), b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
                lines.readline()
                conn.sendall(reply)
            broken.append(len(lines.read(10_000)))
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        server._on_connection = None

    with ScriptedServer({}, break_off) as server:
        table = f". {server.port}^[127.0.0.1]"
        with running(Gateway(tmp_path / "gateway", table, {"qmgr": FAST_RETRY, "smtpc": SHORT})) as gateway:
            send(gateway, ["r@far.example"], body=body)
            wait_until(lambda: server.contents, 30, f"the message; {gateway.last_words()}")
            gateway.wait_empty()
    assert broken == [10_000]
    (content,) = server.contents
    assert content.endswith(body)
