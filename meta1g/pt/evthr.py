"""The event-thread system: tasks that wait for descriptors, times and wake-ups, run by a few threads.

A thread takes tasks from the run queue; when there is none, and no other thread has the controller role, it polls: it
moves the tasks that are ready to the run queue, gives the role up, and runs them.  The role goes to another thread when
a task holds its thread for longer than a tick (see meta1g.pt.crew).

Invariant: a task is run by one thread at a time, and a wake-up that comes while it runs makes it run again (see task.py).
All state is guarded by one leaf lock, held for a few microseconds, never during a call to a task.

Ref: docs/failures.md (what a failing task costs); MeTA1 design, "Implementation: Event threads" (names modelled on).
"""

import threading
from collections.abc import Callable

from meta1g.base import failure
from meta1g.base.clock import Clock, SystemClock
from meta1g.base.log import Log
from meta1g.base.logkeys import Sev
from meta1g.pt import batch
from meta1g.pt.board import NEVER, Board
from meta1g.pt.crew import Crew, Worker
from meta1g.pt.limits import BATCH_RUNS, ERROR_RETRY_S, HARD_THREADS, SOFT_THREADS, STOP_LIMIT_S, THREAD_RETRY_S
from meta1g.pt.task import Ev, Event, Result, Task, TaskFunction

_WU, _CL = int(Ev.WU), int(Ev.CL)
_DEL, _TERM, _RUNQ = int(Result.DEL), int(Result.TERM), int(Result.RUNQ)


