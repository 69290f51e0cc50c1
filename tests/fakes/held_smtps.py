"""smtps whose flushes of content do not end until the test lets them.

    python -m tests.fakes.held_smtps GATE -f FILE

GATE is a FIFO: a flush that begins adds a byte to GATE.begun and then waits until somebody has GATE open to write.
"""

import os
import sys

from meta1g.base import cli
from meta1g.db import cdb
from meta1g.db.files import Files
from meta1g.smtps.main import main


class HeldFiles(Files):
    """The file system with a gate in front of each flush.  Immutable."""

    __slots__ = ("_gate",)

    def __init__(self, gate: str) -> None:
        self._gate = gate

    def sync(self, fd: int) -> None:
        with open(f"{self._gate}.begun", "ab") as begun:
            begun.write(b"x")
        os.close(os.open(self._gate, os.O_RDONLY))
        super().sync(fd)


if __name__ == "__main__":
    gate = sys.argv.pop(1)
    cdb.FILES = HeldFiles(gate)  # type: ignore[misc] # the seam for doubles
    sys.exit(cli.run_program("smtps", main))
