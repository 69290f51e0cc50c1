"""One filter on pymilter behind this gateway and behind a Postfix: what it hears and what its messages become, side by side.

    python -m tests.system.filter_twins [--only RECIPE ...] [--verbose]

Each recipe of tests/fakes/twin/recipes.py is played through both: the replies to the client, the envelope and every byte of
the content that arrive, what is held, and the callbacks of the filter with their arguments and macros are compared; our own
Received fields count as one line each.  Then the miltertest of the Python package index and that of OpenDKIM speak to the same
filter in the place of a mail server, and have to hear the changes of its recipe, and make the same callbacks.  What differs
is printed; differences in DIFFERENCES are meant and have their reasons in docs/decisions.md.  The exit code is the
number of others.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import smtplib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.relays import PostfixRelay
from contrib.lib.gateway import ROOT, Gateway, free_port, wait_until
from tests.fakes.twin.recipes import RECIPES
from tests.system.conftest import KeepingSink, mailq, running
from tests.system.filter_daemons import install, stop

WAIT_S = 60
FAKES = ROOT / "tests/fakes/twin"
RCPTS = ("r@sink.example", "r2@sink.example")
CONTENT = (
    b"Received: from elsewhere\r\n\tby somewhere; Fri, 27 Nov 2026 12:00:00 +0000\r\n"
    b"From: <a@source.example>\r\nTo: <r@sink.example>\r\nSubject: a\r\n folded one\r\nX-Many: 1\r\nX-Many: 2\r\nX-many: 3\r\n"
    b"Date: Fri, 27 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@source.example>\r\nX-None-Blank:v\r\nX-Empty:\r\n"
    b"\r\nhello\r\n..\r\nworld\r\n"
)
_NAMES = b"From: <a@source.example>\r\nDate: Fri, 27 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@source.example>\r\n"
#: Other contents, each with a recipe.
CONTENTS = {
    "empty-body": ("most", _NAMES + b"\r\n"),
    "no-empty-line": ("most", _NAMES + b"Subject: x\r\n"),
    "body-without-empty-line": ("most", _NAMES + b"no field\r\nX: body\r\n"),
    "no-header": ("most", b"hello\r\nworld\r\n"),
    "empty-line-first": ("most", b"\r\nX: body\r\n"),
    "folded-first": ("most", b" folded\r\nX: body\r\n"),
    "nothing-at-all": ("most", b""),
    "tabs": ("most", _NAMES + b"Subject:\tx\r\nX-A:  two blanks  \r\nX-B: \r\n\r\nx\r\n"),
    "blank-before-colon": ("delete", _NAMES + b"Subject : x\r\n\r\nx\r\n"),
    "blank-folds": ("change", _NAMES + b"Subject: a\r\n \r\n\tb\r\n\r\nx\r\n"),
    "eight-bit": ("most", _NAMES + b"Subject: gr\xc3\xbc\xc3\x9fe\r\n\r\n\xe4\xf6\xfc\r\n"),
    "long-field": ("add", _NAMES + b"X-L: " + b"word\r\n " * 3000 + b"end\r\n\r\nx\r\n"),
    "many-fields": ("most", _NAMES + b"X-Many: 1\r\n" * 300 + b"\r\nx\r\n"),
    "big-body": ("add", _NAMES + b"\r\n" + (b"x" * 70 + b"\r\n") * 4000),
    "big-body-replaced": ("body", _NAMES + b"\r\n" + (b"x" * 70 + b"\r\n") * 4000),
    "dots": ("add", _NAMES + b"\r\n.\r\n..\r\n.x\r\n"),
    "mime": (
        "add",
        _NAMES + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nX: y\r\n--b\r\nA: b\r\n\r\n--b--\r\n',
    ),
}  # fmt: skip
POSTFIX = """\
relayhost = [127.0.0.1]:{port}
smtpd_milters = unix:{socket}
milter_default_action = tempfail
smtpd_peername_lookup = no
local_header_rewrite_clients = permit_sasl_authenticated
smtp_destination_recipient_limit = 50
message_size_limit = 0
"""
#: Commands before the message; recipes of these names do nothing.
EXTRAS = {
    "unknown-command": ("XYZZY a b",),
    "rset": ("MAIL FROM:<x@source.example>", "RCPT TO:<r@sink.example>", "RSET"),
    "ehlo-again": ("EHLO other.example",),
    "ehlo-in-transaction": ("MAIL FROM:<x@source.example>", "EHLO other.example"),
}
#: What is meant to differ, by recipe; docs/decisions.md has the reasons.
DIFFERENCES = {
    "add-crlf": "a CR before the LF of a value does not double the CR",
    "add-long": "no line is broken: signatures hold",
    "rcpt-add-twice": "who is a recipient already gets one copy",
    "unknown-command": "the whole line is told, as sendmail does, not its first word alone",
    "rcpt-delete-case": "the case of letters in a domain does not matter",
}


@dataclass(frozen=True)
class Played:
    """What a recipe came to.

    Args:
        replies: to MAIL, to each RCPT, to DATA and to the content.
        envelope: sender and recipients that arrived; empty if nothing did.
        content: that arrived.
        fate: arrived, held, or nothing.
        heard: callbacks of the filter.
    """

    replies: tuple[str, ...]
    envelope: tuple[str, tuple[str, ...]]
    content: bytes
    fate: str
    heard: tuple[Any, ...]


def same_received(content: bytes) -> bytes:
    """Puts one line in the place of a gateway's own Received field."""
    return re.sub(
        rb"(?m)^Received: (?:.*\r\n[ \t])*.*by gateway\.example (?:.*\r\n[ \t])*.*\r\n", b"Received: OURS\r\n", content
    )


