"""Stress of the event-thread system: many task runs on several threads, timers, foreign wake-ups, and the time to stop.

    python bench/evthr_stress.py [--runs 1000000] [--threads 8] [--timers 10000] [--share-at 1] [--seed 1]

Checks while it measures: no task runs in two threads at once, no wake-up and no timer is lost.  Prints one line a figure;
exit code 1 if a check fails.
"""

import argparse
import random
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from meta1g.pt.evthr import Evthr
from meta1g.pt.task import Ev, Result, Task

TASKS = 200
WAKERS = 2
YIELD_EVERY = 50  # runs after which a run gives the interpreter lock away


@dataclass(slots=True)
class Cell:
    """What one task saw.  Owner: its task, as long as the system keeps its promise."""

    busy: bool = False
    runs: int = 0
    clashes: int = 0
    asked: int = 0  # written by the one that wakes it, before the wake-up
    done: int = 0  # value of asked that a run has seen


@dataclass(slots=True)
class Report:
    """The figures.  Immutable after the run."""

    runs: int
    run_s: float
    stop_s: float
    clashes: int
    lost: int
    timers_lost: int
    late_ms: list[float] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all promises were kept."""
        return not (self.clashes or self.lost or self.timers_lost)


class Stress:
    """One run.  Owner: the caller of run()."""

    def __init__(self, runs: int, threads: int, timers: int, share_at: int, seed: int) -> None:
        self.evthr = Evthr(soft_threads=threads, hard_threads=threads, share_at=share_at)
        self.target = runs
        self.random = random.Random(seed)
        self.tasks = [self.evthr.task_new(self.function, events=Ev.NONE, run=True, name=f"t{n}") for n in range(TASKS)]
        for task in self.tasks:
            task.context = Cell()
        self.enough = threading.Event()
        self.late_ms: list[float] = []
        self.timers = timers
        for _ in range(timers):
            self.add_timer(self.random.uniform(0, 1))

    def add_timer(self, delay_s: float) -> None:
        """Makes a timer that notes how late it fires."""
        due = time.monotonic() + delay_s

        def fire(task: Task) -> Result:
            self.late_ms.append((time.monotonic() - due) * 1000)
            return Result.DEL

        self.evthr.timer(delay_s, fire)

    def function(self, task: Task) -> Result:
        """Runs as each task: looks for company, wakes another task, wants to run again."""
        cell: Cell = task.context
        if cell.busy:
            cell.clashes += 1
        cell.busy = True
        cell.done = cell.asked
        cell.runs += 1
        if cell.runs % YIELD_EVERY == 0:
            time.sleep(0)  # another thread gets its chance inside a run
        if cell.runs * TASKS >= self.target and not self.enough.is_set() and self.total() >= self.target:
            self.enough.set()
        cell.busy = False
        if self.enough.is_set():
            return Result.WAITQ
        self.tasks[(task.context.runs * 31 + id(task) // 64) % TASKS].wakeup()
        return Result.RUNQ if cell.runs % 3 else Result.WAITQ

    def total(self) -> int:
        """Gives the number of runs so far."""
        return sum(task.context.runs for task in self.tasks)

    def wake_from_outside(self, seed: int) -> None:
        """Wakes tasks from a thread that is none of the system, now and then all of them."""
        chance = random.Random(seed)
        while not self.enough.is_set():
            for task in self.tasks:
                task.wakeup()
            self.enough.wait(chance.uniform(0, 0.002))

    def run(self) -> Report:
        """Runs until enough, then asks each task for one last run, waits for the timers, and stops."""
        looper = threading.Thread(target=self.evthr.loop)
        wakers = [threading.Thread(target=self.wake_from_outside, args=(n,)) for n in range(WAKERS)]
        start = time.perf_counter()
        for thread in (looper, *wakers):
            thread.start()
        self.enough.wait()
        run_s = time.perf_counter() - start
        runs = self.total()
        for thread in wakers:
            thread.join()
        for task in self.tasks:
            task.context.asked += 1
            task.wakeup()
        self.wait_for_timers()
        stop = time.perf_counter()
        self.evthr.stop()
        looper.join()
        cells = [task.context for task in self.tasks]
        return Report(
            runs=runs,
            run_s=run_s,
            stop_s=time.perf_counter() - stop,
            clashes=sum(cell.clashes for cell in cells),
            lost=sum(cell.done != cell.asked for cell in cells),
            timers_lost=self.timers - len(self.late_ms),
            late_ms=sorted(self.late_ms),
        )

    def wait_for_timers(self) -> None:
        """Waits until a timer later than all others fired."""
        last = threading.Event()
        self.evthr.timer(1.1, lambda task: last.set() or Result.DEL)
        last.wait(30)


def print_report(report: Report) -> None:
    """Prints one figure a line."""
    print(f"task runs                {report.runs}")
    print(f"runs per second          {report.runs / report.run_s:.0f}")
    print(f"time per run             {report.run_s / report.runs * 1e6:.2f} us")
    print(f"concurrent with itself   {report.clashes}")
    print(f"lost wake-ups            {report.lost}")
    print(f"lost timers              {report.timers_lost} of {report.timers_lost + len(report.late_ms)}")
    if report.late_ms:
        middle, high = report.late_ms[len(report.late_ms) // 2], report.late_ms[len(report.late_ms) * 99 // 100]
        print(f"timer late, median, 99%  {middle:.2f} ms, {high:.2f} ms")
    print(f"time to stop             {report.stop_s * 1000:.1f} ms")


def main(argv: list[str]) -> int:
    """Runs the stress; see the module."""
    parser = argparse.ArgumentParser(description="stress of the event-thread system")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--timers", type=int, default=10_000)
    parser.add_argument("--share-at", type=int, default=1, help="ready tasks from which on another thread helps, 0 never")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    report = Stress(options.runs, options.threads, options.timers, options.share_at, options.seed).run()
    print_report(report)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
