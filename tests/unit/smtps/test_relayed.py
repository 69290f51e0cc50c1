"""XCLIENT and XFORWARD: what becomes of the checks, the counts, the header and the log; with swaks, and by hand."""

import socket
import subprocess

import pytest

from meta1g.base.reply import Reply
from meta1g.rcb.smtps_qmgr import CloseSession, NewSession
from meta1g.rcb.smtps_smar import CheckClient, CheckRcpt, Checks, ClientVerdict, LookupFlags, VerdictFlags
from tests.fakes.smtps_process import SmtpsProcess


@pytest.fixture(scope="module")
def smtps(tmp_path_factory):
    options = "xclient_from = { 127.0.0.1 }; xforward_from = { 127.0.0.1 };"
    with SmtpsProcess(tmp_path_factory.mktemp("x"), options, checks=Checks.RCPT | Checks.CLIENT) as process:
        yield process


def by_address(msg):
    """Lets the neighbour relay, refuses one client, puts one off."""
    if msg.client_addr == "127.0.0.1":
        return ClientVerdict(reply=Reply(220), flags=VerdictFlags.RELAY, session_conf="max_recipients = 1;")
    codes = {"192.0.2.66": Reply(550, "5.7.1", "No"), "192.0.2.67": Reply(421, "4.7.0", "Later")}
    return ClientVerdict(reply=codes.get(msg.client_addr, Reply(220)), client_name="by-dns.example")


@pytest.fixture(autouse=True)
def checked(smtps):
    smtps.smar.client = by_address
    smtps.qmgr.messages.clear()
    smtps.smar.messages.clear()


def newest(smtps):
    return max(smtps.content_files(), key=lambda path: path.name)


def test_the_session_begins_anew_for_all_who_ask_about_it(smtps):
    with smtps.client() as client:
        client.command("XCLIENT ADDR=192.0.2.9 PORT=4711", "220 ")
        client.command("EHLO client.example", "250-mx.example greets by-dns.example [192.0.2.9]")
        client.message(b"Subject: x\r\n\r\n", rcpts=("a@example.org", "b@example.org"))
    sessions = [msg for msg in smtps.qmgr.messages if isinstance(msg, NewSession | CloseSession)]
    first, closed, second = sessions[:3]
    assert (first.client_addr, second.client_addr) == ("127.0.0.1", "192.0.2.9")
    assert closed == CloseSession(session_id=first.session_id)
    assert first.session_id != second.session_id
    assert [msg.client_addr for msg in smtps.smar.messages if isinstance(msg, CheckClient)] == ["127.0.0.1", "192.0.2.9"]
    asked = [msg for msg in smtps.smar.messages if isinstance(msg, CheckRcpt)]
    assert {(msg.client_addr, msg.flags) for msg in asked} == {("192.0.2.9", 0)}, "nothing is left of what the neighbour may do"
    text = newest(smtps).read_text()
    assert "from client.example (by-dns.example [192.0.2.9])" in text
    smtps.wait_log(
        f"func=smtps.xclient, ss_sess={second.session_id}, client=192.0.2.9, port=4711, peer=127.0.0.1, "
        f"stat=goes on from {first.session_id}"
    )


def test_a_name_and_a_hello_that_are_told_count(smtps):
    with smtps.client() as client:
        client.command("XCLIENT NAME=told.example ADDR=192.0.2.9", "220 ")
        client.command("XCLIENT HELO=helo.example PROTO=SMTP", "220 ")
        client.message(b"Subject: y\r\n\r\n")
    text = newest(smtps).read_text()
    assert "from helo.example (told.example [192.0.2.9])" in text
    assert "with SMTP id" in text


@pytest.mark.parametrize(("addr", "code"), [("192.0.2.66", "550"), ("192.0.2.67", "421")])
def test_a_client_that_may_not_stay_is_sent_away_as_if_it_had_connected(smtps, addr, code):
    with smtps.client() as client:
        client.command(f"XCLIENT ADDR={addr}", "554 " if code == "550" else "421 ")
        if code == "550":
            client.command("EHLO client.example", "503 ")
            client.command("XCLIENT ADDR=192.0.2.9", "503 ")
            client.command("QUIT", "221 ")
        client.expect("")
    smtps.wait_log(f"func=smtps.connect_refused, .*client={addr}, .*reply={code}")


