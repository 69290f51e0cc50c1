"""Content that is damaged while it waits in a running gateway is never delivered, and costs its own message only (I3)."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from contrib.lib.gateway import Gateway, free_port, wait_until
from tests.system.conftest import FAST_RETRY, KeepingSink, running, send

pytestmark = pytest.mark.system

BODY = b"line of text\r\n" * 200
LARGE = b"a long line of text, not as short as the others are: " * 3 + b"\r\n"
LARGE *= 3000


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def extended(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more\r\n")


def one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def zero_page(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:512] + bytes(512) + data[1024:])


def missing(path: Path) -> None:
    path.unlink()


def symbolic_link(path: Path) -> None:
    path.symlink_to(path.rename(path.with_name("moved-" + path.name)))


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def mend(path: Path, data: bytes) -> None:
    """Puts the content back, as an operator does from a copy."""
    path.with_name("moved-" + path.name).unlink(missing_ok=True)
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.write_bytes(data)


DAMAGES: tuple[Callable[[Path], None], ...] = (
    truncated, extended, one_bit, empty, zero_page, missing, symbolic_link, fifo, directory,
)  # fmt: skip


def content_of(gateway: Gateway, marker: str) -> Path:
    """Finds the content file of a message by a word in it."""
    (path,) = (path for path in gateway.content_files() if marker.encode() in path.read_bytes())
    return path


@pytest.mark.parametrize("body", [BODY, LARGE], ids=["small", "large"])
def test_damaged_content_is_not_delivered_until_it_is_mended_and_everything_else_is(tmp_path, sink, body):
    port = free_port()
    table = f"later.example {port}^[127.0.0.1]\n. {sink.port}^[127.0.0.1]"
    names = [damage.__name__ for damage in DAMAGES]
    with running(Gateway(tmp_path / "gateway", table, {"qmgr": FAST_RETRY})) as gateway:
        for name in [*names, "good_1", "good_2"]:
            send(gateway, [f"{name}@later.example"], body=f"marker-{name}\r\n".encode() + body)
        wait_until(lambda: gateway.leftovers().get("defedb") == len(names) + 2, 60, "all in DEFEDB")
        paths = {name: content_of(gateway, f"marker-{name}\r\n") for name in names}
        originals = {path: path.read_bytes() for path in paths.values()}
        for damage in DAMAGES:
            damage(paths[damage.__name__])
        with KeepingSink(tmp_path / "later", listen=f"127.0.0.1:{port}") as later:
            later.wait_for(2)
            for name, path in paths.items():
                wait_until(lambda path=path: f"content file {path}:" in gateway.log.read_text(), 60, f"{name} is named")
            send(gateway, ["r@sink.example", "r@later.example"], body=body)
            came = [rcpt for envelope in later.wait_for(3) for rcpt in envelope["rcpts"]]
            assert sorted(came) == ["good_1@later.example", "good_2@later.example", "r@later.example"]
            assert [envelope["rcpts"] for envelope in sink.wait_for(1)] == [["r@sink.example"]], "no report went to the sender"
            for path, data in originals.items():
                mend(path, data)
            gateway.run_tool("qmgrctl", "-f", str(gateway.conf), "release", "all")
            envelopes = later.wait_for(3 + len(names))
            assert sorted(one["rcpts"][0] for one in envelopes[3:]) == sorted(f"{name}@later.example" for name in names)
            assert all(later.content(one).endswith(body) for one in envelopes)
            gateway.wait_empty()
