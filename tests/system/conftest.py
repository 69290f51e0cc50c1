"""Fixtures of the system tests: a sink and a gateway in a directory of their own, all of them real processes."""

import contextlib
import io
import json
import os
import shutil
import smtplib
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from contrib.lib.gateway import ROOT, Gateway, copy_package, wait_until
from meta1g.tools.metalog import main as metalog
from meta1g.tools.queueview import short

HEADER = b"From: a@test.example\r\nSubject: test\r\n\r\n"
FAST_RETRY = "min_retry_delay = 1s; max_retry_delay = 2s;"
#: What meta1g imports beside the standard library.
LIBRARIES = ("gevent", "greenlet", "zope", "dns", "ply", "berkeleydb", "re2", "_cffi_backend", "idna")


def send(gateway: Gateway, rcpts: Sequence[str], mail: str = "sender@back.example", body: bytes = b"hello\r\n") -> None:
    """Sends one message through a gateway that takes all its recipients."""
    with smtplib.SMTP("127.0.0.1", gateway.port, timeout=60) as client:
        assert client.sendmail(mail, list(rcpts), HEADER + body) == {}


def mailq(gateway: Gateway) -> str:
    """What mailq prints."""
    return "\n".join(short([gateway.control("queue")["list"]], time.time()))


def verdicts(gateway: Gateway, *asked: str) -> dict[str, str]:
    """What metalog says: verdict by id of message, or of session."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        metalog.main(["-f", str(gateway.conf), "--json", *asked])
    stories = map(json.loads, out.getvalue().splitlines())
    return {story["id"] or story["session"]: story["verdict"] for story in stories}


def processes_of(directory: Path) -> dict[int, str]:
    """Processes that name a directory in their command line: process id and command line."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"{directory}/" in words and int(path.parent.name) != os.getpid():
                found[int(path.parent.name)] = words
    return found


@contextlib.contextmanager
def running(gateway: Gateway) -> Iterator[Gateway]:
    """Sets a gateway up and runs it; at the end it stops in order and leaves no process behind."""
    gateway.setup()
    try:
        gateway.start()
        yield gateway
    except BaseException:
        gateway.stop()
        raise
    assert gateway.stop() == 0, gateway.last_words()
    assert processes_of(gateway.directory) == {}


@contextlib.contextmanager
def directory_for_all() -> Iterator[Path]:
    """A new directory that all accounts can pass through, unlike tmp_path, which is for its owner only."""
    directory = Path(tempfile.mkdtemp(prefix="meta1g-test-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    with directory_for_all() as directory:
        yield directory


@pytest.fixture(scope="session")
def program_for_all() -> Iterator[Path]:
    """A copy of the programs and their libraries that all accounts can read, wherever the checkout is: a PYTHONPATH."""
    with directory_for_all() as target:
        copy_package(target)
        for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
            for name in LIBRARIES:
                for path in [*Path(place).glob(name), *Path(place).glob(f"{name}.*")]:
                    copy = shutil.copytree if path.is_dir() else shutil.copy
                    copy(path, target / path.name)
        subprocess.run(["chmod", "-R", "a+rX", target], check=True)
        yield target


#: What the processes of a gateway run first: qmgr looks for content that nobody refers to after 3 s instead of 25 s.
SOON = """
import meta1g.qmgr.limits as limits
limits.ORPHAN_DELAY_S, limits.ORPHAN_MIN_AGE_S = 3, 2
"""


def orphans_go_soon(directory: Path) -> dict[str, str]:
    """Gives the environment of a gateway that tidies up early.

    Args:
        directory: for a file; made if it is missing.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "sitecustomize.py").write_text(SOON)
    return {"PYTHONPATH": os.pathsep.join([str(directory), str(ROOT), os.environ.get("PYTHONPATH", "")])}


class KeepingSink:
    """contrib/loadtest/smtpsink.py as a process, with what it got."""

    def __init__(self, maildir: Path, *options: str, listen: str = "127.0.0.1:0") -> None:
        self.maildir = maildir
        command = [sys.executable, str(ROOT / "contrib/loadtest/smtpsink.py"), "--maildir", str(maildir), "--listen", listen]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            self.stop()
        assert self.address, "the sink did not start"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def envelopes(self) -> list[dict]:
        """What came, in the order of arrival: file, mail, rcpts, size."""
        text = (self.maildir / "envelopes.jsonl").read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def content(self, envelope: dict) -> bytes:
        return (self.maildir / "new" / envelope["file"]).read_bytes()

    def wait_for(self, count: int, timeout_s: float = 60) -> list[dict]:
        """Waits until at least count messages have come."""
        wait_until(lambda: len(self.envelopes()) >= count, timeout_s, f"{count} messages; {len(self.envelopes())} came")
        return self.envelopes()

    def wait_for_rcpts(self, count: int, timeout_s: float = 60) -> list[str]:
        """Waits for recipients, in however many transactions they come."""
        wait_until(lambda: len(self._rcpts()) >= count, timeout_s, f"{count} recipients")
        return sorted(self._rcpts())

    def _rcpts(self) -> list[str]:
        return [rcpt for envelope in self.envelopes() for rcpt in envelope["rcpts"]]

    def stop(self) -> None:
        """Ends it, by force if it does not obey."""
        with self.process as process:  # this closes its pipe and waits for it
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[KeepingSink]:
    with KeepingSink(tmp_path / "maildir") as made:
        yield made


@pytest.fixture
def gateway(tmp_path: Path, sink: KeepingSink) -> Iterator[Gateway]:
    """A running gateway that relays everything to the sink."""
    with running(Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]", env=orphans_go_soon(tmp_path / "soon"))) as made:
        yield made


@dataclass(frozen=True)
class Shared:
    """A gateway that the tests of a module use one after the other, each with recipients of its own."""

    gateway: Gateway
    sink: KeepingSink

    def send(self, *rcpts: str) -> None:
        send(self.gateway, rcpts)

    def arrive(self, *rcpts: str) -> None:
        """Waits until recipients have got their mail."""
        missing = set(rcpts)

        def all_came() -> bool:
            missing.difference_update(*(envelope["rcpts"] for envelope in self.sink.envelopes()))
            return not missing

        wait_until(all_came, 90, f"mail for {missing}; {self.gateway.last_words()}")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """For modules whose tests leave the gateway as they found it; they need an xdist_group."""
    directory = tmp_path_factory.mktemp("shared")
    with (
        KeepingSink(directory / "maildir") as sink,
        running(Gateway(directory / "gateway", f". {sink.port}^[127.0.0.1]")) as gateway,
    ):
        yield Shared(gateway, sink)
