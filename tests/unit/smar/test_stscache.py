"""The policies that are known: whole files, bounds, and what is damaged."""

import errno
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from meta1g.base.clock import SystemClock
from meta1g.base.log import Log
from meta1g.smar import stscache
from meta1g.smar.stscache import StsCache, StsEntry, decoded
from meta1g.tls.mtasts import StsError, StsMode, StsPolicy
from tests.unit.pt.conftest import MemorySink

POLICY = StsPolicy(StsMode.ENFORCE, ("mx.example.org",), 1000)
NOW = 1_000_000.0


class FixedClock(SystemClock):
    at_s = NOW

    def now(self):
        return self.at_s


def entry(domain="example.org", fetched_s=NOW, policy=POLICY):
    return StsEntry(domain, "1", policy, fetched_s, fetched_s)


@pytest.fixture
def made(tmp_path):
    sink = MemorySink()

    def make():
        return StsCache(tmp_path, clock, Log("smar", level=20, sink=sink))

    clock = FixedClock()
    make.clock, make.sink, make.directory = clock, sink, tmp_path
    return make


def test_policies_outlast_a_restart_until_they_end(made):
    made().put(entry())
    made().put(entry("old.example", NOW - 999))
    made.clock.at_s += 1
    again = made()
    assert again.get("example.org") == entry()
    assert again.get("old.example") is None
    assert (made.directory / "example.org.sts").stat().st_mode & 0o777 == 0o600


def test_a_clock_that_is_ahead_costs_no_policy(made):
    made().put(entry())
    made.clock.at_s += 10 * 365 * 86400
    ahead = made()
    assert ahead.get("example.org") is None
    made.clock.at_s = NOW + 1
    assert ahead.get("example.org") == made().get("example.org") == entry()


@pytest.mark.parametrize("restart", [False, True])
def test_a_policy_from_the_future_counts_from_now_on_and_is_fetched_again(made, restart):
    made.clock.at_s += 86400 * 365
    cache = made()
    cache.put(entry(fetched_s=made.clock.at_s))
    made.clock.at_s = NOW
    cache = made() if restart else cache
    found = cache.get("example.org")
    assert found.policy == POLICY
    assert NOW - found.fetched_s == found.refresh_s
    assert NOW < found.ends_s <= NOW + POLICY.max_age_s
    made.clock.at_s += POLICY.max_age_s
    assert cache.get("example.org") is None


def no_descriptor(_files, path):
    raise OSError(errno.EMFILE, "Too many open files", str(path))


DAMAGE = {
    "cut": lambda data: data[:-5],
    "flipped": lambda data: data.replace(b"mx.example.org", b"mx.evil.ex.org"),
    "empty": lambda data: b"",
    "large": lambda data: data + b" " * 200_000,
    "another": lambda data: entry("other.example").encoded(),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_file_costs_its_own_policy(made, how):
    cache = made()
    cache.put(entry())
    cache.put(entry("good.example"))
    path = made.directory / "example.org.sts"
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    (made.directory / "half.example.sts.new").write_bytes(b"half")
    again = made()
    assert [one.domain for one in again.entries()] == ["good.example"]
    assert [one.name for one in made.directory.iterdir()] == ["good.example.sts"]
    assert "func=smar.sts_damaged," in " ".join(made.sink.lines)


def test_a_shortage_while_a_file_is_read_does_not_cost_the_policy(made, monkeypatch):
    made().put(entry())
    with monkeypatch.context() as short:
        short.setattr(type(stscache.FILES), "open_plain", no_descriptor)
        assert made().get("example.org") is None
    assert "func=smar.sts_cache, path=" in " ".join(made.sink.lines)
    assert made().get("example.org") == entry()


def test_the_least_recently_used_go(made, monkeypatch):
    monkeypatch.setattr(stscache, "STS_POLICIES_MAX", 3)
    cache = made()
    for number in range(3):
        cache.put(entry(f"d{number}.example"))
    made.clock.at_s += 10
    assert cache.use("d0.example") is not None
    cache.put(entry("d3.example"))
    assert [one.domain for one in cache.entries()] == ["d2.example", "d0.example", "d3.example"]
    assert len(list(made.directory.iterdir())) == 3
    monkeypatch.setattr(stscache, "STS_CACHE_BYTES", 1500)
    cache.put(entry("d4.example", policy=StsPolicy(StsMode.ENFORCE, tuple(f"m{n}.example" for n in range(99)), 9)))
    assert len(cache) == 1


def test_a_directory_that_cannot_be_used_leaves_policies_in_memory(made):
    cache = made()
    made.directory.rmdir()
    made.directory.write_text("")
    cache.put(entry())
    assert cache.get("example.org") == entry()
    assert "func=smar.sts_cache," in " ".join(made.sink.lines)
    assert len(made()) == 0


@settings(deadline=None)
@given(some.binary(max_size=200) | some.binary(max_size=80).map(lambda more: entry().encoded()[:-9] + more))
def test_any_content_is_a_policy_or_an_error(data):
    with suppress(StsError):
        assert decoded(data).encoded() == data
