"""AUTH of a real smtps process: back ends, limits, delays, what follows from it; its dialogues are tests/dialogs/auth_*.dlg."""

import base64
import contextlib
import os
import re
import resource
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest

from contrib.lib.gateway import wait_until
from meta1g.base import paths
from meta1g.base.reply import Reply
from meta1g.rcb.smtps_smar import Checks, ClientVerdict, LookupFlags, Verdict, VerdictFlags
from meta1g.sasl.scram import ScramClient
from meta1g.sasl.stored import make_stored
from tests.fakes.certificates import make_certificate
from tests.fakes.fake_dovecot import FakeDovecot
from tests.fakes.smtps_process import ROOT, WAIT_S, Client, SmtpsProcess

ANN = "ann@example.org"


def stored(word="pencil"):
    return make_stored("SCRAM-SHA-256", word, b"salt" * 4, 4096)


def auth(*options):
    return f"auth {{ failure_delay = 0; flags = {{ plaintext_without_tls }}; {' '.join(options)} }}"


def write_users(directory, *lines):
    path = directory / "users"
    beside = directory / "new-users"
    beside.write_text("".join(f"{line}\n" for line in (":a-secret-of-the-file", *lines)))
    beside.replace(path)
    return path


@pytest.fixture
def users(tmp_path):
    return write_users(tmp_path, f"{ANN}:{stored()}", f"bob@example.org:{stored()}")


def plain(user=ANN, password="pencil"):
    return "AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode()


def attempt(process, user=ANN, password="pencil", code="235"):
    with process.client() as client:
        client.command(plain(user, password), code)


def test_a_message_and_its_log_lines_say_who_sent_it(tmp_path, users):
    with SmtpsProcess(tmp_path / "q", auth(f"password_file = {users};")) as process, process.client() as client:
        process.smar.checks = Checks.RCPT
        client.command(plain(), "235")
        client.message(b"Subject: x\r\n\r\nhello\r\n")
        (path,) = process.content_files()
        assert b" with ESMTPA id " in path.read_bytes()
        process.wait_log(rf"func=smtps\.auth, .*auth={ANN}, mechanism=PLAIN")
        process.wait_log(rf"func=smtps\.message, .*auth={ANN}")


def test_a_refused_client_is_logged_with_the_reason_and_without_its_password(tmp_path, users):
    with SmtpsProcess(tmp_path / "q", auth(f"password_file = {users};")) as process, process.client() as client:
        client.command(plain(password="guess-me"), "535 5.7.8")
        client.command("AUTH ROT13", "504")
        client.command(base64.b64encode(b"guess-me-too").decode(), "500")
        process.wait_log(
            rf"func=smtps\.auth_failed, .*auth={ANN}, mechanism=PLAIN, reply=535, .*answer=wrong password or no such user"
        )
        process.wait_log(r"func=smtps\.command_refused, .*reply=500, .*command=\.\.\.")
        text = "\n".join(process.log)
        for secret in ("guess-me", base64.b64encode(b"guess-me-too").decode(), plain(password="guess-me")[11:]):
            assert secret not in text


@pytest.mark.parametrize("options", ["", auth("dovecot_socket = none;")])
def test_what_follows_an_auth_that_cannot_be_now_is_not_logged_either(tmp_path, options):
    with SmtpsProcess(tmp_path / "q", options) as process, process.client() as client:
        client.command("MAIL FROM:<s@example.org>", "250")
        client.command("AUTH LOGIN", "50")
        client.command(base64.b64encode(b"guess-me-too").decode(), "500")
        process.wait_log(r"func=smtps\.command_refused, .*reply=500, .*command=\.\.\.")
        assert base64.b64encode(b"guess-me-too").decode() not in "\n".join(process.log)


