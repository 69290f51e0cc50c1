import subprocess
import sys

import pytest

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
