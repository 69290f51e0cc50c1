"""Lets every component check itself before a start or a reload: as the account, program and surroundings that it will have.

The program itself runs, with `--check`.  If it does not come so far that it can tell what is wrong, a child with the same
account looks for what is in the way: to the interpreter, to this package, to a library.  All checks run at the same time;
what they say is collected.  Nothing is changed by them.

Owner: the event loop.
Ref: architecture 4.1, "what an operator asks for and cannot be done costs nothing"; our choice.
"""

import contextlib
import importlib.util
import os
import signal
import subprocess
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import meta1g
from meta1g.base import failure, reach
from meta1g.base.cli import CliError
from meta1g.base.log import Log
from meta1g.base.startup import LOG_MADE
from meta1g.base.sysexits import EX_CANTCREAT, EX_NOPERM, EX_OSERR, EX_TEMPFAIL
from meta1g.mcp import spawn
from meta1g.mcp.child import Plan, exit_text
from meta1g.mcp.limits import CHECK_LIMIT_S, CHECK_OUTPUT_BYTES, CHECKS_MAX
from meta1g.mcp.loop import Loop

#: What the components import beside the standard library.
_LIBRARIES: Final = ("ply", "gevent", "greenlet", "berkeleydb", "dns", "re2")
_READ_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong for one component: lines that name it, and an exit code.  Immutable."""

    lines: tuple[str, ...]
    code: int


Done = Callable[[list[Problem]], object]


class Checks:
    """The checks of a configuration; they begin at once.

    Args:
        loop: the event loop.
        log: for what goes wrong in mcp itself.
        plans: what is going to run; processes of one section are checked once.
        logs_made: labels of those whose log files mcp makes.
        done: called once, with what is wrong.

    Owner: the event loop.
    """

    def __init__(self, loop: Loop, log: Log, plans: Sequence[Plan], logs_made: Collection[str], done: Done) -> None:
        self._loop = loop
        self._log = log
        self._logs_made = logs_made
        self._done: Done | None = done
        self._waiting = list({plan.service.section: plan for plan in reversed(plans)}.values())
        self._running: set[_Check] = set()
        self.problems: list[Problem] = []
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
            self._begin(self._waiting.pop())
        if not self._running and self._done is not None:
            done, self._done = self._done, None
            done(self.problems)

    def _begin(self, plan: Plan) -> None:
        def failed(error: Exception) -> None:
            self.problems.append(Problem((f"{plan.service.label}: the check failed: {error}",), EX_OSERR))

        with failure.item(self._log, "mcp.check", failed, component=plan.service.label):
            problems = [one for one in (_stderr_problem(plan), _program_problem(plan)) if one is not None]
            if problems:
                self.problems += problems
            elif plan.launch.program.check_argv:
                variables = {LOG_MADE: "1"} if plan.service.label in self._logs_made else {}
                self._running.add(_Check(self._loop, plan, variables, self._ended))

    def _ended(self, check: "_Check", problem: Problem | None) -> None:
        self._running.discard(check)
        if problem is not None:
            self.problems.append(problem)
        self._next()


class _Check:
    """One check that runs.  Owner: the event loop."""

    def __init__(
        self, loop: Loop, plan: Plan, variables: dict[str, str], ended: "Callable[[_Check, Problem | None], object]"
    ) -> None:
        self._loop = loop
        self._plan = plan
        self._label = plan.service.label
        self._ended = ended
        self._output = b""
        with contextlib.ExitStack() as undo:
            self._read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            undo.callback(os.close, self._read_fd)
            with contextlib.ExitStack() as closing:
                closing.callback(os.close, write_fd)
                os.set_blocking(write_fd, True)
                self._process = _start(plan, variables, write_fd)
            undo.callback(self._kill)
            self._pid_fd = os.pidfd_open(self._process.pid)
            undo.callback(os.close, self._pid_fd)
            loop.add_reader(self._read_fd, self._read)
            undo.callback(loop.remove, self._read_fd)
            loop.add_reader(self._pid_fd, self._over)
            undo.pop_all()
        self._limit = loop.call_later(CHECK_LIMIT_S, self._too_late)

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
                self._output = (self._output + data)[-CHECK_OUTPUT_BYTES:]
            self._loop.remove(self._read_fd)

    def _over(self) -> None:
        self._read()
        code = self._process.wait()
        self.close()
        self._ended(self, self._problem(code) if code else None)

    def _too_late(self) -> None:
        self.close()
        self._ended(self, Problem((f"{self._label}: its check did not end within {CHECK_LIMIT_S:g} s",), EX_TEMPFAIL))

    def _problem(self, code: int) -> Problem:
        """Gives what a check said, or why it could say nothing."""
        text = self._output.decode(errors="replace")
        lines = text.splitlines()
        head = f"{self._plan.service.kind}: "
        told = [number for number, line in enumerate(lines) if line.startswith(head)]
        if told and "Traceback" not in text:
            named = [f"{self._label}: {line[len(head) :]}" if line.startswith(head) else line for line in lines[told[0] :]]
            return Problem(tuple(named), code if code > 0 else EX_OSERR)
        closed = _library_problem(self._plan)
        if closed is not None:
            return closed
        user, last = self._plan.launch.identity.user, lines[-1] if lines else "it said nothing"
        return Problem((f"{self._label}: its check as {user} {exit_text(code)}: {last}",), code if code > 0 else EX_OSERR)


def _start(plan: Plan, variables: dict[str, str], errors_fd: int) -> "subprocess.Popen[bytes]":
    launch = replace(plan.launch, program=replace(plan.launch.program, argv=plan.launch.program.check_argv))
    started = spawn.start(launch, -1, stdout=errors_fd, errors=errors_fd, variables=variables)
    os.close(started.ready_fd)
    return started.process


def _program_problem(plan: Plan) -> Problem | None:
    """Says what keeps the account of a component from its program."""
    return _closed(plan, [(Path(plan.launch.program.executable), os.X_OK)])


def _library_problem(plan: Plan) -> Problem | None:
    """Says what keeps the account of a component from what its program needs before it can tell anything itself."""
    wanted = [(Path(origin), os.R_OK) for origin in (meta1g.__file__, os.__file__)]
    for name in _LIBRARIES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            wanted.append((Path(spec.origin), os.R_OK))
    return _closed(plan, wanted)


def _closed(plan: Plan, wanted: Sequence[tuple[Path, int]]) -> Problem | None:
    lines = _as_account(plan, lambda: _look(wanted)) if plan.launch.identity.drop else _look(wanted)
    return Problem(tuple(f"{plan.service.label}: {line}" for line in lines), EX_NOPERM) if lines else None


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


def _as_account(plan: Plan, question: Callable[[], list[str]]) -> list[str]:
    """Asks a question in a child that has become the account of a component."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
    except OSError:
        os.close(read_fd)
        os.close(write_fd)
        raise
    if pid == 0:
        _answer(plan, question, write_fd)
    os.close(write_fd)
    with open(read_fd, "rb") as file:
        answer = file.read()
    os.waitpid(pid, 0)
    lines = answer.decode(errors="replace").splitlines()
    return lines[:-1] if lines[-1:] == ["."] else [f"cannot become user {plan.launch.identity.user} with its groups and limits"]


def _answer(plan: Plan, question: Callable[[], list[str]], write_fd: int) -> None:
    """Runs in the child, which never leaves this function; a closing dot says that the answer is whole."""
    try:
        spawn.become(plan.launch.identity)
        with open(write_fd, "wb") as file:
            file.write("\n".join([*question(), "."]).encode())
    finally:
        os._exit(0)


def _stderr_problem(plan: Plan) -> Problem | None:
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
    return Problem((f"{plan.service.label}: {text}",), EX_CANTCREAT)


def run(loop: Loop, log: Log, plans: Sequence[Plan], logs_made: Collection[str]) -> None:
    """Runs the checks of a configuration and waits for them, before anything else runs.

    Raises:
        CliError: something is wrong; the text has a line for each problem.
    """
    found: list[list[Problem]] = []
    checks = Checks(loop, log, plans, logs_made, found.append)
    try:
        loop.run_until(lambda: bool(found))
    finally:
        checks.close()
    if found[0]:
        raise as_error(found[0])


def as_error(problems: Sequence[Problem]) -> CliError:
    """Makes one error of all problems; the first one decides about the exit code."""
    return CliError("\n".join(line for problem in problems for line in problem.lines), problems[0].code)
