"""dmarcrpt: sends aggregate reports of DMARC about days that are over, or writes them into a directory.

    rows of a day -> one report for each policy -> who wants it now, and may have it -> SMTP
    all sent: the files of the day go; not taken, or DNS does not answer: again at the next call, for KEPT_DAYS

Invariant: who has a report does not get it again, unless the program is killed between sending and writing that down.
Ref: RFC 7489 7.1, 7.2; RFC 9990.
"""

import fcntl
import os
import re
import smtplib
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from meta1g.base import cli, paths, sysexits
from meta1g.base.cli import CliError
from meta1g.base.clock import rfc3339
from meta1g.base.shares import Pool
from meta1g_filters.auth.settings import CONFIG_NAME, AuthFilterSettings, read_settings
from meta1g_filters.dmarc.aggregate import AggregateReport
from meta1g_filters.dmarc.discovery import DiscoveryError
from meta1g_filters.dmarc.external import report_targets
from meta1g_filters.dmarc.rows import ROWS_SUFFIX, SENT_SUFFIX, PublishedPolicy, ReportRow, row_from

_PROG: Final = "dmarcrpt"
#: Days that a report is tried for.  Our choice: what is older helps nobody.
KEPT_DAYS: Final = 7
#: Rows of all reports of a day; each domain has its share (invariant I11).  Our choice: some 4 KB of memory each.
ROWS_MAX: Final = 50_000
_SMTP_TIMEOUT_S: Final = 60.0
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")


def reports_of(path: Path, settings: AuthFilterSettings) -> Iterator[AggregateReport]:
    """Gives the reports of a day, by the names of their domains.  Blocks: yes (disk).

    Raises:
        CliError: the file cannot be read.
    """
    found: dict[PublishedPolicy, Counter[ReportRow]] = defaultdict(Counter)
    shares, left_out = Pool(ROWS_MAX), Counter[str]()
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = row_from(line)
                except ValueError as error:
                    _say(f"{path}:{number}: {error}; left out")
                    continue
                if row in found[row.policy] or shares.take(row.policy.domain):
                    found[row.policy][row] += 1
                else:
                    left_out[row.policy.domain] += 1
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}", sysexits.EX_NOINPUT) from error
    for domain, count in left_out.items():
        _say(f"{path.stem}: {domain}: {count} messages are in no report, too many others differ")
    reports = settings.reports
    for policy in sorted(filter(found.get, found), key=lambda one: one.domain):
        yield AggregateReport(policy, path.stem, found[policy], reports.org_name, reports.email, settings.authserv_id)


class DaySender:
    """Sends the reports of one day.

    Args:
        path: its rows.
        settings: who reports, and where mail goes.

    Owner: the program.
    """

    def __init__(self, path: Path, settings: AuthFilterSettings) -> None:
        self._path = path
        self._sent_path = path.with_suffix(SENT_SUFFIX)
        self._settings = settings
        self._sent = set(self._sent_path.read_text(errors="replace").splitlines()) if self._sent_path.exists() else set()

    def send(self) -> bool:
        """Sends what is not sent yet; tells whether all is.  Blocks: yes (DNS, network)."""
        done = [self._report(report) for report in reports_of(self._path, self._settings)]
        if all(done):
            self.forget()
        return all(done)

    def forget(self) -> None:
        """Removes the files of the day."""
        self._path.unlink(missing_ok=True)
        self._sent_path.unlink(missing_ok=True)

    def _report(self, report: AggregateReport) -> bool:
        settings = self._settings
        try:
            targets = report_targets(report.policy.domain, settings.resolver, settings.organization)
        except DiscoveryError as error:
            _say(f"{report.policy.domain} {report.day}: {error.cause}; again at the next call")
            return False
        packed = len(report.packed())
        fitting = [one.address for one in targets if not one.max_bytes or packed <= one.max_bytes]
        return all([self._mail(report, address) for address in fitting])  # noqa: C419  one that fails stops no other

    def _mail(self, report: AggregateReport, address: str) -> bool:
        """Gives a report to the gateway; nobody wants to hear that it could not be delivered.  Blocks: yes (network)."""
        mark = f"{report.report_id} {address}"
        if mark in self._sent:
            return True
        reports = self._settings.reports
        try:
            with smtplib.SMTP(*reports.server, self._settings.authserv_id, _SMTP_TIMEOUT_S) as client:
                client.ehlo_or_helo_if_needed()
                quiet = ("NOTIFY=NEVER",) if client.has_extn("dsn") else ()
                client.sendmail(reports.email, [address], report.message(address, time.time()), rcpt_options=quiet)
        except (OSError, smtplib.SMTPException) as error:
            _say(f"{report.policy.domain} {report.day}: not taken for {address}: {error}; again at the next call")
            return False
        with self._sent_path.open("a") as file:
            file.write(f"{mark}\n")
        print(f"{report.policy.domain} {report.day}: sent to {address}")
        return True


