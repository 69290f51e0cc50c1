import os
import signal

import pytest

from meta1g.base.clock import SystemClock
from meta1g.mcp.loop import Loop


class FakeClock(SystemClock):
    time_s = 0.0

    def monotonic(self):
        return self.time_s


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def loop(clock):
    made = Loop(clock)
    yield made
    made.close()


def test_timers_run_in_order_of_time_when_it_has_come(loop, clock):
    done = []
    loop.call_later(2, lambda: done.append("b"))
    loop.call_later(1, lambda: done.append("a"))
    loop.turn(0)
    assert done == []
    clock.time_s = 1
    loop.turn(0)
    assert done == ["a"]
    clock.time_s = 5
    loop.turn(0)
    assert done == ["a", "b"]


def test_a_cancelled_timer_does_not_run(loop, clock):
    timer = loop.call_later(1, lambda: pytest.fail("ran"))
    timer.cancel()
    clock.time_s = 2
    loop.turn(0)


def test_a_reader_removed_by_an_earlier_callback_is_not_called(loop):
    pipes = [os.pipe() for _ in range(2)]
    done = []

    def once(own: int) -> None:
        done.append(own)
        for read_fd, _ in pipes:
            loop.remove(read_fd)

    for read_fd, write_fd in pipes:
        loop.add_reader(read_fd, lambda own=read_fd: once(own))
        os.write(write_fd, b"x")
    loop.turn(0)
    loop.turn(0)
    assert len(done) == 1
    for fds in pipes:
        for fd in fds:
            os.close(fd)


def test_signals_come_as_callbacks_and_old_handlers_return(clock):
    before = signal.getsignal(signal.SIGUSR1)
    loop = Loop(clock)
    done = []
    loop.on_signal(signal.SIGUSR1, lambda: done.append(1))
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.turn(5)
    assert done == [1]
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) == before


def test_stop_ends_run_after_the_callback_at_hand(loop):
    done = []
    loop.call_later(0, lambda: (done.append(1), loop.stop()))
    loop.call_later(0, lambda: done.append(2))
    loop.run()
    assert done == [1]
