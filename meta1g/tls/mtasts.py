"""MTA-STS: the record that says that a domain has a policy, the policy, and what it means for a server.

    _mta-sts.example.org  TXT "v=STSv1; id=20260401T000000"                  the id changes with the policy
    https://mta-sts.example.org/.well-known/mta-sts.txt                      the policy, lines of `key: value`

Pure.  Ref: RFC 8461 3.1 (record), 3.2 (policy), 4.1 (names of servers), 5 (modes).
"""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.tlspolicy import TlsLevel, TlsPolicy

#: Where the record of a domain stands.  Ref: RFC 8461 3.1.
RECORD_LABEL: Final = "_mta-sts"
#: Name of the host that has the policy of a domain.  Ref: RFC 8461 3.2.
HOST_LABEL: Final = "mta-sts"
#: Where it has the policy.  Ref: RFC 8461 3.2.
PATH: Final = "/.well-known/mta-sts.txt"
#: Bytes of a policy that are read.  Ref: RFC 8461 3.2 asks for at least so many.
POLICY_MAX_BYTES: Final = 64 * 1024
#: Longest life of a policy, in seconds.  Ref: RFC 8461 3.2, about a year; longer ones are cut.
MAX_AGE_MAX_S: Final = 31_557_600
#: Patterns of names that a policy may have.  Our choice: ten times what the largest operators need.
MX_MAX: Final = 500

_ID: Final = re.compile(r"[A-Za-z0-9]{1,32}")
_FIELD: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.\-]{0,31})=([\x21-\x3a\x3c\x3e-\x7e]+)")
_LINE: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.\-]{0,31})[ \t]*:[ \t]*(.*?)[ \t]*")
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9_])?"
_MX: Final = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_MX_MAX_CHARS: Final = 255
_AGE: Final = re.compile(r"[0-9]{1,10}")
_VERSION: Final = "STSv1"


class StsError(ValueError):
    """A record or a policy is not what RFC 8461 asks for; the text says what is wrong with it."""


class StsMode(StrEnum):
    """What a domain wants of those who send to it."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """A policy.

    Args:
        mode: what is wanted.
        mx: patterns of the names of its servers, in lower case; none may be in mode NONE.
        max_age_s: how long it may be used, seconds.
    """

    mode: StsMode
    mx: tuple[str, ...]
    max_age_s: int

    def allows(self, host: str) -> bool:
        """Tells whether a server has one of the names of the policy; `*.` stands for exactly one label (RFC 8461 4.1)."""
        name = host.lower().removesuffix(".")
        _, dot, parent = name.partition(".")
        return name in self.mx or (bool(dot and parent) and f"*.{parent}" in self.mx)

    def lines(self) -> tuple[str, ...]:
        """Gives the lines of the policy as RFC 8460 4.4 wants them in reports."""
        mx = (f"mx: {one}" for one in self.mx)
        return (f"version: {_VERSION}", f"mode: {self.mode}", *mx, f"max_age: {self.max_age_s}")


def record_id(texts: Iterable[str]) -> str | None:
    """Finds the id of the policy in the TXT records of `_mta-sts.DOMAIN`.

    Args:
        texts: the records, each with its strings joined.

    Returns:
        The id; None if the domain has no policy.

    Raises:
        StsError: there is more than one record of this kind, or it is damaged; that is no policy, too (RFC 8461 3.1).
    """
    records = [one for one in texts if re.match(r"v=STSv1[ \t]*(?:;|$)", one)]
    if not records:
        return None
    if len(records) > 1:
        raise StsError("there is more than one record with v=STSv1")
    fields = _fields(records[0])
    found = fields.get("id", "")
    if not _ID.fullmatch(found):
        raise StsError("the record has no id of 1 to 32 letters and digits")
    return found


def _fields(record: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for number, text in enumerate(re.split(r"[ \t]*;[ \t]*", record.rstrip(" \t"))[1:], start=1):
        match = _FIELD.fullmatch(text)
        if match is not None:
            fields.setdefault(match[1], match[2])
        elif text or number == 1:
            raise StsError("the record has a field that is not key=value")
    return fields


def parse_policy(data: bytes) -> StsPolicy:
    """Reads a policy.

    Args:
        data: the file.

    Raises:
        StsError: it is none; the text says why.
    """
    if len(data) > POLICY_MAX_BYTES:
        raise StsError(f"the policy is longer than {POLICY_MAX_BYTES} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise StsError("the policy is not UTF-8") from None
    values, mx = _keys(re.split(r"\r?\n", text))
    if values.get("version") != _VERSION:
        raise StsError(f"the policy has no version: {_VERSION}")
    mode = _mode(values.get("mode", ""))
    if not mx and mode is not StsMode.NONE:
        raise StsError("the policy has no mx")
    return StsPolicy(mode, mx, _age(values.get("max_age", "")))


def _keys(lines: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Gives the value of each key and all values of mx; of another key that comes again the first value counts."""
    values: dict[str, str] = {}
    mx: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip(" \t"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise StsError(f"line {number} of the policy is not key: value")
        key, value = match[1], match[2]
        if key != "mx":
            values.setdefault(key, value)
            continue
        mx[_pattern(value, number)] = None
        if len(mx) > MX_MAX:
            raise StsError(f"the policy has more than {MX_MAX} mx")
    return values, tuple(mx)


def _pattern(value: str, number: int) -> str:
    name = value.lower().removesuffix(".")
    if len(name) > _MX_MAX_CHARS or not _MX.fullmatch(name):
        raise StsError(f"line {number} of the policy has an mx that is no name and no *.NAME")
    return name


def _mode(value: str) -> StsMode:
    try:
        return StsMode(value)
    except ValueError:
        raise StsError("the policy has no mode: enforce, testing or none") from None


def _age(value: str) -> int:
    if not _AGE.fullmatch(value):
        raise StsError("the policy has no max_age in seconds")
    return min(int(value), MAX_AGE_MAX_S)


def server_policy(policy: StsPolicy, domain: str, host: str, why: str) -> TlsPolicy | None:
    """Gives what TLS has to fulfil at a server.

    Args:
        policy: the policy of the domain.
        domain: the domain of the recipient.
        host: name of the server.
        why: how the policy was found, for people.

    Returns:
        The demands; None if the domain wants none.
    """
    source = f"MTA-STS of {domain}: {policy.mode} by {why}"
    if policy.mode is StsMode.NONE:
        return None
    if policy.mode is StsMode.TESTING:
        return TlsPolicy(source=f"{source}: nothing is demanded")
    if not policy.allows(host):
        return TlsPolicy(level=TlsLevel.VERIFY, refused=f"MTA-STS policy of {domain} does not name {host}", source=source)
    return TlsPolicy(level=TlsLevel.VERIFY, names=(host.lower(),), source=source)
