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
from meta1g.conf.access import DNSBL, TAGS, Action, KeyKind, RhsKind, TagRow, check_rhs, parse_decision, row_of
from meta1g.conf.errors import ConfigError
from meta1g.conf.openrelay import too_wide
from meta1g.conf.snippet import parse_snippet
from meta1g.conf.tlsconf import pairs_of
from meta1g.conf.values import shown, suggest
from meta1g.maps.cidrmap import NetworkTable, split_tag
from meta1g.maps.regexmap import Expression, read_rule
from meta1g.maps.rhs import macros_in
from meta1g.smar import tlsmap
from meta1g.smar.alias import Aliases, read_member, split_members
from meta1g.smar.authsender import ANY, check_senders
from meta1g.smar.expressions import opens_relay, tags_of
from meta1g.smar.keys import (
    address_problem,
    client_problem,
    domain_problem,
    mailbox_problem,
    resolve_problem,
    route_problem,
)
from meta1g.smar.limits import ALIAS_MEMBERS_MAX
from meta1g.smar.route import RouteDefaults, parse_value
from meta1g.smtp.address import AddressError

ACCESS: Final = "access_map"
MAILERTABLE: Final = "mailertable"
ALIASES: Final = "aliases"
USERS: Final = "local_user_map"
DESTINATIONS: Final = "conf_map"
SERVER_NAMES: Final = "server_names"
POLICIES: Final = "tls_policy"
SENDERS: Final = "auth_sender"
PASSWORDS: Final = "password_map"
#: Uses by the names that their files usually have.
NAMED: Final[Mapping[str, str]] = {
    "access": ACCESS, "mailertable": MAILERTABLE, "aliases": ALIASES, "users": USERS, USERS: USERS, ACCESS: ACCESS,
    DESTINATIONS: DESTINATIONS, POLICIES: POLICIES, SENDERS: SENDERS, PASSWORDS: PASSWORDS,
}  # fmt: skip

