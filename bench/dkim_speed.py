"""Signing and verifying by DKIM: messages a second of one CPU, beside dkimpy in the same run.

    bench/dkim [--seconds 2] [--record]

Messages of 4 KiB and 1 MiB, keys of RSA 2048 and Ed25519, relaxed/relaxed.  The four ways of a case are measured in turns, so
that drift of the machine hits all; CPU time of the process counts.  dkimpy needs PyNaCl for Ed25519; without it these cells
are empty.  No DNS: the record is at hand.
"""

import argparse
import base64
import importlib.util
import random
import time
from collections.abc import Callable
from pathlib import Path

import dkim
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.results import record
from meta1g_filters.dkim.keys import KeyFile, KeyPlan, make_key
from meta1g_filters.dkim.sign import DkimSigner, SigningKey
from meta1g_filters.dkim.verify import DkimVerifier
from meta1g_filters.dns import TxtAnswer

SIZES = {"4 KiB": 4096, "1 MiB": 1 << 20}
KINDS = {"RSA 2048": "rsa", "Ed25519": "ed25519"}
CHUNK_BYTES = 65_536
TURNS = 4
FIELDS = [
    b"Received: from a.example.net (a.example.net [192.0.2.1])\r\n\tby mx.example.org with ESMTP id 1;\r\n\tnow\r\n",
    b"From: Ann <ann@example.org>\r\n",
    b"To: Bob <bob@example.net>, Joe <joe@example.net>\r\n",
    b"Subject: a subject of some words\r\n",
    b"Date: Fri, 27 Nov 2026 10:00:00 +0000\r\n",
    b"Message-ID: <20261127100000.12345@example.org>\r\n",
    b"MIME-Version: 1.0\r\n",
    b"Content-Type: text/plain; charset=utf-8\r\n",
]


def text(size_bytes: int) -> bytes:
    """Makes lines of words."""
    rng = random.Random(size_bytes)
    words = [bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 10))) for _ in range(500)]
    lines: list[bytes] = []
    while sum(map(len, lines)) < size_bytes and len(lines) < size_bytes // 50:
        lines.append(b" ".join(rng.choices(words, k=10))[:74] + b"\r\n")
    return b"".join(lines)[:size_bytes]


def feed(engine: DkimSigner | DkimVerifier, fields: list[bytes], body: bytes) -> None:
    engine.header(fields)
    for at in range(0, len(body), CHUNK_BYTES):
        engine.body(body[at : at + CHUNK_BYTES])


def ways(key: SigningKey, published: bytes, body: bytes) -> dict[str, Callable[[], object] | None]:
    """Gives what is measured: our signer and verifier, and those of dkimpy if it knows the kind of key."""
    now, message = int(time.time()), b"".join(FIELDS) + b"\r\n" + body

    def sign() -> list[bytes]:
        signer = DkimSigner([key])
        feed(signer, FIELDS, body)
        return signer.finish(now)

    fields = [*sign(), *FIELDS]
    signed = fields[0] + message

    def verify() -> None:
        verifier = DkimVerifier()
        feed(verifier, fields, body)
        assert verifier.finish(lambda _name: TxtAnswer("ok", (published,)), now)[0].result == "pass"

    algorithm = key.algorithm.encode()
    if algorithm.startswith(b"rsa"):
        private = key.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    else:
        private = base64.b64encode(key.key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
    ways_both = (b"relaxed", b"relaxed")

    def their_sign() -> object:
        return dkim.sign(message, b"s", b"example.org", private, canonicalize=ways_both, signature_algorithm=algorithm)

    def their_verify() -> None:
        assert dkim.verify(signed, dnsfunc=lambda _name, timeout=5: published)

    known = algorithm.startswith(b"rsa") or importlib.util.find_spec("nacl") is not None
    return {
        "sign": sign,
        "verify": verify,
        "dkimpy sign": their_sign if known else None,
        "dkimpy verify": their_verify if known else None,
    }


def rates(measured: dict[str, Callable[[], object] | None], seconds: float) -> dict[str, float]:
    """Gives runs a second of CPU time."""
    runs, spent = dict.fromkeys(measured, 0), dict.fromkeys(measured, 0.0)
    for _ in range(TURNS):
        for name, run in measured.items():
            began = time.process_time()
            end = began + seconds / TURNS
            while run is not None and (now := time.process_time()) < end:
                run()
                runs[name] += 1
                spent[name] += time.process_time() - now
    return {name: runs[name] / spent[name] for name in measured if runs[name]}


def shown(rate: float | None) -> str:
    return "" if rate is None else f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def main() -> None:
    """Reads the command line, measures and prints."""
    parser = argparse.ArgumentParser(
        prog="bench/dkim", description="Messages a second of one CPU, signed and verified by DKIM."
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="for each cell (default: %(default)s)")
    parser.add_argument("--record", action="store_true", help="adds a row to bench/RESULTS.md")
    options = parser.parse_args()
    figures = {}
    for size, size_bytes in SIZES.items():
        for kind, name in KINDS.items():
            file = KeyFile(Path(), "example.org", "s", make_key(name, 2048), KeyPlan())
            key = SigningKey(file.domain, file.selector, file.key)
            found = rates(ways(key, file.record().encode(), text(size_bytes)), options.seconds)
            for way in ("sign", "verify"):
                cell = f"{shown(found[way])} : {shown(found.get(f'dkimpy {way}'))}"
                figures[f"{kind}, {size}, {way}"] = cell
                print(f"{kind}, {size}, {way}: {cell}", flush=True)
    if options.record:
        intro = (
            "Messages a second of one CPU, meta1g : dkimpy in the same run, relaxed/relaxed, record at hand "
            "(bench/dkim_speed.py).  dkimpy holds the whole message, ours 64 KiB of it."
        )
        record("DKIM", intro, f"bench/dkim --seconds {options.seconds:g}", figures)


if __name__ == "__main__":
    main()
