"""Milters of others with the configuration of the manual, each in a directory of its own.

The blocks of docs/filters-of-others.md say which file they are; a daemon gets them below its own root, with the paths in them
changed to that, runs under the account of its package, and sees no other name server than the one of the test.
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from contrib.lib.gateway import wait_until
from tests.manual.blocks import ROOT, blocks, by_tests, shown

PAGE = "filters-of-others.md"
NAME_SERVER = "127.0.53.1"
START_S = 90
STOP_S = 20
_BLOCK = re.compile(r"(?:changed in )?(?P<path>/\S+) of the package (?P<package>[\w-]+)(?:, to (?P<variant>\w+))?")
_NAME_SERVER = re.compile(r"(?m)(?<=^Nameservers)( +)\S+$")
_PATH = re.compile(r"(?<![\w/.])/(etc|run|var)/")


@dataclass(frozen=True)
class ManualFile:
    """One block: a file, or the lines of it that a variant changes."""

    path: str
    package: str
    variant: str
    text: str


def manual_files() -> list[ManualFile]:
    """Gives all files that the manual shows."""
    found = [(_BLOCK.fullmatch(what), text) for _test, what, text in by_tests(PAGE)]
    return [ManualFile(match["path"], match["package"], match["variant"] or "", text) for match, text in found if match]


def milter_options(name: str, root: Path, **more: str) -> str:
    """Gives the section milter of smtps that the manual has for a filter.

    Args:
        name: of the filter.
        root: below which it runs.
        more: options beside those of the manual.
    """
    section = re.compile(rf"(?m)^milter {name} \{{.*\}}$")
    texts = [found[0] for block in blocks(PAGE) if block.kind == "conf" and (found := section.search(block.text))]
    assert len(texts) == 1, f"docs/{PAGE} has {len(texts)} sections milter {name}"
    added = " ".join(f"{key} = {value};" for key, value in more.items())
    return re.sub(r"\}$", f"{added} }}", below(root, texts[0]))


def below(root: Path, text: str) -> str:
    """Changes the paths in a text to those below a root, and the name server to that of the test."""
    return _NAME_SERVER.sub(rf"\g<1>{NAME_SERVER}", _PATH.sub(lambda match: f"{root}{match[0]}", text))


def changed(text: str, lines: str) -> str:
    """Puts lines of a configuration in the place of those with the same keyword; new ones go to the end."""
    result = text.splitlines()
    for line in lines.splitlines():
        keyword = line.split()[0]
        same = [number for number, old in enumerate(result) if old.split()[:1] == [keyword]]
        for number in same[1:]:
            del result[number]
        result[same[0] if same else len(result) : same[0] + 1 if same else len(result)] = [line]
    return "\n".join(result) + "\n"


def shell_value(root: Path, path: str, name: str) -> list[str]:
    """Gives the words of a variable of a file of /etc/default."""
    for line in (root / path.lstrip("/")).read_text().splitlines():
        if line.startswith(f"{name}="):
            return shlex.split(shlex.split(line.partition("=")[2])[0])
    raise KeyError(f"{path}: no {name}")


@dataclass(frozen=True)
class Program:
    """One program of a filter.

    Args:
        command: gives its command line, by its root; in the foreground.
        socket: where it listens.
        account: whose the directories are.
        state: directories beside that of the socket.
    """

    command: Callable[[Path], list[str]]
    socket: str
    account: str
    state: tuple[str, ...] = ()


@dataclass(frozen=True)
class Filter:
    """A filter.

    Args:
        packages: whose files of the manual it gets.
        programs: in the order in which they are started.
        key_owner: whose the key for DKIM is.
        copied: directories of the system that it gets a copy of, below which the manual's files stand.
        hidden: directories of the system that are other ones for it.
    """

    packages: tuple[str, ...]
    programs: tuple[Program, ...]
    key_owner: str = ""
    copied: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


def _spamd(root: Path) -> list[str]:
    where = f"--siteconfigpath={root}/etc/spamassassin"
    return ["spamd", where, "--syslog=stderr", *shell_value(root, "/etc/default/spamd", "OPTIONS")]


def _spamass(root: Path) -> list[str]:
    """As its start script does it."""
    (socket,), (owner,), (mode,) = (
        shell_value(root, "/etc/default/spamass-milter", name) for name in ("SOCKET", "SOCKETOWNER", "SOCKETMODE")
    )
    options = shlex.join(shell_value(root, "/etc/default/spamass-milter", "OPTIONS"))
    user, group = owner.split(":")
    umask = f"umask {0o777 & ~int(mode, 8):04o}"
    command = f"{umask}; exec setpriv --reuid={user} --regid={group} --clear-groups spamass-milter -p {socket} {options}"
    return ["sh", "-c", command]


def _rspamd(root: Path) -> list[str]:
    places = {"LOCAL_CONFDIR": "etc/rspamd", "RUNDIR": "run/rspamd", "DBDIR": "var/lib/rspamd", "LOGDIR": "var/log/rspamd"}
    variables = [f"--var={name}={root}/{place}" for name, place in places.items()]
    return ["rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd", "-c", "/etc/rspamd/rspamd.conf", *variables]


def _clamav(program: str, conf: str) -> Callable[[Path], list[str]]:
    return lambda root: [program, "--foreground=true", f"--config-file={root}/etc/clamav/{conf}"]


FILTERS = {
    "opendkim": Filter(
        ("opendkim",),
        (
            Program(
                lambda root: ["opendkim", "-f", "-x", f"{root}/etc/opendkim.conf"],
                "/run/opendkim/opendkim.sock",
                "opendkim",
            ),
        ),
        key_owner="opendkim",
    ),
    "opendmarc": Filter(
        ("opendmarc",),
        (
            Program(
                lambda root: ["opendmarc", "-f", "-c", f"{root}/etc/opendmarc.conf"],
                "/run/opendmarc/opendmarc.sock",
                "opendmarc",
            ),
        ),
    ),
    "clamav": Filter(
        ("clamav-daemon", "clamav-milter"),
        (
            Program(_clamav("clamd", "clamd.conf"), "/run/clamav/clamd.ctl", "clamav", ("/var/lib/clamav",)),
            Program(_clamav("clamav-milter", "clamav-milter.conf"), "/run/clamav/clamav-milter.ctl", "clamav"),
        ),
    ),
    "spamass": Filter(
        ("spamassassin", "spamd", "spamass-milter"),
        (
            Program(_spamd, "/run/spamd/spamd.sock", "debian-spamd", ("/var/lib/spamassassin",)),
            Program(_spamass, "/run/spamass/spamass.sock", "spamass-milter"),
        ),
        copied=("/etc/spamassassin",),
        hidden=("/var/lib/spamassassin",),
    ),
    "rspamd": Filter(
        ("rspamd",),
        (Program(_rspamd, "/run/rspamd/milter.sock", "_rspamd", ("/var/lib/rspamd", "/var/log/rspamd")),),
        key_owner="_rspamd",
    ),
}  # fmt: skip
PACKAGES = ("opendkim-tools", *(package for one in FILTERS.values() for package in one.packages))


def install(*packages: str) -> None:
    """Installs packages of Debian; their services are not started."""
    words = shlex.join(packages)
    command = ["bash", "-c", f". contrib/lib/setup.sh; install_packages {words}"]
    subprocess.run(command, check=True, cwd=ROOT)


def make_key(directory: Path) -> str:
    """Makes a key for DKIM as the manual says; gives the value of its record."""
    directory.mkdir()
    line = shown(PAGE, "a key, with the package opendkim-tools").removeprefix("$ ")
    command = [word.replace("/etc/dkimkeys", str(directory)) for word in shlex.split(line)]
    subprocess.run(command, check=True, timeout=START_S)
    return " ".join(re.findall(r'"[^"]*"', (directory / "s1.txt").read_text()))


def place(name: str, root: Path, variant: str, keys: Path) -> None:
    """Makes the root of a filter: the files of the manual, the directories that its programs need."""
    one = FILTERS[name]
    (root / "etc").mkdir(parents=True)
    root.parent.chmod(0o755)
    (root / "etc/resolv.conf").write_text(f"nameserver {NAME_SERVER}\noptions timeout:1 attempts:1\n")
    for path in one.copied:
        shutil.copytree(path, root / path[1:])
    files = [file for file in manual_files() if file.package in one.packages]
    texts = {file.path: file.text for file in files if not file.variant}
    for file in files:
        if variant and file.variant == variant:
            texts[file.path] = changed(texts[file.path], file.text)
    for path, text in texts.items():
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).write_text(below(root, text))
    for program in one.programs:
        for path in (str(Path(program.socket).parent), *program.state):
            (root / path[1:]).mkdir(parents=True, exist_ok=True)
            shutil.chown(root / path[1:], program.account, program.account)
    if one.key_owner:
        shutil.copytree(keys, root / "etc/dkimkeys")
        for path in (root / "etc/dkimkeys", *(root / "etc/dkimkeys").iterdir()):
            shutil.chown(path, one.key_owner, one.key_owner)


@contextlib.contextmanager
def running(name: str, root: Path, variant: str, keys: Path) -> Iterator[None]:
    """Runs a filter.

    Args:
        name: of FILTERS.
        root: a directory that is not there yet.
        variant: what the manual changes for it, empty for nothing.
        keys: directory of the key for DKIM.

    Raises:
        TimeoutError: it does not listen in time; the text has the end of its log.
    """
    place(name, root, variant, keys)
    with contextlib.ExitStack() as undo:
        for program in FILTERS[name].programs:
            undo.callback(stop, _start(name, program, root))
        yield


def _start(name: str, program: Program, root: Path) -> "subprocess.Popen[bytes]":
    """Starts a program where its name server, and what is hidden of the system, are those of the root."""
    hidden = [("/etc/resolv.conf", f"{root}/etc/resolv.conf"), *((path, f"{root}{path}") for path in FILTERS[name].hidden)]
    mounts = [f"mount --bind {shlex.quote(ours)} {path}" for path, ours in hidden]
    script = " && ".join([*mounts, 'exec "$@"'])
    log = root / f"{Path(program.socket).name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script, "sh", *program.command(root)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    socket = Path(below(root, program.socket))

    def listens() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{program.command(root)} has ended with {process.returncode}: {log.read_text()[-2000:]}")
        return socket.exists()

    try:
        wait_until(listens, START_S, f"{socket}")
    except (TimeoutError, RuntimeError):
        stop(process)
        raise
    return process


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ends a program and all that it has started."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
