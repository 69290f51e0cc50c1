"""All services together: who starts when, who stops before whom, who restarts with whom, when everything ends.

The supervisor has a plan of those to be started and a set of those to be stopped.  Whenever the state of a member
changes it does what can be done now:

- of those to be stopped, it stops everybody whose dependents have ended;
- of the plan, it starts in order everybody whose delay is over, whose own dependents have stopped, and who has not to
  wait for one earlier in the plan that it depends on.

A member that fails is started again for ever.  Those that depend on it stop with it and wait for its next start; if that
fails as well they go on without it, so that they can say why they refuse.  Only a component that fails at its very first
start, while mcp itself starts, ends everything: at once if it says that somebody has to change something, otherwise if some
more tries do not help.

Invariant: a member is started only when none of those who restart with it is still stopping.

Owner: the event loop.
Ref: MeTA1 design, "Functional Specification: Supervisor"; GNU pies manual, "include-meta1" (order of start and stop).
"""

import os
import socket
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from meta1g.base.clock import Clock
from meta1g.base.dataclass import dataclass
from meta1g.base.log import Log
from meta1g.base.sysexits import EX_OK, EX_UNAVAILABLE
from meta1g.mcp.accept import AcceptMember
from meta1g.mcp.child import Member, MemberPlan, ProcessMember
from meta1g.mcp.fsm import ALIVE, UP, State
from meta1g.mcp.limits import FIRST_TRIES
from meta1g.mcp.listen import Sockets
from meta1g.mcp.loop import Loop, Timer
from meta1g.mcp.order import Dependents, by_dependence, closure, restart_order, start_first, start_order, stop_first
from meta1g.mcp.service import Service, StartAction, dependents_of

#: States of a member that failed and is going to be started again.
FAILING: Final = frozenset({State.BACKOFF, State.FAILED})
_WAITING: Final = frozenset({State.STOPPED, *FAILING})


@dataclass(slots=True)
class Hooks:
    """What happens outside when something happens here.  Owner: the event loop."""

    on_started: Callable[[], object] = lambda: None  # everybody has been started for the first time
    on_change: Callable[[], object] = lambda: None  # a process has started or ended


@dataclass(slots=True)
class End:
    """How it ends: exit code of mcp, and its last line if there is something to say.  Owner: the event loop."""

    code: int = EX_OK
    text: str = ""


def reason_of(member: Member) -> str:
    """Says where the reason of a failure stands."""
    path = member.plan.launch.stderr
    return f"the reason is in the log, or in {'the standard error of mcp' if path is None else path}"


class Watch:
    """Waits until everything that a new configuration has changed runs, or the first of it fails to start.

    Args:
        loop: the event loop.
        labels: what has changed.
        settled: called once, from the loop, with the members that failed.

    Owner: the event loop.
    """

    def __init__(self, loop: Loop, labels: frozenset[str], settled: Callable[[list[Member]], object]) -> None:
        self._loop = loop
        self._labels = labels
        self._settled: Callable[[list[Member]], object] | None = settled

    def failed(self, member: Member) -> None:
        """Notes that a start has failed."""
        if member.label in self._labels:
            self._tell([member])

    def look(self, plan: Collection[str], to_stop: Collection[str]) -> None:
        """Looks whether nobody waits for being started or stopped any more."""
        if not self._labels & {*plan, *to_stop}:
            self._tell([])

    def _tell(self, failed: list[Member]) -> None:
        settled, self._settled = self._settled, None
        if settled is not None:
            self._loop.call_later(0, lambda: settled(failed))


