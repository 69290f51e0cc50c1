"""Dovecot's authentication socket as a thread: PLAIN, and challenges of a mechanism that only it knows."""

import base64
import contextlib
import socket
import threading
from pathlib import Path

GREETING = (
    "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tCRAM-MD5\tdictionary\tactive\nMECH\tSCRAM-SHA-256\nSPID\t1\nCUID\t1\nDONE\n"
)
PASSWORDS = {"ann@example.org": "pencil"}


class FakeDovecot:
    """Answers each connection by a script: PLAIN by PASSWORDS, CRAM-MD5 takes `ann@example.org digest` and no other digest.

    Attributes:
        greeting: what it says first.
        answer: what it says instead of an answer; None for a right one, empty for nothing.
        heard: all lines.
        held: semaphore that counts the wrong passwords that wait for their answers.
        go: until it is set, they wait.
    """

    def __init__(self, path: Path) -> None:
        self.greeting = GREETING
        self.answer: str | None = None
        self.heard: list[str] = []
        self.held = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                conn, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(conn,), daemon=True).start()

    def _talk(self, conn: socket.socket) -> None:
        with contextlib.suppress(OSError), conn, conn.makefile("rw", encoding="utf-8", newline="\n") as file:
            file.write(self.greeting)
            file.flush()
            mechanism = ""
            for line in file:
                self.heard.append(line.rstrip("\n"))
                words = line.rstrip("\n").split("\t")
                if words[0] not in ("AUTH", "CONT"):
                    continue
                mechanism = mechanism or words[2]
                answer = self._answer(mechanism, words)
                file.write(f"{answer}\n" if answer else "")
                file.flush()

    def _answer(self, mechanism: str, words: list[str]) -> str:
        if self.answer is not None:
            return self.answer
        text = words[2] if words[0] == "CONT" else words[-1].removeprefix("resp=") if "resp=" in words[-1] else None
        if text is None:
            return f"CONT\t1\t{base64.b64encode(b'<1.2@dovecot>').decode()}"
        data = base64.b64decode(text)
        if mechanism == "PLAIN":
            _, user, password = data.decode().split("\0")
            good = PASSWORDS.get(user) == password
        else:
            user, _, digest = data.decode().partition(" ")
            good = digest == "digest"
        if not good and not self.go.is_set():
            self.held.release()
            self.go.wait(60)
        return f"OK\t1\tuser={user}" if good else f"FAIL\t1\tuser={user}"
