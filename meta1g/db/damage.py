"""What is known of the damage of a Berkeley DB environment: a note beside its files, which survives the process.

    no note  ──suspect()──>  SUSPECT  ──(files are bad)──>  MOVE  ──>  FILL  ──>  no note
                              │    ^
             (files look good)└──> SOUND  ──(a start without trouble)──>  no note

    SUSPECT  something could not be read, or a start did not get through; the next start looks at everything
    SOUND    nothing was found at the last start; with the second suspicion the files count as bad all the same
    MOVE     the files are on their way to lost+found
    FILL     what is good in them is on its way back into a new environment

Ref: invariant I3.
"""

import contextlib
from enum import StrEnum
from pathlib import Path
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import PermError
from meta1g.db.files import FILES

_NAME: Final = "DAMAGE"


class DamageError(PermError):
    """Something stored is damaged; the next start picks out what is good."""


class Step(StrEnum):
    """How far the repair is."""

    SUSPECT = "suspect"
    SOUND = "sound"
    MOVE = "move"
    FILL = "fill"


@dataclass(frozen=True, slots=True)
class Note:
    """What the note says.

    Args:
        step: how far the repair is.
        target: directory in lost+found where the files are; empty for SUSPECT and SOUND.
        times: how often everything was looked at and nothing found.
    """

    step: Step
    target: str = ""
    times: int = 0


def read_note(directory: Path) -> Note | None:
    """Gives the note of an environment, None if there is none; one that makes no sense is a suspicion."""
    try:
        step, _, target = (directory / _NAME).read_text(errors="replace").strip().partition(" ")
    except FileNotFoundError:
        return None
    if step in (Step.MOVE, Step.FILL) and target and "/" not in target:
        return Note(Step(step), target)
    return Note(Step.SOUND if step == Step.SOUND else Step.SUSPECT, times=int(target) if target.isdecimal() else 0)


def write_note(directory: Path, note: Note | None) -> None:
    """Replaces the note; None removes it.  Disk: it is on stable storage."""
    if note is not None:
        FILES.write_durable(directory / _NAME, f"{note.step} {note.target or note.times}\n".encode())
        return
    with contextlib.suppress(FileNotFoundError):
        FILES.unlink(directory / _NAME)
    FILES.sync_directory(directory)


def suspect(directory: Path) -> None:
    """Notes that something could not be read, unless there is such a note already or the disk refuses."""
    with contextlib.suppress(OSError):
        note = read_note(directory)
        if note is None or note.step is Step.SOUND:
            write_note(directory, Note(Step.SUSPECT, times=0 if note is None else note.times))


def is_note(name: str) -> bool:
    """Tells whether a file name belongs to the note."""
    return name.startswith(_NAME)
