"""What all parts of QMGR share.

Ref: MeTA1 design, "Implementation: QMGR, context" (modelled on).
"""

from dataclasses import field

from meta1g.base.clock import Clock
from meta1g.base.dataclass import dataclass
from meta1g.base.log import Log
from meta1g.pt.evthr import Evthr
from meta1g.qmgr.destinations import Destinations
from meta1g.qmgr.settings import Settings


@dataclass(frozen=True, slots=True)
class Env:
    """The surroundings of a part.

    Args:
        settings: configuration.
        evthr: runs the tasks.
        clock: the clock.
        log: the log.
        destinations: what single destinations have of their own.
    """

    settings: Settings
    evthr: Evthr
    clock: Clock
    log: Log
    destinations: Destinations = field(default_factory=Destinations)
