"""Messages between MCP (client) and a child that listens on its `pass_fd_socket` (server): listening sockets.

The descriptor itself travels beside the frame as SCM_RIGHTS ancillary data.

Ref: MeTA1 design, "Functional Specification: Supervisor" (modelled on).
"""

from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.rcb.rectypes import RT
from meta1g.rcb.schema import Kind, Message, Role, message, protocol, rec


@message(RT.M2S_FD, Role.REQUEST)
@dataclass(frozen=True, slots=True, kw_only=True)
class PassFd(Message):
    """One listening socket: text form of its address and its number among the sockets passed.  Reply: FdTaken."""

    name: str = rec(RT.M2S_NAME, Kind.TEXT)
    index: int = rec(RT.M2S_INDEX, Kind.U32)
    count: int = rec(RT.M2S_COUNT, Kind.U32)


@message(RT.S2M_FD, Role.REPLY)
@dataclass(frozen=True, slots=True, kw_only=True)
class FdTaken(Message):
    """0 means that the child serves the socket, otherwise text says why not."""

    status: int = rec(RT.S2M_STATV, Kind.U32)
    text: str = rec(RT.S2M_STATT, Kind.TEXT, default="")


PROTOCOL: Final = protocol("mcp-child", 1, client=(PassFd,), server=(FdTaken,))
