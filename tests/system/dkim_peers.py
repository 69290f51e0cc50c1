"""DKIM with verifiers and signers of others: OpenDKIM, and dkimpy, on all forms of messages, both ways.

    apt-get install opendkim
    python -m tests.system.dkim_peers

Each form is signed here in each canonicalization by RSA and Ed25519, and verified by OpenDKIM, which is asked as smtps asks
filters; then OpenDKIM signs it and it is verified here.  The same is done with dkimpy.  Then all of them go through a whole
gateway with authfilter: signed by it and verified by the others as they arrive, and signed before and verified by it.  What is
known to differ is named with its reason; the exit code is the number of surprises.
"""

import itertools
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import dkim
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from contrib.lib.gateway import wait_until
from meta1g.milter.changes import InsertField
from meta1g_filters.dkim.canon import Canonicalization
from meta1g_filters.dkim.sign import SignSettings
from tests.fakes.filterclient import FilterClient
from tests.system.dkim_gateway import through_gateway
from tests.unit.filters.dkim.forms import FORMS
from tests.unit.filters.dkim.samples import ED_KEY, dns_of, record, sign, signing_key, split, verify

WAIT_S = 30
KEYS = (signing_key(), signing_key(ED_KEY))
DNS = dns_of(*KEYS)
WAYS = tuple(itertools.product(Canonicalization, repeat=2))
#: What differs and is no fault of ours: who does what, with which form (empty: any), how, and why.  No such body comes by SMTP.
KNOWN = (
    ("OpenDKIM", "no line end at the end", "/relaxed", "it has no result for a relaxed body without a line end"),
    ("OpenDKIM", "blanks at the end, no line end", "/relaxed", "hashes blanks without a line end in its own way"),
    ("OpenDKIM", "one blank, no line end", "/relaxed", "hashes one blank without a line end in its own way"),
    ("dkimpy", "blanks at the end, no line end", "/relaxed", "keeps a blank before the line end that is added on the way"),
    ("dkimpy", "one blank, no line end", "/relaxed", "keeps the blank before the line end that is added on the way"),
    (
        "OpenDKIM signs",
        "",
        "ed25519-sha256 simple/",
        "its Ed25519 signature of a simple header passes nowhere: by itself: fail",
    ),
)
CONFIG = """\
Socket local:{0}/{1}.sock
UMask 000
Syslog no
RequireSafeKeys no
PidFile {0}/{1}.pid
"""
SIGNING = (
    CONFIG
    + """\
Mode s
Domain example.org
Selector {2}
SignatureAlgorithm {3}
KeyFile {0}/{2}.pem
Canonicalization {4}
OversignHeaders From,Subject,Reply-To
"""
)
VERIFYING = (
    CONFIG
    + """\
Mode v
TestDNSData file:{0}/keys
AuthservID mx.test
MaximumSignaturesToVerify 9
"""
)
Surprise = tuple[str, str, str]


@contextmanager
def opendkim(directory: Path, name: str, config: str) -> Iterator[FilterClient]:
    """Runs an OpenDKIM, and gives a session with it."""
    file = directory / f"{name}.conf"
    file.write_text(config)
    process = subprocess.Popen(["opendkim", "-f", "-x", str(file)], stderr=subprocess.PIPE, text=True)
    try:
        path = directory / f"{name}.sock"
        wait_until(lambda: listens(path) or process.poll() is not None, WAIT_S, f"opendkim {name} listens")
        if process.poll() is not None:
            raise SystemExit(f"opendkim {name}: {process.communicate()[1]}")
        with closing(FilterClient(path)) as client:
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=WAIT_S)


def inserted(client: FilterClient, message: bytes, name: bytes, queue_id: str) -> list[InsertField]:
    """Gives the fields of a name that a filter puts above a message."""
    changes = client.message(*split(message), queue_id)
    return [one for one in changes if isinstance(one, InsertField) and one.name.lower() == name]


def passes_opendkim(client: FilterClient, message: bytes, queue_id: str) -> list[str]:
    """Gives what OpenDKIM says of each signature of `example.org`, with its algorithm."""
    found = b" ".join(one.value for one in inserted(client, message, b"authentication-results", queue_id)).decode()
    return re.findall(r"dkim=(\w+)[^;]*?header\.d=example\.org[^;]*?header\.a=([\w-]+)", found)


def signed_by_opendkim(client: FilterClient, message: bytes, queue_id: str) -> bytes:
    fields = inserted(client, message, b"dkim-signature", queue_id)
    return b"".join(one.name + b":" + one.value.removesuffix(b"\r\n") + b"\r\n" for one in fields) + message


def to_opendkim(client: FilterClient) -> Iterator[Surprise]:
    """Signs here; OpenDKIM verifies."""
    for (form, message), (header_way, body_way) in itertools.product(FORMS.items(), WAYS):
        signed = sign(message, *KEYS, settings=SignSettings(header_way, body_way), now=int(time.time()))
        found = passes_opendkim(client, signed, "q1")
        if found != [("pass", "rsa-sha256"), ("pass", "ed25519-sha256")]:
            yield "OpenDKIM verifies", form, f"{header_way}/{body_way}: {found}"


