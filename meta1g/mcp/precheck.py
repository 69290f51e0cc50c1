"""Lets every component check itself before a start or a reload: as the account, program and surroundings that it will have.

The program itself runs, with `--check`; programs of this package that have the same account share a process, which takes
one after the other (selfchecks.py).  If a check does not come so far that it can tell what is wrong, a child with the same
account looks for what is in the way: to the interpreter, to this package, to a library.  All processes run at the same
time; what they say is collected.  Nothing is changed by them.

Before a start, programs of this package that have the account of mcp are checked in a child that goes on in what mcp has
loaded just now, which saves half of the work: that this account can run it has been seen.  Every other account starts the
interpreter anew, and so does a reload, for the package may be another one since mcp was started.

Owner: the event loop.
Ref: docs/failures.md, "an order of the operator"; our choice.
"""

import contextlib
import importlib.util
import os
import re
import signal
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import meta1g
from meta1g.base import asaccount, failure, reach
from meta1g.base.cli import CliError
from meta1g.base.dataclass import dataclass
from meta1g.base.log import Log
from meta1g.base.startup import LOG_MADE, QUICK_CHECK
from meta1g.base.sysexits import EX_CANTCREAT, EX_NOPERM, EX_OSERR, EX_TEMPFAIL
from meta1g.mcp import selfchecks, spawn
from meta1g.mcp.child import MemberPlan, exit_text
from meta1g.mcp.limits import CHECK_LIMIT_S, CHECK_OUTPUT_BYTES, CHECKS_MAX, THOROUGH_LIMIT_S
from meta1g.mcp.loop import Loop

#: What the components import beside the standard library.
_LIBRARIES: Final = ("ply", "gevent", "greenlet", "berkeleydb", "dns", "idna", "re2")
_READ_BYTES: Final = 4096
#: What follows the words of one of several checks in a process.
_END_OF_CHECK: Final = re.compile(re.escape(selfchecks.MARK) + rb"(\d{1,3})\n")


@dataclass(frozen=True, slots=True)
class PrecheckProblem:
    """What is wrong for one component: lines that name it, and an exit code; 0 for what prevents nothing."""

    lines: tuple[str, ...]
    code: int


_Done = Callable[[list[PrecheckProblem]], object]


class Precheck:
    """The checks of a configuration; they begin at once.

    Args:
        loop: the event loop.
        log: for what goes wrong in mcp itself.
        plans: what is going to run; processes of one section are checked once.
        logs_made: labels of those whose log files mcp makes.
        done: called once, with what is wrong.
        thorough: looks at each entry of the maps, too.
        fresh: mcp has only just been loaded, and has one thread.

    Attributes:
        problems: what is wrong so far.
        warnings: lines that tell what prevents nothing, such as a filter that is not there.

    Owner: the event loop.
    """

    def __init__(
        self,
        loop: Loop,
        log: Log,
        plans: Sequence[MemberPlan],
        logs_made: Collection[str],
        done: _Done,
        *,
        thorough: bool = False,
        fresh: bool = False,
    ) -> None:
        self._loop = loop
        self._thorough = thorough
        self._fresh = fresh
        self._log = log
        self._logs_made = logs_made
        self._done: _Done | None = done
        self._waiting = _groups(plans)
        self._running: set[_Check] = set()
        self.problems: list[PrecheckProblem] = []
        self.warnings: list[str] = []
        self._first = loop.call_later(0, self._next)

    def close(self) -> None:
        """Ends all checks without calling done()."""
        self._done = None
        self._first.cancel()
        self._waiting.clear()
        for check in list(self._running):
            check.close()
        self._running.clear()

    def _next(self) -> None:
        while self._waiting and len(self._running) < CHECKS_MAX:
            self._begin(self._waiting.popleft())
        if not self._running and self._done is not None:
            done, self._done = self._done, None
            done(self.problems)

    def _begin(self, group: Sequence[MemberPlan]) -> None:
        ready = [plan for plan in group if self._may_begin(plan)]
        if not ready:
            return
        with failure.item(self._log, "mcp.check", self._failed(ready), component=ready[0].service.label):
            limit_s = THOROUGH_LIMIT_S if self._thorough else CHECK_LIMIT_S
            self._running.add(_Check(self._loop, ready, self._start, limit_s, self._told, self._ended))

    def _start(self, plans: Sequence[MemberPlan], output: int) -> spawn.ChildProcess:
        variables = {} if self._thorough else {QUICK_CHECK: "1"}
        launch = plans[0].launch
        if self._fresh and launch.program.is_module and not launch.identity.drop:
            items = _items(plans, self._logs_made)
            return spawn.fork(launch, output, variables, lambda: selfchecks.check_all(items))
        return _start(plans, self._logs_made, variables, output)

    def _told(self, problem: PrecheckProblem) -> None:
        if problem.code:
            self.problems.append(problem)
        else:
            self.warnings += problem.lines

    def _may_begin(self, plan: MemberPlan) -> bool:
        """Looks at what mcp itself can see of a component; tells whether the component can check the rest."""
        known = len(self.problems)
        with failure.item(self._log, "mcp.check", self._failed([plan]), component=plan.service.label):
            self.problems += [one for one in (_stderr_problem(plan), _program_problem(plan)) if one is not None]
        return len(self.problems) == known and plan.launch.program.bundled is not None

    def _failed(self, plans: Sequence[MemberPlan]) -> Callable[[Exception], None]:
        def failed(error: Exception) -> None:
            self.problems += [PrecheckProblem((f"{one.service.label}: the check failed: {error}",), EX_OSERR) for one in plans]

        return failed

    def _ended(self, check: "_Check", rest: Sequence[MemberPlan]) -> None:
        self._running.discard(check)
        if rest:
            self._waiting.appendleft(rest)
        self._next()


