"""The file of standing orders: what the operator ordered at run time outlasts the process that he ordered it from.

    first line    JSON: {"meta1g_orders": 1, "mode": NAME, "since": TIME, "limits": {NAME: {"value", "configured", "since"}}}
    second line   CRC-32 of the first, eight hexadecimal digits

Values are written as in meta1.conf, times are seconds since the epoch.  Without standing orders there is no file, so taking the
last one back needs no room on the disk.

Owner: one thread at a time.  Ref: qmgr/standing.py; invariants I3 (checksums), I12 (damage costs the thing at hand).
"""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from meta1g.base.dataclass import dataclass
from meta1g.base.plainfile import open_plain
from meta1g.db.files import FILES, Files

_FORMAT: Final = 1
_KEYS: Final = {"meta1g_orders", "mode", "since", "limits"}
#: More than all limits need.
_FILE_MAX_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class LimitOrder:
    """A limit that was changed.

    Args:
        value: its value, as in meta1.conf.
        configured: what meta1.conf said then; if that says something else by now, the order is out of date.
        since: when it was changed, seconds since the epoch.
    """

    value: str
    configured: str
    since: float


@dataclass(frozen=True, slots=True)
class StandingOrders:
    """All that holds.

    Args:
        mode: what qmgr does.
        since: since when, seconds since the epoch; 0.0 if nobody ordered it.
        limits: name to what was ordered.
    """

    mode: str
    since: float
    limits: Mapping[str, LimitOrder]


def encode(orders: StandingOrders) -> bytes:
    """Gives the content of the file."""
    limits = {
        name: {"value": one.value, "configured": one.configured, "since": one.since} for name, one in orders.limits.items()
    }
    facts = {"meta1g_orders": _FORMAT, "mode": orders.mode, "since": orders.since, "limits": limits}
    line = json.dumps(facts).encode()
    return b"%s\n%08X\n" % (line, crc32(line))


def decode(data: bytes) -> StandingOrders:
    """Reads the content of the file.

    Raises:
        ValueError: it is damaged, or of another version; the text says so.
    """
    line, _, check = data.partition(b"\n")
    if check != b"%08X\n" % crc32(line):
        raise ValueError("the checksum is wrong")
    facts = json.loads(line)
    if not isinstance(facts, dict) or facts.keys() != _KEYS or facts["meta1g_orders"] != _FORMAT:
        raise ValueError("it is of another version")
    limits = {name: _limit(one) for name, one in _typed(facts["limits"], dict).items()}
    return StandingOrders(_typed(facts["mode"], str), float(_typed(facts["since"], float)), limits)


def _limit(facts: Any) -> LimitOrder:
    if not isinstance(facts, dict) or facts.keys() != {"value", "configured", "since"}:
        raise ValueError("a limit is of another version")
    return LimitOrder(_typed(facts["value"], str), _typed(facts["configured"], str), _typed(facts["since"], float))


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{value!r} is no {kind.__name__}")
    return value


class OrderFile:
    """The file.

    Args:
        path: its name.
        files: the file system.

    Owner: one thread at a time.
    """

    def __init__(self, path: Path, files: Files = FILES) -> None:
        self.path = path
        self._files = files

    def read(self) -> bytes | None:
        """Gives its content, None if there is no file.  Blocks: yes (disk).

        Raises:
            OSError: it cannot be read.
        """
        try:
            with open_plain(self.path) as file:
                return file.read(_FILE_MAX_BYTES)
        except FileNotFoundError:
            return None

    def write(self, orders: StandingOrders | None) -> None:
        """Replaces it; None removes it.  Blocks: yes (disk).

        Raises:
            OSError: the disk; what was written before holds.

        Disk: it is on stable storage.
        """
        if orders is not None:
            self._files.write_durable(self.path, encode(orders))
            return
        with contextlib.suppress(FileNotFoundError):
            self._files.unlink(self.path)
            self._files.sync_directory(self.path.parent)
