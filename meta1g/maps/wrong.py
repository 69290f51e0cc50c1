"""Wrong entries of maps in the log: whoever asks finds them, mail is put off, and the operator is told which one it is."""

import time

from meta1g.base.log import Log
from meta1g.maps.limits import WRONG_ENTRIES_MAX, WRONG_ENTRY_LOG_S


class WrongEntries:
    """Tells the operator of wrong entries, of each once in a while.

    Args:
        log: the log.

    Locking: none needed; at worst a line comes twice.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._told: dict[tuple[str, str], float] = {}

    def tell(self, table: str, key: str, value: str, why: str, effect: str = "mail is put off") -> None:
        """Logs an entry.

        Args:
            table: name of the map.
            key: as it was looked up, with its tag.
            value: its right-hand side.
            why: what is wrong.
            effect: what becomes of mail that meets it.
        """
        now_s = time.monotonic()
        if now_s - self._told.get((table, key), -WRONG_ENTRY_LOG_S) < WRONG_ENTRY_LOG_S:
            return
        if len(self._told) >= WRONG_ENTRIES_MAX:
            self._told.clear()
        self._told[table, key] = now_s
        self._log.error("map.entry", f"{why}; {effect} until it is mended", map=table, key=key, answer=value)
