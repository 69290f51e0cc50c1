"""Feeds damaged messages to the parsers of SASL: whatever comes, only their own errors may come back, and nobody gets in.

    python -m tests.fuzz.sasl_fuzz 1000000

The unit tests run 2,000 of them.
"""

import base64
import random
from collections.abc import Callable, Iterator

from meta1g.sasl import daemons
from meta1g.sasl.base import Challenge, CheckPassword, FindVerifier, Found, SaslError, ServerExchange
from meta1g.sasl.scram import ScramClient, ScramServer, make_verifier
from meta1g.sasl.simple import external_server, login_server, plain_server
from meta1g.sasl.stored import read_stored
from meta1g.sasl.users import read_users
from meta1g.smtps.auth import decoded
from tests.fuzz.runner import Target, damaged, main

VERIFIER = make_verifier("sha256", "pencil", b"salt" * 4, 4096)
BINDING = b"\1" * 32
STORED = (
    "{SCRAM-SHA-256}4096,c2FsdHNhbHQ=,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)
#: Messages to damage.
CORPUS = [
    b"\0ann\0pencil",
    b"ann\0ann\0pencil",
    b"n,,n=ann,r=cnonce",
    b"y,a=ann,n=a=2Cb,r=cnonce",
    b"p=tls-exporter,,n=ann,r=cnonce",
    b"c=biws,r=cnoncesnonce,p=" + base64.b64encode(b"x" * 32),
    b"r=cnoncesnonce,s=c2FsdA==,i=4096",
    b"v=" + base64.b64encode(b"x" * 32),
    b"OK\t1\tuser=ann\tresp=YQ==",
    b"CONT\t1\tYQ==",
    b"MECH\tPLAIN\tplaintext",
    b"\0\2OK",
    f"ann:{STORED} {{EXTERNAL}}".encode(),
    f":secret-of-the-file\nann:{STORED}:1:2:3\n".encode(),
    b"joe:$6$rounds=5000$saltsalt$abc",
]
PIECES = [
    b"\0",
    b",",
    b"=",
    b"\t",
    b"\n",
    b"\x01",
    b"\xff",
    b"\xc3",
    b"n,,",
    b"p=",
    b"m=",
    b"r=",
    b"i=99999999999",
    b"=2C",
    b"$",
    b"{",
]


class IntruderError(Exception):
    """An exchange ended well although nobody knew the password."""


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Damages a message, most often."""
    data = damaged(data, rng, PIECES, CORPUS) if rng.random() > 0.1 else data
    return data if rng.random() > 0.001 else data * rng.choice((100, 2000))


def play(exchange: ServerExchange, said: Iterator[bytes]) -> None:
    """Plays a server's exchange; no password is right."""
    answer = None
    try:
        while True:
            need = exchange.send(answer)  # type: ignore[arg-type]
            if isinstance(need, Challenge):
                answer = next(said)
            elif isinstance(need, CheckPassword):
                answer = False
            else:
                assert isinstance(need, FindVerifier)
                answer = Found(VERIFIER, True)
    except StopIteration as end:
        raise IntruderError(str(end.value)) from None


def client(message: bytes) -> None:
    exchange = ScramClient("sha256", "ann", "pencil", "cnonce").exchange()
    next(exchange)
    if b"i=" in message and not message.endswith(b"i=4096"):
        return  # as many iterations as the server wants are made; they take their time
    exchange.send(message)


def more(data: bytes, rng: random.Random) -> Iterator[bytes]:
    while True:
        yield mutate(rng.choice((data, rng.choice(CORPUS))), rng)


def server(start: Callable[[bytes], ServerExchange]) -> Target:
    """Makes a target of a server's mechanism."""
    return target(lambda data, rng: play(start(data), more(data, rng)))


def parser(parse: Callable[[bytes], object]) -> Target:
    """Makes a target of what takes one message."""
    return target(lambda data, rng: parse(data))


def target(feed: Callable[[bytes, random.Random], object]) -> Target:
    def look(rng: random.Random) -> tuple[str]:
        try:
            feed(mutate(rng.choice(CORPUS), rng), rng)
        except SaslError as error:
            return ("malformed" if error.malformed else "refused",)
        except daemons.DaemonError:
            return ("no answer",)
        except ValueError as error:
            if type(error) is not ValueError:
                raise
            return ("no line",)
        return ("taken",)

    return look


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


TARGETS = {
    "plain": server(plain_server),
    "login": server(login_server),
    "external": server(lambda data: external_server(data, "")),
    "scram": server(lambda data: ScramServer("sha256", "snonce").exchange(data)),
    "scram_plus": server(lambda data: ScramServer("sha256", "snonce", BINDING, True).exchange(data)),
    "client": parser(client),
    "decoded": parser(decoded),
    "saslauthd": parser(daemons.saslauthd_answer),
    "dovecot": parser(lambda data: daemons.challenge_of(daemons.read_line(data))),
    "stored": parser(lambda data: read_stored(text_of(data))),
    "users": parser(lambda data: read_users(text_of(data), "users")),
}


if __name__ == "__main__":
    raise SystemExit(main(__doc__, TARGETS))
