"""The policies of MTA-STS that are known: in memory, and each in a file of its own, so that they outlast a restart.

    smar/mta-sts/example.org.sts    meta1g-sts 1 CHECKSUM
                                    {"domain": "example.org", "id": ..., "fetched": ..., "used": ...}
                                    version: STSv1 ...

Invariants: at most STS_POLICIES_MAX policies of STS_CACHE_BYTES in all are kept, the least recently used go; a file is whole or
it is not there; one that is damaged costs the policy that it had.  A clock that was wrong costs no policy: one that is over is
kept, since the clock may be ahead now, and one that was fetched in the future, by a clock that was ahead, counts from now on.

Ref: RFC 8461 3.3, 5.1, 10.2 (a policy that is known holds until its end); invariants I3, I4.
"""

import json
import os
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from meta1g.base.clock import Clock
from meta1g.base.dataclass import dataclass
from meta1g.base.failure import is_shortage
from meta1g.base.log import Log
from meta1g.db.files import FILES
from meta1g.pt.lock import Lock, LockRank
from meta1g.smar.limits import STS_CACHE_BYTES, STS_POLICIES_MAX, STS_REFRESH_S
from meta1g.tls.mtasts import POLICY_MAX_BYTES, StsError, StsPolicy, parse_policy

_MAGIC: Final = b"meta1g-sts 1 "
_FILE_MAX_BYTES: Final = POLICY_MAX_BYTES + 4096
_SUFFIX: Final = ".sts"


@dataclass(frozen=True, slots=True)
class StsEntry:
    """A policy that is known.

    Args:
        domain: whose it is, lower case.
        policy_id: its id.
        policy: the policy.
        fetched_s: when it was fetched, seconds since the epoch.
        used_s: when mail last met it, as far as that was noted; seconds since the epoch.
    """

    domain: str
    policy_id: str
    policy: StsPolicy
    fetched_s: float
    used_s: float

    @property
    def ends_s(self) -> float:
        """When it may not be used any more, seconds since the epoch."""
        return self.fetched_s + self.policy.max_age_s

    @property
    def refresh_s(self) -> float:
        """After how long it is fetched again."""
        return min(STS_REFRESH_S, self.policy.max_age_s / 2)

    @property
    def size_bytes(self) -> int:
        """What it costs, about."""
        return 500 + sum(len(one) + 60 for one in self.policy.mx)

    def encoded(self) -> bytes:
        """Gives the content of its file."""
        facts = {"domain": self.domain, "id": self.policy_id, "fetched": int(self.fetched_s), "used": int(self.used_s)}
        body = "\n".join((json.dumps(facts), *self.policy.lines())).encode()
        return b"%b%08x\n%b" % (_MAGIC, zlib.crc32(body), body)


def decoded(data: bytes) -> StsEntry:
    """Reads the content of a file.

    Raises:
        StsError: it is damaged.
    """
    head, _, body = data.partition(b"\n")
    if head != b"%b%08x" % (_MAGIC, zlib.crc32(body)):
        raise StsError("the checksum is wrong")
    try:
        line, _, policy = body.partition(b"\n")
        facts = json.loads(line)
        return StsEntry(facts["domain"], facts["id"], parse_policy(policy), float(facts["fetched"]), float(facts["used"]))
    except (ValueError, KeyError, TypeError) as error:
        raise StsError(f"the content is wrong: {error}") from error