def _groups(plans: Sequence[MemberPlan]) -> deque[Sequence[MemberPlan]]:
    """Gives those together whose checks can share a process: modules of this package under the same account."""
    sections: dict[object, MemberPlan] = {}
    for plan in plans:
        sections.setdefault(plan.service.section, plan)
    groups: dict[object, list[MemberPlan]] = {}
    for plan in sections.values():
        launch, program = plan.launch, plan.launch.program
        alone = plan.service.label
        key = (launch.identity, launch.directory, program.reads_config) if program.is_module else alone
        groups.setdefault(key, []).append(plan)
    return deque(groups.values())


class _Check:
    """A process in which one component checks itself, or several one after the other.

    Args:
        loop: the event loop.
        plans: the components, all under the same account; several only if they are modules of this package.
        start: starts the process, with a descriptor for what it says.
        limit_s: one component may take so long, in seconds.
        told: called with each problem.
        ended: called at the end, with those that have not been checked because the check of another one broke off.

    Owner: the event loop.
    """

    def __init__(
        self,
        loop: Loop,
        plans: Sequence[MemberPlan],
        start: Callable[[Sequence[MemberPlan], int], spawn.ChildProcess],
        limit_s: float,
        told: Callable[[PrecheckProblem], object],
        ended: "Callable[[_Check, Sequence[MemberPlan]], object]",
    ) -> None:
        self._loop = loop
        self._left = deque(plans)
        self._told = told
        self._ended = ended
        self._output = b""
        with contextlib.ExitStack() as undo:
            self._read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            undo.callback(os.close, self._read_fd)
            with contextlib.ExitStack() as closing:
                closing.callback(os.close, write_fd)
                os.set_blocking(write_fd, True)
                self._process = start(plans, write_fd)
            undo.callback(self._kill)
            self._pid_fd = os.pidfd_open(self._process.pid)
            undo.callback(os.close, self._pid_fd)
            loop.add_reader(self._read_fd, self._read)
            undo.callback(loop.remove, self._read_fd)
            loop.add_reader(self._pid_fd, self._over)
            undo.pop_all()
        self._limit_s = limit_s
        self._limit = loop.call_later(self._limit_s, self._too_late)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Ends it, if it still runs, and closes its descriptors."""
        self._limit.cancel()
        if self._process.poll() is None:
            self._kill()
        for fd in (self._read_fd, self._pid_fd):
            self._loop.remove(fd)
            os.close(fd)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._read_fd, _READ_BYTES):
                self._take(data)
            self._loop.remove(self._read_fd)

    def _take(self, data: bytes) -> None:
        self._output += data
        while self._left and (end := _END_OF_CHECK.search(self._output)):
            text, self._output = self._output[: end.start()], self._output[end.end() :]
            self._result(text, int(end[1]))
            self._limit.cancel()
            self._limit = self._loop.call_later(self._limit_s, self._too_late)
        self._output = self._output[-CHECK_OUTPUT_BYTES:]

    def _result(self, text: bytes, code: int, *, whole: bool = True) -> None:
        plan, said = self._left.popleft(), text[-CHECK_OUTPUT_BYTES:].decode(errors="replace")
        self._told(_problem(plan, said, code) if code or not whole else _warnings(plan, said))

    def _over(self) -> None:
        self._read()
        code = self._process.wait()
        self.close()
        if self._left:
            self._result(self._output, code, whole=not self._left[0].launch.program.is_module)
        self._ended(self, tuple(self._left))

    def _too_late(self) -> None:
        self.close()
        if self._left:  # else all have told what they found, and the process only does not end
            label = self._left.popleft().service.label
            self._told(PrecheckProblem((f"{label}: its check did not end within {self._limit_s:g} s",), EX_TEMPFAIL))
        self._ended(self, tuple(self._left))


def _problem(plan: MemberPlan, text: str, code: int) -> PrecheckProblem:
    """Gives what a check said, or why it could say nothing."""
    label, lines = plan.service.label, text.splitlines()
    head = f"{plan.service.kind}: "
    told = [number for number, line in enumerate(lines) if line.startswith(head)]
    if told and "Traceback" not in text:
        named = [f"{label}: {line[len(head) :]}" if line.startswith(head) else line for line in lines[told[0] :]]
        return PrecheckProblem(tuple(named), code if code > 0 else EX_OSERR)
    closed = _library_problem(plan)
    if closed is not None:
        return closed
    user, last = plan.launch.identity.user, lines[-1] if lines else "it said nothing"
    return PrecheckProblem((f"{label}: its check as {user} {exit_text(code)}: {last}",), code if code > 0 else EX_OSERR)


def _warnings(plan: MemberPlan, text: str) -> PrecheckProblem:
    """Gives what a check warned of that found nothing wrong."""
    head = f"{plan.service.kind}: warning: "
    lines = [line[len(head) :] for line in text.splitlines() if line.startswith(head)]
    return PrecheckProblem(tuple(f"{plan.service.label}: warning: {line}" for line in lines), 0)


def _start(plans: Sequence[MemberPlan], logs_made: Collection[str], more: Mapping[str, str], output: int) -> spawn.ChildProcess:
    """Starts the program of a component for its check, or an interpreter for those of several modules of this package."""
    launch = plans[0].launch
    program, variables = launch.program, dict(more)
    if program.is_module:
        words = selfchecks.pack(_items(plans, logs_made))
        argv: tuple[str, ...] = (program.executable, "-m", selfchecks.__name__, *words)
    else:
        argv = (*program.argv, "--check")
        variables |= {LOG_MADE: "1"} if plans[0].service.label in logs_made else {}
    launch = replace(launch, program=replace(program, argv=argv))
    started = spawn.start(launch, -1, stdout=output, errors=output, variables=variables)
    os.close(started.ready_fd)
    return started.process


def _items(plans: Sequence[MemberPlan], logs_made: Collection[str]) -> list[selfchecks.Item]:
    programs = [(plan.launch.program, plan.service.label in logs_made) for plan in plans]
    return [selfchecks.Item(program.bundled or "", made, program.own_arguments) for program, made in programs]


def _program_problem(plan: MemberPlan) -> PrecheckProblem | None:
    """Says what keeps the account of a component from its program."""
    return _closed(plan, [(Path(plan.launch.program.executable), os.X_OK)])


def _library_problem(plan: MemberPlan) -> PrecheckProblem | None:
    """Says what keeps the account of a component from what its program needs before it can tell anything itself."""
    wanted = [(Path(origin), os.R_OK) for origin in (meta1g.__file__, os.__file__)]
    for name in _LIBRARIES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            wanted.append((Path(spec.origin), os.R_OK))
    return _closed(plan, wanted)


def _closed(plan: MemberPlan, wanted: Sequence[tuple[Path, int]]) -> PrecheckProblem | None:
    lines = _as_account(plan, lambda: _look(wanted)) if plan.launch.identity.drop else _look(wanted)
    return PrecheckProblem(tuple(f"{plan.service.label}: {line}" for line in lines), EX_NOPERM) if lines else None


def _look(wanted: Iterable[tuple[Path, int]]) -> list[str]:
    """Names what is out of reach of this process, the same obstacle once."""
    found: dict[str, str] = {}
    for path, mode in wanted:
        try:
            reach.need_file(path, mode, "run it" if mode == os.X_OK else "read it")
        except CliError as error:
            text = str(error)
            found.setdefault(text.partition(": ")[2], text)
    return list(found.values())


def _as_account(plan: MemberPlan, question: Callable[[], list[str]]) -> list[str]:
    """Asks a question in a child that has become the account of a component."""
    lines = asaccount.ask(lambda: spawn.become(plan.launch.identity), question)
    return [f"cannot become user {plan.launch.identity.user} with its groups and limits"] if lines is None else lines


def _stderr_problem(plan: MemberPlan) -> PrecheckProblem | None:
    """Says why mcp cannot open the file for a component's standard error."""
    path = plan.launch.stderr
    if path is None:
        return None
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK))
    except FileNotFoundError:
        if os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
            return None
        text = f"{path}: cannot be made for its standard error; mend the mode of {path.parent}"
    except OSError as error:
        text = f"{reach.explain(error)}; it is for standard error: mend or remove it"
    else:
        return None
    return PrecheckProblem((f"{plan.service.label}: {text}",), EX_CANTCREAT)


def run(loop: Loop, log: Log, plans: Sequence[MemberPlan], logs_made: Collection[str], *, thorough: bool = False) -> None:
    """Runs the checks of a configuration and waits for them, before anything else runs, right after mcp was loaded.

    Args:
        loop: the event loop.
        log: for what goes wrong in mcp itself.
        plans: what is going to run.
        logs_made: labels of those whose log files mcp makes.
        thorough: looks at each entry of the maps, too.

    Raises:
        CliError: something is wrong; the text has a line for each problem.
    """
    found: list[list[PrecheckProblem]] = []
    checks = Precheck(loop, log, plans, logs_made, found.append, thorough=thorough, fresh=True)
    try:
        loop.run_until(lambda: bool(found))
    finally:
        checks.close()
    if found[0]:
        raise as_error(found[0])


def as_error(problems: Sequence[PrecheckProblem]) -> CliError:
    """Makes one error of all problems; the first one decides about the exit code."""
    return CliError("\n".join(line for problem in problems for line in problem.lines), problems[0].code)
