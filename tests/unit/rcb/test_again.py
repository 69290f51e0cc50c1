"""Connecting again: pauses grow to a bound, and the log hears of the first failure of a row only."""

from pathlib import Path

import pytest

from meta1g.base.errors import TempError
from meta1g.base.log import Log
from meta1g.rcb.again import RETRY_FIRST_S, RETRY_MAX_S, Again
from meta1g.rcb.connection import Connection, Endpoint
from meta1g.rcb.smtps_qmgr import PROTOCOL
from tests.fakes.lines import Lines


def again(sink=None):
    return Again(Path("/q/x"), PROTOCOL, Log("test", sink=sink or Lines()))


def test_pauses_double_up_to_a_bound_and_begin_anew_after_success():
    link = again()
    pauses = [link._next_pause_s() for _ in range(12)]
    assert pauses[:3] == [RETRY_FIRST_S, 2 * RETRY_FIRST_S, 4 * RETRY_FIRST_S]
    assert pauses[-1] == RETRY_MAX_S
    link._came_up()
    assert link._next_pause_s() == RETRY_FIRST_S


def test_the_first_failure_of_a_row_is_logged():
    sink = Lines()
    link = again(sink)
    for reason in ("refused", "refused", "gone"):
        link._failed(OSError(1, reason))
    link._came_up(7)
    link._went_down("closed")
    link._failed(OSError(1, "refused"))
    text = "\n".join(sink.lines)
    assert text.count("func=rcb.waits, path=/q/x, stat=refused") == 2
    assert "gone" not in text
    assert "func=rcb.down, path=/q/x, stat=closed" in text


def test_a_connection_is_given_as_long_as_it_is_open():
    link = again()
    rcb = Connection(PROTOCOL, server=False)
    link.conn = conn = Endpoint(rcb)
    assert link.up
    assert link.now() is conn
    rcb.close("over")
    assert not link.up
    with pytest.raises(TempError, match="no connection to /q/x now"):
        link.now()
    link._went_down("over")
    assert link.conn is None
