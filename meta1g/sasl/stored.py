"""Passwords as they are stored: one text a password, told apart by its head, checked and made here.

    {SCRAM-SHA-256}COUNT,SALT,STORED,SERVER      SCRAM, and passwords that come as they are
    {SCRAM-SHA-1}COUNT,SALT,STORED,SERVER        the same for SCRAM-SHA-1
    {ARGON2ID}$argon2id$v=19$m=...               passwords that come as they are (PLAIN, LOGIN)
    {CRYPT}$6$...                                the same, by crypt(3): yescrypt, bcrypt, SHA-512, SHA-256
    {EXTERNAL}                                   no password: the user has a certificate of this name

Heads are those of Dovecot; `$argon2id$` and the ones of crypt(3) may stand without a head.

Invariant: a text whose check would be cheap for a thief or endless for us is refused when it is read, not when it is checked.

Pure, but a check takes up to a second of processor time.
Ref: RFC 5802, RFC 7677 (SCRAM); RFC 9106 (argon2id); crypt(5).
"""

import base64
import binascii
import ctypes
import functools
import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Any, Final

from meta1g.base.dataclass import dataclass
from meta1g.sasl.base import VALUE_MAX_BYTES, Verifier
from meta1g.sasl.scram import ITERATIONS, ITERATIONS_MAX, check_verifier, make_verifier

if TYPE_CHECKING:
    from argon2 import PasswordHasher

#: Longest stored text.  Our choice: the longest of crypt(3) has 384 (CRYPT_OUTPUT_SIZE).
STORED_MAX_CHARS: Final = 512
#: Least and most bytes of a salt; other salts are mistakes.
_SALT_MIN_BYTES: Final = 4
_SALT_MAX_BYTES: Final = 64
#: What we make: about as much work as argon2id with 19 MiB (OWASP's least), twice.
NEW_ITERATIONS: Final = 100_000
ARGON2ID, CRYPT, EXTERNAL = "ARGON2ID", "CRYPT", "EXTERNAL"
#: SCRAM's hashes by the head of their texts.
SCRAM: Final = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
#: Dovecot's names for what crypt(3) checks.
_CRYPTS: Final = (CRYPT, "SHA256-CRYPT", "SHA512-CRYPT", "BLF-CRYPT")
_HEAD: Final = re.compile(r"\{([A-Za-z0-9-]+)\}(.*)", re.DOTALL)
_ARGON2: Final = re.compile(r"\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,2})\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")
_MEMORY_MAX_KIB: Final = 1 << 20
_TIME_MAX: Final = 64
_CRYPT: Final = re.compile(r"\$(?:5|6|7|y|gy|2[aby])\$[!-9;-~]+")
_ROUNDS: Final = re.compile(r"\$rounds=(\d+)\$")
_ROUNDS_MAX: Final = 5_000_000
_BCRYPT: Final = re.compile(r"\$2[aby]\$(\d\d)\$")
_BCRYPT_COST_MAX: Final = 15
#: Room for struct crypt_data of any C library.
_CRYPT_DATA_BYTES: Final = 256 << 10


@dataclass(frozen=True, slots=True)
class Stored:
    """One stored password.

    Args:
        kind: ARGON2ID, CRYPT, EXTERNAL or a key of SCRAM.
        text: what is checked, without a head.
        verifier: the parts of the text, if it is SCRAM's.
    """

    kind: str
    text: str
    verifier: Verifier | None = None

    @property
    def checks_passwords(self) -> bool:
        """Whether a password can be right for it."""
        return self.kind != EXTERNAL

    def __str__(self) -> str:
        return f"{{{self.kind}}}{self.text}"


def read_stored(text: str) -> Stored:
    """Reads a stored password.

    Raises:
        ValueError: it is none that can be used; the text says why, and does not show it.
    """
    if len(text) > STORED_MAX_CHARS or not text.isascii() or not text.isprintable():
        raise ValueError(f"a stored password has more than {STORED_MAX_CHARS} characters, or other than printable ones")
    match = _HEAD.fullmatch(text)
    head, rest = (match[1].upper(), match[2]) if match else ("", text)
    if head in SCRAM:
        return Stored(head, rest, _verifier(rest, SCRAM[head]))
    if head == EXTERNAL and not rest:
        return Stored(EXTERNAL, "")
    if head in ("", ARGON2ID) and rest.startswith("$argon2id$"):
        _check_argon2(rest)
        return Stored(ARGON2ID, rest)
    if head in ("", *_CRYPTS):
        _check_crypt(rest)
        return Stored(CRYPT, rest)
    known = ", ".join(f"{{{one}}}" for one in (*SCRAM, ARGON2ID, CRYPT, EXTERNAL))
    raise ValueError(f"{{{head}}} is no kind of password that is known here; use one of {known}")


