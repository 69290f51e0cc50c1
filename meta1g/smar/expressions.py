r"""Expressions of an access map: which tags one answers for, and whether it lets strangers send anywhere.

    ^from:  ^(from|to):  ^cert(issuer|subject):  ^from:a|^to:b  ^dnsbl\d:

Pure.  Ref: docs/maps.md, "regex".
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from meta1g.conf.access import KeyKind, TagRow, certificate_key
from meta1g.maps.lookup import access_keys, client_keys, domain_keys
from meta1g.maps.regexmap import Expression

#: Tags of one expression.  Our choice.
EXPRESSION_TAGS_MAX: Final = 100
#: Groups inside of each other before the colon of a tag.  Our choice.
DEPTH_MAX: Final = 30
_START: Final = re.compile(r"\A(?:\(\?i\)|\^|\\A)+")
_WORD: Final = re.compile(r"\w+")
_COLON: Final = re.compile(r"\\?:(?![?*+{])")
_GROUP: Final = re.compile(r"\((?!\?)|\(\?(?:i?:|P?<\w+>)")
_DIGIT: Final = re.compile(r"(?:\\d|\[[\d-]+\])(?:\+|\{[\d,]+\})?", re.ASCII)
_PIECE: Final = re.compile(r"\\.|\[(?:\\.|[^\\])(?:\\.|[^\]\\])*\]|.", re.DOTALL)
_REPEATS: Final = ("?", "*", "+", "{")

#: Clients and domains that have nothing to do with each other: who means two of them means everybody.
_CLIENTS: Final = (
    "5.101.17.201", "23.203.94.18", "41.77.139.6", "66.31.208.77", "83.149.61.12", "109.206.37.92", "150.19.83.241",
    "185.93.46.118", "203.191.72.5", "2a00:9f4e:71::25", "2607:d8a1:3c::7", "240e:6b2:910::41",
)  # fmt: skip
_ADDRESSES: Final = (
    "b7trx@mail.kqzv-one.com", "h-ufo@mx7.wub-two.org", "n.okq@a.jyxo-three.net", "svwy@mail.flim-four.de",
    "zelq4@smtp.vroq-five.com", "e1cu@mx1.grel-six.fr",
)  # fmt: skip
_ENOUGH: Final = 2


def _parts(address: str) -> tuple[str, str]:
    local, _, domain = address.partition("@")
    return local, domain


_SAMPLES: Final[Mapping[KeyKind, Sequence[str]]] = {
    KeyKind.CLIENT: _CLIENTS,
    KeyKind.NAME: tuple(address.partition("@")[2] for address in _ADDRESSES),
    KeyKind.ADDRESS: _ADDRESSES,
    KeyKind.CERTIFICATE: (
        "CN=R11,O=Let's Encrypt,C=US",
        "CN=RapidSSL TLS RSA CA G1,O=DigiCert Inc",
        "CN=a.example",
        "CN=b.test",
    ),
}
#: The keys that the access map is asked for one of the samples.
_KEYS: Final[Mapping[KeyKind, Callable[[str, str], Iterable[str]]]] = {
    KeyKind.CLIENT: lambda client, _delimiter: client_keys(client),
    KeyKind.NAME: lambda domain, _delimiter: domain_keys(domain),
    KeyKind.ADDRESS: lambda address, delimiter: access_keys(*_parts(address), delimiter),
    KeyKind.CERTIFICATE: lambda name, _delimiter: (certificate_key(name),),
}


def tags_of(expression: str) -> list[str] | None:
    """Gives the tags that an expression begins with, without their colons; None if they cannot be told.

    Args:
        expression: a right one, without the slashes around it.
    """
    found = list(itertools.islice(_tags("", expression, 0), EXPRESSION_TAGS_MAX + 1))
    if None in found or len(found) > EXPRESSION_TAGS_MAX:
        return None
    return list(dict.fromkeys(tag.lower() for tag in found if tag is not None))


def _tags(before: str, text: str, depth: int) -> Iterator[str | None]:
    """Gives the tag of each alternative; before is the part of it that was read already."""
    for one in _alternatives(text):
        rest = one if before else _START.sub("", one)
        word = _WORD.match(rest)
        tag, rest = (before + word[0], rest[word.end() :]) if word else (before, rest)
        group, digit = _GROUP.match(rest), _DIGIT.match(rest)
        if tag and _COLON.match(rest):
            yield tag
        elif tag and digit and depth < DEPTH_MAX:
            yield from _tags(f"{tag}0", rest[digit.end() :], depth + 1)
        elif group and depth < DEPTH_MAX and not rest.startswith(_REPEATS, end := _end_of_group(rest)):
            for inner in _alternatives(rest[group.end() : end - 1]):
                yield from _tags(tag, inner + rest[end:], depth + 1)
        else:
            yield None


def opens_relay(expression: Expression, row: TagRow, delimiter: str) -> bool:
    """Tells whether `relay` at an expression lets strangers send anywhere: unrelated keys of the tag match, or the null path.

    Args:
        expression: the compiled expression.
        row: a tag that it answers for.
        delimiter: separates user and detail.
    """
    samples = _SAMPLES.get(row.key, ())
    met = [one for one in samples if any(expression.search(f"{row.tag}:{key}") for key in _KEYS[row.key](one, delimiter))]
    return len(met) >= _ENOUGH or (row.tag == "from" and expression.search("from:<>") is not None)


def _alternatives(text: str) -> list[str]:
    """Splits an expression at the bars outside of groups."""
    found, depth = [""], 0
    for match in _PIECE.finditer(text):
        depth += (match[0] == "(") - (match[0] == ")")
        if match[0] == "|" and not depth:
            found.append("")
        else:
            found[-1] += match[0]
    return found


def _end_of_group(text: str) -> int:
    """Gives the position behind the group that a text begins with."""
    depth = 0
    for match in _PIECE.finditer(text):
        depth += (match[0] == "(") - (match[0] == ")")
        if not depth:
            return match.end()
    return len(text)
