"""Lines as the log itself writes them, for tests that read them."""

from collections.abc import Sequence

from meta1g.base.log import Log
from meta1g.base.logkeys import Sev

START = 1_795_755_345.0


class Kept:
    """A sink that keeps lines as a file would have them."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, sevr, *parts) -> None:
        self.lines.append(" ".join(parts) if all(parts) else parts[-1])

    def reopen(self) -> None: ...

    def close(self) -> None: ...


class Hands:
    """A clock that a test turns."""

    def __init__(self, now: float = START) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def written(events: Sequence[tuple], format_name: str = "classic") -> list[str]:
    """Gives the lines of events: seconds after START, event, outcome, keys."""
    sink, clock = Kept(), Hands()
    for after, func, stat, keys in events:
        clock.time = START + after
        log = Log(func.partition(".")[0], level=20, sink=sink, format_name=format_name, clock=clock)
        sevr = Sev.NOTICE if "refused" in func else Sev.INFO
        log(sevr, func, stat, **keys)
    return sink.lines
