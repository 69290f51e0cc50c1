"""Runs the dialogues of tests/dialogs/client: a real smtpc process against a server that says what stands there."""

import base64
import contextlib
import fnmatch
import re
import socket
import ssl
import struct
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from meta1g.rcb.common import DeliveryAgent, ServerAddr
from meta1g.rcb.smtpc_qmgr import DeliverRcpt, Retry
from meta1g.sasl.base import Challenge, CheckPassword, Found, SaslError
from meta1g.sasl.scram import ScramServer, make_verifier
from meta1g.sasl.simple import login_server, plain_server
from tests.fakes.certificates import make_certificate
from tests.unit.smtpc.conftest import running

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("smtpc-dialogs")]

DIALOGS = Path(__file__).parents[2] / "dialogs" / "client"
CONTENT = b"Received: here\r\nSubject: x\r\n\r\nbody\r\n"
TIMEOUT_S = 10
LOGINS = """\
login.example     user  password  pencil
wrong.example     user  password  eraser
blank.example     user  password  " pen cil "
postfix.example   user:pencil
.parent.example   user  password  pencil
[127.0.0.9]       user  password  pencil
token.example     user  token_file     {directory}/token
command.example   user  token_command  /bin/echo t0ken
json.example      user  token_command  /bin/echo '{{"access_token": "t0ken", "expires_in": 3600}}'
failing.example   user  token_command  /bin/false
silent.example    user  token_command  /bin/true
missing.example   user  token_command  /nonexistent/token
open.example      user  token_file     {directory}/open
odd.example       üser  password  pencil\u0007
"""
OPTIONS = """
auth {{ file = "{directory}/logins"; flags = {{ without_tls }}; }}
"""


@dataclass
class Delivery:
    """One delivery of a dialogue; `expected` is its result."""

    facts: dict[str, str] = field(default_factory=dict)
    rcpts: list[str] = field(default_factory=lambda: ["r@x.example"])
    expected: str = ""


@dataclass
class Dialogue:
    title: str
    where: str
    tls: str = "both"
    host: str = "mx.x.example"
    conf: str = ""
    content: bytes = CONTENT
    deliveries: list[Delivery] = field(default_factory=lambda: [Delivery()])
    steps: list[tuple[str, str, str]] = field(default_factory=list)


def escaped(text: str) -> bytes:
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


SHORT = {
    "mail": [("C:", "MAIL FROM:<s@y.example>"), ("S:", "250 2.1.0 ok")],
    "data": [("C:", "DATA"), ("S:", "354 go"), ("M:", "")],
    "kept": [("S:", "250 2.0.0 kept")],
    "bye": [("C:", "QUIT"), ("S:", "221 bye"), ("X:", "")],
}


def expand(kind: str, text: str, rcpts: list[str]) -> list[tuple[str, str]]:
    if kind == "hello":
        return [("S:", "220 mx"), ("C:", "EHLO client.example"), ("S:", f"250 mx | {text}" if text else "250 mx")]
    if kind == "rcpt":
        return [step for rcpt in rcpts for step in (("C:", f"RCPT TO:<{rcpt}>"), ("S:", "250 2.1.5 ok"))]
    if kind == "message":
        return [*SHORT["mail"], *expand("rcpt", "", rcpts), *SHORT["data"], *SHORT["kept"]]
    return SHORT.get(kind, [(kind, text)])


def read(path: Path) -> list[Dialogue]:
    made: list[Dialogue] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        kind, _, text = line.strip().partition(" ")
        where, text = f"{path.name}:{number}", text.strip()
        if not kind or kind.startswith("#"):
            continue
        if kind == "==":
            made.append(Dialogue(text, where))
            continue
        one = made[-1]
        now = one.deliveries[-1]
        if kind in ("tls", "host", "conf"):
            setattr(one, kind, text)
        elif kind == "content":
            one.content = escaped(text)
        elif kind == "next":
            one.deliveries.append(Delivery())
        elif kind in ("to", "job", "="):
            if kind == "to":
                now.rcpts = text.split()
            elif kind == "job":
                now.facts.update(word.partition("=")[::2] for word in text.split())
            else:
                now.expected = text
        else:
            one.steps += [(where, *step) for step in expand(kind, text, now.rcpts)]
    return made


ALL = [one for path in sorted(DIALOGS.glob("*.dlg")) for one in read(path)]


