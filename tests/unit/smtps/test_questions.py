"""What SMTPS asks QMGR about a client and about addresses, and what it makes of the answers."""

import threading

import pytest

from meta1g.base.reply import Reply
from meta1g.rcb.smtps_qmgr import ClientEvent, NewRecipient, NewTransaction, Stat, VerifyAddress
from meta1g.rcb.smtps_smar import Checks, ClientVerdict, Verdict
from tests.fakes.qmgr_system import wait_until
from tests.fakes.smtps_process import SmtpsProcess

OPTIONS = """
flags = { delay_checks };
verify_recipients = { asked.example, .sub.example, refused.example, drop.example };
verify_senders = { asked.example };
"""
NO = Reply(550, "5.1.1", "Address is refused by its mail server: 550 no")
LATER = Reply(450, "4.1.1", "Address is being verified; try again later")


def verdict_by_name(msg):
    return LATER if msg.address.startswith("later") else NO if msg.address.startswith("no") else Reply(250)


class Kept:
    """What QMGR was asked, and its answers."""

    def __init__(self, process):
        self.verified, self.counted = [], []
        self.count = lambda event: Reply(250)
        process.qmgr.verify = self._verify
        process.qmgr.count = self._count

    def _verify(self, msg):
        self.verified.append(msg.address)
        return verdict_by_name(msg)

    def _count(self, msg):
        self.counted.append(ClientEvent(msg.event))
        return self.count(msg)


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    counts = ClientEvent.MESSAGE | ClientEvent.RECIPIENT
    with SmtpsProcess(tmp_path_factory.mktemp("q"), OPTIONS, checks=Checks.RCPT | Checks.CLIENT, counts=counts) as made:
        yield made


@pytest.fixture
def kept(process):
    return Kept(process)


@pytest.fixture
def client(process, kept):
    with process.client() as made:
        yield made


# -- rates


def test_each_message_and_each_recipient_is_counted(client, kept):
    client.message(b"x: y\r\n\r\n", rcpts=("a@example.org", "b@example.org"))
    client.command("MAIL FROM:<>", "250")
    client.command("RCPT TO:<a@refused.example>", "550")
    message, rcpt = ClientEvent.MESSAGE, ClientEvent.RECIPIENT
    assert kept.counted == [message, rcpt, rcpt, message, rcpt]


def test_a_message_too_many_is_refused_and_the_session_goes_on(client, kept):
    kept.count = lambda msg: Reply(450, "4.7.1", "message rate limit exceeded, try again later")
    client.command("MAIL FROM:<s@example.org>", "450 4.7.1 message rate")
    client.command("RCPT TO:<r@example.org>", "503")
    kept.count = lambda msg: Reply(250)
    client.message(b"x: y\r\n\r\n")


