"""What is known of the damage of a Berkeley DB environment: a note beside its files, which survives the process.

    no note  ──suspect()──>  SUSPECT  ──(files are bad)──>  MOVE  ──>  FILL  ──>  no note
                                └──(files are good)──────────────────────────────────^

    SUSPECT  something could not be read; the next start looks at everything
    MOVE     the files are on their way to lost+found
    FILL     what is good in them is on its way back into a new environment

Ref: invariant I3.
"""

import contextlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from meta1g.base.errors import PermError
from meta1g.db.files import FILES

_NAME: Final = "DAMAGE"


class DamageError(PermError):
    """Something stored is damaged; the next start picks out what is good."""


class Step(StrEnum):
    """How far the repair is.  Immutable."""

    SUSPECT = "suspect"
    MOVE = "move"
    FILL = "fill"


@dataclass(frozen=True, slots=True)
class Note:
    """What the note says.  Immutable.

    Args:
        step: how far the repair is.
        target: directory in lost+found where the files are; empty for SUSPECT.
    """

    step: Step
    target: str = ""


def read_note(directory: Path) -> Note | None:
    """Gives the note of an environment, None if there is none; one that makes no sense is a suspicion."""
    try:
        step, _, target = (directory / _NAME).read_text(errors="replace").strip().partition(" ")
    except FileNotFoundError:
        return None
    if step in (Step.MOVE, Step.FILL) and target and "/" not in target:
        return Note(Step(step), target)
    return Note(Step.SUSPECT)


def write_note(directory: Path, note: Note | None) -> None:
    """Replaces the note; None removes it.  Disk: it is on stable storage."""
    if note is not None:
        FILES.write_durable(directory / _NAME, f"{note.step} {note.target}\n".encode())
        return
    with contextlib.suppress(FileNotFoundError):
        FILES.unlink(directory / _NAME)
    FILES.sync_directory(directory)


def suspect(directory: Path) -> None:
    """Notes that something could not be read, unless there is a note already or the disk refuses."""
    with contextlib.suppress(OSError):
        if read_note(directory) is None:
            write_note(directory, Note(Step.SUSPECT))


def is_note(name: str) -> bool:
    """Tells whether a file name belongs to the note."""
    return name.startswith(_NAME)
