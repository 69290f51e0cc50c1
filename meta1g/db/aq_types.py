"""What stands in AQ: transactions, recipients, destinations.

Locking: caller holds AQ for all that changes.
Ref: MeTA1 design, "Implementation: AQ" (aq_ta_T and aq_rcpt_T modelled on).
"""

from enum import IntEnum
from typing import NamedTuple

from meta1g.base.ids import TaId
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.envelope import DsnRcpt, RcptRecord, TaRecord


class RcptState(IntEnum):
    """States of a recipient in AQ; the transitions stand in meta1g.qmgr.rcpt_fsm."""

    NEW = 1  # not asked for yet
    SENT_TO_AR = 2  # the address resolver is asked
    GATHERING = 3  # resolved; waits for others of its transaction
    READY = 4  # stands in the queue of its destination
    SCHEDULED = 5  # a delivery agent has it
    WAIT_UPDATE = 6  # its new state is on its way to a store
    FAILED = 7  # failed for good, waits for its bounce
    DONE = 8  # gone


class Order(IntEnum):
    """What the operator wants of a recipient that is busy; done when it comes back without success."""

    NONE = 0
    HOLD = 1
    REMOVE = 2
    BOUNCE = 3
    REQUEUE = 4


class Home(IntEnum):
    """The store that holds the lasting record of a recipient."""

    IBDB = 1
    DEFEDB = 2


class DestKey(NamedTuple):
    """A destination: agent, server address, what TLS has to fulfil there; a tuple, since it is a key of many tables."""

    da: int
    addr: str
    port: int
    tls: str = ""


#: Whose share of AQ a recipient uses.
Place = DestKey | str


class AqRcpt:
    """A recipient.

    Args:
        ta: its transaction.
        record: its lasting record; replaced as a whole when something of it changes.
        home: where the record is stored.

    Attributes:
        state: state of rcpt_fsm.
        da: delivery agent, once resolved.
        servers: server addresses, best first.
        server_idx: the one to try now.
        lost: how many deliveries in a row ended with their agent.
        expanding: it is an alias whose members are taken or stored.
        order: what the operator wants of it once it comes back.
        place: whose share of AQ it uses: its destination, or its domain as long as that is not known.
        conf: the snippet `smtpc_rcpt_conf:` that is for it, once resolved; empty without one.

    Locking: caller holds AQ.
    """

    __slots__ = ("conf", "da", "expanding", "home", "lost", "order", "place", "record", "server_idx", "servers", "state", "ta")

    def __init__(self, ta: "AqTa", record: RcptRecord, home: Home) -> None:
        self.ta = ta
        self.record = record
        self.home = home
        self.state = RcptState.NEW
        self.da = 0
        self.servers: tuple[ServerAddr, ...] = ()
        self.server_idx = 0
        self.lost = 0
        self.expanding = False
        self.order = Order.NONE
        self.place: Place = ""
        self.conf = ""

    @property
    def server(self) -> ServerAddr:
        """The server to try now."""
        return self.servers[self.server_idx]

    @property
    def dest(self) -> DestKey:
        """The destination to try now."""
        server = self.servers[self.server_idx]
        return DestKey(self.da, server.addr, server.port, server.tls)

    @property
    def sender(self) -> str:
        """The reverse-path for this recipient."""
        sender = self.record.sender
        return self.ta.record.mail if sender is None else sender


class AqTa:
    """A transaction.

    Args:
        record: its lasting record.
        in_ibdb: IBDB has it as open.
        in_defedb: DEFEDB has recipients of it.

    Attributes:
        rcpts: its recipients in AQ, by index.
        failed: what the next bounce reports on.
        next_idx: index of the next recipient that is made here (member of an alias, bounce).
        moving: moves from IBDB to DEFEDB that are not durable yet.
        unsettled: how many of its recipients in AQ are on their way; kept by rcpt_fsm.step().
        unresolved: how many of these the resolver has not answered for; kept there, too.

    Locking: caller holds AQ.
    """

    __slots__ = ("failed", "in_defedb", "in_ibdb", "moving", "next_idx", "rcpts", "record", "unresolved", "unsettled")

    def __init__(self, record: TaRecord, *, in_ibdb: bool, in_defedb: bool) -> None:
        self.record = record
        self.in_ibdb = in_ibdb
        self.in_defedb = in_defedb
        self.rcpts: dict[int, AqRcpt] = {}
        self.failed: list[tuple[AqRcpt, DsnRcpt]] = []
        self.next_idx = record.rcpts
        self.moving = 0
        self.unsettled = 0
        self.unresolved = 0

    @property
    def ta_id(self) -> TaId:
        """Its id."""
        return TaId(self.record.ta_id)
