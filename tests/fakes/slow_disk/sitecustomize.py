"""A slow disk for real processes: on the PYTHONPATH of a gateway it is imported by each of them before their own code.

`SLOW_DISK_MS` says how many milliseconds longer each flush takes, as on a slow or busy disk.
"""

import functools
import os
import time
from collections.abc import Callable
from typing import Any

from meta1g.db.files import Files

FLUSHES = ("datasync", "sync", "sync_directory")


def slow(flush: Callable[..., Any], delay_s: float) -> Callable[..., Any]:
    @functools.wraps(flush)
    def slowed(*arguments: Any) -> Any:
        time.sleep(delay_s)
        return flush(*arguments)

    return slowed


def install(delay_ms: int) -> None:
    for name in FLUSHES:
        setattr(Files, name, slow(getattr(Files, name), delay_ms / 1000))


if os.environ.get("SLOW_DISK_MS"):
    install(int(os.environ["SLOW_DISK_MS"]))
