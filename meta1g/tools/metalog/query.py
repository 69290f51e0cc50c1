"""What is looked for: criteria, and the lines that meet them.

Pure.  Ref: docs/metalog.md, "What can be asked for".
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.ids import is_id, split_rcpt_id
from meta1g.base.mailbox import bare
from meta1g.tools.metalog.lines import LogLine

Same = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that a message or session has to have.

    Args:
        value: what is asked for, in lower case.
        keys: how each key of a line is compared with it.
        needle: a part of every line that meets it, as the line spells it, in lower case.
        rcpt_idx: of this recipient of a transaction, empty for all.
    """

    value: str
    keys: Mapping[str, Same]
    needle: str
    rcpt_idx: str = ""

    def meets(self, line: LogLine) -> bool:
        """Tells whether a line has what is asked for."""
        return any(key in line.keys and same(line.keys[key].lower(), self.value) for key, same in self.keys.items())

    def names(self, rcpt_idx: str, rcpt: str) -> bool:
        """Tells whether it asks for this recipient of a message."""
        same = self.keys.get("rcpt")
        return rcpt_idx == self.rcpt_idx if self.rcpt_idx else same is not None and same(rcpt.lower(), self.value)


def _equal(found: str, value: str) -> bool:
    return found == value


def _address(found: str, value: str) -> bool:
    """Compares addresses; `@domain` stands for all of a domain."""
    found = bare(found)
    return found == value or (value.startswith("@") and found.endswith(value))


def _addresses(found: str, value: str) -> bool:
    return any(_address(one, value) for one in found.split())


def _at_host(found: str, value: str) -> bool:
    """Compares a domain with that of an address."""
    return bare(found).rpartition("@")[2] == value


def _host(found: str, value: str) -> bool:
    """Compares hosts: a name, an address, or `name[address]`, without a dot at its end."""
    name, _, address = found.rstrip("]").partition("[")
    return value in (found, name.rstrip("."), address)


_MAIL: Final = {"mail": _address, "owner": _address}
_RCPT: Final = {"rcpt": _address, "orig_rcpt": _address, "members": _addresses}
_CLIENT: Final = {"client": _host, "client_name": _host, "ehlo": _host}
_SERVER: Final = {"server": _host, "server_name": _host, "relay": _host}
#: What each option looks at.
KINDS: Final[Mapping[str, Mapping[str, Same]]] = {
    "session": {"ss_sess": _equal, "da_sess": _equal},
    "id": {"ss_ta": _equal, "da_ta": _equal, "cdb_id": _equal},
    "msgid": {"msgid": _address},
    "sender": _MAIL,
    "rcpt": _RCPT,
    "client": _CLIENT,
    "dest": {**_SERVER, "rcpt": _at_host},
}
#: A file name of a content, or a recipient id, in the words of people.
_BRACKETS: Final = re.compile(r"\[(.*)\]")


def criterion(kind: str, text: str) -> Criterion:
    """Makes a criterion of an option.

    Args:
        kind: one of KINDS.
        text: what the operator wrote.
    """
    found = _BRACKETS.fullmatch(text)
    value = bare(found[1] if found else text)
    ta_id, rcpt_idx = _ids_of(value) if kind == "id" else (value, "")
    return Criterion(_normal(ta_id), KINDS[kind], _needle(ta_id), rcpt_idx)


def guess(text: str) -> Criterion:
    """Makes a criterion of a word: an id, an address, a Message-ID, an IP address, or the name of a host or domain."""
    value = bare(text)
    ta_id, rcpt_idx = _ids_of(value)
    if is_id(ta_id):
        return Criterion(ta_id.lower(), {**KINDS["session"], **KINDS["id"]}, ta_id.lower(), rcpt_idx)
    if not value:  # <>, the sender of reports
        return criterion("sender", value)
    if "@" in value:
        return Criterion(value.lower(), {**_MAIL, **_RCPT, **KINDS["msgid"]}, _needle(value))
    found = _BRACKETS.fullmatch(value)
    value = found[1] if found else value
    by_host: dict[str, Same] = {**_CLIENT, **_SERVER, "mail": _at_host, "rcpt": _at_host, "msgid": _at_host}
    return Criterion(_normal(value), by_host, _needle(value))


def _ids_of(value: str) -> tuple[str, str]:
    """Gives transaction and index of a recipient id; without an index for another id, in upper case; anything else as it is."""
    upper = value.upper()
    try:
        ta_id, rcpt_idx = split_rcpt_id(upper.replace("-X", "-x"))
    except ValueError:
        return (upper if is_id(upper) else value), ""
    return ta_id, str(rcpt_idx)


def _normal(value: str) -> str:
    """Gives a value in lower case; an IP address as the log spells it."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        return value.lower()


def _needle(value: str) -> str:
    """Gives the longest part of a value that no format escapes."""
    parts = re.split(r'[^ -~]|[,"\\]', _normal(value))
    return max(parts, key=len).lower()


def filters(criteria: Iterable[Criterion]) -> Callable[[bytes], bool]:
    """Gives a quick test: a line that it refuses meets none of the criteria."""
    needles = [one.needle.encode("ascii") for one in criteria]

    def test(raw: bytes) -> bool:
        lowered = raw.lower()
        return any(needle in lowered for needle in needles)

    return test
