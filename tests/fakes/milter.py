"""A filter of sendmail 8's protocol: a process of its own that answers by a script, which is read anew for each connection.

    python -m tests.fakes.milter SOCKET SCRIPT

SCRIPT is a JSON object: `negotiate` {version, actions, steps, lists}; `answers` {command: [[answer, value...], ...]}, CONTINUE
where nothing is said, those of `COMMAND again` from its second time on; `faults` {command: what}, see FAULTS.  What it heard
is written to standard output, one JSON list for each connection that is over.
"""

import contextlib
import json
import select
import selectors
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
    FieldData,
    Form,
    Frame,
    MacroList,
    OptNeg,
    Smfic,
    Smfir,
    TextData,
)
from meta1g.milter.limits import CHANGES_MAX, MACROS_MAX

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


def deaf(sock: socket.socket) -> None:
    """Reads no more until the MTA gives up."""
    gone = select.poll()
    gone.register(sock, select.POLLRDHUP)
    gone.poll(WAIT_S * 1000)


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


def empty(sock: socket.socket) -> None:
    """Says an answer of no bytes."""
    sock.sendall(b"\0\0\0\0")
    hang(sock)


def overlong(sock: socket.socket) -> None:
    """Says an answer with bytes behind its data."""
    sock.sendall(b"\0\0\0\3cxx")
    hang(sock)


def long_reply(sock: socket.socket) -> None:
    """Refuses in a line that no client would read."""
    sock.sendall(encode(Frame(Smfir.REPLYCODE, TextData(b"550 5.7.1 " + b"x" * 60_000))))
    hang(sock)


def half(sock: socket.socket) -> None:
    """Closes the connection after a change, without a decision."""
    sock.sendall(encode(Frame(Smfir.ADDHEADER, FieldData(b"X-Half", b"1"))))


def flood(sock: socket.socket) -> None:
    """Says more changes than a message may have, and then that it may go on."""
    change = encode(Frame(Smfir.ADDHEADER, FieldData(b"X-Flood", b"1")))
    sock.sendall(change * (CHANGES_MAX + 1) + encode(Frame(Smfir.CONTINUE)))
    hang(sock)


def early(sock: socket.socket) -> None:
    """Answers what it was not asked."""
    sock.sendall(encode(Frame(Smfir.CONTINUE)))
    hang(sock)


def _offer(sock: socket.socket, *lists: MacroList, version: int = 6, actions: int = ALL) -> None:
    sock.sendall(encode(Frame(Smfir.OPTNEG, OptNeg(version, actions, 0, lists))))
    hang(sock)


def many_macros(sock: socket.socket) -> None:
    """Wants more macros than there are."""
    _offer(sock, MacroList(0, b" ".join(b"{m%d}" % number for number in range(MACROS_MAX + 1))))


def many_lists(sock: socket.socket) -> None:
    """Wants more lists of macros than there are stages."""
    _offer(sock, *[MacroList(0, b"j")] * (MACROS_MAX + 1))


def macros_of_no_stage(sock: socket.socket) -> None:
    """Wants macros at a stage that there is not."""
    _offer(sock, MacroList(99, b"j"))


def other_version(sock: socket.socket) -> None:
    """Speaks a version that nobody else does."""
    _offer(sock, version=7)


def greedy(sock: socket.socket) -> None:
    """Wants to do what was not offered."""
    _offer(sock, actions=ALL | 1 << 20)


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


def restless(sock: socket.socket) -> None:
    """Says without a pause that it is at work, as fast as the MTA reads."""
    words = encode(Frame(Smfir.PROGRESS)) * 10_000
    while True:
        sock.sendall(words)


#: Those that can be at any step, those of the offer, and those of the end of a message.
ANYWHERE = (hang, die, trickle, empty, overlong, nonsense, huge, long_reply)
AT_OFFER = (early, many_macros, many_lists, macros_of_no_stage, other_version, greedy)
AT_END = (half, flood, busy, restless)
FAULTS: dict[str, Fault] = {one.__name__: one for one in (*ANYWHERE, deaf, *AT_OFFER, disorder, *AT_END)}


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
    """One connection.

    Args:
        on_fault: is called before it breaks.
    """

    def __init__(self, sock: socket.socket, script: dict[str, Any], on_fault: Callable[[], None] = lambda: None) -> None:
        self.on_fault = on_fault
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
                self.on_fault()
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


class FaultyMilters:
    """Filters in threads of the test: each breaks on its first connection, and adds a field to all messages of later ones.

    Args:
        directory: for their sockets.
        faults: name of each filter, and its fault by step.
        always: they break on later connections, too.

    Attributes:
        broken: has been released once for each filter that has broken.
    """

    def __init__(self, directory: Path, faults: dict[str, dict[str, str]], *, always: bool = False) -> None:
        self._faults = dict(faults)
        self._always = always
        self.broken = threading.Semaphore(0)
        self._selector = selectors.DefaultSelector()
        self._held: list[socket.socket] = []
        self._stop, self._stopped = socket.socketpair()
        self._selector.register(self._stopped, selectors.EVENT_READ, "")
        self.paths = {name: directory / name for name in faults}
        for name, path in self.paths.items():
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(path))
            listener.listen(16)
            self._selector.register(listener, selectors.EVENT_READ, name)
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> "FaultyMilters":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.break_off()
        self._stop.close()
        self._thread.join(WAIT_S)

    def break_off(self) -> None:
        """Closes all connections that there have been."""
        for sock in self._held:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            for key, _events in self._selector.select():
                name = key.data
                if not name:
                    for other in list(self._selector.get_map().values()):
                        other.fileobj.close()  # type: ignore[union-attr]
                    self._selector.close()
                    return
                sock, _address = key.fileobj.accept()  # type: ignore[union-attr]
                self._held = [*(one for one in self._held if one.fileno() >= 0), sock]
                end = [["ADDHEADER", "X-Back", name], ["CONTINUE"]]
                faults = self._faults.get(name, {}) if self._always else self._faults.pop(name, {})
                script = {"faults": faults, "answers": {"BODYEOB": end}}
                threading.Thread(target=self._serve, args=(sock, script), daemon=True).start()

    def _serve(self, sock: socket.socket, script: dict[str, Any]) -> None:
        with sock, contextlib.suppress(OSError):
            Talk(sock, script, self.broken.release).run()


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
        if not self.address:
            self.__exit__()
        assert self.address
        return self

    def __exit__(self, *exc: object) -> None:
        with self.process as process:  # this closes its pipe and waits for it
            process.kill()

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
