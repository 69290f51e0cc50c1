"""Feeds damaged bytes to the parsers of what SMTP peers send: whatever comes, there is a result or the error that is theirs.

    python -m tests.fuzz.smtp_fuzz [COUNT] [SEED] [TARGET ...]

The unit tests run some of each.
"""

import random
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

from meta1g.base.reply import Reply
from meta1g.smtp.address import STRICT, AddressError, Leniency, ehlo_text, parse_path, split_path
from meta1g.smtp.command import Command, parse_command
from meta1g.smtp.completion import Missing, completion, has_header
from meta1g.smtp.esmtp import Ext, parse_mail_params, parse_rcpt_params
from meta1g.smtp.proxyheader import V2_MAX_BYTES, ProxyHeaderError, crc32c, parse_proxy_header
from meta1g.smtp.reply import ReplyError, ReplyParser
from meta1g.smtp.xclient import XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES, parse_attributes

LENIENT: Final = Leniency(bare=True, odd_dots=True, sender_domain="mx.example")
ALL: Final = frozenset(Ext)
MUTATIONS_MAX: Final = 4
PIECES: Final = [
    *(b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b"<", b">", b"@", b'"', b"\\", b"[", b"]", b":", b"=", b"+", b"%", b",", b";"),
    *(b"+0D+0A", b"IPv6:", b"::1", b"192.0.2.1", b"\xff", b"\xc3\xa4", b"\xed\xa0\x80", b"..", b"A" * 600, b"9" * 25, b"\x7f"),
]
COMMANDS: Final = [
    *(
        b"EHLO client.example",
        b"HELO [192.0.2.1]",
        b"LHLO x",
        b"MAIL FROM:<a@b.example> SIZE=5 BODY=8BITMIME",
        b"NOOP",
        b"DATA",
    ),
    *(
        b'RCPT TO:<"a b"@[IPv6:::1]> NOTIFY=NEVER ORCPT=rfc822;a+2Bb@x',
        b"STARTTLS",
        b"QUIT",
        b"VRFY x",
        b"HELP\t",
        b"XCLIENT A=b",
    ),
]
PATHS: Final = [
    *(b"<a@b.example>", b"<>", b"<@r.example:a@b.example>", b'<"a\\"b"@b.example>', b"<a@[192.0.2.1]>", b"<postmaster>"),
    *(
        b"<a@[IPv6:2001:db8::1]> SIZE=1",
        b"<a..b@c.example.>",
        b"<\xc3\xa4@\xc3\xa4.example> SMTPUTF8",
        b"a@b.example",
        b"<root>",
    ),
]
PARAMETERS: Final = [
    b"SIZE=100 BODY=7BIT RET=HDRS ENVID=a+2Bb SMTPUTF8",
    b"NOTIFY=SUCCESS,DELAY ORCPT=utf-8;\\x{E4}b@x",
    b"XVERP=-+",
]
_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
HEADERS: Final = [
    *(b"PROXY TCP4 192.0.2.9 127.0.0.1 4711 25\r\n", b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\nrest", b"PROXY UNKNOWN x\r\n"),
    *(
        _V2 + b"\x20\x00\x00\x00",
        _V2 + b"\x21\x11\x00\x0c" + bytes(12),
        _V2 + b"\x21\x21\x00\x2b" + bytes(36) + b"\x03\x00\x04\0\0\0\0",
    ),
]
ATTRIBUTES: Final = [
    *(b"NAME=a.example ADDR=IPV6:::1 PORT=25 PROTO=ESMTP HELO=[192.0.2.1] DESTADDR=192.0.2.1", b"IDENT=a+2Bb SOURCE=LOCAL"),
    *(b"NAME=[UNAVAILABLE] ADDR=[TEMPUNAVAIL]", b"LOGIN=x"),
]
MESSAGES: Final = [
    b"From: a@b.example\r\nSubject: x\r\n y\r\n\r\nbody\r\n",
    b"Message-ID:\r\n <x@y>\r\nDate: x\r\n",
    b"\r\nbody",
    b" folded",
]
REPLIES: Final = [b"250-mx.example\r\n250 SIZE 5\r\n", b"220 x\r\n250 2.1.0 ok\r\n", b"250\n", b"550 5.1.1 <a@b> \xe4\r\n"]
MISSING: Final = Missing("<1@mx.example>", "today", "s@x.example", "s@x.example")


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def command(data: bytes) -> bool:
    made = parse_command(data)
    if isinstance(made, Command):
        assert "\r" not in made.argument
        assert "\n" not in made.argument
        ehlo = ehlo_text(made.argument, strict=False)
        assert ehlo is None or (ehlo.isprintable() and ehlo.isascii())
    return isinstance(made, Command)


def path(data: bytes) -> bool:
    text = text_of(data)
    for lenient in (STRICT, LENIENT):
        for utf8 in (False, True):
            try:
                address = parse_path(split_path(text, lenient)[0], lenient, null_ok=True, utf8=utf8)
            except AddressError:
                continue
            assert not any(char in address.text for char in "\r\n\0")
            again = parse_path(address.text, null_ok=True, utf8=utf8)
            assert (again.local, again.domain) == (address.local, address.domain), "what goes on is read as the same"
    return True


def parameters(data: bytes) -> bool:
    made = [parse(text_of(data), ALL) for parse in (parse_mail_params, parse_rcpt_params)]
    return not any(isinstance(one, Reply) for one in made)


def proxy_header(data: bytes) -> bool:
    try:
        found = parse_proxy_header(data)
    except ProxyHeaderError:
        return False
    if found is None:
        assert len(data) < V2_MAX_BYTES
    else:
        assert 0 < found.size_bytes <= len(data)
        assert parse_proxy_header(data[: found.size_bytes]) == found
        crc32c(data[:100])
    return found is not None


def attributes(data: bytes) -> bool:
    made = [parse_attributes(text_of(data), table) for table in (XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES)]
    assert all(value.isprintable() for values in made if isinstance(values, dict) for value in values.values())
    return any(isinstance(one, dict) for one in made)


def header(data: bytes) -> bool:
    added = completion(data, MISSING)
    assert not added or added.endswith(b"\r\n")
    return has_header(data)


def reply(data: bytes) -> bool:
    parser, made = ReplyParser(), []
    try:
        for start in range(0, len(data), 7):
            made += parser.feed(data[start : start + 7])
    except ReplyError:
        return False
    assert all(line.isascii() and line.isprintable() for one in made for line in one.lines)
    return bool(made)


#: Bytes to damage, and the check of what becomes of them, which tells whether they were still right.
TARGETS: Final[Mapping[str, tuple[list[bytes], Callable[[bytes], bool]]]] = {
    "command": (COMMANDS, command),
    "path": (PATHS, path),
    "parameters": (PARAMETERS, parameters),
    "proxy_header": (HEADERS, proxy_header),
    "attributes": (ATTRIBUTES, attributes),
    "reply": (REPLIES, reply),
    "header": (MESSAGES, header),
}


def mutate(data: bytes, corpus: list[bytes], rng: random.Random) -> bytes:
    """Damages bytes in a few places."""
    for _ in range(rng.randint(1, MUTATIONS_MAX)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((0, 1, 1, 2, 5, 20)))
        what = rng.randrange(5)
        if what == 0:
            data = data[:at] + data[end:]
        elif what == 1:
            data = data[:at] + rng.choice(PIECES) + data[end:]
        elif what == 2:
            data = data[:at] + data[at:end] * 2 + data[end:]
        elif what == 3:
            data = data[:at] + rng.choice(corpus)[: rng.randrange(40)] + data[end:]
        else:
            data = data[:at] + bytes((rng.randrange(256),)) + data[end:]
    return data


def run(count: int, seed: int, targets: list[str] | None = None) -> dict[str, int]:
    """Feeds count damaged inputs to the targets in turn; gives how many of each were still right."""
    rng = random.Random(seed)
    names = targets or list(TARGETS)
    seen = dict.fromkeys(names, 0)
    for number in range(count):
        name = names[number % len(names)]
        corpus, check = TARGETS[name]
        data = mutate(rng.choice(corpus), corpus, rng)
        try:
            seen[name] += check(data)
        except Exception:
            sys.stderr.write(f"seed {seed}, number {number}, {name}: {data!r}\n")
            raise
    return seen


def main(argv: list[str]) -> int:
    """Runs the command."""
    count = int(argv[0]) if argv else 100_000
    seed = int(argv[1]) if len(argv) > 1 else random.randrange(1 << 32)
    start = time.monotonic()
    seen = run(count, seed, argv[2:] or None)
    sys.stdout.write(f"{count} inputs, seed {seed}, {time.monotonic() - start:.1f} s; still right: {seen}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