class TwinFilter:
    """The filter.

    Args:
        directory: of its socket and of what it writes down.
        undo: ends it.
    """

    def __init__(self, directory: Path, undo: contextlib.ExitStack) -> None:
        self.socket, self.log = directory / "filter", directory / "heard"
        command = ["/usr/bin/python3", str(FAKES / "filter.py"), str(self.socket), str(self.log)]
        process = subprocess.Popen(command, start_new_session=True, env={**os.environ, "PYTHONPATH": str(FAKES)})
        undo.callback(stop, process)
        wait_until(self.socket.exists, WAIT_S, "the filter")
        self.socket.chmod(0o666)
        self._seen = 0

    def heard(self) -> tuple[Any, ...]:
        """Waits for the end of a session and gives what the filter heard of it."""

        def ended() -> bool:
            return self.log.exists() and '["close"' in self.log.read_text()[self._seen :]

        wait_until(ended, WAIT_S, f"{self.log}: the end of a session")
        text = self.log.read_text()[self._seen :]
        self._seen += len(text)
        return tuple(json.loads(line) for line in text.splitlines())


class Server:
    """One of the two with the filter before it.

    Args:
        directory: everything is below it.
        undo: ends it.
    """

    name = ""
    port = 0

    def __init__(self, directory: Path, undo: contextlib.ExitStack) -> None:
        directory.mkdir()
        directory.chmod(0o755)
        self.sink = undo.enter_context(KeepingSink(directory / "maildir"))
        self.filter = TwinFilter(directory, undo)

    def held(self) -> bool:
        """Tells whether a message is held, and removes it."""
        raise NotImplementedError

    def empty(self) -> bool:
        """Tells whether no message is left."""
        raise NotImplementedError


class Ours(Server):
    name = "meta1g"

    def __init__(self, directory: Path, undo: contextlib.ExitStack) -> None:
        super().__init__(directory, undo)
        options = {"smtps": f'milter twin {{ socket {{ path = "{self.filter.socket}"; }} }}'}
        self.gateway = undo.enter_context(running(Gateway(directory / "g", f". {self.sink.port}^[127.0.0.1]", options)))
        self.port = self.gateway.port
        self.filter.heard()  # the gateway was looked at when it started

    def held(self) -> bool:
        if "held by" not in mailq(self.gateway):
            return False
        for rcpt in RCPTS:
            self.gateway.control("remove", f"recipient={rcpt}")
        return True

    def empty(self) -> bool:
        return not any(self.gateway.leftovers().values())


