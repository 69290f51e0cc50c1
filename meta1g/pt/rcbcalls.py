"""Calls to the owner of an RCB connection, each contained.

A call that fails costs the message that it was made for, not the others of the connection, which belong to other sessions.

Ref: MeTA1 design, "Implementation: RCB communication" (modelled on); invariant I12.
"""

from collections.abc import Callable

from meta1g.base import failure
from meta1g.base.errors import ProtocolError, UnsendableError
from meta1g.base.log import Log
from meta1g.rcb.schema import Message, Role

OnReply = Callable[[Message | None], None]


def tell(log: Log, peer: str, on_reply: OnReply, msg: Message | None) -> None:
    """Calls whoever waits for a reply; None means that none comes."""
    try:
        on_reply(msg)
    except Exception as error:  # noqa: BLE001  contained to this waiter
        failure.contained(log, "rcb.reply", error, peer=peer, name=type(msg).__name__)


def hand_on(log: Log, peer: str, msg: Message, on_message: Callable[[], None], on_failure: Callable[[], bool]) -> bool:
    """Gives a message of the peer to the owner.

    Args:
        log: where a failure is written.
        peer: names the other end there.
        msg: the message.
        on_message: the owner's function for it.
        on_failure: called when that one fails for a request: gives the answer that is owed, tells whether it did.

    Returns:
        False if a request stays without answer.

    Raises:
        ProtocolError: the owner does not expect the message.
    """
    try:
        on_message()
        return True
    except Exception as error:
        if isinstance(error, ProtocolError) and not isinstance(error, UnsendableError):
            raise
        failure.contained(log, "rcb.message", error, peer=peer, name=type(msg).__name__)
    if msg.PLAN.role is not Role.REQUEST:
        return True
    try:
        return on_failure()
    except Exception as error:  # noqa: BLE001  as above
        failure.contained(log, "rcb.message", error, peer=peer, name=type(msg).__name__)
        return False
