"""TLS policies in the client process: what each level does with servers of the right certificate, another one, or none."""

import hashlib
import re
import ssl
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from contrib.lib.gateway import wait_until
from meta1g.base.tlsfacts import Tlsa
from meta1g.base.tlspolicy import TlsLevel, TlsPolicy
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.smtpc_qmgr import DeliverRcpt, DeliveryResult, Retry
from tests.fakes.certificates import make_certificate, sign_certificate
from tests.fakes.smtp_server import EHLO, End, ScriptedServer
from tests.unit.smtpc.conftest import running

pytestmark = pytest.mark.system

CONTENT = b"Received: here\r\nSubject: x\r\n\r\nbody\r\n"
OFFERED = EHLO.replace("250-PIPELINING", "250-STARTTLS\r\n250-PIPELINING")
TLS = {"EHLO": OFFERED, "STARTTLS": "220 go\r\n"}
REQUIRING = {**TLS, "EHLO": OFFERED.replace("250-PIPELINING", "250-REQUIRETLS\r\n250-PIPELINING")}
NOT_US = {**TLS, "EHLO": [OFFERED, "550 5.7.1 not you\r\n"], "HELO": "550 5.7.1 not you\r\n"}
MX = "mx.x.example"
L = TlsLevel


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    make_certificate(directory, "ca.example")
    make_certificate(directory, "alone.example")
    for name in (MX, "other.example", "a.b.x.example"):
        sign_certificate(directory, name, "ca.example")
    _expired(directory)
    return directory


def _expired(directory):
    """Makes a certificate that the authority signed for yesterday."""
    key, request, cert = (directory / f"expired.{kind}" for kind in ("key", "csr", "pem"))
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-subj", f"/CN={MX}", "-addext", f"subjectAltName=DNS:{MX}"]
    subprocess.run(["openssl", "req", *kind, *subject, "-keyout", key, "-out", request], check=True, capture_output=True)
    (directory / "index").write_text("")
    (directory / "ca.cnf").write_text(
        f"[ca]\ndefault_ca=x\n[x]\ndatabase={directory}/index\nnew_certs_dir={directory}\nrand_serial=yes\ndefault_md=sha256\n"
        "policy=p\ncopy_extensions=copy\nunique_subject=no\n[p]\ncommonName=supplied\n"
    )
    times = [(datetime.now(UTC) - timedelta(days=days)).strftime("%y%m%d%H%M%SZ") for days in (2, 1)]
    signer = ["-cert", directory / "ca.example.pem", "-keyfile", directory / "ca.example.key", "-startdate", times[0]]
    command = ["openssl", "ca", "-batch", "-config", directory / "ca.cnf", *signer, "-enddate", times[1], "-in", request]
    subprocess.run([*command, "-out", cert], check=True, capture_output=True)
    with cert.open("a") as file:
        file.write((directory / "ca.example.pem").read_text())


@pytest.fixture(scope="module")
def smtpc(tmp_path_factory, files):
    options = f'log {{ file = "smtpc.log"; }} log_level = 9; tls {{ CAcert_file = {files}/ca.example.pem; }}'
    with running(tmp_path_factory.mktemp("smtpc"), options, step_s=30) as made:
        made.store(CONTENT)
        yield made


def context(files, name=MX):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(files / f"{name}.pem", files / f"{name}.key")
    return made


def to(server, policy=None, conf="", host=MX):
    tls = "" if policy is None else policy.demands()
    return (ServerAddr(addr="127.0.0.1", port=server.port, host=host, conf=conf, tls=tls, tls_source="test"),)


def said(result):
    """What became of the message, in the words that decide."""
    reply = result.rcpts[0].reply if result.rcpts else result.session
    return f"{reply.code} {reply.ecode}"


def der(files, name, number=0):
    pem = re.findall(r"-----BEGIN.*?-----END[^\n]*\n", (files / f"{name}.pem").read_text(), re.DOTALL)[number]
    return ssl.PEM_cert_to_DER_cert(pem)


def spki(files, name, number=0):
    made = subprocess.run(
        ["openssl", "x509", "-inform", "der", "-pubkey", "-noout"],
        input=der(files, name, number),
        check=True,
        capture_output=True,
    )
    asked = ["openssl", "pkey", "-pubin", "-outform", "der"]
    return subprocess.run(asked, input=made.stdout, check=True, capture_output=True).stdout


