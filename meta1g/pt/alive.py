"""The tie to mcp: notices when mcp is gone, tells mcp when the process is ready.

Ref: base/startup.py (META1G_ALIVE_FD, META1G_READY_FD); MeTA1 design, "Functional Specification: MCP" (modelled on).
"""

import os
from collections.abc import Callable

from meta1g.base import startup
from meta1g.pt.evthr import Evthr
from meta1g.pt.task import Result, Task

tell_ready = startup.tell_ready


def watch_alive(evthr: Evthr, on_eof: Callable[[], None], fd: int | None = None) -> Task | None:
    """Calls on_eof() once in a worker when mcp is gone.

    Args:
        evthr: the system to watch in.
        on_eof: stops the process in order.
        fd: the descriptor; the one that mcp handed over if None.

    Returns:
        The task, or None if the process was not started by mcp.
    """
    if fd is None:
        fd = startup.alive_fd()
    if fd is None:
        return None
    os.set_blocking(fd, False)

    def on_readable(task: Task) -> Result:
        try:
            if os.read(task.fd, 1):
                return Result.WAITQ
        except BlockingIOError:
            return Result.WAITQ
        on_eof()
        return Result.DEL

    return evthr.task_new(on_readable, fd=fd, name="mcp", frame=True)
