"""Runs the dialogues of tests/dialogs against a real smtps process; the format is told in 00_format.txt there."""

import base64
import contextlib
import fnmatch
import re
import ssl
from dataclasses import dataclass
from glob import escape as glob_escape
from pathlib import Path

import pytest

from meta1g.base.reply import Reply
from meta1g.rcb.smtps_smar import CheckMail, Checks, ClientVerdict, Verdict, VerdictFlags
from meta1g.sasl.scram import ScramClient
from meta1g.sasl.stored import make_stored
from tests.fakes.certificates import make_certificate
from tests.fakes.smtps_process import Client, SmtpsProcess

pytestmark = pytest.mark.xdist_group("smtps-dialogs")

#: The same dialogues go over a socket whose sessions begin with TLS; the one in clear offers no STARTTLS, as they say.
UNDER_TLS = """
  listen_socket {{ type = inet; address = "127.0.0.1"; port = 0; implicit_tls = true; }}
  tls {{ cert_file = {0}/mx.example.pem; key_file = {0}/mx.example.key; }}
"""
_CODED = re.compile(r"<<(.*?)>>")
DIALOGS = Path(__file__).parents[2] / "dialogs"


@dataclass(frozen=True)
class Setting:
    """What a dialogue wants of its process."""

    options: str = ""
    checks: Checks = Checks.RCPT
    client: ClientVerdict | None = None


def refuse_by_domain(msg: CheckMail) -> Verdict:
    return Verdict(reply=Reply(550 if msg.mail.endswith("@refused.example") else 250))


def is_plain(setting: Setting) -> bool:
    """Tells whether a dialogue knows nothing of TLS and AUTH, so that it goes the same way under TLS."""
    return not any(word in setting.options for word in ("tls {", "auth {", "proxy"))


def goes_under_tls(path: Path) -> bool:
    """Tells whether a dialogue does not look at the list of extensions either, which is another one, and gets a handshake."""
    setting, steps = read(path)
    if setting.client is not None and setting.client.reply.is_temp:
        return False
    return is_plain(setting) and not any(kind == "S:" and text.startswith("250-") for _, kind, text in steps)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A certificate, and a file of users."""
    directory = tmp_path_factory.mktemp("files")
    make_certificate(directory, "mx.example")
    stored = [make_stored(kind, "pencil", b"salt" * 4, 4096) for kind in ("SCRAM-SHA-256", "SCRAM-SHA-1")]
    text = f":secret-of-the-file\nann@example.org:{' '.join(map(str, stored))}\ncert.example:{{EXTERNAL}}\n"
    (directory / "users").write_text(text)
    return directory


@pytest.fixture(scope="module")
def processes(tmp_path_factory, files):
    """One process for each set of options."""
    running: dict[Setting, SmtpsProcess] = {}
    with contextlib.ExitStack() as stack:

        def get(setting: Setting) -> SmtpsProcess:
            if setting not in running:
                options = setting.options.replace("@FILES@", str(files))
                if is_plain(setting):
                    flags = "flags = { dont_starttls, "
                    options = (
                        options.replace("flags = { ", flags, 1) if "flags = { " in options else f"{options} {flags[:-2]} }};"
                    )
                    options += UNDER_TLS.format(files)
                process = SmtpsProcess(tmp_path_factory.mktemp("q"), options, checks=setting.checks)
                process.smar.mail = refuse_by_domain
                if setting.client is not None:
                    process.smar.client = lambda msg: setting.client
                running[setting] = stack.enter_context(process)
            return running[setting]

        yield get


def read(path: Path) -> tuple[Setting, list[tuple[int, str, str]]]:
    """Gives the setting and the numbered steps of a dialogue."""
    options, checks, client, steps = "", Checks.RCPT, None, []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        kind, _, text = line.partition(" ")
        if line.startswith("#") or not line:
            continue
        if kind == "option":
            options += text + "\n"
        elif kind == "checks":
            for name in text.split():
                checks |= Checks[name]
        elif kind == "relay":
            client = ClientVerdict(reply=Reply(220), flags=VerdictFlags.RELAY)
        elif kind == "client":
            code, ecode, words = text.split(" ", 2)
            checks |= Checks.CLIENT
            client = ClientVerdict(reply=Reply(int(code), ecode, words))
        else:
            steps.append((number, kind, text))
    return Setting(options, checks, client), steps


def base64_of(match: "re.Match[str]") -> str:
    return base64.b64encode(match[1].encode("latin-1").decode("unicode_escape").encode("latin-1")).decode()


def start_tls(client: Client) -> None:
    """Makes the client's side of a handshake; nothing is verified."""
    client.file.close()
    client.sock = ssl._create_unverified_context().wrap_socket(client.sock)
    client.file = client.sock.makefile("rb")


def play_scram(client: Client, hash_name: str, user: str, password: str) -> str:
    """Answers challenges until there is none; gives the reply that came then."""
    exchange = ScramClient(hash_name, user, password, "cnonce").exchange()
    response = next(exchange)
    while True:
        client.send(base64.b64encode(response) + b"\r\n")
        reply = client.reply()
        if not reply.startswith("334 "):
            return reply
        response = exchange.send(base64.b64decode(reply[4:]))


def outgoing(kind: str, text: str) -> bytes:
    if kind == "C:":
        return text.encode() + b"\r\n"
    if kind == "X:":
        return b"x" * int(text)
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def run(client: Client, path: Path, steps: list[tuple[int, str, str]]) -> None:
    waiting, came = b"", None
    for number, kind, coded in steps:
        text = _CODED.sub(base64_of, coded)
        if kind in ("C:", "R:", "X:"):
            waiting += outgoing(kind, text)
            continue
        if waiting:
            client.send(waiting)
            waiting = b""
        if kind == "TLS:":
            start_tls(client)
            continue
        if kind == "SCRAM:":
            came = play_scram(client, *text.split())
            continue
        answer, came = (client.reply(), None) if came is None else (came, None)
        got = answer.replace("\n", " | ")
        pattern = "" if kind == "E:" else text if "*" in text else glob_escape(text) + "*"
        assert fnmatch.fnmatchcase(got, pattern), f"{path.name}:{number}: expected {kind} {text!r}, got {got!r}"


@pytest.mark.parametrize("path", sorted(DIALOGS.glob("*.dlg")), ids=lambda path: path.stem)
def test_the_dialogue_goes_as_written(processes, path):
    setting, steps = read(path)
    with Client(processes(setting).port) as client:
        run(client, path, steps)


@pytest.mark.parametrize("path", list(filter(goes_under_tls, sorted(DIALOGS.glob("*.dlg")))), ids=lambda path: path.stem)
def test_the_dialogue_goes_so_under_tls(processes, files, path):
    setting, steps = read(path)
    context = ssl.create_default_context(cafile=files / "mx.example.pem")
    port = processes(setting).port_of(1)
    with Client(port, lambda sock: context.wrap_socket(sock, server_hostname="mx.example")) as client:
        run(client, path, steps)
