"""A bounded pool of threads for calls that block: map look-ups, disk flushes.

Invariants: at most n calls run and at most queue_max wait; a call beyond that is refused at once (invariant I4).  A call
that was taken is called, and its on_done after it, whatever becomes of the others; a bug ends the process (invariant I12).
Ref: MeTA1 design, "Functional Specification: SMAR" (worker threads for blocking look-ups, modelled on).
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from meta1g.base import failure
from meta1g.base.errors import BugError, FullError, Module
from meta1g.base.log import Log
from meta1g.pt import batch
from meta1g.pt.limits import WORKERS_QUEUE

T = TypeVar("T")
_Job = tuple[Callable[[], Any], Callable[[Any, Exception | None], None] | None]


class Workers:
    """A pool of up to n (1 or more) threads with a name, started when needed; up to queue_max calls wait.

    Locking: own lock LEAF; all methods may be called from any thread.
    """

    def __init__(self, n: int, *, name: str = "worker", queue_max: int = WORKERS_QUEUE, log: Log | None = None) -> None:
        self._n = n
        self._name = name
        self._queue_max = queue_max
        self._log = Log("workers") if log is None else log
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._open = 0  # calls that wait or run
        self._closed = False

    def submit(self, function: Callable[[], T], on_done: Callable[[T | None, Exception | None], None] | None = None) -> None:
        """Lets a thread of the pool call function(), which may block.

        Args:
            function: what to call.
            on_done: called in that thread as on_done(result, error), one of them None; what it sends leaves together.

        Raises:
            FullError: too many calls wait, the pool is closed, or the system gives no thread; nothing will be called.
        """
        with self._lock:
            if self._closed or self._jobs.qsize() >= self._queue_max:
                raise FullError(Module.EVTHR, f"{self._name}: {'closed' if self._closed else 'too many calls wait'}")
            if len(self._threads) <= self._open and len(self._threads) < self._n:
                self._start_thread()
            self._open += 1
            self._jobs.put((function, on_done))

    def _start_thread(self) -> None:
        """Starts one more thread; without one the others do the work, if there are any.  Caller holds the lock."""
        thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            failure.contained(self._log, "workers.thread", error, name=self._name)
            if not self._threads:
                raise FullError(Module.EVTHR, f"{self._name}: the system gives no thread") from error
        else:
            self._threads.append(thread)

    def pending(self) -> int:
        """Gives the number of calls that wait."""
        return self._jobs.qsize()

    def close(self, timeout_s: float | None = None) -> bool:
        """Lets waiting calls finish and ends the threads; tells whether all ended.  Blocks: yes (timeout_s for each thread)."""
        with self._lock:
            if not self._closed:
                self._closed = True
                for _ in self._threads:
                    self._jobs.put(None)  # each ends one thread, after the calls that wait
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                self._call(*job)
                del job
                with self._lock:
                    self._open -= 1
        except Exception as error:  # noqa: BLE001  the frame itself: what waits would never be called
            failure.end_process(self._log, "workers.frame", error, name=self._name)

    def _call(self, function: Callable[[], Any], on_done: Callable[[Any, Exception | None], None] | None) -> None:
        result: Any = None
        error: Exception | None = None
        try:
            result = function()
        except Exception as caught:  # noqa: BLE001  on_done decides what it costs
            error = caught
            if on_done is None or isinstance(error, BugError):
                failure.contained(self._log, "workers.call", error, name=self._name)
        if on_done is None:
            return
        try:
            with batch.batch():
                on_done(result, error)
        except Exception as caught:  # noqa: BLE001  costs this call
            failure.contained(self._log, "workers.done", caught, name=self._name)
