"""Random input for what extensions brought: BDAT and its chunks, parameters of MAIL and RCPT, domains with other letters.

    python -m tests.fuzz.extensions_fuzz 1000000

Each must give a value or a refusal, in bounded time, and never anything else; what is taken means one thing only.
"""

import random

from meta1g.base.idn import forms
from meta1g.base.reply import Reply
from meta1g.smtp.chunks import Joiner, parse_chunk
from meta1g.smtp.command import Command, is_chunk, parse_command
from meta1g.smtp.data import Unstuffer, has_bare, stuff
from meta1g.smtp.esmtp import Ext, parse_mail_params, parse_rcpt_params
from tests.fuzz.runner import asserting, main

_ALL = frozenset(Ext)
_WORDS = (
    "BDAT", "bdat", " ", "  ", "\t", "0", "1", "6", "00", "99999999999999999999", "+", "-", "LAST", "last", "\r", "\n", "\0",
    "BY=", ";R", ";N", "T", "MT-PRIORITY=", "BODY=", "BINARYMIME", "8BITMIME", "SMTPUTF8", "ORCPT=", "utf-8;", "rfc822;", "ä",
    "\\x{E4}", "+C3", "=", "SIZE=", "NOTIFY=NEVER", "ENVID=", "RET=HDRS", "x", "@", ".", "xn--", "xn--tda", "ß",
    "\u3002", "\u200d",
)  # fmt: skip
_OCTETS = (b"\r", b"\n", b"\r\n", b".", b"\r\n.\r\n", b"\r\n\r\n", b"x", b"a: b", b"\0", b"\xff")


def words(chance: random.Random) -> str:
    return "".join(chance.choices(_WORDS, k=chance.randrange(1, 9)))


def command(chance: random.Random) -> None:
    """Reads a line of BDAT, or what looks like one."""
    line = words(chance).encode("utf-8", "surrogateescape")
    made = parse_command(b"BDAT " + line if chance.random() < 0.5 else line)
    if isinstance(made, Command) and (chunk := parse_chunk(made.argument)) is not None:
        assert 0 <= chunk.size_bytes < 10**20
    assert isinstance(made, Command | Reply)
    assert is_chunk(line) == (line[:4].upper() == b"BDAT")


def parameters(chance: random.Random) -> None:
    """Reads parameters of MAIL and RCPT."""
    text = words(chance)
    mail = parse_mail_params(text, _ALL)
    assert isinstance(mail, Reply) or mail.by is None or mail.by.seconds > 0 or mail.by.mode[0] == "N"
    assert isinstance(mail, Reply) or mail.priority is None or -9 <= mail.priority <= 9
    rcpt = parse_rcpt_params(text, _ALL)
    assert isinstance(rcpt, Reply) or rcpt.orcpt is None or rcpt.orcpt.isascii()


def domain(chance: random.Random) -> None:
    """Finds the forms of a domain."""
    text = words(chance)
    assert text in forms(text)


def chunks(chance: random.Random) -> None:
    """Joins chunks."""
    content = b"".join(chance.choices(_OCTETS, k=chance.randrange(12)))
    for binary in (False, True):
        joiner, got, start = Joiner(binary=binary, max_line_bytes=chance.choice((0, 5))), b"", 0
        while start < len(content):
            size = chance.randrange(1, 6)
            got += joiner.feed(content[start : start + size])
            start += size
        got += joiner.finish()
        assert got.startswith(content)
        assert got[len(content) :] in (b"", b"\r\n")
        assert binary or joiner.bare == has_bare(content)
        if not has_bare(got):
            unstuffer = Unstuffer(0)
            unstuffer.feed(stuff(got))
            assert unstuffer.done
            assert not unstuffer.rest


TARGETS = asserting(command, parameters, domain, chunks)


if __name__ == "__main__":
    raise SystemExit(main(__doc__, TARGETS))
