"""RCB connections: questions and replies, sends that are collected, bounds, broken peers."""

import errno
import socket

import pytest

from meta1g import st
from meta1g.base.errors import TempError
from meta1g.base.reply import Reply
from meta1g.rcb.smtps_qmgr import PROTOCOL, CloseSession, NewSession, Stat, Throttle
from meta1g.st.limits import LATE_MAX_BYTES, LATE_S
from meta1g.st.rcbconn import RcbConn
from tests.unit.st.conftest import errno_of
from tests.unit.st.rcbserver import LIMIT, Peer, silent_log

FOREVER = st.ST_UTIME_NO_TIMEOUT


def question(number=1):
    return NewSession(session_id=f"S{number:016X}00", client_addr="192.0.2.1")


class Pair:
    """A connection, its reader thread, and the server's end."""

    def __init__(self):
        ours, theirs = socket.socketpair()
        self.got = []
        self.log = silent_log()
        self.conn = RcbConn(ours, PROTOCOL, self.on_message, self.log)
        self.peer = Peer(st.st_netfd_open_socket(theirs))
        assert self.peer.burst() == [], "the version comes first, alone, whenever the machine is busy"
        st.st_thread_create(self.read)

    def on_message(self, conn, request_id, msg):
        self.got.append((request_id, msg))

    def read(self, _):
        while not self.conn.closed:
            self.conn.receive(FOREVER)

    def close(self):
        self.conn.close()
        self.peer.close()


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    pair.close()


def flood(conn):
    for n in range(100_000):
        conn.ask(question(n))
        if n % 100 == 0:
            st.st_usleep(0)


def later(function, *args):
    return st.st_thread_create(lambda _: function(*args), None, True)


def test_each_question_gets_its_own_reply_in_whatever_order_they_come(pair):
    pending = [pair.conn.ask(question(n)) for n in range(3)]
    ids = [pair.peer.receive()[0] for _ in range(3)]
    pair.peer.send(*((request_id, Stat(reply=Reply(200 + request_id))) for request_id in reversed(ids)))
    assert [p.wait(LIMIT).reply.code for p in pending] == [200 + request_id for request_id in ids]


def test_messages_of_one_turn_leave_in_one_send(pair):
    pair.conn.post(CloseSession(session_id="S000000000000000100"))
    st.st_usleep(0)
    pair.peer.burst()
    for thread in [later(pair.conn.ask, question(n)) for n in range(10)]:
        st.st_thread_join(thread)
    assert len(pair.peer.burst()) == 10


def test_what_nobody_waits_for_leaves_when_its_time_is_over_each_time(pair, clock):
    pair.conn.post(CloseSession(session_id="S000000000000000100"))
    pair.peer.burst()
    for _ in range(3):
        begun_us = clock.now_us
        pair.conn.post_late(CloseSession(session_id="S000000000000000100"))
        pair.conn.post_late(CloseSession(session_id="S000000000000000200"))
        assert len(pair.peer.burst()) == 2
        assert clock.now_us - begun_us == round(LATE_S * 1_000_000)


def test_what_nobody_waits_for_leaves_with_the_next_message_or_when_it_is_much(pair, clock):
    late = CloseSession(session_id="S000000000000000100")
    for _ in range(2):
        pair.conn.post_late(late)
        pair.conn.post(late)
        assert len(pair.peer.burst()) == 2
    while pair.conn._rcb.unsent_bytes < LATE_MAX_BYTES:
        pair.conn.post_late(late)
    assert len(pair.peer.burst()) > 100
    assert clock.now_us == 0


def test_no_timer_is_left_of_what_was_posted_late(pair, clock):
    late = CloseSession(session_id="S000000000000000100")
    pair.conn.post_late(late)
    pair.peer.burst()
    assert pair.conn._patience is None
    pair.conn.post_late(late)
    timer = pair.conn._patience
    pair.conn.close()
    assert (pair.conn._patience, timer.callback) == (None, None)


def test_messages_of_one_receive_are_handled_in_one_turn_if_they_fit(pair, clock):
    switches = []
    pair.conn._on_message = lambda conn, request_id, msg: switches.append(st.switch_count())
    pair.peer.send(*((0, Throttle(max_threads=n, text="")) for n in range(5)))
    while len(switches) < 5:
        st.st_usleep(0)
    assert len(set(switches)) == 1


def test_what_the_server_posts_comes_in_order(pair):
    pair.peer.send(*((0, Throttle(max_threads=n, text="")) for n in range(5)))
    while len(pair.got) < 5:
        st.st_usleep(0)
    assert [msg.max_threads for _, msg in pair.got] == [0, 1, 2, 3, 4]


