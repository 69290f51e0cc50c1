"""One service at run time: its process, its state, what mcp waits for.

Invariant: `state` follows the table in fsm.py; the descriptors and timers of a process are gone when it is.

Owner: the event loop.
Ref: MeTA1 design, "Functional Specification: Supervisor" (modelled on).
"""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from meta1g.base import failure, reach
from meta1g.base.clock import Clock
from meta1g.base.dataclass import dataclass
from meta1g.base.log import Log
from meta1g.mcp import spawn
from meta1g.mcp.fsm import UP, Event, State, exit_event, next_state
from meta1g.mcp.limits import STOP_GRACE_S
from meta1g.mcp.loop import Loop, Timer
from meta1g.mcp.passfd import Passing
from meta1g.mcp.restart import Failures
from meta1g.mcp.service import Service, StartAction, same

_NEVER_STARTED: Final = 71  # EX_OSERR: the exit code of a process that could not be started


class MemberHost(Protocol):
    """What a member needs of the supervisor."""

    loop: Loop
    clock: Clock
    log: Log
    alive_fd: int
    queue_directory: Path

    def sockets_of(self, service: Service) -> Sequence[tuple[str, socket.socket]]:
        """Gives names and listening sockets of a service."""
        ...

    def siblings_of(self, service: Service) -> frozenset[int]:
        """Gives the process ids of other services of the same section."""
        ...

    def changed(self, member: "Member") -> None:
        """Is told that the state of a member has changed."""
        ...


@dataclass(frozen=True, slots=True)
class MemberPlan:
    """What a member is made from.

    options holds all that the process reads from the configuration: if it differs, the process is restarted.
    """

    service: Service
    launch: spawn.Launch
    options: object = None

    def same(self, other: "MemberPlan") -> bool:
        """Tells whether a process made from the other plan would be the same."""
        return same(self.service, other.service) and self.launch == other.launch and self.options == other.options


