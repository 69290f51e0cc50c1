"""The life of an IBDB file (state machine 11), and which transactions keep it.

    CURRENT ──ROLL──> FULL ──DRAIN──> DRAINED ──REMOVE──> REMOVED

    CURRENT   new entries go here
    FULL      the next file is begun; something in this one is still open, or its closing record is not durable
    DRAINED   every transaction that is NEW in it has a durable DONE or CANCEL, here or in a later file
    REMOVED   gone

Files go in the order of their numbers only.  A closing record stands in the file of its NEW or in a later one, so a file
is never removed while its records close something in a file that is still there.

Pure.  Ref: MeTA1 design, "Implementation: IBDB" (removal rule modelled on).
"""

from dataclasses import field
from enum import Enum, auto
from pathlib import Path
from typing import Final

from meta1g.base.dataclass import dataclass


class State(Enum):
    """States of a file."""

    CURRENT = auto()
    FULL = auto()
    DRAINED = auto()
    REMOVED = auto()


class Event(Enum):
    """What happens to a file."""

    ROLL = auto()
    DRAIN = auto()
    REMOVE = auto()


TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.CURRENT, Event.ROLL): State.FULL,
    (State.FULL, Event.DRAIN): State.DRAINED,
    (State.DRAINED, Event.REMOVE): State.REMOVED,
}


@dataclass(slots=True, eq=False)
class Life:
    """One file.  Locking: caller holds IBDB.

    Args:
        number: its number.
        path: its name.

    Attributes:
        size_bytes: size of what is in it, without reserved room.
        open: transactions that are NEW in it and neither DONE nor CANCEL.
        undurable: how many of its transactions have a closing record that is not on the disk yet.
        made: the file is there; False until its first batch is written, and after that one failed and took it away.
        inode: what tells the file from others that get its name; 0 as long as nobody looked.
        harmed: somebody removed, replaced or cut it; nothing more is written to it.
    """

    number: int
    path: Path
    state: State = State.CURRENT
    size_bytes: int = 0
    open: dict[str, None] = field(default_factory=dict)
    undurable: int = 0
    made: bool = False
    inode: int = 0
    harmed: bool = False

    def step(self, event: Event) -> None:
        """Changes the state.

        Raises:
            KeyError: the table has no such step.
        """
        self.state = TRANSITIONS[self.state, event]

    def close(self, ta_id: str) -> None:
        """Notes that a transaction has a closing record, which is not durable yet."""
        del self.open[ta_id]
        self.undurable += 1

    def forget(self, ta_id: str) -> None:
        """Takes back a transaction whose NEW is not in any file."""
        del self.open[ta_id]

    def durable(self) -> None:
        """Notes that one closing record is durable."""
        self.undurable -= 1

    def look(self) -> bool:
        """Looks whether the file is still there, and whole; tells whether it was harmed since the last look."""
        if not self.made or self.harmed:
            return False
        size_bytes = self.size_bytes
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self.harmed = True
            return True
        self.inode = self.inode or status.st_ino
        self.harmed = status.st_ino != self.inode or status.st_size < size_bytes
        return self.harmed

    def drain(self) -> bool:
        """Tells whether the file may go; the state follows."""
        if self.state is State.FULL and not self.open and not self.undurable:
            self.step(Event.DRAIN)
        return self.state is State.DRAINED
