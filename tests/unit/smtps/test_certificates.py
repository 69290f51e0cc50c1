"""Certificates of SMTPS without a process: what is said when they cannot be loaded, or TLS is not whole."""

import os
import queue
import threading
from dataclasses import replace

import pytest

from meta1g.base.errors import PermError
from meta1g.base.log import Log
from meta1g.base.tlsfacts import TICKET_KEYS_BYTES, KeyPair, TlsSettings
from meta1g.smtps.certificates import Certificates
from meta1g.smtps.tickets import day_of, keys_on, ticket_keys
from meta1g.st import libssl
from tests.fakes.certificates import make_certificate
from tests.fakes.lines import Lines


class Clock:
    """A clock that is turned by hand."""

    now_s = 0.0

    def monotonic(self):
        return self.now_s

    def now(self):
        return self.now_s


@pytest.fixture
def pair(tmp_path):
    return KeyPair(*make_certificate(tmp_path, "mx.example"))


def made(pair, lines, clock=None):
    return Certificates(TlsSettings((pair,)), Log("smtps", sink=lines), clock or Clock(), 10)


def test_a_file_that_cannot_be_used_is_named(pair):
    pair.key_file.unlink()
    with pytest.raises(PermError, match=r"tls: .*mx\.example\.key: No such file"):
        made(pair, Lines())


def test_where_not_all_of_tls_can_be_used_it_is_said(pair, monkeypatch):
    monkeypatch.setattr(libssl, "why_not", lambda: "not built: install libssl-dev")
    lines = Lines()
    made(pair, lines)
    assert "func=smtps.tls_poor" in "\n".join(lines.lines)
    assert "install libssl-dev; without it there is no: certificates of clients" in "\n".join(lines.lines)


@pytest.mark.skipif(bool(libssl.why_not()), reason=libssl.why_not())
def test_a_certificate_that_ends_is_warned_of_once_a_day(pair):
    lines, clock = Lines(), Clock()
    certificates = made(pair, lines, clock)
    for now_s in (0.0, 86_000.0, 86_401.0, 100_000.0):
        clock.now_s = now_s
        certificates.refresh()
    assert "\n".join(lines.lines).count("func=smtps.tls_ends") == 2


@pytest.mark.skipif(bool(libssl.why_not()), reason=libssl.why_not())
def test_status_is_told_of_a_certificate_that_ends_and_that_it_is_replaced(pair, tmp_path):
    said = []
    certificates = Certificates(TlsSettings((pair,)), Log("smtps", sink=Lines()), Clock(), 10, said.append)
    certificates.refresh()
    assert said[0].startswith(f"{pair.cert_file}: the certificate ends in ")
    make_certificate(tmp_path, "mx.example", days=90)
    certificates.refresh()
    assert said[1:] == [""]


def test_the_secret_of_tickets_has_to_be_long_enough(pair, tmp_path):
    secret = tmp_path / "ticket.secret"
    settings = TlsSettings((pair,), ticket_secret_file=secret)
    with pytest.raises(PermError, match=r"ticket\.secret: No such file"):
        Certificates(settings, Log("smtps", sink=Lines()), Clock(), 10)
    secret.write_bytes(bytes(31))
    with pytest.raises(PermError, match=r"ticket\.secret: has 31 bytes, 32 are needed: openssl rand"):
        Certificates(settings, Log("smtps", sink=Lines()), Clock(), 10)


@pytest.mark.parametrize("option", ["cert_file", "key_file", "ca_file", "crl_file", "dh_file", "ticket_secret_file"])
def test_a_fifo_in_the_place_of_a_file_holds_nobody_up(pair, tmp_path, option):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    settings = TlsSettings((pair,))
    if option in ("cert_file", "key_file"):
        settings = replace(settings, pairs=(replace(pair, **{option: fifo}),))
    else:
        settings = replace(settings, **{option: fifo})
    said = queue.SimpleQueue()

    def load():
        try:
            said.put(Certificates(settings, Log("smtps", sink=Lines()), Clock(), 10))
        except PermError as error:
            said.put(error.cause)

    threading.Thread(target=load, daemon=True).start()
    assert said.get(timeout=10) == f"tls: {fifo}: is no plain file"


def test_keys_of_tickets_are_of_the_secret_and_the_day():
    secrets, days = (bytes(32), bytes(31) + b"x"), (day_of(0.0), day_of(86_399.9), day_of(86_400.0))
    made = {(secret, day): ticket_keys(secret, day) for secret in secrets for day in days}
    assert len(made) == 4, "two days"
    assert len(set(made.values())) == 4
    assert {len(keys) for keys in made.values()} == {TICKET_KEYS_BYTES}
    assert keys_on(secrets[0], 1) == ticket_keys(secrets[0], 1) + ticket_keys(secrets[0], 0)
    assert ticket_keys(secrets[0], 0)[:64] != ticket_keys(secrets[0], 0)[16:], "no part comes again"
