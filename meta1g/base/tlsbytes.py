"""TLS by Python's ssl as bytes in and bytes out: a call handles what it was given, and comes back.

Over a socket ssl reads on inside of one call for as long as records come that carry no data: other keys, attempts of another
handshake.  A peer that goes on sending them would hold the caller beyond any time limit.

Owner: whoever made the connection.
Ref: Python's ssl module, "Memory BIO Support"; RFC 8446 4.6.3 (KeyUpdate); RFC 5246 7.4.1.1 (HelloRequest).
"""

import ssl
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")

#: What a call is given at most: a record and its head.  Our choice: some hundred changes of keys, a few milliseconds.
TLS_FEED_BYTES: Final = 16 * 1024


class TlsBytes:
    """One connection.

    Args:
        context: certificates and settings.
        server: our side is the server's.
        name: of the server, for its client.

    Attributes:
        tls: its calls are those of ssl.SSLObject; attempt() makes them.
        output: what has to be sent; whoever sends it takes it off.

    Raises:
        OSError: no connection can be made.
    """

    __slots__ = ("_read", "_written", "output", "tls")

    def __init__(self, context: ssl.SSLContext, *, server: bool, name: str | None) -> None:
        self._read, self._written = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._read, self._written, server_side=server, server_hostname=name)
        self.output = bytearray()

    def attempt(self, call: Callable[_Args, _Result], *args: _Args.args, **kwargs: _Args.kwargs) -> _Result:
        """Makes a call; what it wants to be sent is in `output`, whatever comes of it.

        Raises:
            ssl.SSLWantReadError: it needs further bytes of the peer.
            ssl.SSLError: the connection is broken.
        """
        try:
            return call(*args, **kwargs)
        finally:
            self.output += self._written.read()

    def feed(self, data: bytes) -> None:
        """Takes what the peer sent, TLS_FEED_BYTES at most; empty for its end."""
        if data:
            self._read.write(data)
        else:
            self._read.write_eof()

    def pending(self) -> int:
        """Tells how many bytes there are that nobody has read; those of a record that is not whole may count."""
        return self.tls.pending() + self._read.pending
