"""The first moments of QMGR: nothing is delivered before SMTPS and SMTPC are there, and who does not come is named.

    wait_for_client    SMTPS and SMTPC have so long to connect; deliveries wait for both, then they begin whoever is there
    wait_for_server    SMAR has so long to be reached

Locking: AQ for the end of the wait.
Ref: MeTA1 meta1.conf(5), `wait_for_client`, `wait_for_server`.
"""

from collections.abc import Callable, Mapping
from functools import partial

from meta1g.base.log import Log
from meta1g.pt.evthr import Evthr
from meta1g.pt.task import Result, Task

#: Name of a component to whether it is there.
Present = Mapping[str, Callable[[], object]]


class Arrivals:
    """Waits for the peers of QMGR.

    Args:
        clients: those that connect to QMGR.
        servers: those that QMGR connects to.
        go: called when deliveries may begin because the wait is over.
        log: those that did not come are named here.

    Locking: none needed; at worst somebody looks once more.
    """

    def __init__(self, clients: Present, servers: Present, go: Callable[[], None], log: Log) -> None:
        self._clients = clients
        self._servers = servers
        self._go = go
        self._log = log
        self._over = True

    def begin(self, evthr: Evthr, clients_s: float, servers_s: float) -> None:
        """Begins to wait; 0 seconds are no wait."""
        if clients_s:
            self._over = False
            evthr.timer(clients_s, partial(self._end, self._clients, clients_s), name="wait for clients")
        if servers_s:
            evthr.timer(servers_s, partial(self._end, self._servers, servers_s), name="wait for servers")

    def waiting(self) -> bool:
        """Tells whether deliveries wait."""
        if not self._over and all(there() for there in self._clients.values()):
            self._over = True
        return not self._over

    def _end(self, wanted: Present, waited_s: float, task: Task) -> Result:
        for component in (name for name, there in wanted.items() if not there()):
            text = f"not connected {waited_s:g} s after the start; see whether it runs, in its log or by qmgrctl status"
            self._log.warn("qmgr.missing", text, component=component)
        if wanted is self._clients and not self._over:
            self._over = True
            self._go()
        return Result.DEL
