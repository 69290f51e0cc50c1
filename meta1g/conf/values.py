"""Kinds of values: how a value is read, written and described.

A kind reads one value, ListOf and Flags take several.  What is wrong is a ValueError whose text says what would be right.

Pure.  Ref: meta1.conf(5), kinds of values; negated flags `dont_NAME` as in MeTA1, `no_NAME` and `!NAME` are ours.
"""

import ipaddress
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from meta1g.base import hostname, units
from meta1g.base.dataclass import dataclass

MODE_MAX: Final = 0o777
#: (uid_t)-1 and (gid_t)-1 mean "do not change".
ID_MAX: Final = 2**32 - 2
DOMAIN_MAX_CHARS: Final = 255
LABEL_MAX_CHARS: Final = 63
#: Longest text that an error message repeats.
SHOWN_MAX_CHARS: Final = 60
#: Names that an error message lists, and that are compared with a misspelt one; our choice.
LISTED_MAX: Final = 10
COMPARED_MAX: Final = 500
_NEAR: Final = 0.6

_INT: Final = re.compile(r"0x[0-9a-f]{1,16}|[0-9]{1,20}", re.ASCII | re.IGNORECASE)
_OCTAL: Final = re.compile(r"(?:0o)?[0-7]{1,7}", re.ASCII)
_BARE: Final = re.compile(r"[^\s{}=;,\"'#\\\x00-\x1f\x7f]+")
_LABEL: Final = re.compile(r"[\w-]+")
_NEGATIONS: Final = ("dont_", "no_", "!")
_BOOLS: Final = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class UnknownNameError(ValueError):
    """A flag that nobody knows; a lenient check leaves it out."""


class ValueKind(Protocol):
    """What all kinds can do.  Immutable."""

    @property
    def many(self) -> bool:
        """Whether the option takes a list."""
        ...

    @property
    def empty(self) -> Any:
        """The value of an option that is neither given nor has a default."""
        ...

    def parse(self, text: str) -> Any:
        """Reads one value.

        Raises:
            ValueError: it is wrong; the text says what would be right.
        """
        ...

    def combine(self, items: Sequence[Any]) -> Any:
        """Makes the option's value of what parse() gave for each value.

        Raises:
            ValueError: the values do not go together.
        """
        ...

    def words(self, value: Any) -> list[str]:
        """Gives the texts that parse() reads back, one for each value of the text."""
        ...

    def describe(self) -> str:
        """Says in a few words what the value may be."""
        ...


class Scalar:
    """Common part of the kinds that take one value.  Immutable."""

    __slots__ = ()
    many = False
    empty: Any = None

    def combine(self, items: Sequence[Any]) -> Any:
        """Gives the one value."""
        return items[0]

    def words(self, value: Any) -> list[str]:
        """Writes it."""
        return [str(value)]


@dataclass(frozen=True, slots=True)
class Text(Scalar):
    """Any text without control characters.

    Args:
        what: what it names, for descriptions.
        may_be_empty: an empty text is a value.
        blanks: blanks are allowed.
    """

    what: str = "text"
    may_be_empty: bool = False
    blanks: bool = True
    max_chars: int = 4096

    def parse(self, text: str) -> str:
        """Gives the text itself."""
        if not text and not self.may_be_empty:
            raise ValueError(f"is empty; give a {self.what}")
        if len(text) > self.max_chars:
            raise ValueError(f"{shown(text)} is too long; {self.max_chars} is the greatest number of characters")
        if any(ord(char) < ord(" ") or char == "\x7f" for char in text):
            raise ValueError("holds a control character; remove it")
        if not self.blanks and any(char.isspace() for char in text):
            raise ValueError(f"{shown(text)} holds a blank; a {self.what} has none")
        return text

    def describe(self) -> str:
        """Names what it is."""
        return self.what


@dataclass(frozen=True, slots=True)
class AbsolutePath(Scalar):
    """A path that begins with a slash."""

    def parse(self, text: str) -> str:
        """Gives the path as text."""
        path: str = Text("path").parse(text)
        if not path.startswith("/"):
            raise ValueError(f"{shown(path)} is relative; write the whole path, it begins with /")
        return path

    def describe(self) -> str:
        """Names the kind."""
        return "absolute path"


@dataclass(frozen=True, slots=True)
class Int(Scalar):
    """A number: decimal, octal with a leading 0, or hexadecimal with 0x, as in C."""

    low: int = 0
    high: int = 2**31 - 1

    def parse(self, text: str) -> int:
        """Reads the number."""
        if not _INT.fullmatch(text):
            raise ValueError(f"{shown(text)} is not a number")
        base = 16 if text[:2].lower() == "0x" else 8 if text[0] == "0" and len(text) > 1 else 10
        try:
            value = int(text, base)
        except ValueError:
            raise ValueError(f"{shown(text)} is not an octal number; leave out the 0 in front") from None
        _bounds(value, self.low, self.high, str, text)
        return value

    def describe(self) -> str:
        """Gives the bounds."""
        return f"number, {self.low} to {self.high}"


