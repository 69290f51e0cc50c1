"""What is counted for reports about TLS: sessions that SMTPC had, by day and domain, in memory and in a file for each day.

    session ─> does its domain want reports? ─> its MTA-STS policy ─> RptDay ─> smar/tlsrpt/YYYY-MM-DD.rpt, each minute

Only domains with a record `_smtp._tls` are counted, so that what is kept stays small.  What was counted since the last write
is lost with the process.

Invariants: what is kept is bounded (RptDay); a damaged file costs its day and is set aside by another name.
Ref: RFC 8460 4; invariants I3, I4, I10.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from meta1g.base import failure
from meta1g.base.dataclass import dataclass
from meta1g.base.errors import FullError, Module
from meta1g.base.log import Log
from meta1g.base.plainfile import open_plain
from meta1g.base.rsc import Rsc
from meta1g.base.tlspolicy import policy_of
from meta1g.db.files import FILES
from meta1g.pt.evthr import Evthr
from meta1g.pt.lock import Lock, LockRank
from meta1g.pt.task import Ev, Result, Task
from meta1g.pt.workers import Workers
from meta1g.rcb.tlssession import TlsSession
from meta1g.smar.dnswire import DnsAnswer, DnsStatus, RRType, ascii_name
from meta1g.smar.limits import RPT_WANTED_MAX, RPT_WANTED_S, RPT_WRITE_S
from meta1g.smar.resolver import Resolver
from meta1g.smar.sts import StsFinding, StsPolicies
from meta1g.tls.rptday import DayError, RptDay, content_of, day_from
from meta1g.tls.sessions import TlsSeen, held_against, judged
from meta1g.tls.tlsrpt import RPT_LABELS, RptCount, RptError, RptTarget, day_of, rpt_targets

_SUFFIX: Final = ".rpt"
_NOTHING: Final = StsFinding(None, "")
_DAMAGED_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Whether a domain wants reports, as far as it is known, monotonic."""

    wanted: bool
    until_s: float


def targets_in(answer: DnsAnswer) -> tuple[RptTarget, ...] | None:
    """Gives who wants the reports of a domain, nobody if its record is damaged; None if that is not known now."""
    if answer.status is DnsStatus.TEMP:
        return None
    try:
        return rpt_targets(record.value for record in answer.records)
    except RptError:
        return ()


