"""MTA-STS: which policy the domain of a recipient has.

    find ─> TXT _mta-sts.DOMAIN ─┬─ no record, or no answer ──────────> the policy that is known, else none
                                 ├─ id as known, not too old ─────────> the policy that is known
                                 ├─ id as known, half of its life over ─> the same; fetched again meanwhile
                                 └─ another id ─> A, AAAA of mta-sts.DOMAIN ─> a worker fetches ─┬─> the new one
                                                                                                 └─> failed: as without record

A domain has one fetch at a time, and nobody waits for one longer than STS_WAIT_S; after a failure it has none for some minutes.

Invariant: each on_found is called exactly once, without a lock held.
Ref: RFC 8461 3.1, 3.3, 5.1, 10.2; invariants I10 to I12.
"""

import itertools
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Final

from meta1g.base import failure
from meta1g.base.dataclass import dataclass
from meta1g.base.errors import FullError, Module
from meta1g.base.log import Log
from meta1g.base.rsc import Rsc
from meta1g.base.shares import Pool
from meta1g.base.tlspolicy import TlsPolicy
from meta1g.pt.evthr import Evthr
from meta1g.pt.lock import Lock, LockRank
from meta1g.pt.task import Ev, Result, Task
from meta1g.pt.workers import Workers
from meta1g.smar.deadlines import Deadlines
from meta1g.smar.dnswire import DnsAnswer, DnsStatus, RRType, ascii_name
from meta1g.smar.https import HttpsClient, HttpsError, HttpsFailure, HttpsServer
from meta1g.smar.limits import (
    STS_FETCH_S,
    STS_FETCHES,
    STS_FETCHES_OPEN_MAX,
    STS_LOOK_S,
    STS_POLICIES_MAX,
    STS_REFRESHES,
    STS_RETRY_MAX_S,
    STS_RETRY_S,
    STS_UNUSED_S,
    STS_WAIT_S,
)
from meta1g.smar.resolver import Resolver, zone_of
from meta1g.smar.stscache import StsCache, StsEntry
from meta1g.smar.tlspolicies import Hop, OnPolicy
from meta1g.smtp.address import is_host
from meta1g.tls.mtasts import (
    HOST_LABEL,
    PATH,
    POLICY_MAX_BYTES,
    RECORD_LABEL,
    StsError,
    StsPolicy,
    parse_policy,
    record_id,
    server_policy,
)
from meta1g.tls.tlsrpt import ResultType

#: Characters of a domain that still has room for the names below it.
_DOMAIN_MAX_CHARS: Final = 245
_TEXT_PLAIN: Final = "text/plain"
_RESULTS: Final = {
    HttpsFailure.REACH: ResultType.STS_POLICY_FETCH_ERROR,
    HttpsFailure.ANSWER: ResultType.STS_POLICY_FETCH_ERROR,
    HttpsFailure.CERTIFICATE: ResultType.STS_WEBPKI_INVALID,
}


@dataclass(frozen=True, slots=True)
class StsFinding:
    """What is known of the policy of a domain.

    Args:
        policy: its policy, None if there is none.
        why: how it was found, or why there is none.
        failed: what a report says of it (RFC 8460 4.3.2.2); None if nothing failed.
    """

    policy: StsPolicy | None
    why: str
    failed: ResultType | None = None


OnFound = Callable[[StsFinding], None]
_NO_RECORD: Final = StsFinding(None, "it has no record")


@dataclass(slots=True)
class _Waiter:
    """Somebody who waits for a fetch.  Owner: whoever takes the token."""

    on_found: OnFound
    token: list[None]

    def tell(self, finding: StsFinding) -> None:
        """Tells it, the first time."""
        try:
            self.token.pop()
        except IndexError:
            return
        self.on_found(finding)


@dataclass(slots=True)
class _Fetch:
    """A fetch under way.  Locking: that of StsPolicies."""

    domain: str
    zone: str
    policy_id: str
    tries: int
    waiters: list[_Waiter]
    addresses: list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Failed:
    """A fetch that failed.

    Args:
        policy_id: the id that was to be fetched.
        until_s: it is not tried again before, monotonic.
        tries: how often it failed.
        finding: what was told then.
    """

    policy_id: str
    until_s: float
    tries: int
    finding: StsFinding


