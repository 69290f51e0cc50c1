"""Runs every command of the manual on a fresh Debian, as root: `python -m tests.manual.debian [PAGE ...]`.

debootstrap makes a Debian in a directory; the page for the impatient begins with nothing but that, the page on building, too,
and all others begin with what that one has installed.  Everything happens in name spaces of its own (mounts, processes), so
that nothing is left behind but the directory.  It needs root, a mirror of Debian and the package index of Python; it takes
some minutes.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from contrib.lib.gateway import wait_until
from tests.manual.blocks import ROOT, blocks, is_played, pages
from tests.manual.player import ManualError, Player, captured, script

FROM_NOTHING = ("impatient.md", "building.md")
#: The greatest number of commands from nothing to a gateway with aliases, mailertable, access map and LMTP.
IMPATIENT_MAX = 20
_STATE = "/root/.manual-state"
_CHECKOUT = "usr/src/meta1g"
_INSIDE = "META1G_MANUAL_INSIDE"
#: Whom pip trusts on this machine is taken along; packages of the Debian have another opinion of /etc/ssl.
_CERTIFICATES = "/usr/local/share/pip-certificates.crt"


class Debian:
    """One Debian below a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, command: str, timeout_s: float) -> tuple[int, str]:
        """Runs a command in it."""
        pip = {key: value for key, value in os.environ.items() if key in ("PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "PIP_PROXY")}
        if (self.root / _CERTIFICATES[1:]).exists():
            pip["PIP_CERT"] = _CERTIFICATES
        system = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
        environment = {**pip, **system, "DEBIAN_FRONTEND": "noninteractive", "TERM": "dumb"}
        shell = ["chroot", self.root, "bash", "-c", script(command, _STATE)]
        return captured(shell, environment, self.root, timeout_s)

    def tool(self, program: str, *arguments: str) -> tuple[int, str]:
        """Runs a program of the gateway in it."""
        return self.run(shlex.join([program, *arguments]), 60)

    def write(self, path: str, text: str) -> None:
        """Writes a file."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def has_output(self, path: str) -> bool:
        """Tells whether a file has something in it."""
        target = self.root / path.lstrip("/")
        return target.exists() and target.stat().st_size > 0

    def processes(self) -> list[int]:
        """Processes that run in it."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (path / "root").readlink() == self.root:
                    found.append(int(path.name))
        return found

    def reset(self) -> None:
        """Ends what runs, removes what a page has made, and lets the next one begin."""
        for signum in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signum)
            with suppress(TimeoutError):
                wait_until(lambda: not self.processes(), 30, "processes have ended")
                break
        for name in ("etc/meta1", "var/spool/meta1", "var/mail", "var/backups", "home/ann"):
            shutil.rmtree(self.root / name, ignore_errors=True)
        for name in ("etc/meta1", "var/mail", "var/backups"):
            (self.root / name).mkdir()
        self.write(_STATE, "cd /etc/meta1\nexport PATH=/opt/meta1g/bin:$PATH\n")


def bootstrap(root: Path, suite: str, mirror: str) -> None:
    """Makes a Debian that has nothing but what it needs itself."""
    if root.exists():
        return
    fresh = root.with_name(root.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    subprocess.run(["debootstrap", "--variant=minbase", suite, fresh, mirror], check=True, stdout=subprocess.DEVNULL)
    (fresh / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")  # there is nobody who starts services
    (fresh / "usr/sbin/policy-rc.d").chmod(0o755)
    fresh.rename(root)


@contextmanager
def debian(base: Path, root: Path) -> Iterator[Debian]:
    """A copy of a Debian with the checkout in it, and with what its programs want to have mounted."""
    shutil.rmtree(root, ignore_errors=True)
    subprocess.run(["cp", "-a", "--reflink=auto", base, root], check=True)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    if "PIP_CERT" in os.environ:
        shutil.copy(os.environ["PIP_CERT"], root / _CERTIFICATES[1:])
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, files.split("\0")):
        (root / _CHECKOUT / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / _CHECKOUT / name)
    subprocess.run(["mount", "-t", "proc", "proc", root / "proc"], check=True)
    subprocess.run(["mount", "--bind", "/dev", root / "dev"], check=True)
    made = Debian(root)
    made.reset()
    try:
        yield made
    finally:
        made.reset()
        subprocess.run(["umount", root / "dev", root / "proc"], check=True)


def play(page: str, place: Debian) -> bool:
    """Plays one page and tells how it went."""
    began = time.monotonic()
    player = Player(place, debian=True)
    place.reset()
    try:
        player.play(blocks(page))
    except ManualError as error:
        print(f"WRONG  {error}", flush=True)
        for log in sorted(place.root.glob("var/spool/meta1/*.log")):
            print(f"{log.name}: {log.read_text()[-2000:]}")
        return False
    if page == "impatient.md" and len(player.ran) > IMPATIENT_MAX:
        print(f"WRONG  {page}: {len(player.ran)} commands, at most {IMPATIENT_MAX} are wanted")
        return False
    print(f"right  {page}: {len(player.ran)} commands, {time.monotonic() - began:.0f} s", flush=True)
    return True


def run(directory: Path, suite: str, mirror: str, wanted: list[str]) -> int:
    """Plays pages; gives how many are wrong."""
    bootstrap(directory / suite, suite, mirror)
    wrong = 0
    if "impatient.md" in wanted:
        with debian(directory / suite, directory / "impatient") as place:
            wrong += not play("impatient.md", place)
    with debian(directory / suite, directory / "installed") as place:
        if not play("building.md", place):
            return wrong + 1
        for page in wanted:
            wrong += page not in FROM_NOTHING and not play(page, place)
    return wrong


def main() -> int:
    """Reads the command line; goes on in name spaces of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.manual.debian", description=__doc__.partition("\n")[0])
    parser.add_argument("pages", nargs="*", help="pages below docs/ [all that have something to run]")
    parser.add_argument("--directory", type=Path, help="where the Debian is made, and found by the next run")
    parser.add_argument("--suite", default="bookworm")
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("only root can make a Debian in a directory")
    if _INSIDE not in os.environ:
        spaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command = [*spaces, sys.executable, "-m", "tests.manual.debian", *sys.argv[1:]]
        return subprocess.run(command, env={**os.environ, _INSIDE: "yes"}, cwd=ROOT, check=False).returncode
    known = [page for page in pages() if is_played(page) or any("debian" in block.words for block in blocks(page))]
    wanted = options.pages or known
    if unknown := {*wanted} - {*known}:
        parser.error(f"not among the pages that have something to run: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))  # the first process of a name space has no default
    if options.directory:
        options.directory.mkdir(parents=True, exist_ok=True)
        return run(options.directory.resolve(), options.suite, options.mirror, wanted)
    with tempfile.TemporaryDirectory(prefix="meta1g-debian-") as directory:
        return run(Path(directory), options.suite, options.mirror, wanted)


if __name__ == "__main__":
    sys.exit(main())