class Theirs(Server):
    name = "Postfix"

    def __init__(self, directory: Path, undo: contextlib.ExitStack) -> None:
        super().__init__(directory, undo)
        more = POSTFIX.format(port=self.sink.port, socket=self.filter.socket)
        self.relay = PostfixRelay(directory / "p", 0, free_port(), more)
        undo.callback(self.relay.stop)
        self.port = self.relay.port
        self._config = directory / "p/etc"

    def _queue(self) -> list[dict[str, Any]]:
        words = ["postqueue", "-c", str(self._config), "-j"]
        text = subprocess.run(words, check=True, capture_output=True, text=True, timeout=WAIT_S).stdout
        return [json.loads(line) for line in text.splitlines()]

    def held(self) -> bool:
        found = [one["queue_id"] for one in self._queue() if one["queue_name"] == "hold"]
        for queue_id in found:
            subprocess.run(["postsuper", "-c", self._config, "-d", queue_id], check=True, capture_output=True, timeout=WAIT_S)
        return bool(found)

    def empty(self) -> bool:
        return not self._queue()


def play(server: Server, name: str) -> Played:
    """Sends one message through a server and waits for its end.

    Args:
        server: which one.
        name: of a recipe, of commands before it, or of another content.
    """
    recipe, content = CONTENTS.get(name, (name, CONTENT))
    before = len(server.sink.envelopes())
    replies = []
    with smtplib.SMTP("127.0.0.1", server.port, timeout=WAIT_S) as client:
        client.ehlo("client.example")
        for command in EXTRAS.get(recipe, ()):
            client.docmd(command)
        commands = [f"MAIL FROM:<{recipe}@source.example>", *(f"RCPT TO:<{rcpt}>" for rcpt in RCPTS), "DATA"]
        for command in commands:
            with contextlib.suppress(smtplib.SMTPServerDisconnected):
                code, text = client.docmd(command)
                replies.append(f"{code} {text.decode()}" if code >= 400 else str(code))
        if replies[-1] == "354":
            client.send(re.sub(rb"(?m)^\.", b"..", content) + b".\r\n")
            code, text = client.getreply()
            replies.append(f"{code} {text.decode()}" if code >= 400 else str(code))
    heard = server.filter.heard()
    fate = "nothing"
    if replies[-1] == "250":
        held: list[bool] = []
        wait_until(
            lambda: held.append(server.held()) or held[-1] or server.empty(), WAIT_S, f"{server.name}: the end of {recipe}"
        )
        fate = "held" if any(held) else "nothing"
    came = server.sink.envelopes()[before:]
    if not came:
        return Played(tuple(replies), ("", ()), b"", fate, heard)
    rcpts = tuple(sorted(rcpt for one in came for rcpt in one["rcpts"]))
    return Played(tuple(replies), (came[0]["mail"], rcpts), same_received(server.sink.content(came[0])), "arrived", heard)


def own_words(replies: tuple[str, ...]) -> list[str]:
    """Gives replies, those about the order of commands without their words: they are the server's."""
    return [re.sub(r"(?<=5\.5\.1) .*", "", reply, flags=re.DOTALL) for reply in replies]


def told(heard: tuple[Any, ...], others: tuple[Any, ...]) -> list[Any]:
    """Gives callbacks with those macros that the other one has, too: who asks for none gets more of them here.

    A client without a name is `unknown [address]` in `_` of Postfix, `[address]` in sendmail's and ours.
    """
    found = []
    for number, (callback, args, macros) in enumerate(heard):
        known = others[number][2] if number < len(others) else macros
        values = {name: value.removeprefix("unknown ") for name, value in macros.items() if value and known.get(name)}
        found.append([callback, args, values])
    return found


def differences(ours: Played, theirs: Played) -> Iterator[str]:
    """Names what differs."""
    for one in ("fate", "envelope", "content"):
        mine, other = getattr(ours, one), getattr(theirs, one)
        if mine != other:
            yield f"{one}: meta1g {mine!r}, Postfix {other!r}"
    if own_words(ours.replies) != own_words(theirs.replies):
        yield f"replies: meta1g {ours.replies}, Postfix {theirs.replies}"
    callbacks = told(ours.heard, theirs.heard), told(theirs.heard, ours.heard)
    for number in range(max(map(len, callbacks))):
        mine, other = (one[number : number + 1] for one in callbacks)
        if mine != other:
            yield f"callback {number}: meta1g {mine}, Postfix {other}"
            return


