"""What is said to saslauthd and to Dovecot's authentication process, and what they answer.

    saslauthd   counted strings: user, password, service, realm -> `OK` or `NO`, perhaps with a reason
    Dovecot     lines of fields with tabs between them (auth-client 1.1):
                VERSION CPID -> VERSION MECH ... DONE
                AUTH id mechanism ... resp=BASE64 -> CONT id BASE64, FAIL id ..., or OK id user=NAME ...

Pure.  Ref: saslauthd(8) and its ipc_unix.c; Dovecot, "Authentication Protocol v1.2".
"""

import base64
import binascii
import struct
from collections.abc import Mapping
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.sasl.base import VALUE_MAX_BYTES

_LENGTH: Final = struct.Struct("!H")
#: Longest answer of saslauthd that is read.
SASLAUTHD_ANSWER_MAX_BYTES: Final = 1024
#: Longest line of Dovecot that is read; AUTH_CLIENT_MAX_LINE_LENGTH is 8192 there.
DOVECOT_LINE_MAX_BYTES: Final = 16 << 10
#: Lines of its greeting.
DOVECOT_GREETING_MAX_LINES: Final = 100
SERVICE: Final = "smtp"
_MAJOR: Final = "1"
_ESCAPES: Final = (("\x01", "\x011"), ("\t", "\x01t"), ("\n", "\x01n"), ("\r", "\x01r"), ("\0", "\x010"))


class DaemonError(Exception):
    """The other side does not keep to its protocol; the text says how."""


def saslauthd_question(user: str, password: str) -> bytes:
    """Gives a question; what stands behind @ in a user is its realm, as libsasl2 has it.

    Raises:
        ValueError: user or password are too long.
    """
    login, _, realm = user.partition("@")
    parts = [part.encode() for part in (login, password, SERVICE, realm)]
    if any(len(part) > VALUE_MAX_BYTES for part in parts):
        raise ValueError("user or password is too long")
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def saslauthd_answer(data: bytes) -> bool | None:
    """Reads an answer, None if it is not whole yet.

    Raises:
        DaemonError: it is no answer.
    """
    if len(data) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(data)
    if not 2 <= length <= SASLAUTHD_ANSWER_MAX_BYTES:
        raise DaemonError(f"saslauthd sent an answer of {length} bytes")
    if len(data) < _LENGTH.size + length:
        return None
    word = data[_LENGTH.size : _LENGTH.size + 2]
    if word not in (b"OK", b"NO"):
        raise DaemonError("saslauthd said neither OK nor NO")
    return word == b"OK"


# -- Dovecot


@dataclass(frozen=True, slots=True)
class DovecotLine:
    """A line: its command, its fields, and those of the form name=value by name."""

    command: str
    fields: tuple[str, ...]
    values: Mapping[str, str]


def read_line(line: bytes) -> DovecotLine:
    """Reads a line without its line feed.

    Raises:
        DaemonError: it is none.
    """
    try:
        words = line.decode().split("\t")
    except UnicodeDecodeError:
        raise DaemonError("Dovecot sent a line that is no UTF-8") from None
    fields = tuple(map(_unescaped, words[1:]))
    return DovecotLine(words[0], fields, {name: value for name, _, value in (one.partition("=") for one in fields)})


def _unescaped(text: str) -> str:
    if "\x01" not in text:
        return text
    for plain, escaped in reversed(_ESCAPES):
        text = text.replace(escaped, plain)
    return text


def escaped(text: str) -> str:
    """Gives a value as it stands in a line."""
    for plain, written in _ESCAPES:
        text = text.replace(plain, written)
    return text


def hello(number: int) -> bytes:
    """Gives our greeting.

    Args:
        number: tells this connection from all others to the same server, 1 to 2**31 - 1.
    """
    return f"VERSION\t{_MAJOR}\t1\nCPID\t{number}\n".encode()


def mechanisms_in(greeting: list[DovecotLine]) -> frozenset[str]:
    """Gives the mechanisms of a server's greeting.

    Raises:
        DaemonError: it speaks another version.
    """
    versions = [line.fields[:1] for line in greeting if line.command == "VERSION"]
    if versions != [(_MAJOR,)]:
        raise DaemonError("Dovecot speaks another version of the protocol; its socket has to be one for auth-client")
    return frozenset(line.fields[0].upper() for line in greeting if line.command == "MECH" and line.fields)


def auth_line(mechanism: str, initial: bytes | None, client: str, *, tls: bool) -> bytes:
    """Gives the line that begins an exchange, whose number is 1.

    Args:
        mechanism: its name.
        initial: what came with AUTH, None if nothing did.
        client: its address.
        tls: the session is encrypted.
    """
    words = ["AUTH", "1", mechanism, f"service={SERVICE}", "nologin", f"rip={escaped(client)}", *(["secured"] if tls else [])]
    if initial is not None:
        words.append(f"resp={base64.b64encode(initial).decode()}")
    return ("\t".join(words) + "\n").encode()


def cont_line(response: bytes) -> bytes:
    """Gives the line of a response."""
    return b"CONT\t1\t" + base64.b64encode(response) + b"\n"


def challenge_of(line: DovecotLine) -> bytes:
    """Gives the challenge of a CONT, or the last message of the server in an OK; empty without one.

    Raises:
        DaemonError: it is no base64.
    """
    text = line.values.get("resp", "") if line.command == "OK" else "".join(line.fields[1:2])
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise DaemonError("Dovecot sent a challenge that is no base64") from None


def plain_response(user: str, password: str) -> bytes:
    """Gives what PLAIN says of a password."""
    return f"\0{user}\0{password}".encode()
