"""Questions of mapchk about the maps of QMGR and SMTPS; those of SMAR are asked by smar/questions.py.

    conf_map:IP           what a destination has of its own; with a name (-n), as QMGR asks for it
    server_names:NAME     the files of the certificate that a client sees which asks for this name

Ref: smar/trace.py (form of the answers).
"""

from pathlib import Path
from typing import Final

from meta1g.conf.config import Config
from meta1g.conf.tlsconf import pairs_of
from meta1g.maps.base import Map
from meta1g.maps.cidrmap import parse_address
from meta1g.maps.lookup import domain_keys, search
from meta1g.maps.registry import MapRegistry, MapSpec
from meta1g.qmgr.destinations import COMMON, DestinationLimits, Destinations, configuration_map
from meta1g.rcb.common import ServerAddr
from meta1g.smar.trace import LookupNotes, Mail, QuestionError, WatchedMap

CONF_MAP: Final = "conf_map"
SERVER_NAMES: Final = "server_names"
USES: Final = (CONF_MAP, SERVER_NAMES)
_OF_SECTION: Final = {CONF_MAP: "what section qmgr says", SERVER_NAMES: "the certificate of section tls"}


def of_configuration(config: Config, use: str, key: str, mail: Mail) -> list[str]:
    """Asks a map of a configuration; gives a line for each look-up, and the verdict.

    Args:
        config: the configuration.
        use: one of USES.
        key: what is asked for.
        mail: has the name of the server.

    Raises:
        QuestionError: there is no such map, or the key is none.
        Meta1Error: the map cannot be opened.
    """
    if use == CONF_MAP:
        table = configuration_map(config, config.section("qmgr"))
    else:
        names = [one for smtps in config.sections("smtps") if (one := smtps.sub("tls").sub(SERVER_NAMES)).exists]
        table = _opened(config.configuration_directory / names[0].get("file"), names[0].get("type")) if names else None
    if table is None:
        raise QuestionError(f"there is no {use}; name one with {use} {{ ... }}")
    return _asked(table, use, key, mail)


def of_file(path: Path, kind: str, use: str, key: str, mail: Mail) -> list[str]:
    """Asks one map; as of_configuration().

    Args:
        path: its file.
        kind: its type.
        use: one of USES.
        key: what is asked for.
        mail: has the name of the server.

    Raises:
        QuestionError: the key is none.
        Meta1Error: the map cannot be opened.
    """
    return _asked(_opened(path, kind), use, key, mail)


def _opened(path: Path, kind: str) -> Map:
    return MapRegistry().add(MapSpec(name=path.name, type=kind, file=path))


def _asked(table: Map, use: str, key: str, mail: Mail) -> list[str]:
    notes = LookupNotes()
    watched = WatchedMap(table, notes)
    try:
        verdict = _destination(watched, notes, key, mail.name) if use == CONF_MAP else _certificate(watched, key)
        return [*notes.take(), f"= {verdict or _OF_SECTION[use]}"]
    finally:
        table.close()


def _destination(table: WatchedMap, notes: LookupNotes, key: str, name: str) -> str:
    try:
        addr = key if key.startswith("unix:") else str(parse_address(key))
    except ValueError:
        raise QuestionError(f"conf_map:{key}: write the address of a server, as in conf_map:192.0.2.7, and -n NAME") from None
    limits = Destinations(table, notes).of(lambda: ServerAddr(addr=addr, port=0, host=name.lower()))
    return "mail is put off" if limits is None else "" if limits == COMMON else _told(limits)


def _told(limits: DestinationLimits) -> str:
    options = {
        "initial_connections": limits.initial_connections,
        "max_connections": limits.max_connections,
        "max_rcpts_per_transaction": limits.max_rcpts,
        "min_retry_delay": limits.min_retry_delay_s,
        "max_retry_delay": limits.max_retry_delay_s,
    }
    return " ".join(f"{name} = {value};" for name, value in options.items() if value is not None)


def _certificate(table: WatchedMap, key: str) -> str:
    _key, result = search(table, domain_keys(key.lower().rstrip(".")))
    if not result.value:
        return ""
    try:
        return ", ".join(f"{pair.cert_file} with {pair.key_file}" for pair in pairs_of(result.value, Path()))
    except ValueError as error:
        return f"wrong: {error}"