def all_of(answers: list[Any]) -> list[tuple[str, ...]]:
    """Gives changes as a mail server hears them."""
    return [(kind, *(str(value).strip() for value in values.values() if value is not None)) for kind, values in answers]


#: What the recipe `most` is on the wire.
WANTED = [
    ("h", "X-A", "v"),
    ("i", "1", "X-B", "v"),
    ("m", "2", "X-Many", ""),
    ("b", "new"),
    ("+", "<new@sink.example>"),
    ("-", "<r2@sink.example>"),
    ("c",),
]


def played_by_miltertests(directory: Path, undo: contextlib.ExitStack, heard: tuple[Any, ...]) -> int:
    """Lets the two programs of the name miltertest play a session; gives the number of surprises.

    That of Python cannot read the frame by which libmilter changes a sender.
    """
    directory.mkdir()
    package = directory / "package"
    pip = [sys.executable, "-m", "pip", "-q", "install", "--no-deps", "--target", str(package), "miltertest"]
    subprocess.run(pip, check=True, capture_output=True, timeout=WAIT_S * 5)
    filter_ = TwinFilter(directory, undo)
    header = [args for callback, args, _macros in heard if callback == "header"]
    body = "".join(args[0] for callback, args, _macros in heard if callback == "body")
    session = ["client.example", "<most@source.example>", [f"<{rcpt}>" for rcpt in RCPTS], header, body]
    mine = [sys.executable, str(FAKES / "mta.py"), str(filter_.socket)]
    environment = {**os.environ, "PYTHONPATH": str(package)}
    done = subprocess.run(
        mine, input=json.dumps(session), capture_output=True, text=True, env=environment, timeout=WAIT_S, check=False
    )
    found = all_of(json.loads(done.stdout)) if done.returncode == 0 else [done.stderr]
    told_it = [one[:2] for one in filter_.heard()]
    wrong = 0
    for what, well in (("the changes", found == WANTED), ("the callbacks", told_it == [list(one[:2]) for one in heard])):
        wrong += not well
        print(f"{'same' if well else 'OTHER':6}miltertest: {what}{'' if well else f' {found} {told_it}'}")
    lua = ["miltertest", "-D", f"socket={filter_.socket}", "-s", str(FAKES / "mta.lua")]
    done = subprocess.run(lua, capture_output=True, text=True, timeout=WAIT_S, check=False)
    names = [one[0] for one in filter_.heard()]
    well = done.returncode == 0 and list(dict.fromkeys(names)) == list(dict.fromkeys(one[0] for one in heard))
    print(f"{'same' if well else 'OTHER':6}miltertest of OpenDKIM{'' if well else f': {done.stderr} {names}'}")
    return wrong + (not well)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.system.filter_twins", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="RECIPE", default=[*RECIPES, *EXTRAS, *CONTENTS])
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("only root can run a Postfix of its own")
    install("python3-milter", "miltertest", "postfix")
    base = Path(tempfile.mkdtemp(prefix="m1g-"))
    base.chmod(0o755)
    wrong = 0
    try:
        with contextlib.ExitStack() as undo:
            servers = Ours(base / "ours", undo), Theirs(base / "theirs", undo)
            for recipe in options.only:
                ours, theirs = (play(server, recipe) for server in servers)
                found = list(differences(ours, theirs))
                reason = DIFFERENCES.get(recipe, "")
                wrong += bool(found) and not reason
                word = "meant" if found and reason else "OTHER" if found else "same"
                print(f"{word:6}{recipe:24}{ours.fate:10}{ours.replies[-1].partition(chr(10))[0]}", flush=True)
                for text in [reason] if reason and found else found:
                    print(f"      {text}", flush=True)
            wrong += played_by_miltertests(base / "miltertests", undo, play(servers[0], "most").heard)
    finally:
        shutil.rmtree(base)
    print(f"{len(options.only)} recipes, {wrong} with differences that are not meant")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
