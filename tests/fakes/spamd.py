"""A spamd that answers by a script, over a real socket: what a test says is what its next clients get."""

import contextlib
import socket
import threading


def reply(score=1.5, required=5.0, content=b"", *, head=b"SPAMD/1.1 0 EX_OK"):
    """Gives a whole reply of spamd."""
    length = f"Content-length: {len(content)}\r\n" if content else ""
    spam = f"Spam: {score >= required} ; {score} / {required}\r\n"
    return head + f"\r\n{length}{spam}\r\n".encode() + content


class FakeSpamd:
    """A server that listens.

    Args:
        path: of its Unix socket; None for a port of 127.0.0.1.

    Attributes:
        answer: bytes that the next clients get; None: nothing, until close().
        asked: what came, one for each client: lines of the head, message.
        port: its port, 0 for a Unix socket.
    """

    def __init__(self, path=None):
        self._listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self._listener.bind(str(path) if path else ("127.0.0.1", 0))
        self._listener.listen()
        self.port = 0 if path else self._listener.getsockname()[1]
        self.conf = f'type = unix; path = "{path}";' if path else f"port = {self.port};"
        self.answer = reply()
        self.asked = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def _serve(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if self._over.is_set():
                sock.close()
                return
            thread = threading.Thread(target=self._one, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _one(self, sock):
        with sock, contextlib.suppress(OSError):
            data = b""
            while piece := sock.recv(65536):
                data += piece
            head, _, message = data.partition(b"\r\n\r\n")
            self.asked.append((head.decode().split("\r\n"), message))
            if self.answer is None:
                self._over.wait(60)
            else:
                sock.sendall(self.answer)

    def close(self):
        """Ends it and its connections."""
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
