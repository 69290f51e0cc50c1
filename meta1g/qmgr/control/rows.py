"""Recipients as commands see them, wherever they are, and as they are listed: JSON objects.

Times are seconds since the epoch here; qmgrctl and mailq write them as times.

Pure.  Ref: docs/json.md.
"""

from collections.abc import Iterator
from typing import Any

from meta1g.base.ids import RcptId, rcpt_id
from meta1g.base.mailbox import domain_of
from meta1g.db.aq_types import AqRcpt, DestKey, Place
from meta1g.rcb.envelope import RcptFlags, RcptRecord, TaRecord


def status_of(rcpt: RcptRecord) -> str:
    """Gives the last status of a recipient as one line, empty if it has none."""
    return str(rcpt.reply) if rcpt.reply.code else ""


def _servers(rcpt: RcptRecord) -> Iterator[str]:
    """Gives where a recipient was tried at last, `name[address]`, if that is known."""
    if rcpt.attempts and rcpt.attempts[-1].server:
        yield rcpt.attempts[-1].server
    elif rcpt.reply.origin:
        yield rcpt.reply.origin


class QueuedRcpt:
    """One recipient.  Owner: who made it.

    Args:
        ta: its transaction; None if nobody knows it.
        rcpt: its record.
        where: where it is: `defedb`, or `aq`, its state there, and what was ordered meanwhile.
        place: where its domain goes, as far as that is known.
        servers: names of the server that it waits for, or was tried at.
    """

    __slots__ = ("place", "rcpt", "servers", "ta", "where")

    def __init__(
        self, ta: TaRecord | None, rcpt: RcptRecord, where: str = "defedb", place: Place = "", servers: tuple[str, ...] = ()
    ) -> None:
        self.ta = ta
        self.rcpt = rcpt
        self.where = where
        self.place = place
        self.servers = servers

    @classmethod
    def of_aq(cls, rcpt: AqRcpt) -> "QueuedRcpt":
        """Makes the entry of a recipient in AQ.  Caller holds AQ."""
        servers = (rcpt.server.host,) if rcpt.servers else ()
        ordered = f", {rcpt.order.name.lower()} ordered" if rcpt.order else ""
        return cls(rcpt.ta.record, rcpt.record, f"aq {rcpt.state.name.lower()}{ordered}", rcpt.place, servers)

    @property
    def id(self) -> RcptId:
        """The recipient id."""
        return rcpt_id(self.rcpt.ta_id, self.rcpt.rcpt_idx)

    @property
    def held(self) -> bool:
        """Whether it is held."""
        return self.where == "defedb" and bool(self.rcpt.flags & RcptFlags.HOLD)

    @property
    def state(self) -> str:
        """`deferred`, `held` or `active`."""
        if self.where != "defedb":
            return "active"
        return "held" if self.held else "deferred"

    @property
    def sender(self) -> str:
        """The reverse-path for this recipient."""
        if self.rcpt.sender is not None:
            return self.rcpt.sender
        return self.ta.mail if self.ta is not None else ""

    @property
    def status(self) -> str:
        """The last status."""
        return status_of(self.rcpt)

    def destinations(self) -> Iterator[tuple[str, int]]:
        """Gives the names and addresses of its server, each with the port; 0 if that is not known."""
        port = 0
        if isinstance(self.place, DestKey):
            port = self.place.port
            yield self.place.addr, port
        for name in self.servers:
            yield name, port
        for server in _servers(self.rcpt):
            name, _, addr = server.partition("[")
            yield name, port
            if addr:
                yield addr.removesuffix("]"), port

    @property
    def destination(self) -> str:
        """One name of its server; the domain if none is known."""
        for server in _servers(self.rcpt):
            return server
        if isinstance(self.place, DestKey):
            return self.place.addr
        return domain_of(self.rcpt.rcpt)

    def row(self) -> dict[str, Any]:
        """Gives it as it is listed."""
        ta, rcpt = self.ta, self.rcpt
        return {
            "ta": rcpt.ta_id,
            "rcpt_idx": rcpt.rcpt_idx,
            "rcpt": rcpt.rcpt,
            "mail": self.sender,
            "size": ta.size_bytes if ta is not None else 0,
            "entered": rcpt.entered,
            "where": "held" if self.held else self.where,
            "tries": rcpt.tries,
            "next_try": rcpt.next_try,
            "status": self.status,
            "remote_mta": next(_servers(rcpt), ""),
        }

    def details(self) -> dict[str, Any]:
        """Gives all that is known of it."""
        rcpt = self.rcpt
        return {
            **self.row(),
            "orig_rcpt": rcpt.orig_rcpt,
            "orcpt": rcpt.orcpt,
            "notify": rcpt.notify,
            "flags": [flag.name for flag in RcptFlags if rcpt.flags & flag],
            "last_try": rcpt.last_try,
            "destination": self.destination,
            "attempts": [
                {
                    "server": one.server or one.reply.origin,
                    "reply": str(one.reply),
                    "count": one.count,
                    "first": one.first,
                    "last": one.last,
                }
                for one in rcpt.attempts
            ],
        }
