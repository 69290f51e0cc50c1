"""A component as mcp sees it: obeys the contract of base/startup.py and tells a test what it does.

`child.py NAME [options]`; what it tells goes as datagrams to the socket that the variable EVENTS names.
"""

import argparse
import os
import select
import signal
import socket
import sys
from pathlib import Path


def tell(*words: object) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(" ".join(map(str, words)).encode(), os.environ["EVENTS"])


def facts() -> str:
    """What the kernel knows of this process, one line."""
    wanted = ("Uid", "Gid", "Groups", "Umask", "NoNewPrivs", "CapPrm", "CapEff")
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    found = [f"{name}={','.join(lines[name].split())}" for name in wanted]
    own = {os.environ["META1G_ALIVE_FD"]: "alive", os.environ["META1G_READY_FD"]: "ready"}
    fds = []
    for name in [path.name for path in Path("/proc/self/fd").iterdir()]:
        try:
            os.fstat(int(name))
        except OSError:
            continue  # the one that listed the directory
        fds.append(own.get(name, name))
    return " ".join(
        [*found, f"fds={','.join(sorted(fds))}", f"cwd={Path.cwd()}", f"core={core_limit()}", f"root={regain_root()}"]
    )


def regain_root() -> str:
    if os.getuid() == 0:
        return "is"
    try:
        os.setresuid(0, 0, 0)
    except PermissionError:
        return "never"
    return "again"


def core_limit() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_CORE)[1]


def receive_sockets(path: str, *, refuse: bool) -> list[socket.socket]:
    """Takes listening sockets from mcp as smtps does."""
    from meta1g.rcb.codec import decode, encode
    from meta1g.rcb.framing import Splitter, preamble
    from meta1g.rcb.mcp_child import PROTOCOL, FdTaken

    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        conn, _address = server.accept()
        if refuse:
            conn.close()
            return []
    splitter, taken, fds = Splitter(PROTOCOL), [], []
    with conn:
        conn.sendall(preamble(PROTOCOL))
        while True:
            data, new, _flags, _address = socket.recv_fds(conn, 4096, 10)
            fds += new
            for body in splitter.feed(data):
                request_id, msg = decode(PROTOCOL.from_client, body)
                taken.append(socket.socket(fileno=fds.pop(0)))
                conn.sendall(encode(FdTaken(status=0), request_id))
                tell("taken", msg.index, msg.name)
                if len(taken) == msg.count:
                    return taken


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--exit", type=int, help="end at once with this code")
    parser.add_argument("--exit-file", type=Path, help="as --exit, if this file exists; it holds the code")
    parser.add_argument("--mute", action="store_true", help="never ready")
    parser.add_argument("--late", type=Path, help="ready when this fifo was opened")
    parser.add_argument("--deaf", action="store_true", help="does not stop at SIGTERM")
    parser.add_argument("--pass-fd")
    parser.add_argument("--refuse-sockets", action="store_true", help="closes the connection that brings its sockets")
    parser.add_argument("--stdin", action="store_true", help="accepts from standard input")
    options, rest = parser.parse_known_args()
    tell("start", options.name, os.getpid(), *rest)
    if options.exit_file and options.exit_file.exists():
        options.exit = int(options.exit_file.read_text())
    if options.exit is not None:
        sys.exit(options.exit)
    tell("facts", options.name, facts())
    wake_r, wake_w = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(wake_w)
    for signum in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(signum, lambda *_: None)
    listeners = receive_sockets(options.pass_fd, refuse=options.refuse_sockets) if options.pass_fd else []
    if options.stdin:
        listeners = [socket.socket(fileno=0)]
    if options.late:
        options.late.open().close()
    ready, alive = int(os.environ["META1G_READY_FD"]), int(os.environ["META1G_ALIVE_FD"])
    if not options.mute:
        os.write(ready, b"1")
        os.close(ready)
    serve(options, alive, wake_r, listeners)


def serve(options: argparse.Namespace, alive: int, wake: int, listeners: list[socket.socket]) -> None:
    while True:
        readable, _, _ = select.select([alive, wake, *listeners], [], [])
        if alive in readable:
            tell("orphan", options.name)
            return
        if wake in readable:
            for signum in os.read(wake, 100):
                tell("signal", options.name, signal.Signals(signum).name)
                if signum == signal.SIGTERM and not options.deaf:
                    return
        for sock in listeners:
            if sock in readable:
                conn, _address = sock.accept()
                with conn:
                    conn.sendall(f"{options.name} {os.getpid()}\n".encode())


if __name__ == "__main__":
    main()
