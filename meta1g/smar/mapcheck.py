"""Maps looked at whole: their files read, their entries checked for what the configuration uses them for.

Ref: MeTA1 mapchk (modelled on).
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from meta1g.base.errors import Meta1Error
from meta1g.base.log import Log
from meta1g.conf.config import Config, Section, UnreadError
from meta1g.db.mapfile import KINDS, MapFile
from meta1g.maps.base import Map
from meta1g.maps.static import StaticMap
from meta1g.maps.textmap import AS_IT_IS, read_entries
from meta1g.maps.wrong import WrongEntries
from meta1g.smar.alias import Aliases
from meta1g.smar.entries import (
    ACCESS,
    ALIASES,
    DEFAULTS,
    DESTINATIONS,
    KEYS,
    NAMED,
    SERVER_NAMES,
    EntryRules,
    MapEntry,
    check_entries,
    loops,
)
from meta1g.smar.relay import RelayRules
from meta1g.smar.route import Routes

_DB_SUFFIX: Final = ".db"
#: Kinds that are files.
KINDS_READ: Final = (*sorted(KINDS), "text", "regex", "cidr")
#: Kinds whose keys keep a colon at their end.
_TAGGED: Final = ("regex", "cidr")
#: Domain of local parts alone, where no configuration names one.
NOWHERE: Final = "localhost"


def entries_of(path: Path, kind: str) -> Iterator[MapEntry]:
    """Reads a map; bytes that are no UTF-8 come as they are.

    Args:
        path: its file.
        kind: type of the map: a key of KINDS, `text`, `regex` or `cidr`.

    Raises:
        Meta1Error: it cannot be read.
    """
    if kind not in KINDS:
        for number, key, value in read_entries(path, tagged=kind in _TAGGED, errors=AS_IT_IS):
            yield MapEntry(f"{path}:{number}", key, value)
        return
    opened = MapFile.open_checked(path)
    try:
        for raw_key, raw_value in opened.items():
            yield MapEntry(str(path), raw_key.decode(errors=AS_IT_IS), raw_value.decode(errors=AS_IT_IS))
    finally:
        opened.close()


def kind_of(path: Path) -> str:
    """Tells the type of a map by its name and first key."""
    if path.suffix == _DB_SUFFIX:
        return "hash"
    for _number, key, _value in read_entries(path, tagged=True, errors=AS_IT_IS):
        return "regex" if len(key) > 1 and key[0] == "/" else "text"
    return "text"


def use_of(path: Path) -> str:
    """Tells by its name what a map is for; empty if the name does not say it."""
    return NAMED.get(path.name.removesuffix(_DB_SUFFIX).lower(), "")


def check_map(entries: Iterable[MapEntry], uses: Sequence[EntryRules], aliases: Aliases | None = None) -> list[str]:
    """Checks all entries of a map.

    Args:
        entries: the entries.
        uses: what the map is for.
        aliases: what expands the map, if it is for aliases; made of the entries without it.

    Returns:
        A text for each problem.
    """
    known = list(entries)
    found = list(check_entries(known, uses))
    rules = next((one for one in uses if one.use == ALIASES and one.kind not in _TAGGED), None)
    if rules is not None:
        # those of the configuration, and as if local parts alone were of a domain that is local in any case
        found += loops(known, [one for one in (aliases, _aliases_of(known, rules)) if one is not None], rules.delimiter)
    return found


def aliases_alone(table: Map, rules: EntryRules, wrong: WrongEntries) -> Aliases:
    """Makes aliases of a map without a configuration: only local parts alone are local."""
    return Aliases(
        table,
        localpart=rules.localpart,
        local_domains=False,
        delimiter=rules.delimiter,
        relay=RelayRules((), (), (NOWHERE,), Routes(None, DEFAULTS)),
        hostname=NOWHERE,
        wrong=wrong,
    )


def _aliases_of(entries: Sequence[MapEntry], rules: EntryRules) -> Aliases:
    table = StaticMap(ALIASES, {entry.key: entry.value for entry in entries})
    return aliases_alone(table, rules, WrongEntries(Log("smar", level=0)))


def check_maps(config: Config, owner: Section, aliases: Aliases | None) -> list[str]:
    """Checks the entries of all maps of a section, each for what the section uses it for.

    Args:
        config: the whole configuration.
        owner: the section, smar or qmgr.
        aliases: its aliases, if they could be made.

    Returns:
        A text for each problem; that a map cannot be read counts as one.
    """
    found: list[str] = []
    keywords = [keyword for keyword in KEYS if keyword in owner.definition.by_section]
    users = [one for one in map(owner.sub, keywords) if one.exists and not one.given("name")]
    for section in (*owner.subs("map"), *users):
        with contextlib.suppress(UnreadError):  # told already
            found += _check_section(config, section, _uses(owner, section, keywords), aliases)
    return found


def check_server_names(config: Config, smtps: Section) -> list[str]:
    """Checks the entries of the map of server names of a section smtps, if it has one; gives a text for each problem."""
    names = smtps.sub("tls").sub(SERVER_NAMES)
    if not names.exists:
        return []
    return _check_section(config, names, [EntryRules(use=SERVER_NAMES, kind=names.get("type"))], None)


def _uses(owner: Section, section: Section, keywords: Sequence[str]) -> list[EntryRules]:
    """Gives what a map is for: that of a section which uses it in place, or those of all that name it."""
    kind, name = section.get("type"), section.name or ""
    if section.keyword in keywords:
        return [_rules_of(owner, section.keyword, kind)]
    uses = [_rules_of(owner, one, kind) for one in keywords if name in maps_in(owner, owner.sub(one).get("name"))]
    return uses or [EntryRules(kind=kind)]


def maps_in(owner: Section, name: str | None) -> set[str]:
    """Gives the names of a map and of those that it is a sequence of; nothing without a name."""
    found: set[str] = set()
    todo = [name] if name else []
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += [part for section in owner.subs("map") if section.name == one for part in section.get("maps")]
    return found


def _check_section(config: Config, section: Section, uses: Sequence[EntryRules], aliases: Aliases | None) -> list[str]:
    kind, file = uses[0].kind, section.get("file")
    if kind == "static":
        pairs = [str(text).partition(" ") for text in section.get("entries")]
        return check_map([MapEntry(section.where, key, value.strip()) for key, _, value in pairs], uses, aliases)
    if kind not in KINDS_READ or not file:
        return []
    try:
        return check_map(entries_of(config.configuration_directory / file, kind), uses, aliases)
    except Meta1Error as error:
        return [error.cause]


def _rules_of(owner: Section, keyword: str, kind: str) -> EntryRules:
    """Gives what a section such as `aliases` uses its map for."""
    if keyword == DESTINATIONS:
        return EntryRules(use=keyword, kind=kind)
    section = owner.sub(keyword)
    has_flags = "flags" in section.definition.by_option
    return EntryRules(
        use=keyword,
        kind=kind,
        localpart=not has_flags or section.flag("localpart"),
        delimiter=owner.get("address_delimiter"),
        lists=len(owner.subs("dnsbl")) if keyword == ACCESS else None,
        dane="trust_ad" in owner.get("DNS_flags"),
    )
