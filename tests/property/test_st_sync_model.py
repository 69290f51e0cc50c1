"""Random schedules of state threads on mutexes and condition variables against a simple model.

Threads take commands and write down what they begin and how it ends, in the order in which it really happens.  The model
reads this record: it never looks ahead and needs no scheduler, so it holds for any order of the run queue.  With the usual
order it also checks that threads run in the order in which they became ready.  Time is virtual and the order of running is
drawn from a seed, so any example can be replayed.
"""

import errno
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from meta1g import st
from meta1g.st.sched import ThreadState, switch, wake
from tests.fakes.st_testing import no_leaks, shuffled, virtual_clock
from tests.unit.st.conftest import errno_of

WORKERS = range(5)
MUTEXES = range(2)
CONDS = range(2)
OK = 0
picks = some.integers(0, len(WORKERS) - 1)
mutex_numbers = some.sampled_from([0, 0, 0, 1])  # one that is fought for, one that must not be touched by it
cond_numbers = some.sampled_from([0, 0, 0, 1])
timeouts_us = some.none() | some.integers(1, 4)  # few, so that ends meet


@dataclass(frozen=True)
class Command:
    """What a thread is told to do."""

    name: str
    what: int = 0  # number of the mutex, the condition variable or the thread
    timeout_us: int | None = None


@dataclass(frozen=True)
class Entry:
    """A line of the record: a command begins, ends (result is an errno), or comes from the test."""

    kind: str  # told, interrupted, begin, end
    worker: int
    command: Command
    now_us: int
    result: int = OK


class Worker:
    """A state thread that does what it is told.  While it has nothing to do, it keeps an interrupt for the next command."""

    def __init__(self, machine, number):
        self.machine = machine
        self.number = number
        self.commands = deque()
        self.busy = False
        self.leave = False
        self.thread = st.st_thread_create(self.run, None, True)

    def tell(self, command):
        self.commands.append(command)
        if not self.busy:
            wake(self.thread)

    def run(self, _):
        me = st.st_thread_self()
        while not self.leave:
            if not self.commands:
                me.uninterruptible = True
                me.state = ThreadState.SUSPENDED
                switch()
                me.state = ThreadState.RUNNING
                me.uninterruptible = False
                continue
            self.busy = True
            command = self.commands.popleft()
            self.machine.note("begin", self.number, command)
            result = errno_of(self.machine.perform, command)
            self.machine.note("end", self.number, command, result)
            self.busy = False


@dataclass
class Expected:
    """What the model knows of a thread."""

    command: Command | None = None  # at work on it
    answer: int | None = None  # must end with it, at once
    waiting: bool = False  # in the queue of command.what
    woken: bool = False  # for a reason that is not the end of its time
    expired: bool = False
    interrupted: bool = False
    deadline_us: int | None = None
    since: int = 0  # number of the wait, for the order of deadlines