def _verifier(text: str, hash_name: str) -> Verifier:
    parts = text.split(",")
    if len(parts) != 4 or not parts[0].isdecimal() or len(parts[0]) > 8 or not ITERATIONS <= int(parts[0]) <= ITERATIONS_MAX:
        raise ValueError(f"SCRAM needs COUNT,SALT,STORED,SERVER with a count from {ITERATIONS} to {ITERATIONS_MAX}")
    try:
        salt, stored, server = (base64.b64decode(part, validate=True) for part in parts[1:])
    except (binascii.Error, ValueError):
        raise ValueError("SCRAM: a part is no base64") from None
    size = hashlib.new(hash_name).digest_size
    if not _SALT_MIN_BYTES <= len(salt) <= _SALT_MAX_BYTES or len(stored) != size or len(server) != size:
        raise ValueError("SCRAM: a part has a wrong length")
    return Verifier(salt, int(parts[0]), stored, server)


def _check_argon2(text: str) -> None:
    match = _ARGON2.fullmatch(text)
    if match is None:
        raise ValueError("the text of argon2id is not of the form $argon2id$v=19$m=...,t=...,p=...$SALT$HASH")
    if int(match[1]) > _MEMORY_MAX_KIB or not 0 < int(match[2]) <= _TIME_MAX or not int(match[3]):
        raise ValueError("argon2id: m, t or p is 0 or too large: a check would take all memory, or for ever")
    if _argon2() is None:
        raise ValueError("argon2id needs the library argon2-cffi; install it: pip install argon2-cffi")


def _check_crypt(text: str) -> None:
    if text.startswith(("*", "!")):
        raise ValueError("the password is locked (it begins with * or !); remove the user, or give a password")
    if not _CRYPT.fullmatch(text):
        raise ValueError("a hash is none of yescrypt, bcrypt, SHA-512, SHA-256; other ones are too weak")
    rounds, cost = _ROUNDS.search(text), _BCRYPT.match(text)
    if (rounds and (len(rounds[1]) > 9 or int(rounds[1]) > _ROUNDS_MAX)) or (cost and int(cost[1]) > _BCRYPT_COST_MAX):
        raise ValueError("a hash has so many rounds that a check would take for ever")
    if _libcrypt() is None:
        raise ValueError("the system has no libcrypt; install it: apt-get install libcrypt1")


def check_stored(stored: Stored, password: str) -> bool:
    """Tells whether a password is the one that is stored.  Blocks: no, but takes a processor for up to a second.

    Args:
        stored: what read_stored() gave.
        password: prepared (saslprep).
    """
    data = password.encode()
    if not data or b"\0" in data or len(data) > VALUE_MAX_BYTES:
        return False
    if stored.verifier is not None:
        return check_verifier(SCRAM[stored.kind], stored.verifier, password)
    if stored.kind == ARGON2ID:
        return _check_by_argon2(stored.text, password)
    return stored.kind == CRYPT and _crypt_is(data, stored.text.encode())


@functools.cache
def _argon2() -> "PasswordHasher | None":
    """Gives argon2-cffi's hasher with its defaults; None if it is not installed."""
    try:
        import argon2
    except ImportError:
        return None
    return argon2.PasswordHasher()


def _check_by_argon2(text: str, password: str) -> bool:
    from argon2.exceptions import Argon2Error, InvalidHashError

    hasher = _argon2()
    assert hasher is not None
    try:
        return hasher.verify(text, password)
    except (Argon2Error, InvalidHashError):
        return False


@functools.cache
def _libcrypt() -> Any:
    """Gives crypt_r(3); None if there is no such library."""
    import ctypes.util  # loads much

    for name in ("libcrypt.so.1", "libcrypt.so.2", ctypes.util.find_library("crypt")):
        try:
            function = ctypes.CDLL(name).crypt_r if name else None
        except (OSError, AttributeError):
            continue
        if function is not None:
            function.restype = ctypes.c_char_p
            function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
            return function
    return None


def _crypt_is(password: bytes, stored: bytes) -> bool:
    """Compares what crypt_r(3) makes; its errors begin with `*`."""
    made = _libcrypt()(password, stored, ctypes.create_string_buffer(_CRYPT_DATA_BYTES))
    return made is not None and not made.startswith(b"*") and hmac.compare_digest(made, stored)


def make_stored(kind: str, password: str, salt: bytes, iterations: int = NEW_ITERATIONS) -> Stored:
    """Makes what is stored of a password.

    Args:
        kind: ARGON2ID, EXTERNAL or a key of SCRAM.
        password: prepared for storing (saslprep); not used for EXTERNAL.
        salt: random bytes, for SCRAM; argon2id takes its own.
        iterations: for SCRAM.

    Raises:
        ValueError: the library for it is not installed.
    """
    if kind == EXTERNAL:
        return Stored(EXTERNAL, "")
    if kind == ARGON2ID:
        hasher = _argon2()
        if hasher is None:
            raise ValueError("argon2id needs the library argon2-cffi; install it: pip install argon2-cffi")
        return Stored(ARGON2ID, hasher.hash(password))
    verifier = make_verifier(SCRAM[kind], password, salt, iterations)
    parts = (verifier.salt, verifier.stored_key, verifier.server_key)
    return Stored(kind, ",".join([str(iterations), *(base64.b64encode(part).decode() for part in parts)]), verifier)