def under_tls(one: Dialogue) -> list[tuple[str, str, str]]:
    """Puts STARTTLS behind the greeting, unless the dialogue has none."""
    greeting, hello = one.steps[0], one.steps[1]
    begin = [("S:", "250 mx | STARTTLS"), ("C:", "STARTTLS"), ("S:", "220 go"), ("TLS:", "")]
    return [greeting, hello, *((one.where, *step) for step in begin), *one.steps[1:]]


class Server:
    """Plays the server's side in a thread."""

    def __init__(self, one: Dialogue, steps: list[tuple[str, str, str]], context: ssl.SSLContext) -> None:
        self.trouble = ""
        self._one, self._steps, self._context = one, steps, context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(TIMEOUT_S)
        self.port = self._listener.getsockname()[1]
        self._conn: socket.socket | None = None
        self._buffer = b""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._thread.join(2 * TIMEOUT_S)
        self._listener.close()
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._accept()
        except OSError as error:
            self.trouble = f"{self._one.where}: {error}"
        for where, kind, text in [] if self.trouble else self._steps:
            try:
                self._step(kind, text)
            except Exception as error:  # noqa: BLE001  told by the test
                self.trouble = f"{where}: {type(error).__name__}: {error}"
                break
        if self._conn is not None:
            self._conn.close()

    def _accept(self) -> None:
        if self._conn is not None:
            self._conn.close()
        self._conn, self._buffer = self._listener.accept()[0], b""
        self._conn.settimeout(TIMEOUT_S)
        self._conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _step(self, kind: str, text: str) -> None:  # noqa: C901  a dialogue in one place
        conn = self._conn
        if kind == "S:":
            assert not self._buffer, f"more had come: {self._buffer!r}"
            code, _, rest = text.partition(" ")
            lines = rest.split(" | ")
            said = "".join(f"{code}-{line}\r\n" for line in lines[:-1]) + f"{code} {lines[-1]}".rstrip() + "\r\n"
            conn.sendall(said.encode("latin-1"))
        elif kind == "R:":
            conn.sendall(escaped(text))
        elif kind == "C:":
            got = self._line()
            assert fnmatch.fnmatchcase(got, text) if "*" in text else got == text, f"expected {text!r}, got {got!r}"
        elif kind == "M:":
            self._message(escaped(text) if text else self._one.content)
        elif kind == "D:":
            self._chunk()
        elif kind == "A:":
            self._auth(*text.split())
        elif kind == "TLS:":
            self._conn = self._context.wrap_socket(conn, server_side=True)
        elif kind == "E:":
            if text == "reset":
                conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            conn.close()
        elif kind == "X:":
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                more = conn.recv(1000)
                assert not more, f"more came: {more!r}"
        elif kind == "N:":
            self._accept()
        else:
            raise ValueError(f"no step {kind}")

    def _line(self) -> str:
        while b"\r\n" not in self._buffer:
            data = self._conn.recv(65536)
            assert data, "the client has closed"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line.decode()

    def _message(self, expected: bytes) -> None:
        while not (b"\r\n" + self._buffer).endswith(b"\r\n.\r\n"):
            data = self._conn.recv(65536)
            assert data, "the client has closed"
            self._buffer += data
        got = (b"\r\n" + self._buffer)[:-3].replace(b"\r\n.", b"\r\n")[2:]
        self._buffer = b""
        assert got == expected

    def _chunk(self) -> None:
        while len(self._buffer) < len(self._one.content):
            data = self._conn.recv(65536)
            assert data, "the client has closed"
            self._buffer += data
        assert self._buffer == self._one.content
        self._buffer = b""

    def _auth(self, mechanism: str, how: str = "") -> None:
        """Plays the server's half of a mechanism, by the server's own code."""
        verb, name, *rest = self._line().split(" ")
        assert (verb, name) == ("AUTH", mechanism)
        initial = base64.b64decode(rest[0].replace("=", "") and rest[0]) if rest else None
        password = "quill" if how == "liar" else "pencil"
        if mechanism.startswith("SCRAM"):
            hash_name = "sha1" if "SHA-1" in mechanism else "sha256"
            exchange = ScramServer(hash_name, "servernonce").exchange(initial)
        else:
            hash_name = ""
            exchange = (plain_server if mechanism == "PLAIN" else login_server)(initial)
        answer = None
        try:
            while True:
                need = exchange.send(answer)
                if isinstance(need, Challenge):
                    data = need.data
                    if how == "liar" and data.startswith(b"v="):
                        data = b"v=" + base64.b64encode(b"x" * 32)
                    self._step("R:", f"334 {base64.b64encode(data).decode()}\\r\\n")
                    line = self._line()
                    if line == "*":
                        self._step("S:", "501 5.7.0 cancelled")
                        return
                    answer = base64.b64decode(line, validate=True)
                elif isinstance(need, CheckPassword):
                    answer = (need.authcid, need.password) == ("user", password)
                else:
                    answer = Found(make_verifier(hash_name, "pencil", b"0123456789abcdef"), need.authcid == "user")
        except StopIteration:
            self._step("S:", "235 2.7.0 welcome")
        except SaslError:
            self._step("S:", "535 5.7.8 who?")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    make_certificate(directory, "mx.x.example")
    for name, text, mode in (
        ("logins", LOGINS.format(directory=directory), 0o600),
        ("token", "t0ken\n", 0o640),
        ("open", "t0ken\n", 0o644),
    ):
        (directory / name).write_text(text)
        (directory / name).chmod(mode)
    return directory


