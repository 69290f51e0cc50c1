"""Plays a page of the manual: writes its files, runs its commands in order, compares what they print.

Where it is played is a Place: a directory of this machine (scratch.py), or a fresh Debian (debian.py).
"""

import re
import select
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.manual.blocks import Block, Command

PATIENCE_S = 40
#: A program in the background is ready when it has written something to the file of its output.
BACKGROUND = re.compile(r">\s*(?P<file>\S+) 2>&1 &$")
#: What mapchk is told of a map, by its kind or its type.
MAP_OPTIONS = {
    "access": ["-a"],
    **{kind: ["-t", kind] for kind in ("text", "cidr", "regex")},
    **{use: ["-u", use] for use in ("mailertable", "aliases")},
    "map": [],
}
MAPS = ("mailertable", "access", "aliases", "map")


class ManualError(AssertionError):
    """Something in the manual is not so; the text names file, line, command and output."""


class Place(Protocol):
    """Where commands are run."""

    def run(self, command: str, timeout_s: float) -> tuple[int, str]:
        """Runs a command in the shell; gives its exit code and all that it printed."""
        ...

    def tool(self, program: str, *arguments: str) -> tuple[int, str]:
        """Runs smconf or mapchk; gives the same as run()."""
        ...

    def write(self, path: str, text: str) -> None:
        """Writes a file, and makes its directories."""
        ...

    def has_output(self, path: str) -> bool:
        """Tells whether a file is there and not empty."""
        ...


def script(command: str, state: str) -> str:
    """Gives the text for a shell: variables and the directory of one command are there for the next one.

    Args:
        command: as the manual has it.
        state: file that keeps them; it has to exist.
    """
    return f'. {state}\n{command}\ncode=$?\n{{ export -p; echo cd $(printf %q "$PWD"); }} > {state}\nexit $code'


def captured(
    command: Sequence[str | Path], environment: Mapping[str, str], directory: Path, timeout_s: float
) -> tuple[int, str]:
    """Runs a program without input; gives its exit code and all that it printed.

    A daemon that it leaves behind may go on writing, which is why there is no pipe whose end would be waited for.
    """
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
        output.seek(0)
        return done.returncode, output.read()


def expression(output: Iterable[str]) -> re.Pattern[str]:
    """Makes an expression of lines in which `...` stands for anything."""
    lines = [r"(?:.*\n)*?" if line.strip() == "..." else _line(line) for line in output]
    return re.compile("".join(lines))


def _line(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.rstrip().split("...")) + r"[ \t]*\n"


def fits(output: Iterable[str], printed: str) -> bool:
    """Tells whether a command printed what it had to."""
    lines = tuple(output)
    return not lines or expression(lines).fullmatch(printed if printed.endswith("\n") else printed + "\n") is not None


@dataclass
class Player:
    """Plays the blocks of pages in one place.

    Args:
        place: where.
        debian: it is a fresh Debian, which blocks may change.
    """

    place: Place
    debian: bool = False
    ran: list[str] = field(default_factory=list)

    def play(self, blocks: Sequence[Block]) -> None:
        """Plays all.

        Raises:
            ManualError: a command or sample is not as the manual says.
        """
        for block in blocks:
            if "debian" in block.words and not self.debian:
                continue
            if block.file:
                self.place.write(block.file, block.text)
            if block.kind == "console":
                self._console(block)
            elif block.kind == "conf" and not block.file:
                self._conf(block)
            elif block.kind in MAPS:
                self._map(block)
        for block in blocks:
            if block.kind == "conf" and block.file:  # maps that it names are made after it
                self._check(block, "smconf", "--text", block.file)

    def _console(self, block: Block) -> None:
        commands = block.commands()
        for command in commands:
            is_last = command is commands[-1]
            code = block.exit_code if is_last else 0
            self._command(block, command, code, again=is_last and "until" in block.words)

    def _command(self, block: Block, command: Command, wanted: int, *, again: bool) -> None:
        deadline = time.monotonic() + PATIENCE_S
        match = BACKGROUND.search(command.text)
        if match:
            self.place.write(match["file"], "")  # what an earlier page left there
        while True:
            code, printed = self.place.run(command.text, 900 if self.debian else PATIENCE_S)
            if code == wanted and fits(command.output, printed):
                break
            if not again or time.monotonic() > deadline:
                raise ManualError(f"{block.where}: {command.text}\nexit {code}, should be {wanted}; it printed:\n{printed}")
            select.select([], [], [], 0.1)
        self.ran.append(command.text)
        while match and not self.place.has_output(match["file"]):
            if time.monotonic() > deadline:
                raise ManualError(f"{block.where}: {command.text}: nothing in {match['file']}")

    def _conf(self, block: Block) -> None:
        text = block.text
        for section in reversed(block.section):
            text = f"{section} {{\n{text}\n}}\n"
        self.place.write("/etc/meta1/checked.conf", text)
        self._check(block, "smconf", "--text", "/etc/meta1/checked.conf")

    def _map(self, block: Block) -> None:
        kind = next((word for word in block.words if not word.startswith("file=")), block.kind)
        if kind != "wrong":
            self._check(block, "mapchk", *MAP_OPTIONS[kind], block.file)

    def _check(self, block: Block, *command: str) -> None:
        code, printed = self.place.tool(*command)
        if code or printed:
            raise ManualError(f"{block.where}: {' '.join(command)}\nexit {code}; it printed:\n{printed}")
