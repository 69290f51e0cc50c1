"""A store whose disk is really full: mail is refused for now or waits, nothing is lost, and it goes on when there is room."""

import contextlib
import os
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from contrib.lib.gateway import Gateway, free_port, wait_until
from tests.system.conftest import FAST_RETRY, HEADER, KeepingSink, running, send

pytestmark = [
    pytest.mark.system,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk"),
]

NO_THRESHOLD = "min_free_disk = 0; ok_free_disk = 0;"
SMALL_IBDB = "IBDB { max_size = 16KB; }"  # so that it soon needs room that it has not reserved yet


@contextlib.contextmanager
def small_disk(directory: Path, size: str) -> Iterator[None]:
    """Puts a disk of its own below a directory."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(directory)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def fill(directory: Path) -> Path:
    """Uses all the space that is left."""
    path = directory / "filler"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    return path


def attempt(gateway: Gateway, rcpt: str, body: bytes = b"hello\r\n") -> bytes:
    """Sends a message; gives code and enhanced code of the reply that decided."""
    with smtplib.SMTP("127.0.0.1", gateway.port, timeout=60) as client:
        client.ehlo("test.example")
        for command in (lambda: client.mail("s@test.example"), lambda: client.rcpt(rcpt), lambda: client.data(HEADER + body)):
            code, text = command()
            if code >= 400:
                break
        return b"%d %s" % (code, text.split()[0])


@pytest.mark.parametrize("store", ["cdb", "ibdb"])
def test_mail_is_refused_for_now_when_a_store_is_full(tmp_path, store):
    with KeepingSink(tmp_path / "maildir") as sink:
        gateway = Gateway(
            tmp_path / "gateway", f". {sink.port}^[127.0.0.1]", {"qmgr": f"{FAST_RETRY} {NO_THRESHOLD} {SMALL_IBDB}"}
        )
        gateway.setup()
        with small_disk(gateway.queue / store, "1m"), running(gateway):  # running makes the directories on the new disk
            send(gateway, ["first@sink.example"])
            sink.wait_for(1)
            gateway.wait_empty()
            filler = fill(gateway.queue / store)
            pids = gateway.pids()
            for number in range(300):
                reply = attempt(gateway, f"r{number}@sink.example", b"x" * 70 + b"\r\n" * 100)
                if reply[:1] == b"4":
                    break
            assert reply in (b"452 4.3.1", b"451 4.3.1"), reply
            accepted = number
            filler.unlink()
            send(gateway, ["last@sink.example"])
            wait_until(lambda: len(sink.envelopes()) == accepted + 2, 30, f"{accepted + 2} messages")
            gateway.wait_empty()
            assert gateway.pids() == pids


def test_mail_that_cannot_be_deferred_since_the_disk_is_full_is_not_lost(tmp_path):
    port = free_port()
    gateway = Gateway(tmp_path / "gateway", f". {port}^[127.0.0.1]", {"qmgr": f"{FAST_RETRY} {NO_THRESHOLD}"})
    gateway.setup()
    accepted = []
    with small_disk(gateway.queue / "defedb", "48m"), running(gateway):
        send(gateway, ["first@sink.example"])
        wait_until(lambda: gateway.leftovers()["defedb"] == 1, 30, "one deferred")
        filler = fill(gateway.queue / "defedb")
        for number in range(200):
            with contextlib.suppress(OSError, smtplib.SMTPException):
                if attempt(gateway, f"r{number}@sink.example")[:1] == b"2":
                    accepted.append(f"r{number}@sink.example")
        assert accepted
        filler.unlink()
        with KeepingSink(tmp_path / "maildir", listen=f"127.0.0.1:{port}") as sink:
            gateway.wait_ready(60)
            gateway.wait_empty(120)
            came = {rcpt for envelope in sink.envelopes() for rcpt in envelope["rcpts"]}
    assert came == {"first@sink.example", *accepted}
    assert "No space left" in gateway.log.read_text()
