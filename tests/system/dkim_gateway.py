"""All forms of messages through a whole gateway with authfilter: they leave signed, and signatures of others arrive verified.

What arrives is what verifiers see at last: the filter's fields are in it, and whatever smtps, qmgr and smtpc do on the way.
Used by `python -m tests.system.dkim_peers`.
"""

import re
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from contrib.lib.gateway import Gateway, wait_until
from meta1g_filters.dkim.canon import Canonicalization
from meta1g_filters.dkim.sign import SigningKey, SignSettings
from tests.fakes.nameserver import NameServer
from tests.system.conftest import KeepingSink, running
from tests.unit.filters.dkim.forms import FORMS
from tests.unit.filters.dkim.samples import record, sign

WAIT_S = 120
OURS, STRANGER = "10.1.2.3", "203.0.113.9"
CONF = """
authserv_id = gateway.example;
nameserver {{ address = {names.address}; port = {names.port}; }}
trusted = {{ 10.0.0.0/8 }};
domain example.org {{ key rsa {{ file = "rsa.pem"; }} key ed {{ file = "ed.pem"; }} }}
"""
RELAY = "10.0.0.0/8, 127.0.0.1, 203.0.113.0/24"
Verifies = Callable[[bytes], bool]
Surprise = tuple[str, str, str]


@dataclass(frozen=True)
class DkimGateway:
    """A gateway with authfilter, and where its mail arrives."""

    gateway: Gateway
    sink: KeepingSink

    def send(self, message: bytes, client: str, rcpt: str) -> str:
        """Sends a message for a client that the gateway believes it to be; gives why it is refused."""
        options = ["BODY=8BITMIME", *([] if message.partition(b"\r\n\r\n")[0].isascii() else ["SMTPUTF8"])]
        with smtplib.SMTP("127.0.0.1", self.gateway.port, timeout=WAIT_S) as smtp:
            smtp.ehlo()
            smtp.docmd("XCLIENT", f"ADDR={client} NAME=[UNAVAILABLE]")
            smtp.ehlo()
            try:
                smtp.sendmail("ann@example.org", [rcpt], message, options)
            except smtplib.SMTPResponseException as error:
                return f"{error.smtp_code} {error.smtp_error!r}"
        return ""

    def arrived(self, rcpts: set[str]) -> dict[str, bytes]:
        """Waits until all have their message."""

        def found() -> dict[str, bytes]:
            return {one["rcpts"][0]: self.sink.content(one) for one in self.sink.envelopes() if {*one["rcpts"]} & rcpts}

        wait_until(lambda: len(found()) == len(rcpts), WAIT_S, f"{len(rcpts)} messages")
        return found()


@contextmanager
def dkim_gateway(directory: Path, keys: tuple[SigningKey, ...]) -> Iterator[DkimGateway]:
    """Runs name server, filter, gateway and sink."""
    for key in keys:
        path = directory / f"{key.selector}.pem"
        path.write_bytes(key.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        path.chmod(0o600)
    with (
        KeepingSink(directory / "maildir", "--extensions", "PIPELINING,8BITMIME,SIZE,ENHANCEDSTATUSCODES,SMTPUTF8") as sink,
        NameServer() as names,
    ):
        for key in keys:
            text = record(key).decode()
            strings = " ".join(f'"{text[at : at + 255]}"' for at in range(0, len(text), 255))
            names.add(f"{key.selector}._domainkey.{key.domain}", "TXT", strings)
        (directory / "authfilter.conf").write_text(CONF.format(names=names))
        with authfilter(directory) as place:
            smtps = f'xclient_from = {{ 127.0.0.1 }}; policy_milter auth {{ socket {{ type = unix; path = "{place}"; }} }}'
            made = Gateway(directory / "gateway", f". {sink.port}^[127.0.0.1]", {"smtps": smtps}, relay_from=RELAY)
            with running(made) as gateway:
                yield DkimGateway(gateway, sink)


@contextmanager
def authfilter(directory: Path) -> Iterator[Path]:
    place = directory / "authfilter.sock"
    command = [sys.executable, "-m", "meta1g_filters.auth.main", "-f", str(directory / "authfilter.conf"), f"unix:{place}"]
    with (directory / "authfilter.log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            wait_until(lambda: place.exists() or process.poll() is not None, WAIT_S, "authfilter listens")
            yield place
        finally:
            process.terminate()


def signed_by_the_gateway(system: DkimGateway, verifiers: dict[str, Verifies]) -> Iterator[Surprise]:
    """Our own mail: signed by the gateway, verified by others as it arrives."""
    rcpts = {f"s{number}@to.example": form for number, form in enumerate(FORMS)}
    refused = {rcpt: reply for rcpt, form in rcpts.items() if (reply := system.send(FORMS[form], OURS, rcpt))}
    yield from (("the gateway takes", rcpts[rcpt], reply) for rcpt, reply in refused.items())
    for rcpt, content in system.arrived({*rcpts} - {*refused}).items():
        for name, verifies in verifiers.items():
            if not verifies(content):
                yield f"{name} verifies what the gateway signed", rcpts[rcpt], repr(content[:2000])


def verified_by_the_gateway(system: DkimGateway, keys: tuple[SigningKey, ...]) -> Iterator[Surprise]:
    """Mail of others, with signatures: the gateway tells what they are worth."""
    rcpts = {f"{way}{number}@to.example": (form, way) for number, form in enumerate(FORMS) for way in Canonicalization}
    refused = {}
    for rcpt, (form, way) in rcpts.items():
        signed = sign(FORMS[form], *keys, settings=SignSettings(way, way), now=int(time.time()))
        refused[rcpt] = system.send(signed, STRANGER, rcpt)
    for rcpt, content in system.arrived({rcpt for rcpt, reply in refused.items() if not reply}).items():
        form, way = rcpts[rcpt]
        results = content.partition(b"\r\nReceived:")[0].decode()
        if (found := re.findall(r"\bdkim=(\w+)", results)[: len(keys)]) != ["pass"] * len(keys):
            yield "the gateway verifies", form, f"{way}: {found} {results}"


def through_gateway(directory: Path, keys: tuple[SigningKey, ...], verifiers: dict[str, Verifies]) -> Iterator[Surprise]:
    """Runs both.

    Args:
        directory: for all files.
        keys: of example.org, with the selectors rsa and ed.
        verifiers: who verifies what the gateway signed.
    """
    with dkim_gateway(directory, keys) as system:
        yield from signed_by_the_gateway(system, verifiers)
        yield from verified_by_the_gateway(system, keys)
