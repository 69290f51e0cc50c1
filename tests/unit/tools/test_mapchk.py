import subprocess
import sys

import pytest

from meta1g.db.mapfile import MapFile
from meta1g.tools.mapchk import check_access


def mapchk(*arguments):
    command = [sys.executable, "-c", "from meta1g.tools.mapchk import run; run()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cltaddr:192.0.2.1", "relay"),
        ("cltaddr:192.0", "ok"),
        ("cltaddr:2001:db8:0:0", "ok"),
        ("cltaddr:2001:db8::1", "ok"),
        ("cltname:.example.org", "ok"),
        ("cltresolve:forged", "reject"),
        ("from:<>", "ok"),
        ("from:user@example.org", "reject"),
        ("TO:user@", "reject"),
        ("to:.example.org", "reject"),
        ("protectedrcpt:list@example.org", "example.org"),
        ("dnsbl0:127.0.0.2", "reject"),
        ("smtps_session_conf:192.0.2", "max_recipients = 5;"),
        ("smtpc_session_conf:mx.example.org", "flags = dont_starttls;"),
        ("ehlo:[192.0.2.1]", "reject"),
    ],
)
def test_right_entries_of_an_access_map(key, value):
    assert check_access(key, value) == ""


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("192.0.2.1", "relay", "key 192.0.2.1 has no tag"),
        ("cltadr:192.0.2.1", "relay", "unknown tag cltadr:; did you mean cltaddr?"),
        ("cltaddr:192.0.2.300", "relay", "192.0.2.300 is not an IP address"),
        ("cltaddr:example.org", "relay", "example.org is not an IP address"),
        ("cltname:a b", "relay", "a b is not a domain"),
        ("cltresolve:forge", "reject", "forge did you mean forged?"),
        ("from:", "reject", "is no address"),
        ("from:a@b@c", "reject", "a@b@c is no address"),
        ("to:user@", "  ", "key to:user@ has no value"),
        ("smtps_session_conf:192.0.2.1", "max_recipient = 5;", "did you mean max_recipients?"),
        ("smtpc_rcpt_conf:example.org", "tls_requirements {", "is not closed"),
        ("smtpc_rcpt_conf:example.org", "tls_requirements { flags = { verified }; }", "tls_requirements is not in this ver"),
        ("smtpc_session_conf:mx.example.org", "flags = starttls;", "flag starttls is not in this version"),
        ("certissuer:x", "relay", "key certissuer:x: certissuer: is not in this version: it waits for TLS"),
        ("certsubject:x", "relay", "certsubject: is not in this version"),
        ("ehlo:x", "relay", "ehlo: does not take relay: anybody can say any name"),
        ("cltresolve:ok", "quick:relay", "cltresolve: does not take relay"),
        ("from:x", "rejct", "key from:x: unknown value rejct; did you mean reject?"),
        ("to:x", "error:250 2.0.0 fine", "is no reply; write error:550"),
        ("to:x", "error:550 4.0.0 what", "550 and 4.0.0 contradict each other"),
        ("dnsbl0:127.0.0.2", "yes", "unknown value yes; possible are relay, ok"),
        ("protectedrcpt:all@x.org", "one$two", "one$two is no address, domain, IP address or network"),
    ],
)
def test_wrong_entries_of_an_access_map(key, value, message):
    assert message in check_access(key, value)


TEXT = "# rules\ncltaddr:192.0.2 relay\nsmtps_session_conf:example.org flags = {\n   delay_checks };\n"


@pytest.fixture(params=["text", "db"])
def access(tmp_path, request):
    if request.param == "text":
        path = tmp_path / "access"
        path.write_text(TEXT)
    else:
        path = tmp_path / "access.db"
        rows = [(b"cltaddr:192.0.2", b"relay"), (b"smtps_session_conf:example.org", b"flags = { delay_checks };")]
        MapFile.build(path, rows)
    return path


def test_a_right_map_gives_no_output(access):
    result = mapchk("-a", access)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_key_is_looked_up(access):
    assert mapchk("-k", "CLTADDR:192.0.2", access).stdout == "relay\n"
    assert mapchk("-k", "smtps_session_conf:example.org", access).stdout == "flags = { delay_checks };\n"
    assert mapchk("-k", "nothing", access).returncode == 1


def test_every_wrong_line_is_told(tmp_path):
    path = tmp_path / "access"
    path.write_text("cltaddr:x reject\nok:1 x\ncltaddr:10 ok\nCltAddr:10 reject\n")
    result = mapchk("-a", path)
    assert result.returncode == 65
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"mapchk: {path}:1: key cltaddr:x: x is not an IP address")
    assert lines[1].startswith(f"mapchk: {path}:2: unknown tag ok:;")
    assert lines[2] == f"mapchk: {path}:4: key CltAddr:10 is already at {path}:3"


def test_other_maps_have_no_tags(tmp_path):
    path = tmp_path / "aliases"
    path.write_text("postmaster: root\nroot: a@example.org\n")
    assert mapchk(path).returncode == 0


def test_a_map_that_is_missing(tmp_path):
    for name in ("x", "x.db"):
        result = mapchk(tmp_path / name)
        assert (result.returncode, result.stderr.count("\n")) == (78, 1)


def test_a_map_file_that_is_none(tmp_path):
    path = tmp_path / "x.db"
    path.write_bytes(b"x" * 5000)
    assert mapchk(path).returncode == 78


def test_an_expression_that_needs_backtracking_or_is_wrong_is_told_with_its_line(tmp_path):
    (tmp_path / "rules").write_text("/^(a+)+@x$/ ok\n/(a)\\1/ x\n/(/ x\n/a\\/b/ fine\n")
    result = mapchk(tmp_path / "rules")
    assert result.returncode == 65
    lines = result.stderr.splitlines()
    assert [line.partition("rules:")[2][:2] for line in lines] == ["2:", "3:"]
    assert "without look-around and references back" in lines[0]


def test_a_damaged_map_file_is_told(tmp_path):
    MapFile.build(tmp_path / "m.db", [(b"k%d" % number, b"v" * 50) for number in range(3000)])
    data = (tmp_path / "m.db").read_bytes()
    (tmp_path / "m.db").write_bytes(data[:8192] + bytes(8192) + data[16384:])
    result = mapchk(tmp_path / "m.db")
    assert result.returncode == 78
    assert "damaged" in result.stderr
