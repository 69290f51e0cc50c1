"""authfilter over the real protocol, with a real name server: what is signed verifies, what fails is told and done."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from meta1g.base.errors import Meta1Error
from meta1g.base.log import Log
from meta1g.conf.check import walk
from meta1g.conf.values import Flags
from meta1g_filters.auth import options
from meta1g_filters.auth.filter import AuthFilter
from meta1g_filters.auth.settings import read_settings
from tests.fakes.nameserver import DROP, SERVFAIL, NameServer
from tests.manual.blocks import shown
from tests.unit.filters.filtersession import FilterSession
from tests.unit.pmilter.conftest import checked_locks, make_system, serve, system

__all__ = ["checked_locks", "make_system", "serve", "system"]

MAIL = b"From: Ada <ada@example.net>\r\nTo: bob@example.org\r\nSubject: test\r\n\r\nHello\r\n"
ORIGIN = "192.0.2.1"
STRANGER = "203.0.113.9"


def pem(key) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def record(key) -> str:
    import base64

    public = key.public_key()
    if isinstance(key, Ed25519PrivateKey):
        raw, kind = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw), "ed25519"
    else:
        raw, kind = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo), "rsa"
    text = f"v=DKIM1; k={kind}; p={base64.b64encode(raw).decode()}"
    return " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))


KEYS = {"r1": generate_private_key(65537, 2048), "e1": Ed25519PrivateKey.generate()}


@pytest.fixture
def server():
    with NameServer() as server:
        server.add("example.net", "TXT", f'"v=spf1 ip4:{ORIGIN} -all"')
        server.add("_dmarc.example.net", "TXT", '"v=DMARC1; p=reject"')
        server.add("quarantined.example", "TXT", '"v=spf1 -all exp=why.quarantined.example"')
        server.add("why.quarantined.example", "TXT", '"ask the postmaster"')
        server.add("_dmarc.quarantined.example", "TXT", '"v=DMARC1; p=quarantine"')
        for selector, key in KEYS.items():
            server.add(f"{selector}._domainkey.example.net", "TXT", record(key))
        yield server


@pytest.fixture
def configured(tmp_path, server):
    """Gives configured(text), which gives the file."""

    def configured(text=""):
        for selector, key in KEYS.items():
            path = tmp_path / f"{selector}.pem"
            path.write_bytes(pem(key))
            path.chmod(0o600)
        file = tmp_path / "authfilter.conf"
        servers = f"nameserver {{ address = {server.address}; port = {server.port}; }}"
        file.write_text(f"authserv_id = mx.example.org; {servers}\n{text}")
        return file

    return configured


@pytest.fixture
def session(serve, configured, caplog):
    def session(text=""):
        return FilterSession(serve(AuthFilter(configured(text), Log("authfilter", level=0)))())

    return session


SIGN = 'domain example.net { subdomains = true; key r1 { file = "r1.pem"; } key e1 { file = "e1.pem"; } }'


def test_all_that_is_wrong_with_keys_and_names_is_told_in_one_run(configured):
    section = 'domain {} {{ key s {{ file = "{}"; }} }}'
    text = "\n".join(
        [
            section.format("example.net", "none.pem"),
            section.format("example.org", "authfilter.conf"),
            "domain example.com { }",
            'arc { domain = example.net; selector = r1; file = "gone.pem"; }',
            'reports { email = "nobody"; port = x; }',
            "spf_fail = x;",
        ]
    )
    with pytest.raises(Meta1Error) as wrong:
        read_settings(configured(text))
    told = wrong.value.cause
    assert re.findall(r"authfilter.conf:(\d+)", told) == ["2", "3", "4", "5", "6", "6", "7"], told


def test_domains_in_u_labels_are_those_of_the_dns(configured):
    arc = 'domain = "bücher.example"; selector = "schlüssel"; file = "r1.pem"; trusted = { "listen.bücher.example" };'
    settings = read_settings(configured(f"arc {{ {arc} }}"))
    assert settings.arc_trusted == {"listen.xn--bcher-kva.example"}
    assert (settings.seal.domain, settings.seal.selector) == ("xn--bcher-kva.example", "xn--schlssel-95a")


@pytest.mark.parametrize("ip", [STRANGER, "127.0.0.1"])
def test_fields_that_pretend_to_be_ours_are_removed_and_thousands_refused(session, ip):
    one, forged = session(), b"authentication-RESULTS : mx.example.org; dmarc=pass\r\n"
    taken = one.send(forged * 400 + MAIL, ip=ip, mail="ada@free.example")
    assert (taken.said, sum("dmarc=pass" in value for value in taken.header)) == ("", 0)
    refused = one.send(forged * 1500 + MAIL, ip=ip, mail="ada@free.example")
    assert refused.said == "550 5.7.1 1500 fields that pretend to be ours"


def test_what_is_signed_here_verifies_there(session):
    ours, theirs = session(SIGN), session()
    for signed in (ours.send(MAIL, ip="127.0.0.1"), ours.send(MAIL, ip=STRANGER, user="ada"), ours.send(MAIL, ip="")):
        assert [one.partition(":")[0] for one in signed.header[:3]] == ["DKIM-Signature", "DKIM-Signature", "Received"]
        assert "s=r1" in signed.header[0]
        (results,) = theirs.send(signed.message, ip=STRANGER, mail="list@example.com").values("Authentication-Results")
        assert results.startswith("mx.example.org;")
        assert results.count("dkim=pass (") == 2
        assert "dmarc=pass header.from=example.net" in results
    changed = theirs.send(signed.message.replace(b"Hello", b"Hullo"), ip=STRANGER, mail="list@example.com")
    assert "dkim=fail" in changed.values("Authentication-Results")[0]


@pytest.mark.parametrize(
    ("author", "signatures"), [("example.net", 2), ("a.example.net", 2), ("notexample.net", 0), ("example.org", 0)]
)
def test_mail_is_signed_by_the_keys_of_its_author(session, author, signatures):
    message = MAIL.replace(b"ada@example.net", f"ada@{author}".encode())
    found = session(SIGN).send(message, ip="::1")
    assert len(found.values("DKIM-Signature")) == signatures
    assert found.values("Authentication-Results") == []


def test_mail_of_strangers_is_not_signed(session):
    assert session(SIGN).send(MAIL, ip=STRANGER).values("DKIM-Signature") == []
    assert session(f"trusted = {{ 10.0.0.0/8 }}; {SIGN}").send(MAIL, ip="127.0.0.1").values("DKIM-Signature") == []


def test_results_stand_above_all_other_fields(session):
    found = session().send(MAIL, ip=ORIGIN)
    assert found.header[0] == (
        "Authentication-Results: mx.example.org;\tspf=pass smtp.mailfrom=ada@example.net;\tdkim=none;\tarc=none;\t"
        "dmarc=pass header.from=example.net"
    )
    assert found.header[1].startswith("Received:")


def test_fields_with_our_name_go_and_those_of_others_stay(session):
    forged = (
        b"Authentication-Results: mx.example.org; dmarc=pass\r\n"
        b"X-Quarantine: no\r\n"
        b"Authentication-Results: other.example; spf=pass\r\n"
        b"authentication-results:\r\n MX.EXAMPLE.ORG; dkim=pass\r\n"
    )
    for one in (session(), session(SIGN)):
        for ip in (STRANGER, "127.0.0.1"):
            found = one.send(forged + MAIL, ip=ip)
            values = [value for value in found.values("Authentication-Results") if "header.from=example.net" not in value]
            assert (values, found.values("X-Quarantine")) == (["other.example; spf=pass"], [])
            assert len(found.header) == 5 + found.message.count(b"DKIM-Signature") + (ip == STRANGER)


def test_the_log_has_the_results_of_each_message_of_others(configured, serve, capfd):
    session = FilterSession(serve(AuthFilter(configured(SIGN), Log("authfilter")))())
    for ip in (STRANGER, "127.0.0.1"):
        session.send(MAIL, ip=ip)
    (line,) = [one for one in capfd.readouterr().err.splitlines() if "key=results" in one]
    assert "spf=fail dkim=none arc=none dmarc=fail from=example.net" in line
    assert "client=203.0.113.9" in line


def test_by_default_nothing_is_refused(session):
    found = session().send(MAIL, ip=STRANGER)
    assert found.said == ""
    (results,) = found.values("Authentication-Results")
    assert "spf=fail smtp.mailfrom=ada@example.net" in results
    assert "dmarc=fail (p=reject dis=none) header.from=example.net" in results


def test_spf_fail_is_refused_in_the_words_of_the_domain(session):
    strict = session("spf_fail = reject;")
    assert strict.send(MAIL, ip=STRANGER).said == "550 5.7.23 SPF: 203.0.113.9 may not send for example.net"
    assert strict.send(MAIL, ip=STRANGER, mail="x@quarantined.example").said == (
        "550 5.7.23 SPF: 203.0.113.9 may not send for quarantined.example quarantined.example explains: ask the postmaster"
    )
    assert strict.send(MAIL, ip=ORIGIN).said == ""


def test_a_null_sender_is_checked_by_the_name_of_helo(session):
    found = session().send(MAIL, ip=ORIGIN, mail="", helo="example.net")
    assert "spf=pass smtp.helo=example.net" in found.values("Authentication-Results")[0]
    assert session("spf_fail = reject;").send(MAIL, ip=STRANGER, mail="", helo="example.net").said.startswith("550 5.7.23")


def test_names_that_are_not_ascii_are_asked_for_and_told_in_a_labels(session, server):
    server.add("xn--bcher-kva.example", "TXT", '"v=spf1 exists:%{o}.senders.example -all"')
    server.add("xn--bcher-kva.example.senders.example", "A", "127.0.0.2")
    server.add("_dmarc.xn--bcher-kva.example", "TXT", '"v=DMARC1; p=reject"')
    message = MAIL.replace(b"ada@example.net", "ädä@bücher.example".encode())
    results = session().send(message, mail="ädä@bücher.example").values("Authentication-Results")[0]
    assert "spf=pass smtp.mailfrom=@xn--bcher-kva.example" in results
    assert "dmarc=pass header.from=xn--bcher-kva.example" in results


def test_the_policy_of_the_author_is_obeyed(session):
    strict = session("dmarc_fail = obey;")
    refused = strict.send(MAIL, ip=STRANGER)
    assert refused.said.startswith("550 5.7.26 DMARC: neither SPF nor DKIM passes for example.net")
    assert strict.send(MAIL, ip=ORIGIN).said == ""
    message = MAIL.replace(b"example.net", b"quarantined.example")
    found = strict.send(message, ip=STRANGER)
    assert (found.said, found.held, found.values("X-Quarantine")) == ("", "", ["DMARC of quarantined.example"])
    assert "dmarc=fail (p=quarantine dis=quarantine)" in found.values("Authentication-Results")[0]
    held = session("dmarc_fail = obey; quarantine = hold;").send(message, ip=STRANGER)
    assert (held.said, held.held, held.values("X-Quarantine")) == ("", "DMARC of quarantined.example", [])


@pytest.mark.parametrize("name", ["example.net", "_dmarc.example.net"])
def test_a_failure_of_dns_loses_no_mail_and_can_put_it_off(session, server, name):
    server.script(name, "TXT", *[SERVFAIL] * 20)
    found = session("dmarc_fail = obey;").send(MAIL, ip=STRANGER)
    assert (found.said, "dmarc=temperror" in found.values("Authentication-Results")[0]) == ("", True)
    told = session("temperror = tempfail;").send(MAIL, ip=STRANGER).said
    assert told.startswith("451 4.4.3 SPF" if name == "example.net" else "451 4.7.0 DMARC of example.net")


def claimed(domain):
    """A signature that needs its key to be found wrong; of a message with an empty body."""
    body_hash = b"frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="
    return b"DKIM-Signature: v=1; a=rsa-sha256; d=%b; s=s; h=from;\r\n bh=%b; b=AAAA\r\n" % (domain.encode(), body_hash)


EMPTY = MAIL.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def test_a_broken_domain_of_ones_own_is_no_way_past_the_policy_of_another(session, server):
    for name in ("free.example", "s._domainkey.free.example"):
        server.script(name, "TXT", *[SERVFAIL] * 9)
    message = claimed("free.example") + EMPTY
    results = session().send(message, ip=STRANGER, mail="eve@free.example").values("Authentication-Results")[0]
    assert ("spf=temperror" in results, "dkim=temperror" in results) == (True, True)
    assert session("dmarc_fail = obey;").send(message, ip=STRANGER, mail="eve@free.example").said.startswith("550 5.7.26")


def test_slow_domains_of_ones_own_take_no_time_from_another(session, server, monkeypatch):
    monkeypatch.setattr("meta1g_filters.auth.filter.SIGNATURES_TIME_MAX_S", 0.5)
    monkeypatch.setattr("meta1g_filters.auth.filter.POLICIES_TIME_MAX_S", 2.0)
    slow = [f"slow{number}.example" for number in range(4)]
    for name in slow:
        server.script(f"s._domainkey.{name}", "TXT", *[DROP] * 9)
        server.script(f"_dmarc.{name}", "TXT", *[DROP] * 9)
    signatures = b"".join(claimed(name) for name in (*slow, "example.net"))
    message = signatures + EMPTY.replace(b"From: ", b"From: <eve@slow0.example>, ")
    strict = session("dmarc_fail = obey;")
    found = strict.send(message, ip=STRANGER)
    assert found.said.startswith("550 5.7.26 DMARC: neither SPF nor DKIM passes for example.net"), found.header[0]


@pytest.mark.parametrize(
    ("field", "reason"), [(b"From: Ada\r\n", "no address with a domain"), (b"", "no address with a domain")]
)
def test_a_message_without_an_author_can_be_refused(session, field, reason):
    message = field + b"Subject: test\r\n\r\nHello\r\n"
    found = session("dmarc_fail = obey;").send(message, ip=STRANGER)
    assert f'dmarc=permerror reason="{reason}' in found.values("Authentication-Results")[0]
    assert session("dmarc_fail = obey; flags = { need_author };").send(message).said.startswith(f"550 5.7.1 From: {reason}")


@pytest.mark.parametrize("others", [b"<>, ", b"root, ", b"".join(b"a@x%d.example, " % number for number in range(5))])
def test_an_author_cannot_be_hidden_among_others(session, others):
    message = MAIL.replace(b"From: ", b"From: " + others)
    said = session("dmarc_fail = obey;").send(message, ip=STRANGER, mail="eve@free.example").said
    assert said.startswith("550 5.7.1 From: more than 5 domains" if b"x4" in others else "550 5.7.26")
    assert session().send(message, ip=STRANGER).said == ""


def test_a_second_author_hides_nothing(session):
    message = MAIL.replace(b"From: ", b"From: Eve <eve@free.example>, ")
    found = session("dmarc_fail = obey;").send(message, ip=STRANGER, mail="eve@free.example")
    assert found.said.startswith("550 5.7.26")


SEAL = 'arc { domain = forward.example; selector = e1; file = "e1.pem"; }'
TRUST = "arc { trusted = { forward.example }; } dmarc_fail = obey;"


@pytest.fixture
def sealed(session, server):
    """A message that a forwarder has sealed: SPF passed there, and fails behind it."""
    server.add("e1._domainkey.forward.example", "TXT", record(KEYS["e1"]))
    forged = b"Authentication-Results: mx.example.org; dmarc=fail\r\n"
    found = session(SEAL).send(forged + MAIL, ip=ORIGIN)
    assert [one.partition(":")[0] for one in found.header[:5]] == [
        *("Authentication-Results", "ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results", "Received")
    ]
    assert "arc=none" in found.values("Authentication-Results")[0]
    return found.message


def test_a_chain_that_is_believed_counts_more_than_the_policy(session, sealed):
    found = session(TRUST).send(sealed, ip=STRANGER, mail="bounce@forward.example")
    assert found.said == ""
    results = found.values("Authentication-Results")[0]
    assert "arc=pass header.oldest-pass=0 smtp.remote-ip=203.0.113.9" in results
    assert "dmarc=fail (p=reject dis=none arc=pass) header.from=example.net" in results


@pytest.mark.parametrize(
    ("conf", "change"),
    [
        (TRUST.replace("forward.example", "other.example"), (b"", b"")),
        ("dmarc_fail = obey;", (b"", b"")),
        (TRUST, (b"Hello", b"Hullo")),
        (TRUST, (b"dmarc=pass", b"dmarc=xxxx")),
    ],
)
def test_a_chain_that_is_not_trusted_or_not_whole_changes_nothing(session, sealed, conf, change):
    assert session(conf).send(sealed.replace(*change) if change[0] else sealed, ip=STRANGER).said.startswith("550 5.7.26")


def test_a_chain_whose_first_seal_saw_a_failure_is_not_believed(session, server):
    server.add("e1._domainkey.forward.example", "TXT", record(KEYS["e1"]))
    sealed = session(SEAL).send(MAIL, ip=STRANGER).message
    assert session(TRUST).send(sealed, ip=STRANGER).said.startswith("550 5.7.26")


def test_our_own_mail_is_not_sealed(session):
    assert session(SEAL).send(MAIL, ip="127.0.0.1").values("ARC-Seal") == []


@pytest.mark.parametrize("method", ["spf", "dkim", "dmarc", "arc"])
def test_a_method_can_be_switched_off(session, method):
    (results,) = session(f"flags = {{ dont_{method} }};").send(MAIL, ip=ORIGIN).values("Authentication-Results")
    assert f"\t{method}=" not in results
    assert results.count("=") > 3
    assert session("flags = { dont_spf, dont_dkim, dont_dmarc, dont_arc };").send(MAIL).values("Authentication-Results") == [
        "mx.example.org;\tnone"
    ]


def test_pct_counts_with_the_list_of_public_suffixes(session, server):
    server.add("_dmarc.none.example", "TXT", '"v=DMARC1; p=reject; pct=0"')
    message = MAIL.replace(b"example.net", b"none.example")
    assert session("dmarc_fail = obey;").send(message).said.startswith("550 5.7.26")
    found = session("dmarc_fail = obey; organization = public_suffix_list;").send(message)
    assert (found.said, found.values("X-Quarantine")) == ("", ["DMARC of none.example"])


@pytest.mark.parametrize("size", [1, 7, 32768])
def test_the_size_of_the_pieces_does_not_matter(session, size):
    signed = session(SIGN).send(MAIL, ip="127.0.0.1", size=size)
    (results,) = session().send(signed.message, ip=STRANGER, size=size).values("Authentication-Results")
    assert results.count("dkim=pass") == 2


def test_a_message_that_is_only_a_header_is_a_message(session):
    assert (
        "dmarc=pass" in session().send(MAIL.partition(b"\r\n\r\n")[0] + b"\r\n", ip=ORIGIN).values("Authentication-Results")[0]
    )


def test_the_file_is_read_again_and_a_wrong_one_changes_nothing(configured, serve):
    pmilter = AuthFilter(configured(), Log("authfilter", level=0))
    session = FilterSession(serve(pmilter)())
    assert session.send(MAIL, ip=STRANGER).said == ""
    configured("spf_fail = reject;")
    pmilter.signal(1)
    assert session.send(MAIL, ip=STRANGER).said.startswith("550 5.7.23")
    configured("spf_fail = perhaps;")
    pmilter.signal(1)
    assert session.send(MAIL, ip=STRANGER).said.startswith("550 5.7.23")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("spf_fial = reject;", "did you mean spf_fail?"),
        ("spf_fail = refuse;", "possible are mark, reject"),
        ("domain example.net { }", "has no key; add key SELECTOR"),
        ("domain example.net { key r1 { } }", "file"),
        ('domain example.net { key r1 { file = "none.pem"; } }', "cannot read the key: No such file"),
        ('domain example.net { key r1 { file = "authfilter.conf"; } }', "authfilter.conf"),
        ("nameserver { port = 53; }", "address"),
        ("arc { domain = example.org; }", "a seal needs domain, selector and file"),
        ('arc { domain = x.org; selector = s; file = "no.pem"; }', "cannot read the key: No such file"),
        ("domain { key x { file = y; } }", "needs a name"),
        ("max_threads = 0;", "out of bounds"),
        ("trusted = everybody;", "not an IP address or network"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_with_its_place(configured, text, told):
    file = configured(text)
    with pytest.raises(Meta1Error) as error:
        read_settings(file)
    assert told in error.value.cause
    assert "authfilter.conf:2" in error.value.cause


@pytest.mark.parametrize(("name", "known"), [("mx.example.net", True), ("localhost", False), ("mx", False), ("", False)])
def test_without_a_name_that_of_the_machine_counts_if_it_is_a_full_one(configured, monkeypatch, name, known):
    monkeypatch.setattr("meta1g.base.hostname.system_name", lambda: name)
    file = configured()
    file.write_text(file.read_text().replace("authserv_id = mx.example.org;", ""))
    if known:
        assert read_settings(file).authserv_id == name
        return
    with pytest.raises(Meta1Error, match=f"authserv_id is not set, and {name or 'nothing'}, which the system has"):
        read_settings(file)


def test_a_key_that_everybody_can_read_is_refused(configured, tmp_path):
    file = configured(SIGN)
    (tmp_path / "r1.pem").chmod(0o644)
    with pytest.raises(Meta1Error, match=r"everybody can read this key; run chmod o= .*r1\.pem"):
        read_settings(file)


def test_the_sample_is_right_as_it_is_and_with_all_that_it_suggests(tmp_path):
    text = (Path(__file__).parents[3] / "contrib/filters/etc/authfilter.conf").read_text()
    file = tmp_path / "authfilter.conf"
    file.write_text(text)
    assert (read_settings(file).obey_dmarc, read_settings(file).seal) == (False, None)
    (tmp_path / "keys").mkdir()
    key = tmp_path / "keys/example.org.s2026.pem"
    key.write_bytes(pem(KEYS["e1"]))
    key.chmod(0o600)
    file.write_text(re.sub(r"^# (?=.*[;{}]$)", "", text, flags=re.MULTILINE))
    settings = read_settings(file)
    assert (settings.obey_dmarc, settings.reject_spf_fail, settings.tempfail, settings.hold_quarantine) == (True,) * 4
    assert ([one.domain for one in settings.domains], settings.seal.selector) == (["example.org"], "s2026")
    assert (settings.arc_trusted, settings.reports.org_name) == ({"lists.example.net"}, "Example")


def test_each_option_has_code_that_asks_for_it():
    files = Path(options.__file__).parent.glob("*.py")
    asked = {
        node.value
        for file in files
        if file.name != "options.py"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant)
    }
    rows = [row for definition, _path in walk(options.ROOT) for row in definition.options]
    flags = [flag.name for row in rows if isinstance(row.kind, Flags) for flag in row.kind.flags]
    assert [name for name in (*(row.name for row in rows), *flags) if name not in asked] == []


@pytest.mark.parametrize(("program", "function"), [("authfilter", "run"), ("dmarcrpt", "run_dmarcrpt")])
def test_without_the_extra_the_program_says_what_to_do(program, function):
    code = f"""
import importlib.util, sys
there = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "cryptography" else there(name, package)
from meta1g_filters.auth.main import {function}
{function}()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (
        69,
        f"{program}: cryptography is not installed; run pip install 'meta1g[filters]'\n",
    )


@pytest.mark.parametrize("what", ["signatures, with keys", "seals, with a key", "reports, with a directory"])
def test_what_the_manual_has_in_the_file_is_taken(tmp_path, what):
    (tmp_path / "keys").mkdir()
    for name, key in (("s2026", "r1"), ("e2026", "e1")):
        path = tmp_path / f"keys/example.org.{name}.pem"
        path.write_bytes(pem(KEYS[key]))
        path.chmod(0o600)
    (tmp_path / "authfilter.conf").write_text(
        f"authserv_id = mx.example.org;\n{shown('filter-authentication.md', what)}".replace(
            "/var/lib/authfilter", str(tmp_path)
        )
    )
    command = [
        sys.executable,
        "-c",
        "from meta1g_filters.auth.main import run; run()",
        "-c",
        "-f",
        tmp_path / "authfilter.conf",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