def digest(kind, data):
    return {0: data, 1: hashlib.sha256(data).digest(), 2: hashlib.sha512(data).digest()}[kind]


def tlsa(files, usage, selector, kind, name=MX, number=0):
    return Tlsa(usage, selector, kind, digest(kind, (spki if selector else der)(files, name, number)))


# -- levels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "cert", "outcome", "under"),
    [
        (TlsPolicy(L.NONE), MX, "250 2.0.0", False),
        (TlsPolicy(L.MAY), "alone.example", "250 2.0.0", True),
        (TlsPolicy(L.ENCRYPT), "alone.example", "250 2.0.0", True),
        (TlsPolicy(L.ENCRYPT, tls13=True), MX, "250 2.0.0", True),
        (TlsPolicy(L.VERIFY, names=(MX,)), MX, "250 2.0.0", True),
        (TlsPolicy(L.VERIFY, names=("no.example", MX)), MX, "250 2.0.0", True),
        (TlsPolicy(L.VERIFY, names=(".x.example",)), MX, "250 2.0.0", True),
        (TlsPolicy(L.VERIFY, names=(".x.example",)), "other.example", "451 4.7.5", False),
        (TlsPolicy(L.VERIFY, names=("x.example",)), MX, "451 4.7.5", False),
        (TlsPolicy(L.VERIFY, names=(MX,)), "other.example", "451 4.7.5", False),
        (TlsPolicy(L.VERIFY, names=("alone.example",)), "alone.example", "451 4.7.5", False),
        (TlsPolicy(L.VERIFY, names=(MX,)), "expired", "451 4.7.5", False),
        (TlsPolicy(L.VERIFY), MX, "451 4.7.5", False),
        (TlsPolicy(L.MAY, refused="not there"), MX, "451 4.7.0", False),
    ],
    ids=str,
)
def test_levels(smtpc, files, policy, cert, outcome, under):
    with ScriptedServer(TLS, tls=context(files, cert)) as server:
        assert said(smtpc.deliver(smtpc.job(server.port, server=to(server, policy)))) == outcome
        assert [bool(seen.tls) and bool(seen.contents) for seen in server.connections] == (
            [under] if not policy.refused else []
        )
        assert len(server.contents) == (outcome[0] == "2")


@pytest.mark.parametrize("which", ["certificate", "key", "other", "both"])
@pytest.mark.parametrize("kind", ["sha256", "sha512"])
def test_fingerprints_are_of_the_certificate_or_of_its_key(smtpc, files, which, kind):
    prints = {
        "certificate": [der(files, "alone.example")],
        "key": [spki(files, "alone.example")],
        "other": [der(files, MX)],
        "both": [der(files, MX), spki(files, "alone.example")],
    }[which]
    policy = TlsPolicy(L.FINGERPRINT, fingerprints=tuple(hashlib.new(kind, one).hexdigest() for one in prints))
    with ScriptedServer(TLS, tls=context(files, "alone.example")) as server:
        for host in (MX, "127.0.0.1"):
            outcome = said(smtpc.deliver(smtpc.job(server.port, server=to(server, policy, host=host))))
            assert outcome == ("451 4.7.5" if which == "other" else "250 2.0.0")


#: policy, answers of the server, outcome, connections: after a failed handshake none follows where TLS is demanded.
BROKEN = [
    (L.MAY, {"EHLO": EHLO}, "250 2.0.0", 1),
    (L.ENCRYPT, {"EHLO": EHLO}, "451 4.7.4", 1),
    (L.VERIFY, {"EHLO": EHLO}, "451 4.7.4", 1),
    (L.ENCRYPT, {"EHLO": "500 what?\r\n"}, "451 4.7.4", 1),
    (L.ENCRYPT, {**TLS, "STARTTLS": "454 4.7.0 not now\r\n"}, "451 4.7.5", 1),
    (L.ENCRYPT, {**TLS, "STARTTLS": "502 5.5.1 what?\r\n"}, "451 4.7.5", 1),
    (L.ENCRYPT, {**TLS, "STARTTLS": "220 go\r\n250 evil\r\n"}, "451 4.7.5", 1),
    (L.ENCRYPT, {**TLS, "STARTTLS": "220 go\r\n250-ev"}, "451 4.7.5", 1),
    (L.ENCRYPT, {**TLS, "STARTTLS": "220 go\r\nnot TLS at all\r\n"}, "451 4.7.5", 1),
    (L.ENCRYPT, {**TLS, "STARTTLS": End("220 go\r\n")}, "451 4.7.5", 1),
    (L.ENCRYPT, {**TLS, "STARTTLS": End("220 go\r\n", "reset")}, "451 4.7.5", 1),
    (L.ENCRYPT, {**TLS, "STARTTLS": "421 4.3.2 bye\r\n"}, "451 4.7.5", 1),
    (L.ENCRYPT, {**TLS, "STARTTLS": "354 go ahead\r\n"}, "451 4.7.5", 1),
    (L.ENCRYPT, {**TLS, "STARTTLS": None}, "451 4.7.5", 1),
]