class StsPolicies:
    """The policies of all domains.

    Args:
        evthr: the system it runs in; its clock is used.
        resolver: answers questions.
        cache: what is known.
        client: fetches.
        workers: the threads that fetch, STS_FETCHES of them.
        log: fetches are logged here.
        port: port of policy servers.

    Locking: own lock LEAF.
    """

    def __init__(
        self, evthr: Evthr, resolver: Resolver, cache: StsCache, client: HttpsClient, workers: Workers, log: Log, port: int
    ) -> None:
        self._clock = evthr.clock
        self._resolver = resolver
        self._cache = cache
        self._client = client
        self._workers = workers
        self._log = log
        self._port = port
        self._lock = Lock(LockRank.LEAF, "sts policies")
        self._open: dict[str, _Fetch] = {}
        self._zones = Pool(STS_FETCHES_OPEN_MAX)
        self._ready: list[tuple[_Fetch, HttpsServer]] = []  # those that wait for a worker
        self._running = Pool(STS_FETCHES)
        self._failed: Rsc[str, _Failed] = Rsc(STS_POLICIES_MAX, Module.SMAR)
        self._late = Deadlines[tuple[_Waiter, str]](
            evthr, STS_WAIT_S, self._on_late, log=log, is_over=lambda one: not one[0].token, name="sts"
        )
        self._task = evthr.task_new(self._refresh, events=Ev.NONE, name="sts refresh")
        self._task.sleep_until(self._clock.monotonic() + STS_LOOK_S)

    def find(self, domain: str, on_found: OnFound) -> None:
        """Finds the policy of a domain.

        Args:
            domain: lower case.
            on_found: called once, at once if the policy is known, else in a worker.
        """
        name = "" if domain.startswith("[") else ascii_name(domain)
        if "." not in name or len(name) > _DOMAIN_MAX_CHARS or not is_host(name):
            on_found(_NO_RECORD)
        else:
            self._resolver.ask(f"{RECORD_LABEL}.{name}", RRType.TXT, partial(self._on_record, name, on_found))

    def fetching(self) -> int:
        """Gives how many policies are being fetched."""
        return len(self._open)

    def _on_record(self, domain: str, on_found: OnFound, answer: DnsAnswer) -> None:
        known, why, policy_id = self._cache.use(domain), "", None
        if answer.status is DnsStatus.TEMP:
            why = f"its record cannot be asked for: {answer.reason}"
        else:
            try:
                policy_id = record_id(record.value for record in answer.records)
            except StsError as error:
                why = str(error)
        if policy_id is None:
            on_found(_NO_RECORD if known is None and not why else _of(known, why or _NO_RECORD.why))
        elif known is None or known.policy_id != policy_id:
            self._fetch(domain, policy_id, on_found)
        else:
            if self._is_old(known):
                self._fetch(domain, policy_id, None)
            on_found(_of(known, ""))

    def _is_old(self, entry: StsEntry) -> bool:
        age_s = self._clock.now() - entry.fetched_s
        return age_s >= entry.refresh_s or age_s < 0

    # -- fetching ------------------------------------------------------------------------------------------------------

    def _fetch(self, domain: str, policy_id: str, on_found: OnFound | None) -> None:
        """Lets a policy be fetched, or joins who does; on_found waits for it, if there is one."""
        waiter = None if on_found is None else _Waiter(on_found, [None])
        refused, fetch = self._begin(domain, policy_id, waiter)
        if refused is not None:
            if waiter is not None:
                waiter.tell(refused)
            return
        if waiter is not None:
            self._late.add((waiter, domain))
        if fetch is not None:
            give_up = lambda _: self._end(fetch, StsFinding(None, "the fetch failed"))  # noqa: E731  of this fetch
            with failure.item(self._log, "smar.sts", give_up, name=domain):
                self._addresses(fetch)

    def _begin(self, domain: str, policy_id: str, waiter: _Waiter | None) -> tuple[StsFinding | None, _Fetch | None]:
        """Gives why there is no fetch, or the fetch that has to be begun; nothing if one is under way."""
        waiters = [] if waiter is None else [waiter]
        with self._lock:
            under_way = self._open.get(domain)
            if under_way is not None:
                under_way.waiters += waiters
                return None, None
            failed, zone = self._failed.get(domain), zone_of(domain)
            same = failed is not None and failed.policy_id == policy_id
            if failed is not None and same and failed.until_s > self._clock.monotonic():
                finding = failed.finding
            elif len(self._open) >= STS_FETCHES_OPEN_MAX or not self._zones.take(zone):
                finding = StsFinding(None, "too many policies are fetched now")
            else:
                tries = failed.tries if failed is not None and same else 0
                fetch = self._open[domain] = _Fetch(domain, zone, policy_id, tries, waiters, [])
                return None, fetch
        return self._instead(domain, finding), None

    def _instead(self, domain: str, finding: StsFinding) -> StsFinding:
        """Gives the policy that is known in place of one that cannot be fetched."""
        known = self._cache.get(domain)
        return finding if known is None else _of(known, finding.why, finding.failed)

    def _addresses(self, fetch: _Fetch) -> None:
        """Asks for the addresses of the host that has the policy; with both answers a worker goes on."""
        for rrtype in (RRType.AAAA, RRType.A):
            self._resolver.ask(f"{HOST_LABEL}.{fetch.domain}", rrtype, partial(self._on_address, fetch))

    def _on_address(self, fetch: _Fetch, answer: DnsAnswer) -> None:
        with self._lock:
            fetch.addresses.append(tuple(record.value for record in answer.records))
            if len(fetch.addresses) != 2:
                return
        by_turns = itertools.chain.from_iterable(itertools.zip_longest(*fetch.addresses))
        server = HttpsServer(f"{HOST_LABEL}.{fetch.domain}", tuple(one for one in by_turns if one), self._port)
        with self._lock:
            self._ready.append((fetch, server))
        self._submit()

    def _submit(self) -> None:
        """Gives the workers what waits, as far as it is its turn: the servers of one zone do not take all of them."""
        while (one := self._next()) is not None:
            fetch = one[0]
            try:
                self._workers.submit(partial(self._work, *one))
            except FullError as full:
                with self._lock:
                    self._running.give(fetch.zone)
                self._end(fetch, StsFinding(None, full.cause))

    def _next(self) -> tuple[_Fetch, HttpsServer] | None:
        with self._lock:
            for number, (fetch, _server) in enumerate(self._ready):
                if self._running.take(fetch.zone):
                    return self._ready.pop(number)
        return None

    def _work(self, fetch: _Fetch, server: HttpsServer) -> None:
        """Fetches a policy.  Blocks: yes (network, disk); in a worker."""
        done = StsFinding(None, "the fetch failed", ResultType.STS_POLICY_FETCH_ERROR)
        try:
            done = self._fetched(fetch, server)
        finally:
            failure.steps(self._log, "smar.sts", partial(self._end, fetch, done), partial(self._leave, fetch))

    def _leave(self, fetch: _Fetch) -> None:
        with self._lock:
            self._running.give(fetch.zone)
        self._submit()

    def _fetched(self, fetch: _Fetch, server: HttpsServer) -> StsFinding:
        try:
            answer = self._client.request(server, PATH, timeout_s=STS_FETCH_S, max_bytes=POLICY_MAX_BYTES)
        except HttpsError as error:
            return StsFinding(None, error.cause, _RESULTS[error.kind])
        if answer.status != HTTPStatus.OK:
            text = f"{server.host}: answers {answer.status}, not 200"
            return StsFinding(None, text, ResultType.STS_POLICY_FETCH_ERROR)
        if answer.media_type != _TEXT_PLAIN:
            return StsFinding(None, f"{server.host}: the policy is not text/plain", ResultType.STS_POLICY_INVALID)
        try:
            policy = parse_policy(answer.content)
        except StsError as error:
            return StsFinding(None, f"{server.host}: {error}", ResultType.STS_POLICY_INVALID)
        now, known = self._clock.now(), self._cache.get(fetch.domain)
        used_s = now if known is None or fetch.waiters else known.used_s
        self._cache.put(StsEntry(fetch.domain, fetch.policy_id, policy, now, used_s))
        self._log.info("smar.sts", "ok", name=fetch.domain, answer=str(policy.mode), count=len(policy.mx))
        return StsFinding(policy, f"policy {fetch.policy_id}")

    def _end(self, fetch: _Fetch, finding: StsFinding) -> None:
        """Ends a fetch and tells those who wait for it."""
        with self._lock:
            if self._open.get(fetch.domain) is not fetch:
                return
            del self._open[fetch.domain]
            self._zones.give(fetch.zone)
            if finding.policy is None:
                delay_s = min(STS_RETRY_MAX_S, STS_RETRY_S * 2**fetch.tries)
                until_s = self._clock.monotonic() + delay_s
                self._failed.put(fetch.domain, _Failed(fetch.policy_id, until_s, min(fetch.tries + 1, 10), finding))
            else:
                self._failed.pop(fetch.domain)
        if finding.policy is None:
            self._log.notice("smar.sts_failed", finding.why, name=fetch.domain)
            finding = self._instead(fetch.domain, finding)
        for waiter in fetch.waiters:
            with failure.item(self._log, "smar.sts", name=fetch.domain):
                waiter.tell(finding)

    def _on_late(self, one: tuple[_Waiter, str]) -> None:
        waiter, domain = one
        late = StsFinding(None, "its policy is still being fetched", ResultType.STS_POLICY_FETCH_ERROR)
        waiter.tell(self._instead(domain, late))

    # -- refreshing ----------------------------------------------------------------------------------------------------

    def _refresh(self, task: Task) -> Result:
        """Looks which policies have to be fetched again before they end; those that no mail meets are let go."""
        now = self._clock.now()
        met = (one for one in self._cache.entries() if now < one.ends_s and now - one.used_s < STS_UNUSED_S)
        old = (one for one in met if self._is_old(one) and not self._rests(one.domain))
        for entry in itertools.islice(old, STS_REFRESHES):
            with failure.item(self._log, "smar.sts", name=entry.domain):
                self._resolver.ask(f"{RECORD_LABEL}.{entry.domain}", RRType.TXT, partial(self._on_refresh, entry))
        task.sleep_until(self._clock.monotonic() + STS_LOOK_S)
        return Result.SLPQ

    def _rests(self, domain: str) -> bool:
        with self._lock:
            failed = self._failed.get(domain)
        return failed is not None and failed.until_s > self._clock.monotonic()

    def _on_refresh(self, entry: StsEntry, answer: DnsAnswer) -> None:
        try:
            policy_id = record_id(record.value for record in answer.records)
        except StsError:
            return
        if policy_id is not None:
            self._fetch(entry.domain, policy_id, None)


