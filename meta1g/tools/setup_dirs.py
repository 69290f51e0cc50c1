"""sm.setup: makes accounts, directories and a first configuration; overwrites nothing, and tells what it does.

Ref: MeTA1 sm.setup.sh (purpose modelled on).
"""

import os
import sys
from pathlib import Path
from typing import Final

from meta1g.base import cli, paths, sysexits
from meta1g.base.cli import CliError
from meta1g.base.hostname import system_name
from meta1g.conf.config import Config
from meta1g.conf.load import load_file
from meta1g.tools import accounts, layout, selfsigned
from meta1g.tools.blockgroups import spread_below
from meta1g.tools.example_config import example

_PROG: Final = "sm.setup"
_CONFIG_MODE: Final = 0o644
_DIRECTORY_MODE: Final = 0o755
_CONTENT_GROUP: Final = "meta1c"
_SERVER: Final = paths.COMPONENT_ACCOUNTS["smtps"]


def tell(text: str) -> None:
    """Says what was done."""
    print(f"{_PROG}: {text}")


def make_accounts() -> None:
    """Makes the accounts that are missing.

    Raises:
        CliError: a number belongs to somebody else, or a command fails.
    """
    found = accounts.conflicts()
    if found:
        advice = "free the numbers, or create the accounts by hand with others; nothing was changed"
        raise CliError(f"{'; '.join(found)}: {advice}", sysexits.EX_UNAVAILABLE)
    for step in accounts.missing():
        accounts.make(step)
        tell(f"made {step.text}")


def make_directory(wanted: layout.Wanted) -> None:
    """Makes a directory, or mends owner and mode of one that there is.

    Raises:
        CliError: something else has its name, or the system refuses.
    """
    problem = wanted.problem()
    if not problem:
        return
    if problem == "is no directory":
        raise CliError(f"{wanted.path}: {problem}; remove it and run {_PROG} again", sysexits.EX_CANTCREAT)
    try:
        if problem == "is missing":
            make_parents(wanted.path)
            wanted.path.mkdir(mode=0o700)
        fd = os.open(wanted.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if wanted.spread and problem == "is missing":
                spread_below(fd)
            os.fchown(fd, wanted.owner.uid, wanted.owner.gid)
            os.fchmod(fd, wanted.mode)
        finally:
            os.close(fd)
    except OSError as error:
        raise CliError(f"{wanted.path}: cannot be made or mended: {error.strerror}", sysexits.EX_CANTCREAT) from error
    if problem == "is missing":
        tell(f"made {wanted.path}")
    else:
        tell(f"mended {wanted.path}: {problem}")


def make_parents(path: Path) -> None:
    """Makes the directories above a path, open for all accounts whatever the umask of the caller is."""
    for directory in reversed(path.parents):
        if not directory.exists():
            directory.mkdir()
            directory.chmod(_DIRECTORY_MODE)


def make_certificate(conf: Path, hostname: str, gid: int | None) -> None:
    """Makes a certificate, if there is none, and says what names it in a configuration.

    Raises:
        CliError: it cannot be made.
    """
    make_parents(conf)
    if selfsigned.make(conf.parent, hostname, gid):
        tell(f"made {conf.parent / selfsigned.CERT} for {hostname}, signed by its own key")
    if conf.exists() and selfsigned.CERT not in conf.read_text(errors="replace"):
        tell(f"put this into smtps of {conf}: tls {{ cert_file = {selfsigned.CERT}; key_file = {selfsigned.KEY}; }}")


def make_config(conf: Path, queue: Path, cdb_gid: int | None, *, tls: bool) -> None:
    """Writes a first configuration, if there is none."""
    if conf.exists():
        return
    try:
        make_parents(conf)
        fd = os.open(conf, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _CONFIG_MODE)
    except OSError as error:
        raise CliError(f"{conf}: cannot be made: {error.strerror}", sysexits.EX_CANTCREAT) from error
    with open(fd, "w") as file:
        os.fchmod(fd, _CONFIG_MODE)
        file.write(example(conf, queue, cdb_gid, tls=tls))
    tell(f"made {conf}: an example; edit it, then check it with smconf {conf}")


def make_queue(queue: Path, config: Config | None, *, use_accounts: bool) -> None:
    """Makes all directories of the queue, and notes whether the accounts are used."""
    for wanted in layout.directories(queue, layout.owners(config) if use_accounts else None):
        make_directory(wanted)
    marker = queue / paths.MCP_NO_ACCOUNTS
    if use_accounts:
        marker.unlink(missing_ok=True)
    elif not marker.exists():
        marker.touch(mode=_CONFIG_MODE)


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code.

    Raises:
        CliError, ConfigError: something cannot be made, or the configuration is wrong; the text says what to do.
    """
    parser = cli.parser(_PROG, "Makes accounts, queue directories and a first configuration; overwrites nothing.")
    parser.add_argument("-f", dest="file", type=Path, default=paths.DEFAULT_CONFIG_FILE, help="configuration file")
    parser.add_argument("--queue-directory", type=Path, help="queue directory, if it is not the one that FILE names")
    parser.add_argument("--tls", action="store_true", help="make a certificate, so that STARTTLS works from the first start")
    parser.add_argument("--no-accounts", action="store_true", help="no accounts: everything belongs to the caller, for tests")
    options = parser.parse_args(argv)
    conf = options.file.absolute()
    if not options.no_accounts and os.geteuid() != 0:
        text = "only root can make accounts; run it as root, or with --no-accounts to run everything as yourself"
        raise CliError(text, sysexits.EX_NOPERM)
    config = load_file(conf) if conf.exists() else None
    queue = options.queue_directory or (config.queue_directory if config else paths.DEFAULT_QUEUE_DIRECTORY)
    if not options.no_accounts:
        make_accounts()
    make_queue(queue.absolute(), config, use_accounts=not options.no_accounts)
    if options.tls:
        name = (config.hostname if config else "") or system_name()
        make_certificate(conf, name, None if options.no_accounts else layout.owners(config)[_SERVER].gid)
    gid = None if options.no_accounts else accounts.group_id(_CONTENT_GROUP)
    make_config(conf, queue.absolute(), gid, tls=options.tls)
    return sysexits.EX_OK


def run() -> None:
    """Runs the program (console script)."""
    sys.exit(cli.run_program(_PROG, main))


if __name__ == "__main__":
    run()
