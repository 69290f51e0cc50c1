#!/usr/bin/env python3
"""A name server for trying things out: answers over UDP what a file in the form of a zone says.

    python3 zoneserver.py --listen 127.0.0.1:5353 FILE

    example.org. 3600 IN TXT "v=spf1 -all"          names are whole, with or without the dot at the end; A and TXT
    s1._domainkey.example.org. 3600 IN TXT (        strings of a record may stand in several lines
        "v=DKIM1; k=rsa; p=MIIB..."
    )

The file is read again when it has changed.  The first line on standard output is the address it listens on.
Ref: RFC 1035 4, 5.1.
"""

import argparse
import ipaddress
import re
import signal
import socket
import struct
import sys
from pathlib import Path

TYPES = {"A": 1, "TXT": 16}
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|;[^\n]*|([()])|([^\s();"]+)|(\n)')
_HEADER = struct.Struct(">6H")
_SOA_TTL = 10
_NXDOMAIN = 3

Records = dict[tuple[str, int], list[bytes]]


def read_zone(text: str) -> Records:
    """Reads records.

    Raises:
        ValueError: something is none; the text says which line.
    """
    found: Records = {}
    words: list[str] = []
    depth, line = 0, 1
    for match in _TOKEN.finditer(text + "\n"):
        quoted, parenthesis, word, end = match.groups()
        if quoted is not None or word is not None:
            words.append(word if word is not None else re.sub(r"\\(.)", r"\1", quoted))
        elif parenthesis:
            depth += 1 if parenthesis == "(" else -1
        elif end:
            if words and not depth:
                _add(found, words, line)
                words = []
            line += 1
    return found


def _add(found: Records, words: list[str], line: int) -> None:
    try:
        name, _ttl, _class, kind, *values = words
        data = ipaddress.IPv4Address(values[0]).packed if kind == "A" else b"".join(_string(one) for one in values)
        found.setdefault((name.lower().rstrip("."), TYPES[kind]), []).append(data)
    except (ValueError, KeyError, IndexError) as error:
        raise ValueError(f"line {line}: write NAME TTL IN A ADDRESS, or NAME TTL IN TXT STRING ...: {error}") from error


def _string(text: str) -> bytes:
    data = text.encode()
    return bytes([len(data)]) + data


def answer(query: bytes, records: Records) -> bytes:
    """Gives the answer to a question."""
    number, flags = _HEADER.unpack_from(query)[:2]
    at, labels = _HEADER.size, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]])
        at += 1 + query[at]
    question = query[_HEADER.size : at + 5]
    name, kind = b".".join(labels).decode("latin-1").lower(), int.from_bytes(query[at + 1 : at + 3], "big")
    found = records.get((name, kind), [])
    known = any(key[0] == name or key[0].endswith(f".{name}") for key in records)
    parts = [struct.pack(">HHHIH", 0xC00C, kind, 1, _SOA_TTL, len(one)) + one for one in found]
    code = 0 if known else _NXDOMAIN
    head = _HEADER.pack(number, 0x8400 | (flags & 0x0100) | code, 1, len(parts), 0, 0)
    return head + question + b"".join(parts)


class Zone:
    """The file, read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = 0
        self.records: Records = {}

    def renew(self) -> None:
        """Looks whether the file has changed."""
        stamp = self._path.stat().st_mtime_ns
        if stamp != self._stamp:
            self.records, self._stamp = read_zone(self._path.read_text()), stamp


def main() -> None:
    """Serves until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--listen", default="127.0.0.1:5353", metavar="ADDRESS:PORT", help="default: %(default)s")
    parser.add_argument("file", type=Path, metavar="FILE")
    options = parser.parse_args()
    zone = Zone(options.file)
    try:
        zone.renew()
    except (OSError, ValueError) as error:
        sys.exit(f"{options.file}: {error}")
    host, _, port = options.listen.rpartition(":")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, int(port)))
        print("{}:{}".format(*sock.getsockname()), flush=True)
        while True:
            query, peer = sock.recvfrom(4096)
            try:
                zone.renew()
                sock.sendto(answer(query, zone.records), peer)
            except (OSError, ValueError, IndexError, struct.error) as error:
                print(f"{options.file}: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
