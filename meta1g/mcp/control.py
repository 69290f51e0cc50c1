"""The main control program put together: configuration, sockets, supervisor, status, signals.

Owner: the process.
Ref: MeTA1 design, "Functional Specification: Supervisor" (signals modelled on).
"""

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

from meta1g.base import failure, hostname, logkept, startup
from meta1g.base.cli import CliError
from meta1g.base.clock import Clock
from meta1g.base.log import Log
from meta1g.mcp import leftovers, logfiles, precheck, status, systemd
from meta1g.mcp.commands import Commands, component_facts
from meta1g.mcp.fsm import State
from meta1g.mcp.listen import Sockets, systemd_sockets
from meta1g.mcp.loop import Loop
from meta1g.mcp.prepare import Preparation, Prepared, one_error, prepare, try_to_prepare
from meta1g.mcp.reload import InForce, Reloader, open_log
from meta1g.mcp.supervisor import End, Hooks, Supervisor

#: Gets the queue directory.
OnStarted = Callable[[Path], object]


class Mcp:
    """One mcp.

    Args:
        file: the configuration file.
        clock: the time.
        lenient: unknown options are warnings.
        on_started: called when everybody has been started.

    Raises:
        CliError, ConfigError: the configuration is wrong, or a socket cannot be bound; nothing has been started.

    Owner: the process.
    """

    def __init__(self, file: Path, clock: Clock, *, lenient: bool = False, on_started: OnStarted = lambda _queue: None) -> None:
        self._clock = clock
        self._on_started = on_started
        prepared = prepare(file, lenient=lenient)
        with contextlib.ExitStack() as undo:
            self._lock = leftovers.QueueLock(prepared.queue)
            undo.callback(self._lock.release)
            undo.callback(logfiles.remove, logfiles.make(prepared.log_files))
            log = open_log(prepared.config)
            self._loop = Loop(clock)
            undo.callback(self._loop.close)
            precheck.run(self._loop, log, prepared.plans, prepared.logs_made)
            _wait_for_leftovers(prepared.queue, clock, log)
            sockets = Sockets(prepared.queue, systemd_sockets()).bind(prepared.services)
            undo.callback(sockets.close_but)
            self._now = InForce(prepared, sockets, log)
            hooks = Hooks(on_started=self._started, on_change=self._remember)
            self._supervisor = Supervisor(self._loop, clock, log, prepared.queue, prepared.plans, sockets, hooks)
            undo.callback(self._supervisor.close)
            self._reloader = Reloader(
                self._loop, self._supervisor, file, lenient=lenient, now=self._now, on_change=self._take_over
            )
            commands = Commands(self._facts, self._reloader.ask, prepared.config.path)
            self._status = status.StatusServer(self._loop, prepared.queue, commands.answer, log)
            undo.pop_all()

    @property
    def log(self) -> Log:
        """The log of mcp."""
        return self._now.log

    @property
    def _prepared(self) -> Prepared:
        return self._now.prepared

    def _take_over(self, now: InForce) -> None:
        self._now = now
        self._status.log = now.log

    def run(self) -> End:
        """Starts everybody and runs until all have stopped; gives how it ended."""
        self._loop.on_signal(signal.SIGCHLD, self._supervisor.reap)
        self._loop.on_signal(signal.SIGTERM, self._stop)
        self._loop.on_signal(signal.SIGINT, self._stop)
        self._loop.on_signal(signal.SIGHUP, self._reloader.ask)
        self._loop.on_signal(signal.SIGUSR1, self._reopen)
        self._warn()
        for service in self._prepared.services:
            for listen in service.listens:
                self.log.info("mcp.listen", service.start_action, component=service.label, listen=listen.text)
        systemd.keep_watchdog(self._loop)
        try:
            self._supervisor.start()
            self._loop.run()
        except Exception as error:  # noqa: BLE001  the frame failed: the children notice the end of mcp and stop
            failure.end_process(self.log, "mcp.loop", error)
        return self._finish()

    def _finish(self) -> End:
        end = self._supervisor.end
        systemd.notify("STOPPING=1")
        self._reloader.close()
        self._status.close()
        self._supervisor.close()
        self._loop.close()
        self._remember()
        if end.text:
            self.log.fatal("mcp.main", end.text, exit=end.code)
        else:
            self.log.notice("mcp.stop", "stopped", exit=end.code)
        self._lock.release()
        return end

    def _warn(self) -> None:
        for text in self._prepared.warnings:
            self.log.warn("mcp.config", text)

    def _started(self) -> None:
        self.log.info("mcp.started", "ok", count=len(self._prepared.plans))
        systemd.notify("READY=1\nSTATUS=all components run")
        self._on_started(self._prepared.queue)
        self._reloader.release()

    def _remember(self) -> None:
        pids = [pid for member in self._supervisor.members.values() for pid in member.pids]
        try:
            leftovers.remember(self._prepared.queue, pids)
        except OSError as error:  # only the next mcp misses it
            self.log.error("mcp.children", str(error))

    def _facts(self) -> dict[str, object]:
        members = self._supervisor.members.values()
        last = self._reloader.last
        return {
            "pid": os.getpid(),
            "config": str(self._prepared.config.path),
            "well": all(member.state is State.RUNNING for member in members),
            "reload": last.facts() if last else None,
            "reloading": self._reloader.busy,
            "log": logkept.trouble(self._prepared.queue),
            "components": component_facts(members),
        }

    # signals

    def _stop(self) -> None:
        self.log.notice("mcp.stop", "told to stop")
        systemd.notify("STOPPING=1")
        self._reloader.close()
        self._supervisor.stop()

    def _reopen(self) -> None:
        try:
            logfiles.make(self._prepared.log_files)
        except CliError as error:
            self.log.error("mcp.reopen", str(error))
        self.log.reopen()
        self._supervisor.pass_on(signal.SIGUSR1)


