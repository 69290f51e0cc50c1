"""smpasswd: users and passwords of smtps.

    smpasswd add ann@example.org              asks for a password, twice, and shows nothing of it
    smpasswd change ann@example.org < FILE    the first line of standard input, if that is no terminal
    smpasswd delete ann@example.org
    smpasswd list
    smpasswd check ann@example.org            tells by its exit code whether a password is right
    smpasswd verify                           looks at every line of the file

The file is written beside its place and put there as a whole, with the owner, group and mode that it had; two that change it at
the same time wait for each other.  smtps takes the new file by itself.

Ref: docs/auth.md; meta1g/sasl/users.py (form of the file).
"""

import argparse
import contextlib
import fcntl
import getpass
import grp
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from meta1g.base import cli, paths, sysexits
from meta1g.base.cli import CliError
from meta1g.conf.load import load_file
from meta1g.sasl.base import VALUE_MAX_BYTES, SaslError
from meta1g.sasl.prep import saslprep
from meta1g.sasl.scram import ITERATIONS, ITERATIONS_MAX, SALT_BYTES
from meta1g.sasl.stored import ARGON2ID, EXTERNAL, NEW_ITERATIONS, SCRAM, check_stored, make_stored
from meta1g.sasl.users import FILE_MAX_BYTES, UserLine, Users, folded, name_problem, read_lines, read_users

_PROG: Final = "smpasswd"
SCHEMES: Final = tuple(one.lower() for one in (*SCRAM, ARGON2ID, EXTERNAL))
_HEADER: Final = "# Users of smtps, one a line; smpasswd(8) changes it.\n"
_MODE: Final = 0o640
_SECRET_BYTES: Final = 24


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code."""
    parser = _parser()
    args = parser.parse_intermixed_args(argv)  # options may stand between command and user
    named = args.command in _WITH_USER
    if named != (args.user is not None):
        parser.error(f"{args.command} {'needs the name of a user' if named else 'takes no user'}")
    if (args.schemes or args.iterations) and args.command not in _WITH_PASSWORD:
        parser.error(f"-s and -i are for {' and '.join(_WITH_PASSWORD)}")
    path = (args.file or _configured(args.conf, args.name)).resolve()  # a link stays one
    return COMMANDS[args.command](path, args)


def _parser() -> cli.Parser:
    parser = cli.parser(_PROG, "Adds, changes, deletes, lists and checks the users of smtps.")
    parser.add_argument("-p", dest="file", type=Path, metavar="FILE", help="the password file (default: that of smtps)")
    parser.add_argument(
        "-f", dest="conf", type=Path, default=paths.DEFAULT_CONFIG_FILE, metavar="CONF", help="configuration that names it"
    )
    parser.add_argument("-n", dest="name", metavar="NAME", help="name of the section smtps whose file it is")
    parser.add_argument(
        "-s",
        dest="schemes",
        action="append",
        choices=SCHEMES,
        help="what is stored (default: scram-sha-256); again for one more",
    )
    parser.add_argument("-i", dest="iterations", type=int, metavar="N", help=f"iterations of SCRAM (default: {NEW_ITERATIONS})")
    parser.add_argument("command", choices=tuple(COMMANDS), metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("user", nargs="?", metavar="USER", help="name of the user, for all but list and verify")
    return parser


def _configured(conf: Path, name: str | None) -> Path:
    """Gives the password file of the configuration.

    Raises:
        CliError: there is none, or more than one.
    """
    config = load_file(conf, lenient=True)
    found: dict[str, Path] = {
        section.name or "": config.configuration_directory / section.sub("auth").get("password_file")
        for section in config.sections("smtps")
        if section.sub("auth").get("password_file") and name in (None, section.name or "")
    }
    if not found:
        raise CliError(f"{conf}: no section smtps has a password_file in its section auth; name the file by -p")
    if len(set(found.values())) > 1:
        raise CliError(f"{conf}: there are several password files; choose by -n: {', '.join(sorted(found))}")
    return next(iter(found.values()))


# -- the file


def _read(path: Path) -> str:
    """Reads the file; empty if there is none.  Blocks: yes (disk).

    Raises:
        CliError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX_BYTES + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}", sysexits.EX_NOINPUT) from error
    if len(data) > FILE_MAX_BYTES:
        raise CliError(f"{path}: longer than {FILE_MAX_BYTES} bytes", sysexits.EX_DATAERR)
    return data.decode("utf-8", "surrogateescape")


