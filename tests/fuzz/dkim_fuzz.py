"""Feeds damaged messages, keys and answers of DNS to DKIM and ARC: nothing raises, and nothing passes that was not signed.

    python -m tests.fuzz.dkim_fuzz 100000

What passes has the header fields and the body that were signed, by the canonicalization word by word; whatever a verifier says
of the reason is printable ASCII.  The unit tests run 2,000 of them.
"""

import random
import re

from meta1g_filters.arc.seal import ArcSealer
from meta1g_filters.arc.verify import ArcResult, ArcVerifier
from meta1g_filters.dkim.canon import BodyHashes
from meta1g_filters.dkim.sign import SigningKey
from meta1g_filters.dkim.signature import VerifyLimits
from meta1g_filters.dkim.verify import DkimResult, DkimVerifier
from meta1g_filters.dns import TxtAnswer
from tests.fuzz.runner import damaged, main
from tests.unit.filters.arc.chains import DNS, chained
from tests.unit.filters.dkim.samples import ED_KEY, NOW, PLAIN, sign, signing_key, split

ED: SigningKey = signing_key(ED_KEY)
#: A message, signed twice and sealed twice.
MESSAGE = chained(sign(PLAIN, signing_key(), ED), 2)
PIECES = [
    *(
        b"\r\n",
        b"\r\n ",
        b"\r\n\t",
        b"\r",
        b"\n",
        b"\0",
        b"\xff",
        b"\xc3\xa4",
        b" ",
        b"\t",
        b";",
        b";;",
        b"=",
        b":",
        b"\r\n\r\n",
    ),
    *(b"l=0; ", b"l=5;", b"l=999999999999;", b"x=1;", b"t=1;", b"i=1;", b"i=50;", b"cv=pass;", b"cv=none;", b"h=;", b"h=from;"),
    *(b"a=rsa-sha1;", b"c=simple;", b"c=relaxed/simple;", b"b=;", b"bh=;", b"d=;", b"q=dns/txt;", b"v=1;", b"=?utf-8?q?x?="),
    *(b"From: eve@example.net\r\n", b"Subject: other\r\n", b"DKIM-Signature: ", b"ARC-Seal: i=1;", b"Reply-To: e\r\n"),
]
_STATUSES = ("nxdomain", "nodata", "temperror")
_WORDS = {"none", "pass", "fail", "policy", "neutral", "temperror", "permerror"}


class ForgeryError(Exception):
    """Something passes that was not signed."""


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Damages a text, or copies a part of it to another place."""
    return damaged(data, rng, PIECES, [data, MESSAGE], 3)


def relaxed(data: bytes) -> bytes:
    """Canonicalizes by the words of RFC 6376 3.4.2 and 3.4.4, without what is different at the ends."""
    return re.sub(rb"[ \t]+", b" ", data)


def relaxed_field(field: bytes) -> bytes:
    name, _, value = field.partition(b":")
    value = re.sub(rb"\r\n(?=[ \t])", b"", value.removesuffix(b"\r\n"))
    return name.rstrip(b" \t").lower() + b":" + relaxed(value).strip(b" ")


def relaxed_body(body: bytes) -> bytes:
    body = re.sub(rb" (?=\r\n|\Z)", b"", relaxed(body))
    while body.endswith(b"\r\n"):
        body = body[:-2]
    return body


#: Names that both signers sign once more than they are there: none may be added.
OVERSIGNED = (b"from", b"to", b"subject", b"date", b"reply-to", b"cc", b"message-id", b"mime-version", b"content-type")


def signed_part(fields: list[bytes], body: bytes) -> object:
    """Gives what must be as it was if something passes."""
    canonical = [relaxed_field(field) for field in fields]
    return relaxed_body(body), {name: [one for one in canonical if one.partition(b":")[0] == name] for name in OVERSIGNED}


SIGNED = signed_part(*split(MESSAGE))


class DamagedDns:
    """Answers that are right, mostly, or damaged."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def __call__(self, name: str) -> TxtAnswer:
        answer = DNS(name)
        kind = self._rng.random()
        if kind < 0.9:
            return answer
        if kind < 0.95:
            return TxtAnswer(self._rng.choice(_STATUSES))  # type: ignore[arg-type]
        return TxtAnswer("ok", (*(mutated(text, self._rng) for text in answer.texts), b"v=spf1 -all"))


def look(message: bytes, rng: random.Random) -> tuple[list[DkimResult], ArcResult]:
    """Verifies a message by both, in pieces, and seals it."""
    fields, body = split(message)
    limits = VerifyLimits(signatures_max=rng.choice((0, 1, 10)), partial_body=rng.random() < 0.1)
    bodies, lookup = BodyHashes(), DamagedDns(rng)
    verifier, chain, sealer = DkimVerifier(limits, bodies), ArcVerifier(limits, bodies), ArcSealer(ED, bodies=bodies)
    for one in (verifier, chain, sealer):
        one.header(fields)
    at = 0
    while at < len(body):
        size = rng.choice((1, 2, 10, 1000))
        bodies.update(body[at : at + size])
        at += size
    results, state = verifier.finish(lookup, NOW), chain.finish(lookup, NOW)
    sealer.finish(state, b"mx.example; none", NOW)
    if signed_part(fields, body) != SIGNED and (state.cv == "pass" or any(one.result == "pass" for one in results)):
        raise ForgeryError(f"{results}, {state}")
    for word, reason in [*((one.result, one.reason) for one in results), (state.cv, state.reason)]:
        assert word in _WORDS
        assert reason.isascii(), reason
        assert reason.isprintable(), reason
    return results, state


def message(rng: random.Random) -> list[str]:
    """Verifies a damaged message; gives the results."""
    results, state = look(mutated(MESSAGE, rng), rng)
    return [*(f"dkim {one.result}" for one in results), f"arc {state.cv}"]


TARGETS = {"message": message}


if __name__ == "__main__":
    raise SystemExit(main(__doc__, TARGETS))
