"""Clients that were silent before the greeting: remembered, shared, aged; and the wait of those who are not."""

import os
import resource
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from meta1g.base.log import Log
from meta1g.base.reply import Reply
from meta1g.rcb.smtps_smar import Checks, ClientVerdict, VerdictFlags
from meta1g.smtps.limits import PASSED_FOR_S
from meta1g.smtps.passed import Passed
from tests.fakes.smtps_process import Client, SmtpsProcess


class Turned:
    """A clock that is set."""

    def __init__(self):
        self.time_s = 1_800_000_000.0

    def now(self):
        return self.time_s


@pytest.fixture
def clock():
    return Turned()


def table(path, clock):
    return Passed(path, clock, Log("test", level=0))


def test_a_client_is_known_to_all_processes_and_after_a_restart(tmp_path, clock):
    one, other = (table(tmp_path / "passed", clock) for _ in range(2))
    assert not one.knows("192.0.2.1")
    one.add("192.0.2.1")
    assert other.knows("192.0.2.1")
    assert not other.knows("192.0.2.2")
    assert table(tmp_path / "passed", clock).knows("192.0.2.1")
    other.forget("192.0.2.1")
    assert not one.knows("192.0.2.1")
    assert (tmp_path / "passed").stat().st_mode & 0o777 == 0o600


def test_it_is_known_for_a_while_and_by_its_network_with_ipv6(tmp_path, clock):
    passed = table(tmp_path / "passed", clock)
    for addr in ("192.0.2.1", "2001:db8:1:2::3"):
        passed.add(addr)
    assert passed.knows("2001:db8:1:2:ffff::")
    assert not passed.knows("2001:db8:1:3::3")
    clock.time_s += PASSED_FOR_S - 1
    assert passed.knows("192.0.2.1")
    clock.time_s += 1
    assert not passed.knows("192.0.2.1")
    clock.time_s -= PASSED_FOR_S + 5
    assert not passed.knows("192.0.2.1"), "a clock that goes back makes nobody known for ever"


def test_the_table_does_not_grow_and_drives_the_oldest_out(tmp_path, clock, monkeypatch):
    monkeypatch.setattr("meta1g.smtps.passed._SETS", 1)
    passed = table(tmp_path / "passed", clock)
    for number in range(6):
        passed.add(f"192.0.2.{number}")
        clock.time_s += 1
    size = (tmp_path / "passed").stat().st_size
    assert [passed.knows(f"192.0.2.{number}") for number in range(6)] == [False, False, True, True, True, True]
    passed.add("192.0.2.2")
    passed.add("192.0.2.9")
    assert passed.knows("192.0.2.2"), "it was refreshed, so another one was the oldest"
    assert (tmp_path / "passed").stat().st_size == size


@pytest.mark.parametrize("damage", [b"", b"something else", b"m1gpass1" + bytes(100)])
def test_what_is_no_such_table_is_made_anew(tmp_path, clock, damage):
    (tmp_path / "passed").write_bytes(damage)
    passed = table(tmp_path / "passed", clock)
    passed.add("192.0.2.1")
    assert table(tmp_path / "passed", clock).knows("192.0.2.1")
    assert [path.name for path in tmp_path.iterdir()] == ["passed"]


def test_a_file_that_is_cut_while_it_is_used_ends_no_process(tmp_path, clock):
    passed = table(tmp_path / "passed", clock)
    passed.add("192.0.2.1")
    os.truncate(tmp_path / "passed", 0)  # a map of it would be answered by SIGBUS, as on a full disk
    assert not passed.knows("192.0.2.1")
    passed.add("192.0.2.1")
    passed.forget("192.0.2.2")
    assert passed.knows("192.0.2.1")


