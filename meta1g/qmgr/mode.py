"""What QMGR does by order of the operator: everything, only deliver what is here, or nothing.

    normal   mail is taken and delivered
    drain    no new mail is taken; what is here is delivered
    stop     no new mail is taken, no delivery begins; those under way end

The mode holds until `resume`; it outlasts the process (standing.py).

Locking: none; each switch is a single operation.
Ref: docs/operating.md (drain, stop); the modes are ours.
"""

from typing import Final

from meta1g.base.clock import rfc3339
from meta1g.qmgr.env import Env
from meta1g.qmgr.feeder import Feeder
from meta1g.qmgr.intake import Intake
from meta1g.qmgr.sched import Scheduler
from meta1g.qmgr.smtps_link import SmtpsLinks

NORMAL: Final = "normal"
#: OperatingMode: what is not well because of it.
_MODES: Final = {
    NORMAL: "",
    "drain": "no new mail is taken by order of the operator since {}; see qmgrctl resume",
    "stop": "no mail is taken or delivered by order of the operator since {}; see qmgrctl resume",
}
_REASON: Final = "Mail system takes no mail now, try again later"


class OperatingMode:
    """The mode.

    Args:
        env: surroundings.
        intake: takes new mail.
        scheduler: begins deliveries.
        feeder: brings deferred mail back.
        smtps: refuses sessions.

    Attributes:
        order: `normal`, `drain` or `stop`, and since when, seconds since the epoch; 0.0 if it is normal.
    """

    def __init__(self, env: Env, intake: Intake, scheduler: Scheduler, feeder: Feeder, smtps: SmtpsLinks) -> None:
        self.order = (NORMAL, 0.0)
        self._clock = env.clock
        self._intake = intake
        self._scheduler = scheduler
        self._feeder = feeder
        self._smtps = smtps
        self._log = env.log
        self._verdict = (100, "")

    @staticmethod
    def knows(name: str) -> bool:
        """Tells whether there is such a mode."""
        return name in _MODES

    @property
    def name(self) -> str:
        """`normal`, `drain` or `stop`."""
        return self.order[0]

    def set(self, name: str, since: float | None = None) -> None:
        """Changes the mode; what is under way goes on.

        Args:
            name: the mode.
            since: when it was ordered, seconds since the epoch; None for now, unless it holds already.
        """
        self._log.notice("qmgr.mode", name)
        if since is None:
            since = self.order[1] if name == self.name else self._clock.now()
        self.order = (name, 0.0 if name == NORMAL else since)
        self._intake.draining = name != NORMAL
        self._scheduler.pausing = self._feeder.pausing = name == "stop"
        self.throttle(*self._verdict)
        self._scheduler.wake()
        self._feeder.wake()

    def trouble(self) -> str:
        """Gives what is not well because of the mode, empty if it is normal."""
        name, since = self.order
        return _MODES[name].format(rfc3339(since))

    def throttle(self, percent: int, reason: str) -> None:
        """Tells SMTPS what the load control decided, unless no mail is taken at all."""
        self._verdict = (percent, reason)
        if self.name == NORMAL:
            self._smtps.throttle(percent, reason)
        else:
            self._smtps.throttle(0, _REASON)
