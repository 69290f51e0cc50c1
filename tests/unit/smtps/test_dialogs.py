"""Runs the dialogues of tests/dialogs against a real smtps process; the format is told in 00_format.txt there."""

import contextlib
import fnmatch
from dataclasses import dataclass
from glob import escape as glob_escape
from pathlib import Path

import pytest

from meta1g.base.reply import Reply
from meta1g.rcb.smtps_smar import CheckMail, Checks, ClientVerdict, Verdict, VerdictFlags
from tests.fakes.smtps_process import Client, SmtpsProcess

pytestmark = pytest.mark.xdist_group("smtps-dialogs")

DIALOGS = Path(__file__).parents[2] / "dialogs"


@dataclass(frozen=True)
class Setting:
    """What a dialogue wants of its process."""

    options: str = ""
    checks: Checks = Checks.RCPT
    client: ClientVerdict | None = None


def refuse_by_domain(msg: CheckMail) -> Verdict:
    return Verdict(reply=Reply(550 if msg.mail.endswith("@refused.example") else 250))


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """One process for each set of options."""
    running: dict[Setting, SmtpsProcess] = {}
    with contextlib.ExitStack() as stack:

        def get(setting: Setting) -> SmtpsProcess:
            if setting not in running:
                process = SmtpsProcess(tmp_path_factory.mktemp("q"), setting.options, checks=setting.checks)
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


def outgoing(kind: str, text: str) -> bytes:
    if kind == "C:":
        return text.encode() + b"\r\n"
    if kind == "X:":
        return b"x" * int(text)
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def run(client: Client, path: Path, steps: list[tuple[int, str, str]]) -> None:
    waiting = b""
    for number, kind, text in steps:
        if kind in ("C:", "R:", "X:"):
            waiting += outgoing(kind, text)
            continue
        if waiting:
            client.send(waiting)
            waiting = b""
        got = client.reply().replace("\n", " | ")
        pattern = "" if kind == "E:" else text if "*" in text else glob_escape(text) + "*"
        assert fnmatch.fnmatchcase(got, pattern), f"{path.name}:{number}: expected {kind} {text!r}, got {got!r}"


@pytest.mark.parametrize("path", sorted(DIALOGS.glob("*.dlg")), ids=lambda path: path.stem)
def test_the_dialogue_goes_as_written(processes, path):
    setting, steps = read(path)
    with Client(processes(setting).port) as client:
        run(client, path, steps)
