"""Limits and times of the POSIX-threads layer.

Pure.  Ref: MeTA1 design, "Implementation: Event threads" (evthr_max_s, evthr_max_h modelled on).
"""

from typing import Final

#: Idle threads beyond this number leave.  Our choice: one runs tasks, three have come because tasks held their threads.
SOFT_THREADS: Final = 4
#: Threads at most, when those of the soft limit are all blocked.  Our choice: four times as many.
HARD_THREADS: Final = 16
#: How often the watch looks whether all threads are stuck.  Our choice: some disk flushes; two ticks are less than 50 ms (I10).
WATCH_TICK_S: Final = 0.02
#: Quiet ticks after which the watch sleeps until there is work again.  Our choice, because waking it costs little.
WATCH_QUIET_TICKS: Final = 10
#: Tasks run in one go before collected output leaves.  Our choice: about the work of a few milliseconds.
BATCH_RUNS: Final = 64
#: Events taken from one poll.  Our choice, because further ones are simply found by the next poll.
POLL_EVENTS: Final = 256
#: Longest time from stop() until unfinished work is dropped.  Our choice: mcp waits a little longer.
STOP_LIMIT_S: Final = 8.0
#: A task without descriptor whose function failed runs again after this time.  Our choice, because periodic work must go on.
ERROR_RETRY_S: Final = 1.0
#: A thread that the system did not give is asked for again after this time.  Our choice.
THREAD_RETRY_S: Final = 1.0

#: Reads from one connection before the others get their turn.  Our choice.
READS_PER_RUN: Final = 4
#: Longest time for the messages of one connection before others get their turn.  Ref: invariant I10; our choice, below a tick
#: of the watch.
TURN_S: Final = 0.002
#: Collected bytes that leave at once instead of at the end of the batch.  Our choice: about a socket buffer.
FLUSH_BYTES: Final = 128 * 1024
#: Socket buffers asked for, both directions.  Our choice, because a burst should fit without waiting.
SOCKET_BUFFER_BYTES: Final = 512 * 1024
#: Connections that wait to be accepted.  Our choice, because components of one host are few.
LISTEN_BACKLOG: Final = 128
#: Connections accepted in one run of a listener.  Our choice.
ACCEPTS_PER_RUN: Final = 16
#: A listener without free descriptors waits so long.  Our choice.
ACCEPT_PAUSE_S: Final = 0.1

#: Calls that may wait for a blocking worker.  Ref: invariant I4; the number is our choice.
WORKERS_QUEUE: Final = 10_000
