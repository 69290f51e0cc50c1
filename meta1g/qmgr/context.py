"""QMGR put together: the stores, their threads and locks, the tasks, in the order in which they depend on each other.

Lock order: IQDB (Intake), AQ (Active), DEFEDB (Defer), IBDB (Commit).  OCC and DADB are guarded by AQ.

Ref: MeTA1 design, "Implementation: QMGR, context" (modelled on).
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from meta1g.base import failure, logkept, paths
from meta1g.base.accounts import Access
from meta1g.base.errors import FullError
from meta1g.base.ids import IdGenerator
from meta1g.db.aq import Aq
from meta1g.db.cdb import Cdb
from meta1g.db.dadb import Dadb
from meta1g.db.defedb import DefeDb
from meta1g.db.edbc import Edbc
from meta1g.db.ibdb import Ibdb
from meta1g.db.icc import Icc
from meta1g.db.iqdb import Iqdb
from meta1g.db.lostfound import LostFound
from meta1g.db.occ import Occ
from meta1g.db.orderfile import OrderFile
from meta1g.db.verifydb import VerifyDb
from meta1g.pt.rcblisten import RcbListener
from meta1g.pt.workers import Workers
from meta1g.qmgr.active import Active
from meta1g.qmgr.arrivals import Arrivals
from meta1g.qmgr.bounces import Bounces
from meta1g.qmgr.cleanup import Chore, Cleanup
from meta1g.qmgr.commit import Commit
from meta1g.qmgr.control.changing import Changing
from meta1g.qmgr.control.listing import Listing
from meta1g.qmgr.control.server import Control
from meta1g.qmgr.defer import Defer
from meta1g.qmgr.deliver import Builder
from meta1g.qmgr.env import Env
from meta1g.qmgr.expanding import Expanding
from meta1g.qmgr.feeder import Feeder
from meta1g.qmgr.filterstatus import filter_troubles
from meta1g.qmgr.gather import Gather
from meta1g.qmgr.intake import Intake
from meta1g.qmgr.limits import (
    CHECKPOINT_S,
    CLEANUP_S,
    CLOCK_LOOK_S,
    DEST_CLOSED_MAX_S,
    EDBC_FACTOR,
    ICC_ENTRIES_MAX,
    OCC_ENTRIES_MAX,
)
from meta1g.qmgr.mode import OperatingMode
from meta1g.qmgr.orders import Orders
from meta1g.qmgr.orphans import Orphans
from meta1g.qmgr.probes import Probes
from meta1g.qmgr.resolve import Resolving
from meta1g.qmgr.resources import DiskWatch, Resources
from meta1g.qmgr.sched import Scheduler
from meta1g.qmgr.smtpc_link import SmtpcLinks
from meta1g.qmgr.smtps_link import SmtpsLinks
from meta1g.qmgr.standing import Standing
from meta1g.qmgr.status import Contained, Facts, trouble
from meta1g.qmgr.storing import Storing
from meta1g.qmgr.tuning import Tuning
from meta1g.qmgr.update import Update
from meta1g.qmgr.verify import AddressVerifier
from meta1g.qmgr.wrong_clock import WrongClock
from meta1g.rcb import control as control_protocol
from meta1g.rcb import smtpc_qmgr, smtps_qmgr
from meta1g.rcb.smtps_qmgr import ClientEvent


class Context:
    """All parts of a running QMGR.

    Args:
        env: surroundings.
        queue: the queue directory.
        defedb: deferred envelopes, open and recovered.
        cdb: content files.
        lost: what is set aside.

    Owner: the process (made before the first thread).
    """

    def __init__(self, env: Env, queue: Path, defedb: DefeDb, cdb: Cdb, lost: LostFound) -> None:
        self.env = env
        self.queue = queue
        self._log = env.log
        self._defedb = defedb
        self.lost = lost
        self._started = env.clock.now()
        self._listeners: list[RcbListener] = []
        self.contained = Contained(env.clock)
        self._checkpoints = self._pool("checkpoint")
        self._make_queue(env, defedb, cdb)
        self.storing = Storing(env, self.active)
        self.gather = Gather(env, self.active)
        self.bounces = Bounces(env, self.active, self.storing, self.gather)
        self.orders = Orders(env, self.active, self.storing, self.bounces, self.gather)
        self.update = Update(env, self.active, self.storing, self.bounces, self.gather, self.orders)
        self.expanding = Expanding(env, self.active.copies, self.storing, self.bounces)
        self.arrivals = Arrivals(
            {"smtps": lambda: len(self.smtps), "smtpc": lambda: len(self.scheduler.dadb)},
            {"smar": lambda: self.resolver.up},
            lambda: self.scheduler.wake(),  # noqa: PLW0108  it is made next
            env.log,
        )
        self.scheduler = self._make_scheduler()
        self.resolver = Resolving(
            env, queue / paths.SMAR_QMGR_SOCKET, self.active, self.update, self.orders, self.expanding, self.contained.note
        )
        self.where = self.resolver.where
        self.feeder = Feeder(env, self.active, self.orders)
        self.wrong_clock = WrongClock(env, self.active, self.feeder)
        self.orphans = Orphans(env, cdb, lost, self.intake, self.commit, self.defer)
        self.verifier = self._make_verifier()
        wake, gone = self.scheduler.wake, self.orphans.smtps_gone
        self.smtps = SmtpsLinks(self.intake, self.verifier, wake, gone, env.log, self.contained)
        self.smtpc = SmtpcLinks(self.scheduler, env.log, self.contained, self.resolver.counted)
        self._make_orders(env)
        self.cleanup = Cleanup(env, self.storing, self.commit, self._chores())
        self.control = self._make_control(env)

    def _make_queue(self, env: Env, defedb: DefeDb, cdb: Cdb) -> None:
        """Makes what holds envelopes: DEFEDB, IBDB, AQ with its window, IQDB."""
        settings = env.settings
        self.defer = Defer(env, defedb, self._pool("defedb"))
        ibdb = Ibdb(self.queue / paths.IBDB_DIRECTORY, settings.ibdb_max_size)
        self.commit = Commit(env, ibdb, cdb, self._pool("ibdb"))
        edbc = Edbc(settings.aq_max_entries * EDBC_FACTOR)
        self.active = Active(env, Aq(settings.aq_max_entries), edbc, self.commit, self.defer)
        rates = {
            ClientEvent.MESSAGE: settings.smtps_max_message_rate,
            ClientEvent.RECIPIENT: settings.smtps_max_recipient_rate,
        }
        icc = Icc(settings.smtps_max_connections, settings.smtps_max_rate, ICC_ENTRIES_MAX, settings.smtps_rate_unit_s, rates)
        self.intake = Intake(env, Iqdb(settings.iqdb_max_entries), icc, self.active)

    def _chores(self) -> Iterator[Chore]:
        now_s = self.env.clock.monotonic()
        checkpoint_s = self.env.settings.checkpoint_interval_s or CHECKPOINT_S
        yield Chore(CLEANUP_S, self.scheduler.close_idle)
        yield Chore(CLEANUP_S, self.scheduler.return_late)
        yield Chore(CLEANUP_S, self.resources.look)
        yield Chore(CLOCK_LOOK_S, self.wrong_clock.look)
        yield Chore(CLEANUP_S, self.intake.relieve, now_s + CLEANUP_S)
        yield Chore(checkpoint_s, self._checkpoint, now_s + checkpoint_s)

    def _pool(self, name: str) -> Workers:
        return Workers(1, name=name, log=self._log)

    def _make_scheduler(self) -> Scheduler:
        env, settings = self.env, self.env.settings
        occ = Occ(
            settings.smtpc_initial_connections,
            settings.smtpc_max_connections,
            min(DEST_CLOSED_MAX_S, settings.min_retry_delay_s),
            OCC_ENTRIES_MAX,
        )
        builder = Builder(settings, IdGenerator("C", 0, env.clock), env.clock)
        return Scheduler(env, self.active, self.update, occ, Dadb(), builder, self.arrivals.waiting)

    def _make_verifier(self) -> AddressVerifier:
        env = self.env
        probes = Probes(env, self.active, self.resolver, self.scheduler)
        return AddressVerifier(env, probes, VerifyDb(self.queue / paths.VERIFIED_FILE, env.log), self._pool("verify"))

    def _make_control(self, env: Env) -> Control:
        active, scheduler = self.active, self.scheduler
        changing = Changing(env, active, self.orders, scheduler, self.feeder)
        return Control(self, Listing(active, scheduler, env.clock), changing)

    def _make_orders(self, env: Env) -> None:
        """Makes what the operator changes at run time: the mode, the limits; takes up what stands."""
        self.mode = OperatingMode(env, self.intake, self.scheduler, self.feeder, self.smtps)
        self.resources = self._make_resources()
        self.tuning = Tuning(env, self.active, self.intake, self.scheduler.occ, self.resources)
        file = OrderFile(self.queue / paths.ORDERS_FILE)
        self.standing = Standing(env, self.mode, self.tuning, file, self.lost, self._pool("orders"))
        self.standing.restore()

    def _make_resources(self) -> Resources:
        settings = self.env.settings
        low, high = settings.min_free_disk, settings.ok_free_disk
        directories = {
            "disk_cdb": paths.CDB_DIRECTORY,
            "disk_ibdb": paths.IBDB_DIRECTORY,
            "disk_defedb": paths.DEFEDB_DIRECTORY,
        }
        disks = {name: DiskWatch(self.queue / where, low, high) for name, where in directories.items()}
        gauges = {
            "iqdb": self.intake.iqdb.usage_percent,
            "ibdb": lambda: min(100, self.commit.file_count * 100 // settings.ibdb_max_open),
        }
        return Resources(disks, gauges, self.mode.throttle, self._log)

    def listen(self, accesses: Mapping[str, Access]) -> None:
        """Opens the three sockets.

        Args:
            accesses: group and accounts of each socket, by its path; if one is missing, its socket has the group of the
                process and is for all that the permissions let in.

        Raises:
            PermError: one cannot be opened.
        """
        for name, protocol, on_connect in (
            (paths.QMGR_SMTPS_SOCKET, smtps_qmgr.PROTOCOL, self.smtps.on_connect),
            (paths.QMGR_SMTPC_SOCKET, smtpc_qmgr.PROTOCOL, self.smtpc.on_connect),
            (paths.QMGR_CONTROL_SOCKET, control_protocol.PROTOCOL, self.control.on_connect),
        ):
            self._listeners.append(
                RcbListener(
                    self.env.evthr,
                    self.queue / name,
                    protocol,
                    on_connect=on_connect,
                    access=accesses.get(name),
                    log=self._log,
                )
            )

    def begin(self) -> None:
        """Waits for the peers from now on, as long as the settings say."""
        settings = self.env.settings
        self.arrivals.begin(self.env.evthr, settings.wait_for_client_s, settings.wait_for_server_s)

    def _checkpoint(self) -> None:
        """Starts a checkpoint in a thread of its own: DEFEDB goes on meanwhile, however slow the disk is."""
        if not self._checkpoints.pending():
            with contextlib.suppress(FullError):  # closed
                self._checkpoints.submit(self._defedb.checkpoint)

    # -- for the control socket ----------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Gives the counters: recipients in AQ and DEFEDB, transactions open in IBDB, entries of IQDB, peers."""
        with self.active.lock:
            aq, transactions = len(self.active.aq), self.active.aq.transactions
            sessions, agents = self.scheduler.dadb.sessions, len(self.scheduler.dadb)
            destinations, edbc = len(self.scheduler.occ), len(self.active.edbc)
            lanes = len(self.active.edbc.lanes)
        filters = self.smtps.filters()
        return {
            "aq": aq,
            "aq_transactions": transactions,
            "iqdb": self.intake.iqdb.transactions,
            "iqdb_sessions": self.intake.iqdb.sessions,
            "defedb": self.defer.count,
            "defedb_pending": self.defer.pending,
            "edbc": edbc,
            "edbc_lanes": lanes,
            "ibdb_open": self.commit.open_count,
            "ibdb_files": self.commit.file_count,
            "smtps": len(self.smtps),
            "smtpc": agents,
            "smar": int(self.resolver.up),
            "da_sessions": sessions,
            "destinations": destinations,
            **self.standing.status(),
            "accept_percent": self.smtps.percent,
            "accept_reason": self.smtps.reason,
            "held": self.defer.held,
            "set_aside": self.lost.set_aside,
            "lost_found": self.lost.count(),
            "verified": len(self.verifier),
            "contained": self.contained.total(),
            "filters": filters,
            "trouble": [
                *trouble(self._facts(agents)),
                *self.smtps.troubles(),
                *filter_troubles(filters),
                *logkept.trouble(self.queue),
            ],
            "pid": os.getpid(),
            "started": self._started,
        }

    def _facts(self, agents: int) -> Facts:
        return Facts(
            {"smtps": len(self.smtps), "smtpc": agents, "smar": int(self.resolver.up)},
            self.mode.trouble(),
            self.smtps.percent,
            self.smtps.reason,
            {"DEFEDB": self.defer.failing, "IBDB": self.commit.failing, "the file of orders": self.standing.failing},
            self.lost.count(),
            self.defer.held,
            tuple(self.contained.recent()),
        )

    def usage(self) -> dict[str, Any]:
        """Gives the use of each resource, 0 to 100, and the free space."""
        with self.active.lock:
            aq = self.active.aq.usage_percent()
        return {**self.resources.usage, "aq": aq, "free_bytes": self.resources.free_bytes()}

    # -- the end -------------------------------------------------------------------------------------------------------

    @property
    def peers(self) -> int:
        """Number of SMTPS and SMTPC that are connected: from these something may still come."""
        with self.active.lock:
            return len(self.smtps) + len(self.scheduler.dadb)

    def stop_intake(self) -> None:
        """Takes no new mail and starts no delivery; what is under way goes on."""
        self.intake.stopping = True
        self.scheduler.stopping = True
        self.feeder.stopping = True
        for listener in self._listeners:
            listener.close()
        self.resolver.close()

    def _report_failed(self) -> None:
        with self.active.lock:
            self.bounces.settle_all()

    def close(self) -> None:
        """Writes everything that waits and closes the stores, each whatever becomes of the others; AQ is found again there.

        Blocks: yes (disk).  Owner: the main thread, after the loop.
        """
        failure.steps(
            self._log,
            "qmgr.stop",
            self.standing.close,
            self._report_failed,
            self.verifier.close,
            self._checkpoints.close,
            self.defer.close,
            self.commit.close,
        )
