"""The main control program put together: configuration, sockets, supervisor, status, signals.

Owner: the process.
Ref: MeTA1 design, "Functional Specification: Supervisor" (signals modelled on).
"""

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

from meta1g.base import startup
from meta1g.base.cli import CliError
from meta1g.base.clock import Clock
from meta1g.base.errors import Meta1Error
from meta1g.base.log import Log
from meta1g.conf.config import Config
from meta1g.mcp import leftovers, logfiles, status, systemd
from meta1g.mcp.listen import Sockets, systemd_sockets
from meta1g.mcp.loop import Loop
from meta1g.mcp.prepare import Prepared, prepare
from meta1g.mcp.supervisor import End, Hooks, Supervisor
from meta1g.rcb.control import CommandResult

#: Gets the queue directory.
OnStarted = Callable[[Path], object]


def open_log(config: Config) -> Log:
    """Makes the log of mcp from its own section, or from the options of the whole file.

    Raises:
        CliError: the log file cannot be opened.
    """
    return startup.open_log("mcp", config.glob, config.glob.sub("mcp"), config.queue_directory)


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
        self._file = file
        self._lenient = lenient
        self._clock = clock
        self._on_started = on_started
        self._prepared = prepare(file, lenient=lenient)
        with contextlib.ExitStack() as undo:
            self._lock = leftovers.Lock(self._prepared.queue)
            undo.callback(self._lock.release)
            logfiles.make(self._prepared.log_files)
            self.log = open_log(self._prepared.config)
            self._wait_for_leftovers()
            first = Sockets(self._prepared.queue, systemd_sockets())
            self._sockets = first.bind(self._prepared.services)
            undo.callback(self._sockets.close_but)
            self._loop = Loop(clock)
            undo.callback(self._loop.close)
            hooks = Hooks(on_started=self._started, on_change=self._remember)
            queue, plans = self._prepared.queue, self._prepared.plans
            self._supervisor = Supervisor(self._loop, clock, self.log, queue, plans, self._sockets, hooks)
            self._status = status.StatusServer(self._loop, queue, self._answer, self.log)
            undo.pop_all()

    def _wait_for_leftovers(self) -> None:
        found = leftovers.left_over(self._prepared.queue)
        if found:
            self.log.notice("mcp.leftovers", "waiting for children of an earlier mcp", count=len(found))
            for process in leftovers.wait_for_end(found, self._clock):
                self.log.warn("mcp.leftovers", "did not stop, killed", pid=process.pid)

    def run(self) -> End:
        """Starts everybody and runs until all have stopped; gives how it ended."""
        self._loop.on_signal(signal.SIGCHLD, self._supervisor.reap)
        self._loop.on_signal(signal.SIGTERM, self._stop)
        self._loop.on_signal(signal.SIGINT, self._stop)
        self._loop.on_signal(signal.SIGHUP, self._reload)
        self._loop.on_signal(signal.SIGUSR1, self._reopen)
        self._warn()
        for service in self._prepared.services:
            for listen in service.listens:
                self.log.info("mcp.listen", service.start_action, component=service.label, listen=listen.text)
        systemd.keep_watchdog(self._loop)
        self._supervisor.start()
        self._loop.run()
        return self._finish()

    def _finish(self) -> End:
        end = self._supervisor.end
        systemd.notify("STOPPING=1")
        self._status.close()
        self._supervisor.close()
        self._loop.close()
        self._remember()
        if end.text:
            self.log.fatal("mcp.stop", end.text, exit=end.code)
        else:
            self.log.notice("mcp.stop", "stopped", exit=end.code)
        self._lock.release()
        return end

    def _warn(self) -> None:
        for text in self._prepared.warnings:
            self.log.warn("mcp.config", text)

    def _started(self) -> None:
        self.log.notice("mcp.started", "ok", count=len(self._prepared.plans))
        systemd.notify("READY=1\nSTATUS=all components run")
        self._on_started(self._prepared.queue)

    def _remember(self) -> None:
        pids = [pid for member in self._supervisor.members.values() for pid in member.pids]
        try:
            leftovers.remember(self._prepared.queue, pids)
        except OSError as error:  # only the next mcp misses it
            self.log.error("mcp.children", str(error))

    def _answer(self, words: tuple[str, ...]) -> CommandResult:
        return status.answer_status(words, self._facts)

    def _facts(self) -> dict[str, object]:
        members = self._supervisor.members.values()
        return {"pid": os.getpid(), "config": str(self._prepared.config.path), "components": status.component_facts(members)}

    # signals

    def _stop(self) -> None:
        self.log.notice("mcp.stop", "told to stop")
        systemd.notify("STOPPING=1")
        self._supervisor.stop()

    def _reopen(self) -> None:
        try:
            logfiles.make(self._prepared.log_files)
            self.log.reopen()
        except (CliError, OSError) as error:
            self.log.error("mcp.reopen", str(error))
        self._supervisor.pass_on(signal.SIGUSR1)

    def _reload(self) -> None:
        """Takes over the configuration file as it is now; if it is wrong, nothing changes."""
        systemd.notify(systemd.reloading())
        try:
            self._take_over(prepare(self._file, lenient=self._lenient))
        except (CliError, Meta1Error) as error:
            text = error.cause if isinstance(error, Meta1Error) else str(error)
            for line in text.splitlines():
                self.log.error("mcp.reload", line)
            self.log.error("mcp.reload", "the new configuration is wrong; everything goes on with the old one")
        systemd.notify("READY=1")

    def _take_over(self, fresh: Prepared) -> None:
        if fresh.queue != self._prepared.queue:
            raise CliError(f"queue_directory cannot change to {fresh.queue} while mcp runs; stop mcp and start it again")
        logfiles.make(fresh.log_files)
        log = open_log(fresh.config)
        sockets = self._sockets.bind(fresh.services)
        self._prepared, self._sockets, self.log = fresh, sockets, log
        self._supervisor.log = log
        changed = self._supervisor.apply(fresh.plans, sockets)
        self._warn()
        self.log.notice("mcp.reload", f"changed: {' '.join(changed)}" if changed else "nothing changed")
