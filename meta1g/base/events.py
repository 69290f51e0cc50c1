"""The table of events: what the log tells, and nothing else.

Each line of the log is one event of this table: it stands as `func=` in a classic line and as `event` in JSON, its severity and
its keys are those of its row.  docs/logging.md is made from it; tests/test_events.py compares it with all calls of the code.

Ref: MeTA1 design, "Implementation: Logging" (ours).
"""

from collections.abc import Mapping
from typing import Final

from meta1g.base.events_mail import MAIL_EVENTS
from meta1g.base.events_run import RUN_EVENTS
from meta1g.base.logevent import LogEvent

#: Event to its row; what stands before the point is the component.
EVENTS: Final[Mapping[str, LogEvent]] = {**MAIL_EVENTS, **RUN_EVENTS}


def component_of(event: str) -> str:
    """Gives the component of an event: what its name begins with."""
    return event.partition(".")[0]
