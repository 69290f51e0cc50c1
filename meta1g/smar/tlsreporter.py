"""Sends the reports of days that are over: by mail through the own smtps, or by https.

    look, each minute ─> (day, domain) that is due ─> TXT _smtp._tls.DOMAIN ─> each target: a worker sends
                                                   │                              ├─ taken: noted in the file of the day
                                                   └─ nobody wants it: dropped    └─ not taken: again later, for two days

A day is due some time after its end, another one for each gateway, so that not all send at midnight (RFC 8460 5).

Invariants: a report is not sent twice to a target, unless the process is killed between sending and writing; a target that
hangs holds one of RPT_AT_ONCE places for RPT_SEND_S.
Ref: RFC 8460 5.1 to 5.5; invariants I11, I12.
"""

import smtplib
import zlib
from datetime import date, timedelta
from functools import partial

from meta1g.base import failure
from meta1g.base.dataclass import dataclass
from meta1g.base.errors import FullError
from meta1g.base.log import Log
from meta1g.pt.evthr import Evthr
from meta1g.pt.lock import Lock, LockRank
from meta1g.pt.task import Ev, Result, Task
from meta1g.pt.workers import Workers
from meta1g.smar.dnswire import DnsAnswer, RRType
from meta1g.smar.https import HttpsClient, HttpsError, HttpsServer
from meta1g.smar.limits import RPT_ANSWER_BYTES, RPT_AT_ONCE, RPT_DAYS, RPT_LOOK_S, RPT_RETRY_S, RPT_SEND_S
from meta1g.smar.resolver import Resolver
from meta1g.smar.tlscounts import TlsCounts
from meta1g.smar.tlssettings import RptSettings
from meta1g.tls.rptmail import report_message
from meta1g.tls.tlsrpt import GZIP_TYPE, DayReport, RptTarget, day_of


@dataclass(slots=True)
class _Sending:
    """A report on its way.  Locking: that of the reporter."""

    report: DayReport
    left: int = 0
    failed: bool = False