def test_a_recipient_too_many_is_refused_and_the_others_get_the_message(process, client, kept):
    answers = iter([Reply(250), Reply(250), Reply(450, "4.7.1", "recipient rate limit exceeded, try again later")])
    kept.count = lambda msg: next(answers)
    client.send(b"MAIL FROM:<s@example.org>\r\nRCPT TO:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
    for start in ("250", "250 2.1.5", "450 4.7.1 recipient rate", "354"):
        client.expect(start)
    client.send(b"x: y\r\n\r\n.\r\n")
    client.expect("250 2.0.0")
    assert process.wait_log(r"smtps\.rcpt.*client=127\.0\.0\.1.*rcpt=b@example\.org.*450 4\.7\.1 recipient rate")


def test_nothing_is_asked_if_nothing_has_a_rate(tmp_path):
    with SmtpsProcess(tmp_path / "q") as made, made.client() as client:
        kept = Kept(made)
        client.message(b"x: y\r\n\r\n")
        assert (kept.counted, kept.verified) == ([], [])


# -- recipients


def test_recipients_of_the_listed_domains_are_verified(client, kept):
    client.command("MAIL FROM:<s@example.org>", "250")
    for rcpt, start in (
        ("a@example.org", "250"),
        ("a@ASKED.example", "250"),
        ("no@asked.example", "550 5.1.1 Address is refused by its mail server: 550 no"),
        ("later@asked.example", "450 4.1.1 Address is being verified"),
        ("a@sub.example", "250"),
        ("no@x.sub.example", "550"),
    ):
        client.command(f"RCPT TO:<{rcpt}>", start)
    assert kept.verified == ["a@ASKED.example", "no@asked.example", "later@asked.example", "no@x.sub.example"]


def test_an_address_that_cannot_be_asked_about_is_put_off(tmp_path):
    with SmtpsProcess(tmp_path / "q", OPTIONS) as smtps, smtps.client() as client:
        smtps.qmgr.verify = lambda msg: smtps.qmgr.drop()
        client.command("MAIL FROM:<s@example.org>", "250")
        client.command("RCPT TO:<r@asked.example>", "450 4.1.1 Address could not be verified")


def test_nobody_is_probed_whom_something_else_speaks_against(process, client, kept):
    client.command("MAIL FROM:<s@example.org>", "250")
    client.command("RCPT TO:<no@refused.example>", "550 5.1.1 No such user")
    client.command("RCPT TO:<no@drop.example>", "250")
    process.smar.client = lambda msg: ClientVerdict(reply=Reply(550, "5.7.1", "Go away"))
    with process.client() as denied:
        denied.command("MAIL FROM:<s@asked.example>", "250")
        denied.command("RCPT TO:<no@asked.example>", "550 5.7.1 Go away")
    process.smar.client = lambda msg: ClientVerdict(reply=Reply(220))
    kept.count = lambda msg: Reply(450)
    client.command("RCPT TO:<no@example.org>", "450")
    assert kept.verified == []


def test_those_of_one_group_are_verified_side_by_side(process, client, kept):
    asked, all_there = [], threading.Event()

    def verify(msg):
        asked.append(msg.address)
        if len(asked) == 3:
            all_there.set()
        return verdict_by_name(msg) if all_there.is_set() else None

    process.qmgr.verify = verify
    conns = []
    real = process.qmgr._handler

    def handler(conn, request_id, msg):
        conns.append((conn, request_id, msg))
        real(conn, request_id, msg)

    process.qmgr._handler = handler
    try:
        rcpts = ("no@asked.example", "a@asked.example", "b@asked.example")
        client.send(b"MAIL FROM:<s@example.org>\r\n" + b"".join(f"RCPT TO:<{one}>\r\n".encode() for one in rcpts))
        assert all_there.wait(20)
        for conn, request_id, msg in conns:
            if isinstance(msg, VerifyAddress) and msg.address != "b@asked.example":
                conn.send(Stat(reply=verdict_by_name(msg)), request_id)
        for start in ("250 2.1.0", "550", "250", "250"):
            client.expect(start)
    finally:
        process.qmgr._handler = real


def test_what_is_not_known_may_be_taken(tmp_path):
    options = "verify_recipients = { . }; verify_senders = { . }; unverified = accept;"
    with SmtpsProcess(tmp_path / "q", options) as made, made.client() as client:
        Kept(made)
        client.command("MAIL FROM:<later@example.org>", "250")
        client.command("RCPT TO:<later@any.example>", "250")
        client.command("RCPT TO:<no@any.example>", "550")
        assert made.wait_log(r"smtps\.unverified.*rcpt=later@any\.example.*reply=450")


def test_a_client_may_have_rules_of_its_own(process, client, kept):
    snippet = "verify_recipients = { }; unverified = accept;"
    process.smar.client = lambda msg: ClientVerdict(reply=Reply(220), session_conf=snippet)
    with process.client() as friend:
        friend.command("MAIL FROM:<s@example.org>", "250")
        friend.command("RCPT TO:<no@asked.example>", "250")
    process.smar.client = lambda msg: ClientVerdict(reply=Reply(220))
    assert kept.verified == []


# -- senders


def test_senders_of_the_listed_domains_are_verified_but_never_the_empty_one(process, client, kept):
    for mail, start in (
        ("", "250"),
        ("no@example.org", "250"),
        ("a@asked.example", "250"),
        ("no@asked.example", "550 5.1.8 Sender: Address is refused"),
        ("later@asked.example", "450 4.1.8 Sender: "),
    ):
        client.command(f"MAIL FROM:<{mail}>", start)
        client.command("RSET", "250")
    assert kept.verified == ["a@asked.example", "no@asked.example", "later@asked.example"]


def test_a_sender_that_is_refused_is_unknown_to_qmgr(process, client, kept):
    seen = []
    real = process.qmgr.refuse
    process.qmgr.refuse = lambda msg: seen.append(msg) and None
    client.command("MAIL FROM:<no@asked.example>", "550")
    client.message(b"x: y\r\n\r\n")
    process.qmgr.refuse = real
    assert [one.mail for one in seen if isinstance(one, NewTransaction)] == ["s@example.org"]


def test_a_verdict_of_smar_counts_before_the_probe(tmp_path):
    checks = Checks.RCPT | Checks.MAIL
    with SmtpsProcess(tmp_path / "q", "verify_senders = { . };", checks=checks) as made, made.client() as client:
        kept = Kept(made)
        made.smar.mail = lambda msg: Verdict(reply=Reply(550, "5.7.1", "No"))
        client.command("MAIL FROM:<a@example.org>", "550 5.7.1 No")
        assert kept.verified == []


def test_what_is_settled_after_a_restart_of_qmgr_is_not_announced(tmp_path):
    """The new qmgr knows neither the session nor the transaction: it would keep the envelope when the client is gone."""

    def restarted(msg):
        before = connected()
        made.qmgr.stop()
        made.qmgr.start()
        wait_until(lambda: connected() > before, "smtps has a new connection")
        return Verdict(reply=Reply(250))

    def connected():
        return sum("func=smtps.qmgr" in line for line in made.log)

    with SmtpsProcess(tmp_path / "q", checks=Checks.RCPT | Checks.MAIL) as made:
        mail, rcpt = made.smar.mail, made.smar.rcpt
        with made.client() as client:
            made.smar.mail = restarted
            client.send(b"MAIL FROM:<s@example.org>\r\nRCPT TO:<r@example.org>\r\n")
            client.expect("421 4.3.0 Queue manager is not available")
            client.expect("")
        with made.client() as client:
            made.smar.mail, made.smar.rcpt = mail, restarted
            client.command("MAIL FROM:<s@example.org>", "250")
            client.command("RCPT TO:<r@example.org>", "421 4.3.0 Queue manager is not available")
        with made.client() as client:
            made.smar.rcpt = rcpt
            client.message(b"x: y\r\n\r\n")
        assert len(made.qmgr.of(NewRecipient)) == 1