def _say(text: str) -> None:
    sys.stderr.write(f"{_PROG}: {text}\n")


def _days(directory: Path, day: str) -> list[Path]:
    """Gives the files of one day, or of all that are over."""
    today = rfc3339(time.time())[:10]
    if day:
        return [directory / f"{day}{ROWS_SUFFIX}"]
    return sorted(path for path in directory.glob(f"*{ROWS_SUFFIX}") if _DAY.fullmatch(path.stem) and path.stem < today)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Is the only one that sends from a directory.

    Raises:
        CliError: it is not, or there is no such directory.
    """
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise CliError(
            f"{directory}: {error.strerror}; call it as root or as the account of authfilter", sysexits.EX_NOINPUT
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise CliError(f"{directory}: another {_PROG} is at work here", sysexits.EX_TEMPFAIL) from error
    finally:
        os.close(fd)


def _write(paths_: list[Path], settings: AuthFilterSettings, target: Path) -> int:
    for path in paths_:
        for report in reports_of(path, settings):
            file = target / report.file_name
            try:
                file.write_bytes(report.packed())
            except OSError as error:
                raise CliError(f"{target}: {error.strerror}; nothing can be written there", sysexits.EX_CANTCREAT) from error
            print(file)
    return sysexits.EX_OK


def _send(paths_: list[Path], settings: AuthFilterSettings) -> int:
    oldest = str(date.fromisoformat(rfc3339(time.time())[:10]) - timedelta(days=KEPT_DAYS))
    all_done = True
    for path in paths_:
        sender = DaySender(path, settings)
        done = sender.send()
        if not done and path.stem < oldest:
            _say(f"{path.stem}: given up after {KEPT_DAYS} days")
            sender.forget()
        all_done = all_done and (done or path.stem < oldest)
    return sysexits.EX_OK if all_done else sysexits.EX_TEMPFAIL


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code.

    Raises:
        CliError, Meta1Error: there is nothing to read, it is damaged, or the configuration is wrong.
    """
    parser = cli.parser(_PROG, "Sends aggregate reports of DMARC about days that are over.")
    file = paths.DEFAULT_CONFIG_DIRECTORY / CONFIG_NAME
    parser.add_argument("-f", dest="file", type=Path, default=file, metavar="FILE", help="configuration file of authfilter")
    parser.add_argument(
        "-w", dest="target", type=Path, metavar="DIRECTORY", help="write the reports here, send and remove nothing"
    )
    parser.add_argument(
        "--day", default="", metavar="YYYY-MM-DD", help="only the reports of this day (UTC), even if it is not over"
    )
    options = parser.parse_args(argv)
    settings = read_settings(options.file)
    directory = settings.reports.directory
    if directory is None:
        raise CliError(f"{options.file}: nothing is collected; write reports {{ directory = ...; }}")
    if not settings.reports.email and options.target is None:
        raise CliError(f"{options.file}: who reports? Write reports {{ email = ...; }}")
    if options.target is None and options.day >= rfc3339(time.time())[:10]:
        raise CliError(f"--day {options.day}: this day is not over; -w DIRECTORY writes what there is", sysexits.EX_USAGE)
    with _alone(directory):
        days = _days(directory, options.day)
        return _send(days, settings) if options.target is None else _write(days, settings, options.target)