@dataclass
class Model:
    """Mutexes and condition variables as lists."""

    ordered: bool  # threads run in the order in which they became ready
    threads: list[Expected] = field(default_factory=lambda: [Expected() for _ in WORKERS])
    owners: list[int | None] = field(default_factory=lambda: [None for _ in MUTEXES])
    lockers: list[list[int]] = field(default_factory=lambda: [[] for _ in MUTEXES])
    waiters: list[list[int]] = field(default_factory=lambda: [[] for _ in CONDS])
    ready: deque[int] = field(default_factory=deque)
    waits: int = 0

    def read(self, entry):
        """Takes one line of the record; fails if it must not come now."""
        self.pass_time(entry.now_us)
        getattr(self, f"on_{entry.kind}")(entry)

    def pass_time(self, now_us):
        """Lets the time of waiting threads end: all that is due ends before anybody runs at that time."""
        due = [
            (one.deadline_us, one.since, number)
            for number, one in enumerate(self.threads)
            if one.waiting and not one.woken and not one.expired and one.deadline_us is not None and one.deadline_us <= now_us
        ]
        for _, _, number in sorted(due):
            self.threads[number].expired = True
            self.ready.append(number)

    def make_ready(self, number):
        """Wakes a thread that waits, unless it has been woken already; tells whether it did."""
        one = self.threads[number]
        if not one.waiting or one.woken or one.expired:
            return False
        one.woken = True
        self.ready.append(number)
        return True

    def resumes(self, number):
        assert number in self.ready, f"{number} runs, and nobody woke it"
        if self.ordered:
            assert self.ready[0] == number, f"{number} runs before {self.ready[0]}"
        self.ready.remove(number)

    # -- the record --

    def on_told(self, entry):
        if self.threads[entry.worker].command is None and entry.worker not in self.ready:
            self.ready.append(entry.worker)

    def on_interrupted(self, entry):
        self.begin_interrupt(entry.worker, self.threads[entry.worker], entry)

    def on_begin(self, entry):
        one = self.threads[entry.worker]
        assert one.command is None
        if entry.worker in self.ready:  # else it goes on with the next command
            self.resumes(entry.worker)
        one.command = entry.command
        one.answer = getattr(self, f"begin_{entry.command.name}")(entry.worker, one, entry)
        if one.answer is None:
            one.waiting, one.woken, one.expired = True, False, False
            self.waits += 1
            one.since = self.waits

    def on_end(self, entry):
        one = self.threads[entry.worker]
        assert one.command == entry.command
        if one.waiting:
            self.resumes(entry.worker)
            one.answer = getattr(self, f"end_{entry.command.name}")(entry.worker, one, entry)
        assert entry.result == one.answer, f"{entry} ends, expected {errno.errorcode.get(one.answer, one.answer)}"
        if one.answer == errno.EINTR:
            one.interrupted = False
        one.command = one.deadline_us = None
        one.waiting = False

    # -- what a command does at its beginning: the result, or None if it waits --

    def begin_lock(self, number, one, entry):
        if one.interrupted:
            return errno.EINTR
        owner = self.owners[entry.command.what]
        if owner is None:
            self.owners[entry.command.what] = number
            return OK
        if owner == number:
            return errno.EDEADLK
        self.lockers[entry.command.what].append(number)
        return None

    def begin_trylock(self, number, one, entry):
        if self.owners[entry.command.what] is not None:
            return errno.EBUSY
        self.owners[entry.command.what] = number
        return OK

    def begin_unlock(self, number, one, entry):
        lock = entry.command.what
        if self.owners[lock] != number:
            return errno.EPERM
        self.owners[lock] = next((n for n in self.lockers[lock] if self.make_ready(n)), None)
        if self.owners[lock] is not None:
            self.lockers[lock].remove(self.owners[lock])
        return OK

    def begin_destroy_mutex(self, number, one, entry):
        lock = entry.command.what
        return errno.EBUSY if self.owners[lock] is not None or self.lockers[lock] else OK

    def begin_wait(self, number, one, entry):
        if one.interrupted:
            return errno.EINTR
        self.waiters[entry.command.what].append(number)
        one.deadline_us = None if entry.command.timeout_us is None else entry.now_us + entry.command.timeout_us
        return None

    def begin_signal(self, number, one, entry):
        queue = self.waiters[entry.command.what]
        while queue and not self.make_ready(queue.pop(0)):
            pass
        return OK

    def begin_broadcast(self, number, one, entry):
        queue = self.waiters[entry.command.what]
        while queue:
            self.make_ready(queue.pop(0))
        return OK

    def begin_destroy_cond(self, number, one, entry):
        return errno.EBUSY if self.waiters[entry.command.what] else OK

    def begin_interrupt(self, number, one, entry):
        self.threads[entry.command.what].interrupted = True
        self.make_ready(entry.command.what)
        return OK

    # -- how a wait ends --

    def end_lock(self, number, one, entry):
        lock = entry.command.what
        if self.owners[lock] == number:
            return OK  # an interrupt that came after the hand-over is for the next call
        self.lockers[lock].remove(number)
        return errno.EINTR

    def end_wait(self, number, one, entry):
        queue = self.waiters[entry.command.what]
        if number in queue:
            queue.remove(number)
        if one.interrupted:
            return errno.EINTR
        if one.expired:
            assert entry.now_us == one.deadline_us, "the time ended early or late"
            return errno.ETIME
        assert one.woken, "nobody signalled"
        return OK


class SyncMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.stack = ExitStack()
        self.record = []
        self.workers = []
        self.failed = False

    @initialize(seed=some.none() | some.integers(0, 2**32))
    def begin(self, seed):
        st.st_init()
        self.stack.enter_context(no_leaks())
        self.clock = self.stack.enter_context(virtual_clock())
        if seed is not None:
            self.stack.enter_context(shuffled(seed))
        self.model = Model(ordered=seed is None)
        self.mutexes = [st.st_mutex_new() for _ in MUTEXES]
        self.conds = [st.st_cond_new() for _ in CONDS]
        self.workers = [Worker(self, n) for n in WORKERS]
        self.settle()

    def teardown(self):
        try:
            if self.workers and not self.failed:
                self.settle()
        finally:
            with self.stack:
                self.end_workers()

    def end_workers(self):
        for worker in self.workers:
            worker.leave = True
            worker.commands.clear()
            st.st_thread_interrupt(worker.thread)
            wake(worker.thread)
        for worker in self.workers:
            st.st_thread_join(worker.thread)

    def note(self, kind, worker, command, result=OK):
        self.record.append(Entry(kind, worker, command, self.clock.now_us, result))

    def perform(self, command):
        """Does a command; runs in its thread."""
        lock, cond = self.mutexes[command.what % len(MUTEXES)], self.conds[command.what % len(CONDS)]
        timeout_us = st.ST_UTIME_NO_TIMEOUT if command.timeout_us is None else command.timeout_us
        {
            "lock": lambda: st.st_mutex_lock(lock),
            "trylock": lambda: st.st_mutex_trylock(lock),
            "unlock": lambda: st.st_mutex_unlock(lock),
            "destroy_mutex": lambda: st.st_mutex_destroy(lock),
            "wait": lambda: st.st_cond_timedwait(cond, timeout_us),
            "signal": lambda: st.st_cond_signal(cond),
            "broadcast": lambda: st.st_cond_broadcast(cond),
            "destroy_cond": lambda: st.st_cond_destroy(cond),
            "interrupt": lambda: st.st_thread_interrupt(self.workers[command.what].thread),
        }[command.name]()

    def tell(self, worker, command):
        self.note("told", worker, command)
        self.workers[worker].tell(command)

    # -- what the test does; nothing runs meanwhile --

    def idle(self, pick):
        """Gives a thread that has nothing to do, or any if there is none."""
        return self.choose(pick, lambda worker: not worker.busy and not worker.commands)

    def at_work(self, pick):
        """Gives a thread that is at work, which means that it waits; or any if there is none."""
        return self.choose(pick, lambda worker: worker.busy)

    def choose(self, pick, wanted):
        some_of_them = [worker.number for worker in self.workers if wanted(worker)] or list(WORKERS)
        return some_of_them[pick % len(some_of_them)]

    @rule(pick=picks, lock=mutex_numbers, name=some.sampled_from(["lock", "lock", "trylock", "unlock", "destroy_mutex"]))
    def use_mutex(self, pick, lock, name):
        self.tell(self.idle(pick), Command(name, lock))

    @rule(lock=mutex_numbers)
    def give_back(self, lock):
        owner = self.mutexes[lock].owner
        for worker in self.workers:
            if worker.thread is owner:
                self.tell(worker.number, Command("unlock", lock))

    @rule(pick=picks, lock=mutex_numbers)
    def lock_and_unlock(self, pick, lock):
        worker = self.idle(pick)
        self.tell(worker, Command("lock", lock))
        self.tell(worker, Command("unlock", lock))

    @rule(pick=picks, cond=cond_numbers, timeout_us=timeouts_us, count=some.integers(1, 4))
    def wait(self, pick, cond, timeout_us, count):
        for _ in range(count):
            self.tell(self.idle(pick), Command("wait", cond, timeout_us))

    @rule(pick=picks, cond=cond_numbers, name=some.sampled_from(["signal", "signal", "broadcast", "destroy_cond"]))
    def use_cond(self, pick, cond, name):
        self.tell(self.idle(pick), Command(name, cond))

    @rule(pick=picks)
    def interrupt_any(self, pick):
        self.note("interrupted", pick, Command("interrupt", pick))
        st.st_thread_interrupt(self.workers[pick].thread)

    @rule(pick=picks, who=picks)
    def let_a_thread_interrupt_one_that_waits(self, pick, who):
        self.tell(self.idle(who), Command("interrupt", self.at_work(pick)))

    @rule()
    def settle(self):
        """Lets all threads run until each has ended or waits."""
        st.st_usleep(0)
        self.check()

    @rule(usecs=some.integers(1, 5))
    def pass_time(self, usecs):
        """Sleeps; threads whose time ends at the same moment may run later than what the test does next."""
        st.st_usleep(usecs)

    # -- what has to be true --

    def check(self):
        """Reads the record and compares all objects; nobody can run now."""
        self.failed = True
        for entry in self.record:
            self.model.read(entry)
        self.record.clear()
        self.model.pass_time(self.clock.now_us)
        assert not self.model.ready, f"forgotten: {self.model.ready}"
        numbers = {worker.thread: worker.number for worker in self.workers}
        for n, lock in enumerate(self.mutexes):
            assert numbers.get(lock.owner) == self.model.owners[n]
            assert [numbers[thread] for thread in lock.waiters] == self.model.lockers[n]
            assert lock.owner is not None or not lock.waiters, "waited for, and free"
        for n, cond in enumerate(self.conds):
            assert [numbers[thread] for thread in cond.waiters] == self.model.waiters[n]
        for worker, one in zip(self.workers, self.model.threads, strict=True):
            assert worker.busy == (one.command is not None)
            assert worker.busy or not worker.commands
            assert worker.thread.interrupted == one.interrupted
        self.failed = False


SyncMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None, print_blob=True)
TestMutexesAndConditionVariablesDoAsTheModelInAnyOrder = SyncMachine.TestCase
