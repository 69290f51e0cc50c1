"""Many SMTP clients in one process, for the benchmarks: they connect at a rate, say a line all together, and stay.

Owner: the caller; one native thread.
"""

import contextlib
import resource
import select
import socket
import time

WAIT_S = 120


def raise_descriptor_limit(wanted: int) -> None:
    """Raises the limit of open descriptors to the hard one.

    Raises:
        SystemExit: the hard limit is below wanted; the text says what to do.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(
            f"{wanted} descriptors are needed, the hard limit is {hard}: raise it (ulimit -Hn) or use --connections"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Client:
    """One connection.  Owner: its Clients."""

    __slots__ = ("answered", "asked_s", "sock", "text", "wait_ms")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.asked_s = time.perf_counter()
        self.wait_ms = 0.0
        self.text = b""
        self.answered = False

    def ask(self, line: bytes) -> None:
        """Sends a line; its reply is waited for."""
        self.text, self.answered = b"", False
        self.asked_s = time.perf_counter()
        self.sock.send(line + b"\r\n")

    def read(self) -> None:
        """Takes what has come of a reply.

        Raises:
            SystemExit: the server refused, or closed the connection.
        """
        data = self.sock.recv(4096)
        self.text += data
        last = self.text[:-2].rpartition(b"\r\n")[2]
        if data and not (self.text.endswith(b"\r\n") and last[3:4] == b" "):
            return
        if not data or not self.text.startswith(b"2"):
            raise SystemExit(f"the server does not take the client: {self.text!r}")
        self.wait_ms = (time.perf_counter() - self.asked_s) * 1000
        self.answered = True


class Clients:
    """All connections to one port of 127.0.0.1; a context manager."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.all: list[Client] = []
        self._poll = select.epoll()
        self._by_fd: dict[int, Client] = {}

    def __enter__(self) -> "Clients":
        return self

    def __exit__(self, *exc: object) -> None:
        for client in self.all:
            client.sock.close()
        self._poll.close()

    def connect(self, count: int, rate: float) -> list[float]:
        """Opens count connections, `rate` of them each second whether the server keeps up or not.

        Returns:
            Milliseconds from connect to the end of the greeting, one for each.
        """
        fresh: list[Client] = []
        begin = time.perf_counter()
        while len(fresh) < count:
            due = begin + len(fresh) / rate
            while (left := due - time.perf_counter()) > 0:
                self._take(left)
            fresh.append(self._open())
        self._wait(fresh)
        return [client.wait_ms for client in fresh]

    def _open(self) -> Client:
        sock = socket.socket()
        client = Client(sock)
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect(("127.0.0.1", self.port))
        self.all.append(client)
        self._by_fd[sock.fileno()] = client
        self._poll.register(sock, select.EPOLLIN)
        return client

    def say(self, line: bytes, clients: list[Client] | None = None) -> list[float]:
        """Sends a line on each connection and waits for all replies, which have to be positive.

        Returns:
            Milliseconds from the line to its reply, one for each.
        """
        chosen = self.all if clients is None else clients
        for client in chosen:
            client.ask(line)
        self._wait(chosen)
        return [client.wait_ms for client in chosen]

    def say_at_rate(self, line: bytes, count: int, rate: float) -> list[float]:
        """Sends a line on one connection after the other, `rate` lines a second, and waits for the replies.

        Returns:
            Milliseconds from the line to its reply, one for each.

        Raises:
            SystemExit: a connection has no reply yet when its turn comes again after WAIT_S.
        """
        waits = []
        begin = time.perf_counter()
        for number in range(count):
            while (left := begin + number / rate - time.perf_counter()) > 0:
                self._take(left)
            client = self.all[number % len(self.all)]
            self._wait([client])
            if number >= len(self.all):
                waits.append(client.wait_ms)
            client.ask(line)
        self._wait(self.all)
        return waits + [client.wait_ms for client in self.all[:count]]

    def _wait(self, clients: list[Client]) -> None:
        end = time.perf_counter() + WAIT_S
        while missing := sum(not client.answered for client in clients):
            if time.perf_counter() > end:
                raise SystemExit(f"{missing} of {len(clients)} clients got no reply in {WAIT_S} s")
            self._take(1.0)

    def _take(self, timeout_s: float) -> None:
        for fd, _ in self._poll.poll(timeout_s, 1024):
            self._by_fd[fd].read()
