"""Adds measured rows to bench/RESULTS.md; what others wrote there stays as it is.

A section is `## title`, a paragraph that tells what is measured, and one table; each run adds one row with date, machine
and command.
"""

import fcntl
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = """\
# Results

Each section: what was measured, the command, the date, the machine.  Compare ratios of one run; absolute numbers of a shared
virtual machine drift.
"""
NOTE = "The cores were shared with other work; load is that of the minute before."


def machine() -> str:
    """Describes this machine: cores, memory, interpreter, and how busy it is with other work."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {python}, load {os.getloadavg()[0]:.1f}"


def record(title: str, intro: str, command: str, figures: Mapping[str, str], path: Path = RESULTS) -> None:
    """Adds a row to the table of a section; a section that is missing is made at the end of the file.

    Args:
        title: of the section.
        intro: what is measured, for a new section.
        command: how to measure it again.
        figures: column to value; the columns of a section stay the same.
        path: the file.
    """
    cells = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "command": f"`{command}`", **figures}
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = with_row(file.read() or HEAD, title, intro, cells)
        file.truncate(0)
        file.write(text)


def with_row(text: str, title: str, intro: str, cells: Mapping[str, str]) -> str:
    """Gives the text of the file with one more row.

    Raises:
        ValueError: the section has other columns.
    """
    lines = text.rstrip("\n").split("\n")
    header = row_of(list(cells))
    heading = f"## {title}"
    if heading not in lines:
        lines += ["", heading, "", intro, "", NOTE, "", header, row_of(["---"] * len(cells))]
    begin = lines.index(heading)
    end = next((n for n in range(begin + 1, len(lines)) if lines[n].startswith("## ")), len(lines))
    if header not in lines[begin:end]:
        raise ValueError(f"section {title!r} has other columns than {header}")
    last = max(n for n in range(begin, end) if lines[n].startswith("|"))
    lines.insert(last + 1, row_of(list(cells.values())))
    return "\n".join(lines) + "\n"


def row_of(cells: list[str]) -> str:
    """Gives a line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def median(values: list[float]) -> float:
    """Gives the middle of sorted or unsorted values."""
    return percentile(values, 50)


def percentile(values: list[float], percent: int) -> float:
    """Gives the value that `percent` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