def _users(path: Path, text: str) -> Users:
    users, wrong = read_users(text, str(path))
    if wrong:
        raise CliError(f"{path} is left as it was: mend {'; '.join(wrong)}", sysexits.EX_DATAERR)
    return users


def _write(path: Path, lines: list[UserLine]) -> None:
    """Puts a new file in place of the old one.  Blocks: yes (disk).

    Raises:
        CliError: it cannot be written; the old one stays.
    """
    text = "".join(f"{line.text}\n" for line in lines)
    _users(path, text)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        before = path.stat() if path.exists() else None
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with open(fd, "wb") as file:
                _like(fd, before)
                file.write(text.encode("utf-8", "surrogateescape"))
                file.flush()
                os.fsync(fd)
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        _flush_directory(path.parent)
    except OSError as error:
        raise CliError(f"{path} is left as it was: {error.strerror}", sysexits.EX_CANTCREAT) from error


def _like(fd: int, before: os.stat_result | None) -> None:
    """Gives a new file owner, group and mode of the old one; a first one can be read by the group of smtps, if there is one."""
    if before is None:
        with contextlib.suppress(KeyError, PermissionError):
            os.fchown(fd, -1, grp.getgrnam(paths.COMPONENT_ACCOUNTS["smtps"]).gr_gid)
        os.fchmod(fd, _MODE)
        return
    mine = os.fstat(fd)
    if (before.st_uid, before.st_gid) != (mine.st_uid, mine.st_gid):
        os.fchown(fd, before.st_uid, before.st_gid)
    os.fchmod(fd, stat.S_IMODE(before.st_mode))


def _flush_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[list[UserLine]]:
    """Gives the lines of the file while nobody else changes it, and writes them at the end.  Blocks: yes (lock, disk).

    Raises:
        CliError: the directory cannot be used.
    """
    try:
        lock = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise CliError(f"{path.parent}: {error.strerror}", sysexits.EX_CANTCREAT) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        text = _read(path)
        _users(path, text)
        lines = read_lines(text or _HEADER)
        if not any(line.text.startswith(":") for line in lines):
            lines.append(UserLine("", f":{secrets.token_urlsafe(_SECRET_BYTES)}"))
        yield lines
        _write(path, lines)
    finally:
        os.close(lock)


# -- passwords


def _ask(user: str, *, twice: bool) -> str:
    """Gives a password: from the terminal without echo, or the first line of standard input.

    Raises:
        CliError: it cannot be one.
    """
    if sys.stdin.isatty():
        text = getpass.getpass(f"Password of {user}: ")
        if twice and getpass.getpass("The same again: ") != text:
            raise CliError("these are two different passwords; nothing is changed", sysexits.EX_DATAERR)
    else:
        data = sys.stdin.buffer.readline(VALUE_MAX_BYTES + 2)
        text = data.removesuffix(b"\n").decode(errors="replace")
    return _prepared(text, stored=twice)


def _prepared(text: str, *, stored: bool) -> str:
    if not text or len(text.encode()) > VALUE_MAX_BYTES or "\ufffd" in text:
        raise CliError(f"a password has 1 to {VALUE_MAX_BYTES} bytes of UTF-8; nothing is changed", sysexits.EX_DATAERR)
    try:
        return saslprep(text, stored=stored)
    except SaslError as error:
        raise CliError(f"{error.reason}; nothing is changed", sysexits.EX_DATAERR) from error


