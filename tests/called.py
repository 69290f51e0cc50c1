"""Programs of meta1g.tools called in this process: starting a Python takes longer than what most of them do.

What makes a process of a program (its entry point, a pipe that closes, signals) is tried with processes of its own.
"""

import contextlib
import importlib
import io
import subprocess
import sys


def call_program(name: str, *arguments: object, stdin: str | bytes = b"") -> "subprocess.CompletedProcess[str]":
    """Calls the entry point of a program and gives what a process would have ended with.

    Args:
        name: module of meta1g.tools.
        arguments: without the name of the program.
        stdin: what it can read.
    """
    argv = [name, *map(str, arguments)]
    source = io.TextIOWrapper(io.BytesIO(stdin if isinstance(stdin, bytes) else stdin.encode()), "utf-8")
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="surrogateescape", write_through=True) for _ in range(2))
    before = sys.argv, sys.stdin
    sys.argv, sys.stdin = argv, source
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            importlib.import_module(f"meta1g.tools.{name}").run()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    finally:
        sys.argv, sys.stdin = before
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return subprocess.CompletedProcess(argv, code, *texts)
