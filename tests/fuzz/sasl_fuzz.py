"""Feeds damaged messages to the parsers of SASL: whatever comes, only their own errors may come back, and nobody gets in.

    python -m tests.fuzz.sasl_fuzz [COUNT] [SEED]

The unit tests run 2,000 of them.
"""

import base64
import random
import sys
import time
from collections.abc import Callable, Iterator

from meta1g.sasl import daemons
from meta1g.sasl.base import Challenge, CheckPassword, FindVerifier, Found, SaslError, ServerExchange
from meta1g.sasl.scram import ScramClient, ScramServer, make_verifier
from meta1g.sasl.simple import external_server, login_server, plain_server
from meta1g.sasl.stored import read_stored
from meta1g.sasl.users import read_users
from meta1g.smtps.auth import decoded

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
MUTATIONS_MAX = 6


class IntruderError(Exception):
    """An exchange ended well although nobody knew the password."""


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Damages a message in a few places."""
    for _ in range(rng.randint(0, MUTATIONS_MAX)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((0, 1, 1, 2, 5, 20)))
        put = rng.choice((b"", bytes((rng.randrange(256),)), rng.choice(PIECES), rng.choice(CORPUS)))
        data = data[:at] + put + data[end:]
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


def targets(rng: random.Random) -> list[Callable[[bytes], object]]:
    """Gives what is fed: each takes one message."""

    def more(data: bytes) -> Iterator[bytes]:
        while True:
            yield mutate(rng.choice((data, rng.choice(CORPUS))), rng)

    return [
        lambda data: play(plain_server(data), more(data)),
        lambda data: play(login_server(data), more(data)),
        lambda data: play(external_server(data, ""), more(data)),
        lambda data: play(ScramServer("sha256", "snonce").exchange(data), more(data)),
        lambda data: play(ScramServer("sha256", "snonce", BINDING, True).exchange(data), more(data)),
        client,
        decoded,
        daemons.saslauthd_answer,
        lambda data: daemons.challenge_of(daemons.read_line(data)),
        lambda data: read_stored(data.decode("utf-8", "surrogateescape")),
        lambda data: read_users(data.decode("utf-8", "surrogateescape"), "users"),
    ]


def run(count: int, seed: int) -> dict[str, int]:
    """Feeds `count` messages; gives how often each kind of end came."""
    rng = random.Random(seed)
    ends: dict[str, int] = {}
    every = targets(rng)
    for number in range(count):
        data = mutate(rng.choice(CORPUS), rng)
        try:
            every[number % len(every)](data)
            end = "taken"
        except SaslError as error:
            end = "malformed" if error.malformed else "refused"
        except daemons.DaemonError:
            end = "no answer"
        except ValueError as error:
            if type(error) is not ValueError:
                raise
            end = "no line"
        except Exception:
            print(f"message {number} of seed {seed}: {data!r}", file=sys.stderr)
            raise
        ends[end] = ends.get(end, 0) + 1
    return ends


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 30)
    begun = time.monotonic()
    ends = run(count, seed)
    print(f"seed {seed}: {count} messages, {time.monotonic() - begun:.1f} s: {ends}")


if __name__ == "__main__":
    main()
