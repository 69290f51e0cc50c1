"""A running event-thread system, a real name server, and a resolver that asks it."""

import threading
from collections.abc import Callable, Iterator

import pytest

from meta1g.base.clock import SystemClock
from meta1g.smar.dnsaddress import DnsSettings, ServerAddress
from meta1g.smar.dnswire import DnsAnswer, RRType
from meta1g.smar.resolver import Resolver
from tests.fakes.nameserver import NameServer
from tests.unit.pt.conftest import DEADLINE_S, Running, checked_locks, make_system, system

__all__ = ["checked_locks", "make_system", "system"]


class JumpClock(SystemClock):
    """The clock of the machine, which a test can put forward.  Owner: the test."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


class Heard:
    """Waits for one callback.  Owner: the test."""

    def __init__(self) -> None:
        self.values: list = []
        self._came = threading.Event()

    def __call__(self, *value) -> None:
        self.values.append(value[0] if len(value) == 1 else value)
        self._came.set()

    @property
    def came(self) -> bool:
        return bool(self.values)

    def get(self):
        assert self._came.wait(DEADLINE_S), "no answer"
        assert len(self.values) == 1
        return self.values[0]


class Asker:
    """A resolver with a blocking ask().  Owner: the test."""

    def __init__(self, system: Running, resolver: Resolver, clock: JumpClock) -> None:
        self.system = system
        self.resolver = resolver
        self.clock = clock

    def ask(self, name: str, rrtype: RRType = RRType.A) -> DnsAnswer:
        return self.start(name, rrtype).get()

    def start(self, name: str, rrtype: RRType = RRType.A) -> Heard:
        reply = Heard()
        self.resolver.ask(name, rrtype, reply)
        return reply

    def values(self, name: str, rrtype: RRType = RRType.A) -> list[str]:
        return sorted(record.value for record in self.ask(name, rrtype).records)

    @property
    def log(self) -> str:
        return "\n".join(self.system.sink.lines)


@pytest.fixture
def name_server() -> Iterator[NameServer]:
    with NameServer() as server:
        yield server


@pytest.fixture
def make_asker(make_system) -> Iterator[Callable[..., Asker]]:
    made: list[Resolver] = []

    def make(*servers: NameServer | ServerAddress, timeout_s: float = 20.0, tries: int = 3, **options) -> Asker:
        clock = JumpClock()
        running = make_system(clock=clock)
        where = [one if isinstance(one, ServerAddress) else ServerAddress(one.address, one.port) for one in servers]
        resolver = Resolver(running.evthr, DnsSettings(tuple(where), timeout_s, tries, **options), running.log)
        made.append(resolver)
        return Asker(running, resolver, clock)

    yield make
    for resolver in made:
        resolver.close()


@pytest.fixture
def asker(make_asker, name_server) -> Asker:
    return make_asker(name_server)
