"""The users of a password file: one a line.

    # comment
    user@example.org:{SCRAM-SHA-256}100000,...             a name, a colon, what is stored
    ann:{ARGON2ID}$argon2id$... {SCRAM-SHA-1}4096,...      several, with blanks between them: one for each mechanism
    joe:$6$salt$...:1000:1000::/home/joe:                  what stands behind one more colon is for others (passwd(5), Dovecot)
    :SECRET                                                the secret of the file, see below

Names are folded to lower case.  What an unknown user meets is made of what the users of the file have: the same work, and for
SCRAM the same counts of iterations, chosen for each name by a secret, so that it is always the same.

Pure.  Ref: RFC 5802 5.1, 9 (what a server tells about users); Dovecot, passwd-file (form modelled on).
"""

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import TOLD_MAX
from meta1g.sasl.base import Verifier
from meta1g.sasl.scram import ITERATIONS, SALT_BYTES
from meta1g.sasl.stored import EXTERNAL, SCRAM, Stored, read_stored

#: Longest name.
NAME_MAX_CHARS: Final = 320
#: Longest line, and most of them.  Our choice: 100,000 users of 200 bytes are read in less than a second, by a thread.
LINE_MAX_CHARS: Final = 4096
USERS_MAX: Final = 100_000
FILE_MAX_BYTES: Final = 32 << 20
_NAME: Final = re.compile(r"[^\s:\x00-\x20\x7f]+")
_SECRET_MIN_CHARS: Final = 16
_FRACTION_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class UserLine:
    """A line of the file as it is: user and stored texts; user is empty for a comment, a blank line or the secret."""

    user: str
    text: str


def in_realm(name: str, realm: str) -> str:
    """Gives a name with the realm, unless it has one or there is none."""
    return name if "@" in name or not realm else f"{name}@{realm}"


def folded(name: str) -> str:
    """Gives a name as it is looked up."""
    return name.lower()


def name_problem(name: str) -> str:
    """Says why a name cannot stand in the file; empty if it can."""
    if not name or len(name) > NAME_MAX_CHARS:
        return f"a name has 1 to {NAME_MAX_CHARS} characters"
    if not _NAME.fullmatch(name) or not name.isprintable() or name[0] in "#*":
        return "a name has no blank, colon or control character, and does not begin with # or *"
    return ""


class Users:
    """The users of a file; nothing changes in it.

    Args:
        stored: what is stored, by name.
        secret: of the file.

    Attributes:
        nobody: what the password of an unknown user is compared with: that of somebody, of the kind that most have; None if the
            file has none.
    """

    __slots__ = ("_all_have", "_counts", "_secret", "_stored", "nobody")

    def __init__(self, stored: dict[str, tuple[Stored, ...]], secret: bytes) -> None:
        self._stored = stored
        self._secret = secret
        first = [one for one in map(_first, stored.values()) if one is not None]
        most = Counter(one.kind for one in first).most_common(1)
        self.nobody = next((one for one in first if one.kind == most[0][0]), None) if most else None
        self._counts: dict[str, list[tuple[int, int]]] = {}
        for kind in SCRAM:
            verifiers = (one.verifier for entry in stored.values() for one in entry if one.kind == kind)
            self._counts[kind] = sorted((one.iterations, len(one.salt)) for one in verifiers if one is not None)
        with_passwords = [{one.kind for one in entry} for entry in stored.values() if _first(entry) is not None]
        self._all_have = frozenset.intersection(frozenset(SCRAM), *with_passwords) if with_passwords else frozenset()

    def __len__(self) -> int:
        return len(self._stored)

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def names(self) -> list[str]:
        """Gives all names in the order of the file."""
        return list(self._stored)

    def of(self, name: str) -> tuple[Stored, ...]:
        """Gives all that is stored of a user; nothing if there is no such user."""
        return self._stored.get(name, ())

    def password(self, name: str) -> Stored | None:
        """Gives what a password of a user is compared with; None if there is no such user, or it has a certificate only."""
        return _first(self.of(name))

    def verifier(self, name: str, kind: str) -> Verifier | None:
        """Gives SCRAM's verifier of a user; None if there is none."""
        return next((one.verifier for one in self.of(name) if one.kind == kind), None)

    def has_certificate(self, name: str) -> bool:
        """Tells whether a user may be known by its certificate."""
        return any(one.kind == EXTERNAL for one in self.of(name))

    def some_have(self, kind: str) -> bool:
        """Tells whether there is a user with a verifier of this kind."""
        return bool(self._counts[kind])

    def all_have(self, kind: str) -> bool:
        """Tells whether everybody who has a password has a verifier of this kind, and somebody has."""
        return kind in self._all_have

    def unknown(self, name: str, kind: str) -> Verifier:
        """Gives a verifier that no password has: what a user without one meets; it changes with the file only."""
        made = hmac.digest(self._secret, f"{kind}\0{name}".encode(), "sha512")
        counts = self._counts[kind] or [(ITERATIONS, SALT_BYTES)]
        place = int.from_bytes(made[:_FRACTION_BYTES], "big") * len(counts) >> 8 * _FRACTION_BYTES
        iterations, salt_bytes = counts[place]
        salt = hmac.digest(made, b"salt", "sha512")[:salt_bytes]
        key = hmac.digest(made, b"key", SCRAM[kind])
        return Verifier(salt, iterations, key, key)


