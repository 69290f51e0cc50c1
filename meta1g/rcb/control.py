"""Messages between a control client such as qmgrctl (client) and the process it asks (server).

Ref: MeTA1 design, "Functional Specification: QMGR, control" (modelled on).
"""

from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.rcb.rectypes import RT
from meta1g.rcb.schema import Kind, Message, Role, message, protocol, rec


@message(RT.K2Q_COMMAND, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class ControlCommand(Message):
    """A command and its arguments.  Reply: CommandResult."""

    words: tuple[str, ...] = rec(RT.K2Q_WORDS, Kind.TEXTS, item_rt=RT.K2Q_WORD)


@message(RT.Q2K_RESULT, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult(Message):
    """Exit code for the client program (sysexits) and the result as a JSON text.

    more, if not empty, is the word to add to the command for the next part of a long list.
    """

    exit_code: int = rec(RT.Q2K_EXIT, Kind.U32)
    text: str = rec(RT.Q2K_TEXT, Kind.TEXT)
    more: str = rec(RT.Q2K_MORE, Kind.TEXT, default="")


PROTOCOL: Final = protocol("control", 1, client=(ControlCommand,), server=(CommandResult,))
