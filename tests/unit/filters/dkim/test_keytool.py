"""dkimkey: keys are made, published, checked and changed, and none is overwritten."""

import re
import stat

import pytest

from meta1g.base.cli import CliError
from meta1g_filters.dkim import keytool
from meta1g_filters.dkim.keyrecord import parse_record
from meta1g_filters.dkim.keys import STRING_MAX, KeyFileError, KeyPlan, key_files, read_key_file, record_lines
from meta1g_filters.dkim.sign import SigningKey
from tests.fakes.nameserver import SERVFAIL, NameServer
from tests.unit.filters.dkim.samples import PLAIN, Dns, sign, verify

DAY = 86_400
BEGIN = 1_700_000_000  # 2023-11-14


@pytest.fixture
def run(tmp_path, capsys):
    def call(*words, at=BEGIN):
        class Then:
            def now(self):
                return at

        code = keytool.main(["-d", str(tmp_path), *words], Then())
        return code, capsys.readouterr().out

    call.directory = tmp_path
    return call


@pytest.fixture
def refused(run, capsys):
    def call(*words):
        with pytest.raises(SystemExit) as caught:
            run(*words)
        assert caught.value.code == 64
        return capsys.readouterr().err

    return call


def published(text):
    """Gives the records of a zone file: names and the strings put together."""
    found = re.findall(r"^(\S+)\. \d+ IN TXT \(\n((?:    \"[^\"]*\"\n)+)\)$", text, re.MULTILINE)
    return {name: "".join(re.findall(r'"([^"]*)"', strings)).encode() for name, strings in found}


def names(run, domain="example.org"):
    return [one.selector for one in key_files(run.directory, domain)]


def test_what_is_made_and_published_signs_and_verifies(run):
    code, text = run("make", "example.org", "-a", "rsa", "-a", "ed25519")
    assert code == 0
    assert names(run) == ["e20231114", "s20231114"]
    keys = [SigningKey(one.domain, one.selector, one.key) for one in key_files(run.directory, "example.org")]
    assert [one.result for one in verify(sign(PLAIN, *keys), Dns(published(text)))] == ["pass", "pass"]
    assert published(run("show", "example.org")[1]) == published(text)
    assert f'key s20231114 {{ file = "{run.directory}/example.org.s20231114.pem"; }}' in text


def test_a_record_is_cut_into_strings_of_255_octets():
    lines = record_lines("a.example", "x" * 600, 60)
    assert lines == ["a.example. 60 IN TXT (", *(f'    "{"x" * size}"' for size in (STRING_MAX, STRING_MAX, 90)), ")"]


@pytest.mark.parametrize(("words", "bits"), [(["-b", "3072"], 3072), ([], 2048)])
def test_a_key_has_the_length_that_is_wanted(run, words, bits):
    run("make", "example.org", "-s", "one", *words)
    assert key_files(run.directory, "example.org")[0].key.key_size == bits


def test_a_key_file_is_for_its_owner_and_the_group_of_the_directory(run):
    run("make", "example.org", "-a", "ed25519")
    (path,) = run.directory.iterdir()
    assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (0o640, run.directory.stat().st_gid)


def test_a_key_that_is_there_stays(run):
    run("make", "example.org", "-s", "one", "-a", "ed25519")
    (path,) = run.directory.iterdir()
    before = path.read_bytes()
    with pytest.raises(CliError, match="is there already"):
        run("make", "example.org", "-s", "one", "-a", "ed25519")
    assert path.read_bytes() == before
    run("make", "example.org", "-a", "ed25519")
    run("make", "example.org", "-a", "ed25519")
    assert names(run) == ["e20231114", "e20231114b", "one"]


def test_a_key_is_changed_in_three_steps_each_on_its_day(run):
    run("make", "example.org", "-s", "old")
    code, text = run("rotate", "example.org", at=BEGIN + 10 * DAY)
    assert code == 0
    assert names(run) == ["old", "s20231124"]
    assert list(published(text)) == ["s20231124._domainkey.example.org"]
    assert "2023-11-24: publish rsa 2048:" in text
    assert "2023-11-26: when `dkimkey check example.org` finds nothing, sign with the new instead of the old" in text
    assert f"2023-12-10: withdraw old._domainkey.example.org, and remove {run.directory}/example.org.old.pem" in text
    old, new = "old._domainkey.example.org  rsa 2048", "s20231124._domainkey.example.org  rsa 2048"
    begins = f"{new}  signs from 2023-11-26 on; its record has to be there\n"
    for at, expected in (
        (11, f"{old}  signs until 2023-11-26, then s20231124 does\n{begins}"),
        (13, f"{old}  signs no more; withdraw its record on 2023-12-10\n{new}  signs\n"),
        (27, f"{old}  withdraw its record, and remove {run.directory}/example.org.old.pem\n{new}  signs\n"),
    ):
        assert run("list", at=BEGIN + at * DAY) == (0, expected)


def test_days_of_a_change_can_be_chosen(run):
    run("make", "example.org", "-a", "ed25519")
    text = run("rotate", "example.org", "--lead", "1", "--keep", "3")[1]
    assert "2023-11-15: when" in text
    assert "2023-11-18: withdraw" in text


