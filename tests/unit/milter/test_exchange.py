"""What is said on one connection to a filter, with a transport that has all answers already."""

from meta1g.milter.codec import encode
from meta1g.milter.exchange import MilterExchange
from meta1g.milter.frames import Family, Frame, OptNeg, PeerAddress, Smfir
from meta1g.milter.machine import CONTINUE
from meta1g.milter.settings import DefaultAction, MilterSettings

PEER = PeerAddress(Family.INET, 4711, b"192.0.2.1")


class Answers:
    """A transport: gives what the filter says, piece by piece, and counts how often others could run."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)
        self.turns = 0

    def now_us(self):
        return 0

    def send(self, data, timeout_us):
        pass

    def receive(self, timeout_us):
        return self.pieces.pop(0)

    def checkpoint(self):
        self.turns += 1


def test_others_have_turns_while_frames_are_taken_that_came_together():
    progress, end = b"\0\0\0\1p", b"\0\0\0\1c"
    agreed = encode(Frame(Smfir.OPTNEG, OptNeg(6, 0, 0)))
    transport = Answers(agreed, progress * 1000 + end)
    settings = MilterSettings("a", "/a", 1, 1, 1, 1, DefaultAction.TEMPFAIL, {})
    exchange = MilterExchange(settings, transport, lambda _duration_us: None)
    exchange.negotiate(1)
    assert exchange.ask(lambda machine: machine.connect(b"client.example", PEER)) == CONTINUE
    assert transport.turns >= 1000