class Evthr:
    """The event-thread system of a process.

    Args:
        soft_threads: idle threads beyond this number leave; 1 or more.
        hard_threads: number of threads at most, reached only while tasks block.
        clock: gives the monotonic time of timers.
        log: failed tasks are logged here.

    Locking: own lock LEAF; all methods may be called from any thread, with any lock held.
    """

    def __init__(
        self,
        *,
        soft_threads: int = SOFT_THREADS,
        hard_threads: int = HARD_THREADS,
        clock: Clock | None = None,
        log: Log | None = None,
    ) -> None:
        self.clock: Clock = SystemClock() if clock is None else clock
        self.log = Log("evthr") if log is None else log
        self._lock = threading.Lock()
        self._board = Board(self.log)
        self._crew = Crew(soft_threads, max(soft_threads, hard_threads))
        self._workers: list[Worker] = []
        self._threads: list[threading.Thread] = []
        self._stop_at: float | None = None
        self._raised: BaseException | None = None
        self._start_again_at = 0.0  # monotonic seconds before which the system is not asked for a thread

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
            function: called as function(task) whenever an event came.
            fd: descriptor to watch, -1 for none.
            events: what to watch for; CL: call the function a last time after deletion.
            wake_at: monotonic time in seconds of the first run, if nothing comes earlier.
            run: the first run is at once.
            name: names it in the log.
            frame: the process ends when the function fails, for it cannot do without the task.

        Raises:
            FileExistsError, OSError: another task has the descriptor; it cannot be watched.
        """
        alone = fd >= 0 and not events & Ev.CL  # nobody would notice that it is gone
        task = Task(self, function, fd, events, name, frame=frame or alone)
        task.wake_at = wake_at
        self._apply(self._board.add, task, run)
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
        self._apply(self._board.happen, task, Event.WAKE, _WU)

    def set_time(self, task: Task, monotonic_s: float | None) -> None:
        """See Task.sleep_until."""
        self._apply(self._board.set_time, task, monotonic_s)

    def want(self, task: Task, event: Ev, on: bool) -> None:
        """See Task.want_write."""
        self._apply(self._board.want, task, int(event), on)

    def delete(self, task: Task) -> None:
        """See Task.delete."""
        self._apply(self._board.delete, task)

    def _apply(self, change: Callable[..., bool], *arguments: object) -> None:
        """Changes the books, and interrupts the poll if it has to see that."""
        with self._lock:
            wake = change(*arguments)
        if wake:
            self._board.wakeup.set()

    def loop(self) -> None:
        """Runs tasks until stop(); the calling thread is one of the workers.  Blocks: yes (until stopped).

        Raises:
            KeyboardInterrupt, SystemExit: a task function raised it; the system was stopped in order.
        """
        self._crew.count += 1
        if self._crew.hard > 1:
            with failure.item(self.log, "evthr.thread", lambda error: self.timer(ERROR_RETRY_S, self._start_watch)):
                self._start_watch()
        try:
            self._work(permanent=True)
        finally:
            self._finish()
        if self._raised is not None:
            raise self._raised

    def stop(self, limit_s: float = STOP_LIMIT_S) -> None:
        """Stops the system: what is in the run queue is run, and what that wakes; nothing is polled any more.

        Tasks that asked for Ev.CL then get their last call.  What is not done after limit_s seconds is dropped and logged.
        """
        with self._lock:
            if self._stop_at is None:
                self._stop_at = self.clock.monotonic() + limit_s
            self._crew.wake_all()
        self._board.wakeup.set()

    @property
    def stopping(self) -> bool:
        """Whether stop() was called."""
        return self._stop_at is not None

    def _work(self, *, permanent: bool) -> None:
        """Life of a thread; the process ends with one that fails outside of tasks, for its work would be left undone."""
        me = Worker(batch.open_here(), permanent=permanent)
        self._workers.append(me)
        try:
            self._turns(me)
        except Exception as error:  # noqa: BLE001  the frame itself
            failure.end_process(self.log, "evthr.frame", error)
        finally:
            batch.close_here()
            self._workers.remove(me)

    def _turns(self, me: Worker) -> None:
        task, bits, step = None, 0, None
        while True:
            with self._lock:
                if task is not None and self._board.put_back(task, bits):
                    self._board.wakeup.set()
                task = self._board.pop() if me.runs < BATCH_RUNS else None
                if task is None:
                    step = self._next_step(me)
            if task is not None:
                me.task = task
                bits = self._run(task)
                me.task = None
                # whoever used up his turn is followed by output that was collected, and a look at the descriptors
                me.runs = BATCH_RUNS if bits & _RUNQ else me.runs + 1
            elif step is not None:
                step(me)
            else:
                return

    def _next_step(self, me: Worker) -> Callable[[Worker], None] | None:
        """Decides what a thread without a task does, None for leaving.  Caller holds the lock."""
        if me.batch:
            return self._flush
        me.runs = 0
        if self._stop_at is not None:
            if self._board.runq and self.clock.monotonic() < self._stop_at:
                return self._flush
            self._crew.count -= 1
            if self._board.runq:
                self.log.error("evthr.stop", "work is dropped: the time to stop is over", count=len(self._board.runq))
                self._board.runq.clear()
            return None
        if not self._board.polling:
            self._board.begin_poll()
            return self._poll
        if self._board.runq:
            return self._flush
        return Worker.wait if self._crew.park(me) else None

    def _flush(self, me: Worker) -> None:
        batch.flush(me.batch)

    def _poll(self, me: Worker) -> None:
        """Polls with the controller role and gives it up.  Blocks: yes (until something is ready)."""
        until = self._board.poll_until
        timeout_s = -1.0 if until == NEVER else max(0.0, until - self.clock.monotonic()) if until else 0.0
        ready = self._board.waitq.poll(timeout_s)
        now = self.clock.monotonic()
        with self._lock:
            self._board.end_poll(ready, now)
            self._crew.nudge()

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
        if (bits := int(result)) & _TERM:
            self.stop()
        return bits

    def _failed(self, task: Task, error: Exception) -> Result:
        """Decides what a failed task costs; see docs/failures.md."""
        if task.frame:
            failure.end_process(self.log, "evthr.frame", error, name=task.name or None)
        failure.contained(self.log, "evthr.task", error, name=task.name or None)
        if task.fd >= 0 or task.seen_bits & _CL:
            return Result.DEL
        task.sleep_for(ERROR_RETRY_S)
        return Result.SLPQ

    def _start_watch(self, task: Task | None = None) -> Result:
        """Starts the watch; as a task it fails in a shortage, and runs again."""
        self._start(threading.Thread(target=self._watch, name="evthr watch", daemon=True))
        return Result.DEL

    def _start(self, thread: threading.Thread) -> None:
        thread.start()
        self._threads = [*(old for old in self._threads if old.is_alive()), thread]

    def _watch(self) -> None:
        """Lets another thread go on whenever all are stuck in tasks.  Blocks: yes."""
        try:
            while not self._crew.over:
                self._look(nudged=self._crew.wait())
        except Exception as error:  # noqa: BLE001  the frame itself
            failure.end_process(self.log, "evthr.frame", error)

    def _look(self, *, nudged: bool) -> None:
        board, now = self._board, self.clock.monotonic()
        with self._lock:
            if not self._crew.stuck(board.turns, nudged=nudged, polling=board.polling):
                return
            if self._stop_at is not None and not board.runq:
                return
            start = self._crew.call_up(may_start=now >= self._start_again_at)
        for worker in list(self._workers):
            batch.flush(worker.batch)
            stuck = worker.task
            if stuck is not None and self.log.level >= Sev.DEBUG:
                self.log.debug("evthr.slow", "holds its thread; another one goes on", name=stuck.name or repr(stuck.function))
        if start:
            self._start_worker()

    def _start_worker(self) -> None:
        """Starts a thread that is counted already; a shortage takes the count back, and it is tried again later."""
        try:
            self._start(threading.Thread(target=self._work, kwargs={"permanent": False}, name="evthr", daemon=True))
        except (RuntimeError, MemoryError) as error:
            with self._lock:
                self._crew.count -= 1
            self._start_again_at = self.clock.monotonic() + THREAD_RETRY_S
            failure.contained(self.log, "evthr.thread", error)

    def _finish(self) -> None:
        """Waits for the other threads, makes the last calls, closes.  Blocks: yes (until tasks at hand are done)."""
        failure.steps(self.log, "evthr.stop", self.stop, self._join, self._last_calls, self._close)

    def _join(self) -> None:
        with self._lock:
            self._crew.nudge(over=True)
        while (thread := self._left_behind()) and (left_s := (self._stop_at or 0.0) - self.clock.monotonic()) > 0:
            thread.join(left_s)
        if thread:
            self.log.error("evthr.stop", "threads are left behind: their tasks do not return")

    def _left_behind(self) -> threading.Thread | None:
        return next((thread for thread in self._threads if thread.is_alive()), None)

    def _close(self) -> None:
        if not self._left_behind():
            self._board.waitq.epoll.close()
            self._board.wakeup.close()

    def _last_calls(self) -> None:
        with self._lock:
            for one in [one for one in self._board.tasks if one.wanted & _CL]:
                self._board.delete(one)
        with batch.batch():
            while (last := self._take()) is not None:
                self._apply(self._board.put_back, last, self._run(last) | _DEL)

    def _take(self) -> Task | None:
        with self._lock:
            return self._board.pop()
