"""The file of logins: who we are at which server, one line each.

    # server                      user                  secret
    relay.provider.example        grace@example.org     password horse battery staple
    .mail.example                 reports               password "two blanks at the end  "
    192.0.2.25                    backup                token_file /etc/meta1/token
    2001:db8::25                  backup                token_command /usr/local/bin/get-token --for backup
    old.example                   user:password

A server is found by its address, by its name, then by the parents of its name with a dot in front.  The last form is that of
Postfix, for one word without blanks.

Invariant: what stands in the file is in no text of an error, and in no repr().
Pure.  Ref: RFC 4954; docs/outgoing.md, "Logging in at a server".
"""

import ipaddress
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import TOLD_MAX, Module, PermError
from meta1g.rcb.common import ServerAddr

#: Lines of the file that are read at most: more is some other file.
LOGINS_MAX: Final = 10_000
FILE_MAX_BYTES: Final = 4 << 20
#: What a command that prints a token, or a file with one, may say.
TOKEN_MAX_BYTES: Final = 16 << 10
_FIELDS: Final = 3
_UNIX: Final = "unix:"


@dataclass(frozen=True, slots=True)
class LoginSettings:
    """What auth { } of smtpc says.

    Args:
        file: the file of logins.
        mechanisms: those that may be used, preferred first.
        without_tls: secrets may go in clear.
        unverified_tls: they may go to a server whose certificate is not verified.
    """

    file: Path
    mechanisms: tuple[str, ...]
    without_tls: bool = False
    unverified_tls: bool = False


class SecretKind(StrEnum):
    """Where the secret of a login is."""

    PASSWORD = "password"  # noqa: S105  a keyword
    TOKEN_FILE = "token_file"  # noqa: S105
    TOKEN_COMMAND = "token_command"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are at a server.

    Args:
        user: our name there.
        kind: where the secret is.
        secret: the password; or the path of the file that has a token; or the command that prints one.
    """

    user: str
    kind: SecretKind
    secret: tuple[str, ...] = field(repr=False)

    @property
    def is_token(self) -> bool:
        """Whether the secret is a token."""
        return self.kind is not SecretKind.PASSWORD


class Logins:
    """All of a file.

    Args:
        by_server: logins by server.

    Owner: the process.
    """

    __slots__ = ("_by_server",)

    def __init__(self, by_server: Mapping[str, Login]) -> None:
        self._by_server = by_server

    def __len__(self) -> int:
        """Gives their number."""
        return len(self._by_server)

    def of(self, server: ServerAddr) -> Login | None:
        """Gives the login for a server, None if it has none."""
        return next((found for key in _keys(server) if (found := self._by_server.get(key)) is not None), None)


def _keys(server: ServerAddr) -> Iterator[str]:
    """Gives what a server is looked up by, in order."""
    yield server.addr.lower() if not server.addr.startswith(_UNIX) else server.addr
    host = server.host.lower().rstrip(".")
    if host == server.addr.lower():
        return
    while host:
        yield host
        at = host.find(".", 1)
        host = host[at:] if at > 0 else ""


def parse_logins(text: str, where: str) -> Logins:
    """Reads a file.

    Args:
        text: its content.
        where: its name, for errors.

    Raises:
        PermError: a line is wrong; the text says of each where it is and what to write, and nothing of the line.
    """
    found: dict[str, Login] = {}
    wrong: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if len(wrong) >= TOLD_MAX:
            break
        try:
            key, login = _entry(stripped)
            if key in found:
                raise ValueError("this server has a line already; leave one of them")
        except ValueError as error:
            wrong.append(f"{where}:{number}: {error}")
            continue
        found[key] = login
        if len(found) > LOGINS_MAX:
            raise PermError(Module.SMTPC, f"{where}: has more than {LOGINS_MAX} logins")
    if wrong:
        raise PermError(Module.SMTPC, "; ".join(wrong))
    return Logins(found)


def _entry(line: str) -> tuple[str, Login]:
    """Reads a line.

    Raises:
        ValueError: it is wrong.
    """
    server, *rest = line.split(None, _FIELDS)
    if len(rest) == 1 and ":" in rest[0]:
        user, _, password = rest[0].partition(":")
        return _server(server), _login(user, SecretKind.PASSWORD, password)
    if len(rest) < _FIELDS or rest[1].lower() not in set(SecretKind):
        kinds = ", ".join(SecretKind)
        raise ValueError(f"write SERVER USER KIND SECRET, where KIND is one of {kinds}; or SERVER USER:PASSWORD")
    return _server(server), _login(rest[0], SecretKind(rest[1].lower()), rest[2])


def _server(word: str) -> str:
    """Gives the key of a server: an address in its normal form, a name in lower case; brackets around them do no harm.

    Raises:
        ValueError: it is neither.
    """
    if word.startswith(_UNIX):
        return word
    inner = word[1:-1] if word.startswith("[") and word.endswith("]") else word
    try:
        return str(ipaddress.ip_address(inner))
    except ValueError:
        pass
    if ":" in inner or "/" in inner or not inner.isascii() or not inner.strip("."):
        raise ValueError("the server is no name and no address; write it without a port and without a network")
    return inner.lower().rstrip(".")


def _login(user: str, kind: SecretKind, rest: str) -> Login:
    """Reads a secret.

    Raises:
        ValueError: it is empty, or no path or command.
    """
    if not user:
        raise ValueError("the user is empty")
    if kind is SecretKind.PASSWORD:
        quoted = len(rest) > 1 and rest[0] == rest[-1] == '"'
        secret: tuple[str, ...] = (rest[1:-1] if quoted else rest,)
    elif kind is SecretKind.TOKEN_FILE:
        secret = (rest,)
    else:
        secret = _words(rest)
    if not secret or not secret[0]:
        raise ValueError("the secret is empty")
    if kind is not SecretKind.PASSWORD and not secret[0].startswith("/"):
        raise ValueError(f"{kind}: write the whole path, from / on")
    return Login(user, kind, secret)


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError:
        raise ValueError("token_command: a quotation mark is not closed") from None