class StsSource:
    """What TLS has to fulfil at a host by the policy of its domain.

    Args:
        policies: the policies.

    Locking: none needed.
    """

    def __init__(self, policies: StsPolicies) -> None:
        self._policies = policies

    def ask(self, hop: Hop, on_policy: OnPolicy) -> None:
        """Finds out what holds at a host, as PolicySource has it: nothing where mail goes to a host by its name or address."""
        if hop.use_mx:
            self._policies.find(hop.domain, lambda finding: on_policy(demands(hop, finding)))
        else:
            on_policy(None)


def demands(hop: Hop, finding: StsFinding) -> TlsPolicy | None:
    """Gives what holds at a host; None if nothing is known of a policy."""
    if finding.policy is not None:
        return server_policy(finding.policy, ascii_name(hop.domain), hop.host, finding.why)
    return TlsPolicy(source=f"no MTA-STS policy of {ascii_name(hop.domain)}: {finding.why}") if finding.failed else None


def _of(entry: StsEntry | None, why: str, failed: ResultType | None = None) -> StsFinding:
    """Gives what is known, with what was met on the way."""
    if entry is None:
        return StsFinding(None, why, failed)
    text = f"policy {entry.policy_id} of the cache" if why else f"policy {entry.policy_id}"
    return StsFinding(entry.policy, f"{text}: {why}" if why else text, failed)