class StsCache:
    """The policies that are known.

    Args:
        directory: where their files are; made if it is missing.
        clock: the time, since files outlast the process.
        log: damaged files, and a directory that cannot be used, are logged here.

    Locking: own lock LEAF; files are written without it, those of one domain by one thread at a time.
    """

    def __init__(self, directory: Path, clock: Clock, log: Log) -> None:
        self._directory = directory
        self._clock = clock
        self._log = log
        self._lock = Lock(LockRank.LEAF, "sts cache")
        self._entries: OrderedDict[str, StsEntry] = OrderedDict()
        self._bytes = 0
        for entry in sorted(self._load(), key=lambda one: one.used_s):
            for domain in self._put(entry):
                self._unlink(self._path(domain))

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, domain: str) -> StsEntry | None:
        """Gives the policy of a domain if it may still be used."""
        now = self._clock.now()
        with self._lock:
            entry = self._entries.get(domain)
            if entry is not None and entry.fetched_s > now:
                entry = self._entries[domain] = replace(entry, fetched_s=now - entry.refresh_s, used_s=min(entry.used_s, now))
        return None if entry is None or not now < entry.ends_s else entry

    def use(self, domain: str) -> StsEntry | None:
        """Gives the same for mail that meets it, and notes that."""
        entry = self.get(domain)
        if entry is None or (now := self._clock.now()) - entry.used_s < 1:
            return entry
        with self._lock:
            if self._entries.get(domain) is entry:
                self._entries[domain] = replace(entry, used_s=now)
                self._entries.move_to_end(domain)
        return entry

    def entries(self) -> tuple[StsEntry, ...]:
        """Gives all, least recently used first."""
        with self._lock:
            return tuple(self._entries.values())

    def put(self, entry: StsEntry) -> None:
        """Keeps a policy.  Disk: its file is whole.  Blocks: yes (disk)."""
        with self._lock:
            gone = self._put(entry)
        for domain in gone:
            self._unlink(self._path(domain))
        try:
            FILES.write_durable(self._path(entry.domain), entry.encoded())
        except OSError as error:
            self._log.error("smar.sts_cache", error.strerror or "cannot be written", path=str(self._path(entry.domain)))

    def _put(self, entry: StsEntry) -> list[str]:
        """Enters a policy and gives the domains of those that have to go.  Caller holds the lock."""
        self._forget(entry.domain)
        self._entries[entry.domain] = entry
        self._bytes += entry.size_bytes
        gone = []
        while len(self._entries) > STS_POLICIES_MAX or (self._bytes > STS_CACHE_BYTES and len(self._entries) > 1):
            oldest = next(iter(self._entries))
            self._forget(oldest)
            gone.append(oldest)
        return gone

    def _forget(self, domain: str) -> None:
        old = self._entries.pop(domain, None)
        if old is not None:
            self._bytes -= old.size_bytes

    def _path(self, domain: str) -> Path:
        return self._directory / f"{domain}{_SUFFIX}"

    def _unlink(self, path: Path) -> None:
        try:
            FILES.unlink(path)
        except FileNotFoundError:
            return
        except OSError as error:
            self._log.error("smar.sts_cache", error.strerror or "cannot be removed", path=str(path))

    def _load(self) -> Iterator[StsEntry]:
        """Reads all files; what is damaged goes, what cannot be read for a shortage that passes stays for the next start."""
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            names = FILES.list(self._directory)
        except OSError as error:
            self._log.error("smar.sts_cache", error.strerror or "cannot be read", path=str(self._directory))
            return
        for path in (self._directory / name for name in names):
            try:
                entry = self._read(path)
            except OSError as error:
                self._log.error("smar.sts_cache", error.strerror or "cannot be read", path=str(path))
                continue
            if entry is not None:
                yield entry
            else:
                self._unlink(path)

    def _read(self, path: Path) -> StsEntry | None:
        """Gives what a file has; None, and a line in the log, if it is damaged.

        Raises:
            OSError: a shortage that passes.
        """
        if path.suffix != _SUFFIX:  # a write that was broken off
            return None
        try:
            entry = decoded(_content(path))
            if self._path(entry.domain) != path:
                raise StsError("it is the file of another domain")
        except (OSError, StsError) as error:
            if is_shortage(error):
                raise
            self._log.warn("smar.sts_damaged", f"{error}; removed", path=str(path))
            return None
        return entry


def _content(path: Path) -> bytes:
    fd = FILES.open_plain(path)
    with open(fd, "rb") as file:
        if os.fstat(fd).st_size > _FILE_MAX_BYTES:
            raise StsError("it is too large")
        return file.read()
