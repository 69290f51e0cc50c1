"""Messages, keys and a DNS without servers for the tests of DKIM and ARC."""

import base64
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meta1g_filters.dkim.sign import DkimSigner, SigningKey
from meta1g_filters.dkim.verify import DkimVerifier
from meta1g_filters.dns import TxtAnswer

NOW = 1_700_000_000
DOMAIN = "example.org"
FROM = b"From: ann@example.org\r\n"
PLAIN = FROM + b"To: bob@example.net\r\nSubject: a \t b\r\n\tc\r\nDate: now\r\n\r\nOne\r\n two  words \r\n\r\n"

#: Appendix A and C of RFC 6376.
RFC6376 = b"""DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
"""
RFC6376_KEY = (
    b"v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt"
    b"IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi"
    b"tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"
)
#: Appendix A of RFC 8463.
RFC8463 = b"""DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
"""
RFC8463_KEYS = {
    "brisbane._domainkey.football.example.com": b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "test._domainkey.football.example.com": (
        b"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi"
        b"Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3"
        b"Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
    ),
}


def split(message):
    """Gives header fields and body of a message; its lines end with CRLF."""
    end = 0 if message.startswith(b"\r\n") else (message + b"\r\n").find(b"\r\n\r\n") + 2
    header, body = message[:end], message[end + 2 :]
    fields: list[bytes] = []
    for line in header.splitlines(keepends=True):
        if line[:1] in b" \t" and fields:
            fields[-1] += line
        else:
            fields.append(line)
    return fields, body


def crlf(message):
    return message.replace(b"\n", b"\r\n")


@cache
def rsa_key(bits=2048):
    return generate_private_key(65537, bits)


@cache
def ed25519_key():
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


RSA_KEY = "rsa"
ED_KEY = "ed"


def signing_key(kind=RSA_KEY, domain=DOMAIN, bits=2048):
    return SigningKey(domain, kind, rsa_key(bits) if kind == RSA_KEY else ed25519_key())


def public_text(key):
    """Gives `p=` of a private key."""
    if isinstance(key, RSAPrivateKey):
        data = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        data = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return base64.b64encode(data)


def record(key, tags=b"v=DKIM1"):
    kind = b"rsa" if isinstance(key.key, RSAPrivateKey) else b"ed25519"
    return tags + b"; k=" + kind + b"; p=" + public_text(key.key)


class Dns:
    """TXT records by name; an answer that is a text is a status."""

    def __init__(self, records=()):
        self.records = dict(records)
        self.asked = []

    def __call__(self, name):
        self.asked.append(name)
        found = self.records.get(name, "nxdomain")
        if isinstance(found, str):
            return TxtAnswer(found)
        return TxtAnswer("ok", (found,) if isinstance(found, bytes) else tuple(found))


def dns_of(*keys, tags=b"v=DKIM1"):
    return Dns({f"{key.selector}._domainkey.{key.domain}": record(key, tags) for key in keys})


def sign(message, *keys, settings=None, now=NOW, chunk=1000):
    """Gives a message with signatures."""
    fields, body = split(message)
    signer = DkimSigner(list(keys), settings)
    signer.header(fields)
    for at in range(0, len(body), chunk):
        signer.body(body[at : at + chunk])
    return b"".join(signer.finish(now)) + message


def verify(message, lookup, limits=None, now=NOW, chunk=1000):
    fields, body = split(message)
    verifier = DkimVerifier(limits)
    verifier.header(fields)
    for at in range(0, len(body), chunk):
        verifier.body(body[at : at + chunk])
    return verifier.finish(lookup, now)
