"""The header of a proxy: each form that its specification has, and each that it has not."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.smtp.proxyheader import (
    V1_MAX_BYTES,
    V2_MAX_BYTES,
    ProxyHeader,
    ProxyHeaderError,
    SocketEnd,
    crc32c,
    parse_proxy_header,
)

START = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = bytes([192, 0, 2, 9, 127, 0, 0, 1]) + struct.pack("!HH", 4711, 25)
V6 = bytes.fromhex("20010db8" + "00" * 11 + "01" + "20010db8" + "00" * 11 + "02") + struct.pack("!HH", 1, 65535)


def v2(rest=V4, family=0x11, command=0x21, size=None):
    return START + struct.pack("!BBH", command, family, len(rest) if size is None else size) + rest


def field(kind, value, size=None):
    return struct.pack("!BH", kind, len(value) if size is None else size) + value


def summed(rest):
    """Puts the right checksum behind the addresses."""
    whole = v2(rest + field(3, bytes(4)))
    return whole[:-4] + crc32c(whole).to_bytes(4, "big")


#: Header, address and port of the client; None if it is the proxy itself.
RIGHT = {
    "v1, IPv4": (b"PROXY TCP4 192.0.2.9 127.0.0.1 4711 25\r\n", ("192.0.2.9", 4711)),
    "v1, longest IPv4": (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", ("255.255.255.255", 65535)),
    "v1, IPv6": (b"PROXY TCP6 2001:DB8:0:0::1 ::1 0 25\r\n", ("2001:db8::1", 0)),
    "v1, IPv4 in IPv6": (b"PROXY TCP6 ::ffff:192.0.2.9 ::1 1 25\r\n", ("192.0.2.9", 1)),
    "v1, unknown": (b"PROXY UNKNOWN\r\n", None),
    "v1, unknown with anything": (b"PROXY UNKNOWN \x00 what ever\r\n", None),
    "v1, unknown, longest": (b"PROXY UNKNOWN " + b"x" * (V1_MAX_BYTES - 16) + b"\r\n", None),
    "v2, IPv4": (v2(), ("192.0.2.9", 4711)),
    "v2, IPv6": (v2(V6, 0x21), ("2001:db8::1", 1)),
    "v2, fields": (v2(V4 + field(4, b"xyz") + field(1, b"") + field(0xE0, bytes(300))), ("192.0.2.9", 4711)),
    "v2, checksum": (summed(V4 + field(5, b"id")), ("192.0.2.9", 4711)),
    "v2, local": (v2(b"", 0x00, 0x20), None),
    "v2, local with what does not count": (v2(b"anything", 0xFF, 0x20), None),
    "v2, unspecified": (v2(b"anything", 0x00), None),
    "v2, unspecified transport": (v2(V4, 0x10), None),
    "v2, UDP": (v2(V4, 0x12), None),
    "v2, Unix": (v2(bytes(216) + field(1, b"x"), 0x31), None),
    "v2, longest": (v2(V4 + field(4, bytes(V2_MAX_BYTES - 16 - 12 - 3))), ("192.0.2.9", 4711)),
}
WRONG = {
    "nothing of the kind": b"EHLO client.example\r\n",
    "nearly the word": b"PROXYX",
    "small letters": b"proxy TCP4 192.0.2.9 127.0.0.1 4711 25\r\n",
    "another protocol": b"PROXY UDP4 192.0.2.9 127.0.0.1 4711 25\r\n",
    "two blanks": b"PROXY TCP4  192.0.2.9 127.0.0.1 4711 25\r\n",
    "a field too few": b"PROXY TCP4 192.0.2.9 127.0.0.1 4711\r\n",
    "a field too many": b"PROXY TCP4 192.0.2.9 127.0.0.1 4711 25 1\r\n",
    "a blank at the end": b"PROXY TCP4 192.0.2.9 127.0.0.1 4711 25 \r\n",
    "an address of the other family": b"PROXY TCP4 ::1 ::1 4711 25\r\n",
    "a leading zero in an address": b"PROXY TCP4 192.0.2.09 127.0.0.1 4711 25\r\n",
    "a number that is too great": b"PROXY TCP4 192.0.2.256 127.0.0.1 4711 25\r\n",
    "no address": b"PROXY TCP6 ::: ::1 4711 25\r\n",
    "a leading zero in a port": b"PROXY TCP4 192.0.2.9 127.0.0.1 04711 25\r\n",
    "a port that is too great": b"PROXY TCP4 192.0.2.9 127.0.0.1 65536 25\r\n",
    "a bare LF": b"PROXY UNKNOWN\nx\r\n",
    "a bare CR": b"PROXY UNKNOWN \rx\r\n",
    "no end": b"PROXY UNKNOWN " + b"x" * V1_MAX_BYTES,
    "an end that is too late": b"PROXY UNKNOWN " + b"x" * (V1_MAX_BYTES - 15) + b"\r\n",
    "version 1 in binary": v2(command=0x11),
    "version 3": v2(command=0x31),
    "command 2": v2(command=0x22),
    "family 4": v2(family=0x41),
    "transport 3": v2(family=0x13),
    "addresses cut": v2(V4[:-1]),
    "Unix addresses cut": v2(bytes(215), 0x31),
    "a field without size": v2(V4 + b"\x04\x00"),
    "a field that is too long": v2(V4 + field(4, b"x", 2)),
    "a checksum that is wrong": v2(V4 + field(3, b"\0\0\0\1")),
    "a checksum of another size": v2(V4 + field(3, b"\0\0\0")),
    "too long": v2(b"", size=V2_MAX_BYTES - 15),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_header_names_the_client_and_not_a_byte_more_is_taken(name):
    data, client = RIGHT[name]
    found = parse_proxy_header(data + b"\x16\x03\x01")
    assert found is not None
    assert found.size_bytes == len(data)
    assert found.client == (client and SocketEnd(*client))
    assert (found.local is None) == (client is None)


@pytest.mark.parametrize("name", RIGHT)
def test_each_beginning_of_a_right_header_wants_more(name):
    data, _ = RIGHT[name]
    step = max(1, len(data) // 500)
    assert {parse_proxy_header(data[:end]) for end in range(0, len(data), step)} == {None}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_header_is_none(name):
    with pytest.raises(ProxyHeaderError, match="PROXY header"):
        parse_proxy_header(WRONG[name])


@pytest.mark.parametrize("bit", range(8 * len(v2(V4 + field(3, bytes(4))))))
def test_a_changed_bit_is_found_by_the_checksum_or_before(bit):
    whole = summed(V4)
    number = int.from_bytes(whole, "big") ^ 1 << bit
    changed = number.to_bytes(len(whole), "big")
    with_another_meaning = (13 * 8 <= len(whole) * 8 - 1 - bit < 14 * 8) or changed[12] == 0x20
    try:
        found = parse_proxy_header(changed)
    except ProxyHeaderError:
        return
    assert found is None or with_another_meaning or changed[16 + 12] != 3, found


def test_the_checksum_is_the_one_of_rfc_3720():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43


@given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", START, START + b"\x21\x11\x00\x0c"]), st.binary(max_size=200))
def test_whatever_comes_there_is_a_header_an_error_or_a_wish_for_more(start, rest):
    data = start + rest
    try:
        found = parse_proxy_header(data)
    except ProxyHeaderError:
        with pytest.raises(ProxyHeaderError, match="PROXY header"):
            parse_proxy_header(data + b"\r\n")  # more does not make it right
        return
    if found is None:
        assert len(data) < V2_MAX_BYTES
    else:
        assert isinstance(found, ProxyHeader)
        assert found == parse_proxy_header(data[: found.size_bytes])


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(0, 65535), st.integers(0, 65535))
def test_both_versions_say_the_same(client, local, port, own):
    line = f"PROXY TCP4 {client} {local} {port} {own}\r\n".encode()
    binary = v2(client.packed + local.packed + struct.pack("!HH", port, own))
    first, second = parse_proxy_header(line), parse_proxy_header(binary)
    assert (
        (first.client, first.local)
        == (second.client, second.local)
        == (SocketEnd(str(client), port), SocketEnd(str(local), own))
    )
