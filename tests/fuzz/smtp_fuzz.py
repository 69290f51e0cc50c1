"""Feeds damaged bytes to the parsers of what SMTP peers send: whatever comes, there is a result or the error that is theirs.

    python -m tests.fuzz.smtp_fuzz 1000000

The unit tests run some of each.
"""

from collections.abc import Callable
from typing import Final

from meta1g.base.reply import Reply
from meta1g.smtp.address import STRICT, AddressError, Leniency, ehlo_text, parse_path, split_path
from meta1g.smtp.command import Command, parse_command
from meta1g.smtp.completion import Missing, completion, has_header
from meta1g.smtp.esmtp import Ext, parse_mail_params, parse_rcpt_params
from meta1g.smtp.proxyheader import V2_MAX_BYTES, ProxyHeaderError, crc32c, parse_proxy_header
from meta1g.smtp.reply import ReplyError, ReplyParser
from meta1g.smtp.xclient import XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES, parse_attributes
from tests.fuzz.runner import Target, damaged, main

LENIENT: Final = Leniency(bare=True, odd_dots=True, sender_domain="mx.example")
ALL: Final = frozenset(Ext)
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
    text, read = text_of(data), 0
    for lenient in (STRICT, LENIENT):
        for utf8 in (False, True):
            try:
                address = parse_path(split_path(text, lenient)[0], lenient, null_ok=True, utf8=utf8)
            except AddressError:
                continue
            assert not any(char in address.text for char in "\r\n\0")
            again = parse_path(address.text, null_ok=True, utf8=utf8)
            assert (again.local, again.domain) == (address.local, address.domain), "what goes on is read as the same"
            read += 1
    return read > 0


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


def damaging(corpus: list[bytes], check: Callable[[bytes], bool]) -> Target:
    """Makes a target of bytes to damage, and of the check that tells whether they were still right."""
    return lambda rng: ["right" if check(damaged(rng.choice(corpus), rng, PIECES, corpus)) else "wrong"]


TARGETS: Final = {
    "command": damaging(COMMANDS, command),
    "path": damaging(PATHS, path),
    "parameters": damaging(PARAMETERS, parameters),
    "proxy_header": damaging(HEADERS, proxy_header),
    "attributes": damaging(ATTRIBUTES, attributes),
    "reply": damaging(REPLIES, reply),
    "header": damaging(MESSAGES, header),
}


if __name__ == "__main__":
    raise SystemExit(main(__doc__, TARGETS))
