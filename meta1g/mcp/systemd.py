"""Talks to systemd: ready, stopping, reloading, alive; does nothing under another parent.

Ref: sd_notify(3), sd_watchdog_enabled(3).
"""

import contextlib
import os
import socket
import time
from typing import Final

from meta1g.mcp.loop import Loop

_US: Final = 1_000_000


def notify(state: str) -> None:
    """Sends `NAME=value` lines to the service manager (NOTIFY_SOCKET); a failure is the manager's."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto(state.encode(), name)


def reloading() -> str:
    """Gives the state that announces a reload; READY=1 ends it."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def watchdog_interval_s() -> float | None:
    """Gives how often WATCHDOG=1 has to be sent: half of what the manager allows, None if it does not ask for it."""
    limit, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not limit.isdigit() or int(limit) == 0 or pid != str(os.getpid()):
        return None
    return int(limit) / _US / 2


def keep_watchdog(loop: Loop) -> None:
    """Sends WATCHDOG=1 now and then for ever, if the manager asks for it."""
    interval_s = watchdog_interval_s()
    if interval_s is not None:
        _beat(loop, interval_s)


def _beat(loop: Loop, interval_s: float) -> None:
    notify("WATCHDOG=1")
    loop.call_later(interval_s, lambda: _beat(loop, interval_s))
