"""What State Threads cost: a switch, an off-load, a read that does not block, one that does, a new thread, a turn's end.

    python -m bench.st_switch [--rounds 7] [--record]

Each figure is the median of several rounds of a loop, by timeit of the standard library; the empty loop is not subtracted
(about 0.02 us).
"""

import argparse
import socket
import sys
import timeit
from collections.abc import Callable

from bench.results import median, record
from meta1g.st import (
    ST_UTIME_NO_TIMEOUT,
    offload,
    st_checkpoint,
    st_cond_new,
    st_cond_signal,
    st_cond_wait,
    st_init,
    st_netfd_close,
    st_netfd_open_socket,
    st_read,
    st_thread_create,
    st_thread_join,
    st_write,
    switch_count,
)
from meta1g.st.sched import give_way

INTRO = """\
State threads (meta1g/st), microseconds, medians.  Switch: from one thread to another, by a condition variable.  Off-load: an
empty function in a native thread and back; eight at a time: each of eight threads off-loads.  Read: 100 bytes of a socket that
are there already, with the turns that end meanwhile; checkpoint: the same for work in memory; give way: nobody else can run,
the loop polls; round trip: two threads, each waits for the other's byte."""


def timed(function: Callable[[int], None], count: int, rounds: int) -> float:
    """Gives microseconds of one of count operations that function(count) does."""
    return median([timeit.timeit(lambda: function(count), number=1) / count * 1e6 for _ in range(rounds)])


def switches(count: int) -> None:
    """Two threads wake each other in turn; count switches."""
    conds = st_cond_new(), st_cond_new()

    def play(me: int) -> None:
        for _ in range(count // 2):
            st_cond_signal(conds[1 - me])
            st_cond_wait(conds[me])
        st_cond_signal(conds[1 - me])

    before = switch_count()
    for thread in [st_thread_create(play, n, True) for n in (0, 1)]:
        st_thread_join(thread)
    assert switch_count() - before >= count


def offloads(count: int) -> None:
    """One thread off-loads again and again."""
    for _ in range(count):
        offload(int)


def parallel_offloads(count: int) -> None:
    """Eight threads off-load at the same time."""
    for thread in [st_thread_create(lambda _: offloads(count // 8), None, True) for _ in range(8)]:
        st_thread_join(thread)


def ready_reads(count: int) -> None:
    """Reads what is there already: count reads of 100 bytes, written beforehand in pieces that the socket holds."""
    one, two = (st_netfd_open_socket(sock) for sock in socket.socketpair())
    for _ in range(count // 500):
        st_write(one, b"x" * 50_000, ST_UTIME_NO_TIMEOUT)
        for _ in range(500):
            st_read(two, 100, ST_UTIME_NO_TIMEOUT)
    st_netfd_close(one)
    st_netfd_close(two)


def checkpoints(count: int) -> None:
    """Steps of work on memory, with the turns that end meanwhile."""
    for _ in range(count):
        st_checkpoint()


def ways_given(count: int) -> None:
    """Turns that end at once."""
    for _ in range(count):
        give_way()


def round_trips(count: int) -> None:
    """A byte to another thread and back: two reads that wait."""
    one, two = (st_netfd_open_socket(sock) for sock in socket.socketpair())

    def echo(_: object) -> None:
        for _ in range(count):
            st_write(two, st_read(two, 1, ST_UTIME_NO_TIMEOUT), ST_UTIME_NO_TIMEOUT)

    thread = st_thread_create(echo, None, True)
    for _ in range(count):
        st_write(one, b"x", ST_UTIME_NO_TIMEOUT)
        st_read(one, 1, ST_UTIME_NO_TIMEOUT)
    st_thread_join(thread)
    st_netfd_close(one)
    st_netfd_close(two)


def threads(count: int) -> None:
    """Threads that do nothing, one after the other, made and joined."""
    for _ in range(count):
        st_thread_join(st_thread_create(lambda _: None, None, True))


MEASURED: dict[str, tuple[Callable[[int], None], int]] = {
    "switch": (switches, 50_000),
    "off-load": (offloads, 5_000),
    "off-load, eight at a time": (parallel_offloads, 20_000),
    "read of what is there": (ready_reads, 50_000),
    "checkpoint": (checkpoints, 50_000),
    "give way": (ways_given, 10_000),
    "round trip, two reads that wait": (round_trips, 10_000),
    "thread, made and joined": (threads, 20_000),
}


def main(argv: list[str]) -> int:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(prog="bench.st_switch", description="Cost of State Threads.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--record", action="store_true", help="add a row to bench/RESULTS.md")
    options = parser.parse_args(argv)
    st_init()
    figures = {name: f"{timed(function, count, options.rounds):.2f}" for name, (function, count) in MEASURED.items()}
    for name, value in figures.items():
        print(f"{name:32} {value:>8} us")
    if options.record:
        record("State threads", INTRO, "python -m bench.st_switch", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