def test_its_room_is_taken_at_once_and_without_room_nothing_is_left_behind(tmp_path, clock):
    table(tmp_path / "passed", clock).open()
    status = (tmp_path / "passed").stat()
    assert status.st_blocks * 512 >= status.st_size
    (tmp_path / "full").mkdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))
    try:
        passed = opened(tmp_path / "full" / "passed", clock)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    passed.add("192.0.2.1")
    assert passed.knows("192.0.2.1")
    assert list((tmp_path / "full").iterdir()) == []


OPTIONS = "greet_pause = 1s;"


@pytest.fixture(scope="module")
def smtps(tmp_path_factory):
    directory = tmp_path_factory.mktemp("g")
    (directory / "smtps").mkdir()
    with SmtpsProcess(directory, OPTIONS, checks=Checks.RCPT | Checks.CLIENT) as process:
        process.smar.client = lambda msg: ClientVerdict(reply=Reply(220))
        yield process


def forget(smtps):
    Passed(smtps.queue / "smtps" / "passed", Turned(), Log("test", level=0)).forget("127.0.0.1")


def waits(smtps):
    return sum("func=smtps.paused" in line for line in smtps.log)


def test_a_client_waits_once_and_is_known_then_to_others_too(smtps, tmp_path):
    with smtps.client() as client:
        client.command("QUIT", "221")
    smtps.wait_log("func=smtps.paused, .*client=127.0.0.1, time_ms=1000")
    before = waits(smtps)
    with smtps.client() as client:
        client.command("QUIT", "221")
    assert waits(smtps) == before
    assert table(smtps.queue / "smtps" / "passed", Turned()) is not None


def test_who_talks_while_it_waits_is_refused_and_has_to_wait_again(smtps):
    for _ in range(2):
        forget(smtps)
        with Client(smtps.port) as client:
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.send(b"EHLO x\r\n")
            client.expect("554 5.5.1 You talked before the greeting")


@pytest.mark.parametrize(
    "verdict", [{"flags": VerdictFlags.RELAY}, {"flags": VerdictFlags.QUICK}, {"session_conf": "greet_pause = 0;"}]
)
def test_who_may_relay_or_is_listed_does_not_wait(smtps, verdict):
    forget(smtps)
    welcome = smtps.smar.client
    smtps.smar.client = lambda msg: ClientVerdict(reply=Reply(220), **verdict)
    before = waits(smtps)
    try:
        with smtps.client() as client:
            client.command("QUIT", "221")
    finally:
        smtps.smar.client = welcome
    assert waits(smtps) == before


def test_who_may_relay_does_not_wait_where_nobody_else_is_asked_about(tmp_path):
    with SmtpsProcess(tmp_path / "q", OPTIONS) as smtps:
        smtps.smar.client = lambda msg: ClientVerdict(reply=Reply(220), flags=VerdictFlags.RELAY)
        with smtps.client() as client:
            client.command("QUIT", "221")
        assert waits(smtps) == 0


def test_clients_wait_side_by_side(smtps):
    forget(smtps)
    clients = [Client(smtps.port) for _ in range(20)]
    for client in clients:
        client.expect("220 ")
        client.close()


def test_without_its_directory_a_process_remembers_by_itself(tmp_path):
    with SmtpsProcess(tmp_path / "q", OPTIONS) as smtps:
        for _ in range(2):
            with smtps.client() as client:
                client.command("QUIT", "221")
        smtps.wait_log("func=smtps.paused")
        assert "func=smtps.passed" in smtps.wait_log("smtps.passed, .*remembered by this process alone").string
        assert waits(smtps) == 1


def test_processes_that_find_no_file_at_the_same_time_share_one(tmp_path, clock):
    path = tmp_path / "passed"
    with ThreadPoolExecutor(8) as pool:
        tables = list(pool.map(lambda _number: opened(path, clock), range(8)))
    tables[0].add("192.0.2.1")
    assert all(one.knows("192.0.2.1") for one in tables)
    assert [one.name for one in tmp_path.iterdir()] == ["passed"]


def opened(path, clock):
    made = table(path, clock)
    made.open()
    return made
