"""Calls to the owner of an RCB connection, each contained.

A call that fails costs the message that it was made for, not the others of the connection, which belong to other sessions.

Ref: MeTA1 design, "Implementation: RCB communication" (modelled on); invariant I12.
"""

from collections.abc import Callable, Iterable
from typing import Any

from meta1g.base import failure
from meta1g.base.errors import ProtocolError, UnsendableError
from meta1g.base.log import Log
from meta1g.rcb.connection import Connection, Endpoint
from meta1g.rcb.schema import Message, Role

OnReply = Callable[[Message | None], None]
#: The connection comes first; it is a meta1g.pt.rcbconn.RcbCom.
OnComMessage = Callable[[Any, int, Message], None]
OnFailure = Callable[[Any, int, Message], bool]
OnClose = Callable[[Any], None]


def _unexpected(conn: Endpoint, request_id: int, msg: Message) -> None:
    raise ProtocolError(f"{conn.name}: {type(msg).__name__} is not expected here")


class RcbCalls(Endpoint):
    """The owner of a connection as the connection sees it.

    Attributes set by the owner before the start: on_message(conn, request_id, msg) for requests and posts of the peer,
    on_failure(conn, request_id, msg) to answer a request whose on_message failed, which tells whether it did, on_close(conn),
    user (free).

    Locking: none needed.
    """

    def __init__(self, rcb: Connection, log: Log) -> None:
        super().__init__(rcb)
        self.on_message: OnComMessage = _unexpected
        self.on_failure: OnFailure = lambda conn, request_id, msg: False
        self.on_close: OnClose = lambda conn: None
        self.user: Any = None
        self._log = log

    def _tell(self, on_reply: OnReply, msg: Message | None) -> None:
        """Calls whoever waits for a reply; None means that none comes."""
        try:
            on_reply(msg)
        except Exception as error:  # noqa: BLE001  contained to this waiter
            self._contain("rcb.reply", error, msg)

    def _tell_none(self, waiting: Iterable[OnReply]) -> None:
        """Tells those whose reply does not come."""
        for on_reply in waiting:
            self._tell(on_reply, None)

    def _hand_on(self, request_id: int, msg: Message) -> bool:
        """Gives a message of the peer to the owner.

        Returns:
            False if a request stays without answer.

        Raises:
            ProtocolError: the owner does not expect the message.
        """
        try:
            self.on_message(self, request_id, msg)
            return True
        except Exception as error:
            if isinstance(error, ProtocolError) and not isinstance(error, UnsendableError):
                raise
            self._contain("rcb.message", error, msg)
        if msg.PLAN.role is not Role.REQUEST:
            return True
        try:
            return self.on_failure(self, request_id, msg)
        except Exception as error:  # noqa: BLE001  as above
            self._contain("rcb.message", error, msg)
            return False

    def _contain(self, where: str, error: Exception, msg: Message | None) -> None:
        failure.contained(self._log, where, error, peer=self.name, name=type(msg).__name__)
