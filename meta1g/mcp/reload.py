"""A reload: the new configuration is checked whole, then taken over; a mistake changes nothing and is told to whoever asked.

    ask -> prepare, check every component -> bind, open the log -> restart what has changed -> wait until that runs -> result
              |                                |                                               |
              +------- wrong: nothing changes -+                                               +- fails: back to the old one

What only the old configuration has (sockets, log file) stays open until the new one runs, so that the way back is free.
An order that comes while one is at work is carried out after it, since the file may have changed meanwhile.

Owner: the event loop.
Ref: docs/failures.md, "an order of the operator".
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from meta1g.base import failure, reach, startup
from meta1g.base.cli import CliError
from meta1g.base.dataclass import dataclass
from meta1g.base.errors import BugError, Meta1Error, TempError
from meta1g.base.log import Log
from meta1g.base.sysexits import EX_CONFIG, EX_OK, EX_OSERR, EX_SOFTWARE, EX_TEMPFAIL, EX_UNAVAILABLE
from meta1g.conf.config import Config
from meta1g.mcp import logfiles, precheck, systemd
from meta1g.mcp.child import Member
from meta1g.mcp.limits import RESULT_LINES_MAX
from meta1g.mcp.listen import Sockets
from meta1g.mcp.loop import Loop
from meta1g.mcp.prepare import Prepared, prepare
from meta1g.mcp.supervisor import Supervisor, reason_of

OLD_GOES_ON = "everything goes on with the old configuration"


def open_log(config: Config) -> Log:
    """Makes the log of mcp from its own section, or from the options of the whole file.

    Raises:
        CliError: the log file cannot be opened.
    """
    return startup.open_log("mcp", config.glob, config.glob.sub("mcp"), config.queue_directory)


@dataclass(frozen=True, slots=True)
class InForce:
    """A configuration with what was opened for it."""

    prepared: Prepared
    sockets: Sockets
    log: Log


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What became of a reload.

    Args:
        number: counts the reloads of this mcp, from 1.
        code: exit code for whoever asked, 0 if the new configuration is in force.
        lines: what to tell.
        ended_s: when, seconds since the epoch.
    """

    number: int
    code: int
    lines: tuple[str, ...]
    ended_s: float

    def facts(self) -> dict[str, object]:
        """Gives what the status tells."""
        return {"number": self.number, "exit": self.code, "time": round(self.ended_s, 3), "lines": list(self.lines)}


OnReloaded = Callable[[ReloadResult], object]