@pytest.mark.parametrize(("level", "script", "outcome", "connections"), BROKEN, ids=str)
def test_nothing_goes_in_clear_where_tls_is_demanded(smtpc, level, script, outcome, connections):
    with ScriptedServer(script) as server:
        result = smtpc.deliver(smtpc.job(server.port, server=to(server, TlsPolicy(level, names=(MX,)))))
        assert said(result) == outcome
        assert not result.session_open
        assert len(server.connections) == connections
        assert len(server.contents) == (outcome[0] == "2")
        assert all("MAIL" not in one for seen in server.connections for one in seen.commands if outcome[0] != "2")


def test_the_log_names_policy_and_source(smtpc, files):
    log = smtpc.queue / "smtpc.log"
    with ScriptedServer(TLS, tls=context(files, "other.example")) as server:
        smtpc.deliver(smtpc.job(server.port, server=to(server, TlsPolicy(L.VERIFY, names=("log.example",)))))
        smtpc.deliver(smtpc.job(server.port, server=to(server, TlsPolicy(L.ENCRYPT))))
    line = r"func=smtpc\.tls_refused, .*server=127\.0\.0\.1, .*tls_policy=verify test, .*reply=451"
    wait_until(lambda: re.search(line, log.read_text()), 20, line)
    line = r"func=smtpc\.tls, .*server=127\.0\.0\.1, .*bits=256, .*tls_policy=encrypt test"
    wait_until(lambda: re.search(line, log.read_text()), 20, line)


def test_a_policy_that_is_none_puts_mail_off(smtpc):
    with ScriptedServer() as server:
        wrong = (ServerAddr(addr="127.0.0.1", port=server.port, host=MX, tls="{"),)
        assert said(smtpc.deliver(smtpc.job(server.port, server=wrong))) == "451 4.3.5"


def test_an_open_session_is_not_used_for_other_demands(smtpc, files):
    with ScriptedServer(TLS, tls=context(files)) as server:
        first = smtpc.job(server.port, keep_open=True, server=to(server))
        assert smtpc.deliver(first).session_open
        strict = to(server, TlsPolicy(L.VERIFY, names=("no.example",)))
        again = smtpc.job(server.port, session_id=first.session_id, new_session=False, server=strict)
        assert said(smtpc.deliver(again)) == "451 4.7.5"
        assert len(server.contents) == 1


def test_a_message_that_is_sent_again_with_broken_lines_never_goes_in_clear_after_tls(smtpc, files):
    smtpc.store(CONTENT + b"x" * 1500 + b"\r\n", "S00000000000000AA01")
    script = {**TLS, "EHLO": [OFFERED, OFFERED, EHLO], "dot": "554 5.6.0 line too long\r\n"}
    with ScriptedServer(script, tls=context(files)) as server:
        job = smtpc.job(server.port, ta_id="S00000000000000AA01", cdb_id="S00000000000000AA01", size_bytes=1540)
        result = smtpc.deliver(job)
        assert result.session.ecode == "4.7.5"
        assert [bool(seen.contents) for seen in server.connections] == [True, False]


def test_a_server_that_begins_a_handshake_and_says_no_more_holds_nobody_else_up(smtpc, files):
    with ScriptedServer(TLS, tls=context(files)) as good:
        with ScriptedServer({**TLS, "STARTTLS": End("220 go\r\n", "silence")}) as silent:
            numbers = [next(smtpc.numbers) for _ in range(5)]
            for number in numbers:
                smtpc.qmgr.send(smtpc.job(silent.port, server=to(silent, TlsPolicy(L.ENCRYPT))), number)
            wait_until(lambda: sum("STARTTLS" in one.commands for one in silent.connections) == 5, 20, "five handshakes")
            for _ in range(3):
                assert said(smtpc.deliver(smtpc.job(good.port, server=to(good, TlsPolicy(L.ENCRYPT))))) == "250 2.0.0"
        assert {smtpc.qmgr.expect(DeliveryResult)[1].session.ecode for _ in numbers} == {"4.7.5"}


