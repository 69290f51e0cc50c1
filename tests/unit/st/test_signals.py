"""Signals start threads."""

import os
import signal

from meta1g import st
from meta1g.st.signals import forget_signal, on_signal


def test_the_function_of_a_signal_runs_in_a_thread_that_may_switch(trace):
    def handler():
        st.st_usleep(0)
        trace.append(st.st_thread_self() is not main)
        st.stop()

    main = st.st_thread_self()
    on_signal(signal.SIGUSR2, handler)
    os.kill(os.getpid(), signal.SIGUSR2)
    st.run_forever()
    forget_signal(signal.SIGUSR2)
    assert trace == [True]


def test_a_later_function_replaces_the_former(trace):
    on_signal(signal.SIGUSR2, lambda: trace.append("old"))
    on_signal(signal.SIGUSR2, lambda: (trace.append("new"), st.stop()))
    os.kill(os.getpid(), signal.SIGUSR2)
    st.run_forever()
    forget_signal(signal.SIGUSR2)
    forget_signal(signal.SIGUSR2)
    assert trace == ["new"]
