"""Fault of a filter x step x what its section says: each costs its session just that, and no other session anything.

Each row has a filter of its own, which breaks on its first connection and works on all later ones; all rows run at the same
time.
Ref: docs/milters.md, docs/pmilter.md ("Without the filter"); invariant I12.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import pytest

from meta1g.base.reply import Reply
from meta1g.rcb.smtps_qmgr import CloseTransaction
from meta1g.rcb.smtps_smar import Checks, ClientVerdict
from tests.fakes import milter as fake
from tests.fakes.milter import FaultyMilters
from tests.fakes.smtps_process import Client, SmtpsProcess

pytestmark = pytest.mark.xdist_group("filter-faults")

#: Steps at which a filter is asked, and where the client hears of it.
STEPS = {
    "OPTNEG": "greeting",
    "CONNECT": "greeting",
    "HELO": "EHLO",
    "MAIL": "MAIL",
    "RCPT": "RCPT",
    "DATA": "DATA",
    "HEADER": "end",
    "EOH": "end",
    "BODY": "end",
    "BODYEOB": "end",
}
AT_ONCE = 40


@dataclass(frozen=True)
class Row:
    """One filter.

    Args:
        number: of the row; its client comes from an address of its own.
        step: at which it breaks.
        fault: how.
        action: what its section says.
    """

    number: int
    step: str
    fault: str
    action: str

    @property
    def id(self) -> str:
        return f"{self.step}-{self.fault}-{self.action}"

    @property
    def name(self) -> str:
        return f"r{self.number}"

    @property
    def client(self) -> str:
        return f"127.0.{1 + self.number // 200}.{1 + self.number % 200}"

    def expected(self) -> tuple[str, str]:
        """Gives where the client hears of the fault, and the code."""
        if self.action in ("accept", "quarantine"):
            return "end", "250"
        where = STEPS[self.step]
        greeting = {"tempfail": "421", "reject": "554"}
        return where, greeting[self.action] if where == "greeting" else {"tempfail": "451", "reject": "550"}[self.action]


def rows() -> Iterator[Row]:
    actions = cycle(("tempfail", "accept", "reject", "quarantine", "tempfail"))
    grid = [(step, one.__name__) for step in STEPS for one in fake.ANYWHERE]
    grid += [(step, "disorder") for step in STEPS if step != "OPTNEG"]
    grid += [("OPTNEG", one.__name__) for one in fake.AT_OFFER]
    grid += [("BODYEOB", one.__name__) for one in fake.AT_END for _ in range(3)]
    for number, (step, fault) in enumerate(grid):
        yield Row(number, step, fault, next(actions))


ROWS = list(rows())


def converse(client: Client, subject: str) -> tuple[str, str]:
    """Sends a message; gives where it is refused, or its end, and the reply."""
    where, reply = "greeting", client.reply()
    lines = ("EHLO client.example", "MAIL FROM:<s@example.org>", "RCPT TO:<r@example.org>", "DATA")
    for line in lines:
        if reply[:1] > "3" or not reply:
            return where, reply
        where = line.partition(" ")[0]
        client.send(line.encode() + b"\r\n")
        reply = client.reply()
    if reply[:3] != "354":
        return where, reply
    client.send(b"From: a@example.org\r\nSubject: " + subject.encode() + b"\r\n\r\nbody\r\n.\r\n")
    return "end", client.reply()


@dataclass
class Outcome:
    """What a row came to: the answers of two sessions one after the other, and the content that they left."""

    first: tuple[str, str]
    second: tuple[str, str]
    contents: dict[str, bytes]
    hold: str | None = None


@contextmanager
def smtps_with(directory: Path, sections: str) -> Iterator[SmtpsProcess]:
    with SmtpsProcess(directory / "q", f"milters = {{ }}; {sections}", checks=Checks.RCPT | Checks.CLIENT) as smtps:
        yield smtps


def section(row: Row, milters: FaultyMilters, timeout_s: int) -> str:
    times = f"reply_timeout = {timeout_s}s; end_timeout = {timeout_s}s; connect_timeout = {timeout_s}s;"
    path = milters.paths[row.name]
    return f'milter {row.name} {{ socket {{ path = "{path}"; }} {times} default_action = {row.action}; }}'


def each_client_its_filter(smtps: SmtpsProcess, table: list[Row]) -> None:
    names = {row.client: row.name for row in table}
    smtps.smar.client = lambda msg: ClientVerdict(
        reply=Reply(220), session_conf=f"milters = {{ {names[msg.client_addr]} }};" if msg.client_addr in names else ""
    )


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[Row, Outcome]:
    """All rows, played at the same time."""
    directory = tmp_path_factory.mktemp("ff")
    with ExitStack() as stack:
        milters = stack.enter_context(FaultyMilters(directory, {row.name: {row.step: row.fault} for row in ROWS}))
        smtps = stack.enter_context(smtps_with(directory, "\n".join(section(row, milters, 1) for row in ROWS)))
        each_client_its_filter(smtps, ROWS)

        def play(row: Row) -> tuple[tuple[str, str], tuple[str, str]]:
            with Client(smtps.port, source=row.client) as client:
                first = converse(client, f"{row.name} first")
            with Client(smtps.port, source=row.client) as client:
                return first, converse(client, f"{row.name} second")

        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = dict(zip(ROWS, pool.map(play, ROWS), strict=True))
        holds = {str(one.ta_id): one.hold for one in smtps.qmgr.of(CloseTransaction)}
        files = [file.read_bytes() for file in smtps.content_files()]
        log = "\n".join(smtps.log)
    assert "Traceback" not in log
    outcomes = {}
    for row, (first, second) in found.items():
        contents = {
            which: text for text in files for which in ("first", "second") if f": {row.name} {which}\r".encode() in text
        }
        outcomes[row] = Outcome(first, second, contents, holds.get(first[1].rpartition(" ")[2]))
        assert f"key={row.name}," in log, "the fault is in the log"
    return outcomes


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_a_filter_that_breaks_costs_what_its_section_says_and_comes_back_by_itself(outcomes, row):
    outcome = outcomes[row]
    where, reply = outcome.first
    assert (where, reply[:3]) == row.expected(), reply
    passed = row.action in ("accept", "quarantine")
    assert (outcome.contents.keys() == {"first", "second"}) == passed
    if passed:
        assert outcome.contents["first"].endswith(f"Subject: {row.name} first\r\n\r\nbody\r\n".encode())
        assert outcome.hold == (f"milter {row.name} failed" if row.action == "quarantine" else None)
    assert outcome.second[1].startswith("250 2.0.0")
    assert outcome.contents["second"].endswith(f"X-Back: {row.name}\r\n\r\nbody\r\n".encode())


def test_sessions_pass_while_the_filters_of_others_hang_at_all_steps(tmp_path):
    stalled = [Row(number, step, "hang", "tempfail") for number, step in enumerate(STEPS)]
    healthy = Row(len(stalled), "", "", "tempfail")
    faults = {row.name: {row.step: row.fault} if row.step else {} for row in (*stalled, healthy)}
    with FaultyMilters(tmp_path, faults) as milters, ExitStack() as stack:
        sections = "\n".join(section(row, milters, 600) for row in (*stalled, healthy))
        smtps = stack.enter_context(smtps_with(tmp_path, sections))
        each_client_its_filter(smtps, [*stalled, healthy])
        pool = stack.enter_context(ThreadPoolExecutor(len(stalled)))
        clients = [stack.enter_context(Client(smtps.port, source=row.client)) for row in stalled]
        waiting = [pool.submit(converse, client, row.name) for row, client in zip(stalled, clients, strict=True)]
        for _ in stalled:
            assert milters.broken.acquire(timeout=fake.WAIT_S)
        for number in range(20):
            with Client(smtps.port, source=healthy.client) as client:
                assert converse(client, f"well {number}")[1].startswith("250 2.0.0")
        assert not any(one.done() for one in waiting)
        milters.break_off()
        assert [(where, reply[:3]) for where, reply in (one.result(60) for one in waiting)] == [
            row.expected() for row in stalled
        ]
