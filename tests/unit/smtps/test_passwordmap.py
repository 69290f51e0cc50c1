"""AUTH by a map of smar: a real smtps process, and a resolver that knows what is stored of users."""

import base64
import threading

import pytest

from meta1g.base.reply import Reply
from meta1g.rcb.smtps_smar import UserEntry
from meta1g.sasl.scram import ScramClient
from meta1g.sasl.stored import make_stored
from meta1g.smtps.passwordmap import UNKNOWN
from tests.fakes.smtps_process import SmtpsProcess

ANN = "ann@example.org"
NO_SUCH_USER = UserEntry(reply=Reply(550))
AUTH = "auth {{ password_map = true; failure_delay = 0; flags = {{ plaintext_without_tls }}; {} }}"
STORED = str(make_stored("SCRAM-SHA-256", "pencil", b"salt" * 4, 4096))


def plain(user=ANN, password="pencil"):
    return "AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode()


@pytest.fixture
def smtps(tmp_path, request):
    """A process, whom its resolver was asked about, and what it says."""
    with SmtpsProcess(tmp_path, AUTH.format(getattr(request, "param", ""))) as process:
        process.asked = []
        process.users = {ANN: STORED}

        def user(msg):
            process.asked.append(msg.name)
            stored = process.users.get(msg.name)
            return UserEntry(reply=Reply(250), stored=stored) if stored else NO_SUCH_USER

        process.smar.user = user
        yield process


def attempt(process, code, user=ANN, password="pencil"):
    with process.client() as client:
        return client.command(plain(user, password), code)


@pytest.mark.parametrize("smtps", ["realm = example.org;"], indirect=True)
def test_smar_says_what_is_stored_and_smtps_checks_it(smtps):
    attempt(smtps, "235")
    attempt(smtps, "235", "Ann")
    told = {attempt(smtps, "535", user, word) for user, word in ((ANN, "pencils"), ("nobody", "pencil"), (UNKNOWN, "pencil"))}
    assert len(told) == 1
    # what unknown users meet is asked once, and before the first user; who calls himself so is not asked about
    assert smtps.asked == [UNKNOWN, ANN, ANN, ANN, "nobody@example.org"]


def test_a_name_that_cannot_be_one_is_not_asked_about(smtps):
    for user in ("ann smith", "#ann", UNKNOWN, "a:b"):
        attempt(smtps, "535", user)
    assert set(smtps.asked) == {UNKNOWN}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (UserEntry(reply=Reply(451, "4.3.0", "away")), "SMAR: 4.3.0 away|SMAR: 451 4.3.0 away|SMAR: away"),
        (UserEntry(reply=Reply(250), stored="{ODD}x"), r"\{ODD\} is no kind of password"),
        (None, "SMAR does not answer in time"),
    ],
)
@pytest.mark.parametrize("smtps", ["timeout = 1;"], indirect=True)
def test_a_map_that_says_nothing_has_not_said_no(smtps, entry, told):
    smtps.smar.user = lambda msg: NO_SUCH_USER if msg.name == UNKNOWN else entry
    attempt(smtps, "454 4.7.0")
    smtps.wait_log(rf"func=smtps\.auth_away, stat=.*({told})")


def test_who_waits_for_the_map_holds_nobody_up(smtps):
    waiting, go = threading.Event(), threading.Event()
    answer = smtps.smar.user

    def user(msg):
        if msg.name == ANN:
            waiting.set()
            assert go.wait(30)
        return answer(msg)

    smtps.smar.user = user
    with smtps.client() as client:
        client.send((plain() + "\r\n").encode())
        assert waiting.wait(30)
        with smtps.client() as other:
            other.command("NOOP", "250")
        go.set()
        client.expect("235")


def scram_first(client, user):
    exchange = ScramClient("sha256", user, "pencil", "cnonce").exchange()
    first = base64.b64encode(next(exchange)).decode()
    said = client.command(f"AUTH SCRAM-SHA-256 {first}", "334")
    return exchange, base64.b64decode(said.split(" ", 1)[1])


@pytest.mark.parametrize("smtps", ["mechanisms = { scram-sha-256, plain };"], indirect=True)
def test_scram_with_what_is_stored_and_unknown_users_with_a_salt_of_their_own(smtps):
    smtps.users[UNKNOWN] = str(make_stored("SCRAM-SHA-256", "x", b"pepper" * 2, 4100))
    with smtps.client() as client:
        exchange, first = scram_first(client, ANN)
        client.command(base64.b64encode(exchange.send(first)).decode(), "334")
        client.command("", "235")
    salts = []
    for user in ("bob", "bob", "tom"):
        with smtps.client() as client:
            _, first = scram_first(client, user)
            salts.append([part for part in first.split(b",") if part[:2] in (b"s=", b"i=")])
    assert salts[0] == salts[1] != salts[2]
    assert salts[0][1] == b"i=4100"
