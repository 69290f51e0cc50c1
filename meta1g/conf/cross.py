"""Checks that need more than one option: what must stand together, what contradicts, what names something else.

A rule takes a section and gives problems; the tables below say which sections it is for.  Files with other errors are
looked at, too: a rule that asks for a value which is wrong ends there.

Pure.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from meta1g.conf.config import Section, UnreadError
from meta1g.conf.defs_maps import FILE_TYPES
from meta1g.conf.defs_tls import BACK_ENDS
from meta1g.conf.idle import idle
from meta1g.conf.openrelay import too_wide
from meta1g.conf.tree import Problem
from meta1g.conf.values import shown, suggest

#: A socket for all addresses.
_ANY: Final = "*"
_SMTP_PORT: Final = 25
Rule = Callable[[Section], Iterator[Problem]]
FileRule = Callable[[Section, str], Iterator[Problem]]
T = TypeVar("T")
#: Mechanisms that not every back end of AUTH can do.
_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("scram-sha-256", "scram-sha-1"), ("password_file", "password_map", "dovecot_socket")),
    **dict.fromkeys(("scram-sha-256-plus", "external"), ("password_file", "password_map")),
    "cram-md5": ("dovecot_socket",),
}


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
    rules = RULES.get(section.keyword.lower(), ())
    return [*found, *each(rules, lambda rule: rule(section))]


def cross_check_file(glob: Section, lost: str = "") -> list[Problem]:
    """Checks what sections say about each other.

    Args:
        glob: the whole file.
        lost: its text, if it has errors by which sections may have got lost.

    Returns:
        All errors.
    """
    return [problem for rule in FILE_RULES for problem in rule(glob, lost)]


def each(items: Iterable[T], rule: Callable[[T], Iterable[Problem]]) -> Iterator[Problem]:
    """Gives what a rule says about each item; it says no more about one with a value that is wrong."""
    for item in items:
        with contextlib.suppress(UnreadError):
            yield from rule(item)


# -- rules for one section


def _listen_socket(section: Section) -> Iterator[Problem]:
    if section.get("type") == "unix" and not section.given("path"):
        yield Problem(section.pos, "a socket of type unix needs path = ...;")
    if section.given("path") and section.given("type") and section.get("type") == "inet":
        yield Problem(section.place("path"), "path belongs to type = unix; remove it or change the type")
    elif section.get("type") == "unix" or section.given("path"):
        for name in filter(section.differs, ("address", "port")):
            yield Problem(section.place(name), f"{name} belongs to type = inet; remove it, or path and the type")


def _filter_socket(section: Section) -> Iterator[Problem]:
    yield from _listen_socket(section)
    if section.get("type") == "inet" and not section.given("port") and not section.given("path"):
        yield Problem(section.pos, "a socket of type inet needs port = ...;")


def _filter(section: Section) -> Iterator[Problem]:
    if not section.sub("socket").exists:
        yield Problem(section.pos, f"section {section.title} has no socket; add socket {{ ... }}")


def _milter(section: Section) -> Iterator[Problem]:
    yield from _filter(section)
    for text in section.get("macros"):
        name, equals, _value = text.partition("=")
        if not (name.strip() and equals):
            yield Problem(section.place("macros"), f"macros: {shown(text)} is no macro; write name=value")


def _milters(section: Section) -> Iterator[Problem]:
    declared = [one.name or "" for one in section.subs("milter")]
    names = section.get("milters")
    for name in names:
        if name not in declared:
            advice = suggest(name, declared) if declared else f"add milter {name} {{ ... }}"
            yield Problem(section.place("milters"), f"milters: there is no section milter {shown(name)}; {advice}")
    if len(set(names)) < len(names):
        yield Problem(section.place("milters"), "milters: a filter can be passed only once; remove what stands there twice")


def milter_problems(glob: Section) -> Iterator[Problem]:
    """Gives what is wrong with the filters of a file of pmult, beyond the types of their options."""
    yield from each([glob], _milters)
    yield from each(glob.subs("milter"), _milter)
    yield from each([one.sub("socket") for one in glob.subs("milter")], _filter_socket)


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
    if action != "pass" and section.given("pass_fd_socket"):
        text = f"pass_fd_socket belongs to start_action = pass, this is {action}; remove it or change start_action"
        yield Problem(section.place("pass_fd_socket"), text)
    for listen in section.subs("listen_socket"):
        yield from _implicit_tls(section, listen)
    if action == "wait" and section.keyword != "smtps":
        for listen in section.subs("listen_socket"):
            text = f"{section.keyword} opens no such socket; remove the section, or change start_action so that mcp opens it"
            yield Problem(listen.pos, text)


def _implicit_tls(section: Section, listen: Section) -> Iterator[Problem]:
    if not listen.get("implicit_tls"):
        return
    if section.keyword != "smtps":
        yield Problem(
            listen.place("implicit_tls"), f"implicit_tls is for smtps, {section.keyword} speaks no TLS here; remove it"
        )
    elif not section.sub("tls").given("cert_file"):
        yield Problem(listen.place("implicit_tls"), "implicit_tls needs a certificate; add tls { cert_file = ...; }")


#: Types of maps that an option is for.
_MAP_OPTIONS: Final[Mapping[str, Sequence[str]]] = {
    "file": FILE_TYPES,
    **dict.fromkeys(("path", "address", "port", "mapname", "timeout"), ("socket",)),
    "maps": ("sequence",),
    "entries": ("static",),
}


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


def _map_without_use(section: Section) -> Iterator[Problem]:
    """Options of a map that say nothing about a map of its type."""
    kind = section.get("type")
    for name, kinds in _MAP_OPTIONS.items():
        if kind and kind not in kinds and section.differs(name):
            yield Problem(section.place(name), f"{name} counts for nothing in a map of type {kind}; remove it")
    if kind == "socket" and section.given("path"):
        for name in filter(section.differs, ("address", "port")):
            yield Problem(section.place(name), f"{name} counts for nothing beside path; keep one of the two")


def _map_user(section: Section) -> Iterator[Problem]:
    if section.given("name") == section.given("file"):
        yield Problem(section.pos, f"section {section.title} needs either name = ...; or file = ...;")


def _back_ends(auth: Section) -> list[str]:
    return [name for name in BACK_ENDS if auth.given(name) and auth.get(name)]


def _server_auth(section: Section) -> Iterator[Problem]:
    """Checks section auth of smtps; that of smtpc has other options."""
    if "password_file" not in section.definition.by_option:
        return
    given = _back_ends(section)
    if len(given) > 1:
        yield Problem(section.place(given[1]), f"{given[0]} and {given[1]} exclude each other; keep one")
    if not given:
        if section.exists:
            yield Problem(section.pos, f"section auth asks nobody about passwords; add one of {', '.join(BACK_ENDS)}")
        return
    for option in ("mechanisms", "trusted_mechanisms"):
        for name in section.get(option):
            needed = _NEEDS.get(name, BACK_ENDS)
            if given[0] not in needed:
                yield Problem(section.place(option), f"{option}: {name} does not work with {given[0]}; it needs {needed[0]}")
    for name in section.get("trusted_mechanisms") if section.get("mechanisms") else ():
        if name not in section.get("mechanisms"):
            text = f"trusted_mechanisms: {name} is not among mechanisms, so nobody logs in by it; add it there or remove it"
            yield Problem(section.place("trusted_mechanisms"), text)


def _order(low: str, high: str) -> Rule:
    def rule(section: Section) -> Iterator[Problem]:
        if None not in (section.get(low), section.get(high)) and section.get(low) > section.get(high):
            pos = section.place(low) if section.given(low) else section.place(high)
            shown_low, shown_high = (section.definition.by_option[n.lower()].kind.words(section.get(n))[0] for n in (low, high))
            yield Problem(pos, f"{low} ({shown_low}) must not be greater than {high} ({shown_high})")

    return rule


def _warning_before_return(section: Section) -> Iterator[Problem]:
    """Checks that senders can be warned at all, if that is asked for; a short return_timeout alone means that they are not."""
    if section.given("delay_dsn_timeout"):
        yield from _order("delay_dsn_timeout", "return_timeout")(section)


def _lists(section: Section) -> Iterator[Problem]:
    """No DNS list is asked twice: the second one would only have another tag."""
    seen: set[str] = set()
    for one in section.subs("dnsbl"):
        with contextlib.suppress(UnreadError):
            zone = str(one.get("zone")).lower()
            if one.given("zone") and zone in seen:
                yield Problem(one.place("zone"), f"zone: {zone} is asked already; remove one of the two")
            seen.add(zone)


def _relaying(section: Section) -> Iterator[Problem]:
    wide = too_wide(section.get("relay_from"))
    if wide:
        yield Problem(section.place("relay_from"), f"relay_from: {wide}")


def _qmgr_smtpc(section: Section) -> Iterator[Problem]:
    """Checks the section smtpc inside qmgr; the component has the same keyword and other options."""
    if "initial_connections" in section.definition.by_option:
        yield from _order("initial_connections", "max_connections")(section)
    else:
        yield from _component(section)


def _smtps(section: Section) -> Iterator[Problem]:
    if "max_connection_rate" not in section.definition.by_option:
        yield from _component(section)
        yield from _tls_demands(section)
        yield from _milters(section)
        yield from _lmtp(section)
        yield from _speakers(section)
        yield from _auth_demand(section)
        if section.flag("add_sender") and not section.flag("submission"):
            yield Problem(section.place("flags"), "add_sender needs submission; add it to flags")


def _speakers(section: Section) -> Iterator[Problem]:
    """Who says for whom it speaks may say that this is a client that may relay."""
    for option in ("proxy_from", "xclient_from"):
        wide = too_wide(section.get(option))
        if wide:
            yield Problem(section.place(option), f"{option}: {wide}")


def _auth_demand(section: Section) -> Iterator[Problem]:
    """Checks that somebody can log in, if everybody has to."""
    if not section.flag("require_auth") or section.get("xclient_from"):
        return
    if not section.flag("auth") or not _back_ends(section.sub("auth")):
        text = "require_auth refuses all mail, since nobody can log in; add auth { password_file = ...; } and no dont_auth"
        yield Problem(section.place("flags"), text)


def _tls_demands(section: Section) -> Iterator[Problem]:
    """Demands on TLS can be met."""
    needs, tls = section.sub("tls_requirements"), section.sub("tls")
    certificate = needs.flag("verified") or any(needs.get(name) for name in ("cert_issuer", "cert_subject", "common_name"))
    if (certificate or needs.flag("encrypted") or needs.get("min_cipher_bits")) and not tls.given("cert_file"):
        yield Problem(needs.pos, "nobody can meet tls_requirements without a certificate; add tls { cert_file = ...; }")
    if certificate and not tls.flag("request_cert"):
        yield Problem(needs.pos, "tls_requirements wants certificates of clients; remove dont_request_cert from tls")


def _lmtp(section: Section) -> Iterator[Problem]:
    """Checks that LMTP is not spoken where SMTP is expected (RFC 2033 5)."""
    if section.get("protocol") == "lmtp":
        for listen in section.subs("listen_socket"):
            if listen.get("type") == "inet" and not listen.given("path") and listen.get("port") == _SMTP_PORT:
                yield Problem(listen.pos, "LMTP must not use port 25 (RFC 2033 5); give another port or a path")


#: Rules by keyword in lower case.
RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "listen_socket": (_listen_socket,),
    "socket": (_filter_socket,),
    "policy_milter": (_policy_milter,),
    "milter": (_milter,),
    "auth": (_server_auth,),
    "map": (_map, _map_without_use),
    "aliases": (_map_user,),
    "local_user_map": (_map_user,),
    "mailertable": (_map_user,),
    "access_map": (_map_user,),
    "tls_policy": (_map_user,),
    "auth_sender": (_map_user,),
    "password_map": (_map_user,),
    "conf_map": (_map_user,),
    "qmgr": (
        _component,
        _order("min_retry_delay", "max_retry_delay"),
        _order("min_free_disk", "ok_free_disk"),
        _warning_before_return,
    ),
    "smtpc": (_qmgr_smtpc,),
    "smtps": (_smtps,),
    "smar": (_component, _relaying, _lists),
    "destination_conf": (
        _order("initial_connections", "max_connections"),
        _order("min_retry_delay", "max_retry_delay"),
    ),
    "verify": (_order("positive_refresh", "positive_expire"), _order("negative_refresh", "negative_expire")),
    "greylisting": (_order("wait", "expire"), _order("expire", "lifetime")),
}


# -- rules for the file

_TABLE: Final = "write a text or hash map of it"
_NETWORKS: Final = {"cidr": f"it has networks; {_TABLE}"}
#: Types of maps that never answer what a section asks, and what to do.
_NEVER: Final[Mapping[str, Mapping[str, str]]] = {
    "aliases": {**_NETWORKS, "passwd": f"it has home directories; {_TABLE}"},
    "mailertable": {**_NETWORKS, "passwd": f"it has home directories; {_TABLE}"},
    "auth_sender": {**_NETWORKS, "passwd": f"it has home directories; {_TABLE}"},
    "password_map": {**_NETWORKS, "passwd": f"it has home directories; {_TABLE}"},
    "access_map": {"passwd": f"it has home directories; {_TABLE}"},
    "tls_policy": {**_NETWORKS, "passwd": f"it has home directories; {_TABLE}"},
    "local_user_map": _NETWORKS,
}


def _map_names(glob: Section, lost: str) -> Iterator[Problem]:
    """Every map that is named is declared in the same component, and no sequence contains itself."""
    for section in (*glob.subs("smar"), *glob.subs("qmgr")):
        declared = {one.name or "": one for one in section.subs("map")}
        yield from each(section.children(), partial(_map_name, section, declared, lost))
        yield from each(declared.items(), partial(_loop, declared))
        yield from each(section.children(), partial(_map_kind, declared))


def _map_name(section: Section, declared: Mapping[str, Section], lost: str, user: Section) -> Iterator[Problem]:
    names = user.get("maps") if user.keyword == "map" else ()
    if "name" in user.definition.by_option and user.given("name"):
        names = (user.get("name"),)
    for name in names:
        if name not in declared and not re.search(rf'\bmap\s+"?{re.escape(name)}\b', lost):
            pos = user.place("maps" if user.keyword == "map" else "name")
            advice = suggest(name, declared) if declared else f"add map {name} {{ ... }}"
            yield Problem(pos, f"map {shown(name)} is not declared in section {section.title}; {advice}")


def _map_kind(declared: Mapping[str, Section], user: Section) -> Iterator[Problem]:
    """No section uses a map that never answers what it asks."""
    if user.keyword not in _NEVER:
        return
    option = "name" if user.given("name") else "type"
    kinds = _kinds(declared, user.get("name")) if option == "name" else {user.get("type")}
    for kind in sorted(kinds & set(_NEVER[user.keyword])):
        yield Problem(user.place(option), f"a map of type {kind} never answers {user.keyword}; {_NEVER[user.keyword][kind]}")
    if user.keyword == "local_user_map" and "passwd" in kinds and not user.flag("localpart"):
        yield Problem(user.place(option), "a map of type passwd knows no domains; add flags = { localpart };")


def _kinds(declared: Mapping[str, Section], name: str) -> set[str]:
    """Gives the types of a map, or of those that it is a sequence of."""
    found: set[str] = set()
    seen: set[str] = set()
    todo = [name]
    while todo:
        one = todo.pop()
        if one in declared and one not in seen:
            seen.add(one)
            found.add(declared[one].get("type"))
            todo += declared[one].get("maps")
    return found


def _loop(declared: Mapping[str, Section], item: tuple[str, Section]) -> Iterator[Problem]:
    name, section = item
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


def _dependencies(glob: Section, lost: str) -> Iterator[Problem]:
    components = [row.keyword for row in glob.definition.sections if "start_action" in row.by_option]
    sections = [section for keyword in components for section in glob.subs(keyword)]
    known = [*components, *(section.name for section in sections if section.name)]

    def unknown(section: Section) -> Iterator[Problem]:
        for name in section.get("restart_dependencies"):
            if name not in known and not re.search(rf'\b(?:{"|".join(components)})\s+"?{re.escape(name)}\b', lost):
                pos = section.place("restart_dependencies")
                yield Problem(pos, f"restart_dependencies: there is no component {shown(name)}; {suggest(name, known)}")

    yield from each(sections, unknown)


def _password_maps(glob: Section, lost: str) -> Iterator[Problem]:
    """Who asks smar about passwords finds a map there."""
    smars = glob.subs("smar")
    if not smars or any(smar.sub("password_map").exists for smar in smars) or "password_map" in lost:
        return
    for auth in (smtps.sub("auth") for smtps in glob.subs("smtps")):
        if auth.given("password_map") and auth.get("password_map"):
            text = "password_map: smar has no map of passwords; add password_map { file = ...; } to section smar"
            yield Problem(auth.place("password_map"), text)


def _listeners(glob: Section, _lost: str) -> Iterator[Problem]:
    """No two sockets are the same; one for all addresses takes the port for itself."""
    sockets = [
        (section, sub)
        for row in glob.definition.sections
        if "start_action" in row.by_option
        for section in glob.subs(row.keyword)
        for sub in section.subs("listen_socket")
    ]
    seen: dict[tuple[str, int], str] = {}  # (address or path, port) -> section; ("", port) for any address
    yield from each(sorted(sockets, key=lambda pair: pair[1].pos), partial(_listener, seen))


def _listener(seen: dict[tuple[str, int], str], socket: tuple[Section, Section]) -> Iterator[Problem]:
    section, sub = socket
    address, port = str(sub.get("path") or sub.get("address") or _ANY), 0 if sub.given("path") else sub.get("port")
    if not port and not sub.given("path"):
        return
    wanted = {(address, port), (_ANY, port), ("", port) if address == _ANY else (address, port)}
    first = next((seen[key] for key in wanted if key in seen), None)
    if first is not None:
        where = f"{address} port {port}" if port else address
        yield Problem(sub.pos, f"{first} takes {where} already; choose another")
    seen.setdefault((address, port), section.title)
    seen.setdefault(("", port), section.title)


FILE_RULES: Final[tuple[FileRule, ...]] = (_map_names, _dependencies, _password_maps, _listeners, idle)
