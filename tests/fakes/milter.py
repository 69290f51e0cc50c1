"""A filter of sendmail 8's protocol: a process of its own that answers by a script, which is read anew for each connection.

    python -m tests.fakes.milter SOCKET SCRIPT

SCRIPT is a JSON object: `negotiate` {version, actions, steps, lists}; `answers` {command: [[answer, value...], ...]}, CONTINUE
where nothing is said, those of `COMMAND again` from its second time on; `faults` {command: what}, see FAULTS.  What it heard
is written to standard output, one JSON list for each connection that is over.
"""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

from meta1g.milter.codec import FrameReader, encode
from meta1g.milter.flags import FilterActions
from meta1g.milter.frames import (
    COMMANDS_BY_CODE,
    KINDS,
    Form,
    Frame,
    MacroList,
    OptNeg,
    Smfic,
    Smfir,
)

ROOT = Path(__file__).parents[2]
ALL = int(sum(FilterActions))
WAIT_S = 30
#: Steps that are answered, each by the bit by which a filter does not.
ANSWERED = {
    Smfic.CONNECT: 0x1000, Smfic.HELO: 0x2000, Smfic.MAIL: 0x4000, Smfic.RCPT: 0x8000, Smfic.DATA: 0x10000, Smfic.HEADER: 0x80,
    Smfic.EOH: 0x40000, Smfic.BODY: 0x80000, Smfic.BODYEOB: 0, Smfic.UNKNOWN: 0x20000,
}  # fmt: skip
SHOWN_BYTES = 2000
Fault = Callable[[socket.socket], None]


def hang(sock: socket.socket) -> None:
    """Says nothing until the MTA gives up."""
    while sock.recv(1 << 16):
        pass


def die(sock: socket.socket) -> None:
    """Closes the connection."""


def trickle(sock: socket.socket) -> None:
    """Says one byte of an answer, and no more until the MTA gives up."""
    sock.sendall(b"\0")
    hang(sock)


def nonsense(sock: socket.socket) -> None:
    """Says an answer that there is not."""
    sock.sendall(b"\0\0\0\1?")
    hang(sock)


def huge(sock: socket.socket) -> None:
    """Says that an answer of 2 GiB follows."""
    sock.sendall(b"\x7f\xff\xff\xffc")
    hang(sock)


def disorder(sock: socket.socket) -> None:
    """Says a change where there can be none, or a second offer."""
    sock.sendall(encode(Frame(Smfir.OPTNEG, OptNeg(6, 0, 0))))
    hang(sock)


def busy(sock: socket.socket) -> None:
    """Says for ever that it is at work."""
    sock.settimeout(0.2)
    while True:
        sock.sendall(encode(Frame(Smfir.PROGRESS)))
        try:
            if not sock.recv(1 << 16):
                return
        except TimeoutError:
            continue


FAULTS: dict[str, Fault] = {one.__name__: one for one in (hang, die, trickle, nonsense, huge, disorder, busy)}


def frame_of(words: list[Any]) -> Frame:
    """Makes an answer from its name and its values."""
    kind, values = Smfir[words[0]], words[1:]
    layout = KINDS[kind]
    if layout.data is None:
        return Frame(kind)
    made = [
        tuple(v.encode() for v in values[at:]) if form is Form.WORDS else v.encode("latin-1") if isinstance(v, str) else v
        for at, ((_name, form), v) in enumerate(zip(layout.forms, values, strict=False))
    ]
    return Frame(kind, layout.data(*made))


def heard_of(frame: Frame) -> list[Any]:
    """Gives what was heard as a list."""
    data = frame.data
    words = [] if data is None else [_plain(getattr(data, name)) for name, _form in KINDS[frame.kind].forms]
    return [frame.kind.name, *words]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1") if len(value) < SHOWN_BYTES else summary(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Smfic):
        return value.name
    if hasattr(value, "name") and hasattr(value, "value") and isinstance(value.value, bytes) and isinstance(value.name, bytes):
        return [_plain(value.name), _plain(value.value)]
    if hasattr(value, "address"):
        return [value.family.name, value.port, _plain(value.address)]
    return value


