"""IQDB, the incoming queue: SMTP server sessions and the transactions that are being received.

Invariants: never more recipients, transactions and sessions than the limit (I4), and of one client never more than its share
(I11); a transaction belongs to a session of the same connection of SMTPS and is forgotten with it, unless its commit is
under way.

Locking: caller holds IQDB.
Ref: MeTA1 design, "Implementation: IQDB" (modelled on).
"""

from collections import OrderedDict
from itertools import islice
from typing import Final

from meta1g.base.errors import FullError, Module
from meta1g.base.shares import Pool, client_key
from meta1g.rcb.smtps_qmgr import NewRecipient, NewTransaction

#: A client may hold this part of the entries.  Ref: invariant I11.
CLIENT_PART: Final = 8
#: Every client can hold a session, a transaction and a recipient while there is room at all.
_CLIENT_LEAST: Final = 3


def _cap(limit: int) -> int:
    """Gives how many entries a client may hold at most."""
    return max(_CLIENT_LEAST, limit // CLIENT_PART)


class IqTa:
    """A transaction that is being received.

    Args:
        owner: the connection of SMTPS.
        msg: what MAIL said.
        state: state of meta1g.qmgr.ta_fsm, kept here for its owner.
        client: whose it is.
        since_s: monotonic time at which it began.

    Locking: caller holds IQDB.
    """

    __slots__ = ("client", "msg", "owner", "rcpts", "since_s", "state")

    def __init__(self, owner: object, msg: NewTransaction, state: int, client: str, since_s: float) -> None:
        self.owner = owner
        self.msg = msg
        self.rcpts: list[NewRecipient] = []
        self.state = state
        self.client = client
        self.since_s = since_s


class IqSession:
    """An SMTP server session.  Locking: caller holds IQDB."""

    __slots__ = ("client", "client_addr", "owner", "ta_id")

    def __init__(self, owner: object, client_addr: str) -> None:
        self.owner = owner
        self.client_addr = client_addr
        self.client = client_key(client_addr)
        self.ta_id: str | None = None


class _Owned:
    """What came by one connection of SMTPS.  Locking: caller holds IQDB."""

    __slots__ = ("sessions", "tas")

    def __init__(self) -> None:
        self.sessions: dict[str, None] = {}
        self.tas: dict[str, None] = {}


class Iqdb:
    """The incoming queue.

    Args:
        limit: greatest number of entries (sessions, transactions and recipients together), 1 or more.

    Locking: caller holds IQDB.
    """

    __slots__ = ("_clients", "_owners", "_places", "_sessions", "_tas", "_waiting", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._sessions: dict[str, IqSession] = {}
        self._tas: dict[str, IqTa] = {}
        self._waiting: OrderedDict[str, IqTa] = (
            OrderedDict()
        )  # those that are not refused; the one that began first comes first
        self._places = Pool(limit, cap=_cap(limit), least=_CLIENT_LEAST)
        self._clients: dict[str, int] = {}  # open sessions
        self._owners: dict[object, _Owned] = {}

    def __len__(self) -> int:
        """Gives the number of entries."""
        return self._places.used

    @property
    def sessions(self) -> int:
        """The number of sessions."""
        return len(self._sessions)

    @property
    def transactions(self) -> int:
        """The number of transactions."""
        return len(self._tas)

    def set_limit(self, limit: int) -> None:
        """Changes the greatest number of entries (1 or more); those that are here stay."""
        self.limit = self._places.limit = limit
        self._places.cap = _cap(limit)

    def held(self, client_addr: str) -> int:
        """Gives how many entries a client has."""
        return self._places.held(client_key(client_addr))

    def usage_percent(self) -> int:
        """Gives how full it is, 0 to 100."""
        return min(100, len(self) * 100 // self.limit)

    def _take(self, client: str) -> None:
        """Takes an entry for a client.

        Raises:
            FullError: there is no room, or the client has used up its share.
        """
        if self._places.take(client):
            return
        if self._places.free < 1:
            raise FullError(Module.IQDB, f"incoming queue is full: {self.limit} entries; raise IQDB_max_entries")
        held = self._places.held(client)
        raise FullError(Module.IQDB, f"client {client} has used up its share of IQDB_max_entries: {held} of {self.limit}")

    def add_session(self, session_id: str, owner: object, client_addr: str) -> None:
        """Enters a session; one with the same id is forgotten.

        A client may use half of its share for sessions, so that it can say something in them.

        Raises:
            FullError: there is no room, or the client has used up its share.
        """
        self.drop_session(session_id)
        session = IqSession(owner, client_addr)
        client = session.client
        count = self._clients.get(client, 0)
        if count >= max(1, self._places.cap // 2):
            raise FullError(Module.IQDB, f"client {client} has used up its share of IQDB_max_entries: {count} sessions")
        self._take(client)
        self._clients[client] = count + 1
        self._sessions[session_id] = session
        self._owned(owner).sessions[session_id] = None

    def _owned(self, owner: object) -> _Owned:
        found = self._owners.get(owner)
        if found is None:
            found = self._owners[owner] = _Owned()
        return found

    def client_of(self, session_id: str) -> str | None:
        """Gives the address of the client of a session, None if it is not known."""
        session = self._sessions.get(session_id)
        return None if session is None else session.client_addr

    def drop_session(self, session_id: str) -> IqSession | None:
        """Forgets a session and its open transaction; gives the session, or None if it is not known."""
        session = self._sessions.pop(session_id, None)
        if session is None:
            return None
        if session.ta_id is not None:
            self.drop_ta(session.ta_id)
        self._places.give(session.client)
        count = self._clients[session.client] - 1
        if count:
            self._clients[session.client] = count
        else:
            del self._clients[session.client]
        self._disown(session.owner, session_id, "")
        return session

    def _disown(self, owner: object, session_id: str, ta_id: str) -> None:
        owned = self._owners[owner]
        owned.sessions.pop(session_id, None)
        owned.tas.pop(ta_id, None)
        if not owned.sessions and not owned.tas:
            del self._owners[owner]

    def add_ta(self, owner: object, msg: NewTransaction, state: int, now_s: float = 0.0) -> IqTa:
        """Enters a transaction; an open one of the same session, or with the same id, is forgotten.

        A session that is not known began before QMGR did; it counts as a client of its own.

        Args:
            owner: the connection of SMTPS.
            msg: what MAIL said.
            state: first state.
            now_s: monotonic time.

        Raises:
            FullError: there is no room, or the client has used up its share.
        """
        session = self._sessions.get(msg.session_id)
        if session is not None and session.ta_id is not None:
            self.drop_ta(session.ta_id)
        self.drop_ta(msg.ta_id)
        client = msg.session_id if session is None else session.client
        self._take(client)
        ta = self._tas[msg.ta_id] = self._waiting[msg.ta_id] = IqTa(owner, msg, state, client, now_s)
        self._owned(owner).tas[msg.ta_id] = None
        if session is not None:
            session.ta_id = msg.ta_id
        return ta

    def add_rcpt(self, ta: IqTa, msg: NewRecipient) -> None:
        """Enters a recipient.

        Raises:
            FullError: there is no room, or the client has used up its share.
        """
        self._take(ta.client)
        ta.rcpts.append(msg)

    def get(self, ta_id: str) -> IqTa | None:
        """Gives a transaction, or None."""
        return self._tas.get(ta_id)

    def oldest(self) -> IqTa | None:
        """Gives the transaction that began first of those that are not refused, or None."""
        return next(iter(self._waiting.values()), None)

    def refused(self, ta: IqTa) -> None:
        """Gives back the room of the recipients of a transaction that was refused and waits for its end."""
        self._waiting.pop(ta.msg.ta_id, None)
        if ta.rcpts:
            self._places.give(ta.client, len(ta.rcpts))
            ta.rcpts = []

    def drop_ta(self, ta_id: str) -> IqTa | None:
        """Forgets a transaction and gives it, or None."""
        ta = self._tas.pop(ta_id, None)
        if ta is None:
            return None
        self._waiting.pop(ta_id, None)
        self._places.give(ta.client, 1 + len(ta.rcpts))
        session = self._sessions.get(ta.msg.session_id)
        if session is not None and session.ta_id == ta_id:
            session.ta_id = None
        self._disown(ta.owner, "", ta_id)
        return ta

    def drop_owner(self, owner: object, limit: int) -> list[str]:
        """Forgets what came by a connection, so much at a time.

        Args:
            owner: the connection of SMTPS.
            limit: sessions and transactions at most.

        Returns:
            The client addresses of the sessions; owns() tells whether there is more.
        """
        owned = self._owners.get(owner)
        if owned is None:
            return []
        for ta_id in list(islice(owned.tas, limit)):
            self.drop_ta(ta_id)
        dropped = [self.drop_session(session_id) for session_id in list(islice(owned.sessions, limit))]
        return [session.client_addr for session in dropped if session is not None]

    def owns(self, owner: object) -> bool:
        """Tells whether anything that came by a connection is here."""
        return owner in self._owners