# -- DANE --------------------------------------------------------------------------------------------------------------

#: Name of the case -> records, certificate of the server, whether it will do; names are those of the policy.
DANE = {
    "key of the server, SHA-256": (lambda f: [tlsa(f, 3, 1, 1)], MX, True),
    "key of the server, SHA-512": (lambda f: [tlsa(f, 3, 1, 2)], MX, True),
    "key of the server, whole": (lambda f: [tlsa(f, 3, 1, 0)], MX, True),
    "certificate of the server, SHA-256": (lambda f: [tlsa(f, 3, 0, 1)], MX, True),
    "certificate of the server, SHA-512": (lambda f: [tlsa(f, 3, 0, 2)], MX, True),
    "certificate of the server, whole": (lambda f: [tlsa(f, 3, 0, 0)], MX, True),
    "self-signed server": (lambda f: [tlsa(f, 3, 1, 1, "alone.example")], "alone.example", True),
    "server with another name": (lambda f: [tlsa(f, 3, 1, 1, "other.example")], "other.example", True),
    "server that has expired": (lambda f: [tlsa(f, 3, 1, 1, "expired")], "expired", True),
    "key of another server": (lambda f: [tlsa(f, 3, 1, 1, "other.example")], MX, False),
    "certificate of another server": (lambda f: [tlsa(f, 3, 0, 1, "other.example")], MX, False),
    "authority, certificate": (lambda f: [tlsa(f, 2, 0, 1, number=1)], MX, True),
    "authority, key": (lambda f: [tlsa(f, 2, 1, 1, number=1)], MX, True),
    "authority, SHA-512": (lambda f: [tlsa(f, 2, 0, 2, number=1)], MX, True),
    "authority, whole certificate": (lambda f: [tlsa(f, 2, 0, 0, number=1)], MX, True),
    "authority, server with another name": (lambda f: [tlsa(f, 2, 0, 1, number=1)], "other.example", False),
    "authority, server that has expired": (lambda f: [tlsa(f, 2, 0, 1, number=1)], "expired", False),
    "another authority": (lambda f: [tlsa(f, 2, 0, 1, "alone.example")], MX, False),
    "two, the second one fits": (lambda f: [tlsa(f, 3, 1, 1, "other.example"), tlsa(f, 3, 1, 1)], MX, True),
    "two, none fits": (lambda f: [tlsa(f, 3, 1, 1, "other.example"), tlsa(f, 3, 0, 1, "alone.example")], MX, False),
    "server or authority": (lambda f: [tlsa(f, 2, 0, 1, "alone.example"), tlsa(f, 3, 1, 1)], MX, True),
    "usage 1 alone is not used": (lambda f: [tlsa(f, 1, 0, 1)], MX, False),
    "usage 0 alone is not used": (lambda f: [tlsa(f, 0, 0, 1, number=1)], MX, False),
    "usage 1 beside one that fits": (lambda f: [tlsa(f, 1, 0, 1, "other.example"), tlsa(f, 3, 1, 1)], MX, True),
    "usage 1 that fits beside one that does not": (lambda f: [tlsa(f, 1, 0, 1), tlsa(f, 3, 1, 1, "other.example")], MX, False),
    "no record": (lambda f: [], MX, False),
    "digest cut short": (lambda f: [Tlsa(3, 1, 1, b"\0" * 31)], MX, False),
}


@pytest.mark.parametrize("case", DANE)
def test_dane(smtpc, files, case):
    records, cert, good = DANE[case]
    policy = TlsPolicy(L.DANE, names=(MX,), tlsa=tuple(records(files)), server_name=MX)
    with ScriptedServer(TLS, tls=context(files, cert)) as server:
        outcome = said(smtpc.deliver(smtpc.job(server.port, server=to(server, policy))))
        assert outcome == ("250 2.0.0" if good else "451 4.7.5")
        assert len(server.contents) == good