class Reloader:
    """Carries out reloads, one after the other.

    Args:
        loop: the event loop.
        supervisor: runs the components.
        file: the configuration file.
        lenient: unknown options are warnings.
        now: what is in force.
        on_change: called with what is in force from now on.

    Owner: the event loop.
    """

    def __init__(
        self,
        loop: Loop,
        supervisor: Supervisor,
        file: Path,
        *,
        lenient: bool,
        now: InForce,
        on_change: Callable[[InForce], object],
    ) -> None:
        self._loop = loop
        self._supervisor = supervisor
        self._file = file
        self._lenient = lenient
        self.now = now
        self._on_change = on_change
        self._old: InForce | None = None
        self._checks: precheck.Precheck | None = None
        self._changed: list[str] = []
        self._number = 0
        self._held = True  # until everybody has been started for the first time
        self._again = False
        self._answers: list[OnReloaded] = []
        self._later: list[OnReloaded] = []
        self.busy = False
        self.last: ReloadResult | None = None

    # orders

    def ask(self, answer: OnReloaded | None = None) -> None:
        """Orders a reload; answer(result) is called when it is over."""
        if self.busy or self._held:
            self._again = True
            self._later += [answer] if answer else []
            return
        self._answers = [answer] if answer else []
        self._begin()

    def release(self) -> None:
        """Lets reloads begin: everybody has been started."""
        self._held = False
        self._next()

    def close(self) -> None:
        """Gives up what is at work, for mcp ends, and takes no more orders; whoever waits is told."""
        if self._checks is not None:
            self._checks.close()
            self._checks = None
        self._held = True
        self._answers += self._later
        self._later, self._again = [], False
        result = ReloadResult(self._number, EX_UNAVAILABLE, ("mcp stops",), time.time())
        for answer in self._answers:
            answer(result)
        self._answers = []

    # the steps

    def _begin(self) -> None:
        self.busy = True
        self._number += 1
        systemd.notify(systemd.reloading())
        with self._step():
            fresh = prepare(self._file, lenient=self._lenient)
            if fresh.queue != self.now.prepared.queue:
                raise CliError(f"queue_directory cannot change to {fresh.queue} while mcp runs; stop mcp and start it again")
            logfiles.check(fresh.log_files)
            startup.check_log("mcp", fresh.config.glob, fresh.config.glob.sub("mcp"), fresh.queue)

            def done(problems: list[precheck.PrecheckProblem]) -> None:
                self._checked(fresh, problems)

            self._checks = precheck.Precheck(self._loop, self.now.log, fresh.plans, fresh.logs_made, done)

    def _checked(self, fresh: Prepared, problems: Sequence[precheck.PrecheckProblem]) -> None:
        warnings, self._checks = () if self._checks is None else tuple(self._checks.warnings), None
        fresh = replace(fresh, warnings=(*fresh.warnings, *warnings))
        new: InForce | None = None
        with self._step():
            if problems:
                raise precheck.as_error(problems)
            new = self._open(fresh)
        if new is not None:
            self._old = self.now
            self._use(new)
            self._changed = self._supervisor.apply(fresh.plans, new.sockets, self._settled)
            for text in fresh.warnings:
                new.log.warn("mcp.config", text)

    def _open(self, fresh: Prepared) -> InForce:
        """Opens all that the new configuration needs beside what is open already, or nothing."""
        with contextlib.ExitStack() as undo:
            made = logfiles.make(fresh.log_files)
            undo.callback(logfiles.remove, made)
            sockets = self.now.sockets.bind(fresh.services)
            undo.callback(sockets.close_but, self.now.sockets)
            log = open_log(fresh.config)
            undo.pop_all()
        return InForce(fresh, sockets, log)

    def _settled(self, failed: Sequence[Member]) -> None:
        """Ends the reload: all that has changed runs, or one of it failed at its start."""
        old, self._old = self._old, None
        assert old is not None
        if failed:
            self._go_back(old, failed[0])
            return
        old.sockets.close_but(self.now.sockets)
        old.log.close()
        names = " ".join(self._changed)
        self._finish(EX_OK, [f"changed: {names}" if names else "nothing changed", *self.now.prepared.warnings])

    def _go_back(self, old: InForce, member: Member) -> None:
        code = member.last_exit if member.last_exit is not None and member.last_exit > 0 else EX_UNAVAILABLE
        text = f"{member.label} {member.how_it_ended} with the new configuration; {reason_of(member)}"
        failed = self.now
        self._use(old)
        old.log.reopen()
        old.log.error("mcp.reload_failed", f"{text}; back to the old configuration")

        def settled(more: Sequence[Member]) -> None:
            failed.sockets.close_but(old.sockets)
            failed.log.close()
            ends = [f"{one.label} {one.how_it_ended} with the old configuration, too; it is started again" for one in more]
            self._refuse([text, *ends], code)

        self._supervisor.apply(old.prepared.plans, old.sockets, settled)

    def _use(self, what: InForce) -> None:
        self.now = what
        self._supervisor.log = what.log
        self._on_change(what)

    @contextlib.contextmanager
    def _step(self) -> Iterator[None]:
        """Refuses the new configuration if something inside fails; nothing has been changed up to then."""

        def unexpected(error: Exception) -> None:
            self._refuse([f"{type(error).__name__}: {error}"], EX_SOFTWARE)

        with failure.item(self.now.log, "mcp.reload", unexpected):
            try:
                yield
            except BugError:
                raise
            except CliError as error:
                self._refuse(str(error).splitlines(), error.exit_code)
            except Meta1Error as error:
                self._refuse(error.cause.splitlines(), EX_TEMPFAIL if isinstance(error, TempError) else EX_CONFIG)
            except OSError as error:
                self._refuse([reach.explain(error)], EX_TEMPFAIL if failure.is_shortage(error) else EX_OSERR)

    # the end

    def _refuse(self, lines: Sequence[str], code: int) -> None:
        for line in lines:
            self.now.log.error("mcp.reload_failed", line)
        self.now.log.error("mcp.reload_failed", "the new configuration is wrong; everything goes on with the old one")
        self._finish(code, [*lines, OLD_GOES_ON])

    def _finish(self, code: int, lines: Sequence[str]) -> None:
        if code == EX_OK:
            self.now.log.notice("mcp.reload", lines[0])
        result = ReloadResult(self._number, code, tuple(lines[:RESULT_LINES_MAX]), time.time())
        self.last = result
        systemd.notify("READY=1")
        self.busy = False
        answers, self._answers = self._answers, []
        failure.steps(self.now.log, "mcp.reload", *(partial(answer, result) for answer in answers))
        self._loop.call_later(0, self._next)

    def _next(self) -> None:
        if self._again and not self.busy and not self._held:
            self._again = False
            self._answers, self._later = self._later, []
            self._begin()
