"""DADB: the delivery agents, their sessions and what each of them does.

Invariant: an agent never has more sessions than it can serve; a session has at most one delivery at a time.

Locking: caller holds AQ.
Ref: MeTA1 design, "Implementation: DADB" (modelled on).
"""

from typing import Any

from meta1g.db.aq_types import AqRcpt, DestKey
from meta1g.rcb.common import ServerAddr


class DaSession:
    """A session of a delivery agent with a server.

    Args:
        session_id: its id.
        agent: whose it is.
        key: destination.
        state: state of meta1g.qmgr.da_fsm, kept here for its owner.

    Attributes:
        rcpts: what is being delivered, empty while it is idle.
        da_ta_id: names that delivery; a result of another one is none.
        deliveries: how many it has had.
        idle_since: monotonic time of its last result.
        server: whom it was last used for; None before its first delivery.

    Locking: caller holds AQ.
    """

    __slots__ = ("agent", "da_ta_id", "deliveries", "idle_since", "key", "rcpts", "server", "session_id", "state")

    def __init__(self, session_id: str, agent: "Agent", key: DestKey, state: int) -> None:
        self.session_id = session_id
        self.agent = agent
        self.key = key
        self.state = state
        self.rcpts: list[AqRcpt] = []
        self.da_ta_id = ""
        self.deliveries = 0
        self.idle_since = 0.0
        self.server: ServerAddr | None = None


class Agent:
    """One delivery agent process.

    Args:
        conn: its connection.
        index: its process index.
        pid: its process id.
        max_sessions: how many it can serve.

    Locking: caller holds AQ.
    """

    __slots__ = ("conn", "index", "max_sessions", "pid", "sessions")

    def __init__(self, conn: Any, index: int, pid: int, max_sessions: int) -> None:
        self.conn = conn
        self.index = index
        self.pid = pid
        self.max_sessions = max_sessions
        self.sessions: dict[str, DaSession] = {}

    @property
    def free(self) -> int:
        """How many more sessions it can serve."""
        return self.max_sessions - len(self.sessions)


class Dadb:
    """All delivery agents.

    Locking: caller holds AQ.
    """

    __slots__ = ("_agents",)

    def __init__(self) -> None:
        self._agents: list[Agent] = []

    def __len__(self) -> int:
        """Gives the number of agents."""
        return len(self._agents)

    @property
    def agents(self) -> tuple[Agent, ...]:
        """All agents."""
        return tuple(self._agents)

    @property
    def sessions(self) -> int:
        """The number of sessions."""
        return sum(len(agent.sessions) for agent in self._agents)

    @property
    def free(self) -> int:
        """How many more sessions all agents can serve."""
        return sum(agent.free for agent in self._agents)

    def add(self, agent: Agent) -> None:
        """Enters an agent."""
        self._agents.append(agent)

    def remove(self, agent: Agent) -> list[DaSession]:
        """Forgets an agent that is gone; gives its sessions."""
        if agent in self._agents:
            self._agents.remove(agent)
        return list(agent.sessions.values())

    def pick(self) -> Agent | None:
        """Gives the agent with the most free sessions, or None if there is none."""
        best = max(self._agents, key=lambda agent: agent.free, default=None)
        return best if best is not None and best.free > 0 else None
