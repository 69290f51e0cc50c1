"""Envelopes for tests of the stores."""

from pathlib import Path

from meta1g.base.paths import CDB_SUBDIRECTORIES
from meta1g.rcb.envelope import RcptRecord, TaRecord

NOW = 1_700_000_000.0


def ta_id(number: int) -> str:
    return f"S{number:016X}00"


def ta(number: int, rcpts: int = 1, **facts) -> TaRecord:
    base = {
        "ta_id": ta_id(number), "cdb_id": ta_id(number), "mail": f"<s{number}@from.example>", "size_bytes": 1000,
        "entered": NOW, "rcpts": rcpts,
    }  # fmt: skip
    return TaRecord(**{**base, **facts})


def rcpt(number: int, idx: int = 0, **facts) -> RcptRecord:
    base = {
        "ta_id": ta_id(number), "rcpt_idx": idx, "rcpt": f"<r{idx}@to.example>", "entered": NOW, "next_try": NOW,
    }  # fmt: skip
    return RcptRecord(**{**base, **facts})


def rcpts(number: int, count: int) -> list[RcptRecord]:
    return [rcpt(number, idx) for idx in range(count)]


def cdb_directories(directory: Path) -> Path:
    """Makes the sub-directories of a CDB and gives the directory."""
    for digit in CDB_SUBDIRECTORIES:
        (directory / digit).mkdir(parents=True)
    return directory
