"""What the connections to QMGR and SMAR have in common: they are made again for ever, and clients wait at the gate meanwhile.

Ref: MeTA1 design, "Functional Specification: SMTPS" (ours).
"""

from pathlib import Path

from meta1g.base.log import Log
from meta1g.base.reply import Reply
from meta1g.rcb.schema import Message, Protocol
from meta1g.smtps.gate import Gate
from meta1g.st.rcbconn import RcbConn
from meta1g.st.rcblink import RcbLink


class PeerLink:
    """A connection that clients need, made again for ever.

    Args:
        name: what the other end is called in the log.
        path: its socket.
        protocol: the messages of the pair.
        hello: who we are.
        gate: told when the connection is up or down.
        log: for what goes wrong on the connection.

    Owner: the process (all state threads of it; nothing here switches between a check and its use).
    """

    def __init__(self, name: str, path: Path, protocol: Protocol, hello: Message, gate: Gate, log: Log) -> None:
        self._name = name
        self._gate = gate
        self._log = log
        self._link = RcbLink(path, protocol, hello, self._came_up, self._went_down, self._on_message, log)
        gate.add(self)

    @property
    def up(self) -> bool:
        """Whether the other end is there and has answered the hello."""
        return self._link.up

    def start(self) -> None:
        """Starts connecting."""
        self._link.start()

    def close(self) -> None:
        """Closes the connection for good."""
        self._link.close()

    def _came_up(self, reply: Message) -> None:
        self._on_up(reply)
        self._gate.tell()

    def _went_down(self) -> None:
        self._log.warn("smtps.link_lost", "connection lost", component=self._name)
        self._on_down()
        self._gate.tell_down()

    def _on_up(self, reply: Message) -> None:
        """Takes the answer to the hello."""

    def _on_down(self) -> None:
        """Forgets what belonged to the connection."""

    def _on_message(self, conn: RcbConn, request_id: int, msg: Message) -> None:
        """Takes what the other end says unasked."""


def told(reply: Reply) -> Reply:
    """Gives what a client is told when QMGR or SMAR says this; a code that is no SMTP code becomes 451."""
    return reply if 200 <= reply.code < 600 else Reply(451, "4.3.0", reply.text)
