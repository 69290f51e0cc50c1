"""Checks that need more than one option: what must stand together, what contradicts, what names something else.

A rule takes a section and gives problems; the tables below say which sections it is for.

Pure.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from meta1g.conf.config import Section
from meta1g.conf.defs_maps import FILE_TYPES
from meta1g.conf.tree import Problem
from meta1g.conf.values import shown, suggest

#: A socket for all addresses.
_ANY: Final = "*"
Rule = Callable[[Section], Iterator[Problem]]


def cross_check(section: Section) -> list[Problem]:
    """Checks one section, without those inside.

    Returns:
        All errors.
    """
    found: list[Problem] = []
    if section.exists:
        for row in section.definition.options:
            if row.required and not section.given(row.name):
                found.append(Problem(section.pos, f"section {section.title} has no {row.name}; add {row.name} = ...;"))
    for rule in RULES.get(section.keyword.lower(), ()):
        found += rule(section)
    return found


def cross_check_file(glob: Section) -> list[Problem]:
    """Checks what sections say about each other.

    Args:
        glob: the whole file, without other errors.

    Returns:
        All errors.
    """
    return [problem for rule in FILE_RULES for problem in rule(glob)]


# -- rules for one section


def _listen_socket(section: Section) -> Iterator[Problem]:
    if section.get("type") == "unix" and not section.given("path"):
        yield Problem(section.pos, "a socket of type unix needs path = ...;")
    if section.given("path") and section.given("type") and section.get("type") == "inet":
        yield Problem(section.place("path"), "path belongs to type = unix; remove it or change the type")


def _filter_socket(section: Section) -> Iterator[Problem]:
    yield from _listen_socket(section)
    if section.get("type") == "inet" and not section.given("port") and not section.given("path"):
        yield Problem(section.pos, "a socket of type inet needs port = ...;")


def _filter(section: Section) -> Iterator[Problem]:
    if not section.sub("socket").exists:
        yield Problem(section.pos, f"section {section.title} has no socket; add socket {{ ... }}")


def _policy_milter(section: Section) -> Iterator[Problem]:
    yield from _filter(section)
    if section.flag("abort") and section.flag("accept_but_reconnect"):
        yield Problem(section.place("flags"), "flags abort and accept_but_reconnect exclude each other; remove one")


def _component(section: Section) -> Iterator[Problem]:
    action = section.get("start_action")
    if action != "wait" and not section.subs("listen_socket"):
        yield Problem(section.place("start_action"), f"start_action = {action} needs a socket; add listen_socket {{ ... }}")
    if action == "pass" and not section.given("pass_fd_socket"):
        yield Problem(section.place("start_action"), "start_action = pass needs pass_fd_socket = ...;")


def _map(section: Section) -> Iterator[Problem]:
    kind = section.get("type")
    if kind in FILE_TYPES and not section.given("file"):
        yield Problem(section.pos, f"a map of type {kind} needs file = ...;")
    if kind == "socket" and not section.given("path") and not (section.given("address") and section.given("port")):
        yield Problem(section.pos, "a map of type socket needs path = ...; or address = ...; and port = ...;")
    if kind == "sequence" and not section.get("maps"):
        yield Problem(section.pos, "a map of type sequence needs maps = { ... };")
    for entry in section.get("entries"):
        if len(entry.split(None, 1)) < 2:
            yield Problem(section.place("entries"), f"entry {shown(entry)} has no value; write key, blank, value")


def _map_user(section: Section) -> Iterator[Problem]:
    if section.given("name") == section.given("file"):
        yield Problem(section.pos, f"section {section.title} needs either name = ...; or file = ...;")


def _order(low: str, high: str) -> Rule:
    def rule(section: Section) -> Iterator[Problem]:
        if section.get(low) > section.get(high):
            pos = section.place(low) if section.given(low) else section.place(high)
            shown_low, shown_high = (section.definition.by_option[n.lower()].kind.words(section.get(n))[0] for n in (low, high))
            yield Problem(pos, f"{low} ({shown_low}) must not be greater than {high} ({shown_high})")

    return rule


def _qmgr_smtpc(section: Section) -> Iterator[Problem]:
    """Checks the section smtpc inside qmgr; the component has the same keyword and other options."""
    if "initial_connections" in section.definition.by_option:
        yield from _order("initial_connections", "max_connections")(section)
    else:
        yield from _component(section)
        yield from _order("min_threads", "max_threads")(section)


def _smtps(section: Section) -> Iterator[Problem]:
    if "max_connection_rate" not in section.definition.by_option:
        yield from _component(section)
        yield from _order("min_threads", "max_threads")(section)


#: Rules by keyword in lower case.
RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "listen_socket": (_listen_socket,),
    "socket": (_filter_socket,),
    "policy_milter": (_policy_milter,),
    "milter": (_filter,),
    "map": (_map,),
    "aliases": (_map_user,),
    "local_user_map": (_map_user,),
    "mailertable": (_map_user,),
    "access_map": (_map_user,),
    "conf_map": (_map_user,),
    "qmgr": (
        _component,
        _order("min_retry_delay", "max_retry_delay"),
        _order("min_free_disk", "ok_free_disk"),
    ),
    "smtpc": (_qmgr_smtpc,),
    "smtps": (_smtps,),
    "smar": (_component,),
    "verify": (_order("positive_refresh", "positive_expire"), _order("negative_refresh", "negative_expire")),
    "greylisting": (_order("wait", "expire"), _order("expire", "lifetime")),
}


# -- rules for the file


def _map_names(glob: Section) -> Iterator[Problem]:
    """Every map that is named is declared in the same component, and no sequence contains itself."""
    for section in (*glob.subs("smar"), *glob.subs("qmgr")):
        declared = {one.name or "": one for one in section.subs("map")}
        for user in section.children():
            names = user.get("maps") if user.keyword == "map" else ()
            if "name" in user.definition.by_option and user.given("name"):
                names = (user.get("name"),)
            for name in names:
                if name not in declared:
                    pos = user.place("maps" if user.keyword == "map" else "name")
                    advice = suggest(name, declared) if declared else f"add map {name} {{ ... }}"
                    yield Problem(pos, f"map {shown(name)} is not declared in section {section.title}; {advice}")
        yield from _loops(declared)


def _loops(declared: Mapping[str, Section]) -> Iterator[Problem]:
    for name, section in declared.items():
        seen: set[str] = set()
        todo = list(section.get("maps"))
        while todo:
            part = todo.pop()
            if part == name:
                yield Problem(section.place("maps"), f"map {shown(name)} contains itself; remove it from maps")
                break
            if part in declared and part not in seen:
                seen.add(part)
                todo += declared[part].get("maps")


def _dependencies(glob: Section) -> Iterator[Problem]:
    components = [row.keyword for row in glob.definition.sections if "start_action" in row.by_option]
    sections = [section for keyword in components for section in glob.subs(keyword)]
    known = [*components, *(section.name for section in sections if section.name)]
    for section in sections:
        for name in section.get("restart_dependencies"):
            if name not in known:
                pos = section.place("restart_dependencies")
                yield Problem(pos, f"restart_dependencies: there is no component {shown(name)}; {suggest(name, known)}")


def _listeners(glob: Section) -> Iterator[Problem]:
    """No two sockets are the same; one for all addresses takes the port for itself."""
    sockets = [
        (section, sub)
        for row in glob.definition.sections
        if "start_action" in row.by_option
        for section in glob.subs(row.keyword)
        for sub in section.subs("listen_socket")
    ]
    seen: dict[tuple[str, int], str] = {}  # (address or path, port) -> section; ("", port) for any address
    for section, sub in sorted(sockets, key=lambda pair: pair[1].pos):
        address, port = str(sub.get("path") or sub.get("address") or _ANY), 0 if sub.given("path") else sub.get("port")
        if not port and not sub.given("path"):
            continue
        wanted = {(address, port), (_ANY, port), ("", port) if address == _ANY else (address, port)}
        first = next((seen[key] for key in wanted if key in seen), None)
        if first is not None:
            where = f"{address} port {port}" if port else address
            yield Problem(sub.pos, f"{first} takes {where} already; choose another")
        seen.setdefault((address, port), section.title)
        seen.setdefault(("", port), section.title)


FILE_RULES: Final[tuple[Rule, ...]] = (_map_names, _dependencies, _listeners)