#: What a mailertable means without a configuration.
DEFAULTS: Final = RouteDefaults(25, "lmtpsock", Path("/"))
#: What only a mailertable has on its right-hand side.
_ROUTE: Final = re.compile(r"(?:lmtp|esmtp|smtp):|\d+\^|\[[^\]]*\]$", re.IGNORECASE)
#: What only aliases have there, elsewhere: programs and list files.
_PROGRAMS: Final = ("|", '"|', ":include:")
_NUMBERED: Final = re.compile(rf"{DNSBL.tag}(\d{{1,3}})", re.ASCII)
#: A colon in an expression, but that of `(?:`.
_ANY_TAG: Final = re.compile(r"(?<!\(\?)(?<!\(\?i):", re.IGNORECASE)
#: Controls, what no UTF-8 made, and characters that nobody sees (format, byte order mark).
_UNSEEN: Final = re.compile(
    r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ud800-\udfff]"
)
_FROM: Final = "from"
#: How a distinguished name begins.
_ATTRIBUTE: Final = re.compile(r"[\w.-]+=")
_NO_USER: Final = ("reject", "discard", "no", "unknown", "error")
_ALIAS_MACROS: Final = ("user", "detail", "domain", "key")
_SAMPLE: Final = "x"
_GROUP: Final = re.compile(r"\$\{\d+\}")
_OPEN_RELAY: Final = "relay would let everybody send anywhere (open relay); write ok, and relay for addresses of clients"


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
        dane: TLSA records can be asked for; None if that is not known.
    """

    use: str = ""
    kind: str = "text"
    localpart: bool = True
    delimiter: str = "+"
    lists: int | None = None
    dane: bool | None = None


_KeyCheck = Callable[[str, EntryRules], str]


def _address(key: str, rules: EntryRules) -> str:
    return address_problem(key, rules.delimiter, null=True)


def _domain(key: str, _rules: EntryRules) -> str:
    return domain_problem(key)


def _hello(key: str, _rules: EntryRules) -> str:
    return route_problem(key) if key.startswith("[") else domain_problem(key)


def _client(key: str, _rules: EntryRules) -> str:
    return client_problem(key)


def _client_or_domain(key: str, _rules: EntryRules) -> str:
    return "" if key.startswith("unix:/") else client_problem(key) and domain_problem(key)


def _certificate(key: str, _rules: EntryRules) -> str:
    if key.startswith("/"):
        return f"is no distinguished name; write {KeyKind.CERTIFICATE.value}"
    if not _ATTRIBUTE.match(key):
        return f"is no distinguished name; write cn={shown(key)}, or what else the log has for cert_subject or cert_issuer"
    wrong = re.search(r"\+(?![0-9a-f]{2})|[\"<>()]", key)
    return f"has {wrong[0]}; write +{ord(wrong[0]):02x} for it" if wrong else ""


#: Checks of the keys of the access map.
TAGGED: Final[Mapping[KeyKind, _KeyCheck]] = {
    KeyKind.CLIENT: _client,
    KeyKind.NAME: _domain,
    KeyKind.RESOLVED: lambda key, _rules: resolve_problem(key),
    KeyKind.HELLO: _hello,
    KeyKind.ADDRESS: _address,
    KeyKind.HOST: _client_or_domain,
    KeyKind.CERTIFICATE: _certificate,
}
#: What stands behind tags whose keys are IP addresses: those of a map of networks.
_NETWORKS: Final = (KeyKind.CLIENT, KeyKind.HOST)


def check_entries(entries: Iterable[MapEntry], uses: Sequence[EntryRules]) -> Iterator[str]:
    """Checks a map.

    Args:
        entries: all entries.
        uses: what the map is used for, of the same kind; an entry has to be right for one of them.

    Returns:
        A text for each wrong entry: `file:line: key KEY: what is wrong; what to write`.
    """
    first: dict[str, str] = {}
    as_written = all(rules.kind == "regex" for rules in uses)  # \S is not \s
    for entry in entries:
        key = entry.key if as_written else entry.key.lower()
        wrong = _characters(entry) or (f"is already at {first[key]}; remove one" if key in first else _wrong(entry, key, uses))
        first.setdefault(key, entry.where)
        if wrong:
            yield f"{entry.where}: key {shown(entry.key)}: {wrong.removeprefix(f'{shown(key)}: ')}"


def _characters(entry: MapEntry) -> str:
    """Names a character that stands in no key and no value."""
    match = _UNSEEN.search(entry.key) or _UNSEEN.search(entry.value)
    if match is None:
        return ""
    number = ord(match[0])
    if number >= 0xD800 and number < 0xE000:
        return f"byte {number & 0xFF:#04x} is no UTF-8; save the file as UTF-8"
    if match[0] == "\r":
        return "has a line end of CR alone; end lines with LF"
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
    use = rules.use or _guess(key, value)
    if len(key) > 1 and key.endswith("."):
        return _dotted(key.rstrip("."), use, rules)
    if not use:
        return ""
    if rules.kind == "cidr":
        return _network(use, rules, key, value)
    wrong = (KEYS[use](key, rules), VALUES[use](key, value, rules))
    return "; also ".join(dict.fromkeys(filter(None, wrong)))


def _dotted(key: str, use: str, rules: EntryRules) -> str:
    """Says what is wrong with a key that has a dot behind it; the advice is a right key."""
    if not split_tag(key)[1]:
        return "is never asked for; name domains"
    wrong = KEYS[use](key, rules) if use else ""
    return f"ends with a dot and is never asked for; {wrong or f'write {shown(key)}'}"


def _guess(key: str, value: str) -> str:
    """Tells what an entry of a map of unknown use is for."""
    if split_tag(key)[0]:
        return ACCESS
    if value.startswith(_PROGRAMS):
        return ALIASES
    return MAILERTABLE if _ROUTE.match(value) and "@" not in key else ""


def _expression(rules: EntryRules, key: str, value: str) -> str:
    """Checks an entry of a map of regular expressions; groups that it puts in stand for anything."""
    try:
        expression = read_rule(key)
    except ValueError as error:
        return str(error)
    over = next((name for name in macros_in(value) if name.isdigit() and int(name[:9]) > expression.groups), "")
    if over:
        return f"there is no group ${{{shown(over)}}}, the expression has {expression.groups}; write one of these, or ${{0}}"
    tags = tags_of(key[1:-1])
    use = rules.use or (ACCESS if tags else MAILERTABLE if _ROUTE.match(value) else "")
    value = _GROUP.sub(_SAMPLE, value)
    if use == ACCESS:
        if not _ANY_TAG.search(key):
            return "has no tag, so that it also answers those who ask for pieces of configuration; write /^from:.../"
        if tags is None:
            return "begins with no tag that can be told; write /^from:.../ or /^(from|to):.../"
        wrong = (_tagged_expression(expression, tag, value, rules) for tag in tags)
        return "; also ".join(dict.fromkeys(filter(None, wrong)))
    return VALUES[use](_SAMPLE, value, rules) if use else ""


def _tagged_expression(expression: Expression, tag: str, value: str, rules: EntryRules) -> str:
    """Checks what an expression means for one of its tags."""
    row, wrong = _row(tag, rules)
    if row is None:
        return wrong
    if _relays(row, value) and opens_relay(expression, row, rules.delimiter):
        return _OPEN_RELAY
    return _access_value(f"{tag}:{_SAMPLE}", value, rules)


def _network(use: str, rules: EntryRules, key: str, value: str) -> str:
    tag, network = split_tag(key)
    row, wrong = _row(tag[:-1], rules)
    if use != ACCESS or not tag or (row is not None and row.key not in _NETWORKS):
        names = ", ".join(f"{one.tag}:" for one in TAGS.values() if one.key in _NETWORKS)
        return f"a map of networks answers for {names} of the access map only; use another type"
    if row is None:
        return wrong
    try:
        NetworkTable().add(network, value)
    except ValueError as error:
        return f"{error}; write {tag}192.0.2.0/24"
    return (too_wide([network]) if _relays(row, value) else "") or _access_value(key, value, rules)


def _relays(row: TagRow, value: str) -> bool:
    try:
        return row.rhs is RhsKind.DECISION and parse_decision(row, value).action is Action.RELAY
    except ValueError:
        return False


# -- the access map


def _access_key(key: str, rules: EntryRules) -> str:
    tag, _, rest = key.partition(":")
    if tag in TAGS and not rest:
        return f"there is nothing behind the tag {tag}:; write what it is for, without a blank"
    if not split_tag(key)[0]:
        return f"has no tag; write {_tag_for(key)}:{shown(key)}"
    row, wrong = _row(tag, rules)
    if row is None:
        return wrong
    if row.key is KeyKind.ADDRESS and rest == "<>" and row.tag != _FROM:
        return f"<> is never asked for here; only a sender ({_FROM}:) can be empty"
    return TAGGED[row.key](rest, rules)


def _tag_for(key: str) -> str:
    if not client_problem(key):
        return "cltaddr"
    return _FROM if "@" in key else "cltname"


def _row(tag: str, rules: EntryRules) -> tuple[TagRow | None, str]:
    """Gives the row of a tag, or what is wrong with it."""
    match = _NUMBERED.fullmatch(tag)
    if match is not None and rules.lists is not None and int(match[1]) >= rules.lists:
        return None, f"there is no DNS list {match[1]}; the first section dnsbl has the tag {DNSBL.tag}0:"
    try:
        return row_of(tag), ""
    except ValueError as error:
        return None, str(error)


def _access_value(key: str, value: str, rules: EntryRules) -> str:
    tag, _, rest = key.partition(":")
    row, _ = _row(tag, rules)
    if row is None:  # that is told of the key
        return ""
    if not value:
        return f"has no value; write {row.rhs.value}"
    try:
        check_rhs(row, value, shown(key))
    except ValueError as error:
        snippet = error.__cause__
        return "; ".join(one.message for one in snippet.problems) if isinstance(snippet, ConfigError) else str(error)
    if row.rhs is RhsKind.WRITERS:
        return next(
            filter(None, (address_problem(word) for word in value.lower().replace(",", " ").split() if "@" in word)), ""
        )
    if row.rhs is RhsKind.DECISION and not value.isascii():
        return "a reply has no characters beyond ASCII; write it without"
    if (row.tag, rest) == (_FROM, "<>") and _relays(row, value):
        return _OPEN_RELAY
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
            return f"member {shown(member)}: {error}; write an address, or a name in the domain of the alias"
    return ""


def _user_value(_key: str, value: str, _rules: EntryRules) -> str:
    word = value.lower().partition(":")[0]
    return f"{shown(value)}: every key is a user here, whatever its value; remove the entry" if word in _NO_USER else ""


def _destination_value(key: str, value: str, _rules: EntryRules) -> str:
    try:
        parse_snippet(value, "destination_conf", shown(key))
    except ConfigError as error:
        return "; ".join(one.message for one in error.problems)
    return ""


def _names_value(_key: str, value: str, _rules: EntryRules) -> str:
    try:
        pairs_of(value, Path())
    except ValueError as error:
        return str(error)
    return ""


def _policy_value(_key: str, value: str, rules: EntryRules) -> str:
    try:
        tlsmap.read_entry(value)
    except ValueError as error:
        return str(error)
    if rules.dane is False and tlsmap.needs_dane(value):
        return f"{shown(value)} needs name servers that validate; set DNS_flags = {{ trust_ad }} in section smar if they do"
    return ""


def _sender_key(key: str, _rules: EntryRules) -> str:
    if ":" in key or key.startswith("<") or (ANY in key and key != ANY) or key == "@":
        return "is no name of a user; write USER, USER@DOMAIN, @DOMAIN or *"
    return ""


def _sender_value(_key: str, value: str, _rules: EntryRules) -> str:
    try:
        check_senders(value)
    except ValueError as error:
        return str(error)
    return ""


def _password_key(key: str, _rules: EntryRules) -> str:
    from meta1g.smar.passwordmap import user_problem  # what checks passwords is loaded for those who have some

    return user_problem(key)


def _password_value(_key: str, value: str, _rules: EntryRules) -> str:
    from meta1g.smar.passwordmap import entry_problem

    return entry_problem(value)


KEYS: Final[Mapping[str, _KeyCheck]] = {
    ACCESS: _access_key,
    MAILERTABLE: lambda key, _rules: route_problem(key),
    ALIASES: _alias_key,
    USERS: _user_key,
    DESTINATIONS: _client_or_domain,
    SERVER_NAMES: _domain,
    POLICIES: lambda key, _rules: tlsmap.key_problem(key),
    SENDERS: _sender_key,
    PASSWORDS: _password_key,
}
VALUES: Final[Mapping[str, Callable[[str, str, EntryRules], str]]] = {
    ACCESS: _access_value,
    MAILERTABLE: _route_value,
    ALIASES: _alias_value,
    USERS: _user_value,
    DESTINATIONS: _destination_value,
    SERVER_NAMES: _names_value,
    POLICIES: _policy_value,
    SENDERS: _sender_value,
    PASSWORDS: _password_value,
}


def loops(entries: Iterable[MapEntry], aliases: Sequence[Aliases], delimiter: str = "+") -> Iterator[str]:
    """Gives the aliases that lead to nobody, since their members lead back to them.

    Args:
        entries: the entries of the map.
        aliases: what expands them; one that finds a loop is enough.
        delimiter: separates user and detail.
    """
    for entry in entries:
        key = entry.key.lower()
        if key.startswith("@"):
            key = _SAMPLE + key
        key = key.replace(f"{delimiter}*", f"{delimiter}{_SAMPLE}")
        if any(one.dead_end(key) for one in aliases):
            yield f"{entry.where}: key {shown(entry.key)}: the alias leads only to itself; name an address that is no alias"
