"""The link: connects, says hello, comes back."""

import pytest

from meta1g import st
from meta1g.base.errors import TempError
from meta1g.base.reply import Reply
from meta1g.rcb.smtps_qmgr import PROTOCOL, NewSession, QmgrHello, Stat, Throttle
from meta1g.st import rcblink
from meta1g.st.rcblink import RcbLink
from tests.fakes.shortage import no_descriptors
from tests.unit.st.rcbserver import HELLO, LIMIT, Server, silent_log

QUESTION = NewSession(session_id="S000000000000000100", client_addr="192.0.2.1")


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "q")
    server.open()
    yield server
    server.close()


class Owner:
    """A link and what it told."""

    def __init__(self, path):
        self.events = []
        self.log = silent_log()
        self.changed = st.st_cond_new()
        self.link = RcbLink(
            path, PROTOCOL, HELLO, on_up=self.on_up, on_down=self.on_down, on_message=self.on_message, log=self.log
        )

    def note(self, event):
        self.events.append(event)
        st.st_cond_broadcast(self.changed)

    def on_up(self, reply):
        self.note(("up", reply.max_threads))

    def on_down(self):
        self.note("down")

    def on_message(self, conn, request_id, msg):
        self.note(msg.max_threads)

    def wait(self, *events):
        while self.events != list(events):
            st.st_cond_timedwait(self.changed, LIMIT)


@pytest.fixture
def owner(server):
    owner = Owner(server.path)
    owner.link.start()
    yield owner
    owner.link.close()


def test_the_link_is_up_when_hello_is_answered(server, owner):
    with pytest.raises(TempError, match="no connection"):
        owner.link.now().ask(QUESTION)
    assert owner.link.conn is None
    peer = server.accept()
    owner.wait(("up", 7))
    pending = owner.link.now().ask(QUESTION)
    request_id, msg = peer.receive()
    assert msg == QUESTION
    peer.send((request_id, Stat(reply=Reply(220))))
    assert pending.wait(LIMIT).reply.code == 220


def test_what_follows_the_hello_in_the_same_receive_comes_after_on_up(server, owner):
    peer = server.accept(hello=False)
    request_id, _ = peer.receive()
    peer.send((request_id, QmgrHello(max_threads=1)), (0, Throttle(max_threads=2, text="")))
    owner.wait(("up", 1), 2)


def test_a_lost_connection_is_told_and_made_again(server, owner):
    peer = server.accept()
    owner.wait(("up", 7))
    peer.close()
    server.accept()
    owner.wait(("up", 7), "down", ("up", 7))


def test_a_server_that_comes_late_is_found(server):
    server.close()
    owner = Owner(server.path)
    owner.link.start()
    st.st_usleep(0)
    server.open()
    server.accept()
    owner.wait(("up", 7))
    owner.link.close()
    assert sum("func=rcb.waits" in line for line in owner.log.sink.lines) == 1


def test_a_peer_of_another_release_is_refused_and_asked_again(server, owner):
    peer = server.accept(hello=False, preamble=False)
    st.st_write(peer.nfd, b"\0\0\0\x0c\0\0\0\x04\0\0\0\x01\0\0\0\x63", LIMIT)
    peer.read_to_end()
    assert any("same release" in line for line in owner.log.sink.lines)
    assert owner.events == []
    server.accept()
    owner.wait(("up", 7))


def test_a_server_that_does_not_answer_hello_is_given_up(server, clock, monkeypatch):
    monkeypatch.setattr(rcblink, "HELLO_TIMEOUT_US", 3000)
    owner = Owner(server.path)
    owner.link.start()
    peer = server.accept(hello=False)
    peer.receive()
    with pytest.raises(EOFError):
        peer.receive()
    assert clock.now_us == 3000
    assert owner.events == []
    owner.link.close()


def test_closing_tells_on_down_once_and_connects_no_more(server, owner):
    peer = server.accept()
    owner.wait(("up", 7))
    owner.link.close()
    owner.wait(("up", 7), "down")
    with pytest.raises(EOFError):
        peer.receive()
    with pytest.raises(TempError):
        owner.link.now().post(QUESTION)


def test_an_on_down_that_fails_is_a_failure_of_the_frame(server, owner, monkeypatch):
    ended = []
    monkeypatch.setattr(st.sched.runtime, "on_error", ended.append)
    peer = server.accept()
    owner.wait(("up", 7))
    owner.link._on_down = lambda: 1 / 0
    peer.close()
    while not ended:
        st.st_usleep(1000)
    assert isinstance(ended[0], ZeroDivisionError)


def test_a_shortage_of_descriptors_costs_an_attempt_to_connect(server, owner):
    with no_descriptors():
        while not any("Too many open files" in line for line in owner.log.sink.lines):
            st.st_usleep(1000)
    server.accept()
    owner.wait(("up", 7))