def test_dane_sends_the_name_of_the_base_domain(smtpc, files):
    made, asked = context(files), []
    made.sni_callback = lambda _sock, name, _context: asked.append(name)
    policy = TlsPolicy(L.DANE, tlsa=(tlsa(files, 3, 1, 1),), server_name="base.example")
    with ScriptedServer(TLS, tls=made) as server:
        assert said(smtpc.deliver(smtpc.job(server.port, server=to(server, policy)))) == "250 2.0.0"
    assert asked == ["base.example"]


@pytest.mark.parametrize(
    ("policy", "cert", "outcome"),
    [
        (TlsPolicy(L.ENCRYPT), "alone.example", "550 5.7.1"),
        (TlsPolicy(L.VERIFY, names=(MX,)), MX, "550 5.7.1"),
        (TlsPolicy(L.VERIFY, names=(MX,)), "other.example", "451 4.7.5"),
    ],
    ids=str,
)
def test_a_refusal_under_tls_is_that_of_the_server_if_it_is_the_one_that_was_asked_for(smtpc, files, policy, cert, outcome):
    with ScriptedServer(NOT_US, tls=context(files, cert)) as server:
        assert said(smtpc.deliver(smtpc.job(server.port, server=to(server, policy)))) == outcome


# -- tls_requirements --------------------------------------------------------------------------------------------------

SESSION_CONF = [
    ("tls_requirements { flags = { encrypted }; }", MX, TLS, "250 2.0.0"),
    ("tls_requirements { flags = { encrypted }; }", MX, {"EHLO": EHLO}, "451 4.7.4"),
    ("tls_requirements { flags = { encrypted }; violation = permanent; }", MX, {"EHLO": EHLO}, "554 5.7.4"),
    ("tls_requirements { flags = { encrypted }; violation = abort; }", MX, {"EHLO": EHLO}, "451 4.7.4"),
    ("tls_requirements { flags = { encrypted }; }", MX, {**TLS, "STARTTLS": "220 go\r\nnonsense\r\n"}, "451 4.7.5"),
    (
        "tls_requirements { flags = { encrypted }; violation = permanent; }",
        MX,
        {**TLS, "STARTTLS": "220 go\r\nnonsense\r\n"},
        "451 4.7.5",
    ),
    ("flags = { dont_starttls }; tls_requirements { flags = { encrypted }; }", MX, TLS, "451 4.7.4"),
    ("tls_requirements { flags = { verified }; }", MX, TLS, "250 2.0.0"),
    ("tls_requirements { flags = { verified }; }", "other.example", TLS, "451 4.7.5"),
    ("tls_requirements { flags = { verified }; violation = permanent; }", "alone.example", TLS, "554 5.7.5"),
    ("tls_requirements { min_cipher_bits = 256; }", MX, TLS, "250 2.0.0"),
    ("tls_requirements { min_cipher_bits = 300; }", MX, TLS, "451 4.7.5"),
    ('tls_requirements { common_name = "mx.x.example"; }', MX, TLS, "250 2.0.0"),
    ('tls_requirements { common_name = "no.example"; }', MX, TLS, "451 4.7.5"),
    ('tls_requirements { cert_issuer = "CN=ca.example"; }', MX, TLS, "250 2.0.0"),
    ('tls_requirements { cert_subject = "CN=no.example"; }', MX, TLS, "451 4.7.5"),
    ("tls_requirements { flags = { encrypted }; }", MX, NOT_US, "550 5.7.1"),
    ("tls_requirements { flags = { verified }; }", MX, NOT_US, "550 5.7.1"),
    ("tls_requirements { flags = { verified }; }", "other.example", NOT_US, "451 4.7.5"),  # who is not trusted cannot refuse
]


@pytest.mark.parametrize(("conf", "cert", "script", "outcome"), SESSION_CONF)
def test_requirements_of_a_server(smtpc, files, conf, cert, script, outcome):
    with ScriptedServer(script, tls=context(files, cert)) as server:
        result = smtpc.deliver(smtpc.job(server.port, server=to(server, conf=conf)))
        assert said(result) == outcome
        assert not result.session_open
        assert len(server.contents) == (outcome[0] == "2")


STRICT = "tls_requirements { flags = { verified }; violation = permanent; }"