def _line(user: str, schemes: list[str], iterations: int) -> UserLine:
    """Makes the line of a user.

    Raises:
        CliError: what is stored cannot be made.
    """
    if problem := name_problem(user):
        raise CliError(problem, sysexits.EX_USAGE)
    if not ITERATIONS <= iterations <= ITERATIONS_MAX:
        raise CliError(f"-i is a number from {ITERATIONS} to {ITERATIONS_MAX}", sysexits.EX_USAGE)
    kinds = list(dict.fromkeys(one.upper() for one in schemes))
    password = _ask(user, twice=True) if kinds != [EXTERNAL] else ""
    try:
        stored = [make_stored(kind, password, secrets.token_bytes(SALT_BYTES), iterations) for kind in kinds]
    except ValueError as error:
        raise CliError(str(error), sysexits.EX_UNAVAILABLE) from error
    name = folded(user)
    return UserLine(name, f"{name}:{' '.join(map(str, stored))}")


# -- commands


def _add(path: Path, args: argparse.Namespace) -> int:
    return _put(path, args, new=True)


def _change(path: Path, args: argparse.Namespace) -> int:
    return _put(path, args, new=False)


def _put(path: Path, args: argparse.Namespace, *, new: bool) -> int:
    user: str = args.user
    _expect(path, user, folded(user) in _users(path, _read(path)), new=new)  # nobody is asked for a password in vain
    line = _line(user, args.schemes or [SCHEMES[0]], args.iterations or NEW_ITERATIONS)
    with _alone(path) as lines:
        place = next((number for number, one in enumerate(lines) if one.user == line.user), None)
        _expect(path, user, place is not None, new=new)
        if place is None:
            lines.append(line)
        else:
            lines[place] = line
    return sysexits.EX_OK


def _expect(path: Path, user: str, there: bool, *, new: bool) -> None:
    if there and new:
        raise CliError(f"{path}: there is a user {user}; use change", sysexits.EX_DATAERR)
    if not there and not new:
        raise CliError(f"{path}: there is no user {user}; use add", sysexits.EX_NOUSER)


def _delete(path: Path, args: argparse.Namespace) -> int:
    user = folded(args.user)
    with _alone(path) as lines:
        _expect(path, user, any(one.user == user for one in lines), new=False)
        lines[:] = [one for one in lines if one.user != user]
    return sysexits.EX_OK


def _check(path: Path, args: argparse.Namespace) -> int:
    stored = _users(path, _read(path)).password(folded(args.user))
    password = _ask(args.user, twice=False)
    if stored is None or not check_stored(stored, password):
        raise CliError(f"the password is wrong, or {path} has no such user", sysexits.EX_NOPERM)
    return sysexits.EX_OK


def _list(path: Path, _args: argparse.Namespace) -> int:
    users = _users(path, _read(path))
    for name in users.names():
        print(name, *(one.kind.lower() for one in users.of(name)))
    return sysexits.EX_OK


def _verify(path: Path, _args: argparse.Namespace) -> int:
    if not path.exists():
        raise CliError(f"{path}: there is no such file", sysexits.EX_NOINPUT)
    _users(path, _read(path))
    if path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise CliError(f"{path} can be read or written by everybody: chmod o-rwx {path}", sysexits.EX_NOPERM)
    return sysexits.EX_OK


COMMANDS: Final[Mapping[str, Callable[[Path, argparse.Namespace], int]]] = {
    "add": _add,
    "change": _change,
    "delete": _delete,
    "list": _list,
    "check": _check,
    "verify": _verify,
}
_WITH_USER: Final = ("add", "change", "delete", "check")
_WITH_PASSWORD: Final = ("add", "change")


def run() -> None:
    """Is the program of the shell."""
    sys.exit(cli.run_program(_PROG, main))
