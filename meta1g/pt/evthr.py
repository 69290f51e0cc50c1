"""The event-thread system: tasks that wait for descriptors, times and wake-ups, run by a few threads.

A thread takes tasks from the run queue; when there is none, and no other thread has the controller role, it polls: it
moves the tasks that are ready to the run queue, gives the role up, and runs them.  The role goes to another thread when
a task blocks: at once if the task says so with blocking(), else after a tick (see meta1g.pt.crew).

Invariant: a task is run by one thread at a time, and a wake-up that comes while it runs makes it run again (see
meta1g.pt.task).  All state is guarded by one leaf lock, held for a few microseconds, never during a call to a task.

What a task costs whose function fails (docs/failures.md):

    frame: listener, signals, tie to mcp        the process ends
    with a descriptor and a last call (Ev.CL)   the task: its owner closes and answers in the last call
    with a descriptor, without last call        the process ends, because nobody would notice that the task is gone
    without descriptor: timers, periodic work   this run: it runs again after ERROR_RETRY_S
    call_soon()                                 this call

Ref: MeTA1 design, "Implementation: Event threads" (evthr_init, evthr_task_new, evthr_loop, evthr_stop modelled on).
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Final

from meta1g.base import failure
from meta1g.base.clock import Clock, SystemClock
from meta1g.base.log import Log
from meta1g.base.logkeys import Sev
from meta1g.pt import batch
from meta1g.pt.board import NEVER, Board
from meta1g.pt.crew import Crew, Worker
from meta1g.pt.limits import BATCH_RUNS, ERROR_RETRY_S, HARD_THREADS, SOFT_THREADS, STOP_LIMIT_S, THREAD_RETRY_S
from meta1g.pt.task import Ev, Event, Result, Task, TaskFunction

_WU: Final = int(Ev.WU)
_CL: Final = int(Ev.CL)
_DEL: Final = int(Result.DEL)
_TERM: Final = int(Result.TERM)
_RUNQ: Final = int(Result.RUNQ)


class _Step(Enum):
    """What a thread without a task does next."""

    FLUSH = auto()
    POLL = auto()
    PARK = auto()
    LEAVE = auto()


class Evthr:
    """The event-thread system of a process.

    Args:
        soft_threads: idle threads beyond this number leave; 1 or more.
        hard_threads: number of threads at most, reached only while tasks block.
        clock: gives the monotonic time of timers.
        log: failed tasks are logged here.
        share_at: number of ready tasks from which on another thread is woken to help; 0 for never, which is best for
            short tasks, since only one thread at a time runs Python code.

    Locking: own lock LEAF; all methods may be called from any thread, with any lock held.
    """

    def __init__(
        self,
        *,
        soft_threads: int = SOFT_THREADS,
        hard_threads: int = HARD_THREADS,
        clock: Clock | None = None,
        log: Log | None = None,
        share_at: int = 0,
    ) -> None:
        self.clock: Clock = SystemClock() if clock is None else clock
        self.log = Log("evthr") if log is None else log
        self._share_at = share_at
        self._soft_threads = soft_threads
        self._lock = threading.Lock()
        self._board = Board(self.log)
        self._crew = Crew(self._lock, self._board, soft_threads, max(soft_threads, hard_threads))
        self._workers: list[Worker] = []
        self._threads: list[threading.Thread] = []
        self._stop_at: float | None = None
        self._raised: BaseException | None = None
        self._start_again_at = NEVER  # monotonic seconds at which to look whether the system gives threads again
        self._local = threading.local()

    # -- tasks ---------------------------------------------------------------------------------------------------------

    def task_new(
        self,
        function: TaskFunction,
        *,
        fd: int = -1,
        events: Ev = Ev.RD,
        wake_at: float | None = None,
        run: bool = False,
        name: str = "",
        frame: bool = False,
    ) -> Task:
        """Makes a task.

        Args:
            function: called as function(task) whenever an event came; returns a Result.
            fd: descriptor to watch, -1 for none.
            events: RD, LI, WR: what to watch for; CL: call the function a last time after deletion.
            wake_at: monotonic time in seconds of the first run, if nothing comes earlier.
            run: the first run is at once.
            name: names it in the log.
            frame: the process ends when the function fails, for it cannot do without the task.

        Raises:
            FileExistsError: another task has the descriptor.
            OSError: the descriptor cannot be watched.

        Blocks: no.
        """
        alone = fd >= 0 and not events & Ev.CL  # nobody would notice that it is gone
        task = Task(self, function, fd, events, name, frame=frame or alone)
        task.wake_at = wake_at
        with self._lock:
            wake = self._board.add(task, run=run)
        if wake:
            self._board.wakeup.set()
        return task

    def timer(self, delay_s: float, function: TaskFunction, name: str = "") -> Task:
        """Makes a task that runs delay_s seconds from now; its function returns DEL, or SLPQ after sleep_for()."""
        return self.task_new(function, events=Ev.NONE, wake_at=self.clock.monotonic() + delay_s, name=name)

    def call_soon(self, function: Callable[[], None], name: str = "") -> Task:
        """Makes a task that calls function() once, soon, without the locks of the caller; a failure is contained."""

        def once(task: Task) -> Result:
            with failure.item(self.log, "evthr.call", name=name or None):
                function()
            return Result.DEL

        return self.task_new(once, events=Ev.NONE, run=True, name=name)

    def wakeup(self, task: Task) -> None:
        """See Task.wakeup."""
        with self._lock:
            wake = self._board.happen(task, Event.WAKE, _WU)
        if wake:
            self._board.wakeup.set()

    def set_time(self, task: Task, monotonic_s: float | None) -> None:
        """See Task.sleep_until."""
        with self._lock:
            wake = self._board.set_time(task, monotonic_s)
        if wake:
            self._board.wakeup.set()

    def want(self, task: Task, event: Ev, on: bool) -> None:
        """See Task.want_write and Task.want_read."""
        with self._lock:
            wake = self._board.want(task, int(event), on)
        if wake:
            self._board.wakeup.set()

    def delete(self, task: Task) -> None:
        """See Task.delete."""
        with self._lock:
            wake = self._board.delete(task)
        if wake:
            self._board.wakeup.set()

    # -- running -------------------------------------------------------------------------------------------------------

    def loop(self) -> None:
        """Runs tasks until stop(); the calling thread is one of the workers.

        Raises:
            KeyboardInterrupt, SystemExit: a task function raised it; the system was stopped in order.

        Blocks: yes (until stopped).
        """
        with self._lock:
            self._crew.count += 1
            start = self._soft_threads > 1 and self._crew.appoint()
        if start:
            self._start_thread(stand_by=True)
        try:
            self._work(permanent=True)
        finally:
            self._finish()
        if self._raised is not None:
            raise self._raised

    def stop(self, limit_s: float = STOP_LIMIT_S) -> None:
        """Stops the system: what is in the run queue is run, and what that wakes; nothing is polled any more.

        Tasks that asked for Ev.CL then get their last call.

        Args:
            limit_s: what is not done after so many seconds is dropped and logged.

        Blocks: no; loop() returns soon after.
        """
        with self._lock:
            if self._stop_at is None:
                self._stop_at = self.clock.monotonic() + limit_s
            self._crew.closing = True
            self._crew.wake_all()
        self._board.wakeup.set()

    @property
    def stopping(self) -> bool:
        """Whether stop() was called."""
        return self._stop_at is not None

    @contextmanager
    def blocking(self) -> Iterator[None]:
        """Wraps a call that may block (disk, look-up): what is collected leaves, and another thread takes the work over.

        Outside of task functions it does nothing.
        """
        me: Worker | None = getattr(self._local, "worker", None)
        if me is not None:
            me.task = None  # it said so: no stuck task
            batch.flush_here()
            self._hand_over()
        yield

    def threads(self) -> int:
        """Gives the number of threads, for tests and statistics."""
        return self._crew.count

    # -- the threads ---------------------------------------------------------------------------------------------------

    def _work(self, *, permanent: bool, stand_by: bool = False) -> None:
        """Life of a thread; the process ends with one that fails outside of tasks, for its work would be left undone."""
        me = Worker(batch.open_here(), permanent=permanent)
        self._local.worker = me
        self._workers.append(me)
        try:
            if stand_by:
                self._park(me, stand_by=True)
            self._turns(me)
        except Exception as error:  # noqa: BLE001  the frame itself
            failure.end_process(self.log, "evthr.frame", error)
        finally:
            batch.close_here()
            self._local.worker = None
            self._workers.remove(me)

    def _turns(self, me: Worker) -> None:
        task: Task | None = None
        bits = 0
        step = _Step.FLUSH
        while step is not _Step.LEAVE:
            start = False
            with self._lock:
                if task is not None and self._board.put_back(task, bits):
                    self._board.wakeup.set()
                task = self._board.pop() if me.runs < BATCH_RUNS else None
                if task is None:
                    step = self._next_step(me)
                elif self._share_at and len(self._board.runq) >= self._share_at:
                    start = self._crew.help_out()
            if start:
                self._start_thread()
            if task is not None:
                bits = self._run_in(me, task)
            elif step is _Step.FLUSH:
                batch.flush_here()
            elif step is _Step.POLL:
                me.runs = 0
                self._control(me.poll_until)
            elif step is _Step.PARK:
                self._park(me)

    def _next_step(self, me: Worker) -> _Step:
        """Decides what a thread without a task does; takes the controller role for it.  Caller holds the lock."""
        if me.batch:
            return _Step.FLUSH
        if self._stop_at is not None:
            if self._board.runq and self.clock.monotonic() < self._stop_at:
                me.runs = 0
                return _Step.FLUSH
            self._leave(me)
            return _Step.LEAVE
        if not self._board.polling:
            if not self._board.runq and self._crew.thin_out(me):
                return _Step.LEAVE
            me.poll_until = self._board.begin_poll()
            return _Step.POLL
        me.runs = 0
        if self._board.runq:
            return _Step.FLUSH
        if self._crew.surplus(me):
            return _Step.LEAVE
        return _Step.PARK

    def _leave(self, me: Worker) -> None:
        self._crew.count -= 1
        if self._board.runq:
            self.log.error("evthr.stop", "work is dropped: the time to stop is over", count=len(self._board.runq))
            self._board.runq.clear()

    def _control(self, until: float) -> None:
        """Polls with the controller role and gives it up.  Blocks: yes (until something is ready)."""
        timeout_s = -1.0 if until == NEVER else max(0.0, until - self.clock.monotonic()) if until else 0.0
        ready = self._board.waitq.poll(timeout_s)
        now = self.clock.monotonic()
        with self._lock:
            self._board.end_poll(ready, now)
            self._crew.nudge()
            start = now >= self._start_again_at and self._crew.appoint()
            if now >= self._start_again_at:
                self._start_again_at = NEVER
        if start:
            self._start_thread(stand_by=True)

    def _run_in(self, me: Worker, task: Task) -> int:
        me.task = task
        bits = self._run(task)
        me.task = None
        # whoever used up his turn is followed by output that was collected, and a look at the descriptors
        me.runs = BATCH_RUNS if bits & _RUNQ else me.runs + 1
        return bits

    def _run(self, task: Task) -> int:
        """Calls the function of a task; gives the number of its Result."""
        try:
            try:
                result = task.function(task)
            except Exception as error:  # noqa: BLE001  the one place where tasks are contained
                result = self._failed(task, error)
        except (KeyboardInterrupt, SystemExit) as error:
            self._raised = self._raised or error
            result = Result.DEL | Result.TERM
        bits = int(result)
        if bits & _TERM:
            self.stop()
        return bits

    def _failed(self, task: Task, error: Exception) -> Result:
        """Decides what a failed task costs; see the head of the file."""
        if task.frame:
            failure.end_process(self.log, "evthr.frame", error, name=task.name or None)
        failure.contained(self.log, "evthr.task", error, name=task.name or None)
        if task.fd >= 0 or task.seen_bits & _CL:
            return Result.DEL
        task.sleep_for(ERROR_RETRY_S)
        return Result.SLPQ

    def _park(self, me: Worker, *, stand_by: bool = False) -> None:
        """Lets a thread without work wait; a new thread that is to stand by waits even if there is work."""
        with self._lock:
            if self._stop_at is not None or (not stand_by and (self._board.runq or not self._board.polling)):
                return
            deputy = self._crew.enlist(me)
        if not deputy:
            me.gate.acquire()
            with self._lock:
                deputy = self._crew.is_deputy(me)  # appointed while it waited
                me.forget_token()
        if deputy and self._crew.watch(me):
            self._take_over()

    def _take_over(self) -> None:
        """Goes on in place of a thread that is stuck in a task: sends what it collected, finds a new deputy."""
        for worker in list(self._workers):
            batch.flush(worker.batch)
            stuck = worker.task
            if stuck is not None and self.log.level >= Sev.DEBUG:
                self.log.debug("evthr.slow", "holds its thread; another one goes on", name=stuck.name or repr(stuck.function))
        with self._lock:
            start = self._crew.appoint()
        if start:
            self._start_thread(stand_by=True)

    def _hand_over(self) -> None:
        """Lets another thread go on while this one blocks."""
        with self._lock:
            parked = self._crew.idle
            start = not self._board.polling and self._crew.call_up()
        if start:
            self._start_thread(stand_by=parked > 0)

    def _start_thread(self, *, stand_by: bool = False) -> None:
        """Starts a thread that is counted already; a shortage takes the count back, and it is tried again later."""
        arguments = {"permanent": False, "stand_by": stand_by}
        thread = threading.Thread(target=self._work, kwargs=arguments, name="evthr", daemon=True)
        self._threads = [old for old in self._threads if old.is_alive() or old.ident is None]
        self._threads.append(thread)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            self._threads.remove(thread)
            with self._lock:
                self._crew.not_started()
            self._start_again_at = self.clock.monotonic() + THREAD_RETRY_S
            failure.contained(self.log, "evthr.thread", error)

    # -- the end -------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Waits for the other threads, makes the last calls, closes.  Blocks: yes (until tasks at hand are done)."""
        failure.steps(self.log, "evthr.stop", self.stop, self._join, self._last_calls, self._close)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join(max(0.0, (self._stop_at or 0.0) - self.clock.monotonic()))
        stuck = self._stuck()
        if stuck:
            self.log.error("evthr.stop", "threads are left behind: their tasks do not return", count=stuck)

    def _stuck(self) -> int:
        return sum(thread.is_alive() for thread in self._threads)

    def _close(self) -> None:
        if not self._stuck():
            self._board.close()

    def _last_calls(self) -> None:
        with self._lock:
            for task in [task for task in self._board.tasks if task.wanted & _CL]:
                self._board.delete(task)
        with batch.batch():
            while (last := self._take()) is not None:
                bits = self._run(last) | _DEL
                with self._lock:
                    self._board.put_back(last, bits)

    def _take(self) -> Task | None:
        with self._lock:
            return self._board.pop()
