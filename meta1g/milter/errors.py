"""The error of this package, and how filters fail.

Pure.
"""

from enum import StrEnum

from meta1g.base.errors import Module, TempError


class FilterFault(StrEnum):
    """How a filter failed."""

    AWAY = "away"
    TIMEOUT = "timeout"
    CLOSED = "closed"
    PROTOCOL = "protocol"


class MilterProtocolError(TempError):
    """A filter said what the protocol does not allow; nothing that it says later can be trusted.

    Args:
        cause: what it said, and what would have been right.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(Module.MILTER, cause)
