"""Completion of the command lines of all programs in bash and zsh, made from their argparse by shtab."""

import argparse
from pathlib import Path
from typing import Final

import shtab

from contrib.lib import programs
from meta1g.qmgr.control.selection import KEYS
from meta1g.tools import metaqueue, qmgrctl

#: What may stand where a program takes words.
WORDS: Final = {
    "qmgrctl": (*qmgrctl.SENTENCES, *(f"{key}=" for key in KEYS)),
    "mailq": tuple(f"{key}=" for key in KEYS),
    "metaqueue": ("list", *metaqueue._COMMANDS),  # noqa: SLF001
}


#: Shells, and how each wants the file of a program to be called.
SHELLS: Final = {"bash": "{}", "zsh": "_{}"}


def completion(program: str, shell: str) -> str:
    """Gives the text of a file for the completion of a shell."""
    shown = argparse.ArgumentParser(prog=program, add_help=False)
    for action in programs.actions(program):
        keywords = {"help": action.help, "nargs": action.nargs, "choices": action.choices, "action": "store"}
        if action.nargs == 0:
            keywords = {"help": action.help, "action": "store_true"}
        if not action.option_strings and program in WORDS:
            keywords["choices"] = WORDS[program]
        names = action.option_strings or [action.dest]
        copied = shown.add_argument(*names, **keywords)
        if action.type is Path:
            copied.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(shown, shell)
