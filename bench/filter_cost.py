"""What filters of sendmail 8 cost that agree with everything: sessions with one message a second, and CPU time of smtps.

    python -m bench.filter_cost [--sessions N] [--clients N] [--record]

smtps is real, and so is pmult; the queue manager answers and stores nothing, so that what filters cost is not hidden.  The
filters are those of the tests, one process each.
"""

import argparse
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bench.results import record
from meta1g.rcb.smtps_smar import Checks
from tests.fakes.filter_program import FilterProgram
from tests.fakes.milter import FakeMilter
from tests.fakes.smtps_process import SmtpsProcess

MESSAGE = b"From: a@example.org\r\nSubject: x\r\n\r\nhello\r\n"
TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
#: Name of a way, how many filters it has, and whether pmult asks them.
WAYS = (
    ("no filter", 0, False),
    ("1 filter", 1, False),
    ("1 by pmult", 1, True),
    ("3 filters", 3, False),
    ("3 by pmult", 3, True),
)


def cpu_ms(pid: int) -> float:
    """Gives the CPU time of a process so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) * TICK_MS


def measure(number: int, sessions: int, clients: int, *, pmult: bool) -> tuple[float, float]:
    """Gives sessions a second, and ms of CPU time of smtps for each.

    Args:
        number: of filters.
        sessions: in all, each with one message.
        clients: sessions at the same time.
        pmult: asks them.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="m1g-")))
        filters = [stack.enter_context(FakeMilter(directory, f"f{one}")) for one in range(number)]
        options = " ".join(f"milter {one.name} {{ {one.conf} }}" for one in filters)
        if pmult:
            program = stack.enter_context(FilterProgram("meta1g_filters.pmult.main", directory, options))
            options = f"policy_milter {{ {program.conf} }}"
        smtps = stack.enter_context(SmtpsProcess(directory / "q", options, checks=Checks.RCPT))
        if pmult:
            smtps.wait_log(r"func=smtps\.policy, ")

        def one_session(_number: int) -> None:
            with smtps.client() as client:
                client.message(MESSAGE)
                client.command("QUIT", "221")

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(one_session, range(clients)))  # what a process does only once is done
            before_ms, begun_s = cpu_ms(smtps.process.pid), time.monotonic()
            list(pool.map(one_session, range(sessions)))
            return sessions / (time.monotonic() - begun_s), (cpu_ms(smtps.process.pid) - before_ms) / sessions


def main(argv: list[str] | None = None) -> int:
    """Reads the command line, measures and prints."""
    parser = argparse.ArgumentParser(prog="bench.filter_cost", description="What filters of sendmail 8 cost.")
    parser.add_argument("--sessions", type=int, default=1000, help="for each way (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="sessions at the same time (default: %(default)s)")
    parser.add_argument("--record", action="store_true", help="adds a row to bench/RESULTS.md")
    options = parser.parse_args(argv)
    figures = {}
    for name, number, pmult in WAYS:
        rate, cost_ms = measure(number, options.sessions, options.clients, pmult=pmult)
        figures[name] = f"{rate:,.0f}/s, {cost_ms:.2f} ms"
        print(f"{name}: {figures[name]}", flush=True)
    if options.record:
        intro = (
            "Sessions with one message a second, and CPU time of smtps for each, with filters of Python that agree with "
            "everything, on Unix sockets; nothing is stored (bench/filter_cost.py)."
        )
        record("Filters of sendmail 8", intro, f"python -m bench.filter_cost --sessions {options.sessions}", figures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
