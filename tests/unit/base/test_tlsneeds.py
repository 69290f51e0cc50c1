import pytest

from meta1g.base.tlsfacts import TlsInfo
from meta1g.base.tlsneeds import TlsRequirements, Violation
from meta1g.conf.snippet import parse_snippet
from meta1g.conf.tlsconf import tls_requirements

ISSUER, SUBJECT = "CN=Our CA,O=Example", "CN=mx.example.org,O=Example"


def info(*, bits=256, verified=True, subject=SUBJECT, issuer=ISSUER):
    reason = "" if verified else "self-signed certificate"
    name = "mx.example.org" if subject else ""
    return TlsInfo("TLSv1.3", "c", "c", bits, bits, b"x", subject, issuer, name, "Our CA", verified=verified, reason=reason)


NOT_VERIFIED = "a certificate that can be verified is required: self-signed certificate"


@pytest.mark.parametrize(
    ("needs", "has", "lacks"),
    [
        (TlsRequirements(), None, ""),
        (TlsRequirements(encrypted=True), None, "TLS is required"),
        (TlsRequirements(encrypted=True), info(verified=False), ""),
        (TlsRequirements(min_bits=128), None, "TLS is required"),
        (TlsRequirements(min_bits=128), info(bits=128), ""),
        (TlsRequirements(min_bits=256), info(bits=128), "the cipher has 128 bits, 256 are required"),
        (TlsRequirements(verified=True), None, "TLS is required"),
        (TlsRequirements(verified=True), info(), ""),
        (TlsRequirements(verified=True), info(verified=False), NOT_VERIFIED),
        (TlsRequirements(issuers=("CN=Else", "cn=our ca,o=example")), info(), ""),
        (TlsRequirements(issuers=(ISSUER,)), info(verified=False), NOT_VERIFIED),
        (TlsRequirements(issuers=("CN=Else",)), info(), "the issuer of the certificate is not one of those required"),
        (TlsRequirements(subjects=(SUBJECT,)), info(), ""),
        (TlsRequirements(subjects=(ISSUER,)), info(), "the subject of the certificate is not one of those required"),
        (TlsRequirements(subjects=("CN=" + "a" * 2000,)), info(subject="CN=" + "A" * 1021), ""),
        (TlsRequirements(common_names=("MX.example.org",)), info(), ""),
        (
            TlsRequirements(common_names=("example.org",)),
            info(),
            "the common name of the certificate is not one of those required",
        ),
        (TlsRequirements(common_names=("example.org",)), None, "TLS is required"),
    ],
)
def test_what_a_session_lacks(needs, has, lacks):
    assert needs.unmet(has) == lacks


def test_a_section_says_what_is_demanded():
    text = "flags = { verified }; min_cipher_bits = 128; cert_issuer = { a, b }; common_name = { c }; violation = permanent;"
    snippet = parse_snippet(f"tls_requirements {{ {text} }}", "smtps_session_conf")
    assert tls_requirements(snippet) == TlsRequirements(
        verified=True, min_bits=128, issuers=("a", "b"), common_names=("c",), violation=Violation.PERMANENT
    )
    assert tls_requirements(parse_snippet("", "smtps_session_conf")) is None