@dataclass(frozen=True, slots=True)
class Mode(Scalar):
    """Permissions, an octal number."""

    def parse(self, text: str) -> int:
        """Reads the octal number."""
        if not _OCTAL.fullmatch(text) or int(text, 8) > MODE_MAX:
            raise ValueError(f"{shown(text)} are no permissions; write an octal number up to 0777 such as 0660")
        return int(text, 8)

    def words(self, value: Any) -> list[str]:
        """Writes it in octal."""
        return [f"{value:04o}"]

    def describe(self) -> str:
        """Names the kind."""
        return "permissions, octal"


@dataclass(frozen=True, slots=True)
class Bool(Scalar):
    """`true` or `false`, also yes no on off 1 0."""

    def parse(self, text: str) -> bool:
        """Reads it."""
        value = _BOOLS.get(text.lower())
        if value is None:
            raise ValueError(f"{shown(text)} is neither true nor false")
        return value

    def words(self, value: Any) -> list[str]:
        """Writes it."""
        return ["true" if value else "false"]

    def describe(self) -> str:
        """Names the kind."""
        return "true or false"


@dataclass(frozen=True, slots=True)
class Time(Scalar):
    """A time in seconds: `5m3s`, or bare seconds."""

    low: int = 0
    high: int = 366 * 86400

    def parse(self, text: str) -> int:
        """Gives seconds."""
        value = units.parse_time_s(text[:SHOWN_MAX_CHARS])
        _bounds(value, self.low, self.high, units.format_time_s, text)
        return value

    def words(self, value: Any) -> list[str]:
        """Writes it with units."""
        return [units.format_time_s(value)]

    def describe(self) -> str:
        """Gives the bounds."""
        return f"time, {units.format_time_s(self.low)} to {units.format_time_s(self.high)}"


@dataclass(frozen=True, slots=True)
class Size(Scalar):
    """A size in bytes: `10MB`, or bare bytes."""

    low: int = 0
    high: int = 1 << 50

    def parse(self, text: str) -> int:
        """Gives bytes."""
        value = units.parse_size_bytes(text[:SHOWN_MAX_CHARS])
        _bounds(value, self.low, self.high, units.format_size_bytes, text)
        return value

    def words(self, value: Any) -> list[str]:
        """Writes it with its unit."""
        return [units.format_size_bytes(value)]

    def describe(self) -> str:
        """Gives the bounds."""
        return f"size, {units.format_size_bytes(self.low)} to {units.format_size_bytes(self.high)}"


@dataclass(frozen=True, slots=True)
class Choice(Scalar):
    """One of several words, in any case."""

    names: tuple[str, ...]

    def parse(self, text: str) -> str:
        """Gives the word in lower case."""
        word = text.lower()
        if word not in self.names:
            raise ValueError(f"{shown(text)} is not known; {suggest(text, self.names)}")
        return word

    def describe(self) -> str:
        """Lists the words."""
        return f"one of {', '.join(self.names)}"


@dataclass(frozen=True, slots=True)
class IpAddress(Scalar):
    """An IP address."""

    def parse(self, text: str) -> str:
        """Gives its normal form."""
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            raise ValueError(f"{shown(text)} is not an IP address such as 192.0.2.1 or 2001:db8::1") from None

    def describe(self) -> str:
        """Names the kind."""
        return "IP address"


@dataclass(frozen=True, slots=True)
class Ipv6Address(Scalar):
    """An IPv6 address."""

    def parse(self, text: str) -> str:
        """Gives its normal form."""
        try:
            return str(ipaddress.IPv6Address(text))
        except ValueError:
            raise ValueError(f"{shown(text)} is not an IPv6 address such as 2001:db8::1") from None

    def describe(self) -> str:
        """Names the kind."""
        return "IPv6 address"


@dataclass(frozen=True, slots=True)
class Network(Scalar):
    """An IP address or a network with its prefix length."""

    def parse(self, text: str) -> str:
        """Gives its normal form; an address keeps no prefix length."""
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{shown(text)} is not an IP address or network such as 192.0.2.0/24") from None
        if network.num_addresses == 1:
            return str(network.network_address)
        if ipaddress.ip_address(text.partition("/")[0]) != network.network_address:
            raise ValueError(f"{shown(text)} has bits behind its prefix; did you mean {network}?")
        return str(network)

    def describe(self) -> str:
        """Names the kind."""
        return "IP address or network"


