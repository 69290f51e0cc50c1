"""Stress of the event-thread system: many task runs on several threads, timers, foreign wake-ups, and the time to stop.

    python -m bench.evthr_stress [--runs 1000000] [--threads 8] [--timers 10000] [--seed 1] [--record]

Checks while it measures: no task runs in two threads at once; each wake-up from outside is followed by a run that begins
after it; each of the timers fires once; stop() ends the system within a second, although all tasks are at work and as many
timers again are still to come.  Prints one line a figure; exit code 1 if a check fails.
"""

import argparse
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.results import percentile, record
from meta1g.pt.evthr import Evthr
from meta1g.pt.task import Ev, Result, Task

TASKS = 200  # the first half wake each other and run all the time, the other half run only when woken from outside
QUIET = range(TASKS // 2, TASKS)
WAKERS = 2
BURST = 3  # wake-ups of a task in a row; the later ones meet it at work
YIELD_EVERY = 50  # runs after which a run gives the interpreter lock away
HOLD_EVERY_S = 0.02  # so often a run holds its thread for HOLD_S, longer than the system waits before another one goes on
HOLD_S = 0.05
ANSWER_S = 10  # a wake-up that led to no run for so long is lost
STOP_ALLOWED_S = 1.0
FAR_S = 3600.0
INTRO = """\
The event-thread system (meta1g/pt): 200 tasks, half of them run again and again and wake each other, all are woken from two
threads outside, while timers fire; then stop(), while tasks are at work and as many timers again are pending.  A wake-up from
outside is lost if no run begins after it.  Fifty times a second a run holds its thread, and another one goes on.
Allowed: nothing concurrent, nothing lost, 1 s to stop."""


@dataclass(slots=True)
class Cell:
    """What one task saw.  Owner: its task, as long as the system keeps its promise; asked[n] belongs to waker n."""

    quiet: bool
    busy: bool = False
    runs: int = 0
    clashes: int = 0
    asked: list[int] = field(default_factory=lambda: [0] * WAKERS)
    done: list[int] = field(default_factory=lambda: [0] * WAKERS)  # values of asked that a run has seen


@dataclass(slots=True)
class Report:
    """The figures.  Immutable after the run."""

    runs: int
    run_s: float
    stop_s: float
    threads: int
    clashes: int
    wakeups: int
    lost: int
    timers: int
    timers_wrong: int
    late_ms: list[float]

    @property
    def ok(self) -> bool:
        """Whether all promises were kept."""
        return not (self.clashes or self.lost or self.timers_wrong) and self.stop_s <= STOP_ALLOWED_S


class Stress:
    """One run.  Owner: the caller of run()."""

    def __init__(self, runs: int, thread_count: int, timers: int, seed: int) -> None:
        self.evthr = Evthr(soft_threads=thread_count, hard_threads=thread_count)
        self.target = runs
        chance = random.Random(seed)
        self.tasks = [self.evthr.task_new(self.function, events=Ev.NONE, run=True, name=f"t{n}") for n in range(TASKS)]
        self.cells = {task: Cell(quiet=number in QUIET) for number, task in enumerate(self.tasks)}
        self.hold_at_s = 0.0
        self.enough = threading.Event()
        self.idents: set[int] = set()
        self.late_ms: list[list[float]] = [[] for _ in range(timers)]
        self.last_due = threading.Event()
        self.wakeups = [0] * WAKERS
        self.lost = [0] * WAKERS
        for late in self.late_ms:
            self.evthr.timer(delay_s := chance.uniform(0, 1), self.noting(delay_s, late))
            self.evthr.timer(FAR_S, lambda task: Result.DEL)
        self.evthr.timer(1.1, lambda task: self.last_due.set() or Result.DEL)

    def noting(self, delay_s: float, late: list[float]) -> Callable[[Task], Result]:
        """Gives the function of a timer that notes how late it fires."""
        due = time.monotonic() + delay_s

        def fire(task: Task) -> Result:
            late.append((time.monotonic() - due) * 1000)
            return Result.DEL

        return fire

    def function(self, task: Task) -> Result:
        """Runs as each task: looks for company, wakes another task, wants to run again; until the system stops."""
        cell = self.cells[task]
        if cell.busy:
            cell.clashes += 1
        cell.busy = True
        cell.done[:] = cell.asked
        cell.runs += 1
        if cell.runs % YIELD_EVERY == 0:
            self.idents.add(threading.get_ident())
            self.hold()
        if cell.runs * TASKS >= self.target and not self.enough.is_set() and self.total() >= self.target:
            self.enough.set()
        cell.busy = False
        if self.evthr.stopping:
            return Result.WAITQ
        if cell.quiet:
            time.sleep(0)  # a wake-up gets its chance inside the run
            return Result.WAITQ
        self.tasks[(cell.runs * 31 + id(task) // 64) % QUIET.start].wakeup()
        return Result.RUNQ if cell.runs % 3 else Result.WAITQ

    def hold(self) -> None:
        """Gives another thread its chance inside a run, now and then a long one."""
        now_s = time.monotonic()
        if now_s < self.hold_at_s:
            time.sleep(0)
        else:
            self.hold_at_s = now_s + HOLD_EVERY_S
            time.sleep(HOLD_S)

    def total(self) -> int:
        """Gives the number of runs so far."""
        return sum(cell.runs for cell in self.cells.values())

    def wake_from_outside(self, number: int, seed: int) -> None:
        """Wakes all tasks from a thread that is none of the system, and sees that each runs; again and again."""
        chance = random.Random(seed)
        while not self.enough.is_set() and not self.lost[number]:
            for task in self.tasks:
                for _ in range(BURST):
                    self.cells[task].asked[number] += 1
                    task.wakeup()
                    time.sleep(0)  # the task begins, and gives the interpreter lock back inside its run
            self.wakeups[number] += BURST * TASKS
            end = time.monotonic() + ANSWER_S
            while (open_ones := self.unanswered(number)) and time.monotonic() < end:
                time.sleep(0.001)
            self.lost[number] += open_ones
            self.enough.wait(chance.uniform(0, 0.002))

    def unanswered(self, number: int) -> int:
        """Gives how many tasks have not run since a waker woke them."""
        return sum(cell.done[number] != cell.asked[number] for cell in self.cells.values())

    def run(self) -> Report:
        """Runs until enough, waits for wakers and timers, and stops while everything is at work."""
        looper = threading.Thread(target=self.evthr.loop)
        wakers = [threading.Thread(target=self.wake_from_outside, args=(n, n)) for n in range(WAKERS)]
        start = time.perf_counter()
        for thread in (looper, *wakers):
            thread.start()
        self.enough.wait()
        run_s = time.perf_counter() - start
        runs = self.total()
        for thread in wakers:
            thread.join()
        self.last_due.wait(30)
        stop = time.perf_counter()
        self.evthr.stop()
        looper.join()
        return Report(
            runs=runs,
            run_s=run_s,
            stop_s=time.perf_counter() - stop,
            threads=len(self.idents),
            clashes=sum(cell.clashes for cell in self.cells.values()),
            wakeups=sum(self.wakeups),
            lost=sum(self.lost),
            timers=len(self.late_ms),
            timers_wrong=sum(len(late) != 1 for late in self.late_ms),
            late_ms=[late[0] for late in self.late_ms if late],
        )


def figures_of(report: Report) -> dict[str, str]:
    """Gives the figures as text."""
    late = report.late_ms or [0.0]
    return {
        "task runs": str(report.runs),
        "threads that ran tasks": str(report.threads),
        "us a run": f"{report.run_s / report.runs * 1e6:.2f}",
        "concurrent with itself": str(report.clashes),
        "wake-ups lost": f"{report.lost} of {report.wakeups}",
        "timers lost or doubled": f"{report.timers_wrong} of {report.timers}",
        "timer late ms, median / 99 %": f"{percentile(late, 50):.2f} / {percentile(late, 99):.2f}",
        "ms to stop": f"{report.stop_s * 1000:.1f}",
    }


def main(argv: list[str]) -> int:
    """Runs the stress; see the module."""
    parser = argparse.ArgumentParser(prog="bench.evthr_stress", description="Stress of the event-thread system.")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--timers", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", action="store_true", help="add a row to bench/RESULTS.md")
    options = parser.parse_args(argv)
    report = Stress(options.runs, options.threads, options.timers, options.seed).run()
    figures = figures_of(report)
    for name, value in figures.items():
        print(f"{name:30} {value}")
    if options.record:
        record("Event threads", INTRO, "python -m bench.evthr_stress", figures)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
