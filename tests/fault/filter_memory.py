"""What faulty filters cost smtps and the sessions of others: memory over many rounds of all faults, time of a sound session.

    python -m tests.fault.filter_memory [--rounds N] [--limit-kib N]

Every row of test_filter_faults.py is played N times at an smtps, many at a time; a client of a sound filter sends its mail
meanwhile.  Then those of test_policy_faults.py with no flags.  Printed are memory and descriptors of smtps after each round,
and the median and 95 % of the time of a sound message alone and beside the faults.  The exit code is 1 if memory still grows
by more than the limit after the third round.
"""

import argparse
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bench.results import percentile
from tests.fakes.milter import FaultyMilters
from tests.fakes.smtps_process import Client, SmtpsProcess
from tests.fault import test_policy_faults
from tests.fault.test_filter_faults import AT_ONCE, ROWS, Row, converse, each_client_its_filter, section, smtps_with

WARM_ROUNDS = 3


def memory_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def measured(smtps: SmtpsProcess, what: str) -> int:
    """Gives the memory of smtps, KiB, and prints it."""
    kib, descriptors = memory_kib(smtps.process.pid), len(list(Path(f"/proc/{smtps.process.pid}/fd").iterdir()))
    print(f"{what}, {kib} KiB, {descriptors} descriptors", flush=True)
    return kib


class Sound:
    """A client of a sound filter, which sends one message after the other."""

    def __init__(self, port: int, row: Row) -> None:
        self._port = port
        self._row = row
        self.times_s: list[float] = []

    def once(self) -> None:
        begun_s = time.monotonic()
        with Client(self._port, source=self._row.client) as client:
            where, reply = converse(client, "sound")
        if (where, reply[:3]) != ("end", "250"):
            raise RuntimeError(f"a sound session was answered {reply!r}")
        self.times_s.append(time.monotonic() - begun_s)

    def report(self, what: str) -> None:
        times = ", ".join(f"p{percent} {percentile(self.times_s, percent) * 1000:.1f} ms" for percent in (50, 95))
        print(f"{len(self.times_s)} sound messages {what}: {times}")
        self.times_s.clear()


def forget(smtps: SmtpsProcess) -> None:
    """Removes what the messages have left, which is not to be measured."""
    for file in smtps.content_files():
        file.unlink()
    smtps.qmgr.messages.clear()
    smtps.smar.messages.clear()
    smtps.log.clear()


def play_round(smtps: SmtpsProcess, sound: Sound) -> None:
    def play(row: Row) -> None:
        with Client(smtps.port, source=row.client) as client:
            where, reply = converse(client, row.name)
        if (where, reply[:3]) != row.expected():
            raise RuntimeError(f"{row.id}: {reply!r} at {where}")

    over = threading.Event()

    def beside() -> None:
        while not over.is_set():
            sound.once()

    with ThreadPoolExecutor(AT_ONCE + 1) as pool:
        meanwhile = pool.submit(beside)
        list(pool.map(play, ROWS))
        over.set()
        meanwhile.result()


def run(directory: Path, rounds: int) -> list[int]:
    """Plays; gives the memory after each round, KiB."""
    row = Row(len(ROWS), "", "", "tempfail")
    faults = {**{one.name: {one.step: one.fault} for one in ROWS}, row.name: {}}
    with ExitStack() as stack:
        milters = stack.enter_context(FaultyMilters(directory, faults, always=True))
        smtps = stack.enter_context(smtps_with(directory, "\n".join(section(one, milters, 1) for one in (*ROWS, row))))
        each_client_its_filter(smtps, [*ROWS, row])
        sound = Sound(smtps.port, row)
        for _ in range(200):
            sound.once()
        sound.report("alone")
        found = []
        for number in range(rounds):
            play_round(smtps, sound)
            forget(smtps)
            found.append(measured(smtps, f"round {number + 1}: {len(ROWS)} faults of milters"))
        sound.report("beside them")
    return found


def run_policy(directory: Path, rounds: int) -> list[int]:
    """Plays the faults of policy milters; gives the memory after each round, KiB."""
    table = [row for row in test_policy_faults.ROWS if not row.flags]
    found = []
    with test_policy_faults.system("", directory) as (smtps, policy):
        for number in range(rounds):
            for row in table:
                test_policy_faults.play(row, smtps, policy)
            for file in smtps.content_files():
                file.unlink()
            found.append(measured(smtps, f"round {number + 1}: {len(table)} faults of a policy milter"))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fault.filter_memory", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--limit-kib", type=int, default=1024, help="growth after the third round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="m1g-") as name:
        rounds = max(options.rounds, WARM_ROUNDS + 1)
        all_found = [run(Path(name), rounds), run_policy(Path(name) / "policy", rounds)]
    grown = [found[-1] - found[WARM_ROUNDS - 1] for found in all_found]
    print(f"{grown} KiB more than after round {WARM_ROUNDS}")
    return max(grown) > options.limit_kib


if __name__ == "__main__":
    sys.exit(main())
