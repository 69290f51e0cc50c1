"""What a module of tests may not leave behind: open sockets and pipes, and processes.

Everything is looked at with few system calls, since each module is; who holds what is looked for only if something is left.
"""

import contextlib
import gc
import itertools
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contrib.lib.gateway import children_of

#: What stays to the end of this process, as children() and descriptors() call it, and processes whose children count as ours.
KEPT: set[str] = set()
KEEPERS: set[int] = set()
#: Threads, peers and processes that are ending may take a moment.
GRACE_S = 5.0


def descriptors() -> dict[str, str]:
    """The sockets and pipes of this process: what the kernel calls them, and the descriptor of each."""
    offload = sys.modules.get("meta1g.st.offload")  # its native threads wait at a pipe to the end of the process
    kept = (offload._offload._take_fd, offload._offload._give_fd) if offload else ()
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(path)  # noqa: PTH115  it is no path
        except OSError:  # the one that listed the directory
            continue
        if target.startswith(("socket:", "pipe:")) and int(path.name) not in kept:
            found[target] = f"descriptor {path.name}"
    return found


def children() -> dict[str, str]:
    """The children of this process, those that ended and were not waited for too: `process:N`, and what each runs."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return {}
    found = {}
    for pid in itertools.chain.from_iterable(map(children_of, (os.getpid(), *KEEPERS))):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            found[f"process:{pid}"] = words or "has ended, and nobody waited for it"
    return found


def remaining() -> dict[str, str]:
    """All that a test may have left just now."""
    return {name: what for name, what in {**descriptors(), **children()}.items() if name not in KEPT}


def holders(left: dict[str, str]) -> "list[subprocess.Popen[bytes] | subprocess.Popen[str]]":
    """The processes of the module subprocess of which a pipe is left."""
    numbers = {what.partition(" ")[2] for name, what in left.items() if name.startswith("pipe:")}
    return [
        one
        for one in gc.get_objects()
        if isinstance(one, subprocess.Popen)
        for pipe in (one.stdin, one.stdout, one.stderr)
        if pipe and not pipe.closed and str(pipe.fileno()) in numbers
    ]


def describe(left: dict[str, str]) -> list[str]:
    """What is left, sockets by lines of the kernel's tables."""
    inodes = {name[len("socket:[") : -1]: name for name in left if name.startswith("socket:")}
    lines = [f"{name} {what}" for name, what in left.items()]
    for table in ("tcp", "tcp6", "udp", "unix") if inodes else ():
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            if inodes.keys() & set(line.split()):
                lines.append(f"{table} {line.strip()}")
    return lines


def clear(left: dict[str, str]) -> None:
    """Ends processes that are left and closes pipes, so that other modules need not pay for it."""
    for one in holders(left):
        with one:
            one.kill()
    for name in left:
        with contextlib.suppress(OSError):
            if name.startswith("process:"):
                pid = int(name.partition(":")[2])
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


@contextlib.contextmanager
def nothing_left(name: str, grace_s: float = GRACE_S) -> Iterator[None]:
    """Fails if what runs inside leaves something behind; what was there before may stay.

    Args:
        name: of the module.
        grace_s: so many seconds it may take until everything has gone.
    """
    before = remaining().keys()
    yield
    end = time.monotonic() + grace_s
    while left := {one: what for one, what in remaining().items() if one not in before}:
        pipes = [f"a pipe of {one.args}" for one in holders(left)]
        if not pipes:  # what is collected cannot be named any more
            gc.collect()
        if time.monotonic() > end:
            text = [*describe(left), *pipes]
            clear(left)
            pytest.fail(f"{name} leaves behind: {'; '.join(text)}")
        select.select([], [], [], 0.05)