class Member:
    """State and history of one service.  Owner: the event loop."""

    def __init__(self, host: MemberHost, plan: MemberPlan) -> None:
        self.host = host
        self.plan = plan
        self.state = State.STOPPED
        self.since_s = host.clock.now()
        self.starts = 0
        self.last_exit: int | None = None
        self.due_s = 0.0
        self.failures = Failures()
        #: whether its last run came as far as RUNNING, and whether any did
        self.came_up = False
        self.ever_up = False
        #: why mcp could not start it, empty if it could
        self.trouble = ""
        self._waiting_signals: set[int] = set()

    @property
    def label(self) -> str:
        """The name of the service."""
        return self.plan.service.label

    @property
    def how_it_ended(self) -> str:
        """Says in words how its last run ended."""
        return f"cannot be started: {self.trouble}" if self.trouble else exit_text(self.last_exit or 0)

    @property
    def pids(self) -> list[int]:
        """Ids of its processes that run."""
        raise NotImplementedError

    def start(self) -> None:
        """Starts it; the state says later what became of that."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stops it in order, after STOP_GRACE_S by force; if it waits to be started again, that is over."""
        raise NotImplementedError

    def reap(self) -> None:
        """Looks whether a process has ended."""
        raise NotImplementedError

    def kill(self) -> None:
        """Ends everything at once; for the case that mcp itself fails."""
        raise NotImplementedError

    def pass_on(self, signum: int) -> None:
        """Sends a signal to its processes."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def pass_on_ready(self, signum: int) -> None:
        """Sends a signal to its processes as soon as they are ready: before that it would end them."""
        if self.state is State.RUNNING:
            self.pass_on(signum)
        elif self.state is State.STARTING:
            self._waiting_signals.add(signum)

    def move(self, event: Event) -> None:
        """Takes a transition, without telling the supervisor."""
        self.state = next_state(self.state, event)
        self.since_s = self.host.clock.now()
        if event is Event.START:
            self.came_up = False
            self.trouble = ""
        if self.state is State.RUNNING:
            self.came_up = self.ever_up = True
            for signum in self._waiting_signals:
                self.pass_on(signum)
        if self.state is not State.STARTING:
            self._waiting_signals.clear()


class ProcessMember(Member):
    """A service with one process that runs for ever.  Owner: the event loop."""

    def __init__(self, host: MemberHost, plan: MemberPlan) -> None:
        super().__init__(host, plan)
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_fd = -1
        self._started_s = 0.0
        self._short = False  # it could not be started for a passing shortage
        self._told = False
        self._passed = False
        self._passing: Passing | None = None
        self._timers: list[Timer] = []

    @property
    def pids(self) -> list[int]:
        """Id of its process, if it runs."""
        return [self._process.pid] if self._process is not None else []

    def start(self) -> None:
        """Starts the process and begins to hand over its sockets."""
        self.move(Event.START)
        self.starts += 1
        self._started_s = self.host.clock.monotonic()
        self._short = False
        with failure.item(self.host.log, "mcp.start", self._not_started, component=self.label):
            self._launch()

    def _launch(self) -> None:
        service = self.plan.service
        sockets = self.host.sockets_of(service)
        stdin = sockets[0][1].fileno() if service.start_action is StartAction.NOSTARTACCEPT else None
        try:
            started = spawn.start(self.plan.launch, self.host.alive_fd, stdin)
        except OSError as error:  # a program out of reach, or a passing shortage: both are tried again
            self._not_started(error)
            self.host.log.error("mcp.not_started", self.trouble, component=self.label)
            return
        self._process = started.process
        self._ready_fd = started.ready_fd
        self.host.log.info("mcp.start", "ok", component=self.label, pid=started.process.pid)
        self.host.loop.add_reader(started.ready_fd, self._readiness)
        self._timers.append(self.host.loop.call_later(service.ready_bound_s, self._waited_enough))
        self._told = False
        self._passed = service.start_action is not StartAction.PASS
        if not self._passed:
            path = self.host.queue_directory / service.pass_fd_socket
            uid, siblings = self.plan.launch.identity.uid, self.host.siblings_of(service)
            self._passing = Passing(self.host.loop, path, uid, siblings, sockets, self._sockets_passed)

    def _not_started(self, error: Exception) -> None:
        """Treats a start that failed in mcp as a run that failed; a process that there is already ends first."""
        self._short = failure.is_shortage(error)
        self.trouble = reach.explain(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        if self._process is None:
            self.host.loop.call_later(0, lambda: self._ended(_NEVER_STARTED))
        else:
            self.kill()

    def _readiness(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._told = bool(os.read(self._ready_fd, 1)) or self._told
            self._close_ready()
            self._check_ready()

    def _waited_enough(self) -> None:
        if not self._told:
            bound_s = self.plan.service.ready_bound_s
            self.host.log.warn("mcp.not_ready", "not ready in time, going on", component=self.label, time_ms=bound_s * 1000.0)
        self._told = True
        self._check_ready()

    def _sockets_passed(self, error: str) -> None:
        self._passing = None
        if error:
            self.host.log.error("mcp.not_passed", error, component=self.label)
            self.pass_on(signal.SIGKILL)
            return
        self.host.log.info("mcp.pass", "ok", component=self.label)
        self._passed = True
        self._check_ready()

    def _check_ready(self) -> None:
        if self._told and self._passed and self.state is State.STARTING:
            self.move(Event.READY)
            self.host.log.info("mcp.ready", "ok", component=self.label)
            self.host.changed(self)

    def _close_ready(self) -> None:
        if self._ready_fd >= 0:
            self.host.loop.remove(self._ready_fd)
            os.close(self._ready_fd)
            self._ready_fd = -1

    def stop(self) -> None:
        """Sends SIGTERM, and SIGKILL after STOP_GRACE_S."""
        if self.state in UP:
            self.move(Event.STOP)
            self.host.log.info("mcp.stopping", "told to stop", component=self.label)
            self.pass_on(signal.SIGTERM)
            self._timers.append(self.host.loop.call_later(STOP_GRACE_S, self._force))
        elif self.state in (State.BACKOFF, State.FAILED):
            self.move(Event.STOP)

    def _force(self) -> None:
        self.host.log.warn("mcp.killed", f"not gone {STOP_GRACE_S:g} s after SIGTERM, killed", component=self.label)
        self.kill()

    def kill(self) -> None:
        """Kills the process and what it has started."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def reap(self) -> None:
        """Looks whether the process has ended."""
        if self._process is not None and self._process.poll() is not None:
            code = self._process.returncode
            self.host.log.info("mcp.end", exit_text(code), component=self.label, pid=self._process.pid, exit=code)
            self._ended(code)

    def _ended(self, code: int) -> None:
        self._close_ready()
        self._process = None
        if self._passing is not None:
            self._passing.close()
            self._passing = None
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self.last_exit = code
        self._after_end(exit_event(code))
        self.host.changed(self)

    def _after_end(self, event: Event) -> None:
        if event in (Event.FAILED_RUN, Event.REFUSED) and self.state is not State.STOPPING:
            now_s = self.host.clock.monotonic()
            refused = event is Event.REFUSED
            self.due_s = now_s + self.failures.record(now_s - self._started_s, refused=refused, short=self._short)
        self.move(event)


def exit_text(code: int) -> str:
    """Says in words how a process ended.

    Args:
        code: its exit code, or the negative number of a signal.
    """
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"
