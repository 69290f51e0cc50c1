"""Shortages made on purpose: of descriptors and of threads, for the process that asks for it."""

import contextlib
import os
import resource
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def no_descriptors(left: int = 0) -> Iterator[None]:
    """Leaves this process only so many descriptors to open; those that are open stay so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.dup(0) for _ in range(left + 1)]
    for fd in held:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(held), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def no_threads(name: str) -> Iterator[None]:
    """Lets the system give this process no further thread of a name."""
    start = threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    threading.Thread.start = refused  # type: ignore[method-assign]
    try:
        yield
    finally:
        threading.Thread.start = start  # type: ignore[method-assign]
