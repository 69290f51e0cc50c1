"""What the checkers say about wrong maps and configurations: tests/vectors/checkers/*.txt, golden to the letter.

    === NAME              begins a case
    ? root                only as root; `? no name`: the system has no full name for the machine
    $ COMMAND             commands in their order; the last one is looked at, those before it have to go well
    --- FILE [escaped]    content of a file; escaped: one line in the notation of Python
    --- wanted CODE       exit code and all that the last command says; DIR stands for the directory

`python -m tests.unit.tools.test_checkers` writes what is said now.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from meta1g.base import cli, hostname
from meta1g.base.clock import SystemClock
from meta1g.db.mapfile import MapFile
from meta1g.maps.textmap import read_entries
from meta1g.mcp import control
from meta1g.tools import check_install, createmap, mapchk, setup_dirs, smconf

VECTORS = Path(__file__).parents[2] / "vectors" / "checkers"
TOOLS = {
    "createmap": createmap.main,
    "mapchk": mapchk.main,
    "smconf": smconf.main,
    "sm.check": lambda _words: check_install.main(["-f", "meta1.conf", "--no-accounts"]),
    "sm.setup": lambda _words: setup_dirs.main(["-f", "meta1.conf", "--no-accounts"]),
    "mcp": lambda words: control.check(Path(words[-1]).absolute(), SystemClock()) or 0,
}


@dataclass
class Case:
    name: str
    needs: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    files: dict[str, list[str]] = field(default_factory=dict)

    @property
    def wanted(self) -> str:
        return "".join(
            f"{line}\n" for head, lines in self.files.items() if head.startswith("wanted") for line in (head, *lines)
        )


def cases(path: Path) -> Iterator[Case]:
    case, lines = Case(""), []
    for line in path.read_text().splitlines():
        if line.startswith("=== "):
            case, lines = Case(line[4:]), []
            yield case
        elif line.startswith("? "):
            case.needs.append(line[2:])
        elif line.startswith("$ "):
            case.commands.append(line[2:])
        elif line.startswith("--- "):
            lines = case.files[line[4:]] = []
        elif line:
            lines.append(line)


ALL = [(path.stem, case) for path in sorted(VECTORS.glob("*.txt")) for case in list(cases(path))]


def write_files(case: Case, directory: Path) -> None:
    for head, lines in case.files.items():
        name, _, escaped = head.partition(" ")
        if name == "wanted":
            continue
        text = "".join(f"{line}\n" for line in lines).replace("DIR", str(directory))
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(lines[0].encode().decode("unicode_escape").encode("latin-1") if escaped else text.encode())


def run(command: str) -> tuple[int, str]:
    """Runs one command in the current directory; gives its exit code and what it says."""
    words, _, source = command.partition(" < ")
    tool, *arguments = shlex.split(words)
    if tool == "makedb":  # as a program that checks nothing
        path = Path(arguments[0])
        rows = [(key.encode(), value.encode()) for _, key, value in read_entries(path)]
        path.unlink()
        MapFile.build(path, rows)
        return 0, ""
    if tool not in TOOLS:
        return subprocess.run([tool, *arguments], check=True).returncode, ""
    said = io.StringIO()
    with contextlib.ExitStack() as undo:
        undo.enter_context(contextlib.redirect_stdout(said))
        undo.enter_context(contextlib.redirect_stderr(said))
        if source:
            undo.callback(setattr, sys, "stdin", sys.stdin)
            sys.stdin = undo.enter_context(open(source))
        code = cli.run_program(tool, TOOLS[tool], arguments)
    return code, said.getvalue()


@contextlib.contextmanager
def prepared(case: Case, directory: Path) -> Iterator[None]:
    """Has the files of a case and what its first commands make; the directory is the current one."""
    write_files(case, directory)
    with contextlib.chdir(directory):
        for command in case.commands[:-1]:
            code, said = run(command)
            assert code == 0, said
        yield


def answer(case: Case, directory: Path) -> str:
    """Runs a case; gives what the last command says in the form of the file."""
    with prepared(case, directory):
        code, said = run(case.commands[-1])
    return f"wanted {code}\n{said.replace(str(directory), 'DIR')}"


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that every account can pass through."""
    with tempfile.TemporaryDirectory(prefix="meta1g-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{tool}-{case.name}") for tool, case in ALL])
def test_the_checker_says(case, directory, monkeypatch):
    if "root" in case.needs and os.geteuid() != 0:
        pytest.skip("only root can look as somebody else")
    if "no name" in case.needs:
        monkeypatch.setattr(hostname, "system_name", lambda: "box")
    assert answer(case, directory) == case.wanted


def test_there_are_enough_of_them_and_each_has_its_message_with_place_and_mend():
    assert len(ALL) >= 60
    for tool, case in ALL:
        assert re.match(r"wanted [1-9]\d?\n.*\S", case.wanted) or "-q" in case.commands[-1], (tool, case.name)


@pytest.mark.parametrize("tool", ["createmap", "mapchk", "smconf", "sm.check"])
def test_programs_say_it_too(tool, directory):
    """The same as processes of their own, one case of each."""
    case = next(case for name, case in ALL if name == tool)
    words, _, source = case.commands[-1].partition(" < ")
    arguments = shlex.split(words)[1:] or ["-f", "meta1.conf", "--no-accounts"]
    module = {"sm.check": "check_install"}.get(tool, tool)
    with prepared(case, directory), open(source or os.devnull) as file:
        command = [sys.executable, "-c", f"from meta1g.tools.{module} import run; run()", *arguments]
        made = subprocess.run(command, stdin=file, capture_output=True, text=True, timeout=60, check=False)
    said = f"wanted {made.returncode}\n{made.stdout}{made.stderr}"
    assert said.replace(str(directory), "DIR") == case.wanted


def renew() -> None:
    """Writes what the checkers say now."""
    hostname.system_name = lambda: "box"
    for path in sorted(VECTORS.glob("*.txt")):
        text = path.read_text().partition("\n=== ")[0].rstrip() + "\n"
        for case in list(cases(path)):
            text += f"\n=== {case.name}\n" + "".join(f"? {one}\n" for one in case.needs)
            text += "".join(f"$ {one}\n" for one in case.commands)
            for head, lines in case.files.items():
                if not head.startswith("wanted"):
                    text += f"--- {head}\n" + "".join(f"{line}\n" for line in lines)
            directory = Path(tempfile.mkdtemp(prefix="meta1g-test-"))
            directory.chmod(0o755)
            text += f"--- {answer(case, directory)}"
            shutil.rmtree(directory)
        path.write_text(text)


if __name__ == "__main__":
    renew()
