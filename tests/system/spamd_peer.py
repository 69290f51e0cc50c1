"""milter-spamd with the real spamd of SpamAssassin, over a Unix socket and over TCP, with every method.

    apt-get install spamd
    python -m tests.system.spamd_peer

spamd runs in a directory of its own, with the rules that it comes with and without questions to DNS.  Each line that is printed
is one question and what came of it; the exit code is the number of surprises.
"""

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from contrib.lib.gateway import wait_until
from meta1g.tools.pmtest import PmClient
from tests.fakes.filter_program import FilterProgram
from tests.unit.filters.filtersession import FilterSession, Outcome

WAIT_S = 120
DATE = "Fri, 27 Nov 2026 20:00:00 +0000"
HEADER = (
    f"From: Ada <ada@example.net>\r\nTo: bob@example.org\r\nSubject: test\r\nDate: {DATE}\r\nMessage-ID: <1@x.example.net>\r\n"
)
HAM = HEADER.encode() + b"X-Spam-Flag: YES\r\n\r\nThe minutes of our meeting are below.\r\n\r\nSee you on Monday, Ada\r\n"
GTUBE = HEADER.encode() + b"\r\nXJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n"
LARGE = HAM + b"A line of a long text, and nothing in it that anybody would want to sell.\r\n" * 5000
OPTIONS = "max_size = 1MB; subject_tag = [SPAM]; "


@contextlib.contextmanager
def spamd(directory: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a spamd without questions to anybody else."""
    command = ["spamd", "--local", "--nouser-config", "--max-children=2", f"--helper-home-dir={directory}", "--syslog=stderr"]
    with (directory / "spamd.log").open("ab") as log:
        process = subprocess.Popen([*command, *options], stdin=subprocess.DEVNULL, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(WAIT_S)


def listens(family: int, address: str | tuple[str, int]) -> bool:
    with socket.socket(family) as sock:
        return sock.connect_ex(address) == 0


class Questions:
    """Asks and counts surprises."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.surprises = 0

    def ask(self, directory: Path, conf: str, name: str, message: bytes, expected: str) -> None:
        with FilterProgram("meta1g_filters.spamd.main", directory, conf) as program:
            client = PmClient(program.path, WAIT_S)
            said = told(FilterSession(client).send(message, ip="203.0.113.7", helo="mx.example.net", rcpts=["bob@example.org"]))
            client.close()
        surprise = not said.startswith(expected)
        self.surprises += surprise
        print(f"{self.where} {name}: {said}{f'  INSTEAD OF {expected}' if surprise else ''}", flush=True)
        if surprise:
            print("\n".join(program.lines))

    def together(self, directory: Path, conf: str, count: int) -> None:
        """Asks about several messages at once."""
        found: list[str] = []

        def one(program: FilterProgram) -> None:
            client = PmClient(program.path, WAIT_S)
            found.append(told(FilterSession(client).send(GTUBE)))
            client.close()

        with FilterProgram("meta1g_filters.spamd.main", directory, conf) as program:
            threads = [threading.Thread(target=one, args=(program,)) for _ in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(WAIT_S)
        good = found == ["spam, tagged"] * count
        self.surprises += not good
        print(f"{self.where} {count} at once: {'all marked' if good else found}", flush=True)


def told(outcome: Outcome) -> str:
    """Gives in words what became of a message."""
    if outcome.said or outcome.held:
        return outcome.said or f"held: {outcome.held}"
    if outcome.replaced is not None:
        return "report" if b"X-Spam-Flag: YES" in outcome.replaced and b"message/rfc822" in outcome.replaced else "other"
    status, tagged = outcome.values("X-Spam-Status"), outcome.values("Subject") == ["[SPAM] test"]
    word = {"Yes": "spam", "No": "ham"}.get(status[0].split(",")[0], "?") if len(status) == 1 else f"{len(status)} marks"
    return f"{word}{', tagged' if tagged else ''}"


def play(where: str, conf: str, directory: Path) -> int:
    """Asks everything of one spamd; gives the number of surprises."""
    questions = Questions(where)
    conf = f"spamd {{ {conf} }} {OPTIONS}"
    for method in ("check", "symbols", "headers", "process"):
        text = f"{conf} method = {method};"
        questions.ask(directory, text, f"{method} GTUBE", GTUBE, "report" if method == "process" else "spam, tagged")
        questions.ask(directory, text, f"{method} ham", HAM, "ham")
        questions.ask(directory, text, f"{method} large", LARGE, "ham")
    questions.ask(directory, f"{conf} user = nobody; user_of_recipient = local;", "user", GTUBE, "spam, tagged")
    questions.ask(directory, f"{conf} reject_score = 900;", "reject", GTUBE, "550 5.7.1 Looks like spam")
    questions.ask(directory, f"{conf} hold_score = 900;", "hold", GTUBE, "held: spam, score 100")
    questions.ask(directory, f"{conf} discard_score = 900;", "discard", GTUBE, "discard")
    questions.together(directory, conf, 6)
    return questions.surprises


def main() -> int:
    """Plays everything; gives the number of surprises."""
    if shutil.which("spamd") is None:
        print("spamd is missing: apt-get install spamd")
        return 1
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        path = directory / "spamd.sock"
        with spamd(directory, f"--socketpath={path}"):
            wait_until(lambda: listens(socket.AF_UNIX, str(path)), WAIT_S, "spamd listens")
            surprises = play("unix", f'type = unix; path = "{path}";', directory)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with spamd(directory, "--listen=127.0.0.1", f"--port={port}"):
            wait_until(lambda: listens(socket.AF_INET, ("127.0.0.1", port)), WAIT_S, "spamd listens")
            surprises += play("inet", f"port = {port};", directory)
        questions = Questions("nobody")
        questions.ask(directory, f"spamd {{ port = {port}; }} without_spamd = tempfail;", "tempfail", GTUBE, "451 4.7.1")
    print(f"{surprises + questions.surprises} surprises")
    return surprises + questions.surprises


if __name__ == "__main__":
    sys.exit(main())