def test_a_key_is_not_changed_while_it_is_being_changed(run):
    run("make", "example.org", "-s", "a", "-a", "ed25519")
    run("make", "example.org", "-s", "b", "-a", "ed25519")
    run("rotate", "example.org", "-s", "a")
    run("rotate", "example.org")
    assert len(names(run)) == 4
    with pytest.raises(CliError, match=r"all keys of example\.org are being changed"):
        run("rotate", "example.org")
    run("rotate", "example.org", at=BEGIN + 3 * DAY)
    assert len(names(run)) == 6, "two that were new then sign now"


def test_an_rsa_key_that_is_too_short_gets_a_longer_one(run):
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from tests.unit.filters.dkim.samples import rsa_key

    pem = rsa_key(1024).private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    path = run.directory / "example.org.theirs.pem"
    path.write_bytes(pem)
    path.chmod(0o600)
    assert run("list")[1] == "theirs._domainkey.example.org  rsa 1024  signs\n"
    run("rotate", "example.org")
    assert [one.meaning for one in key_files(run.directory, "example.org")] == ["rsa 2048", "rsa 1024"]


def test_published_records_are_compared_with_the_keys(run):
    run("make", "example.org", "-s", "one", "-a", "ed25519")
    run("make", "example.net", "-s", "two", "-a", "ed25519")
    name = "one._domainkey.example.org"
    right = published(run("show", "example.org")[1])[name].decode()
    other = published(run("show", "example.net")[1])["two._domainkey.example.net"].decode()
    with NameServer() as server:

        def check(*texts):
            server.remove(name, "TXT")
            if texts:
                server.add(name, "TXT", *(f'"{text}"' for text in texts), ttl=0)
            code, out = run("check", "example.org", "-n", f"{server.address}@{server.port}")
            return code, out.strip().removeprefix(f"{name}: ")

        assert check(right) == (0, "fits")
        assert check(f"{right}; t=y") == (0, "fits; but t=y says that it is a test")
        assert check() == (65, "no key")
        assert check(other) == (65, f"another key than in {run.directory}/example.org.one.pem")
        assert check("v=DKIM1; k=ed25519; p=") == (65, "key revoked")
        assert check(right, other) == (65, "2 keys under one selector")
        assert check(right.replace("k=ed25519", "k=rsa"))[0] == 65
        server.script(name, "TXT", *[SERVFAIL] * 20)
        assert check(right) == (75, "DNS does not answer for the key")


def test_keys_of_domains_below_are_none_of_the_domain(run):
    for domain in ("example.org", "sub.example.org", "other.example"):
        run("make", domain, "-s", "one", "-a", "ed25519")
    assert names(run) == ["one"]
    assert run("list")[1].count("signs") == 3
    assert run("list", "sub.example.org")[1].startswith("one._domainkey.sub.example.org")


def test_a_domain_may_be_written_in_u_labels(run):
    run("make", "Bücher.example", "-s", "one", "-a", "ed25519")
    assert names(run, "xn--bcher-kva.example") == ["one"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["make"], "make needs a domain"),
        (["make", "org"], "org is no domain"),
        (["make", "a.example", "-s", "A"], "A is no selector"),
        (["make", "a.example", "-s", "a.b"], "a.b is no selector"),
        (["make", "a.example", "-s", "a", "-a", "rsa", "-a", "ed25519"], "-s names one key"),
        (["make", "a.example", "-b", "1024"], "-b is at least 2048"),
        (["make", "a.example", "-b", "100000"], "at most 8192"),
        (["make", "a.example", "-n", "127.0.0.1"], "make takes no -n"),
        (["list", "-s", "x"], "list takes no -s"),
        (["check", "a.example", "-n", "dns.example"], "is no ADDRESS"),
        (["rotate", "a.example", "--keep", "-3"], "no number of days"),
        (["rotate", "a.example", "--lead", "x"], "no number of days"),
        (["remove", "a.example"], "invalid choice"),
    ],
)
def test_a_wrong_command_line_says_so(refused, words, told):
    assert told in refused(*words)


def test_what_is_not_there_or_wrong_is_named(run):
    with pytest.raises(CliError, match=r"no key of example.org; dkimkey make makes one"):
        run("show", "example.org")
    with pytest.raises(CliError, match="no key of any domain"):
        run("list")
    path = run.directory / "example.org.bad.pem"
    path.write_text("no key")
    with pytest.raises(CliError, match=r"example.org.bad.pem: no private key in PEM"):
        run("list")
    with pytest.raises(CliError, match=r"missing: no such directory; run mkdir"):
        keytool.main(["-d", str(run.directory / "missing"), "make", "example.org"])


def test_a_key_that_everybody_can_read_is_refused(run):
    run("make", "example.org", "-s", "one", "-a", "ed25519")
    (run.directory / "example.org.one.pem").chmod(0o644)
    with pytest.raises(CliError, match="everybody can read this key"):
        run("list")


def test_lines_above_a_key_are_read_again(tmp_path):
    from meta1g_filters.dkim.keys import make_key, write_key_file

    plan = KeyPlan(BEGIN, "old", BEGIN + DAY, BEGIN + 2 * DAY)
    made = write_key_file(tmp_path, "a.example", "new", make_key("ed25519", 0), plan)
    read = read_key_file(made.path, "a.example")
    assert (read.plan, read.selector, read.record()) == (plan, "new", made.record())
    assert parse_record(read.record().encode()).kind == "ed25519"
    made.path.write_text(made.path.read_text().replace("Made: 2", "Made: x"))
    with pytest.raises(KeyFileError, match="a time that is none"):
        read_key_file(made.path, "a.example")
