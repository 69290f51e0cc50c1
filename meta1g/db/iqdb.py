"""IQDB, the incoming queue: SMTP server sessions and the transactions that are being received.

Invariant: never more recipients, transactions and sessions than the limit (I4); a transaction belongs to a session of
the same connection of SMTPS and is forgotten with it, unless its commit is under way.

Locking: caller holds IQDB.
Ref: MeTA1 design, "Implementation: IQDB" (modelled on).
"""

from meta1g.base.errors import FullError, Module
from meta1g.rcb.smtps_qmgr import NewRecipient, NewTransaction


class IqTa:
    """A transaction that is being received.

    Args:
        owner: the connection of SMTPS.
        msg: what MAIL said.
        state: state of meta1g.qmgr.ta_fsm, kept here for its owner.

    Locking: caller holds IQDB.
    """

    __slots__ = ("msg", "owner", "rcpts", "state")

    def __init__(self, owner: object, msg: NewTransaction, state: int) -> None:
        self.owner = owner
        self.msg = msg
        self.rcpts: list[NewRecipient] = []
        self.state = state


class IqSession:
    """An SMTP server session.  Locking: caller holds IQDB."""

    __slots__ = ("client_addr", "owner", "ta_id")

    def __init__(self, owner: object, client_addr: str) -> None:
        self.owner = owner
        self.client_addr = client_addr
        self.ta_id: str | None = None


class Iqdb:
    """The incoming queue.

    Args:
        limit: greatest number of entries (sessions, transactions and recipients together), 1 or more.

    Locking: caller holds IQDB.
    """

    __slots__ = ("_rcpts", "_sessions", "_tas", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._sessions: dict[str, IqSession] = {}
        self._tas: dict[str, IqTa] = {}
        self._rcpts = 0

    def __len__(self) -> int:
        """Gives the number of entries."""
        return len(self._sessions) + len(self._tas) + self._rcpts

    @property
    def sessions(self) -> int:
        """The number of sessions."""
        return len(self._sessions)

    @property
    def transactions(self) -> int:
        """The number of transactions."""
        return len(self._tas)

    def usage_percent(self) -> int:
        """Gives how full it is, 0 to 100."""
        return min(100, len(self) * 100 // self.limit)

    def _need_room(self) -> None:
        if len(self) >= self.limit:
            raise FullError(Module.IQDB, f"incoming queue is full: {self.limit} entries; raise IQDB_max_entries")

    def add_session(self, session_id: str, owner: object, client_addr: str) -> None:
        """Enters a session; one with the same id is forgotten.

        Raises:
            FullError: there is no room.
        """
        self.drop_session(session_id)
        self._need_room()
        self._sessions[session_id] = IqSession(owner, client_addr)

    def drop_session(self, session_id: str) -> IqSession | None:
        """Forgets a session and its open transaction; gives the session, or None if it is not known."""
        session = self._sessions.pop(session_id, None)
        if session is not None and session.ta_id is not None:
            self.drop_ta(session.ta_id)
        return session

    def add_ta(self, owner: object, msg: NewTransaction, state: int) -> IqTa:
        """Enters a transaction; an open one of the same session, or with the same id, is forgotten.

        Raises:
            FullError: there is no room.
        """
        session = self._sessions.get(msg.session_id)
        if session is not None and session.ta_id is not None:
            self.drop_ta(session.ta_id)
        self.drop_ta(msg.ta_id)
        self._need_room()
        ta = self._tas[msg.ta_id] = IqTa(owner, msg, state)
        if session is not None:
            session.ta_id = msg.ta_id
        return ta

    def add_rcpt(self, ta: IqTa, msg: NewRecipient) -> None:
        """Enters a recipient.

        Raises:
            FullError: there is no room.
        """
        self._need_room()
        ta.rcpts.append(msg)
        self._rcpts += 1

    def get(self, ta_id: str) -> IqTa | None:
        """Gives a transaction, or None."""
        return self._tas.get(ta_id)

    def drop_ta(self, ta_id: str) -> IqTa | None:
        """Forgets a transaction and gives it, or None."""
        ta = self._tas.pop(ta_id, None)
        if ta is None:
            return None
        self._rcpts -= len(ta.rcpts)
        session = self._sessions.get(ta.msg.session_id)
        if session is not None and session.ta_id == ta_id:
            session.ta_id = None
        return ta

    def drop_owner(self, owner: object) -> list[str]:
        """Forgets all that came by a connection; gives the client addresses of its sessions."""
        for ta_id in [ta_id for ta_id, ta in self._tas.items() if ta.owner is owner]:
            self.drop_ta(ta_id)
        sessions = [(key, session.client_addr) for key, session in self._sessions.items() if session.owner is owner]
        for key, _ in sessions:
            del self._sessions[key]
        return [client_addr for _, client_addr in sessions]
