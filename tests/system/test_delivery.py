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

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("delivery")]

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
    """A gateway with its processes, a healthy server, and one server for each fault under the domain faultN.example."""

    gateway: Gateway
    pids: dict[str, list[int]]
    sink: KeepingSink
    servers: dict[str, ScriptedServer]

    def domain(self, fault: str) -> str:
        return f"fault{list(self.servers).index(fault)}.example"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("delivery")
    with ExitStack() as stack:
        servers = {fault: stack.enter_context(ScriptedServer(dict(replies))) for fault, replies in FAULTS.items()}
        sink = stack.enter_context(KeepingSink(directory / "maildir"))
        lines = [f"fault{number}.example {server.port}^[127.0.0.1]" for number, server in enumerate(servers.values())]
        table = "\n".join([*lines, f". {sink.port}^[127.0.0.1]"])
        gateway = Gateway(directory / "gateway", table, {"qmgr": FAST_RETRY, "smtpc": SHORT})
        stack.enter_context(running(gateway))
        made = Site(gateway, gateway.pids(), sink, servers)
        for fault in servers:
            send(gateway, [f"r@{made.domain(fault)}"], body=b"to be kept\r\n")
        yield made


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_misbehaves_costs_one_session_and_its_mail_waits(site, fault):
    gateway, rcpt, healthy = site.gateway, f"r@{site.domain(fault)}", f"{site.domain(fault)}@healthy.example"
    send(gateway, [healthy])
    wait_until(
        lambda: any(one["rcpts"] == [healthy] for one in site.sink.envelopes()), 60, f"{healthy}; {gateway.last_words()}"
    )
    wait_until(lambda: f"<{rcpt}>  next try in" in mailq(gateway), 60, f"{rcpt} deferred; {gateway.last_words()}")
    listing = mailq(gateway)
    status = listing[listing.index(f"<{rcpt}>") :].splitlines()[1].split()
    assert status[0][0] == "4", listing
    assert status[1][:2] == "4.", listing
    assert gateway.pids() == site.pids


def test_servers_get_their_mail_when_they_are_mended(site):
    kept = {fault: len(server.contents) for fault, server in site.servers.items()}
    for server in site.servers.values():
        server.replies.update(DEFAULT)
    for fault, server in site.servers.items():
        wait_until(lambda s=server, n=kept[fault]: len(s.contents) > n, 60, f"the message; {site.gateway.last_words()}")
        assert server.contents[-1].endswith(b"to be kept\r\n")
    site.gateway.wait_empty()
    assert site.gateway.pids() == site.pids


MANNERS: dict[str, Replies] = {
    "piped": {},
    "plain": {"EHLO": EHLO_PLAIN},
    "full": {"dot": "250 2.0.0 kept\r\n552 5.2.2 mailbox is full\r\n250 2.0.0 kept\r\n"},
    "later": {"dot": ["250 2.0.0 kept\r\n452 4.2.2 mailbox is full\r\n", "250 2.0.0 kept\r\n"]},
    "spam": {"dot": "554 5.7.1 looks like spam\r\n"},
    "none": {"banner": "554 5.3.2 no mail service here\r\n"},
    "small": {"EHLO": "250-fake\r\n250 SIZE 1000\r\n"},
    "broken": {"EHLO": EHLO_PLAIN},
}
LMTP = ("full", "later")


class Patient:
    """A gateway whose time-outs nobody waits for, one server for each of MANNERS under its name, and one for all else."""

    def __init__(self, gateway: Gateway, back: KeepingSink, servers: dict[str, ScriptedServer]) -> None:
        self.gateway = gateway
        self.back = back
        self.servers = servers

    def send(self, name: str, *locals_: str, body: bytes = b"hello\r\n") -> None:
        """Sends a message to recipients of a server; what is returned comes back under the name of the server."""
        send(self.gateway, [f"{one}@{name}.example" for one in locals_], mail=f"{name}@back.example", body=body)

    def returned(self, name: str) -> list[dict]:
        return [envelope for envelope in self.back.envelopes() if envelope["rcpts"] == [f"{name}@back.example"]]

    def failed_rcpts(self, name: str) -> dict[str, str]:
        """Waits for the bounce and gives recipients and statuses of its report."""
        wait_until(lambda: self.returned(name), 60, f"a report; {self.gateway.last_words()}")
        self.gateway.wait_empty()
        (envelope,) = self.returned(name)
        assert envelope["mail"] == ""
        report = email.message_from_bytes(self.back.content(envelope)).get_payload()[1]
        return {fields["Final-Recipient"].partition("; ")[2]: fields["Status"] for fields in report.get_payload()[1:]}