def check(file: Path, clock: Clock, *, lenient: bool = False) -> None:
    """Checks a configuration as a start or reload does, each entry of its maps and the name of the machine, too.

    Nothing is started or changed.  With startup.QUICK_CHECK in the environment it is what a start does, and no more.

    Raises:
        CliError, ConfigError: something is wrong; the text has a line for each problem.
    """
    made = try_to_prepare(file, lenient=lenient)
    config, prepared = made.config, made.prepared
    thorough = not os.environ.get(startup.QUICK_CHECK)
    if prepared is not None:
        made.attempt(lambda: logfiles.check(prepared.log_files))
        made.attempt(lambda: startup.check_log("mcp", config.glob, config.glob.sub("mcp"), prepared.queue))
    nameless = hostname.problem(config.hostname) if thorough else ""
    if nameless:
        made.wrong.append(CliError(f"{config.path}: {nameless}"))
    if prepared is not None:
        _ask_components(made, prepared, clock, thorough=thorough)
    elif thorough:
        made.wrong.append(CliError("the components and their maps are looked at when this is mended; smconf looks at maps now"))
    if made.wrong:
        raise one_error(made.wrong)


def _ask_components(made: Preparation, prepared: Prepared, clock: Clock, *, thorough: bool) -> None:
    loop = Loop(clock)
    try:
        made.attempt(lambda: precheck.run(loop, Log("mcp", level=0), prepared.plans, prepared.logs_made, thorough=thorough))
    finally:
        loop.close()


def _wait_for_leftovers(queue: Path, clock: Clock, log: Log) -> None:
    found = leftovers.left_over(queue)
    if found:
        log.notice("mcp.leftovers", "waiting for children of an earlier mcp", count=len(found))
        for process in leftovers.wait_for_end(found, clock):
            log.warn("mcp.leftover_killed", "did not stop, killed", pid=process.pid)
