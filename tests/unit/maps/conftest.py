"""A clock that stands still until a test moves it."""

import pytest


class StillClock:
    """Owner: the test."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> StillClock:
    return StillClock()
