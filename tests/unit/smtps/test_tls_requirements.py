"""What clients of a real smtps process hear at MAIL if TLS has to fulfil something."""

import contextlib
import smtplib
import ssl

import pytest

from meta1g.base.reply import Reply
from meta1g.rcb.smtps_smar import CheckRcpt, Checks, ClientVerdict, LookupFlags, Verdict, VerdictFlags
from tests.fakes.certificates import make_certificate, sign_certificate
from tests.fakes.smtps_process import WAIT_S, SmtpsProcess

TLS = "tls {{ cert_file = {0}/mx.example.pem; key_file = {0}/mx.example.key; CAcert_file = {0}/ca.example.pem; }}"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    for name in ("mx.example", "self.example", "ca.example"):
        make_certificate(directory, name)
    sign_certificate(directory, "client.example", "ca.example")
    return directory


@pytest.fixture(scope="module")
def smtps(tmp_path_factory, files):
    checks = Checks.RCPT | Checks.CLIENT
    with SmtpsProcess(tmp_path_factory.mktemp("q") / "q", TLS.format(files), checks=checks) as process:
        yield process


@contextlib.contextmanager
def session(process, files, cert):
    """A session after EHLO; cert is None in clear and empty without one."""
    context = ssl.create_default_context(cafile=files / "mx.example.pem")
    context.check_hostname = False
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AES128")
    with smtplib.SMTP("127.0.0.1", process.port, timeout=WAIT_S) as smtp:
        smtp.ehlo("client.example")
        if cert is not None:
            if cert:
                context.load_cert_chain(files / f"{cert}.pem", files / f"{cert}.key")
            smtp.starttls(context=context)
            smtp.ehlo("client.example")
        yield smtp


def answer(process, files, cert):
    """What MAIL is answered."""
    with session(process, files, cert) as smtp:
        code, text = smtp.docmd("MAIL FROM:<a@b.example>")
        ends = code == 421
        assert ends or smtp.docmd("NOOP")[0] == 250
        return f"{code} {text.decode()}"


NOT_VERIFIED = "a certificate that can be verified is required: "
ROWS = [
    ("flags = { encrypted };", None, "454 4.7.0 Must issue a STARTTLS command first"),
    ("flags = { encrypted }; violation = permanent;", None, "530 5.7.0 Must issue a STARTTLS command first"),
    ("flags = { encrypted }; violation = abort;", None, "421 4.7.0 TLS is required; closing connection"),
    ("flags = { encrypted };", "", "250 "),
    ("min_cipher_bits = 128;", "", "250 "),
    ("min_cipher_bits = 256; violation = permanent;", "", "550 5.7.1 the cipher has 128 bits, 256 are required"),
    ("flags = { verified };", "", f"451 4.7.1 {NOT_VERIFIED}no certificate"),
    ("flags = { verified };", "self.example", f"451 4.7.1 {NOT_VERIFIED}self-signed certificate"),
    ("flags = { verified };", "client.example", "250 "),
    ('cert_issuer = { "CN=ca.example" };', "client.example", "250 "),
    ('cert_issuer = { "CN=other.example" };', "client.example", "451 4.7.1 the issuer of the certificate is not one of those "),
    ('cert_subject = { "CN=client.example", "CN=x" };', "client.example", "250 "),
    ('cert_subject = { "CN=x" };', "client.example", "451 4.7.1 the subject of the certificate is not one of those "),
    ('common_name = { "client.example" };', "client.example", "250 "),
    ('common_name = { "client.example" };', "self.example", f"451 4.7.1 {NOT_VERIFIED}self-signed certificate"),
    ('common_name = { "x" };', "client.example", "451 4.7.1 the common name of the certificate is not one of those "),
]


@pytest.mark.parametrize(("needs", "cert", "expected"), ROWS)
def test_demands_on_the_tls_of_a_client(smtps, files, needs, cert, expected):
    snippet = f"tls_requirements {{ {needs} }}"
    smtps.smar.client = lambda msg: ClientVerdict(reply=Reply(220), session_conf=snippet)
    assert answer(smtps, files, cert).startswith(expected)


def test_demands_of_the_section_hold_unless_a_client_has_its_own(tmp_path, files):
    options = TLS.format(files) + " tls_requirements { flags = { encrypted }; violation = permanent; }"
    with SmtpsProcess(tmp_path / "q", options, checks=Checks.RCPT | Checks.CLIENT) as process:
        for snippet, expected in (
            ("", "530 5.7.0 "),
            ("max_recipients = 5;", "530 5.7.0 "),
            ("tls_requirements { }", "250 "),
        ):
            process.smar.client = lambda msg, conf=snippet: ClientVerdict(reply=Reply(220), session_conf=conf)
            assert answer(process, files, None).startswith(expected)


RELAY = int(VerdictFlags.RELAY | VerdictFlags.CERTIFIED)


@pytest.mark.parametrize(
    ("cert", "asked", "flags", "reply", "expected"),
    [
        ("", ("", ""), 0, 250, 550),
        ("self.example", ("", ""), 0, 250, 550),
        ("client.example", ("CN=ca.example", "CN=client.example"), 0, 250, 550),
        ("client.example", ("CN=ca.example", "CN=client.example"), RELAY, 250, 250),
        ("client.example", ("CN=ca.example", "CN=client.example"), RELAY, 550, 250),
        ("client.example", ("CN=ca.example", "CN=client.example"), RELAY, 451, 451),
    ],
)
def test_a_certificate_that_is_verified_overrules_what_was_delayed(delaying, files, cert, asked, flags, reply, expected):
    """The client is denied; flags and reply are what the resolver says at MAIL, in view of the certificate."""
    seen = []
    delaying.smar.mail = lambda msg: seen.append(msg) or Verdict(reply=Reply(reply, "", "sender"), flags=flags)
    with session(delaying, files, cert) as smtp:
        code = smtp.docmd("MAIL FROM:<a@b.example>")[0]
        if code == 250:
            code = smtp.docmd("RCPT TO:<r@x.example>")[0]
        assert code == expected
    assert (seen[0].cert_issuer, seen[0].cert_subject) == asked
    assert not [msg for msg in delaying.smar.of(CheckRcpt) if flags and not msg.flags & LookupFlags.RELAY_ALLOWED]
    delaying.smar.messages.clear()


@pytest.fixture(scope="module")
def delaying(tmp_path_factory, files):
    options = f"flags = {{ delay_checks }}; {TLS.format(files)}"
    with SmtpsProcess(tmp_path_factory.mktemp("q") / "q", options, checks=Checks.CLIENT | Checks.MAIL | Checks.RCPT) as process:
        process.smar.client = lambda msg: ClientVerdict(reply=Reply(550, "5.7.1", "not you"))
        yield process