class Supervisor:
    """Runs services until it is told to stop or cannot go on.

    Args:
        loop: the event loop; stopped at the end.
        clock: the time.
        log: the log of mcp.
        queue_directory: where children run, relative sockets are relative to it.
        plans: what to run, in the order of the configuration file.
        sockets: what is bound for them.
        hooks: who wants to know.

    Owner: the event loop.
    """

    def __init__(
        self,
        loop: Loop,
        clock: Clock,
        log: Log,
        queue_directory: Path,
        plans: Sequence[MemberPlan],
        sockets: Sockets,
        hooks: Hooks,
    ) -> None:
        self.loop = loop
        self.clock = clock
        self.log = log
        self.queue_directory = queue_directory
        self.end = End()
        self._hooks = hooks
        self._sockets = sockets
        self.alive_fd, self._alive_w = os.pipe2(os.O_CLOEXEC)
        self.members: dict[str, Member] = {}
        self._names: list[str] = []
        self._dependents: Dependents = {}
        self._plan: list[str] = []
        self._to_stop: set[str] = set()
        self._stopping = False
        self._started = False
        self._watch: Watch | None = None
        self._timer: Timer | None = None
        self._busy = False
        self._again = False
        self._take(plans)

    def close(self) -> None:
        """Closes all descriptors; a child that is left sees the end of mcp and stops."""
        os.close(self._alive_w)
        os.close(self.alive_fd)
        self._sockets.close_but()

    # what members ask

    def sockets_of(self, service: Service) -> Sequence[tuple[str, socket.socket]]:
        """Gives names and listening sockets of a service."""
        if service.start_action is StartAction.WAIT:
            return []
        return [(listen.text, sock) for listen, sock in zip(service.listens, self._sockets.of(service), strict=True)]

    def siblings_of(self, service: Service) -> frozenset[int]:
        """Gives the process ids of other services of the same section."""
        return frozenset(pid for other in self._siblings(service) for pid in other.pids)

    def _siblings(self, service: Service) -> list[Member]:
        members = self.members.values()
        return [m for m in members if m.plan.service.section == service.section and m.label != service.label]

    def changed(self, member: Member) -> None:
        """Acts on the new state of a member."""
        failed = member.state in FAILING
        if failed and not self._stopping:
            if not self._started and not member.ever_up and (member.state is State.FAILED or member.starts >= FIRST_TRIES):
                self._failed_at_first(member)
            else:
                self._restart(member)
        elif member.state is State.STOPPED and member.label not in self._to_stop and not self._stopping:
            self._ended_well(member)
        if failed and self._watch is not None and not member.came_up:
            self._watch.failed(member)
        self._hooks.on_change()
        self.step()

    # orders from outside

    def start(self) -> None:
        """Starts everybody, the last section first."""
        self._plan = start_order(self._names)
        self.step()

    def stop(self, code: int = EX_OK, text: str = "") -> None:
        """Stops everybody in order, then the loop.

        Args:
            code: exit code of mcp.
            text: last line on standard error and in the log.
        """
        if self._stopping:
            return
        self._stopping = True
        self._watch = None
        self.end = End(code, text)
        self._plan.clear()
        self._to_stop = set(self.members)
        self.step()

    def reap(self) -> None:
        """Looks which processes have ended."""
        for member in list(self.members.values()):
            member.reap()

    def pass_on(self, signum: int) -> None:
        """Sends a signal to all processes, to those that are not ready yet when they are."""
        for member in self.members.values():
            member.pass_on_ready(signum)

    def apply(
        self, plans: Sequence[MemberPlan], sockets: Sockets, settled: "Callable[[list[Member]], object] | None" = None
    ) -> list[str]:
        """Takes over a new configuration: stops, restarts and starts what has changed, leaves the rest alone.

        Args:
            plans: what is to run from now on.
            sockets: what is bound for it; sockets that only the old configuration has are left to the caller.
            settled: called once, from the loop: with nothing when all that has changed runs, or at the first start that
                failed with the members that failed.

        Returns:
            The labels that are stopped, restarted or started.
        """
        if self._stopping:
            return []
        new = {plan.service.label: plan for plan in plans}
        removed = self.members.keys() - new.keys()
        added = new.keys() - self.members.keys()
        restart = {label for label, m in self.members.items() if label in new and not m.plan.same(new[label])}
        idle = {label for label, m in self.members.items() if m.state not in ALIVE}
        self._sockets = sockets
        self._take(plans)
        for label in list(restart):
            restart |= closure(label, self._dependents)
        wanted = (restart | added | idle | set(self._plan)) - removed
        self._to_stop |= removed | {label for label in restart if label in self.members}
        self._plan = by_dependence(wanted, self._names, self._dependents)
        self._watch = Watch(self.loop, frozenset(restart | added), settled) if settled else None
        self.step()
        return sorted(removed | restart | added | (idle & new.keys()))

    def _take(self, plans: Sequence[MemberPlan]) -> None:
        """Makes members for new plans; old ones keep their process and get the new plan for their next start."""
        for plan in plans:
            label = plan.service.label
            old = self.members.get(label)
            if old is None or old.state not in ALIVE:
                self.members[label] = self._kind(plan)(self, plan)
            else:
                old.plan = plan
        self._names = [plan.service.label for plan in plans]
        self._dependents = dependents_of([plan.service for plan in plans])

    # what follows from a change

    def _restart(self, member: Member) -> None:
        """Lets a failed member start again, and everybody who restarts with it unless it had not come up at all."""
        if member.label not in self._names:
            return
        group = restart_order(member.label, self._names, self._dependents) if member.came_up else [member.label]
        others = {n for n in group[1:] if self.members[n].state in ALIVE or n in self._plan}
        self._to_stop |= {n for n in others if self.members[n].state in UP}
        group = [n for n in group if n == member.label or n in others or self.members[n].state in FAILING]
        self._plan = [*group, *(n for n in self._plan if n not in group)]
        wait_s = max(member.due_s - self.clock.monotonic(), 0.0)
        how, wait_ms = member.how_it_ended, wait_s * 1000
        if member.state is State.FAILED:
            text = f"{how}; mend it, then reload; starts again"
            self.log.error("mcp.broken", text, component=member.label, time_ms=wait_ms)
        else:
            self.log.warn("mcp.restart", f"{how}; starts again", component=member.label, time_ms=wait_ms)

    def _failed_at_first(self, member: Member) -> None:
        """Ends everything: what does not run from the beginning is a mistake of the installation."""
        self._forget(member)
        code = member.last_exit if member.last_exit is not None and member.last_exit > 0 else EX_UNAVAILABLE
        how = member.how_it_ended
        if member.state is State.FAILED:
            how += ", which means that its configuration or permissions have to be mended"
        else:
            how += f" at its start, {member.starts} times"
        self.stop(code, f"{member.label} {how}; everything is stopped; {reason_of(member)}")

    def _ended_well(self, member: Member) -> None:
        self._forget(member)
        self.log.notice("mcp.gone", "ended on its own, not started again", component=member.label)

    def _forget(self, member: Member) -> None:
        self._plan = [n for n in self._plan if n != member.label]

    # doing what can be done now

    def step(self) -> None:
        """Stops and starts what can be stopped and started now."""
        self._again = True
        if self._busy:
            return
        self._busy = True
        try:
            while self._again:
                self._again = False
                self._stop_some()
                self._start_some()
        finally:
            self._busy = False
        self._look_for_end()

    def _stop_some(self) -> None:
        for label in [*self._names, *(n for n in list(self.members) if n not in self._names)]:
            member = self.members.get(label)
            if member is None or label not in self._to_stop:
                continue
            waits = member.state in UP and self._alive(stop_first(label, self._names, self._dependents) & self._to_stop)
            if not waits and (member.state in UP or self._stopping):
                member.stop()
            if member.state not in ALIVE:
                self._has_stopped(member)

    def _has_stopped(self, member: Member) -> None:
        self._to_stop.discard(member.label)
        self._again = True
        if member.label not in self._names:
            del self.members[member.label]
        elif type(member) is not self._kind(member.plan):
            self.members[member.label] = self._kind(member.plan)(self, member.plan)

    def _alive(self, labels: Iterable[str]) -> bool:
        return any(n in self.members and self.members[n].state in ALIVE for n in labels)

    def _start_some(self) -> None:
        plan, wait_s = list(self._plan), None
        for number, label in enumerate(plan):
            member = self.members[label]
            if member.state is State.RUNNING and label not in self._to_stop:
                self._plan.remove(label)
                continue
            earlier = [n for n in plan[:number] if n in self._plan]
            if member.state not in _WAITING or label in self._to_stop or self._must_wait(member):
                continue
            first = [n for n in start_first(label, earlier, self._dependents) if self._is_coming(self.members[n])]
            if first:
                if any(self.members[n].state is State.STARTING for n in first):
                    break  # in strict order: the next one waits as well
                continue
            delay_s = member.due_s - self.clock.monotonic()
            if member.state in FAILING and delay_s > 0:
                wait_s = delay_s if wait_s is None else min(wait_s, delay_s)
                continue
            member.start()
            self._hooks.on_change()
        self._set_timer(wait_s)
        if not self._started and not self._stopping and all(self._has_begun(m) for m in self.members.values()):
            self._started = True
            self._hooks.on_started()
        if self._watch is not None:
            self._watch.look(self._plan, self._to_stop)

    def _has_begun(self, member: Member) -> bool:
        """Tells whether a member has come up once, or has ended as it meant to."""
        return member.ever_up or (member.state is State.STOPPED and member.label not in self._plan)

    def _is_coming(self, member: Member) -> bool:
        """Tells whether it is worth while to wait for a member; one that failed to come up again may take long."""
        return not self._started or not (member.state in FAILING and not member.came_up)

    def _must_wait(self, member: Member) -> bool:
        """Tells whether somebody is in its way: still stops, has the names of its sockets, or takes sockets just now."""
        others = closure(member.label, self._dependents)
        if others & self._to_stop or any(self.members[n].state is State.STOPPING for n in others if n in self.members):
            return True
        service = member.plan.service
        leaving = (m for label, m in self.members.items() if label not in self._names and m.state in ALIVE)
        if any(m.plan.service.kind == service.kind for m in leaving):
            return True
        passing = service.start_action is StartAction.PASS
        return passing and any(other.state is State.STARTING for other in self._siblings(service))

    def _set_timer(self, wait_s: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if wait_s is None else self.loop.call_later(wait_s, self.step)

    def _look_for_end(self) -> None:
        if self._plan or self._to_stop or any(m.state in ALIVE for m in self.members.values()):
            return
        self.loop.stop()

    def _kind(self, plan: MemberPlan) -> type[AcceptMember] | type[ProcessMember]:
        return AcceptMember if plan.service.start_action is StartAction.ACCEPT else ProcessMember
