"""Flags in a snippet: what is said of some of them, while the others stay as the section has them.

Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from meta1g.conf.values import Flags


class FlagChanges(Flags):
    """Flags that are set or cleared for one case; all others stay as they are."""

    __slots__ = ()

    @property
    def empty(self) -> Mapping[str, bool]:
        """No change."""
        return {}

    def combine(self, items: Sequence[tuple[str, bool]]) -> Mapping[str, bool]:
        """Gives what is said of each flag that is named."""
        return self.said(items)

    def words(self, value: Any) -> list[str]:
        """Writes all flags that are named."""
        return [name if on else f"dont_{name}" for name, on in value.items()]
