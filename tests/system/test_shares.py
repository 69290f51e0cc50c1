"""One client, one destination, one list does its worst; the others do not notice (invariants I10, I11)."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.shares import BAD, GOOD, BadClient, Hung, Load, Session, Sink, fill, rate
from contrib.lib.gateway import Gateway, free_port, wait_until
from tests.system.conftest import FAST_RETRY, running

pytestmark = pytest.mark.system


@contextlib.contextmanager
def gateway_with(directory: Path, *lines: str, aliases: str = "", **options: str) -> Iterator[tuple[Gateway, Sink, Hung]]:
    """A gateway, a server that takes all mail, one that is silent (hung.example and all below it)."""
    sink, hung = Sink(directory / "sink"), Hung()
    silent, all_other = f"{hung.port}^[{BAD}]", f"{sink.port}^[127.0.0.1]"
    table = "\n".join([*lines, f"hung.example {silent}", f".hung.example {silent}", f". {all_other}"])
    made = Gateway(directory / "gateway", table, options, relay_from=f"{GOOD}, {BAD}")
    if aliases:
        made.conf.parent.mkdir(parents=True)
        made.write_map("aliases", aliases)
    try:
        with running(made):
            yield made, sink, hung
            hung.release()
    finally:
        with contextlib.suppress(OSError):
            hung.release()
        sink.stop()


def held(gateway: Gateway) -> int:
    """Percent of IQDB in use."""
    return int(gateway.control("usage")["iqdb"])


def test_a_client_that_does_its_worst_holds_an_eighth_and_others_are_not_refused(tmp_path):
    with gateway_with(tmp_path, qmgr="IQDB_max_entries = 4000;", smtps="max_threads = 160;") as (gateway, sink, _):
        bad = BadClient(gateway.port)
        try:
            assert bad.refused.startswith(b"421 4."), bad.refused
            assert 1 <= len(bad.sessions) <= 20
            assert held(gateway) <= 13
            answer = bad.sessions[0].say("DATA")[0]
            assert answer.startswith((b"354", b"452")), answer
            _, refused = rate(gateway, sink, 100, 15)
            assert refused == []
        finally:
            bad.close()
        wait_until(lambda: held(gateway) == 0, 20, "everything of the client is forgotten")
        gateway.wait_empty()


def test_a_client_without_its_worst_has_all_it_needs(tmp_path):
    """Ten sessions at a time with a hundred recipients each are no misuse."""
    with gateway_with(tmp_path) as (gateway, *_):
        sessions = [Session(gateway.port) for _ in range(10)]
        for session in sessions:
            session.say("EHLO good.example", "MAIL FROM:<a@back.example>")
            session.say(*(f"RCPT TO:<r{number}@x.example>" for number in range(100)))
        for session in sessions:
            assert session.say("DATA")[0].startswith(b"354")
            assert session.say("Subject: x\r\n\r\nhello\r\n.")[0].startswith(b"250")
            session.close()
        gateway.wait_empty()


@pytest.mark.parametrize("domains", [1, 100])
def test_a_destination_that_does_not_answer_does_not_hold_up_others(tmp_path, domains):
    """2,000 recipients of it, in one domain or in many, beside an active queue of 200."""
    with gateway_with(tmp_path, qmgr=f"AQ_max_entries = 200; {FAST_RETRY}") as (gateway, sink, hung):
        names = ["hung.example"] if domains == 1 else [f"d{number}.hung.example" for number in range(domains)]
        fill(gateway, names, rcpts=2000, each=100)
        wait_until(lambda: hung.connections > 0, 30, "it is tried")
        _, refused = rate(gateway, sink, 100, 5)
        assert refused == []
        status = gateway.control("status")
        assert int(status["aq"]) <= 200
        assert int(status["da_sessions"]) <= 100
        _, refused = rate(gateway, sink, 100, 5)
        assert refused == []


def test_deferred_mail_of_others_is_tried_while_a_destination_does_not_answer(tmp_path):
    port = free_port()
    with gateway_with(tmp_path, f"late.example {port}^[127.0.0.1]", qmgr=f"AQ_max_entries = 100; {FAST_RETRY}") as (
        gateway,
        *_,
    ):
        fill(gateway, ["late.example"], rcpts=50, each=1)
        wait_until(lambda: gateway.leftovers()["defedb"] == 50, 30, "all deferred")
        fill(gateway, ["hung.example"], rcpts=1000, each=100)
        late = Sink(tmp_path / "late", port)
        try:
            wait_until(lambda: late.count() >= 50, 60, f"{late.count()} came")
        finally:
            late.stop()


def test_a_large_list_is_delivered_within_the_limit_of_aq_and_other_mail_beside_it(tmp_path):
    members = [f"m{number}@d{number % 20}.example" for number in range(3000)]
    smar = 'aliases { file = "aliases.db"; flags = { localpart, local_domains }; } local_domains = { "list.example" };'
    with gateway_with(tmp_path, aliases=lists(members), qmgr="AQ_max_entries = 300;", smar=smar) as (gateway, sink, _):
        fill(gateway, ["list.example"], rcpts=1, each=1)
        most = 0
        load = Load(gateway.port, 50)
        load.run(5)
        assert load.refused == []

        def empty() -> bool:
            nonlocal most
            most = max(most, int(gateway.control("status")["aq"]))
            return not any(gateway.leftovers().values())

        wait_until(empty, 120, "empty queues")
        came = [one for envelope in sink.envelopes() for one in envelope["rcpts"]]
        assert most <= 300
    assert sorted(one for one in came if not one.endswith("@other.example")) == sorted(members)
    assert len([one for one in came if one.endswith("@other.example")]) == 50


def lists(members: list[str]) -> str:
    """Gives an alias map: r0 is the list of lists of 100 members each."""
    parts = [members[first : first + 100] for first in range(0, len(members), 100)]
    lines = [f"part{number} {','.join(part)}" for number, part in enumerate(parts)]
    return "\n".join([f"r0 {','.join(f'part{number}' for number in range(len(parts)))}", *lines])
