"""runas: runs a program under another account, with nothing left of the privileges of root.

    runas USER PROGRAM [ARGUMENT ...]
    runas -g GROUP USER PROGRAM ...    with another primary group
    runas -G GROUP[,GROUP] USER ...    with these supplementary groups instead of those of the account

The supplementary groups are those that the account has on this machine.  Descriptors above standard error are closed, HOME,
USER, LOGNAME and SHELL are those of the account, and no set-user-id program gives anything back.  The exit code is that of
the program: it takes the place of runas.

Ref: MeTA1 runas (purpose modelled on); initgroups(3), setresuid(2).
"""

import argparse
import os
import pwd
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from meta1g.base import cli, privileges, sysexits
from meta1g.base.accounts import group_entry, user_entry

_PROG: Final = "runas"
_FIRST_DESCRIPTOR: Final = 3


def main(argv: list[str]) -> int:
    """Runs the program; comes back only with an error.

    Raises:
        CliError: there is no such account, group or program, or the caller may not become the account.
    """
    options = _parser().parse_args(argv)
    user = user_entry(options.user)
    if user is None:
        raise cli.CliError(f"user {options.user} does not exist; create it or name another one", sysexits.EX_NOUSER)
    if user.pw_uid == 0:
        raise cli.CliError(
            "user root would keep all privileges; name another account, or run the program itself", sysexits.EX_USAGE
        )
    gid = user.pw_gid if options.group is None else _gid(options.group)
    groups = (
        os.getgrouplist(user.pw_name, gid) if options.groups is None else [_gid(name) for name in options.groups.split(",")]
    )
    become(user, gid, sorted({gid, *groups}))
    return execute(options.program, [options.program, *options.arguments], environment(user, os.environ))


def _gid(name: str) -> int:
    entry = group_entry(name)
    if entry is None:
        raise cli.CliError(f"group {name} does not exist; create it or name another one", sysexits.EX_NOUSER)
    return entry.gr_gid


def become(user: pwd.struct_passwd, gid: int, groups: Sequence[int]) -> None:
    """Becomes an account; who is that account already, with these groups, may run it, too.

    Raises:
        CliError: the caller is neither root nor the account, or the system refuses.
    """
    if os.geteuid() != 0:
        same = os.getresuid() == (user.pw_uid,) * 3 and os.getresgid() == (gid,) * 3 and {gid, *os.getgroups()} == set(groups)
        if not same:
            raise cli.CliError(f"only root can become user {user.pw_name}; run it as root", sysexits.EX_NOPERM)
    else:
        try:
            privileges.drop(user.pw_uid, gid, groups)
        except OSError as error:
            raise cli.CliError(f"cannot become user {user.pw_name}: {error.strerror}", sysexits.EX_NOPERM) from error
    os.closerange(_FIRST_DESCRIPTOR, os.sysconf("SC_OPEN_MAX"))


def environment(user: pwd.struct_passwd, before: Mapping[str, str]) -> dict[str, str]:
    """Gives the environment of a program that runs under an account."""
    own = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, "SHELL": user.pw_shell or "/bin/sh"}
    return {**before, **own}


def execute(name: str, argv: list[str], env: Mapping[str, str]) -> int:
    """Puts a program in the place of this process.

    Raises:
        CliError: there is none, or it cannot be executed; asked with the identity that the process has now.
    """
    path = shutil.which(name)
    if path is None:
        place = name if os.sep in name else f"{name} in PATH"
        raise cli.CliError(f"{place}: no program that user {env['USER']} may execute", sysexits.EX_UNAVAILABLE)
    try:
        os.execve(path, argv, env)  # noqa: S606 - that is what it is for
    except OSError as error:
        raise cli.CliError(f"{path}: cannot be executed: {error.strerror}", sysexits.EX_UNAVAILABLE) from error


def _parser() -> cli.Parser:
    parser = cli.parser(_PROG, "Runs a program under another account, with nothing left of the privileges of root.")
    parser.add_argument("-g", dest="group", help="primary group; that of the account if it is not given")
    parser.add_argument(
        "-G", dest="groups", help="supplementary groups, separated by commas; those of the account if not given"
    )
    parser.add_argument("user", metavar="USER", help="the account, by name or number")
    parser.add_argument("program", metavar="PROGRAM", help="the program: a path, or a name that is looked for in PATH")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGUMENT", help="its arguments, as they are")
    return parser


def run() -> None:
    """Is the program of the shell."""
    sys.exit(cli.run_program(_PROG, main))


if __name__ == "__main__":
    run()
