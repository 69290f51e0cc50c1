"""Chains of ARC, made and looked at for tests."""

from meta1g_filters.arc.seal import ARC_SETTINGS, ArcSealer
from meta1g_filters.arc.verify import ArcVerifier
from meta1g_filters.dkim.sign import SigningKey
from tests.unit.filters.dkim.samples import ED_KEY, NOW, dns_of, rsa_key, signing_key, split

KEYS = [SigningKey(f"hop{number}.example", "arc", rsa_key()) for number in (1, 2, 3)]
DNS = dns_of(*KEYS, signing_key(), signing_key(ED_KEY))
RESULTS = b"mx.example.org; spf=pass smtp.mailfrom=ann@example.org;\r\n\tdkim=pass header.d=example.org"


def state(message, lookup=DNS, limits=None, now=NOW):
    fields, body = split(message)
    verifier = ArcVerifier(limits)
    verifier.header(fields)
    for at in range(0, len(body), 100):
        verifier.body(body[at : at + 100])
    return verifier.finish(lookup, now)


def seal(message, key, chain=None, settings=ARC_SETTINGS, results=RESULTS):
    fields, body = split(message)
    sealer = ArcSealer(key, settings)
    sealer.header(fields)
    sealer.body(body)
    return b"".join(sealer.finish(chain or state(message), results, NOW)) + message


def chained(message, count, *, change=lambda message: message):
    for number in range(count):
        message = seal(change(message) if number else message, KEYS[number % len(KEYS)])
    return message
