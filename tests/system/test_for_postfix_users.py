"""What Postfix's users look for, on a running gateway with two smtps: rates, verification, copies, soft bounces, limits."""

import smtplib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from contrib.lib.gateway import Gateway, free_port, wait_until
from tests.fakes.smtp_server import ScriptedServer
from tests.system.conftest import FAST_RETRY, HEADER, KeepingSink, running

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("for_postfix_users")]

QMGR = f"""
  always_bcc = copies@bcc.example;
  soft_bounce = true;
  smtps {{ max_message_rate = 3; max_recipient_rate = 5; rate_time_unit = 1h; rate_exempt = {{ 127.0.0.1, 127.0.1.0/24 }}; }}
  verify {{ wait = 1s; }}
  {FAST_RETRY}
"""
SECOND = """
smtps second {{
  listen_socket {{ type = inet; address = 127.0.0.1; port = {port}; }}
  start_action = pass;
  pass_fd_socket = smtps/secondfd;
  path = smtps;
  arguments = "smtps -f {conf} -n second";
  soft_bounce = true;
  max_header_lines = 10;
  verify_senders = {{ good.example, bad.example }};
}}
"""
VERIFIED = "verify_recipients = { good.example, bad.example, silent.example };"


@dataclass
class System:
    gateway: Gateway
    second: int
    sink: KeepingSink
    bad: ScriptedServer

    def client(self, address: str = "127.0.0.1", *, second: bool = False) -> smtplib.SMTP:
        """A client that has said EHLO."""
        port = self.second if second else self.gateway.port
        made = smtplib.SMTP("127.0.0.1", port, timeout=60, source_address=(address, 0))
        made.ehlo()
        return made

    def log(self) -> str:
        return self.gateway.log.read_text()


@pytest.fixture(scope="module")
def system(tmp_path_factory) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("postfix")
    port = free_port()
    servers = ScriptedServer({"RCPT": "550 5.1.1 no such user\r\n"}), ScriptedServer({"RCPT": ""})
    with servers[0] as bad, servers[1] as silent, KeepingSink(directory / "maildir") as sink:
        routes = {".": sink.port, "bad.example": bad.port, "silent.example": silent.port}
        table = [f"{domain} {server}^[127.0.0.1]" for domain, server in routes.items()]
        gateway = Gateway(directory / "gateway", "\n".join(table), relay_from="127.0.0.0/8", dependents="smtps, second, smtpc")
        gateway.options = {"qmgr": QMGR, "smtps": VERIFIED, "extra": SECOND.format(port=port, conf=gateway.conf)}
        with running(gateway):
            yield System(gateway, port, sink, bad)


def test_rates_hold_for_a_client_over_all_smtps(system):
    with system.client("127.0.0.2") as first, system.client("127.0.0.2", second=True) as second:
        assert first.mail("s@from.example")[0] == 250
        assert [first.rcpt(f"r{number}@to.example")[0] for number in range(2)] == [250, 250]
        assert second.mail("s@from.example")[0] == 250
        assert [second.rcpt(f"r{number}@to.example")[0] for number in range(4)] == [250, 250, 250, 450]
        assert first.rcpt("r3@to.example") == (450, b"4.7.1 recipient rate limit exceeded, try again later")
        first.rset()
        assert first.mail("s@from.example")[0] == 250
        second.rset()
        assert second.mail("s@from.example") == (450, b"4.7.1 message rate limit exceeded, try again later")
    with system.client("127.0.0.3") as other, system.client("127.0.1.7") as exempt:
        assert other.mail("s@from.example")[0] == 250
        assert [exempt.docmd("MAIL FROM:<s@from.example>")[0] for _ in range(5) if exempt.rset()] == [250] * 5
    assert "450 4.7.1 message rate limit exceeded" in system.log()


def test_an_address_is_verified_once_without_a_message_and_what_is_known_outlasts_a_restart_of_qmgr(system):
    with system.client() as client:
        client.mail("s@from.example")
        assert client.rcpt("a@good.example")[0] == 250
        refusal = client.rcpt("b@bad.example")
        assert refusal == (550, b"5.1.1 Address is refused by its mail server: 550 5.1.1 no such user")
        assert client.rcpt("c@silent.example") == (450, b"4.1.1 Address is being verified; try again later")
    seen = system.bad.connections[-1]
    wait_until(lambda: seen.commands[-1:] == ["QUIT"], 20, f"QUIT after {seen.commands}")
    assert seen.commands[1:] == ["MAIL FROM:<>", "RCPT TO:<b@bad.example>", "QUIT"]
    assert [one for one in system.sink.envelopes() if "a@good.example" in one["rcpts"]] == []
    probes = len(system.bad.connections)
    system.gateway.kill("qmgr")
    wait_until(lambda: system.log().count("func=qmgr.start") >= 2, 30, system.gateway.last_words())
    system.gateway.wait_ready()
    with system.client() as client:
        client.mail("s@from.example")
        assert client.rcpt("b@bad.example") == refusal
    assert len(system.bad.connections) == probes


def test_a_sender_is_verified_by_the_smtps_that_wants_it(system):
    with system.client(second=True) as client:
        assert client.mail("a@good.example")[0] == 250
        client.rset()
        code, text = client.mail("x@bad.example")
        assert (code, text[:17]) == (450, b"4.1.8 Sender: Add")  # soft_bounce of this smtps
        assert client.mail("")[0] == 250
    with system.client() as client:
        assert client.mail("x@bad.example")[0] == 250


def test_a_copy_of_every_message_goes_to_one_address(system):
    with system.client() as client:
        assert client.sendmail("s@from.example", ["one@to.example", "two@to.example"], HEADER + b"hello\r\n") == {}
        assert client.sendmail("s@from.example", ["copies@bcc.example"], HEADER + b"again\r\n") == {}

    def came() -> list[str]:
        wanted = ("one@to.example", "two@to.example", "copies@bcc.example")
        return sorted(rcpt for one in system.sink.envelopes() for rcpt in one["rcpts"] if rcpt in wanted)

    wait_until(lambda: len(came()) >= 4, 30, f"{came()}; {system.gateway.last_words()}")
    assert came() == ["copies@bcc.example", "copies@bcc.example", "one@to.example", "two@to.example"]


def test_soft_bounce_refuses_and_returns_nothing_for_ever(system):
    with system.client(second=True) as client:
        assert client.sendmail("s@from.example", ["kept@bad.example"], HEADER + b"hello\r\n") == {}
        assert client.docmd("MAIL FROM:<s@from.example> SIZE=999999999")[0] == 452
        client.mail("s@from.example")
        client.rcpt("r@to.example")
        assert client.data(b"A: b\r\n" * 11 + b"\r\nhello\r\n") == (452, b"4.3.4 Message header has too many lines")
    wait_until(lambda: "func=qmgr.deferred" in system.log(), 30, system.gateway.last_words())
    line = next(one for one in system.log().splitlines() if "func=qmgr.deferred" in one)
    assert "rcpt=kept@bad.example" in line
    assert "reply=550" in line
    system.gateway.control("remove", "rcpt=kept@bad.example")
    system.gateway.wait_empty()
    assert "func=qmgr.failed" not in system.log()
