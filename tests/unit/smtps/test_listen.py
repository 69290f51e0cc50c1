"""Sockets that the process binds itself, and their names."""

import os
import socket
import stat

import pytest

from meta1g.base.cli import CliError
from meta1g.conf.load import load_file
from meta1g.smtps.listen import bind_all
from meta1g.smtps.server import client_address, socket_name


@pytest.fixture
def section(tmp_path):
    def make(*sockets):
        conf = tmp_path / "meta1.conf"
        listen = "".join(f"listen_socket {{ {text} }}" for text in sockets)
        conf.write_text(f'hostname = "mx.example"; smtps {{ start_action = wait; {listen} }}')
        return load_file(conf).section("smtps")

    return make


def test_every_listen_socket_is_bound(section, tmp_path):
    socks = bind_all(
        section(
            'type = inet; address = "127.0.0.1"; port = 0;',
            'type = inet; address = "::1"; port = 0;',
            'type = unix; path = "smtp.sock"; permissions = 0600;',
        ),
        tmp_path,
    )
    try:
        assert [sock.family for sock in socks] == [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX]
        assert socket_name(socks[0]) == f"127.0.0.1:{socks[0].getsockname()[1]}"
        assert socket_name(socks[1]) == f"[::1]:{socks[1].getsockname()[1]}"
        assert socket_name(socks[2]) == str(tmp_path / "smtp.sock")
        assert stat.S_IMODE((tmp_path / "smtp.sock").stat().st_mode) == 0o600
        for sock in socks:
            with socket.socket(sock.family) as client:
                client.connect(sock.getsockname())
    finally:
        for sock in socks:
            sock.close()


def test_a_stale_unix_socket_is_replaced(section, tmp_path):
    for _ in range(2):
        (sock,) = bind_all(section('type = unix; path = "smtp.sock";'), tmp_path)
        sock.close()


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (
            'type = unix; path = "none/smtp.sock";',
            os.EX_OSERR,
            "cannot listen on socket .*none/smtp.sock: its directory does not exist",
        ),
        ('type = inet; address = "192.0.2.1"; port = 0;', os.EX_OSERR, "cannot listen on 192.0.2.1 port 0"),
    ],
)
def test_a_socket_that_cannot_be_bound_is_named(section, tmp_path, text, code, message):
    with pytest.raises(CliError, match=message) as failure:
        bind_all(section(text), tmp_path)
    assert failure.value.exit_code == code


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("192.0.2.1", 4711), "192.0.2.1"),
        (("::ffff:192.0.2.1", 4711, 0, 0), "192.0.2.1"),
        (("2001:db8::1", 4711, 0, 0), "2001:db8::1"),
        (("fe80::1%eth0", 4711, 0, 2), "fe80::1"),
        ("", "127.0.0.1"),
        (b"\0abstract", "127.0.0.1"),
    ],
)
def test_the_address_of_a_client_is_as_short_as_possible(address, text):
    assert client_address(address) == text