def test_users_may_relay_and_overrule_what_was_denied_and_not_told(tmp_path, users):
    asked = []

    def rcpt(msg):
        asked.append(msg.flags)
        return Verdict(reply=Reply(250))

    options = auth(f"password_file = {users}; trusted_mechanisms = {{ plain }};") + "flags = { delay_checks };"
    with SmtpsProcess(tmp_path / "q", options, checks=Checks.RCPT | Checks.CLIENT | Checks.MAIL) as process:
        process.smar.client = lambda msg: ClientVerdict(reply=Reply(550, "5.7.1", "Go away"))
        process.smar.mail = lambda msg: Verdict(reply=Reply(550, "5.7.1", "Bad sender"))
        process.smar.rcpt = rcpt
        with process.client() as client:
            client.command("MAIL FROM:<s@example.org>", "250")
            client.command("RCPT TO:<r@example.org>", "550 5.7.1 Go away")
            client.command("RSET", "250")
            client.command(plain(), "235")
            client.command("MAIL FROM:<s@example.org>", "250")
            client.command("RCPT TO:<r@example.org>", "250")
        assert asked[-1] & LookupFlags.AUTHENTICATED
        with process.client() as client:  # a mechanism that is not trusted changes nothing
            client.command("AUTH LOGIN " + base64.b64encode(ANN.encode()).decode(), "334")
            client.command(base64.b64encode(b"pencil").decode(), "235")
            client.command("MAIL FROM:<s@example.org>", "250")
            client.command("RCPT TO:<r@example.org>", "550 5.7.1 Go away")
        assert not asked[-1] & LookupFlags.AUTHENTICATED


def test_smar_is_asked_about_senders_of_users_and_what_it_says_is_final(tmp_path, users):
    asked = []

    def mail(msg):
        asked.append(msg)
        return Verdict(reply=Reply(553, "5.7.1", "Not yours"), flags=VerdictFlags.FINAL)

    options = auth(f"password_file = {users};") + "flags = { delay_checks };"
    with SmtpsProcess(tmp_path / "q", options, checks=Checks.RCPT | Checks.AUTH) as process, process.client() as client:
        process.smar.mail = mail
        client.command("MAIL FROM:<s@example.org>", "250")
        client.command("RSET", "250")
        assert asked == []
        client.command(plain(), "235")
        client.command("MAIL FROM:<s@example.org>", "553 5.7.1 Not yours")
        assert [(msg.mail, msg.auth) for msg in asked] == [("s@example.org", ANN)]


def test_realm_is_put_behind_users_without_one(tmp_path, users):
    with SmtpsProcess(tmp_path / "q", auth(f"password_file = {users}; realm = example.org;")) as process:
        attempt(process, "ann")
        attempt(process, "ann", "x", "535")
        process.wait_log(rf"func=smtps\.auth, .*auth={ANN}")


# -- limits


def test_a_session_with_too_many_failures_is_ended(tmp_path, users):
    with (
        SmtpsProcess(tmp_path / "q", auth(f"password_file = {users}; max_failures = 2;")) as process,
        process.client() as client,
    ):
        client.command(plain(password="x"), "535")
        client.command(plain(password="x"), "535")
        client.expect("421 4.7.0 Too many failed authentications")
        client.expect("")
        process.wait_log(r"func=smtps\.too_many, .*limit=2")


def test_a_client_beyond_its_limit_is_not_looked_at_unless_it_was_this_user_before(tmp_path, users):
    limits = "max_client_failures = 3; max_user_failures = 100; max_failures = 100; failure_window = 1h;"
    with SmtpsProcess(tmp_path / "q", auth(f"password_file = {users}; {limits}")) as process:
        attempt(process, "bob@example.org")
        with process.client() as client:
            for _ in range(3):
                client.command(plain("nobody", "x"), "535")
            client.command(plain(), "454 4.7.0 Too many failed authentications; try again later")
            client.command(plain("nobody"), "454 4.7.0")
        process.wait_log(r"func=smtps\.auth_failed, .*reply=454, .*answer=3 failed attempts")
        attempt(process, "bob@example.org")


def test_a_user_beyond_its_limit_is_not_looked_at(tmp_path, users):
    limits = "max_client_failures = 100; max_user_failures = 2; max_failures = 100;"
    with SmtpsProcess(tmp_path / "q", auth(f"password_file = {users}; {limits}")) as process:
        with process.client() as client:
            for user in (ANN, "nobody"):
                client.command(plain(user, "x"), "535")
                client.command(plain(user, "x"), "535")
                client.command(plain(user), "454 4.7.0")
        attempt(process, "bob@example.org")