class TlsCounts:
    """The counts of all days.

    Args:
        evthr: the system it runs in; its clock is used.
        resolver: answers questions.
        policies: the MTA-STS policies of domains; None if nobody asks for them.
        workers: threads that write.
        directory: where the files are; made if it is missing.
        log: files that are damaged or cannot be written are logged here.

    Locking: own lock LEAF; files are written without it.
    """

    def __init__(
        self, evthr: Evthr, resolver: Resolver, policies: StsPolicies | None, workers: Workers, directory: Path, log: Log
    ) -> None:
        self._clock = evthr.clock
        self._resolver = resolver
        self._policies = policies
        self._workers = workers
        self._directory = directory
        self._log = log
        self._lock = Lock(LockRank.LEAF, "tls counts")
        self._writing = Lock(LockRank.CACHE, "tls counts files")
        self._wanted: Rsc[str, _Wanted] = Rsc(RPT_WANTED_MAX, Module.SMAR)
        self._days: dict[str, RptDay] = {}
        self._load()
        self._task = evthr.task_new(self._on_time, events=Ev.NONE, name="tls counts")
        self._task.sleep_until(self._clock.monotonic() + RPT_WRITE_S)

    # -- counting ------------------------------------------------------------------------------------------------------

    def add(self, session: TlsSession) -> None:
        """Counts a session, if its domain wants reports; perhaps a little later."""
        session = replace(session, domain=ascii_name(session.domain))
        now = self._clock.monotonic()
        with self._lock:
            known = self._wanted.get(session.domain)
        if known is None or known.until_s < now:
            self.targets(session.domain, partial(self._on_targets, session))
        elif known.wanted:
            self._judge(session)

    def targets(self, domain: str, on_targets: Callable[[tuple[RptTarget, ...] | None], None]) -> None:
        """Asks who wants the reports of a domain; on_targets is called as targets_in() gives it."""
        self._resolver.ask(f"{RPT_LABELS}.{domain}", RRType.TXT, lambda answer: on_targets(targets_in(answer)))

    def _on_targets(self, session: TlsSession, targets: tuple[RptTarget, ...] | None) -> None:
        if targets is not None:
            with self._lock:
                self._wanted.put(session.domain, _Wanted(bool(targets), self._clock.monotonic() + RPT_WANTED_S))
        if targets is None or targets:  # what is not known may turn out to be wanted
            self._judge(session)

    def _judge(self, session: TlsSession) -> None:
        if self._policies is None:
            self._count(session, _NOTHING)
        else:
            self._policies.find(session.domain, partial(self._count, session))

    def _count(self, session: TlsSession, finding: StsFinding) -> None:
        seen = seen_of(session)
        policy = held_against(seen, finding.policy, finding.failed)
        failed = judged(seen, finding.policy, finding.failed, finding.why)
        with self._lock:
            day = day_of(self._clock.now())
            self._days.setdefault(day, RptDay(day)).add(policy, failed)

    # -- reports -------------------------------------------------------------------------------------------------------

    def due(self, before: str) -> list[tuple[str, str]]:
        """Gives the days before one, each with its domains; oldest first."""
        with self._lock:
            days = sorted(day for day in self._days if day < before)
            return [(day, domain) for day in days for domain in self._days[day].domains()]

    def counts(self, day: str, domain: str) -> tuple[RptCount, ...]:
        """Gives what was counted."""
        with self._lock:
            return self._days[day].counts(domain) if day in self._days else ()

    def sent_to(self, day: str, domain: str) -> frozenset[str]:
        """Gives who has a report."""
        with self._lock:
            return self._days[day].sent_to(domain) if day in self._days else frozenset()

    def note_sent(self, day: str, domain: str, target: str) -> None:
        """Notes that somebody has a report.  Disk: it is written at once.  Blocks: yes."""
        with self._lock:
            if day in self._days:
                self._days[day].note_sent(domain, target)
        self.write()

    def drop(self, day: str, domain: str) -> None:
        """Forgets what was counted."""
        with self._lock:
            if day in self._days:
                self._days[day].drop(domain)

    # -- files ---------------------------------------------------------------------------------------------------------

    def write(self) -> None:
        """Writes what has changed; the file of a day before today that has nothing left goes.  Blocks: yes (disk)."""
        with self._writing:
            with self._lock:
                changed = [day for day in self._days.values() if day.changed]
                for day in changed:
                    day.changed = False
            for day in changed:
                try:
                    self._write(day)
                except OSError as error:
                    day.changed = True
                    self._log.error("smar.tlsrpt_file", error.strerror or "cannot be written", path=str(self._path(day.day)))

    def _write(self, day: RptDay) -> None:
        lines, steps = [], day.lines()
        while True:
            with self._lock:  # a domain at a time: sessions are counted meanwhile
                line = next(steps, None)
                if line is None:
                    over = not day and day.day < day_of(self._clock.now())
                    if over:
                        self._days.pop(day.day, None)
                    break
            lines.append(line)
        if over:
            with contextlib.suppress(FileNotFoundError):
                FILES.unlink(self._path(day.day))
        else:
            FILES.write_durable(self._path(day.day), content_of(lines))

    def _path(self, day: str) -> Path:
        return self._directory / f"{day}{_SUFFIX}"

    def _on_time(self, task: Task) -> Result:
        with failure.item(self._log, "smar.tlsrpt"), contextlib.suppress(FullError):  # else the next time
            self._workers.submit(self.write)
        task.sleep_until(self._clock.monotonic() + RPT_WRITE_S)
        return Result.SLPQ

    def _load(self) -> None:
        """Reads all files; one that is damaged gets another name, one that cannot be read for a shortage that passes stays."""
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            paths = [self._directory / name for name in FILES.list(self._directory)]
        except OSError as error:
            self._log.error("smar.tlsrpt_file", error.strerror or "cannot be read", path=str(self._directory))
            return
        for path in (one for one in paths if one.suffix == _SUFFIX):
            try:
                with open_plain(path) as file:
                    self._days[path.stem] = day_from(path.stem, file.read())
            except (OSError, DayError) as error:
                if failure.is_shortage(error):
                    self._log.error("smar.tlsrpt_file", str(error), path=str(path))
                    continue
                self._log.error("smar.tlsrpt_file", f"{error}; set aside as {path.name}.damaged", path=str(path))
                with contextlib.suppress(OSError):
                    FILES.rename(path, f"{path}.damaged")
        for path in sorted(one for one in paths if one.suffix == ".damaged")[:-_DAMAGED_MAX]:
            with contextlib.suppress(OSError):
                FILES.unlink(path)


def seen_of(session: TlsSession) -> TlsSeen:
    """Gives what SMTPC saw of a session."""
    server = session.server[0]
    tlsa = policy_of(server.tls).tlsa
    return TlsSeen(
        domain=session.domain,
        host=server.host,
        address=server.addr,
        source=session.source,
        offered=session.offered,
        secured=session.secured,
        verified=session.verified,
        reason=session.reason,
        tlsa=tuple(f"{one.usage} {one.selector} {one.kind} {one.data.hex()}" for one in tlsa),
    )
