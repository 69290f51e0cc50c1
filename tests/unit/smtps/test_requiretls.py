"""REQUIRETLS and TLS-Required of a real smtps process (RFC 8689): who is offered it, and what qmgr hears."""

import smtplib
import ssl

import pytest

from meta1g.rcb.smtps_qmgr import CloseTransaction, NewTransaction
from tests.fakes.certificates import make_certificate
from tests.fakes.smtps_process import SmtpsProcess

WAIT_S = 20
TEXT = b"Subject: x\r\n\r\nx\r\n"
NO = b"TLS-Required: No\r\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    make_certificate(directory, "mx.example")
    return directory


@pytest.fixture(scope="module")
def smtps(tmp_path_factory, files):
    options = f"tls {{ cert_file = {files}/mx.example.pem; key_file = {files}/mx.example.key; }}"
    with SmtpsProcess(tmp_path_factory.mktemp("q") / "q", options) as process:
        heard = []
        process.qmgr.refuse = heard.append
        accept = process.qmgr.commit
        process.qmgr.commit = lambda msg: (heard.append(msg), accept(msg))[1]
        process.heard = heard
        yield process


def client(smtps, files, *, tls):
    smtp = smtplib.SMTP("127.0.0.1", smtps.port, timeout=WAIT_S)
    smtp.ehlo("client.example")
    if tls:
        smtp._host = "mx.example"
        smtp.starttls(context=ssl.create_default_context(cafile=files / "mx.example.pem"))
        smtp.ehlo("client.example")
    return smtp


def test_it_is_offered_under_tls_only(smtps, files):
    with client(smtps, files, tls=False) as smtp:
        assert not smtp.has_extn("requiretls")
        assert smtp.docmd("MAIL FROM:<a@b.example> REQUIRETLS")[0] == 555
    with client(smtps, files, tls=True) as smtp:
        assert smtp.has_extn("requiretls")
        assert smtp.docmd("MAIL FROM:<a@b.example> REQUIRETLS=yes")[0] == 501
        assert smtp.docmd("MAIL FROM:<a@b.example> requiretls REQUIRETLS")[0] == 250


@pytest.mark.parametrize(
    ("tls", "parameter", "header", "requires", "optional"),
    [
        (False, [], b"", False, False),
        (True, [], b"", False, False),
        (True, ["REQUIRETLS"], b"", True, False),
        (False, [], NO, False, True),
        (True, [], NO, False, True),
        (True, ["REQUIRETLS"], NO, True, False),
    ],
)
def test_qmgr_hears_of_it(smtps, files, tls, parameter, header, requires, optional):
    smtps.heard.clear()
    with client(smtps, files, tls=tls) as smtp:
        assert smtp.sendmail("a@b.example", ["r@x.example"], header + TEXT, mail_options=parameter) == {}
    (ended,) = [one for one in smtps.heard if isinstance(one, CloseTransaction)]
    (begun,) = [one for one in smtps.heard if isinstance(one, NewTransaction) and one.ta_id == ended.ta_id]
    assert (begun.requiretls, ended.tls_optional) == (requires, optional)
