"""smtpc logs in at aiosmtpd: passwords, a token, and a server that wants to know who we are."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from contrib.lib.gateway import free_port
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.smtpc_qmgr import DeliveryResult
from tests.unit.smtpc.conftest import SmtpcProcess, running

pytestmark = [pytest.mark.system, pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")]

CONTENT = b"Received: here\r\nSubject: x\r\n\r\n.dot\r\nbody\r\n"
LOGINS = """\
right.example   ada  password  battery
wrong.example   ada  password  staple
token.example   ada  token_command  /bin/echo t0ken
old.example     ada  token_command  /bin/echo expired
"""


class Keeper:
    """Keeps what comes, and knows one token."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []

    async def handle_DATA(self, server, session, envelope):
        self.messages.append((session.auth_data, envelope.original_content))
        return "250 2.0.0 kept"

    async def auth_XOAUTH2(self, server: SMTP, args: list[str]):
        user, bearer, *_ = base64.b64decode(args[1]).split(b"\1")
        if bearer == b"auth=Bearer t0ken":
            return AuthResult(success=True, auth_data=user)
        await server.challenge_auth("eyJzdGF0dXMiOiI0MDEifQ==", encode_to_b64=False)
        return AuthResult(success=False, handled=False)


def authenticate(_server, _session, _envelope, _mechanism, data):
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ada", b"battery")
    return AuthResult(success=right, handled=False, auth_data=b"ada")


@pytest.fixture(scope="module")
def smtpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmtpcProcess]:
    directory: Path = tmp_path_factory.mktemp("aiosmtpd")
    path = directory / "logins"
    path.touch(0o600)
    path.write_text(LOGINS)
    with running(directory, f'auth {{ file = "{path}"; flags = without_tls; }}', step_s=30) as made:
        made.store(CONTENT)
        yield made


@pytest.fixture
def server(request) -> Iterator[Controller]:
    made = Controller(
        Keeper(),
        hostname="127.0.0.1",
        port=free_port(),
        authenticator=authenticate,
        auth_required=True,
        auth_require_tls=False,
        auth_exclude_mechanism=request.param,
    )
    made.start()
    yield made
    made.stop()


def deliver(smtpc: SmtpcProcess, server: Controller, host: str) -> DeliveryResult:
    told = (ServerAddr(addr="127.0.0.1", port=server.port, host=host),)
    return smtpc.deliver(smtpc.job(server.port, server=told))


@pytest.mark.parametrize("server", [(), ("PLAIN",)], ids=["plain", "login"], indirect=True)
def test_a_login_is_known_and_a_wrong_one_puts_the_message_off(smtpc, server):
    assert deliver(smtpc, server, "right.example").rcpts[0].reply.code == 250
    assert server.handler.messages == [(b"ada", CONTENT)]
    result = deliver(smtpc, server, "wrong.example")
    assert (result.session.code, result.session.origin) == (451, "")


@pytest.mark.parametrize("server", [("LOGIN", "PLAIN")], ids=["xoauth2"], indirect=True)
def test_a_token_is_known_and_one_that_has_ended_puts_the_message_off(smtpc, server):
    assert deliver(smtpc, server, "token.example").rcpts[0].reply.code == 250
    assert server.handler.messages == [(b"user=ada", CONTENT)]
    assert deliver(smtpc, server, "old.example").session.code == 451


@pytest.mark.parametrize("server", [()], ids=["nobody"], indirect=True)
def test_a_server_that_wants_to_know_us_keeps_mail_waiting(smtpc, server):
    result = deliver(smtpc, server, "unknown.example")
    assert (result.transaction.code, result.transaction.ecode) == (451, "4.7.0")
    assert server.handler.messages == []
