"""Cuts a byte stream into frames, bounded and resumable, and checks the first record of a connection.

Pure.  Ref: MeTA1 design, "Functional Specification: IPC record format" (scheme modelled on MeTA1's RCB).
"""

from struct import Struct
from typing import Final

from meta1g.base.errors import ProtocolError
from meta1g.rcb.rectypes import RT
from meta1g.rcb.schema import Protocol

_U32: Final = Struct("!I")
_PREAMBLE: Final = Struct("!IIII")

#: No frame is longer: a bounce report with a thousand recipients fits well.
FRAME_MAX_BYTES: Final = 8 << 20


def preamble(pair: Protocol) -> bytes:
    """Gives the first frame of a connection: the protocol version of the pair."""
    return _PREAMBLE.pack(12, 4, RT.PROT_VER, pair.version)


class Splitter:
    """Turns received bytes into frames; the first frame must be the peer's protocol version.

    Args:
        pair: the protocol of the connection.

    Owner: the reader of the connection.
    """

    __slots__ = ("_buffer", "_cut", "_greeted", "_pair")

    def __init__(self, pair: Protocol) -> None:
        self._pair = pair
        self._buffer = bytearray()
        self._greeted = False
        self._cut = 0

    @property
    def unfinished(self) -> int:
        """Number of the frame whose beginning is there and whose end is not, from 1; 0 if there is none."""
        return self._cut + 1 if self._buffer else 0

    def feed(self, data: bytes) -> list[bytes]:
        """Takes received bytes.

        Returns:
            The bodies of all frames that are complete now, without their total lengths.

        Raises:
            ProtocolError: a length is out of bounds, or the version is not ours.
        """
        buffer = self._buffer
        buffer += data
        frames: list[bytes] = []
        offset = 0
        available = len(buffer)
        while available - offset >= _U32.size:
            (length,) = _U32.unpack_from(buffer, offset)
            if length > FRAME_MAX_BYTES or length < 12 or length & 3:
                raise ProtocolError(f"{self._pair.name}: frame of {length} bytes")
            end = offset + _U32.size + length
            if end > available:
                break
            frames.append(bytes(buffer[offset + _U32.size : end]))
            offset = end
        if offset:
            del buffer[:offset]
            self._cut += len(frames)
        return frames if self._greeted else self._check_version(frames)

    def _check_version(self, frames: list[bytes]) -> list[bytes]:
        if not frames:
            return frames
        if frames[0] != preamble(self._pair)[4:]:
            raise ProtocolError(
                f"{self._pair.name}: the peer does not speak version {self._pair.version}; "
                "run all components from the same release"
            )
        self._greeted = True
        return frames[1:]
