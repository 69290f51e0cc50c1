import subprocess
import sys

import pytest

from meta1g.base import cli

PROGRAM = """
import sys, threading
from meta1g.base import cli
def main(argv):
    threading.Thread(target=threading.Event().wait).start()
    {body}
cli.end_program("prog", main)
"""


def run(body: str) -> tuple[int, str, str]:
    command = [sys.executable, "-c", PROGRAM.format(body=body), "an", "argument"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("print(argv, end=''); return 0", (0, "['an', 'argument']", "")),
        ("sys.stderr.write('half a line'); return 75", (75, "", "half a line")),
        ("raise cli.CliError('a text', 78)", (78, "", "prog: a text\n")),
        ("sys.stdout.close(); return 3", (3, "", "")),
    ],
)
def test_a_program_ends_with_its_code_and_all_that_it_wrote_whatever_its_threads_do(body, expected):
    assert run(body) == expected


@pytest.mark.parametrize("columns", ["30", "60", "200"])
def test_help_is_as_wide_as_the_terminal_says(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    made = cli.parser("prog", "word " * 100)
    with pytest.raises(SystemExit):
        made.parse_args(["--help"])
    widest = max(len(line) for line in capsys.readouterr().out.splitlines())
    assert int(columns) - 10 < widest <= int(columns)


@pytest.mark.parametrize("columns", ["", "0", "-3", "many"])
def test_help_without_a_terminal_has_the_usual_width(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(cli.os, "get_terminal_size", _no_terminal)
    cli.parser("prog", "word " * 100).print_help()
    assert 70 < max(len(line) for line in capsys.readouterr().out.splitlines()) <= 80


def _no_terminal(fd: int) -> None:
    raise OSError(25, "not a terminal")
