"""What is said of each event of the log: see events.EVENTS.

Ref: MeTA1 design, "Implementation: Logging" (one line an event modelled on; the table is ours).
"""

from enum import Enum

from meta1g.base.dataclass import dataclass
from meta1g.base.logkeys import Sev


class About(Enum):
    """What an event is about."""

    SESSION = "sessions of clients"
    REFUSAL = "what is refused, and why"
    MESSAGE = "messages on their way in"
    DELIVERY = "recipients on their way out"
    LOOKUP = "look-ups"
    ORDER = "orders of the operator"
    RUN = "processes and their connections"
    TROUBLE = "what an operator should look at"


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One event.

    Args:
        sevr: severity of its line.
        kind: what it is about.
        must: keys that each line has.
        may: keys that a line may have.
        meaning: a sentence for the reader of the log.
    """

    sevr: Sev
    kind: About
    must: tuple[str, ...]
    may: tuple[str, ...]
    meaning: str


def row(sevr: Sev, kind: About, must: str, may: str, meaning: str) -> LogEvent:
    """Makes a row of a table; the keys stand in one text each, parted by spaces."""
    return LogEvent(sevr, kind, tuple(must.split()), tuple(may.split()), meaning)
