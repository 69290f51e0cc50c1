import os
import signal
import threading

import pytest

from meta1g.pt import signals
from meta1g.pt.evthr import Evthr
from meta1g.pt.task import Result

from .conftest import DEADLINE_S


def test_signal_runs_its_function_in_a_worker_and_close_puts_the_old_handler_back():
    old = signal.getsignal(signal.SIGUSR1)
    evthr, got = Evthr(), []

    def on_usr1():
        got.append(threading.current_thread().name)
        os.kill(os.getpid(), signal.SIGUSR2)

    signals.on_signal(evthr, signal.SIGUSR1, on_usr1)
    signals.on_signal(evthr, signal.SIGUSR2, evthr.stop)
    evthr.call_soon(lambda: os.kill(os.getpid(), signal.SIGUSR1))
    evthr.loop()
    signals.signals_of(evthr).close()
    assert len(got) == 1
    assert signal.getsignal(signal.SIGUSR1) == old


def test_signal_ends_a_loop_that_waits():
    evthr = Evthr()
    signals.on_signal(evthr, signal.SIGUSR1, evthr.stop)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    evthr.loop()
    timer.join()
    signals.signals_of(evthr).close()
    assert evthr.stopping


def run_with(functions, *signums):
    """Runs a system that gets these signals; a deadline ends it."""
    evthr, late = Evthr(), []
    for signum, function in functions(evthr).items():
        signals.on_signal(evthr, signum, function)
    for signum in signums:
        evthr.call_soon(lambda signum=signum: os.kill(os.getpid(), signum))
    evthr.timer(DEADLINE_S, lambda task: late.append(1) or Result.TERM)
    try:
        evthr.loop()
    finally:
        signals.signals_of(evthr).close()
    assert not late, "the system did not stop"


def test_a_failing_function_costs_its_signal_only():
    """A log that cannot be opened at SIGUSR1 must not make the process deaf to SIGTERM."""
    called = []

    def functions(evthr):
        def usr1():
            called.append("usr1")
            os.kill(os.getpid(), signal.SIGUSR2)
            raise FileNotFoundError("the log cannot be opened")

        def usr2():
            called.append("usr2")
            os.kill(os.getpid(), signal.SIGTERM)
            raise BufferError("and another one")

        return {signal.SIGUSR1: usr1, signal.SIGUSR2: usr2, signal.SIGTERM: lambda: called.append("term") or evthr.stop()}

    run_with(functions, signal.SIGUSR1)
    assert called == ["usr1", "usr2", "term"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_system_stops_even_if_the_function_of_the_signal_fails(signum):
    run_with(lambda evthr: {signum: lambda: 1 // 0}, signum)


def test_a_function_that_blocks_does_not_hold_up_the_end():
    release = threading.Event()

    def functions(evthr):
        def usr1():
            os.kill(os.getpid(), signal.SIGTERM)
            assert release.wait(DEADLINE_S)

        return {signal.SIGUSR1: usr1, signal.SIGTERM: lambda: release.set() or evthr.stop()}

    run_with(functions, signal.SIGUSR1)
    assert release.is_set()


def test_the_process_ends_when_signals_cannot_be_read(exits):
    evthr = Evthr()
    one = signals.signals_of(evthr)
    one._reader.close()
    evthr.call_soon(one._task.wakeup)
    with pytest.raises(SystemExit):
        evthr.loop()
    one.close()
    assert exits == [70]
