"""A source of messages to many destinations, one process without threads.

smtp-source knows one recipient a process, and to start a process for each destination costs more than to relay its messages.
Each session is a list of what it sends, the next piece with each reply.
"""

import argparse
import selectors
import socket
import sys
from collections.abc import Iterator

_READ_BYTES = 4096


class SourceError(Exception):
    """The server did not take a message."""


def pieces(sender: str, rcpt: str, size: int) -> list[bytes]:
    """Gives what a client sends, one piece for each reply of the server."""
    head = f"From: <{sender}>\r\nTo: <{rcpt}>\r\n\r\n".encode("ascii")
    line = b"X" * 78 + b"\r\n"
    content = (head + line * (size // len(line) + 1))[: max(size - 2, len(head))] + b"\r\n"
    commands = ["HELO source.example", f"MAIL FROM:<{sender}>", f"RCPT TO:<{rcpt}>", "DATA", None, "QUIT"]
    return [content + b".\r\n" if text is None else f"{text}\r\n".encode("ascii") for text in commands]


class Source:
    """Sends messages over a number of sessions at a time, one message each.

    Args:
        address: of the server.
        messages: for each message what is sent.
    """

    def __init__(self, address: tuple[str, int], messages: Iterator[list[bytes]]) -> None:
        self._address = address
        self._messages = messages
        self._selector = selectors.DefaultSelector()

    def run(self, sessions: int) -> None:
        """Sends all messages.

        Raises:
            SourceError: one of them was refused.
        """
        try:
            for _ in range(sessions):
                self._begin()
            while self._selector.get_map():
                for key, _ in self._selector.select():
                    if not self._step(key.fileobj, key.data):  # type: ignore[arg-type]
                        self._end(key.fileobj)  # type: ignore[arg-type]
                        self._begin()
        finally:
            for key in list(self._selector.get_map().values()):
                self._end(key.fileobj)  # type: ignore[arg-type]
            self._selector.close()

    def _end(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        sock.close()

    def _begin(self) -> None:
        message = next(self._messages, None)
        if message is not None:
            sock = socket.create_connection(self._address)
            self._selector.register(sock, selectors.EVENT_READ, iter(message))

    @staticmethod
    def _step(sock: socket.socket, rest: Iterator[bytes]) -> bool:
        """Takes a reply and sends what is next; tells whether a reply follows."""
        reply = sock.recv(_READ_BYTES)
        if reply[:1] not in (b"2", b"3"):
            raise SourceError(f"the server says {reply.decode('ascii', 'replace').strip() or 'nothing'}")
        piece = next(rest, None)
        if piece is None:
            return False
        sock.sendall(piece)
        return True


def main(argv: list[str]) -> int:
    """Reads the command line and sends."""
    parser = argparse.ArgumentParser(description="Send messages to d0.example, d1.example ... in turn.")
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--domains", type=int, default=1000)
    parser.add_argument("--size", type=int, default=5000)
    parser.add_argument("port", type=int)
    options = parser.parse_args(argv)
    messages = (
        pieces("sender@source.example", f"rcpt@d{number % options.domains}.example", options.size)
        for number in range(options.messages)
    )
    Source(("127.0.0.1", options.port), messages).run(options.sessions)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
