"""mapchk: checks a map, or asks it.

    mapchk FILE              every entry of a text file, or of a map file made by createmap, can be read
    mapchk -a FILE           the same, and it is an access map: tags, keys and values are right
    mapchk -k KEY FILE       the value of a key, exit 1 if it is not there

Ref: MeTA1 mapchk, from its name (modelled on); access map tags of MeTA1.
"""

import ipaddress
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from meta1g.base import cli, sysexits
from meta1g.conf.access import RESOLVED, TAGS, KeyKind, RhsKind, check_rhs, row_of
from meta1g.conf.values import suggest
from meta1g.db.mapfile import MapFile
from meta1g.maps.regexmap import compile_expression
from meta1g.maps.textmap import read_entries

_PROG: Final = "mapchk"
_NOT_FOUND: Final = 1
_DB_SUFFIX: Final = ".db"
_OCTET_MAX: Final = 255
_DOMAIN: Final = re.compile(r"\.?[\w-]+(\.[\w-]+)*")
_PREFIX4: Final = re.compile(r"\d{1,3}(\.\d{1,3}){0,3}", re.ASCII)
_PREFIX6: Final = re.compile(r"[0-9a-f]{1,4}(:[0-9a-f]{1,4}){0,7}", re.ASCII)
_ADDRESS: Final = re.compile(r"[^@\s]+@|[^@\s]*@?[^@\s]+")

_Entry = tuple[str, str, str]  # where, key, value


def _client(key: str) -> str:
    if _PREFIX4.fullmatch(key):
        return "" if all(int(part) <= _OCTET_MAX for part in key.split(".")) else "is not an IP address or the begin of one"
    try:
        ipaddress.ip_address(key)
    except ValueError:
        return "" if _PREFIX6.fullmatch(key) else "is not an IP address or the begin of one, such as 192.0.2"
    return ""


def _domain(key: str) -> str:
    return "" if _DOMAIN.fullmatch(key) else "is not a domain; .example.org stands for the subdomains"


def _address(key: str) -> str:
    return "" if key == "<>" or _ADDRESS.fullmatch(key) else "is no address, domain or user@"


def _resolved(key: str) -> str:
    return "" if key in RESOLVED else suggest(key, RESOLVED)


def _any(key: str) -> str:
    return "" if key else "is empty"


def _client_or_domain(key: str) -> str:
    return "" if not _client(key) or not _domain(key) else "is no IP address and no domain"


#: Checks of keys; an answer that is not empty says what is wrong.
KEYS: Final[Mapping[KeyKind, Callable[[str], str]]] = {
    KeyKind.CLIENT: _client,
    KeyKind.NAME: _domain,
    KeyKind.RESOLVED: _resolved,
    KeyKind.HELLO: _any,
    KeyKind.ADDRESS: _address,
    KeyKind.HOST: _client_or_domain,
    KeyKind.CERTIFICATE: _any,
}


def check_access(key: str, value: str) -> str:
    """Checks an entry of an access map.

    Returns:
        What is wrong; empty if nothing is.
    """
    tag, colon, rest = key.partition(":")
    if not colon:
        return f"key {key} has no tag; {suggest(tag, TAGS)}"
    try:
        row = row_of(tag)
    except ValueError as error:
        return str(error)
    wrong = KEYS[row.key](rest.lower())
    if wrong:
        return f"key {key}: {rest} {wrong}"
    if not value.strip():
        return f"key {key} has no value"
    try:
        check_rhs(row, value, key)
    except ValueError as error:
        return str(error) if row.rhs is RhsKind.SNIPPET else f"key {key}: {error}"
    return ""


def entries(path: Path) -> Iterator[_Entry]:
    """Reads a map.

    Args:
        path: a map file of createmap, if its name ends with `.db`, else a text file.

    Raises:
        PermError: it cannot be read.
    """
    if path.suffix != _DB_SUFFIX:
        for number, key, value in read_entries(path):
            yield f"{path}:{number}", key, value
        return
    opened = MapFile.open_checked(path)
    try:
        for raw_key, raw_value in opened.items():
            yield str(path), raw_key.decode("utf-8", "replace"), raw_value.decode("utf-8", "replace")
    finally:
        opened.close()


def check_expression(key: str) -> str:
    """Gives what is wrong with a key that is a `/regular expression/`, empty if nothing is."""
    if len(key) < len("/a/") or key[0] != "/" or key[-1] != "/":
        return ""
    try:
        compile_expression(key[1:-1].replace("\\/", "/"))
    except ValueError as error:
        return str(error)
    return ""


def problems(path: Path, *, access: bool) -> Iterator[str]:
    """Gives one text for each wrong entry of a map."""
    seen: dict[str, str] = {}
    for where, key, value in entries(path):
        first = seen.setdefault(key.lower(), where)
        if first != where:
            yield f"{where}: key {key} is already at {first}"
        elif "\0" in key or "\0" in value:
            yield f"{where}: NUL character"
        elif (wrong := check_expression(key)) or (access and (wrong := check_access(key, value))):
            yield f"{where}: {wrong}"


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code.

    Raises:
        PermError: the map cannot be read.
    """
    parser = cli.parser(_PROG, "Checks a map, or asks it; silent if all entries are right.")
    parser.add_argument("file", type=Path, metavar="FILE", help="a map file of createmap (NAME.db), or a text file")
    parser.add_argument("-a", "--access", action="store_true", help="it is an access map: check tags, keys and values")
    parser.add_argument("-k", "--key", metavar="KEY", help="print the value of a key; exit 1 if it is not there")
    args = parser.parse_args(argv)
    if args.key is not None:
        return _ask(args.file, args.key.lower())
    wrong = 0
    for text in problems(args.file, access=args.access):
        sys.stderr.write(f"{_PROG}: {text}\n")
        wrong += 1
    return sysexits.EX_DATAERR if wrong else sysexits.EX_OK


def _ask(path: Path, wanted: str) -> int:
    value = _value(path, wanted)
    if value is None:
        return _NOT_FOUND
    sys.stdout.write(f"{value}\n")
    return sysexits.EX_OK


def _value(path: Path, wanted: str) -> str | None:
    if path.suffix != _DB_SUFFIX:
        return {key.lower(): value for _, key, value in read_entries(path)}.get(wanted)
    opened = MapFile.open_checked(path)
    try:
        raw = opened.get(wanted.encode())
    finally:
        opened.close()
    return None if raw is None else raw.decode("utf-8", "replace")


def run() -> None:
    """Is the program of the shell."""
    sys.exit(cli.run_program(_PROG, main))


if __name__ == "__main__":
    run()
