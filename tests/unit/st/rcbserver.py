"""The server's end of an RCB connection, as state threads of the test itself: it shows what came in which receive."""

import errno
import socket

from meta1g import st
from meta1g.base.log import Log
from meta1g.rcb import codec, framing
from meta1g.rcb.smtps_qmgr import PROTOCOL, QmgrHello, SmtpsHello
from meta1g.st import StError
from tests.fakes.lines import Lines

LIMIT = 10_000_000
HELLO = SmtpsHello(smtps_id=1, name="", pid=1, max_threads=10)


def silent_log():
    return Log("test", level=20, sink=Lines())


class Peer:
    """One connection, the server's side."""

    def __init__(self, nfd, *, preamble=True):
        self.nfd = nfd
        self.splitter = framing.Splitter(PROTOCOL)
        self.ready = []
        if preamble:
            st.st_write(nfd, framing.preamble(PROTOCOL), LIMIT)

    def receive(self):
        """Gives (request id, message) of one message."""
        while not self.ready:
            self.ready += self.burst()
        return self.ready.pop(0)

    def burst(self):
        """Gives all messages of one read."""
        try:
            data = st.st_read(self.nfd, 1 << 20, LIMIT)
        except StError as error:
            if error.errno != errno.ECONNRESET:  # the other end closed with unread data
                raise
            data = b""
        if not data:
            raise EOFError
        return [codec.decode(PROTOCOL.from_client, body) for body in self.splitter.feed(data)]

    def read_to_end(self):
        try:
            while True:
                self.receive()
        except EOFError:
            return

    def send(self, *pairs):
        """Sends (request id, message) pairs in one write."""
        st.st_write(self.nfd, b"".join(codec.encode(msg, request_id) for request_id, msg in pairs), LIMIT)

    def close(self):
        st.st_netfd_close(self.nfd)


class Server:
    """Listens; accept() gives the next connection, greeted if wanted."""

    def __init__(self, path):
        self.path = path
        self.nfd = None
        self.peers = []

    def open(self):
        sock = socket.socket(socket.AF_UNIX)
        self.path.unlink(missing_ok=True)
        sock.bind(str(self.path))
        sock.listen(5)
        self.nfd = st.st_netfd_open_socket(sock)

    def accept(self, *, hello=True, preamble=True):
        nfd, _ = st.st_accept(self.nfd, LIMIT)
        peer = Peer(nfd, preamble=preamble)
        self.peers.append(peer)
        if hello:
            request_id, msg = peer.receive()
            assert msg == HELLO
            peer.send((request_id, QmgrHello(max_threads=7)))
        return peer

    def close(self):
        if self.nfd is not None:
            st.st_netfd_close(self.nfd)
            self.nfd = None
        for peer in self.peers:
            peer.close()
