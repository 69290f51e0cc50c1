"""What QMGR does by order of the operator: everything, only deliver what is here, or nothing.

    normal   mail is taken and delivered
    drain    no new mail is taken; what is here is delivered
    stop     no new mail is taken, no delivery begins; those under way end

The mode holds until `resume`, or until the process ends.

Locking: none; each switch is a single operation.
Ref: docs/operating.md (drain, stop); the modes are ours.
"""

from typing import Final

from meta1g.qmgr.env import Env
from meta1g.qmgr.feeder import Feeder
from meta1g.qmgr.intake import Intake
from meta1g.qmgr.sched import Scheduler
from meta1g.qmgr.smtps_link import SmtpsLinks

NORMAL: Final = "normal"
#: OperatingMode: what is not well because of it.
_MODES: Final = {
    NORMAL: "",
    "drain": "no new mail is taken by order of the operator; see qmgrctl resume",
    "stop": "no mail is taken or delivered by order of the operator; see qmgrctl resume",
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
        name: `normal`, `drain` or `stop`.
    """

    def __init__(self, env: Env, intake: Intake, scheduler: Scheduler, feeder: Feeder, smtps: SmtpsLinks) -> None:
        self.name = NORMAL
        self._intake = intake
        self._scheduler = scheduler
        self._feeder = feeder
        self._smtps = smtps
        self._log = env.log
        self._verdict = (100, "")

    def set(self, name: str) -> None:
        """Changes the mode; what is under way goes on."""
        self._log.notice("qmgr.mode", name)
        self.name = name
        self._intake.draining = name != NORMAL
        self._scheduler.pausing = self._feeder.pausing = name == "stop"
        self.throttle(*self._verdict)
        self._scheduler.wake()
        self._feeder.wake()

    def trouble(self) -> str:
        """Gives what is not well because of the mode, empty if it is normal."""
        return _MODES[self.name]

    def throttle(self, percent: int, reason: str) -> None:
        """Tells SMTPS what the load control decided, unless no mail is taken at all."""
        self._verdict = (percent, reason)
        if self.name == NORMAL:
            self._smtps.throttle(percent, reason)
        else:
            self._smtps.throttle(0, _REASON)
