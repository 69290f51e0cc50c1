"""The command table of the server and the reading of a command line.

Pure.  Ref: RFC 5321 4.1.1, 4.1.4, 4.5.3.1.4; RFC 2920 3.1 (commands that end a pipelined group).
"""

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import Reply
from meta1g.smtp import replies
from meta1g.smtp.limits import AUTH_LINE_MAX_BYTES, COMMAND_LINE_MAX_BYTES, PARAMETER_LINE_MAX_BYTES


class Verb(Enum):
    """Commands."""

    EHLO = auto()
    HELO = auto()
    LHLO = auto()
    XCLIENT = auto()
    XFORWARD = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    BDAT = auto()
    RSET = auto()
    NOOP = auto()
    QUIT = auto()
    VRFY = auto()
    EXPN = auto()
    HELP = auto()
    STARTTLS = auto()
    AUTH = auto()


class Argument(Enum):
    """What may follow the verb."""

    NONE = auto()
    OPTIONAL = auto()
    NEEDED = auto()
    FROM_PATH = auto()
    TO_PATH = auto()


@dataclass(frozen=True, slots=True)
class Row:
    """One command: verb, its argument, longest line."""

    verb: Verb
    argument: Argument
    max_bytes: int = COMMAND_LINE_MAX_BYTES


COMMANDS: Final[Mapping[bytes, Row]] = {
    b"EHLO": Row(Verb.EHLO, Argument.NEEDED),
    b"HELO": Row(Verb.HELO, Argument.NEEDED),
    b"LHLO": Row(Verb.LHLO, Argument.NEEDED),
    b"XCLIENT": Row(Verb.XCLIENT, Argument.OPTIONAL),
    b"XFORWARD": Row(Verb.XFORWARD, Argument.OPTIONAL),
    b"MAIL": Row(Verb.MAIL, Argument.FROM_PATH, max_bytes=PARAMETER_LINE_MAX_BYTES),
    b"RCPT": Row(Verb.RCPT, Argument.TO_PATH, max_bytes=PARAMETER_LINE_MAX_BYTES),
    b"DATA": Row(Verb.DATA, Argument.NONE),
    b"BDAT": Row(Verb.BDAT, Argument.NEEDED),
    b"RSET": Row(Verb.RSET, Argument.NONE),
    b"NOOP": Row(Verb.NOOP, Argument.OPTIONAL),
    b"QUIT": Row(Verb.QUIT, Argument.NONE),
    b"VRFY": Row(Verb.VRFY, Argument.NEEDED),
    b"EXPN": Row(Verb.EXPN, Argument.NEEDED),
    b"STARTTLS": Row(Verb.STARTTLS, Argument.OPTIONAL),
    b"AUTH": Row(Verb.AUTH, Argument.NEEDED, max_bytes=AUTH_LINE_MAX_BYTES),
    b"HELP": Row(Verb.HELP, Argument.OPTIONAL),
}
#: Commands of RFC 821, 1985, 2645, 3207, 4468, 4954 and of other mailers that this server does not offer: 502, not 500
#: (RFC 5321 4.2.4).
NOT_OFFERED: Final = frozenset((b"BURL", b"ETRN", b"ATRN", b"TURN", b"SEND", b"SOML", b"SAML"))
_HELLOS: Final = (Verb.EHLO, Verb.HELO)
_PATH_HEADS: Final = {
    Argument.FROM_PATH: (re.compile(r"FROM: *", re.IGNORECASE), replies.BAD_MAIL_SYNTAX),
    Argument.TO_PATH: (re.compile(r"TO: *", re.IGNORECASE), replies.BAD_RCPT_SYNTAX),
}
#: So much of a refused command stands in the log, characters.
_SHOWN_MAX_CHARS: Final = 200
_CONTROLS: Final = re.compile(rb"[\x00-\x1F\x7F]")
_BLANKS: Final = b" \t"


@dataclass(frozen=True, slots=True)
class Command:
    """A command that has the right form; argument is what follows the verb, for MAIL and RCPT the path and what follows it.

    The argument of EHLO and HELO may hold any character but controls; bytes that are no UTF-8 are surrogates in it.
    """

    verb: Verb
    argument: str


def parse_command(line: bytes) -> Command | Reply:
    """Reads a command line; blanks at its end do not count, and a tab is a blank where no address can hold one.

    Args:
        line: the line without its CR LF.

    Returns:
        The command, or the reply that refuses it.
    """
    if b"\t" in line:
        line = line.rstrip(_BLANKS) if b'"' in line else line.replace(b"\t", b" ")
    head, _, tail = line.partition(b" ")
    row = COMMANDS.get(head.upper())
    if row is None:
        return replies.NOT_IMPLEMENTED if head.upper() in NOT_OFFERED else replies.UNKNOWN_COMMAND
    if len(line) + 2 > row.max_bytes:
        return replies.LINE_TOO_LONG
    if _CONTROLS.search(tail):
        return replies.BAD_CHARACTERS
    try:
        argument = tail.decode(errors="surrogateescape" if row.verb in _HELLOS else "strict")
    except UnicodeDecodeError:
        return replies.BAD_CHARACTERS
    return _with_argument(row, argument.strip(" "))


def is_chunk(line: bytes) -> bool:
    """Tells whether a line looks like BDAT: octets that are no commands follow it, so one that is not understood is the end."""
    return line[:4].upper() == b"BDAT"


def shown(line: bytes | str) -> str:
    """Gives a command or an argument as the log shows it: cut, and without what may be a password."""
    text = line if isinstance(line, str) else line.decode("utf-8", "surrogateescape")
    words = text.split(None, 2)
    if words and words[0].upper() == "AUTH":
        return " ".join([*words[:2], *("..." for _ in words[2:])])
    return text if len(text) <= _SHOWN_MAX_CHARS else f"{text[:_SHOWN_MAX_CHARS]}..."


def _with_argument(row: Row, argument: str) -> Command | Reply:
    kind = row.argument
    head = _PATH_HEADS.get(kind)
    if head is not None:
        pattern, refusal = head
        match = pattern.match(argument)
        return Command(row.verb, argument[match.end() :]) if match else refusal
    if kind is Argument.NONE and argument:
        return replies.NO_ARGUMENT_WANTED
    if kind is Argument.NEEDED and not argument:
        return replies.ARGUMENT_WANTED
    return Command(row.verb, argument)
