"""Maps, and the sections that use one.

Ref: MeTA1 README, chapters on maps (`map NAME { type = ...; }`, users by `name` or `file`).
"""

from typing import Final

from meta1g.conf.defs_common import NAME, OWN, PATH, R, S
from meta1g.conf.port import Port
from meta1g.conf.schema import Naming, OptionDef, Origin, SectionDef, option
from meta1g.conf.values import Choice, Flag, Flags, IpAddress, ListOf, Text, Time

#: Map types in one file; only these can be given without a declaration.
FILE_TYPES: Final = ("hash", "btree", "text", "regex", "cidr")
MAP_TYPES: Final = (*FILE_TYPES, "passwd", "socket", "sequence", "static")

MAP: Final = SectionDef(
    "map",
    "Declares a map under a name.",
    S,
    (
        option("type", Choice(MAP_TYPES), None, S, "What kind of map it is.", required=True),
        option("file", PATH, None, S, "File of a map in a file, relative to the configuration directory."),
        option("path", PATH, None, S, "Unix socket of a map server (type socket), relative to the queue directory."),
        option("address", IpAddress(), None, R, "IP address of a map server (type socket), if it has no path."),
        option("port", Port(), None, R, "TCP port of a map server (type socket)."),
        option("mapname", NAME, None, S, "Name that the map server knows the map by; its own name if it is not given."),
        option("timeout", Time(1, 600), "10s", OWN, "How long a map server may take for an answer."),
        option("maps", ListOf(NAME), None, S, "Maps of a sequence; the next one is asked if the one before has no entry."),
        option("entries", ListOf(Text("KEY VALUE")), None, OWN, "Content of a static map, key and value in one text."),
    ),
    naming=Naming.MUST,
    repeat=True,
)

_LOOKUP_FLAGS: Final = (
    Flag("localpart", False, "The local part alone is a key too.", "S"),
    Flag("local_domains", False, "Only addresses in local domains are looked up.", "S"),
)


def map_user(keyword: str, meaning: str, origin: Origin, *, lookup_flags: bool = False) -> SectionDef:
    """Makes a section that uses a map: a declared one by `name`, or a file by `file` and `type`.

    Args:
        keyword: keyword of the section.
        meaning: one sentence.
        origin: where the section comes from.
        lookup_flags: it has the flags `localpart` and `local_domains`.
    """
    rows: tuple[OptionDef, ...] = (
        option("name", NAME, None, S, "Name of a declared map."),
        option("file", PATH, None, S, "File of a map that is not declared, relative to the configuration directory."),
        option("type", Choice(FILE_TYPES), "hash", R, "Type of the file."),
    )
    if lookup_flags:
        rows += (option("flags", Flags(_LOOKUP_FLAGS), None, S, "How keys are made of addresses."),)
    return SectionDef(keyword, meaning, origin, rows)
