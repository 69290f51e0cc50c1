"""Files of private keys, DOMAIN.SELECTOR.pem, and the records that publish them.

    Made: 2026-11-27T10:00:00Z
    Replaces: s2025
    Signs-From: 2026-11-29T10:00:00Z
    Withdraw: 2026-12-13T10:00:00Z
    -----BEGIN PRIVATE KEY-----
    ...

The lines above the key tell what dkimkey has planned; there are none in the files of other programs.

Ref: RFC 6376 3.6, RFC 8463 3; RFC 1035 3.3.14 (strings of TXT records); docs/dkim.md.
"""

import base64
import os
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from meta1g.base.clock import rfc3339
from meta1g.base.dataclass import dataclass
from meta1g_filters.dkim.keyrecord import ED25519, RSA

SUFFIX: Final = ".pem"
#: Octets of one string of a TXT record at most.
STRING_MAX: Final = 255
_OTHERS: Final = 0o007
_MODE: Final = 0o640
_FILE_MAX_BYTES: Final = 65_536
_LINE: Final = re.compile(r"^(Made|Replaces|Signs-From|Withdraw): *(\S+)$", re.MULTILINE)
_EXPONENT: Final = 65537
PrivateKey = RSAPrivateKey | Ed25519PrivateKey


class KeyFileError(Exception):
    """A file is none of a key that signs; the text names it and says what to do."""


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """What is planned with a key.

    Args:
        made_at_s: when it was made, seconds since 1970; None if nobody knows.
        replaces: selector of the key whose place it takes; empty if there is none.
        signs_from_s: when it takes this place; None: it signs.
        withdraw_at_s: when the record of the other one may go.
    """

    made_at_s: float | None = None
    replaces: str = ""
    signs_from_s: float | None = None
    withdraw_at_s: float | None = None

    def text(self) -> str:
        """Gives the lines above the key."""
        times = {"Made": self.made_at_s, "Signs-From": self.signs_from_s, "Withdraw": self.withdraw_at_s}
        lines = {name: rfc3339(when) for name, when in times.items() if when is not None}
        return "".join(
            f"{name}: {value}\n" for name, value in (lines | ({"Replaces": self.replaces} if self.replaces else {})).items()
        )


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A private key in its file.

    Args:
        path: of the file.
        domain: whose mail it signs.
        selector: name of its record below `_domainkey`.
        key: the key.
        plan: what is planned with it.
    """

    path: Path
    domain: str
    selector: str
    key: PrivateKey
    plan: KeyPlan

    @property
    def name(self) -> str:
        """Where its record stands in DNS."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def kind(self) -> str:
        """The value of `k=`."""
        return RSA if isinstance(self.key, RSAPrivateKey) else ED25519

    @property
    def meaning(self) -> str:
        """Kind and length for people."""
        return f"{RSA} {self.key.key_size}" if isinstance(self.key, RSAPrivateKey) else ED25519

    def record(self) -> str:
        """Gives the text of its record."""
        return f"v=DKIM1; k={self.kind}; p={base64.b64encode(public_octets(self.key.public_key())).decode()}"


def public_octets(key: RSAPublicKey | Ed25519PublicKey) -> bytes:
    """Gives a public key as `p=` has it."""
    if isinstance(key, RSAPublicKey):
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def record_lines(name: str, text: str, ttl_s: int) -> list[str]:
    """Gives a record as a zone file has it: strings of at most 255 octets, one a line.

    Args:
        name: of the record.
        text: in ASCII, without quotation marks and backslashes.
        ttl_s: seconds that others may keep it.
    """
    strings = [f'"{text[at : at + STRING_MAX]}"' for at in range(0, len(text), STRING_MAX)]
    return [f"{name}. {ttl_s} IN TXT (", *(f"    {one}" for one in strings), ")"]


def make_key(kind: str, bits: int) -> PrivateKey:
    """Makes a key.

    Args:
        kind: `rsa` or `ed25519`.
        bits: length of an RSA key.
    """
    return generate_private_key(_EXPONENT, bits) if kind == RSA else Ed25519PrivateKey.generate()


def load_private_key(path: Path) -> tuple[PrivateKey, str]:
    """Reads a private key (PEM), and gives the text of its file too.  Blocks: yes (disk).

    Raises:
        KeyFileError: it is none that signs, cannot be read, or everybody can read it.
    """
    try:
        with path.open("rb") as file:
            mode, data = os.fstat(file.fileno()).st_mode, file.read(_FILE_MAX_BYTES)
        key = load_pem_private_key(data, None)
    except OSError as error:
        raise KeyFileError(f"{path}: cannot read the key: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path}: no private key in PEM without a password") from error
    if mode & _OTHERS:
        raise KeyFileError(f"{path}: everybody can read this key; run chmod o= {path}")
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise KeyFileError(f"{path}: a key of RSA or Ed25519 signs")
    return key, data.decode("ascii", "replace")


def read_key_file(path: Path, domain: str) -> KeyFile:
    """Reads DOMAIN.SELECTOR.pem.  Blocks: yes (disk).

    Raises:
        KeyFileError: it is wrong.
    """
    key, text = load_private_key(path)
    lines = dict(_LINE.findall(text))
    try:
        times = {name: datetime.fromisoformat(value).timestamp() for name, value in lines.items() if name != "Replaces"}
    except ValueError as error:
        raise KeyFileError(f"{path}: a line above the key has a time that is none: {error}") from error
    plan = KeyPlan(times.get("Made"), lines.get("Replaces", ""), times.get("Signs-From"), times.get("Withdraw"))
    return KeyFile(path, domain, path.name.removeprefix(f"{domain}.").removesuffix(SUFFIX), key, plan)


def key_files(directory: Path, domain: str) -> list[KeyFile]:
    """Gives the keys of a domain, by their selectors.  Blocks: yes (disk).

    Files of domains below it begin with another name, but for a selector with a dot: what has one is none of this domain.

    Raises:
        KeyFileError: one is wrong.
    """
    found = [path for path in sorted(directory.glob(f"*{SUFFIX}")) if path.name.startswith(f"{domain}.")]
    return [
        read_key_file(path, domain) for path in found if "." not in path.name.removeprefix(f"{domain}.").removesuffix(SUFFIX)
    ]


def domains_of(directory: Path) -> list[str]:
    """Gives the domains that have keys.  Blocks: yes (disk)."""
    names = (path.name.removesuffix(SUFFIX).rpartition(".")[0] for path in directory.glob(f"*{SUFFIX}"))
    return sorted({name for name in names if name})


def write_key_file(directory: Path, domain: str, selector: str, key: PrivateKey, plan: KeyPlan) -> KeyFile:
    """Writes a new file, readable by its owner and the group of the directory.  Blocks: yes (disk).

    Raises:
        FileExistsError: there is one; it stays as it is.
        OSError: it cannot be written.
    """
    path = directory / f"{domain}.{selector}{SUFFIX}"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(plan.text() + pem)
        file.flush()
        with suppress(PermissionError):  # who is not in that group keeps the file in their own
            os.fchown(descriptor, -1, directory.stat().st_gid)
        os.fchmod(descriptor, _MODE)
        os.fsync(descriptor)
    return KeyFile(path, domain, selector, key, plan)


def day(when_s: float) -> str:
    """Gives the day of a time, UTC."""
    return datetime.fromtimestamp(when_s, UTC).strftime("%Y-%m-%d")
