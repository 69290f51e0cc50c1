"""The protocol of spamd: a request with a whole message, a reply with its score and perhaps more.

    SYMBOLS SPAMC/1.5              SPAMD/1.1 0 EX_OK
    Content-length: 5120           Content-length: 31
    User: ada                      Spam: True ; 6.7 / 5.0
    (empty line, the message)      (empty line) GTUBE,MSGID_SHORT

Pure.  Ref: SpamAssassin, spamd/PROTOCOL.
"""

import re
from enum import Enum
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Module, TempError
from meta1g.smtp.header import Field, fields, split_header

#: Lines of a reply before its content, and names of tests, at most; our choice: more than spamd ever says.
HEAD_MAX_BYTES: Final = 16 * 1024
TESTS_MAX: Final = 1000
_STATUS: Final = re.compile(rb"SPAMD/[0-9.]{1,10} ([0-9]{1,4}) ?([^\r\n]*)")
_SPAM: Final = re.compile(
    rb"(True|Yes|False|No)\s*;\s*(-?[0-9]{1,7}(?:\.[0-9]{1,6})?)\s*/\s*(-?[0-9]{1,7}(?:\.[0-9]{1,6})?)", re.I
)
_LENGTH: Final = re.compile(rb"[0-9]{1,12}")
_TEST: Final = re.compile(rb"[A-Za-z0-9_]{1,100}")
_LINE_END: Final = re.compile(rb"\r?\n")
#: What may be the name of a user: nothing that ends a line, nothing that a shell or path could mean something by.
_USER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+=-]{0,254}")


class Method(Enum):
    """What spamd is asked for."""

    CHECK = "check"  # the score
    SYMBOLS = "symbols"  # and the tests that matched
    HEADERS = "headers"  # the header as SpamAssassin makes it
    PROCESS = "process"  # the message as SpamAssassin makes it


class SpamdError(TempError):
    """spamd does not answer, or not what the protocol allows."""

    def __init__(self, cause: str) -> None:
        super().__init__(Module.PMILTER, cause)


@dataclass(frozen=True, slots=True)
class SpamdReply:
    """What spamd says of a message.

    Args:
        is_spam: it has the score of spam.
        score: of the message.
        required: that of spam.
        tests: names of tests that matched; with SYMBOLS.
        fields: of the header that it makes; with HEADERS and PROCESS.
        message: that it makes, header and body; with PROCESS.
    """

    is_spam: bool
    score: float
    required: float
    tests: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()
    message: bytes = b""


def is_user(name: str) -> bool:
    """Tells whether a name can be that of a user."""
    return _USER.fullmatch(name) is not None


def request_head(method: Method, size_bytes: int, user: str = "") -> bytes:
    """Gives what stands in front of the message of a request.

    Args:
        method: what is asked for.
        size_bytes: of the message.
        user: whose preferences hold; is_user(), or empty.
    """
    lines = [f"{method.name} SPAMC/1.5", f"Content-length: {size_bytes}", *([f"User: {user}"] if user else [])]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


def parse_reply(method: Method, data: bytes) -> SpamdReply:
    """Reads a whole reply.

    Raises:
        SpamdError: it is an error of spamd, or no reply.
    """
    head, content = _split(data)
    found = _STATUS.fullmatch(head[0])
    if found is None:
        raise SpamdError(f"no reply of spamd: {head[0][:60]!r}")
    if int(found[1]) != 0:
        raise SpamdError(f"spamd says {found[1].decode()} {printable(found[2])}")
    known = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in head[1:])}
    length = known.get(b"content-length", b"0")
    if not _LENGTH.fullmatch(length) or int(length) != len(content):
        raise SpamdError(f"a reply of {len(content)} bytes that was to have {printable(length)}")
    spam = _SPAM.fullmatch(known.get(b"spam", b""))
    if spam is None:
        raise SpamdError(f"a reply without a score: {known.get(b'spam', b'')[:60]!r}")
    is_spam, score, required = spam[1].lower() in (b"true", b"yes"), float(spam[2]), float(spam[3])
    if method is Method.SYMBOLS:
        return SpamdReply(is_spam, score, required, tests=_tests(content))
    if method in (Method.HEADERS, Method.PROCESS):
        found_fields = tuple(fields(split_header(_crlf(content))[0]))
        if not found_fields:
            raise SpamdError("a reply without a header")
        return SpamdReply(is_spam, score, required, fields=found_fields, message=_crlf(content))
    return SpamdReply(is_spam, score, required)


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    """Gives the lines of the head, and the content."""
    lines, at = list[bytes](), 0
    while (end := _LINE_END.search(data, at, at + HEAD_MAX_BYTES)) is not None:
        lines.append(data[at : end.start()])
        at = end.end()
        if not lines[-1] or at > HEAD_MAX_BYTES:
            break
    if not lines or not lines[0]:
        raise SpamdError("no reply of spamd: it is empty" if not data else f"no reply of spamd: {data[:60]!r}")
    return [line for line in lines if line], data[at:]


def _tests(content: bytes) -> tuple[str, ...]:
    names = [name for name in re.split(rb"[,\s]+", content) if name]
    if len(names) > TESTS_MAX or not all(_TEST.fullmatch(name) for name in names):
        raise SpamdError(f"a reply that is no list of tests: {content[:60]!r}")
    return tuple(name.decode() for name in names)


def _crlf(content: bytes) -> bytes:
    return _LINE_END.sub(b"\r\n", content)


def printable(text: bytes) -> str:
    """Gives a text of a peer for the log."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:200].decode("latin-1"))
