"""Messages between a control client such as qmgrctl (client) and the process it asks (server).

Ref: MeTA1 design, "Functional Specification: QMGR, control" (modelled on).
"""

from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.rcb.rectypes import RT
from meta1g.rcb.schema import Kind, Message, Role, message, protocol, rec

#: Word of the command `queue`: recipients of DEFEDB are wanted as they stand there.
STORED: Final = "--stored"


@message(RT.K2Q_COMMAND, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class ControlCommand(Message):
    """A command and its arguments.  Reply: CommandResult."""

    words: tuple[str, ...] = rec(RT.K2Q_WORDS, Kind.TEXTS, item_rt=RT.K2Q_WORD)


@message(RT.Q2K_RESULT, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult(Message):
    """Exit code for the client program (sysexits) and the result as a JSON text.

    more, if not empty, is the word to add to the command for the next part of a long list.  stored are records of DEFEDB that
    belong to this part, as they stand there (db/defedb_page.py): whoever asks reads them, and selects among them.
    """

    exit_code: int = rec(RT.Q2K_EXIT, Kind.U32)
    text: str = rec(RT.Q2K_TEXT, Kind.TEXT)
    more: str = rec(RT.Q2K_MORE, Kind.TEXT, default="")
    stored: bytes = rec(RT.Q2K_STORED, Kind.OCTETS, default=b"")


PROTOCOL: Final = protocol("control", 2, client=(ControlCommand,), server=(CommandResult,))