def scram_begin(client, password, nonce):
    """Says who it is; gives what says the proof."""
    exchange = ScramClient("sha256", ANN, password, nonce).exchange()
    client.send(b"AUTH SCRAM-SHA-256 " + base64.b64encode(next(exchange)) + b"\r\n")
    proof = exchange.send(base64.b64decode(client.expect("334 ")[4:]))
    return lambda code: client.command(base64.b64encode(proof).decode(), code)


def test_exchanges_that_were_begun_before_the_limit_was_reached_are_beyond_it_too(tmp_path, users):
    limits = "max_client_failures = 1; failure_window = 1h;"
    with (
        SmtpsProcess(tmp_path / "q", auth(f"password_file = {users}; {limits}")) as process,
        process.client() as one,
        process.client() as other,
    ):
        guesses = scram_begin(one, "guess", "one"), scram_begin(other, "pencil", "other")
        guesses[0]("535 5.7.8")
        guesses[1]("454 4.7.0 Too many failed authentications")


def test_a_failure_is_told_after_a_while(tmp_path, users):
    options = f"auth {{ password_file = {users}; failure_delay = 1; flags = {{ plaintext_without_tls }}; }}"
    with SmtpsProcess(tmp_path / "q", options) as process, process.client() as client, process.client() as other:
        begun = time.monotonic()
        client.send(plain(password="x").encode() + b"\r\n")
        other.command(plain(), "235")
        client.expect("535")
        assert time.monotonic() - begun >= 1


def test_a_client_that_is_told_to_come_again_waits_too_and_is_sent_away(tmp_path):
    options = (
        f"auth {{ dovecot_socket = {tmp_path}/none; failure_delay = 1; max_failures = 2; flags = plaintext_without_tls; }}"
    )
    with SmtpsProcess(tmp_path / "q", options) as process, process.client() as client:
        begun = time.monotonic()
        client.command(plain(), "454")
        assert time.monotonic() - begun >= 1
        client.command(plain(), "454")
        client.expect("421 4.7.0 Too many failed authentications")


def test_a_flood_of_one_client_leaves_places_to_others_and_ends_in_454(tmp_path, users):
    """More sessions than one client may have checks waiting; nobody else is kept from a command."""
    limits = {"AUTH_PLACES_OF_CLIENT": 1, "AUTH_PLACES": 2}
    slow = write_users(tmp_path, f"{ANN}:{make_stored('SCRAM-SHA-256', 'pencil', b'salt' * 4, 500_000)}")
    with (
        SmtpsProcess(tmp_path / "q", auth(f"password_file = {slow};"), limits=limits) as process,
        contextlib.ExitStack() as stack,
    ):
        flood = [stack.enter_context(process.client()) for _ in range(6)]
        for client in flood:
            client.send(plain(password="x").encode() + b"\r\n")
        answers = [client.reply()[:9] for client in flood]
        assert set(answers) == {"535 5.7.8", "454 4.7.0"}
        with process.client() as other:
            other.command("NOOP", "250")


