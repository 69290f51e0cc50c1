"""Fault of a policy milter x stage x flags: what it costs the session, others on the same connection, and those that follow.

What is wrong with one answer costs one session; what leaves the records unreadable ends the connection, which costs those that
are on it.  In both cases the next session is told to the filter again, and nobody does anything for that.
Ref: docs/pmilter.md ("What smtps does with it"); invariant I12.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import pytest

from meta1g.rcb import smtps_pmilter as pm
from meta1g.rcb.smtps_smar import Checks
from tests.fakes import faulty_policy as fake
from tests.fakes.faulty_policy import FaultyPolicy
from tests.fakes.smtps_process import SmtpsProcess
from tests.fault.test_filter_faults import converse

pytestmark = pytest.mark.xdist_group("policy-faults")

STAGES = {
    pm.PmConnect: "greeting",
    pm.PmHelo: "EHLO",
    pm.PmMail: "MAIL",
    pm.PmRcpt: "RCPT",
    pm.PmData: "DATA",
    pm.MessageChunk: "end",
    pm.PmDot: "end",
}
#: What sessions hear that lose the filter, by its flags: at the greeting, and later.
HEARD = {"": ("421", "451"), "abort": ("421", "421"), "accept_but_reconnect": ("250", "250")}


@dataclass(frozen=True)
class Row:
    """One fault."""

    stage: type
    fault: str
    flags: str

    @property
    def id(self) -> str:
        return f"{self.stage.__name__}-{self.fault}-{self.flags or 'none'}"

    def expected(self) -> tuple[str, str]:
        where = STAGES[self.stage]
        return ("end", "250") if self.flags == "accept_but_reconnect" else (where, HEARD[self.flags][where != "greeting"])

    def beside(self) -> tuple[str, str]:
        """What another session comes to whose sender is told after the fault."""
        if any(one.__name__ == self.fault for one in fake.OF_A_SESSION):
            return "end", "250"
        return ("end", "250") if self.flags == "accept_but_reconnect" else ("MAIL", HEARD[self.flags][1])


def rows() -> Iterator[Row]:
    flags = cycle(HEARD)
    for fault in fake.FAULTS:
        for stage in STAGES:
            yield Row(stage, fault, next(flags))


ROWS = list(rows())


@dataclass
class Outcome:
    """What three sessions came to: the one with the fault, one that was there already, one that came later."""

    faulty: tuple[str, str]
    beside: tuple[str, str]
    later: tuple[str, str]
    asked_later: bool


def play(row: Row, smtps: SmtpsProcess, policy: FaultyPolicy) -> Outcome:
    """Plays one row; the filter is there again at its end."""
    hellos = len(policy.of(pm.PmHello))
    with smtps.client() as other:
        policy.arm(row.stage, row.fault)
        with smtps.client(hello=False) as client:
            faulty = converse(client, row.id)
        beside = converse_on(other)
    if any(one.__name__ == row.fault for one in fake.OF_THE_CONNECTION):
        policy.wait_for(pm.PmHello, hellos + 1)
        smtps.wait_log(r"func=smtps\.policy, ", hellos + 1)
    before = len(policy.of(pm.PmDot))
    with smtps.client(hello=False) as client:
        later = converse(client, row.id)
    return Outcome(faulty, beside, later, len(policy.of(pm.PmDot)) == before + 1)


def converse_on(client) -> tuple[str, str]:
    """Sends a message in a session that was greeted before."""
    for line in ("MAIL FROM:<s@example.org>", "RCPT TO:<r@example.org>", "DATA"):
        client.send(line.encode() + b"\r\n")
        if (reply := client.reply())[:1] not in ("2", "3"):
            return line.partition(" ")[0], reply
    client.send(b"Subject: x\r\n\r\nbody\r\n.\r\n")
    return "end", client.reply()


@contextmanager
def system(flags: str, directory: Path) -> Iterator[tuple[SmtpsProcess, FaultyPolicy]]:
    """A filter with these flags, and a process that is connected to it."""
    directory.mkdir()
    with FaultyPolicy(directory / "sock") as policy:
        text = f"flags = {{ {flags} }};" if flags else ""
        conf = f'policy_milter f {{ timeout = 1s; socket {{ type = unix; path = "{policy.path}"; }} {text} }}'
        with SmtpsProcess(directory / "q", conf, checks=Checks.RCPT | Checks.CLIENT) as smtps:
            smtps.wait_log(r"func=smtps\.policy, ")
            yield smtps, policy


def play_all(flags: str, directory: Path) -> dict[Row, Outcome]:
    """Plays all rows of one process."""
    with system(flags, directory) as (smtps, policy):
        found = {row: play(row, smtps, policy) for row in ROWS if row.flags == flags}
        assert not [line for line in smtps.log if "Traceback" in line]
    return found


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[Row, Outcome]:
    """All rows, those of different flags at the same time."""
    directory = tmp_path_factory.mktemp("pf")
    with ThreadPoolExecutor(len(HEARD)) as pool:
        played = [pool.submit(play_all, flags, directory / str(number)) for number, flags in enumerate(HEARD)]
        return {row: outcome for one in played for row, outcome in one.result().items()}


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_a_policy_milter_that_breaks_costs_what_its_flags_say_and_is_asked_again(outcomes, row):
    outcome = outcomes[row]
    assert (outcome.faulty[0], outcome.faulty[1][:3]) == row.expected(), outcome.faulty
    assert (outcome.beside[0], outcome.beside[1][:3]) == row.beside(), outcome.beside
    assert outcome.later[1].startswith("250 2.0.0")
    assert outcome.asked_later
