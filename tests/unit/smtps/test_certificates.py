"""Certificates of SMTPS without a process: what is said when they cannot be loaded, or TLS is not whole."""

import pytest

from meta1g.base.errors import PermError
from meta1g.base.log import Log
from meta1g.base.tlsfacts import KeyPair, TlsSettings
from meta1g.smtps.certificates import Certificates
from meta1g.st import libssl
from tests.fakes.certificates import make_certificate
from tests.fakes.lines import Lines


class Clock:
    """A clock that is turned by hand."""

    now_s = 0.0

    def monotonic(self):
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
        certificates.look()
    assert "\n".join(lines.lines).count("func=smtps.tls_ends") == 2
