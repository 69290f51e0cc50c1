"""contrib/quickstart as a newcomer runs it."""

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from contrib.lib.gateway import ROOT, free_port
from tests.system.conftest import processes_of

pytestmark = pytest.mark.system


@contextlib.contextmanager
def started(*options: str) -> Iterator["subprocess.Popen[str]"]:
    """Starts it as a shell does in the foreground: a process group of its own, SIGINT not ignored; it ends when we do."""
    command = [str(ROOT / "contrib/quickstart"), *options]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        cwd="/",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  pytest runs no thread here
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def read_until(process: "subprocess.Popen[str]", text: str) -> str:
    """Reads its output up to a line with a text."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError("".join(lines) + process.communicate()[1])


def shapes(text: str) -> list[str]:
    """Gives the lines of the sample in the order of the alphabet, without what is different each time."""
    wanted = re.compile(r"message |The way of |queues |[0-9.]+ +(?:smtps|smtpc|smar|qmgr) ")
    lines = [line.strip() for line in text.splitlines() if wanted.match(line.strip())]
    return sorted(
        re.sub(r" +", " ", re.sub(r"[SC][0-9A-F]{18}|\d+", "N", re.sub(r" log .*| stat=kept .*| \.\.\.$", "", line)))
        for line in lines
    )


@pytest.mark.parametrize("name", ["plain", "with a blank"])
def test_once_relays_a_message_and_leaves_nothing_running(tmp_path, name):
    with started("--once", "--port", str(free_port()), "--directory", str(tmp_path / name)) as process:
        output, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
        assert "equal byte for byte but for" in output
        sample = (ROOT / "README").read_text().partition("What quickstart shows")[2].partition("Install\n")[0]
        assert shapes(sample) == shapes(output), "the sample in README"
        assert len(shapes(sample)) == 12
        assert "queues      all empty: cdb 0, aq 0, iqdb 0, defedb 0, ibdb_open 0" in output
        assert processes_of(tmp_path) == {}


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_it_goes_on_until_a_signal_stops_it(tmp_path, signum):
    port = free_port()
    with started("--port", str(port), "--directory", str(tmp_path / "q")) as process:
        output = read_until(process, "Stop:")
        assert f"swaks --server 127.0.0.1:{port}" in output
        words = re.search(r"\.venv/bin/(mailq) (-f \S+)", output)
        assert words is not None
        listing = subprocess.run(
            [ROOT / ".venv/bin" / words[1], *words[2].split()], capture_output=True, text=True, timeout=30, check=True
        )
        assert listing.stdout == "the queues are empty\n"
        if signum == signal.SIGINT:
            os.killpg(process.pid, signum)  # as the terminal does
        else:
            process.send_signal(signum)
        rest, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        assert rest.splitlines()[-1] == f"everything is still in {tmp_path / 'q'}"
        assert processes_of(tmp_path) == {}
        socket.create_server(("127.0.0.1", port)).close()


def test_it_can_be_interrupted_while_it_starts(tmp_path):
    with started("--port", str(free_port()), "--directory", str(tmp_path / "q")) as process:
        read_until(process, "sink ")
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (130, "")
        assert processes_of(tmp_path) == {}


def test_it_works_a_second_time_in_the_same_directory(tmp_path):
    for _ in range(2):
        with started("--once", "--port", str(free_port()), "--directory", str(tmp_path)) as process:
            output, errors = process.communicate(timeout=120)
            assert (process.returncode, errors) == (0, "")
            assert "equal byte for byte but for" in output


def test_a_port_in_use_is_told_in_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        before = set(Path("/tmp").glob("meta1g-quickstart-*"))
        with started("--port", str(port)) as process:
            output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "")
    assert errors == (
        f"contrib/quickstart: 127.0.0.1:{port}: Address already in use; "
        "stop what listens there or choose another port with --port\n"
    )
    assert set(Path("/tmp").glob("meta1g-quickstart-*")) == before
