"""Identifiers of sessions, transactions, recipients and content files.

A session or transaction id is a letter, 16 upper-case hex digits of a counter that starts at the time of day in
microseconds so that no id ever repeats, and 2 hex digits of the process index: 19 characters.  A recipient id is the
transaction id, a dash and the recipient index in 4 hex digits; from 65536 on, which only members of large lists reach, an
`x` and 8 hex digits, so that ids sort as indexes do everywhere.  The CDB id is the transaction id, the file name of the
content, and the "queue id" users see.

Ref: MeTA1 design, "Functional Specification: identifiers for sessions and transactions" (modelled on).
"""

import re
from typing import Final, NewType

from meta1g.base.clock import Clock

SessId = NewType("SessId", str)
TaId = NewType("TaId", str)
CdbId = NewType("CdbId", str)
RcptId = NewType("RcptId", str)

ID_LENGTH: Final = 19
#: Greatest recipient index; a list, with a bounce for each member, cannot be larger.
RCPT_IDX_MAX: Final = 0x0FFF_FFFF
_SHORT_MAX: Final = 0xFFFF
PROCESS_INDEX_MAX: Final = 0xFF
_COUNTER_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF
_ID: Final = re.compile(r"[SC][0-9A-F]{18}", re.ASCII)
_INDEX: Final = re.compile(r"[0-9A-F]{4}|x[0-9A-F]{8}", re.ASCII)


def is_id(text: str) -> bool:
    """Tells whether text has the form of a session or transaction id; nothing else may become a file name."""
    return _ID.fullmatch(text) is not None


def idx_text(rcpt_idx: int) -> str:
    """Gives a recipient index (0 to RCPT_IDX_MAX) as it stands in ids and keys; the texts sort as the indexes do."""
    return f"{rcpt_idx:04X}" if rcpt_idx <= _SHORT_MAX else f"x{rcpt_idx:08X}"


def parse_idx(text: str) -> int:
    """Reads what idx_text() gave.

    Raises:
        ValueError: text is something else.
    """
    if _INDEX.fullmatch(text) is None:
        raise ValueError(f"not a recipient index: {text!r}")
    return int(text.removeprefix("x"), 16)


def rcpt_id(ta_id: str, rcpt_idx: int) -> RcptId:
    """Forms the id of recipient number rcpt_idx (0 to RCPT_IDX_MAX) of a transaction."""
    return RcptId(f"{ta_id}-{idx_text(rcpt_idx)}")


def split_rcpt_id(text: str) -> tuple[TaId, int]:
    """Splits a recipient id.

    Raises:
        ValueError: text is not a recipient id.
    """
    ta_id, dash, index = text.partition("-")
    if not dash or not is_id(ta_id) or _INDEX.fullmatch(index) is None:
        raise ValueError(f"not a recipient id: {text!r}")
    return TaId(ta_id), parse_idx(index)


class IdGenerator:
    """Makes session and transaction ids of one process from one counter.

    Args:
        letter: `S` for SMTPS, `C` for SMTPC ids.
        process_index: index of the process among its kind, 0 to 255.
        clock: gives the time of day the counter starts at.

    Owner: the process (one thread of it).
    """

    __slots__ = ("_counter", "_letter", "_suffix")

    def __init__(self, letter: str, process_index: int, clock: Clock) -> None:
        if letter not in ("S", "C"):
            raise ValueError(f"id letter must be S or C, not {letter!r}")
        if not 0 <= process_index <= PROCESS_INDEX_MAX:
            raise ValueError(f"process index must be 0 to {PROCESS_INDEX_MAX}, not {process_index}")
        self._letter = letter
        self._suffix = f"{process_index:02X}"
        self._counter = int(clock.now() * 1_000_000)

    def new(self) -> str:
        """Gives the next id."""
        self._counter = (self._counter + 1) & _COUNTER_MASK
        return f"{self._letter}{self._counter:016X}{self._suffix}"

    def session(self) -> SessId:
        """Gives the next id as a session id."""
        return SessId(self.new())

    def transaction(self) -> TaId:
        """Gives the next id as a transaction id."""
        return TaId(self.new())