@pytest.fixture(scope="module")
def patient(tmp_path_factory) -> Iterator[Patient]:
    directory = tmp_path_factory.mktemp("patient")
    with ExitStack() as stack:
        servers = {name: stack.enter_context(ScriptedServer(dict(replies))) for name, replies in MANNERS.items()}
        back = stack.enter_context(KeepingSink(directory / "back"))
        lines = [
            f"{name}.example {'lmtp:' if name in LMTP else ''}{server.port}^[127.0.0.1]" for name, server in servers.items()
        ]
        table = "\n".join([*lines, f". {back.port}^[127.0.0.1]"])
        gateway = stack.enter_context(running(Gateway(directory / "gateway", table, {"qmgr": FAST_RETRY})))
        yield Patient(gateway, back, servers)


def test_sessions_are_used_again_by_one_message_after_the_other(patient):
    came: list[dict] = []
    for number in range(10):
        patient.send("anywhere", f"r{number}")
        patient.gateway.wait_empty()
        came = [one for one in patient.back.envelopes() if one["rcpts"][0].endswith("@anywhere.example")]
        assert len(came) == number + 1
    assert len({envelope["peer"] for envelope in came}) == 1


@pytest.mark.parametrize("name", ["piped", "plain"])
def test_commands_leave_together_only_if_the_server_knows_pipelining(patient, name):
    patient.send(name, "r", "s")
    patient.gateway.wait_empty()
    (seen,) = patient.servers[name].connections
    groups = [group for group in seen.groups if b"MAIL" in group or b"RCPT" in group or b"DATA\r\n" in group]
    assert [line.split(":")[0] for line in seen.commands[1:5]] == ["MAIL FROM", "RCPT TO", "RCPT TO", "DATA"]
    assert [group.count(b"\r\n") for group in groups] == ([4] if name == "piped" else [1, 1, 1, 1])


def rcpts_of(server: ScriptedServer) -> list[str]:
    """The RCPT commands that came to a server."""
    return [line for seen in server.connections for line in seen.commands if line.startswith("RCPT")]


def test_lmtp_replies_count_for_their_recipients_only(patient):
    patient.send("full", "first", "second", "third")
    found = patient.failed_rcpts("full")
    server = patient.servers["full"]
    refused = rcpts_of(server)[1].partition("<")[2].partition(">")[0]
    assert found == {refused: "5.2.2"}
    assert len(server.contents) == 1


def test_lmtp_recipients_that_have_to_wait_are_tried_again_alone(patient):
    server = patient.servers["later"]
    patient.send("later", "one", "two")
    wait_until(lambda: len(server.contents) == 2, 60, "the second attempt")
    patient.gateway.wait_empty()
    rcpts = rcpts_of(server)
    assert len(rcpts) == 3
    assert rcpts[2] == rcpts[1]
    assert patient.returned("later") == []


def test_a_message_refused_after_the_dot_is_returned(patient):
    patient.send("spam", "one", "two")
    assert patient.failed_rcpts("spam") == {"one@spam.example": "5.7.1", "two@spam.example": "5.7.1"}
    assert len(patient.servers["spam"].contents) == 1


def test_mail_for_a_server_that_greets_with_554_is_returned(patient):
    patient.send("none", "one")
    assert patient.failed_rcpts("none") == {"one@none.example": "5.3.2"}


def test_a_message_that_is_too_large_for_the_server_is_returned_without_being_sent(patient):
    patient.send("small", "one", body=b"x" * 998 + b"\r\n")
    assert patient.failed_rcpts("small") == {"one@small.example": "5.3.4"}
    (seen,) = patient.servers["small"].connections
    assert not any(line.startswith("MAIL") for line in seen.commands)


def test_a_server_that_breaks_off_in_the_middle_of_the_content_gets_it_whole_later(patient):
    body = (b"0123456789" * 7 + b"\r\n") * 12_000
    broken: list[int] = []
    server = patient.servers["broken"]

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

    server._on_connection = break_off
    patient.send("broken", "r", body=body)
    wait_until(lambda: server.contents, 60, f"the message; {patient.gateway.last_words()}")
    patient.gateway.wait_empty()
    assert broken == [10_000]
    (content,) = server.contents
    assert content.endswith(body)
