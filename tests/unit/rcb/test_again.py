"""Connecting again: pauses grow to a bound, and the log hears of the first failure of a row only."""

from pathlib import Path

from meta1g.base.log import Log
from meta1g.rcb.again import RETRY_FIRST_S, RETRY_MAX_S, Again
from tests.fakes.lines import Lines


def test_pauses_double_up_to_a_bound_and_begin_anew_after_success():
    again = Again(Path("/q/x"), Log("test", sink=Lines()))
    pauses = [again.pause_s() for _ in range(12)]
    assert pauses[:3] == [RETRY_FIRST_S, 2 * RETRY_FIRST_S, 4 * RETRY_FIRST_S]
    assert pauses[-1] == RETRY_MAX_S
    again.came_up()
    assert again.pause_s() == RETRY_FIRST_S


def test_the_first_failure_of_a_row_is_logged():
    sink = Lines()
    again = Again(Path("/q/x"), Log("test", sink=sink))
    for reason in ("refused", "refused", "gone"):
        again.failed(reason)
    again.came_up(7)
    again.went_down("closed")
    again.failed("refused")
    text = "\n".join(sink.lines)
    assert text.count("func=rcb.connect, path=/q/x, stat=refused") == 2
    assert "gone" not in text
    assert "func=rcb.down, path=/q/x, stat=closed" in text
