"""A policy of DMARC: read from the TXT record of `_dmarc.DOMAIN`.

    v=DMARC1; p=reject; sp=quarantine; adkim=s; rua=mailto:dmarc@example.org

What is not known is passed over, what is wrong has its default; a record without a right `p` counts as `p=none` if it says
where reports go, and not at all if not.

Pure.  Ref: RFC 7489 6.3, 6.6.3; RFC 9989 4.7, 4.8 (np, psd, t; pct, rf and ri are gone).
"""

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Final
from urllib.parse import unquote

from meta1g.base.dataclass import dataclass
from meta1g.smtp.address import AddressError, parse_path

#: Addresses of `rua` that get reports.  Our choice: more would only let a domain make us work.
RUA_MAX: Final = 5
_RECORD: Final = re.compile(r"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_URI: Final = re.compile(r"(mailto:[^,!\s]+)(?:!([0-9]{1,15})([kmgt]?))?", re.IGNORECASE)
#: What makes an address one with a quoted local part, or with an address literal.
_QUOTED: Final = re.compile(r'["\[]')
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class Disposition(IntEnum):
    """What a domain wants to be done with mail that fails; greater is stricter."""

    NONE = 0
    QUARANTINE = 1
    REJECT = 2

    @property
    def word(self) -> str:
        """As records and reports have it."""
        return self.name.lower()

    @property
    def weaker(self) -> "Disposition":
        """The next one below."""
        return Disposition(max(0, self - 1))


@dataclass(frozen=True, slots=True)
class ReportAddress:
    """Where aggregate reports go.

    Args:
        address: mail address.
        max_bytes: greatest report that is wanted, 0 for any.
    """

    address: str
    max_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DmarcRecord:
    """A record.

    Args:
        p: for the domain itself.
        sp: for domains below it, None: as p.
        np: for domains below it that do not exist, None: as sp.
        strict_dkim: identifiers of DKIM have to be the same.
        strict_spf: identifiers of SPF have to be the same.
        pct: part of the mail the policy is for, percent (RFC 7489 only).
        testing: t=y: the policy is not to be applied in full (RFC 9989).
        psd: y, n or u: whether it is the domain of a registry (RFC 9989).
        rua: who wants aggregate reports.
        fo: when failure reports are wanted; only told in aggregate reports.
    """

    p: Disposition
    sp: Disposition | None = None
    np: Disposition | None = None
    strict_dkim: bool = False
    strict_spf: bool = False
    pct: int = 100
    testing: bool = False
    psd: str = "u"
    rua: tuple[ReportAddress, ...] = ()
    fo: str = ""


def selected_record(texts: Sequence[bytes]) -> DmarcRecord | None:
    """Gives the policy among the TXT records of a name; None if there is none, several, or one that does not count."""
    found = [text for one in texts if _RECORD.match(text := one.decode("ascii", "replace"))]
    return parse_policy(found[0]) if len(found) == 1 else None


def parse_policy(text: str) -> DmarcRecord | None:
    """Reads a record that begins as one; None if it does not count."""
    tags: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if equals:
            tags.setdefault(name.strip().lower(), value.strip())
    rua = report_addresses(tags.get("rua", ""))
    words = {name: _disposition(tags.get(name)) for name in ("p", "sp", "np")}
    wrong = any(name in tags and words[name] is None for name in words) or words["p"] is None
    if wrong and not rua:
        return None
    if wrong:
        words = {"p": Disposition.NONE, "sp": None, "np": None}
    return DmarcRecord(
        words["p"] or Disposition.NONE,
        words["sp"],
        words["np"],
        tags.get("adkim", "").lower() == "s",
        tags.get("aspf", "").lower() == "s",
        _percent(tags.get("pct", "")),
        tags.get("t", "").lower() == "y",
        psd if (psd := tags.get("psd", "").lower()) in ("y", "n") else "u",
        rua,
        fo if re.fullmatch(r"[01dsDS:]{1,20}", fo := tags.get("fo", "")) else "",
    )


def report_addresses(value: str) -> tuple[ReportAddress, ...]:
    """Gives the mail addresses of `rua`; other kinds of URI are passed over."""
    found: list[ReportAddress] = []
    for uri in value.split(","):
        match = _URI.fullmatch(uri.strip())
        address = unquote(match[1].partition(":")[2].partition("?")[0]) if match else ""
        if match and _is_plain(address) and not any(one.address == address for one in found):
            found.append(ReportAddress(address, int(match[2] or 0) * _UNITS[match[3].lower() if match[3] else ""]))
    return tuple(found[:RUA_MAX])


def _is_plain(address: str) -> bool:
    """Tells whether an address is one of atoms: of others, programs on the way have different opinions whose they are."""
    try:
        return parse_path(address).text == address and not _QUOTED.search(address)
    except AddressError:
        return False


def _disposition(word: str | None) -> Disposition | None:
    return next((one for one in Disposition if word is not None and one.word == word.lower()), None)


def _percent(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,3}", text) and int(text) <= 100 else 100
