"""The first moments of QMGR: who is waited for, and what is said of those who do not come.

Options wait_for_client and wait_for_server.
"""

from meta1g.base.log import Log
from meta1g.qmgr.arrivals import Arrivals
from tests.fakes.lines import Lines


class Timers:
    """Keeps what is to be called later."""

    def __init__(self):
        self.waits = {}

    def timer(self, delay_s, function, name):
        self.waits[name] = (delay_s, function)


def made(lines, **there):
    went = []
    present = {name: (lambda name=name: there[name]) for name in ("smtps", "smtpc")}
    return Arrivals(present, {"smar": lambda: there["smar"]}, lambda: went.append(1), Log("qmgr", sink=lines)), went


def test_deliveries_wait_for_clients_and_no_longer_than_is_said():
    lines, timers = Lines(), Timers()
    arrivals, went = made(lines, smtps=1, smtpc=0, smar=True)
    arrivals.begin(timers, 4, 5)
    assert arrivals.waiting()
    delay_s, end = timers.waits["wait for clients"]
    assert delay_s == 4
    end(None)
    assert (arrivals.waiting(), went) == (False, [1])
    (line,) = lines.lines
    assert "sevr=WARN" in line
    assert "component=smtpc" in line
    assert "not connected 4 s after the start" in line


def test_they_go_on_when_all_clients_are_there_even_if_one_goes_again():
    there = {"smtps": 1, "smtpc": 1}
    timers, lines, went = Timers(), Lines(), []
    clients = {name: (lambda name=name: there[name]) for name in there}
    arrivals = Arrivals(clients, {}, lambda: went.append(1), Log("qmgr", sink=lines))
    arrivals.begin(timers, 4, 0)
    assert not arrivals.waiting()
    there["smtpc"] = 0
    assert not arrivals.waiting()
    timers.waits["wait for clients"][1](None)
    assert went == []
    assert "wait for servers" not in timers.waits


def test_a_server_that_is_not_reached_is_named():
    lines, timers = Lines(), Timers()
    arrivals, _ = made(lines, smtps=1, smtpc=1, smar=False)
    arrivals.begin(timers, 0, 5)
    assert not arrivals.waiting()
    timers.waits["wait for servers"][1](None)
    assert "component=smar" in lines.lines[0]


def test_without_times_nobody_is_waited_for():
    timers = Timers()
    arrivals, _ = made(Lines(), smtps=0, smtpc=0, smar=False)
    assert not arrivals.waiting()
    arrivals.begin(timers, 0, 0)
    assert (arrivals.waiting(), timers.waits) == (False, {})
