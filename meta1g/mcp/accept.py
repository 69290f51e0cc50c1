"""start_action = accept: a process for each connection, with the connection as its standard input and output.

At most ACCEPT_MAX of them run at a time (invariant I4); further connections wait in the listen queue of the kernel.

Owner: the event loop.
Ref: MeTA1 design, "Functional Specification: Supervisor" (`accept` as inetd's nowait, modelled on).
"""

import contextlib
import os
import signal
import socket
import subprocess

from meta1g.mcp import spawn
from meta1g.mcp.child import Member, MemberHost, MemberPlan, exit_text
from meta1g.mcp.fsm import UP, Event, State
from meta1g.mcp.limits import ACCEPT_MAX, ACCEPT_PAUSE_S, STOP_GRACE_S
from meta1g.mcp.loop import Timer


class AcceptMember(Member):
    """A service that mcp accepts for.  Owner: the event loop."""

    def __init__(self, host: MemberHost, plan: MemberPlan) -> None:
        super().__init__(host, plan)
        self._listener: socket.socket | None = None
        self._watched = False
        self._processes: list[subprocess.Popen[bytes]] = []
        self._timers: list[Timer] = []

    @property
    def pids(self) -> list[int]:
        """Ids of the processes that serve connections."""
        return [process.pid for process in self._processes]

    def start(self) -> None:
        """Begins to accept."""
        self.move(Event.START)
        self._listener = self.host.sockets_of(self.plan.service)[0][1]
        self._listener.setblocking(False)
        self._watch()
        self.move(Event.READY)
        self.host.log.info("mcp.start", "accepts", component=self.label)
        self.host.changed(self)

    def _watch(self) -> None:
        if self._listener is not None and not self._watched:
            self.host.loop.add_reader(self._listener.fileno(), self._accept)
            self._watched = True

    def _unwatch(self) -> None:
        if self._listener is not None and self._watched:
            self.host.loop.remove(self._listener.fileno())
            self._watched = False

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            conn, _address = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            self._pause(str(error))
            return
        with conn:
            conn.setblocking(True)
            self._serve(conn)

    def _serve(self, conn: socket.socket) -> None:
        try:
            started = spawn.start(self.plan.launch, self.host.alive_fd, conn.fileno(), conn.fileno())
        except OSError as error:
            self._pause(str(error))
            return
        os.close(started.ready_fd)
        self.starts += 1
        self._processes.append(started.process)
        if len(self._processes) >= ACCEPT_MAX:
            self._unwatch()

    def _pause(self, reason: str) -> None:
        """Leaves connections waiting for a moment."""
        self.host.log.error("mcp.accept", reason, component=self.label)
        self._unwatch()
        self._timers = [self.host.loop.call_later(ACCEPT_PAUSE_S, self._resume)]

    def _resume(self) -> None:
        if self.state in UP and len(self._processes) < ACCEPT_MAX:
            self._watch()

    def stop(self) -> None:
        """Accepts no more, sends SIGTERM to those that serve, and SIGKILL after STOP_GRACE_S."""
        if self.state in UP:
            self._unwatch()
            self.move(Event.STOP)
            self.pass_on(signal.SIGTERM)
            self._timers.append(self.host.loop.call_later(STOP_GRACE_S, self.kill))
            self._check_stopped()
        elif self.state in (State.BACKOFF, State.FAILED):
            self.move(Event.STOP)

    def kill(self) -> None:
        """Kills all processes and what they have started."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def reap(self) -> None:
        """Looks which processes have ended."""
        ended = [process for process in self._processes if process.poll() is not None]
        for process in ended:
            self._processes.remove(process)
            self.last_exit = process.returncode
            if process.returncode:
                self.host.log.warn("mcp.failed", exit_text(process.returncode), component=self.label, pid=process.pid)
        if ended:
            self._resume()
            self._check_stopped()

    def _check_stopped(self) -> None:
        if self.state is State.STOPPING and not self._processes:
            for timer in self._timers:
                timer.cancel()
            self._timers.clear()
            self.move(Event.ENDED_WELL)
            self.host.changed(self)
