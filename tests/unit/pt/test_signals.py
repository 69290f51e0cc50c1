import os
import signal
import threading

from meta1g.pt import signals
from meta1g.pt.evthr import Evthr


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