def from_opendkim(client: FilterClient, name: str, verifier: FilterClient) -> Iterator[Surprise]:
    """OpenDKIM signs; verified here, and by itself if it does not pass."""
    for form, message in FORMS.items():
        signed = signed_by_opendkim(client, message, "q1")
        result = verify(signed, DNS, now=time.time())[0]
        if result.result != "pass":
            itself = dict(map(reversed, passes_opendkim(verifier, signed, "q2"))).get(name.partition(" ")[0])
            yield "OpenDKIM signs", form, f"{name}: {result.result} ({result.reason}), by itself: {itself}"


def dkimpy_text(name: bytes, timeout: int = 5) -> bytes:
    return DNS(name.decode().rstrip(".")).texts[0]


def with_dkimpy() -> Iterator[Surprise]:
    """Both ways with RSA: dkimpy wants PyNaCl for Ed25519."""
    pem = KEYS[0].key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    for (form, message), ways in itertools.product(FORMS.items(), WAYS):
        named = "/".join(ways)
        if not dkim.verify(sign(message, KEYS[0], settings=SignSettings(*ways)), dnsfunc=dkimpy_text):
            yield "dkimpy verifies", form, named
        field = dkim.sign(message, b"rsa", b"example.org", pem, canonicalize=tuple(way.value.encode() for way in ways))
        if (result := verify(field + message, DNS, now=time.time())[0]).result != "pass":
            yield "dkimpy signs", form, f"{named}: {result.reason}"


def publish(directory: Path) -> None:
    """Writes the records for OpenDKIM."""
    lines = (f"{key.selector}._domainkey.{key.domain} {record(key).decode()}\n" for key in KEYS)
    (directory / "keys").write_text("".join(lines))


def listens(path: Path) -> bool:
    """Tells whether somebody takes connections; the socket is there a little earlier."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def with_opendkim(directory: Path) -> Iterator[Surprise]:
    publish(directory)
    for key in KEYS:
        pem = key.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (directory / f"{key.selector}.pem").write_bytes(pem)
    with opendkim(directory, "verify", VERIFYING.format(directory, "verify")) as verifier:
        yield from to_opendkim(verifier)
        for number, (key, ways) in enumerate(itertools.product(KEYS, WAYS)):
            name = f"sign{number}"
            config = SIGNING.format(directory, name, key.selector, key.algorithm, "/".join(ways))
            with opendkim(directory, name, config) as client:
                yield from from_opendkim(client, f"{key.algorithm} {'/'.join(ways)}", verifier)


def with_gateway(directory: Path) -> Iterator[Surprise]:
    """A whole gateway; what it signed is verified by OpenDKIM, dkimpy and here."""
    verifiers = {
        "this project": lambda content: [one.result for one in verify(content, DNS, now=time.time())[:2]] == ["pass"] * 2,
        "dkimpy": lambda content: dkim.verify(content, dnsfunc=dkimpy_text),
    }
    with ExitStack() as stack:
        if shutil.which("opendkim"):
            publish(directory)
            client = stack.enter_context(opendkim(directory, "verify", VERIFYING.format(directory, "verify")))
            verifiers["OpenDKIM"] = lambda content: [word for word, _ in passes_opendkim(client, content, "q3")] == ["pass"] * 2
        yield from through_gateway(directory, KEYS, verifiers)


def main() -> int:
    """Runs all, and gives the number of surprises."""
    runs: dict[str, tuple[int, Callable[[], Iterator[Surprise]]]] = {}
    with ExitStack() as stack:
        if shutil.which("opendkim"):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            runs["OpenDKIM"] = (len(FORMS) * len(WAYS) * (1 + len(KEYS)), lambda: with_opendkim(directory))
        else:
            print("opendkim is not installed, it is left out: apt-get install opendkim")
        runs["dkimpy"] = (len(FORMS) * len(WAYS) * 2, with_dkimpy)
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        runs["gateway"] = (len(FORMS) * (3 + len(Canonicalization)), lambda: with_gateway(place))
        return sum(report(name, count, list(run())) for name, (count, run) in runs.items())


def reason_known(surprise: Surprise) -> str:
    """Gives why something differs; empty if nobody knows."""
    what, form, how = surprise
    for known_what, known_form, known_how, reason in KNOWN:
        _, claim, itself = reason.partition("by itself: ")
        if what.startswith(known_what) and known_form in ("", form) and known_how in how and claim + itself in how:
            return reason
    return ""


def report(name: str, count: int, surprises: list[Surprise]) -> int:
    """Prints what differs, known ones once for each reason, and gives the number of surprises."""
    known = Counter(reason for one in surprises if (reason := reason_known(one)))
    for reason, number in known.items():
        print(f"{name}: {number} known: {reason}")
    for what, form, how in (one for one in surprises if not reason_known(one)):
        print(f"{what}: {form}: {how}")
    unknown = len(surprises) - known.total()
    print(f"{name}: {len(FORMS)} forms, {count} runs, {known.total()} known differences, {unknown} surprises")
    return unknown


if __name__ == "__main__":
    sys.exit(main())