def test_a_reply_that_comes_too_late_is_dropped(pair, clock):
    pending = pair.conn.ask(question())
    assert errno_of(pending.wait, 1000) == errno.ETIME
    request_id, _ = pair.peer.receive()
    pair.peer.send((request_id, Stat(reply=Reply(250))))
    again = pair.conn.ask(question(2))
    request_id, _ = pair.peer.receive()
    pair.peer.send((request_id, Stat(reply=Reply(251))))
    assert again.wait(LIMIT).reply.code == 251


def test_an_interrupt_ends_the_wait(pair):
    pending = pair.conn.ask(question())
    thread = later(errno_of, pending.wait, FOREVER)
    st.st_usleep(0)
    st.st_thread_interrupt(thread)
    assert st.st_thread_join(thread) == errno.EINTR


def test_all_questions_fail_when_the_connection_breaks_and_later_ones_are_refused(pair):
    waiting = pair.conn.ask(question())
    unwatched = pair.conn.ask(question(2))

    def ask():
        with pytest.raises(TempError, match="connection lost: the peer closed"):
            waiting.wait(FOREVER)
        return "failed"

    thread = later(ask)
    st.st_usleep(0)
    assert len(pair.peer.burst()) == 2
    pair.peer.close()
    assert st.st_thread_join(thread) == "failed"
    with pytest.raises(TempError):
        unwatched.wait(FOREVER)
    with pytest.raises(TempError):
        pair.conn.ask(question(3))
    with pytest.raises(TempError):
        pair.conn.reply(1, Stat(reply=Reply(250)))


def post_until_lost(conn):
    """Posts until our frames have met the closed socket."""
    for _ in range(1000):
        conn.post(CloseSession(session_id="S"))
        st.st_usleep(1000)


def test_the_last_words_of_a_peer_that_has_closed_are_heard_although_it_takes_no_more():
    """The answer that a message is safe must not get lost because we had something to say at the same time."""
    ours, theirs = socket.socketpair()
    peer = Peer(st.st_netfd_open_socket(theirs))
    got = []
    conn = RcbConn(ours, PROTOCOL, lambda conn, request_id, msg: got.append(msg), silent_log())
    pending = conn.ask(question())
    peer.send((1, Stat(reply=Reply(250))))
    peer.close()
    assert not conn.closed
    with pytest.raises(TempError, match="connection lost: the peer closed"):
        post_until_lost(conn)
    conn.receive(LIMIT)
    assert pending.wait(LIMIT).reply.code == 250
    conn.receive(LIMIT)
    assert conn.closed


def test_nonsense_from_the_peer_closes_the_connection_and_is_logged(pair):
    pending = pair.conn.ask(question())
    st.st_write(pair.peer.nfd, b"\xff" * 32, LIMIT)
    with pytest.raises(TempError):
        pending.wait(FOREVER)
    assert any("func=rcb.close" in line for line in pair.log.sink.lines)


def test_a_callback_that_fails_ends_the_thread_that_receives(pair, monkeypatch):
    ended = []
    monkeypatch.setattr(st.sched.runtime, "on_error", ended.append)

    def failing(conn, request_id, msg):
        raise ZeroDivisionError

    pair.conn._on_message = failing
    pair.peer.send((0, Throttle(max_threads=1, text="")))
    while not ended:
        st.st_usleep(1000)
    assert isinstance(ended[0], ZeroDivisionError)


def test_a_peer_that_does_not_read_is_given_up_when_too_much_waits(pair):
    pair.conn._rcb._write_max = 1_000_000
    with pytest.raises(TempError, match="does not read"):
        flood(pair.conn)


def test_what_the_socket_does_not_take_at_once_follows_in_order(pair):
    count = 20_000
    for n in range(count):
        pair.conn.post(CloseSession(session_id=f"S{n:016X}00"))
    st.st_usleep(0)
    pair.conn.post(CloseSession(session_id="last"))
    got = [pair.peer.receive()[1].session_id for _ in range(count + 1)]
    assert got == [f"S{n:016X}00" for n in range(count)] + ["last"]
    pending = pair.conn.ask(question())
    pair.peer.send((pair.peer.receive()[0], Stat(reply=Reply(250))))
    assert pending.wait(LIMIT).reply.code == 250


def test_closing_sends_what_is_collected(pair):
    pair.conn.post(CloseSession(session_id="bye"))
    pair.conn.close()
    assert pair.peer.receive()[1].session_id == "bye"
    with pytest.raises(EOFError):
        pair.peer.receive()
