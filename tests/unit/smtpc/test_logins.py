"""The file of logins, tokens, and what of both may be seen."""

import re

import pytest

from meta1g import st
from meta1g.base.clock import SystemClock
from meta1g.base.errors import PermError, TempError
from meta1g.base.log import Log
from meta1g.base.reply import Reply
from meta1g.rcb.common import ServerAddr
from meta1g.smtpc.authout import AuthOut, load_logins, run_command
from meta1g.smtpc.logins import parse_logins
from meta1g.smtpc.token import parse_token
from tests.fakes.lines import Lines

FILE = """\
# who we are
mx.example.org   ada    password       one
.example.org     bob    password       two words
192.0.2.7        eve    token_file     /etc/token
2001:DB8:0::7    ivy    token_command  /bin/get --for "a b"
[h.example.net]  joe:three:four
unix:/run/lmtp   kim    password       "  five "
"""


@pytest.fixture(autouse=True)
def state_threads():
    st.st_init()


def server(addr, host=""):
    return ServerAddr(addr=addr, port=25, host=host or addr)


@pytest.mark.parametrize(
    ("addr", "host", "user", "secret"),
    [
        ("192.0.2.1", "MX.Example.Org", "ada", ("one",)),
        ("192.0.2.1", "mx.example.org.", "ada", ("one",)),
        ("192.0.2.1", "x.y.example.org", "bob", ("two words",)),
        ("192.0.2.1", "example.org", None, None),
        ("192.0.2.7", "mx.example.org", "eve", ("/etc/token",)),
        ("2001:db8::7", "", "ivy", ("/bin/get", "--for", "a b")),
        ("192.0.2.1", "h.example.net", "joe", ("three:four",)),
        ("unix:/run/lmtp", "", "kim", ("  five ",)),
        ("unix:/run/other", "", None, None),
        ("192.0.2.8", "", None, None),
    ],
)
def test_a_server_is_found_by_address_name_and_parents(addr, host, user, secret):
    found = parse_logins(FILE, "logins").of(server(addr, host))
    assert (found and found.user, found and found.secret) == (user, secret)


@pytest.mark.parametrize(
    ("line", "about"),
    [
        ("mx.example", "write SERVER USER KIND SECRET"),
        ("mx.example ada", "write SERVER USER KIND SECRET"),
        ("mx.example ada pasword s3cret", "KIND is one of password, token_file, token_command"),
        ("mx.example ada password", "write SERVER USER KIND SECRET"),
        ("mx.example :s3cret", "the user is empty"),
        ("mx.example ada:", "the secret is empty"),
        ('mx.example ada password ""', "the secret is empty"),
        ("mx.example ada token_file token", "token_file: write the whole path"),
        ("mx.example ada token_command get s3cret", "token_command: write the whole path"),
        ('mx.example ada token_command /bin/get "s3cret', "a quotation mark is not closed"),
        ("192.0.2.0/24 ada password s3cret", "no name and no address"),
        ("mx.example:587 ada password s3cret", "no name and no address"),
        (". ada password s3cret", "no name and no address"),
        ("MX.example. ada password s3cret\nmx.example bob password other", "has a line already"),
    ],
)
def test_a_wrong_line_is_named_and_not_shown(line, about):
    with pytest.raises(PermError, match=re.escape(about)) as caught:
        parse_logins(line, "/etc/logins")
    assert caught.value.cause.startswith(f"/etc/logins:{line.count(chr(10)) + 1}: ")
    assert "s3cret" not in str(caught.value)


def test_all_wrong_lines_are_told():
    text = "mx.example ada pasword s3cret\nb.example ada:secret\n:25 x:y\n" + "c.example\n" * 30
    with pytest.raises(PermError) as caught:
        parse_logins(text, "logins")
    told = caught.value.cause.split("; logins:")
    assert [one.partition(": ")[0] for one in told] == ["logins:1", "3", *map(str, range(4, 22))]


def test_no_secret_is_in_the_form_of_a_login_for_people():
    assert "one" not in repr(parse_logins(FILE, "logins").of(server("192.0.2.1", "mx.example.org")))


@pytest.mark.parametrize(
    ("mode", "fits"), [(0o600, True), (0o640, True), (0o400, True), (0o644, False), (0o660, False), (0o602, False)]
)
def test_a_file_that_others_may_read_or_change_is_not_used(tmp_path, mode, fits):
    path = tmp_path / "logins"
    path.write_text(FILE)
    path.chmod(mode)
    if fits:
        assert len(load_logins(path)) == 6
    else:
        with pytest.raises(PermError, match="chmod 640"):
            load_logins(path)


