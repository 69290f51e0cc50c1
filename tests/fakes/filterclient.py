"""The MTA's side of a filter on a Unix socket, with the machine that smtps has: messages go in, changes come out."""

import socket
from collections.abc import Iterator
from pathlib import Path

from meta1g.milter.changes import FilterChange
from meta1g.milter.codec import FrameReader
from meta1g.milter.frames import ANSWERS_BY_CODE, Family, PeerAddress
from meta1g.milter.machine import FilterMachine
from meta1g.smtp.header import Field

WAIT_S = 60
PEER = PeerAddress(Family.INET, 25, b"127.0.0.1")


class FilterClient:
    """One session with a filter; the client is 127.0.0.1."""

    def __init__(self, path: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(WAIT_S)
        self._sock.connect(str(path))
        self._machine = FilterMachine()
        self._reader = FrameReader(ANSWERS_BY_CODE)
        self._ask(self._machine.negotiate())
        self._ask(self._machine.connect(b"localhost", PEER))
        self._ask(self._machine.helo(b"localhost"))

    def close(self) -> None:
        self._sock.sendall(self._machine.quit())
        self._sock.close()

    def message(self, fields: list[bytes], body: bytes, queue_id: str) -> list[FilterChange]:
        """Passes a message through the filter, and gives the changes that it asks for.

        Args:
            fields: of the header, each with its line ends.
            body: what is behind the empty line.
            queue_id: name of the message.
        """
        machine = self._machine
        self._ask(machine.mail((b"<ann@example.org>",), {"i": queue_id}))
        self._ask(machine.rcpt((b"<bob@example.net>",)))
        self._ask(machine.data())
        for field in fields:
            self._ask(machine.header(Field(field.partition(b":")[0].rstrip(), field)))
        self._ask(machine.eoh())
        for at in range(0, len(body), machine.chunk_bytes):
            self._ask(machine.body(body[at : at + machine.chunk_bytes]))
        return self._ask(machine.eom({"i": queue_id}))

    def _ask(self, data: bytes) -> list[FilterChange]:
        self._sock.sendall(data)
        return list(self._answers())

    def _answers(self) -> Iterator[FilterChange]:
        while self._machine.waits_for is not None:
            frame = self._reader.take()
            if frame is None:
                piece = self._sock.recv(65536)
                if not piece:
                    raise ConnectionError("the filter has closed the connection")
                self._reader.feed(piece)
            elif isinstance(answer := self._machine.take(frame), FilterChange):
                yield answer
