"""Runs the dialogues of tests/dialogs against a real smtps process; the format is told in 00_format.txt there."""

import contextlib
import fnmatch
from glob import escape as glob_escape
from pathlib import Path

import pytest

from meta1g.base.reply import Reply
from meta1g.rcb.smtps_smar import CheckMail, Checks, Verdict
from tests.fakes.smtps_process import Client, SmtpsProcess

DIALOGS = Path(__file__).parents[2] / "dialogs"


def refuse_by_domain(msg: CheckMail) -> Verdict:
    return Verdict(reply=Reply(550 if msg.mail.endswith("@refused.example") else 250))


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """One process for each set of options."""
    running: dict[tuple[str, Checks], SmtpsProcess] = {}
    with contextlib.ExitStack() as stack:

        def get(options: str, checks: Checks) -> SmtpsProcess:
            key = (options, checks)
            if key not in running:
                process = SmtpsProcess(tmp_path_factory.mktemp("q"), options, checks=checks)
                process.smar.mail = refuse_by_domain
                running[key] = stack.enter_context(process)
            return running[key]

        yield get


def read(path: Path) -> tuple[str, Checks, list[tuple[int, str, str]]]:
    """Gives options, checks and the numbered steps of a dialogue."""
    options, checks, steps = "", Checks.RCPT, []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        kind, _, text = line.partition(" ")
        if line.startswith("#") or not line:
            continue
        if kind == "option":
            options += text + "\n"
        elif kind == "checks":
            for name in text.split():
                checks |= Checks[name]
        else:
            steps.append((number, kind, text))
    return options, checks, steps


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
    options, checks, steps = read(path)
    with Client(processes(options, checks).port) as client:
        run(client, path, steps)
