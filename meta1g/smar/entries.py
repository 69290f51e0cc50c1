"""Entries of maps, looked at before mail meets them: keys that are never asked for, right-hand sides that say nothing.

One checker for mapchk, createmap, smconf, sm.check and `mcp -c`.  Right-hand sides are read by those who use them at work
(access.read_rhs, route.parse_value, alias.read_member, conf.snippet); what a key may be stands in keys.py.

Pure.  Ref: MeTA1 README, chapters on maps (keys and values modelled on).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import PermError
from meta1g.conf.defs_session import SNIPPETS
from meta1g.conf.errors import ConfigError
from meta1g.conf.snippet import parse_snippet
from meta1g.conf.values import shown, suggest, too_wide
from meta1g.maps.cidrmap import NetworkTable, split_tag
from meta1g.maps.regexmap import read_rule
from meta1g.maps.rhs import macros_in
from meta1g.smar.access import DNSBL, RHS_WORDS, Action, Tag, read_rhs
from meta1g.smar.alias import Aliases, read_member, split_members
from meta1g.smar.keys import (
    address_problem,
    client_problem,
    domain_problem,
    mailbox_problem,
    resolve_problem,
    route_problem,
)
from meta1g.smar.limits import ALIAS_MEMBERS_MAX, PROTECTED_MAX_CHARS
from meta1g.smar.route import RouteDefaults, parse_value
from meta1g.smtp.address import AddressError

ACCESS: Final = "access_map"
MAILERTABLE: Final = "mailertable"
ALIASES: Final = "aliases"
USERS: Final = "local_user_map"
#: Uses by the names that their files usually have.
NAMED: Final[Mapping[str, str]] = {
    "access": ACCESS, "mailertable": MAILERTABLE, "aliases": ALIASES, "users": USERS, USERS: USERS, ACCESS: ACCESS,
}  # fmt: skip

#: What a mailertable means without a configuration.
DEFAULTS: Final = RouteDefaults(25, "lmtpsock", Path("/"))
#: What only a mailertable has on its right-hand side.
_ROUTE: Final = re.compile(r"(?:lmtp|esmtp|smtp):|\d+\^|\[[^\]]*\]$", re.IGNORECASE)
_NUMBERED: Final = re.compile(rf"{DNSBL}(\d{{1,3}})", re.ASCII)
_EXPRESSION_TAG: Final = re.compile(r"/\^?\(?([a-z_]+\d*):", re.IGNORECASE)
#: Controls, what no UTF-8 made, and characters that nobody sees (format, byte order mark).
_UNSEEN: Final = re.compile(
    r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ud800-\udfff]"
)
_NO_USER: Final = ("reject", "discard", "no", "unknown", "error")
_ALIAS_MACROS: Final = ("user", "detail", "domain", "key")
_SAMPLE: Final = "x"


@dataclass(frozen=True, slots=True)
class MapEntry:
    """One entry: `file:line` or file, key as written, value."""

    where: str
    key: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRules:
    """What a map is used for.

    Args:
        use: one of the keywords above; empty if it is not known: then each entry shows what it is for.
        kind: type of the map.
        localpart: local parts alone are asked for.
        delimiter: separates user and detail.
        lists: number of DNS lists; None if it is not known.
    """

    use: str = ""
    kind: str = "text"
    localpart: bool = True
    delimiter: str = "+"
    lists: int | None = None


_KeyCheck = Callable[[str, EntryRules], str]


def _address(key: str, rules: EntryRules) -> str:
    return address_problem(key, rules.delimiter)


def _sender(key: str, rules: EntryRules) -> str:
    return address_problem(key, rules.delimiter, null=True)


def _client(key: str, _rules: EntryRules) -> str:
    return client_problem(key)


def _client_or_domain(key: str, _rules: EntryRules) -> str:
    return client_problem(key) and domain_problem(key)


def _anything(_key: str, _rules: EntryRules) -> str:
    return ""


#: Checks of the keys of the access map by tag, without its colon.
TAGS: Final[Mapping[str, _KeyCheck]] = {
    Tag.CLTADDR[:-1]: _client,
    Tag.CLTNAME[:-1]: lambda key, _rules: domain_problem(key),
    Tag.CLTRESOLVE[:-1]: lambda key, _rules: resolve_problem(key),
    Tag.FROM[:-1]: _sender,
    Tag.TO[:-1]: _address,
    Tag.PROTECTED[:-1]: _address,
    "ehlo": _anything,
    "certissuer": _anything,
    "certsubject": _anything,
    "smtps_session_conf": _client_or_domain,
    "smtpc_session_conf": _client_or_domain,
    "smtpc_rcpt_conf": _address,
}
#: Tags whose keys are IP addresses: those of a map of networks.
_NETWORK_TAGS: Final = (Tag.CLTADDR[:-1], "smtps_session_conf", "smtpc_session_conf")


def check_entries(entries: Iterable[MapEntry], uses: Sequence[EntryRules]) -> Iterator[str]:
    """Checks a map.

    Args:
        entries: all entries.
        uses: what the map is used for, of the same kind; an entry has to be right for one of them.

    Returns:
        A text for each wrong entry: `file:line: key KEY: what is wrong; what to write`.
    """
    first: dict[str, str] = {}
    for entry in entries:
        key = entry.key.lower()
        before = first.setdefault(key, entry.where)
        wrong = _characters(entry)
        if not wrong and before != entry.where:
            wrong = f"is already at {before}; remove one"
        wrong = wrong or _wrong(entry, key, uses)
        if wrong:
            yield f"{entry.where}: key {shown(entry.key)}: {wrong}"


def _characters(entry: MapEntry) -> str:
    """Names a character that stands in no key and no value."""
    match = _UNSEEN.search(entry.key) or _UNSEEN.search(entry.value)
    if match is None:
        return ""
    number = ord(match[0])
    if number >= 0xD800 and number < 0xE000:
        return f"byte {number & 0xFF:#04x} is no UTF-8; save the file as UTF-8"
    return f"has a character that is not seen, U+{number:04X}; remove it"


def _wrong(entry: MapEntry, key: str, uses: Sequence[EntryRules]) -> str:
    """Gives what is wrong for all uses; what is wrong for the first one if they differ."""
    tag = split_tag(key)[0]
    tagged = [rules for rules in uses if tag and rules.use == ACCESS]
    said = [_wrong_for(rules, key, entry.value.strip()) for rules in tagged or uses]
    return said[0] if said and all(said) else ""


def _wrong_for(rules: EntryRules, key: str, value: str) -> str:
    if rules.kind == "regex":
        return _expression(rules, key, value)
    if len(key) > 1 and key.endswith("."):
        return f"ends with a dot and is never asked for; write {shown(key.rstrip('.'))}"
    use = rules.use or _guess(key, value)
    if not use:
        return ""
    if rules.kind == "cidr":
        return _network(use, rules, key, value)
    return KEYS[use](key, rules) or VALUES[use](key, value, rules)


def _guess(key: str, value: str) -> str:
    """Tells what an entry of a map of unknown use is for."""
    if split_tag(key)[0]:
        return ACCESS
    return MAILERTABLE if _ROUTE.match(value) and "@" not in key else ""


def _expression(rules: EntryRules, key: str, value: str) -> str:
    """Checks an entry of a map of regular expressions; groups that it puts in stand for anything."""
    try:
        read_rule(key)
    except ValueError as error:
        return str(error)
    match = _EXPRESSION_TAG.match(key)
    use = rules.use or (ACCESS if match else MAILERTABLE if _ROUTE.match(value) else "")
    if not use or (use == ACCESS and match is None):
        return ""
    tagged = f"{match[1].lower()}:" if match is not None and use == ACCESS else ""
    unknown = _unknown_tag(tagged[:-1], rules) if tagged else ""
    return unknown or VALUES[use](f"{tagged}{_SAMPLE}", re.sub(r"\$\{\d+\}", _SAMPLE, value), rules)


def _network(use: str, rules: EntryRules, key: str, value: str) -> str:
    tag, network = split_tag(key)
    name = tag[:-1]
    if use != ACCESS or (name not in _NETWORK_TAGS and not _NUMBERED.fullmatch(name)):
        return f"a map of networks is asked for {' and '.join(f'{one}:' for one in _NETWORK_TAGS)} of the access map only"
    try:
        NetworkTable().add(network, value)
    except ValueError as error:
        return f"{error}; write cltaddr:192.0.2.0/24"
    wide = too_wide([network]) if _decides(value, Action.RELAY) else ""
    return wide or _access_value(key, value, rules)


# -- the access map


def _access_key(key: str, rules: EntryRules) -> str:
    if key in TAGS or not split_tag(key)[0]:
        return _nothing_behind(key) if key in TAGS else f"has no tag; write {_tag_for(key)}:{shown(key)}"
    tag, _, rest = key.partition(":")
    unknown = _unknown_tag(tag, rules)
    if unknown:
        return unknown
    if not rest:
        return _nothing_behind(tag)
    return TAGS.get(tag, _client)(rest, rules)


def _nothing_behind(tag: str) -> str:
    return f"there is nothing behind the tag {tag}:; write what it is for, without a blank"


def _tag_for(key: str) -> str:
    if not client_problem(key):
        return "cltaddr"
    return "from" if "@" in key else "cltname"


def _unknown_tag(tag: str, rules: EntryRules) -> str:
    match = _NUMBERED.fullmatch(tag)
    if match is not None:
        known = rules.lists is None or int(match[1]) < rules.lists
        return "" if known else f"there is no DNS list {match[1]}; the first dnsbl section is {DNSBL}0"
    return "" if tag in TAGS else f"unknown tag {shown(tag)}:; {suggest(tag, [f'{one}:' for one in TAGS])}"


def _access_value(key: str, value: str, _rules: EntryRules) -> str:
    tag, _, rest = key.partition(":")
    if not value:
        return "has no value; write " + (
            f"{', '.join(RHS_WORDS)} or error:550 5.7.1 TEXT" if tag not in SNIPPETS else "options"
        )
    if tag in SNIPPETS:
        try:
            parse_snippet(value, tag, shown(key))
        except ConfigError as error:
            return "; ".join(problem.message for problem in error.problems) or error.cause
        return ""
    if f"{tag}:" == Tag.PROTECTED:
        return _writers(value)
    try:
        decision = read_rhs(value)
    except ValueError as error:
        return str(error)
    if not value.isascii():
        return "a reply has no characters beyond ASCII; write it without"
    if decision.action is Action.RELAY and (f"{tag}:" == Tag.CLTRESOLVE or (f"{tag}:", rest) == (Tag.FROM, "<>")):
        return "relay would let everybody send anywhere (open relay); write ok, and relay for addresses"
    return ""


def _decides(value: str, action: Action) -> bool:
    try:
        return read_rhs(value).action is action
    except ValueError:
        return False


def _writers(value: str) -> str:
    """Checks the list of those who may write to a protected recipient."""
    if len(value) > PROTECTED_MAX_CHARS:
        return f"the list is longer than {PROTECTED_MAX_CHARS} characters; name domains or networks"
    for word in value.lower().replace(",", " ").split():
        wrong = _writer(word)
        if wrong:
            return wrong
    return ""


def _writer(word: str) -> str:
    if word.endswith("@"):
        return f"{shown(word)}: write the whole address"
    try:
        NetworkTable().add(word, "yes")
    except ValueError as error:
        is_network = "/" in word or not word.strip("0123456789.:")
        return f"{error}; write an address, domain or network" if is_network else address_problem(word)
    return ""


# -- the other maps


def _route_value(_key: str, value: str, _rules: EntryRules) -> str:
    try:
        parse_value(value, DEFAULTS)
    except PermError as error:
        return error.cause
    return ""


def _alias_key(key: str, rules: EntryRules) -> str:
    return mailbox_problem(key, rules.delimiter, catch_all=True) or _alone(key, rules)


def _user_key(key: str, rules: EntryRules) -> str:
    return mailbox_problem(key, rules.delimiter, catch_all=False) or _alone(key, rules)


def _alone(key: str, rules: EntryRules) -> str:
    if "@" in key or rules.localpart:
        return ""
    return f"a local part alone is not asked for; write {shown(key)}@DOMAIN, or set flags = {{ localpart }} in {rules.use}"


def _alias_value(key: str, value: str, _rules: EntryRules) -> str:
    for name in macros_in(value):
        if name not in _ALIAS_MACROS:
            return f"there is no macro ${{{shown(name)}}}; {suggest(name, _ALIAS_MACROS)}"
    members = split_members(re.sub(r"\$\{\w+\}", _SAMPLE, value))
    if not members:
        return "has no members; write addresses, separated by blanks or commas"
    if len(members) > ALIAS_MEMBERS_MAX:
        return f"has more than {ALIAS_MEMBERS_MAX} members; make several lists of it"
    domain = key.rpartition("@")[2] if "@" in key else "x.org"
    for member in members:
        try:
            read_member(member, domain)
        except AddressError as error:
            return f"member {shown(member)}: {error}"
    return ""


def _user_value(_key: str, value: str, _rules: EntryRules) -> str:
    word = value.lower().partition(":")[0]
    return f"{shown(value)}: every key is a user here, whatever its value; remove the entry" if word in _NO_USER else ""


KEYS: Final[Mapping[str, _KeyCheck]] = {
    ACCESS: _access_key,
    MAILERTABLE: lambda key, _rules: route_problem(key),
    ALIASES: _alias_key,
    USERS: _user_key,
}
VALUES: Final[Mapping[str, Callable[[str, str, EntryRules], str]]] = {
    ACCESS: _access_value,
    MAILERTABLE: _route_value,
    ALIASES: _alias_value,
    USERS: _user_value,
}


def loops(entries: Iterable[MapEntry], aliases: Aliases, delimiter: str = "+") -> Iterator[str]:
    """Gives the aliases that lead to nobody, since their members lead back to them.

    Args:
        entries: the entries of the map.
        aliases: what expands them.
        delimiter: separates user and detail.
    """
    for entry in entries:
        key = entry.key.lower()
        if key.startswith("@"):
            key = _SAMPLE + key
        text = aliases.dead_end(key.replace(f"{delimiter}*", f"{delimiter}{_SAMPLE}"))
        if text:
            yield f"{entry.where}: key {shown(entry.key)}: {text}; name an address that is no alias"
