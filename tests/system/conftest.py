"""Fixtures of the system tests: a sink and a gateway in a directory of their own, all of them real processes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contrib.lib.gateway import ROOT, Gateway, wait_until


class KeepingSink:
    """contrib/loadtest/smtpsink.py as a process, with what it got."""

    def __init__(self, maildir: Path, *options: str, listen: str = "127.0.0.1:0") -> None:
        self.maildir = maildir
        command = [sys.executable, str(ROOT / "contrib/loadtest/smtpsink.py"), "--maildir", str(maildir), "--listen", listen]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address, "the sink did not start"

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

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[KeepingSink]:
    made = KeepingSink(tmp_path / "maildir")
    yield made
    made.stop()


@pytest.fixture
def gateway(tmp_path: Path, sink: KeepingSink) -> Iterator[Gateway]:
    """A running gateway that relays everything to the sink."""
    made = Gateway(tmp_path / "gateway", f". {sink.port}^[127.0.0.1]")
    made.setup()
    made.start()
    yield made
    assert made.stop() == 0, made.last_words()
