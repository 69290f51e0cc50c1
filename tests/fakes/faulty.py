"""A component in which chosen functions fail: what nobody expects has to be tried, too.

    FAULTS="meta1g.smtpc.session:Session.deliver=text" python -m tests.fakes.faulty meta1g.smtpc.main ARGUMENTS

A function fails with RuntimeError whenever its arguments, written out, contain the text; nothing after `=` means always.  `!`
in place of `=` is a BugError, `~` a TempError.  Several faults are separated by blanks.
"""

import functools
import importlib
import os
import sys

from meta1g.base import cli
from meta1g.base.errors import BugError, Module, TempError

#: What is raised, by the mark behind the function.
ERRORS = {"!": functools.partial(BugError, Module.SMTPC), "~": functools.partial(TempError, Module.SMTPC), "=": RuntimeError}


def spoil(fault: str) -> None:
    """Puts one fault into place."""
    mark = next(mark for mark in ERRORS if mark in fault)
    place, _, text = fault.partition(mark)
    module, _, path = place.partition(":")
    owner = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    real = getattr(owner, name)

    @functools.wraps(real)
    def spoiled(*args, **kwargs):
        if text in repr([[shown(argument) for argument in args], kwargs]):
            raise ERRORS[mark]("made by the test")
        return real(*args, **kwargs)

    setattr(owner, name, spoiled)


def shown(argument):
    """Writes an argument out, with what it holds if it is an object with slots."""
    return [argument, *(getattr(argument, slot, None) for slot in getattr(type(argument), "__slots__", ()))]


if __name__ == "__main__":
    module = sys.argv.pop(1)
    for fault in os.environ["FAULTS"].split():
        spoil(fault)
    sys.exit(cli.run_program(module.split(".")[1], importlib.import_module(module).main))