class TlsReporter:
    """Sends reports.

    Args:
        evthr: the system it runs in; its clock is used.
        resolver: answers questions.
        counts: what was counted.
        client: sends by https.
        workers: the threads that send.
        settings: who reports, and how.
        log: what was sent, and what was not.

    Locking: own lock LEAF.
    """

    def __init__(
        self,
        evthr: Evthr,
        resolver: Resolver,
        counts: TlsCounts,
        client: HttpsClient,
        workers: Workers,
        settings: RptSettings,
        log: Log,
    ) -> None:
        self._clock = evthr.clock
        self._resolver = resolver
        self._counts = counts
        self._client = client
        self._workers = workers
        self._settings = settings
        self._log = log
        self._lock = Lock(LockRank.LEAF, "tls reporter")
        self._sending: dict[tuple[str, str], _Sending] = {}
        self._next: dict[tuple[str, str], tuple[float, int]] = {}  # when it is tried again, monotonic, and how often it was
        self._task = evthr.task_new(self._look, events=Ev.NONE, name="tls reports")
        self._task.sleep_until(self._clock.monotonic())

    def _look(self, task: Task) -> Result:
        """Begins what is due, and drops what is too old."""
        now_s, now = self._clock.now(), self._clock.monotonic()
        wait_s = zlib.crc32(self._settings.hostname.encode()) % (self._settings.delay_s + 1)
        due = self._counts.due(day_of(now_s - wait_s))
        oldest = str(date.fromisoformat(day_of(now_s)) - timedelta(days=RPT_DAYS))
        for key in due:
            if key[0] < oldest:
                self._forget(key, "it was not taken for two days")
            elif len(self._sending) < RPT_AT_ONCE and key not in self._sending and self._next.get(key, (0.0, 0))[0] <= now:
                with failure.item(self._log, "smar.tlsrpt", lambda _, key=key: self._put_off(key), name=key[1]):  # type: ignore[misc]
                    self._begin(key)
        task.sleep_until(now + (RPT_LOOK_S if len(due) <= RPT_AT_ONCE else 1.0))
        return Result.SLPQ

    def sending(self) -> int:
        """Gives how many reports are on their way."""
        return len(self._sending)

    def _begin(self, key: tuple[str, str]) -> None:
        day, domain = key
        report = DayReport(domain, day, self._settings.sender, self._counts.counts(day, domain))
        with self._lock:
            self._sending[key] = _Sending(report)
        self._counts.targets(domain, partial(self._on_targets, key))

    def _on_targets(self, key: tuple[str, str], targets: tuple[RptTarget, ...] | None) -> None:
        if targets is None:
            self._put_off(key)
            return
        done = self._counts.sent_to(*key)
        left = [one for one in targets if str(one) not in done]
        if not left:
            self._forget(key, "")
            return
        with self._lock:
            sending = self._sending[key]
            sending.left = len(left)
        for target in left:
            if target.address:
                self._submit(key, target, ())
            else:
                self._addresses(key, target)

    def _addresses(self, key: tuple[str, str], target: RptTarget) -> None:
        """Asks for the addresses of a web server: IPv4, then IPv6."""

        def on_v4(first: DnsAnswer) -> None:
            self._resolver.ask(target.host, RRType.AAAA, lambda second: on_v6(first, second))

        def on_v6(first: DnsAnswer, second: DnsAnswer) -> None:
            self._submit(key, target, tuple(record.value for record in (*first.records, *second.records)))

        self._resolver.ask(target.host, RRType.A, on_v4)

    def _submit(self, key: tuple[str, str], target: RptTarget, addresses: tuple[str, ...]) -> None:
        try:
            self._workers.submit(lambda: self._send(key, target, addresses), partial(self._on_sent, key, target))
        except FullError as full:
            self._on_sent(key, target, None, full)

    def _send(self, key: tuple[str, str], target: RptTarget, addresses: tuple[str, ...]) -> None:
        """Sends a report.  Blocks: yes (network); in a worker.

        Raises:
            HttpsError, OSError: it was not taken.
        """
        report = self._sending[key].report
        if target.address:
            self._mail(target.address, report)
        else:
            server = HttpsServer(target.host, addresses, target.port)
            headers = {"Content-Type": GZIP_TYPE}
            self._client.request(
                server, target.path, timeout_s=RPT_SEND_S, max_bytes=RPT_ANSWER_BYTES, body=report.packed(), headers=headers
            )
        self._counts.note_sent(*key, str(target))

    def _mail(self, address: str, report: DayReport) -> None:
        """Gives a report to the own smtps; nobody wants to hear that it could not be delivered.  Blocks: yes."""
        settings = self._settings
        message = report_message(report, address, self._clock.now())
        with smtplib.SMTP(settings.smtps[0], settings.smtps[1], settings.hostname, RPT_SEND_S) as client:
            client.ehlo_or_helo_if_needed()
            quiet = ("NOTIFY=NEVER",) if client.has_extn("dsn") else ()
            client.sendmail(settings.sender.contact, [address], message, rcpt_options=quiet)

    def _on_sent(self, key: tuple[str, str], target: RptTarget, _result: None, error: Exception | None) -> None:
        """Goes on when a target has been tried; with the last one the report is done, or tried again later."""
        if error is None:
            self._log.info("smar.tlsrpt", "ok", name=key[1], answer=str(target))
        else:
            text = error.cause if isinstance(error, HttpsError | FullError) else f"{type(error).__name__}: {error}"
            self._log.notice("smar.tlsrpt_failed", text, name=key[1], answer=str(target))
        with self._lock:
            sending = self._sending[key]
            sending.left -= 1
            sending.failed = sending.failed or error is not None
            if sending.left:
                return
        if sending.failed:
            self._put_off(key)
        else:
            self._forget(key, "")
            self._counts.write()

    def _put_off(self, key: tuple[str, str]) -> None:
        with self._lock:
            self._sending.pop(key, None)
            tries = self._next.get(key, (0.0, 0))[1]
            self._next[key] = (self._clock.monotonic() + RPT_RETRY_S * 2**tries, min(tries + 1, 6))

    def _forget(self, key: tuple[str, str], why: str) -> None:
        with self._lock:
            self._sending.pop(key, None)
            self._next.pop(key, None)
        self._counts.drop(*key)
        if why:
            self._log.notice("smar.tlsrpt_failed", why, name=key[1], answer=key[0])