def test_a_file_that_is_missing_or_no_file_is_named(tmp_path):
    with pytest.raises(PermError, match="none: No such file"):
        load_logins(tmp_path / "none")
    with pytest.raises(PermError, match="no plain file"):
        load_logins(tmp_path)
    path = tmp_path / "logins"
    path.touch(0o600)
    path.write_bytes(b"mx.example ada password s\xff")
    with pytest.raises(PermError, match="no UTF-8") as caught:
        load_logins(path)
    assert caught.value.__cause__ is None


def test_a_changed_file_is_used_if_it_is_right_and_the_old_one_until_then(tmp_path):
    lines = Lines()
    path = tmp_path / "logins"
    path.touch(0o600)
    out = AuthOut(SystemClock(), Log("smtpc", sink=lines))
    mx = server("192.0.2.1", "mx.example")
    path.write_text("mx.example ada password one\n")
    assert out.login(path, mx).user == "ada"
    path.write_text("mx.example\n")
    assert [out.login(path, mx).user for _ in range(2)] == ["ada", "ada"]
    assert sum("func=smtpc.auth_file" in line for line in lines.lines) == 1
    path.write_text("mx.example bob password two!\n")
    assert out.login(path, mx).user == "bob"


@pytest.mark.parametrize(
    ("output", "token", "keep_s"),
    [
        (b"abc.def-_~+/==\n", "abc.def-_~+/==", 300),
        (b'{"access_token": "abc", "expires_in": 3600, "token_type": "Bearer"}', "abc", 3570),
        (b'{"access_token": "abc"}', "abc", 300),
        (b'{"access_token": "abc", "expires_in": 10}', "abc", 0),
        (b'{"access_token": "abc", "expires_in": 1e99}', "abc", 86370),
    ],
)
def test_a_token_and_how_long_it_is_kept(output, token, keep_s):
    made = parse_token(output, "/bin/get")
    assert (made.text, made.keep_s) == (token, keep_s)


@pytest.mark.parametrize(
    "output",
    [b"", b"two words", b"one\ntwo", b"\xff\xfe", b"a\0b", b"a\1b", b"{", b"[1]", b'{"token": "x"}', b'{"access_token": 7}',
     b'{"access_token": "x", "expires_in": NaN}',
     b'{"access_token": "x", "expires_in": "soon"}', b'{"access_token": "x", "expires_in": true, "access_token": null}',
     b"x" * 20_000, b"{" * 5000],
)  # fmt: skip
def test_what_is_no_token_is_refused_and_not_shown(output):
    with pytest.raises(TempError, match="/bin/get gives") as caught:
        parse_token(output, "/bin/get")
    assert len(str(caught.value)) < 200


def test_a_command_runs_once_for_all_sessions_until_its_token_ends_or_is_refused(tmp_path):
    count = tmp_path / "count"
    command = tmp_path / "get"
    command.write_text(f"#!/bin/sh\necho run >> {count}\necho t$(wc -l < {count})\n")
    command.chmod(0o755)
    login = parse_logins(f"mx.example ada token_command {command}", "logins").of(server("192.0.2.1", "mx.example"))
    out, got = AuthOut(SystemClock(), Log("smtpc")), []
    threads = [st.st_thread_create(lambda _: got.append(out.secret(login)), None, True) for _ in range(3)]
    for thread in threads:
        st.st_thread_join(thread)
    assert got == ["t1", "t1", "t1"]
    out.failed("C1", server("192.0.2.1", "mx.example"), login, "XOAUTH2", Reply(535))
    assert out.secret(login) == "t2"


@pytest.mark.parametrize(
    ("words", "about"),
    [
        (("/bin/sh", "-c", "sleep 60 & sleep 60"), "gave no token in 1 s"),
        (("/bin/sh", "-c", "yes"), "prints more than 16384 bytes"),
        (("/bin/sh", "-c", "echo token; exit 3"), "ended with 3"),
        (("/bin/sh", "-c", "echo token; kill -9 $$"), "ended with -9"),
        (("/nonexistent/command",), "No such file"),
    ],
)
def test_a_command_that_goes_wrong_costs_its_session(words, about):
    with pytest.raises(TempError, match=about):
        run_command(words, 1)