@pytest.fixture(scope="module")
def context(files):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(files / "mx.x.example.pem", files / "mx.x.example.key")
    return made


@pytest.fixture(scope="module")
def smtpc(tmp_path_factory, files):
    with running(tmp_path_factory.mktemp("smtpc"), OPTIONS.format(directory=files), step_s=TIMEOUT_S) as made:
        yield made


def shown(result, rcpts: int) -> str:
    """Gives a result as dialogues have it."""
    by_idx = {one.rcpt_idx: one for one in result.rcpts}
    marks = {Retry.BY_CODE: "", Retry.LATER: "+"}
    words = [str(result.session.code or "-"), str(result.transaction.code or "-")]
    for idx in range(rcpts):
        one = by_idx.get(idx)
        words.append("-" if one is None else f"{one.reply.code}{marks.get(Retry(one.retry), '>')}")
    return " ".join(words)


def facts_of(one: Delivery) -> dict[str, object]:
    facts: dict[str, object] = {}
    for name, value in one.facts.items():
        if name == "lmtp":
            facts["da"] = int(DeliveryAgent.LMTP)
        elif name == "size":
            facts["size_bytes"] = int(value)
        elif name in ("probe", "utf8", "keep"):
            facts[{"utf8": "smtputf8", "keep": "keep_open"}.get(name, name)] = True
        elif name != "notify":
            facts[name] = value
    if "probe" in facts:
        facts |= {"ta_id": "", "cdb_id": "", "mail": "", "size_bytes": 0}
    return facts


def rcpts_of(one: Delivery) -> tuple[DeliverRcpt, ...]:
    notify = one.facts.get("notify")
    return tuple(DeliverRcpt(rcpt_idx=idx, rcpt=rcpt, notify=notify) for idx, rcpt in enumerate(one.rcpts))


CASES = [
    pytest.param(one, tls, id=f"{re.sub(r'[^a-z0-9]+', '_', one.title.lower())}{'-tls' if tls else ''}")
    for one in ALL
    for tls in (False, True)
    if one.tls in ("both", "yes" if tls else "no")
]


@pytest.mark.parametrize(("one", "tls"), CASES)
def test_the_dialogue_goes_as_written(smtpc, context, one, tls):
    smtpc.store(one.content)
    session_id = f"C{next(smtpc.numbers):016X}99"
    with Server(one, under_tls(one) if tls else one.steps, context) as server:
        told = (ServerAddr(addr="127.0.0.1", port=server.port, host=one.host, conf=one.conf),)
        got = []
        for number, delivery in enumerate(one.deliveries):
            facts = {"size_bytes": len(one.content), **facts_of(delivery)}
            job = smtpc.job(server.port, server=told, session_id=session_id, new_session=number == 0, **facts)
            result = smtpc.deliver(replace(job, rcpts=rcpts_of(delivery)))
            words, _, text = delivery.expected.partition("; ")
            first = next((one for one in (result.session, result.transaction) if one.code), None)
            first = first or (result.rcpts[0].reply if result.rcpts else None)
            got.append((shown(result, len(delivery.rcpts)), words, str(first), text))
    assert server.trouble == "", got
    for is_shown, words, first, text in got:
        assert is_shown == words, first
        assert not text or fnmatch.fnmatchcase(first, f"*{text}*"), first


def test_each_dialogue_has_a_title_of_its_own_and_there_are_enough_of_them():
    titles = [one.title for one in ALL]
    assert len(titles) == len(set(titles)) >= 150
    assert all(one.deliveries[-1].expected for one in ALL)