def test_the_refusal_of_qmgr_holds_for_the_client_that_it_is_about(smtps):
    smtps.qmgr.admission = Reply(220)
    with smtps.client() as client:
        smtps.qmgr.admission = Reply(421, "4.7.0", "Too many connections")
        try:
            client.send(b"XCLIENT ADDR=192.0.2.9\r\n")
            heard = [client.reply() for _ in range(3)]  # the greeting need not wait for the answer of qmgr
            assert [reply[:4] for reply in heard] in (["421 ", "", ""], ["220 ", "421 ", ""])
        finally:
            smtps.qmgr.admission = Reply(220)


def test_what_xforward_says_stands_in_the_log_of_the_next_message_alone(smtps):
    with smtps.client() as client:
        client.command(
            "XFORWARD ADDR=192.0.2.9 NAME=c.example HELO=h.example IDENT=47 PROTO=SMTP PORT=25 SOURCE=REMOTE", "250 "
        )
        client.message(b"Subject: z\r\n\r\n")
        line = smtps.wait_log("func=smtps.forwarded, .*orig_client=192.0.2.9.*").string
        client.command("XFORWARD ADDR=192.0.2.10", "250 ")
        client.command("RSET", "250 ")
        client.message(b"Subject: z\r\n\r\n")
        client.command("QUIT", "221")
    assert "orig_name=c.example, orig_ehlo=h.example, orig_id=47, stat=PROTO SMTP PORT 25 SOURCE REMOTE" in line
    assert sum("smtps.forwarded" in one for one in smtps.log) == 1


def test_a_user_whom_the_neighbour_has_asked_for_a_password_is_authenticated(smtps):
    with smtps.client() as client:
        client.command("XCLIENT ADDR=192.0.2.9 LOGIN=ann@example.org", "220 ")
        client.command("EHLO client.example", "250-")
        client.message(b"Subject: u\r\n\r\n")
        client.command("XCLIENT ADDR=192.0.2.10", "220 ")
        client.command("EHLO client.example", "250-")
        client.message(b"Subject: u\r\n\r\n")
    asked = [(msg.client_addr, msg.flags) for msg in smtps.smar.messages if isinstance(msg, CheckRcpt)]
    assert asked == [("192.0.2.9", LookupFlags.AUTHENTICATED), ("192.0.2.10", 0)]
    smtps.wait_log("func=smtps.xclient, .*client=192.0.2.9, .*auth=ann@example.org")
    smtps.wait_log("func=smtps.message, .*client=192.0.2.9, .*auth=ann@example.org")
    assert "with ESMTPA id" in sorted(smtps.content_files(), key=lambda path: path.name)[-2].read_text()


def test_what_the_client_had_connected_to_is_told_by_the_log(smtps):
    with smtps.client() as client:
        client.command("XCLIENT ADDR=192.0.2.9 DESTADDR=192.0.2.25 DESTPORT=587", "220 ")
    smtps.wait_log("func=smtps.xclient, .*client=192.0.2.9, .*stat=goes on from .* connected to 192.0.2.25 port 587")


def test_swaks_speaks_for_another_client(smtps):
    command = ["swaks", "--server", f"127.0.0.1:{smtps.port}", "--to", "r@example.org", "--from", "s@example.org"]
    told = ["--xclient-addr", "192.0.2.44", "--xclient-name", "swaks.example", "--xclient-helo", "swaks-helo.example"]
    result = subprocess.run([*command, *told], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout
    assert "(swaks.example [192.0.2.44])" in newest(smtps).read_text()


def test_who_is_not_listed_is_not_offered_them(smtps):
    with socket.create_connection(("127.0.0.1", smtps.port), 20, ("127.0.0.2", 0)) as sock, sock.makefile("rwb") as file:
        assert file.readline().startswith(b"220 ")
        sock.sendall(b"EHLO client.example\r\nQUIT\r\n")
        text = file.read()
    assert b"ENHANCEDSTATUSCODES" in text
    assert b"XCLIENT" not in text
    assert b"XFORWARD" not in text
