"""The process in which components check themselves before mcp starts or reloads: one after the other, under one account.

    python -m meta1g.mcp.selfchecks COMPONENT LOG-MADE COUNT ARGUMENT ... COMPONENT LOG-MADE COUNT ARGUMENT ...

LOG-MADE is 1 if mcp makes the log file of the component, else 0; COUNT arguments of its command line follow.  After what
a check has said, a NUL, its exit code and a line end tell that it is over.  So mcp knows whose words are whose, and which
check was at work when the process ends early.

Nothing of mcp is imported: a component is found by its name, as by the command line of its program.  Before a start mcp
calls check_all() itself, in a child (precheck.py).

Owner: the process.
Ref: base/selfcheck.py; our choice.
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from meta1g.base import cli
from meta1g.base.startup import CONFIG_FD, LOG_MADE

#: Stands before the exit code of a check; no path and no message has one.
MARK: Final = b"\0"
_HEAD_WORDS: Final = 3


class Item(NamedTuple):
    """One component to be checked: its name, whether mcp makes its log file, its command line without its own name."""

    component: str
    log_made: bool
    arguments: tuple[str, ...]


def pack(items: Sequence[Item]) -> list[str]:
    """Makes the arguments of this program."""
    packed: list[str] = []
    for item in items:
        packed += [item.component, str(int(item.log_made)), str(len(item.arguments)), *item.arguments]
    return packed


def unpack(words: Sequence[str]) -> Iterator[Item]:
    """Reads the arguments of this program.

    Raises:
        ValueError: they are not from pack().
    """
    while words:
        component, log_made, count = words[:_HEAD_WORDS]
        end = _HEAD_WORDS + int(count)
        yield Item(component, log_made == "1", tuple(words[_HEAD_WORDS:end]))
        words = words[end:]


def check_all(items: Iterable[Item]) -> None:
    """Checks components and tells on standard error what they say."""
    config = os.environ.pop(CONFIG_FD, None)
    for item in items:
        os.environ.pop(LOG_MADE, None)
        if item.log_made:
            os.environ[LOG_MADE] = "1"
        if config is not None:  # each reads the configuration from the beginning and closes it
            os.environ[CONFIG_FD] = str(os.dup(int(config)))
        code = _check(item)
        sys.stderr.flush()
        os.write(sys.stderr.fileno(), MARK + b"%d\n" % (code & 0xFF))


def _check(item: Item) -> int:
    """Checks one component as its program would; gives the exit code that the program would have."""
    try:
        module = importlib.import_module(f"meta1g.{item.component}.check")
        return cli.run_program(item.component, module.main, list(item.arguments))
    except SystemExit as error:  # a wrong command line
        return error.code if isinstance(error.code, int) else 1
    except Exception:  # noqa: BLE001  told as by a program of its own, for the next check is to go on
        with contextlib.suppress(OSError):
            sys.excepthook(*sys.exc_info())
        return 1


if __name__ == "__main__":
    check_all(unpack(sys.argv[1:]))
