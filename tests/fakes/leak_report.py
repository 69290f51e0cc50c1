"""A component that tells, whenever SIGUSR2 comes, how many state threads, descriptors and off-loaded calls it has.

    python -m tests.fakes.leak_report MODULE ARGUMENTS

The report is one line on standard error, `leak-report threads=N descriptors=N offloaded=N`; the thread that writes it counts.
"""

import importlib
import signal
import sys

from meta1g.base import cli
from meta1g.st import st_init
from meta1g.st.offload import offloaded
from meta1g.st.sched import runtime
from meta1g.st.signals import on_signal
from tests.fakes.st_testing import open_descriptors


def report() -> None:
    """Writes the line."""
    numbers = f"threads={runtime.active} descriptors={len(open_descriptors())} offloaded={offloaded()}"
    sys.stderr.write(f"leak-report {numbers}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    module = sys.argv.pop(1)
    st_init()
    on_signal(signal.SIGUSR2, report)
    sys.exit(cli.run_program(module.split(".")[1], importlib.import_module(module).main))