def test_who_comes_behind_many_guesses_of_several_clients_waits_for_one_of_each(tmp_path):
    """Checks of passwords go by turns of clients: what others have waiting is no matter."""
    slow = write_users(tmp_path, f"{ANN}:{make_stored('SCRAM-SHA-256', 'pencil', b'salt' * 4, 150_000)}")
    options = auth(f"password_file = {slow}; max_user_failures = 999; max_client_failures = 999;")
    guessers = [f"127.0.0.{number}" for number in range(2, 6)]
    with SmtpsProcess(tmp_path / "q", options) as process, contextlib.ExitStack() as stack:
        flood = [stack.enter_context(Client(process.port, source=source)) for source in guessers for _ in range(8)]
        other = stack.enter_context(process.client())
        for client in flood:
            client.expect("220 ")
            client.command("EHLO guess.example", "250-mx.example")
        for client in flood:
            client.send(plain(password="x").encode() + b"\r\n")
        process.wait_log(r"func=smtps\.auth_failed")
        before = sum("func=smtps.auth_failed," in line for line in process.log)
        other.command(plain(), "235")
        process.wait_log(r"func=smtps\.auth,")
        meanwhile = sum("func=smtps.auth_failed," in line for line in process.log) - before
        at_once = max(1, (os.cpu_count() or 1) // 2)
        assert meanwhile <= 2 * len(guessers) * at_once, "about one of each; all would be some thirty"
        for client in flood:
            client.expect("535 5.7.8")


# -- the password file


def test_a_changed_file_is_used_and_a_wrong_one_is_not(tmp_path, users):
    with SmtpsProcess(tmp_path / "q", auth(f"password_file = {users}; max_user_failures = 999;")) as process:
        attempt(process)

        def until(pattern):
            end = time.monotonic() + WAIT_S
            while time.monotonic() < end and not any(pattern in line for line in process.log):
                with process.client():  # EHLO looks whether the file has changed
                    pass
            process.wait_log(pattern)

        write_users(tmp_path, f"{ANN}:{stored('chalk')}")
        until("func=smtps.auth_file,")
        attempt(process, password="chalk")
        attempt(process, password="pencil", code="535")
        write_users(tmp_path, "ann:*")
        until("func=smtps.auth_file_wrong,")
        process.wait_log(r"func=smtps\.auth_file_wrong, .*users:2: the password is locked")
        attempt(process, password="chalk")


def test_nobody_has_what_a_mechanism_needs(tmp_path):
    users = write_users(tmp_path, f"{ANN}:{make_stored('SCRAM-SHA-1', 'pencil', b'salt' * 4, 4096)}")
    options = auth(f"password_file = {users}; mechanisms = {{ scram-sha-256, plain }};")
    with SmtpsProcess(tmp_path / "q", options) as process, process.client() as client:
        client.command("AUTH SCRAM-SHA-256", "432 4.7.12")
        client.command(plain(), "235")


# -- certificates


def test_a_certificate_that_was_verified_and_is_known_is_enough(tmp_path):
    for name in ("mx.example", "door.example", "other.example"):
        make_certificate(tmp_path, name)
    trusted = tmp_path / "trusted.pem"
    trusted.write_text("".join((tmp_path / f"{name}.pem").read_text() for name in ("door.example", "other.example")))
    users = write_users(tmp_path, "door.example:{EXTERNAL}", f"other.example:{stored()}")
    tls = f"tls {{ cert_file = {tmp_path}/mx.example.pem; key_file = {tmp_path}/mx.example.key; CAcert_file = {trusted}; }}"
    options = f"{tls} auth {{ password_file = {users}; mechanisms = {{ external }}; failure_delay = 0; }}"
    with SmtpsProcess(tmp_path / "q", options) as process:
        for name, codes in (("door.example", (235, 535)), ("other.example", (535, 535)), (None, (504, 504))):
            context = ssl._create_unverified_context()
            if name:
                context.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
            for initial, code in zip(("=", base64.b64encode(b"root").decode()), codes, strict=True):
                with smtplib.SMTP("127.0.0.1", process.port, timeout=WAIT_S) as smtp:
                    smtp.ehlo("client.example")
                    smtp.starttls(context=context)
                    smtp.ehlo("client.example")
                    assert smtp.has_extn("auth") == bool(name)
                    assert smtp.docmd(f"AUTH EXTERNAL {initial}")[0] == code
        process.wait_log(r"func=smtps\.auth, .*auth=door\.example, mechanism=EXTERNAL")


# -- other back ends


@pytest.fixture
def dovecot(tmp_path):
    fake = FakeDovecot(tmp_path / "dovecot")
    yield fake
    fake.close()


def test_dovecot_checks_passwords_and_leads_what_only_it_knows(tmp_path, dovecot):
    tls = f"tls {{ cert_file = {tmp_path}/mx.example.pem; key_file = {tmp_path}/mx.example.key; }}"
    make_certificate(tmp_path, "mx.example")
    options = auth(f"dovecot_socket = {tmp_path}/dovecot; mechanisms = {{ plain, cram-md5, scram-sha-1 }};")
    with SmtpsProcess(tmp_path / "q", options + tls) as process:
        attempt(process)
        attempt(process, password="x", code="535")
        with process.client() as client:
            client.command("AUTH SCRAM-SHA-1 " + base64.b64encode(b"n,,n=ann,r=x").decode(), "454")
        process.wait_log(r"func=smtps\.auth_away, .*Dovecot does not know SCRAM-SHA-1")
        with smtplib.SMTP("127.0.0.1", process.port, timeout=WAIT_S) as smtp:
            smtp.ehlo("client.example")
            smtp.starttls(context=ssl._create_unverified_context())
            smtp.ehlo("client.example")
            assert smtp.docmd("AUTH CRAM-MD5 =") == (501, b"5.7.0 This mechanism has no initial response")
            for word, code in (("guess", 535), ("digest", 235)):
                assert smtp.docmd("AUTH CRAM-MD5") == (334, base64.b64encode(b"<1.2@dovecot>"))
                assert smtp.docmd(base64.b64encode(f"{ANN} {word}".encode()).decode())[0] == code
    (line,) = [line for line in dovecot.heard if "CRAM-MD5" in line][:1]
    assert line == "AUTH\t1\tCRAM-MD5\tservice=smtp\tnologin\trip=127.0.0.1\tsecured"


@pytest.mark.parametrize(
    ("greeting", "answer", "told"),
    [
        ("VERSION\t3\t0\nDONE\n", None, "another version"),
        ("MECH\tX\n" * 200, None, "greets without an end"),
        ("x" * 40_000, None, "line without an end"),
        (None, "FAIL\t1\tuser=ann\ttemp", "temporary failure"),
        (None, "NONSENSE", "NONSENSE"),
        (None, "OK\t1", "instead of OK"),
        (None, "", "timed out|Timer expired"),
    ],
)
def test_a_dovecot_that_does_not_answer_right_has_not_said_no(tmp_path, dovecot, greeting, answer, told):
    dovecot.greeting, dovecot.answer = greeting or dovecot.greeting, answer
    options = auth(f"dovecot_socket = {tmp_path}/dovecot; timeout = 1;")
    with SmtpsProcess(tmp_path / "q", options) as process:
        attempt(process, code="454 4.7.0")
        process.wait_log(rf"func=smtps\.auth_away, stat=.*{tmp_path}/dovecot: .*({told})")


def test_wrong_passwords_that_dovecot_holds_back_hold_nobody_else_up(tmp_path, dovecot):
    dovecot.go.clear()
    with (
        SmtpsProcess(tmp_path / "q", auth(f"dovecot_socket = {tmp_path}/dovecot;")) as process,
        contextlib.ExitStack() as stack,
    ):
        clients = [stack.enter_context(process.client()) for _ in range(20)]
        for client in clients:
            client.send(plain(password="x").encode() + b"\r\n")
        for _ in clients:
            assert dovecot.held.acquire(timeout=WAIT_S)
        attempt(process)
        dovecot.go.set()
        for client in clients:
            client.expect("535")


@pytest.mark.parametrize("socket", ["saslauthd_socket", "dovecot_socket"])
def test_a_back_end_that_is_away_is_told_as_a_passing_trouble(tmp_path, socket):
    with SmtpsProcess(tmp_path / "q", auth(f"{socket} = {tmp_path}/none;")) as process:
        attempt(process, code="454 4.7.0 Temporary authentication failure")
        process.wait_log(rf"func=smtps\.auth_away, stat=.*{tmp_path}/none: No such file or directory")
        process.wait_log(r"func=smtps\.auth_failed, .*reply=454")


def test_a_shortage_of_descriptors_costs_the_attempt_and_not_the_session(tmp_path, dovecot):
    with SmtpsProcess(tmp_path / "q", auth(f"dovecot_socket = {tmp_path}/dovecot;")) as process, process.client() as client:
        pid = process.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        client.command(plain(), "454 4.7.0 Temporary authentication failure")
        process.wait_log(r"func=smtps\.auth_away, stat=.*Too many open files")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        client.command(plain(), "235")


def test_a_daemon_whose_queue_is_full_is_waited_for(tmp_path):
    with (
        socket.socket(socket.AF_UNIX) as listener,
        SmtpsProcess(tmp_path / "q", auth(f"saslauthd_socket = {tmp_path}/mux;")) as process,
    ):
        listener.bind(str(tmp_path / "mux"))
        listener.listen(0)
        listener.settimeout(WAIT_S)
        with socket.socket(socket.AF_UNIX) as first, process.client() as client:
            first.connect(str(tmp_path / "mux"))
            client.send(plain().encode() + b"\r\n")
            with process.client() as other:
                other.command("NOOP", "250")  # it has been tried by now
            listener.accept()[0].close()
            asking, _ = listener.accept()
            with asking:
                assert asking.recv(999)
                asking.sendall(b"\0\2OK")
                client.expect("235")


class FakeImap:
    """What saslauthd asks here: an IMAP server that knows one user."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                conn, _ = self.listener.accept()
                with contextlib.suppress(OSError):  # the other side does not wait for the answer to LOGOUT
                    self.talk(conn)

    def talk(self, conn):
        with conn, conn.makefile("rwb", buffering=0) as file:
            file.write(b"* OK ready\r\n")
            for line in file:
                tag, *words = line.split()
                good = words[1:] == [b'"ann@example.org"', b'"pencil"']
                file.write(tag + (b" OK" if good or words[0] != b"LOGIN" else b" NO") + b" done\r\n")


@pytest.fixture
def saslauthd(tmp_path_factory):
    """A real one in a directory of its own; gives its socket."""
    imap, run = FakeImap(), tmp_path_factory.mktemp("s")
    command = ["/usr/sbin/saslauthd", "-d", "-r", "-a", "rimap", "-O", f"127.0.0.1/{imap.port}", "-n", "1", "-m", str(run)]
    daemon = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_until((run / "mux").exists, WAIT_S, "saslauthd")
    yield run / "mux"
    os.killpg(daemon.pid, signal.SIGTERM)
    daemon.wait(WAIT_S)
    imap.listener.close()


def test_saslauthd_checks_passwords(tmp_path, saslauthd):
    with SmtpsProcess(tmp_path / "q", auth(f"saslauthd_socket = {saslauthd}; realm = example.org;")) as process:
        attempt(process)
        attempt(process, "ann")
        attempt(process, password="x", code="535")
        attempt(process, user="nobody", code="535")
        attempt(process, user="\u0130" * 255, code="535")  # longer in lower case
        attempt(process, password="\ufdfa" * 170, code="535")  # longer when it is prepared: 5,600 bytes


# -- the check


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        ("password_file = {0}/none;", 78, "password_file {0}/none: No such file or directory; smpasswd add USER makes it"),
        ("password_file = {0}/wrong;", 78, "{0}/wrong:1: the password is locked"),
        ("password_file = {0}/open;", 0, "warning: .*{0}/open can be read or written by everybody: chmod o-rwx {0}/open"),
        ("dovecot_socket = {0}/none;", 0, "warning: .*{0}/none: no such socket; AUTH is answered 454"),
    ],
)
def test_the_check_looks_at_back_ends(tmp_path, options, code, told):
    for name, text, mode in (("wrong", "ann:*\n", 0o640), ("open", "door:{EXTERNAL}\n", 0o644)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    assert_check(tmp_path, auth(options.format(tmp_path)), code, told.format(tmp_path))


@pytest.mark.parametrize(
    ("mechanisms", "warned"),
    [("", True), ("mechanisms = { login, cram-md5 };", True), ("mechanisms = { scram-sha-1 };", False)],
)
def test_the_check_warns_of_mechanisms_that_nobody_can_use(tmp_path, mechanisms, warned):
    stderr = assert_check(tmp_path, f"auth {{ dovecot_socket = {tmp_path}/none; {mechanisms} }}", 0, "warning: ")
    assert ("nobody is offered AUTH: its mechanisms need TLS" in stderr) == warned


def assert_check(tmp_path, options, code, told):
    """Runs the check; gives what it says."""
    process = SmtpsProcess(tmp_path / "q", options)
    for directory in (paths.QMGR_SMTPS_SOCKET, paths.SMAR_SMTPS_SOCKET):
        (process.queue / directory).parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "meta1g.smtps.main", "--check", "-f", process.config]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == code, done.stderr
    assert re.search(told, done.stderr), done.stderr
    return done.stderr
