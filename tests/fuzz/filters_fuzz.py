"""Feeds damaged input to the parsers of the filters: rules of milter-regex, its expressions, replies of spamd.

    python -m tests.fuzz.filters_fuzz 100000

Whatever comes, only the error of its parser may come back; and what is an expression of POSIX for the C library too has to
match the same texts.  The unit tests run 1,000 of each.
"""

import ctypes
import random
from pathlib import Path

from meta1g.conf.errors import ConfigError
from meta1g.conf.tree import Source
from meta1g_filters.regex.grammar import parse
from meta1g_filters.regex.patterns import compiled
from meta1g_filters.regex.posix import PatternError, translate
from meta1g_filters.spamd.protocol import Method, SpamdError, parse_reply
from tests.fuzz.conf_fuzz import PIECES, right_error
from tests.fuzz.runner import asserting, damaged, main

ROOT = Path(__file__).parents[2]
RULES = [
    (ROOT / "contrib/filters/etc/milter-regex.conf").read_text(),
    'a = header /x/i ,y,e\nreject "t" $a and not ( body /z/n or connect // 1[2]1 )\nquarantine odd macro /i/ /^$/\n',
    "accept helo /\\(a\\|b\\)*/ or envfrom /[[:alpha:]]+@/ei # end\ndiscard envrcpt /x/ \\\n and body /\\<a/\n",
]
_BASIC = (
    r"a b B . * ^ $ \( \) \| \+ \? \{1,2\} \{ \} [ab] [^a] [ ] [[:alpha:]] \. \< \> \b \w \W \1 \d ( ) + ? | { } - [a-c] []a]"
)
_EXTENDED = r"a b B . * ^ $ ( ) | + ? {1,2} {2} { } [ab] [^a] [ ] [[:digit:]] [[= \. \< \> \b \w \W \1 \d \( \) - [-a] \$ \\"
PARTS = {False: _BASIC.split(), True: _EXTENDED.split()}
TEXTS = [b"", b"a", b"B", b"ab", b"aab b", b"^*$", b"(a)|{1,2}", b"+?.", b"a-1]\\", b"b a\nb"]
REPLIES = [
    b"SPAMD/1.1 0 EX_OK\r\nSpam: True ; 1006.7 / 5.0\r\n\r\n",
    b"SPAMD/1.1 0 EX_OK\r\nContent-length: 14\r\nSpam: False ; -1.2 / 5\r\n\r\nGTUBE,BAYES_00",
    b"SPAMD/1.1 0 EX_OK\r\nContent-length: 42\r\nSpam: Yes ; 7 / 5\r\n\r\nSubject: x\r\nX-Spam-Flag: YES\r\n y\r\n\r\nbody\r\n",
    b"SPAMD/1.0 76 Bad header line: FOO\r\n",
]
_LIBC = ctypes.CDLL(None)


def told(right: bool, what: object) -> None:
    """Asserts that an error is as it has to be."""
    assert right, what


def rules(rng: random.Random) -> None:
    """Reads a damaged configuration."""
    text = damaged(rng.choice(RULES), rng, PIECES, RULES)
    try:
        parse(Source("fuzz.conf", text))
    except ConfigError as error:
        right_error(error, text)


def expression(rng: random.Random) -> bool:
    """Reads an expression, and lets it match what the C library matches; tells whether both took it."""
    extended, ignore_case = rng.random() < 0.5, rng.random() < 0.3
    pattern = "".join(rng.choice(PARTS[extended]) for _ in range(rng.randint(1, 9)))
    try:
        search = compiled(translate(pattern, extended=extended, ignore_case=ignore_case))
    except PatternError as error:
        told(0 <= error.pos <= len(pattern), pattern)
        return False
    made = ctypes.create_string_buffer(512)
    if _LIBC.regcomp(made, pattern.encode(), 8 | extended | ignore_case << 1):
        return False
    for text in TEXTS:
        if b"\n" not in text or not {"^", "$"} & {*pattern}:  # glibc sees lines where it was not asked to
            same = (search(text) is not None) == (_LIBC.regexec(made, text, 0, None, 0) == 0)
            assert same, (pattern, extended, ignore_case, text)
    _LIBC.regfree(made)
    return True


def spamd_reply(rng: random.Random) -> None:
    """Reads a damaged reply."""
    data = damaged(rng.choice(REPLIES), rng, [piece.encode() for piece in PIECES], REPLIES)
    try:
        reply = parse_reply(rng.choice(list(Method)), data)
    except SpamdError as error:
        told(error.cause.isprintable(), data)
    else:
        assert abs(reply.score) < 1e7, data


TARGETS = asserting(rules, expression, spamd_reply)


if __name__ == "__main__":
    raise SystemExit(main(__doc__, TARGETS))
