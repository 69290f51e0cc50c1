"""The kind of value that is a port.

Pure.  Ref: meta1.conf(5), kinds of values.
"""

from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.conf.values import Int, Scalar

PORT_MAX: Final = 65535


@dataclass(frozen=True, slots=True)
class Port(Scalar):
    """A TCP or UDP port; with listen, 0 lets the system choose one, and nobody could connect to it otherwise."""

    listen: bool = False

    def parse(self, text: str) -> int:
        """Gives the port."""
        port = Int(0, PORT_MAX).parse(text)
        if not port and not self.listen:
            raise ValueError(f"0 cannot be connected to; name a port, 1 to {PORT_MAX}")
        return port

    def describe(self) -> str:
        """Gives the bounds."""
        return f"port, {0 if self.listen else 1} to {PORT_MAX}"
