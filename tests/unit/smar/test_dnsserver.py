import socket

import pytest

from meta1g.base.errors import PermError
from meta1g.smar.dnsaddress import ServerAddress, parse_server
from meta1g.smar.dnsserver import Channel, NameServer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.10.10.9", ServerAddress("10.10.10.9", 53)),
        ("127.0.0.1@5353", ServerAddress("127.0.0.1", 5353)),
        ("2001:db8::1", ServerAddress("2001:db8::1", 53)),
        ("[2001:db8::1]@5353", ServerAddress("2001:db8::1", 5353)),
        ("fe80::1%eth0", ServerAddress("fe80::1%eth0", 53)),
    ],
)
def test_addresses_of_name_servers(text, expected):
    assert parse_server(text) == expected


@pytest.mark.parametrize("text", ["", "ns.example.org", "127.0.0.1@", "127.0.0.1@0", "127.0.0.1@65536", "127.0.0.1@x"])
def test_anything_else_is_an_error_that_says_what_to_write(text):
    with pytest.raises(PermError, match="write an IP address"):
        parse_server(text)


def test_the_family_follows_from_the_address():
    assert parse_server("::1").family is socket.AF_INET6
    assert parse_server("127.0.0.1").family is socket.AF_INET


def test_an_id_of_an_open_question_is_not_given_again():
    channel = Channel(NameServer(ServerAddress("127.0.0.1", 9)))
    channel.open_questions = dict.fromkeys(set(range(0x10000)) - {4711})
    assert channel.new_id() == 4711
    channel.close()
