"""Builds the message of a delivery: envelope, server, and the report around the content if it is one.

Ref: MeTA1 design, "Functional Specification: QMGR, interface to SMTPC" (modelled on).
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from meta1g.base.clock import Clock
from meta1g.base.ids import IdGenerator
from meta1g.db.aq_types import AqRcpt
from meta1g.db.dadb import DaSession
from meta1g.qmgr import dsn
from meta1g.qmgr.limits import ADDRESSES_MAX
from meta1g.qmgr.settings import Settings
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.envelope import RcptFlags
from meta1g.rcb.smtpc_qmgr import Deliver, DeliverRcpt


def addresses_of(servers: Sequence[ServerAddr], idx: int) -> tuple[ServerAddr, ...]:
    """Gives the addresses of one server: the one at a place, and those behind it that differ in nothing else.

    Args:
        servers: servers in the order of preference.
        idx: the place.
    """
    first = servers[idx]
    found = [first]
    for one in servers[idx + 1 : idx + ADDRESSES_MAX]:
        if one.host != first.host or replace(one, addr=first.addr, ttl_s=first.ttl_s) != first:
            break
        found.append(one)
    return tuple(found)


def _place(server: ServerAddr) -> tuple[str, str]:
    return server.addr, server.host


class Builder:
    """Makes deliveries.

    Args:
        settings: our name, and how long mail is tried.
        ids: delivery transaction ids.
        clock: date of reports.

    Locking: caller holds AQ.
    """

    def __init__(self, settings: Settings, ids: IdGenerator, clock: Clock) -> None:
        self._settings = settings
        self.ids = ids
        self._clock = clock

    def build(self, session: DaSession, rcpts: Sequence[AqRcpt], *, new_session: bool, keep_open: bool) -> Deliver:
        """Gives the message for recipients of one transaction with one sender.

        Args:
            session: the session it goes over.
            rcpts: at least one; a recipient of a report alone.
            new_session: the session is to be opened first.
            keep_open: the session stays open afterwards.
        """
        first = rcpts[0]
        ta = first.ta.record
        report = None
        if first.record.failed:
            report = dsn.make(ta, first.record, self._settings, self._clock.now())
        asked = report is None and not first.record.flags & RcptFlags.LIST
        return Deliver(
            session_id=session.session_id,
            new_session=new_session,
            keep_open=keep_open,
            da=session.key.da,
            server=self._addresses(rcpts),
            da_ta_id=self.ids.transaction(),
            ta_id=ta.ta_id,
            cdb_id=ta.cdb_id,
            mail=first.sender,
            size_bytes=ta.size_bytes,
            body=ta.body,
            smtputf8=ta.smtputf8,
            requiretls=ta.requiretls,
            ret=ta.ret if asked else None,
            envid=ta.envid if asked else None,
            dsn_head=None if report is None else report.header,
            dsn_parts=() if report is None else report.parts,
            dsn_full=report is not None and report.full,
            file_bytes=ta.size_bytes,
            checksum=ta.checksum,
            by=ta.by if asked else 0.0,
            by_mode=ta.by_mode if asked else None,
            priority=ta.priority,
            rcpts=tuple(self._rcpt(rcpt) for rcpt in rcpts),
        )

    @staticmethod
    def _addresses(rcpts: Sequence[AqRcpt]) -> tuple[ServerAddr, ...]:
        """Gives where the delivery may go: what comes next for all of its recipients, so that nobody passes a server over."""
        first = rcpts[0]
        found = addresses_of(first.servers, first.server_idx)
        for rcpt in rcpts:
            if len(found) == 1:
                break
            if rcpt.servers is not first.servers:
                others = addresses_of(rcpt.servers, rcpt.server_idx)
                same = takewhile(lambda pair: _place(pair[0]) == _place(pair[1]), zip(found, others, strict=False))
                found = tuple(one for one, _ in same) or found[:1]
        return found

    @staticmethod
    def _rcpt(rcpt: AqRcpt) -> DeliverRcpt:
        record = rcpt.record
        return DeliverRcpt(rcpt_idx=record.rcpt_idx, rcpt=record.rcpt, notify=record.notify, orcpt=record.orcpt, conf=rcpt.conf)