@dataclass(frozen=True, slots=True)
class Domain(Scalar):
    """A domain name; with dotted, `.example.org` stands for the subdomains; with root, `.` for all domains.

    With host it is the name of a machine as SMTP demands it: nothing but ASCII, and no underscore.
    """

    dotted: bool = False
    root: bool = False
    host: bool = False

    def parse(self, text: str) -> str:
        """Gives the name in lower case without a dot at its end."""
        if self.root and text == ".":
            return text
        name = text.lower().removesuffix(".")
        labels = (name[1:] if self.dotted and name.startswith(".") else name).split(".")
        if len(name) > DOMAIN_MAX_CHARS or not all(_LABEL.fullmatch(one) and len(one) <= LABEL_MAX_CHARS for one in labels):
            raise ValueError(f"{shown(text)} is not a domain such as mx.example.org")
        if self.host and not hostname.is_well_formed(name):
            raise ValueError(f"{shown(text)} is not the name of a machine; {hostname.FORM}, such as mx.example.org")
        return name

    def describe(self) -> str:
        """Names the kind."""
        return "domain, .domain for its subdomains" if self.dotted else "domain"


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of values of one kind; a single value needs no braces."""

    item: ValueKind
    many = True
    empty = ()

    def parse(self, text: str) -> Any:
        """Reads one item."""
        return self.item.parse(text)

    def combine(self, items: Sequence[Any]) -> tuple[Any, ...]:
        """Gives a tuple."""
        return tuple(items)

    def words(self, value: Any) -> list[str]:
        """Writes the items."""
        return [word for item in value for word in self.item.words(item)]

    def describe(self) -> str:
        """Describes an item."""
        return f"list of: {self.item.describe()}"


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: its name, whether it is set by default, what it does, S if MeTA1 has it."""

    name: str
    default: bool
    meaning: str
    origin: str = "own"


@dataclass(frozen=True, slots=True)
class Flags:
    """A set of flags; `dont_NAME`, `no_NAME` or `!NAME` clears one that is set by default."""

    flags: tuple[Flag, ...]
    many = True

    @property
    def empty(self) -> Any:
        """The flags that are set by default."""
        return frozenset(flag.name for flag in self.flags if flag.default)

    def parse(self, text: str) -> tuple[str, bool]:
        """Gives the name in lower case and whether it is set."""
        word = text.lower()
        names = [flag.name for flag in self.flags]
        if word in names:
            return word, True
        for prefix in _NEGATIONS:
            if word.startswith(prefix) and word.removeprefix(prefix) in names:
                return word.removeprefix(prefix), False
        raise UnknownNameError(f"unknown flag {shown(text)}; {suggest(_without_negation(word), names)}")

    def combine(self, items: Sequence[tuple[str, bool]]) -> Any:
        """Gives the set of flags."""
        said = self.said(items)
        return (self.empty | {name for name, on in said.items() if on}) - {name for name, on in said.items() if not on}

    @staticmethod
    def said(items: Sequence[tuple[str, bool]]) -> Mapping[str, bool]:
        """Gives what is said of each flag that is named."""
        said: dict[str, bool] = {}
        for name, on in items:
            if said.setdefault(name, on) != on:
                raise ValueError(f"flag {name} is both set and cleared; remove one")
        return said

    def words(self, value: Any) -> list[str]:
        """Writes all flags that are set, and those that are cleared against their default."""
        return [
            flag.name if flag.name in value else f"dont_{flag.name}"
            for flag in self.flags
            if flag.name in value or flag.default
        ]

    def changed(self, value: frozenset[str]) -> list[str]:
        """Writes only what differs from the defaults."""
        return [
            flag.name if flag.name in value else f"dont_{flag.name}"
            for flag in self.flags
            if (flag.name in value) != flag.default
        ]

    def describe(self) -> str:
        """Lists the flags."""
        return f"flags: {', '.join(flag.name for flag in self.flags)}"


def _without_negation(word: str) -> str:
    for prefix in _NEGATIONS:
        if word.startswith(prefix):
            return word.removeprefix(prefix)
    return word


def _bounds(value: int, low: int, high: int, write: Any, text: str) -> None:
    if not low <= value <= high:
        raise ValueError(f"{shown(text)} is out of bounds; {write(low)} to {write(high)} is possible")


def quote(text: str) -> str:
    """Writes a text as a value: bare if it may be, else in quotation marks."""
    if _BARE.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def shown(text: str) -> str:
    """Gives a text for an error message: short and printable."""
    cut = text if len(text) <= SHOWN_MAX_CHARS else text[:SHOWN_MAX_CHARS] + "..."
    return "".join(char if char.isprintable() else "?" for char in cut) or '""'


def nearest(word: str, names: Iterable[str]) -> str:
    """Gives the known name that a misspelt one is nearest to; empty if none is near."""
    from difflib import get_close_matches  # for the few that misspell something

    lowered = {name.lower(): name for name in reversed(list(itertools.islice(names, COMPARED_MAX)))}
    near = get_close_matches(word.lower()[:SHOWN_MAX_CHARS], list(lowered), n=1, cutoff=_NEAR)
    return lowered[near[0]] if near else ""


def suggest(word: str, names: Iterable[str]) -> str:
    """Gives advice on a misspelt name: the nearest known one, or all if they are few."""
    known = list(itertools.islice(names, COMPARED_MAX))
    if near := nearest(word, known):
        return f"did you mean {near}?"
    if len(known) == 1:
        return f"only {known[0]} is possible"
    if len(known) > LISTED_MAX:
        known[LISTED_MAX:] = [f"{len(known) - LISTED_MAX} others"]
    return f"possible are {', '.join(known)}" if known else "nothing is possible here"