def summary(data: bytes) -> str:
    """Stands for what is too long to be told."""
    return f"{len(data)} bytes {crc32(data):08x}"


class Talk:
    """One connection."""

    def __init__(self, sock: socket.socket, script: dict[str, Any]) -> None:
        self.sock = sock
        self.script = script
        self.heard: list[Any] = []
        self.reader = FrameReader(COMMANDS_BY_CODE)
        self.reader.max_bytes = 1 << 21

    def frames(self) -> Iterator[Frame]:
        while data := self.sock.recv(1 << 16):
            self.reader.feed(data)
            yield from self.reader.frames()

    def run(self) -> None:
        for frame in self.frames():
            self.heard.append(heard_of(frame))
            name = frame.kind.name
            if fault := self.script.get("faults", {}).get(name):
                FAULTS[fault](self.sock)
                return
            if frame.kind is Smfic.OPTNEG:
                wanted = {"version": 6, "actions": ALL, "steps": 0, "lists": (), **self.script.get("negotiate", {})}
                lists = tuple(MacroList(stage, names.encode()) for stage, names in wanted["lists"])
                self.steps = wanted["steps"]
                self.say(Frame(Smfir.OPTNEG, OptNeg(wanted["version"], wanted["actions"], self.steps, lists)))
            elif frame.kind in ANSWERED and not self.steps & ANSWERED[frame.kind]:
                answers = self.script.get("answers", {})
                again = f"{name} again" if sum(one[0] == name for one in self.heard) > 1 else name
                for words in answers.get(again, answers.get(name, [["CONTINUE"]])):
                    self.say(frame_of(words))

    def say(self, frame: Frame) -> None:
        self.sock.sendall(encode(frame))


def serve(listener: socket.socket, script: Path) -> None:
    """Serves for ever."""
    lock = threading.Lock()

    def one(sock: socket.socket) -> None:
        talk = Talk(sock, json.loads(script.read_text()))
        with sock:
            try:
                talk.run()
            except OSError:
                talk.heard.append(["BROKEN"])
        with lock:
            print(json.dumps([talk.script["turn"], talk.heard]), flush=True)

    while True:
        sock, _addr = listener.accept()
        threading.Thread(target=one, args=(sock,), daemon=True).start()


class FakeMilter:
    """The process; a context manager.

    Args:
        directory: for socket, script and what was heard.
        name: of the files.
    """

    def __init__(self, directory: Path, name: str = "f", *, tcp: bool = False) -> None:
        self.name = name
        self.path = directory / f"{name}.sock"
        self.script_file = directory / f"{name}.json"
        self.tcp = tcp
        self.address = ""
        self.turn = 0
        self.script()

    def script(self, **script: Any) -> "FakeMilter":
        """Says what the next connections find: negotiate, answers, faults."""
        self.script_file.write_text(json.dumps({**script, "turn": self.turn}))
        return self

    def __enter__(self) -> "FakeMilter":
        socket_name = "127.0.0.1:0" if self.tcp else str(self.path)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.milter", socket_name, str(self.script_file)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait(WAIT_S)
        if self.process.stdout:
            self.process.stdout.close()

    @property
    def conf(self) -> str:
        """Options of the section socket."""
        if self.tcp:
            host, _, port = self.address.rpartition(":")
            return f'socket {{ type = inet; address = "{host}"; port = {port}; }}'
        return f'socket {{ type = unix; path = "{self.path}"; }}'

    def heard(self) -> list[Any]:
        """Waits for the end of the next connection; gives what was told on it."""
        assert self.process.stdout is not None
        turn, got = -1, list[Any]()
        while turn < self.turn:  # a test that failed has left some behind
            turn, got = json.loads(self.process.stdout.readline())
        return got


def main(argv: list[str]) -> None:
    """Runs the filter."""
    name, script = argv
    if "/" in name:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(name)
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        name = f"127.0.0.1:{listener.getsockname()[1]}"
    listener.listen(64)
    print(name, flush=True)
    serve(listener, Path(script))


if __name__ == "__main__":
    main(sys.argv[1:])