def test_requirements_of_a_recipient_concern_no_other(smtpc, files):
    confs = ["", "tls_requirements { flags = { verified }; }", STRICT, "tls_requirements { flags = { encrypted }; }"]
    rcpts = tuple(DeliverRcpt(rcpt_idx=n, rcpt=f"r{n}@x.example", conf=conf) for n, conf in enumerate(confs))
    with ScriptedServer(TLS, tls=context(files, "other.example")) as server:
        result = smtpc.deliver(replace(smtpc.job(server.port, server=to(server), keep_open=True), rcpts=rcpts))
        outcomes = {one.rcpt_idx: (f"{one.reply.code} {one.reply.ecode}", one.retry) for one in result.rcpts}
        commands = server.connections[0].commands
    assert outcomes == {
        0: ("250 2.0.0", Retry.BY_CODE),
        1: ("451 4.7.5", Retry.OTHER_SERVER),
        2: ("554 5.7.5", Retry.OTHER_SERVER),
        3: ("250 2.0.0", Retry.BY_CODE),
    }
    assert [one for one in commands if one.startswith("RCPT")] == ["RCPT TO:<r0@x.example>", "RCPT TO:<r3@x.example>"]
    assert result.session_open


@pytest.mark.parametrize("meets", [True, False])
def test_a_better_address_that_was_overtaken_may_have_what_a_recipient_demands(smtpc, files, meets):
    """127.0.0.2 was not reached a moment ago, so that the other one, which has no TLS, is asked before it."""
    confs = ["", "tls_requirements { flags = { verified }; }"]
    rcpts = tuple(DeliverRcpt(rcpt_idx=n, rcpt=f"r{n}@x.example", conf=conf) for n, conf in enumerate(confs))
    with ScriptedServer({"EHLO": EHLO}) as other:
        both = tuple(ServerAddr(addr=addr, port=other.port, host=MX) for addr in ("127.0.0.2", "127.0.0.1"))
        job = replace(smtpc.job(other.port, server=both), rcpts=rcpts)
        outcomes = {one.rcpt_idx: one.reply.code for one in smtpc.deliver(job).rcpts}
        assert outcomes == {0: 250, 1: 451}
        script = TLS if meets else {"EHLO": EHLO}
        with ScriptedServer(script, port=other.port, address="127.0.0.2", tls=context(files, MX)) as better:
            job = replace(smtpc.job(other.port, server=both), rcpts=rcpts)
            found = {one.rcpt_idx: (one.reply.code, one.retry) for one in smtpc.deliver(job).rcpts}
            (seen,) = better.connections
    assert found == {0: (250, Retry.BY_CODE), 1: (250, Retry.BY_CODE) if meets else (451, Retry.OTHER_SERVER)}
    assert [one for one in seen.commands if one.startswith("RCPT")] == (["RCPT TO:<r1@x.example>"] if meets else [])
    assert [one for one in other.connections[1].commands if one.startswith("RCPT")] == ["RCPT TO:<r0@x.example>"]


@pytest.mark.parametrize(
    ("script", "cert", "outcome"),
    [
        (REQUIRING, MX, "250 2.0.0"),
        (TLS, MX, "550 5.7.30"),
        (REQUIRING, "other.example", "550 5.7.10"),
        ({"EHLO": EHLO}, MX, "550 5.7.10"),
        ({"EHLO": REQUIRING["EHLO"].replace("250-STARTTLS\r\n", "")}, MX, "550 5.7.10"),
    ],
)
def test_requiretls(smtpc, files, script, cert, outcome):
    with ScriptedServer(script, tls=context(files, cert)) as server:
        result = smtpc.deliver(smtpc.job(server.port, server=to(server), requiretls=True))
        mails = [one for seen in server.connections for one in seen.commands if one.startswith("MAIL")]
    assert said(result) == outcome
    assert mails == (["MAIL FROM:<s@y.example> SIZE=100 REQUIRETLS"] if outcome[0] == "2" else [])
    assert {one.retry for one in result.rcpts} == {Retry.BY_CODE if outcome[0] == "2" else Retry.OTHER_SERVER}


@pytest.mark.parametrize(("script", "asks"), [(REQUIRING, True), (TLS, False), ({"EHLO": EHLO}, False)])
def test_a_report_about_requiretls_goes_to_whoever_takes_it(smtpc, files, script, asks):
    with ScriptedServer(script, tls=context(files)) as server:
        assert said(smtpc.deliver(smtpc.job(server.port, server=to(server), requiretls=True, mail=""))) == "250 2.0.0"
        (mail,) = [one for seen in server.connections for one in seen.commands if one.startswith("MAIL")]
    assert mail.endswith(" REQUIRETLS") == asks
