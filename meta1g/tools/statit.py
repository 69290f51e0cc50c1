"""statit: what a file is: owner, mode, access control list, the way to it, and the room of its file system.

    statit PATH ...                        a few lines for each
    statit --json PATH ...                 one JSON object a line
    statit --field mode --field acl PATH   these values alone, one a line, for scripts
    statit --expect user=meta1q PATH       silent and 0 if it is so; names what is different and exits with 65 if not

Symbolic links are not followed, except for `access`.  `access` and `obstacle` hold for the account that asks:
`runas meta1c statit PATH` tells what smtpc may.

Ref: MeTA1 statit (name and purpose modelled on); acl(5), statvfs(3).
"""

import errno
import json
import os
import stat
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from meta1g.base import cli, reach, sysexits
from meta1g.base.reply import printable
from meta1g.tools.layout import group_name, user_name
from meta1g.tools.times import time_text

_PROG: Final = "statit"
_TYPES: Final = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}
_ACL_VERSION: Final = 2
_ACL_HEAD: Final = struct.Struct("<I")
_ACL_ENTRY: Final = struct.Struct("<HHI")
#: Tags of entries as linux/posix_acl.h numbers them: word, and what its number is.
_ACL_TAGS: Final = {0x01: "user", 0x02: "user", 0x04: "group", 0x08: "group", 0x10: "mask", 0x20: "other"}
_ACL_USER: Final = 0x02
_ACL_GROUP: Final = 0x08
_BITS: Final = ((os.R_OK, "r"), (os.W_OK, "w"), (os.X_OK, "x"))
#: Facts in the order in which they are shown.
FIELDS: Final = (
    *("type", "user", "uid", "group", "gid", "mode", "acl", "default_acl", "access", "obstacle"),
    *("size", "links", "modified", "target", "free_bytes", "free_percent", "free_files"),
)

Fact = str | int | None


def parse_acl(data: bytes) -> str:
    """Gives an access control list as acl(5) writes it in short, such as `user::rw-,user:meta1c:r--,mask::r--`.

    Args:
        data: the extended attribute system.posix_acl_access or system.posix_acl_default.

    Raises:
        ValueError: it is none that this program knows.
    """
    entries = len(data) - _ACL_HEAD.size
    if entries < 0 or entries % _ACL_ENTRY.size or _ACL_HEAD.unpack_from(data) != (_ACL_VERSION,):
        raise ValueError("access control list of an unknown form")
    return ",".join(_acl_entry(*_ACL_ENTRY.unpack_from(data, at)) for at in range(_ACL_HEAD.size, len(data), _ACL_ENTRY.size))


def _acl_entry(tag: int, bits: int, number: int) -> str:
    if tag not in _ACL_TAGS:
        raise ValueError(f"access control list has an entry of unknown kind {tag}")
    who = user_name(number) if tag == _ACL_USER else group_name(number) if tag == _ACL_GROUP else ""
    return f"{_ACL_TAGS[tag]}:{who}:" + "".join(letter if bits & bit else "-" for bit, letter in _BITS)


def _acl(path: Path, name: str) -> str | None:
    try:
        return parse_acl(os.getxattr(path, f"system.posix_acl_{name}", follow_symlinks=False))
    except ValueError as error:
        return str(error)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM):  # none, or not on this file system or kind of file
            return None
        raise


def facts_of(path: Path) -> dict[str, Fact]:
    """Gives what there is to know of a path; what does not concern it is None.

    Raises:
        CliError: there is no such path, or the way to it is closed.
    """
    try:
        found = path.lstat()
        room = os.statvfs(path.parent if stat.S_ISLNK(found.st_mode) else path)
        allowed = "".join(letter if os.access(path, bit, effective_ids=True) else "-" for bit, letter in _BITS)
        facts: dict[str, Fact] = {
            "type": _TYPES.get(stat.S_IFMT(found.st_mode), "unknown"),
            "user": user_name(found.st_uid),
            "uid": found.st_uid,
            "group": group_name(found.st_gid),
            "gid": found.st_gid,
            "mode": f"{stat.S_IMODE(found.st_mode):04o}",
            "acl": _acl(path, "access"),
            "default_acl": _acl(path, "default"),
            "access": allowed,
            "obstacle": reach.obstacle(path.absolute()) or None,
            "size": found.st_size,
            "links": found.st_nlink,
            "modified": time_text(found.st_mtime),
            "target": os.fsdecode(path.readlink()) if stat.S_ISLNK(found.st_mode) else None,
        }
    except OSError as error:
        code = sysexits.EX_NOPERM if error.errno == errno.EACCES else sysexits.EX_NOINPUT
        raise cli.CliError(reach.explain(error), code) from error
    return {**facts, **room_of(room.f_bavail, room.f_blocks, room.f_frsize, room.f_favail)}


def room_of(free: int, blocks: int, block_bytes: int, files: int) -> dict[str, Fact]:
    """Gives the room of a file system for those who are not root.

    Args:
        free: blocks that are free for them.
        blocks: all blocks.
        block_bytes: size of one.
        files: how many files can still be made.
    """
    return {"free_bytes": free * block_bytes, "free_percent": 100 * free // blocks if blocks else None, "free_files": files}


def as_text(path: Path, facts: Mapping[str, Fact]) -> str:
    """Gives facts for people: the path, and one line for each."""
    lines = [f"    {name:<13}{printable(str(facts[name]))}" for name in FIELDS if facts[name] is not None]
    return "\n".join([f"{printable(str(path))}:", *lines])


def differences(path: Path, facts: Mapping[str, Fact], expected: Sequence[str]) -> list[str]:
    """Gives one line for each fact that is not as expected.

    Args:
        path: for the lines.
        facts: as facts_of() gives them.
        expected: `field=value`; an empty value is that of a fact that does not hold.

    Raises:
        CliError: there is no such field.
    """
    found = []
    for word in expected:
        name, _, value = word.partition("=")
        if name not in FIELDS or "=" not in word:
            raise cli.CliError(f"--expect {word}: write FIELD=VALUE; fields are {', '.join(FIELDS)}", sysexits.EX_USAGE)
        is_now = "" if facts[name] is None else str(facts[name])
        if is_now != value:
            found.append(f"{printable(str(path))}: {name} is {printable(is_now) or 'none'}, not {printable(value) or 'none'}")
    return found


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code.

    Raises:
        CliError: a path is missing or out of reach, or a field is not known.
    """
    options = _parser().parse_args(argv)
    different = []
    for path in options.paths:
        facts = facts_of(path)
        if options.expect:
            different += differences(path, facts, options.expect)
        elif options.json:
            print(json.dumps({"path": str(path), **{name: facts[name] for name in FIELDS}}))
        elif options.field:
            print("\n".join("" if facts[name] is None else printable(str(facts[name])) for name in options.field))
        else:
            print(as_text(path, facts))
    sys.stdout.write("".join(f"{line}\n" for line in different))
    return sysexits.EX_DATAERR if different else sysexits.EX_OK


def _parser() -> cli.Parser:
    parser = cli.parser(_PROG, "Tells owner, mode, access control list, way and room of files, for people and for checks.")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="one JSON object a line")
    how.add_argument("--field", action="append", choices=FIELDS, metavar="FIELD", help="this value alone; may be repeated")
    how.add_argument("--expect", action="append", metavar="FIELD=VALUE", help="say only what is different; may be repeated")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="file, directory, socket or whatever it is")
    return parser


def run() -> None:
    """Is the program of the shell."""
    sys.exit(cli.run_program(_PROG, main))


if __name__ == "__main__":
    run()
