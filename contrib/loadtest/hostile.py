#!/usr/bin/env python3
"""SMTP servers that misbehave: what does mail to others suffer while one of them is being delivered to?

    hostile.py [--listen ADDRESS] [--tls FILE] KIND ...

Each kind listens on a port of its own.  The first lines on standard output are `KIND ADDRESS:PORT`, one for each; SIGTERM
or SIGINT ends it.  With --tls all of them talk in order up to STARTTLS, and misbehave under TLS.

    floods      talks in order up to 354, then sends `250 ok` without end and reads nothing more
    replies     sends `250 ok` without end from the first byte on
    continues   answers EHLO with `250-...` lines without end
    line        greets with one line without end
    binary      sends random bytes without end
    trickles    sends one byte of its replies a second
    sips        talks in order up to 354, then reads one byte a second
    silent      takes the connection, sends nothing and reads nothing
"""

import argparse
import contextlib
import itertools
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Final

_PIECE_BYTES: Final = 64 << 10
_SLOW_S: Final = 1.0
_WORDS: Final = {b"EHLO": b"250-hostile\r\n250 PIPELINING\r\n", b"DATA": b"354 go ahead\r\n", b"QUIT": b"221 bye\r\n"}
_TLS_WORDS: Final = {b"EHLO": b"250-hostile\r\n250 STARTTLS\r\n", b"STAR": b"220 go ahead\r\n"}

stop = threading.Event()


def send_for_ever(conn: socket.socket, piece: bytes) -> None:
    """Sends the same again and again until the client closes."""
    data = piece * max(1, _PIECE_BYTES // len(piece))
    while not stop.is_set():
        conn.sendall(data)


def send_slowly(conn: socket.socket, pieces: Iterable[bytes]) -> None:
    """Sends one piece a second."""
    for piece in pieces:
        if stop.wait(_SLOW_S):
            return
        conn.sendall(piece)


def talk_to_data(conn: socket.socket) -> None:
    """Greets and takes whatever comes up to DATA, which gets 354."""
    talk_to(b"DATA", conn, _WORDS, greet=not isinstance(conn, ssl.SSLSocket))


def talk_to(last: bytes, conn: socket.socket, words: dict[bytes, bytes], *, greet: bool) -> None:
    """Takes whatever comes up to a command of four letters, which is answered."""
    if greet:
        conn.sendall(b"220 hostile\r\n")
    buffer = b""
    while data := conn.recv(4096):
        *lines, buffer = (buffer + data).split(b"\r\n")
        for line in lines:
            conn.sendall(words.get(line[:4].upper(), b"250 ok\r\n"))
            if line[:4].upper() == last:
                return
    raise ConnectionResetError


def floods(conn: socket.socket) -> None:
    """See the head of this file; so for all others."""
    talk_to_data(conn)
    send_for_ever(conn, b"250 ok\r\n")


def replies(conn: socket.socket) -> None:
    """Never stops answering."""
    send_for_ever(conn, b"250 ok\r\n")


def continues(conn: socket.socket) -> None:
    """Never comes to the end of a reply."""
    conn.sendall(b"220 hostile\r\n")
    conn.recv(4096)
    send_for_ever(conn, b"250-X-MORE\r\n")


def line(conn: socket.socket) -> None:
    """Never comes to the end of a line."""
    conn.sendall(b"220 ")
    send_for_ever(conn, b"hostile ")


def binary(conn: socket.socket) -> None:
    """Speaks no SMTP."""
    send_for_ever(conn, os.urandom(_PIECE_BYTES))


def trickles(conn: socket.socket) -> None:
    """Is never silent and never done."""
    send_slowly(conn, itertools.chain([b"2", b"2", b"0"], itertools.repeat(b"-")))


def sips(conn: socket.socket) -> None:
    """Reads so slowly that the whole takes for ever."""
    talk_to_data(conn)
    while not stop.wait(_SLOW_S) and conn.recv(1):
        pass


def silent(conn: socket.socket) -> None:
    """Does nothing."""
    stop.wait()


KINDS: Final[dict[str, Callable[[socket.socket], None]]] = {
    function.__name__: function for function in (floods, replies, continues, line, binary, trickles, sips, silent)
}


def under_tls(context: ssl.SSLContext, kind: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    """Gives the same kind under TLS."""

    def misbehaves(conn: socket.socket) -> None:
        talk_to(b"STAR", conn, _TLS_WORDS, greet=True)
        with context.wrap_socket(conn, server_side=True) as under:
            kind(under)

    return misbehaves


def serve(server: socket.socket, kind: Callable[[socket.socket], None]) -> None:
    """Takes connections, each in a thread of its own."""
    while not stop.is_set():
        try:
            conn, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=misbehave, args=(conn, kind), daemon=True).start()


def misbehave(conn: socket.socket, kind: Callable[[socket.socket], None]) -> None:
    """Serves one connection until the client has had enough."""
    with conn, contextlib.suppress(OSError):
        kind(conn)


def main(argv: list[str]) -> int:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(prog="hostile", description="SMTP servers that misbehave.")
    parser.add_argument("--listen", default="127.0.0.1", help="address to listen on [127.0.0.1]")
    parser.add_argument("--tls", metavar="FILE", help="certificate and key: misbehave under TLS, after STARTTLS")
    parser.add_argument("kinds", nargs="+", choices=sorted(KINDS), metavar="KIND", help=" ".join(KINDS))
    options = parser.parse_args(argv)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if options.tls:
        context.load_cert_chain(options.tls)
    for kind in options.kinds:
        server = socket.create_server((options.listen, 0), backlog=128)
        act = under_tls(context, KINDS[kind]) if options.tls else KINDS[kind]
        threading.Thread(target=serve, args=(server, act), daemon=True).start()
        print(kind, "{}:{}".format(*server.getsockname()[:2]), flush=True)
    stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
