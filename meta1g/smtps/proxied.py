"""A connection that a proxy hands on: its header is read before anything else, be it the handshake of TLS or the greeting.

Not a byte more than the header is taken from the connection, since what follows may be TLS.  Who is listed has to begin with
a header, and nobody else may: a connection is never guessed at.

Ref: HAProxy, doc/proxy-protocol.txt 2, 2.1, 2.2.
"""

import errno
import socket

from meta1g.smtp.proxyheader import V2_MAX_BYTES, ProxyHeader, ProxyHeaderError, parse_proxy_header
from meta1g.smtps.dialogue import ClientGoneError, Dialogue
from meta1g.smtps.limits import PROXY_HEADER_TIMEOUT_US, US
from meta1g.st import POLLIN, NetFd, StError, st_checkpoint, st_netfd_poll


def take_proxy_header(dialogue: Dialogue) -> None:
    """Reads the header, and lets the client be who it says.  Switches: yes (network).

    Raises:
        ClientGoneError: the connection was closed, or has no header; nothing is sent, for nobody knows who would read it.
    """
    proxy = dialogue.client_addr
    try:
        header = _read(dialogue)
    except ProxyHeaderError as error:
        dialogue.context.log.notice("smtps.proxy_refused", str(error), ss_sess=dialogue.id, peer=proxy)
        raise ClientGoneError from error
    if header.client is None:
        return
    dialogue.client_addr = header.client.addr
    dialogue.context.log.info(
        "smtps.proxied",
        "" if header.local is None else f"connected to {header.local.addr} port {header.local.port}",
        ss_sess=dialogue.id,
        client=dialogue.client_addr,
        port=header.client.port,
        peer=proxy,
    )


def _read(dialogue: Dialogue) -> ProxyHeader:
    """Switches: yes (network)."""
    nfd, clock = dialogue.nfd, dialogue.context.clock
    end_s = clock.monotonic() + PROXY_HEADER_TIMEOUT_US / US
    data = b""
    while True:
        st_checkpoint()
        seen = _peek(nfd, end_s - clock.monotonic())
        if not seen:
            raise ClientGoneError if not data else ProxyHeaderError("the connection was closed inside the PROXY header")
        header = parse_proxy_header(data + seen)
        more = len(seen) if header is None else header.size_bytes - len(data)
        nfd.recv(more)
        if header is not None:
            return header
        data += seen


def _peek(nfd: NetFd, left_s: float) -> bytes:
    """Gives what has come, and leaves it there.  Switches: yes (network)."""
    sock = nfd.sock
    assert sock is not None
    while True:
        try:
            return sock.recv(V2_MAX_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            _wait(nfd, left_s)
        except OSError as error:
            raise StError(error.errno, error.strerror) from error


def _wait(nfd: NetFd, left_s: float) -> None:
    """Switches: yes (network)."""
    try:
        st_netfd_poll(nfd, POLLIN, max(1, int(left_s * US)))
    except StError as error:
        if error.errno != errno.ETIME:
            raise
        raise ProxyHeaderError(f"the PROXY header did not come within {PROXY_HEADER_TIMEOUT_US // US} s") from None
