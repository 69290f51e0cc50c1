import errno
import os
import socket

import pytest

from meta1g.base.cli import CliError
from meta1g.mcp.listen import Sockets, bind
from meta1g.mcp.service import Listen, Service, StartAction


def service(*listens: Listen) -> Service:
    return Service(label="smtps", kind="smtps", where="c:1", start_action=StartAction.PASS, listens=listens)


@pytest.fixture
def two_ports():
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
        ports = a.getsockname()[1], b.getsockname()[1]
    return [Listen("c:2", "127.0.0.1", port) for port in ports]


def test_sockets_that_are_open_already_are_kept(tmp_path, two_ports):
    first = Sockets(tmp_path).bind([service(two_ports[0])])
    second = first.bind([service(*two_ports)])
    assert second.of(service(two_ports[0])) == first.of(service(two_ports[0]))
    first.close_but(second)
    with socket.create_connection(("127.0.0.1", two_ports[0].port), 5):
        pass
    second.close_but()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", two_ports[0].port), 5)


def test_a_failure_leaves_the_old_sockets_alone_and_closes_the_new_ones(tmp_path, two_ports):
    first = Sockets(tmp_path).bind([service(two_ports[0])])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wrong = Listen("c:9", "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(CliError, match=r"c:9: cannot listen on 127.0.0.1 port .*: another program uses it"):
            first.bind([service(*two_ports, wrong)])
    with socket.create_connection(("127.0.0.1", two_ports[0].port), 5):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", two_ports[1].port), 5)
    first.close_but()


def test_without_an_address_both_families_are_served(tmp_path):
    with bind(Listen("c:1", "", 0), tmp_path) as sock:
        port = sock.getsockname()[1]
        for address in ["127.0.0.1", "::1"] if socket.has_dualstack_ipv6() else ["127.0.0.1"]:
            with socket.create_connection((address, port), 5):
                pass


def test_a_stale_unix_socket_is_replaced_and_a_served_one_is_not(tmp_path):
    listen = Listen("c:1", path="sock", permissions=0o600)
    with bind(listen, tmp_path) as sock:
        with pytest.raises(CliError, match=r"cannot listen on socket .*/sock: another program uses it.*choose another path"):
            bind(listen, tmp_path)
        assert sock.fileno() >= 0
    with bind(listen, tmp_path):
        assert (tmp_path / "sock").stat().st_mode & 0o777 == 0o600


def test_a_file_in_the_place_of_a_unix_socket_survives(tmp_path):
    (tmp_path / "sock").write_text("precious")
    with pytest.raises(CliError, match="a file that is no socket has this name"):
        bind(Listen("c:1", path="sock"), tmp_path)
    assert (tmp_path / "sock").read_text() == "precious"


@pytest.mark.parametrize(
    ("listen", "message"),
    [
        (Listen("c:3", "192.0.2.1", 2525), "c:3: cannot listen on 192.0.2.1 port 2525: this machine has no such address"),
        (Listen("c:3", path="none/sock"), "its directory does not exist"),
        (Listen("c:3", path="x" * 120), "longer than 107 bytes"),
    ],
)
def test_what_cannot_be_bound_says_what_to_do(tmp_path, listen, message):
    with pytest.raises(CliError, match=message):
        bind(listen, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may bind every port")
def test_a_port_that_only_root_may_bind_is_told(tmp_path):
    with pytest.raises(CliError, match="start mcp as root"):
        bind(Listen("c:3", "127.0.0.1", 1), tmp_path)
    assert errno.EACCES