def _first(entry: Iterable[Stored]) -> Stored | None:
    return next((one for one in entry if one.checks_passwords), None)


def read_lines(text: str) -> list[UserLine]:
    """Splits a file into its lines, without a look at what is stored."""
    return [
        UserLine(folded(line.partition(":")[0]) if ":" in line and line[0] not in ":#" else "", line) for line in _lines(text)
    ]


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def read_users(text: str, name: str) -> tuple[Users, list[str]]:
    """Reads a file.

    Args:
        text: its content.
        name: names it in errors.

    Returns:
        The users, and a text for each wrong line: `file:line: what is wrong`.
    """
    stored: dict[str, tuple[Stored, ...]] = {}
    wrong: list[str] = []
    secret = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    for number, line in enumerate(_lines(text), 1):
        if len(wrong) >= TOLD_MAX or len(stored) > USERS_MAX:
            break
        if not line.strip() or line.startswith("#"):
            continue
        try:
            user, entry = _read_line(line)
            if user and user in stored:
                raise ValueError("the user stands twice; remove one")
        except ValueError as error:
            wrong.append(f"{name}:{number}: {error}")
            continue
        if user:
            stored[user] = entry
        else:
            secret = line[1:].encode()
    if len(stored) > USERS_MAX:
        wrong.append(f"{name}: more than {USERS_MAX} users; use another back end")
    return Users(stored, secret), wrong


def _read_line(line: str) -> tuple[str, tuple[Stored, ...]]:
    if len(line) > LINE_MAX_CHARS:
        raise ValueError(f"the line is longer than {LINE_MAX_CHARS} characters")
    user, colon, rest = line.partition(":")
    if not colon:
        raise ValueError("the line has no colon; write USER:STORED, smpasswd(8) does it")
    if not user:
        if len(rest) < _SECRET_MIN_CHARS or not rest.isascii() or not rest.isprintable():
            raise ValueError("the secret of the file is too short; remove the line and let smpasswd(8) make another")
        return "", ()
    if problem := name_problem(user):
        raise ValueError(problem)
    return folded(user), read_entry(rest)


def read_entry(text: str) -> tuple[Stored, ...]:
    """Reads what stands behind the name of a user: stored passwords with blanks between; what follows a colon is for others.

    Raises:
        ValueError: there is none, or one is wrong; the text says why, and does not show it.
    """
    entry = tuple(map(read_stored, text.partition(":")[0].split()))
    if not entry:
        raise ValueError("the user has no password; smpasswd(8) makes one, {EXTERNAL} is for a certificate")
    if len({one.kind for one in entry}) < len(entry):
        raise ValueError("two passwords of one kind; remove one")
    return entry
