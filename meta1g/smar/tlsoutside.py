"""What of TLS needs more of the world outside than the DNS: policies of MTA-STS, and reports.  Loaded only if configured.

Ref: RFC 8460, RFC 8461.
"""

from meta1g.base.log import Log
from meta1g.pt.evthr import Evthr
from meta1g.pt.workers import Workers
from meta1g.smar.https import HttpsClient
from meta1g.smar.limits import RPT_AT_ONCE, STS_FETCHES
from meta1g.smar.resolver import Resolver
from meta1g.smar.settings import Settings
from meta1g.smar.sts import StsPolicies, StsSource
from meta1g.smar.stscache import StsCache
from meta1g.smar.tlscounts import TlsCounts
from meta1g.smar.tlspolicies import PolicySource
from meta1g.smar.tlsreporter import TlsReporter


class TlsOutside:
    """The parts.

    Args:
        evthr: the system they run in.
        resolver: answers questions.
        settings: of the process.
        log: the log of the process.

    Attributes:
        sources: who knows what TLS has to fulfil at servers.
        counts: what is counted for reports, None if nothing is.

    Owner: the process.
    """

    def __init__(self, evthr: Evthr, resolver: Resolver, settings: Settings, log: Log) -> None:
        self._workers = Workers(STS_FETCHES, name="https", log=log)
        self.sources: list[PolicySource] = []
        self.counts: TlsCounts | None = None
        policies, sts, reports = None, settings.sts, settings.reports
        client = HttpsClient(None if sts is None else sts.ca_file)
        if sts is not None:
            cache = StsCache(sts.directory, evthr.clock, log)
            policies = StsPolicies(evthr, resolver, cache, client, self._workers, log, sts.port)
            self.sources.append(StsSource(policies))
        if reports is not None:
            self.counts = TlsCounts(evthr, resolver, policies, self._workers, reports.directory, log)
            self._senders = Workers(RPT_AT_ONCE, name="tls reports", log=log)
            self._reporter = TlsReporter(evthr, resolver, self.counts, client, self._senders, reports, log)

    def close(self) -> None:
        """Writes what was counted.  Blocks: yes (disk)."""
        self._workers.close(timeout_s=0.0)
        if self.counts is not None:
            self._senders.close(timeout_s=0.0)
            self.counts.write()
