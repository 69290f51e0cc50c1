"""One connection: limits hold for the whole of a reply or a piece, and what nobody asked for takes no memory."""

import errno
import socket
from contextlib import suppress

import pytest

from meta1g import st
from meta1g.base.errors import TempError
from meta1g.rcb.common import ServerAddr
from meta1g.smtpc.connection import ServerConnection
from meta1g.smtpc.limits import UNASKED_REPLIES_MAX
from meta1g.smtpc.status import SessionError
from meta1g.st import offload as _warm
from tests.fakes.st_testing import no_leaks, virtual_clock

SERVER = ServerAddr(addr="127.0.0.1", port=25, host="mx.example")
SECOND = 1_000_000


@pytest.fixture(autouse=True)
def leaks():
    st.st_init()
    _warm(int)
    with no_leaks():
        yield


@pytest.fixture
def clock():
    with virtual_clock() as clock:
        yield clock


@pytest.fixture
def ends():
    """A connection and the server's end of it, with buffers as small as the system allows."""
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    conn, server = ServerConnection(st.st_netfd_open_socket(ours), SERVER), st.st_netfd_open_socket(theirs)
    yield conn, server
    conn.close()
    st.st_netfd_close(server)


def later(function, *args):
    return st.st_thread_create(lambda _: function(*args), None, True)


def say(server, text, pause_us=0):
    """Sends a text byte by byte with pauses, or at once."""
    with suppress(st.StError):
        if not pause_us:
            st.st_write(server, text, -1)
        for byte in text if pause_us else b"":
            st.st_write(server, bytes((byte,)), -1)
            st.st_usleep(pause_us)


def test_a_reply_that_comes_in_time_is_given(ends, clock):
    conn, server = ends
    thread = later(say, server, b"220 hello\r\n", SECOND)
    assert str(conn.reply(300, "greeting")) == "220 hello"
    st.st_thread_join(thread)


@pytest.mark.parametrize("text", [b"2" * 2000, b"220-x\r\n" * 100])
def test_a_reply_that_trickles_is_given_up_when_its_whole_time_is_over(ends, clock, text):
    conn, server = ends
    thread = later(say, server, text, SECOND)
    with pytest.raises(SessionError, match="greeting: timed out"):
        conn.reply(60, "greeting")
    assert clock.now_us == 60 * SECOND
    conn.close()
    st.st_thread_join(thread)


def sip(server):
    """Reads one kilobyte a second until the client closes."""
    while st.st_read(server, 1024, -1):
        st.st_usleep(SECOND)


def test_a_piece_that_is_read_slowly_is_given_up_when_its_whole_time_is_over(ends, clock):
    conn, server = ends
    thread = later(sip, server)
    with pytest.raises(SessionError, match="content: timed out"):
        conn.send(b"x" * (64 << 10), 20, "content")  # no pause is as long as that
    assert clock.now_us == 20 * SECOND
    conn.close()
    st.st_thread_join(thread)


def test_a_piece_that_is_read_slowly_but_in_time_arrives_whole(ends, clock):
    conn, server = ends
    data = bytes(range(256)) * 256
    thread = later(st.st_read_fully, server, len(data), -1)
    conn.send(data, 20, "content")
    assert st.st_thread_join(thread) == data


def test_no_wait_goes_beyond_the_limit_of_the_delivery(ends, clock):
    conn, _ = ends
    conn.until_us = st.st_utime() + 30 * SECOND
    with pytest.raises(SessionError, match="timed out"):
        conn.reply(300, "MAIL")
    assert clock.now_us == 30 * SECOND
    with pytest.raises(SessionError, match="timed out"):
        conn.send(b"x" * (1 << 20), 300, "content")
    assert clock.now_us == 30 * SECOND


def test_a_flood_of_replies_keeps_no_more_than_was_asked_for(ends, clock):
    conn, server = ends
    thread = later(say, server, b"220 hello\r\n" + b"250 ok\r\n" * 100_000)
    assert conn.reply(5, "greeting").code == 220
    assert len(conn._replies) <= UNASKED_REPLIES_MAX
    assert not conn.in_step
    with pytest.raises(SessionError, match=r"mx.example\[127.0.0.1\]:25: EHLO: a reply that nobody asked for: 250 ok"):
        conn.ask(b"EHLO us\r\n", 5, "EHLO")
    conn.close()
    st.st_thread_join(thread)


def test_a_group_gets_all_the_replies_that_it_asked_for(ends, clock):
    conn, server = ends
    say(server, b"220 hello\r\n")
    conn.reply(5, "greeting")
    conn.ask(b"NOOP\r\n" * 100, 5, "NOOP", 100)
    thread = later(say, server, b"250 ok\r\n" * 100)
    assert [conn.reply(5, "NOOP").code for _ in range(100)] == [250] * 100
    assert conn.in_step
    st.st_thread_join(thread)


def test_a_server_that_gives_up_unasked_is_heard_at_the_next_command(ends, clock):
    conn, server = ends
    say(server, b"220 hello\r\n421 4.3.2 no, sorry\r\n250 ok\r\n")
    conn.reply(5, "greeting")
    with pytest.raises(SessionError) as caught:
        conn.ask(b"EHLO us\r\n", 5, "EHLO")
    assert (caught.value.reply.code, caught.value.reply.text) == (421, "no, sorry")


@pytest.mark.parametrize(
    ("said", "code", "failure"),
    [
        (b"", None, None),
        (b"552 5.3.4 too big\r\n", 552, None),
        (b"250 ok\r\n", None, "a reply that nobody asked for"),
        (b"250 ok\r\n" * 10_000, None, "a reply that nobody asked for"),
        (b"354 more\r\n552 no\r\n", None, "a reply that nobody asked for"),
        (b"\0\xff\r\n", None, "not a reply"),
        (b"552-5.3.4 not all of it\r\n", None, None),
        (None, None, "server closed the connection"),
    ],
)
def test_what_comes_before_the_dot_is_looked_at_once(ends, clock, said, code, failure):
    conn, server = ends
    say(server, b"220 hello\r\n")
    conn.reply(5, "greeting")
    thread = later(say, server, said or b"")
    if said is None:
        st.st_netfd_close(server)
    st.st_usleep(0)
    before = st.switch_count()
    if failure is None:
        reply = conn.unasked("content")
        assert (reply and reply.code) == code
    else:
        with pytest.raises(SessionError, match=failure):
            conn.unasked("content")
    assert st.switch_count() == before
    conn.close()
    st.st_thread_join(thread)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
def test_a_shortage_here_is_not_held_against_the_server(monkeypatch, number):
    def fail(*args):
        raise OSError(number, "shortage")

    monkeypatch.setattr(socket, "socket", fail)
    with pytest.raises(TempError, match="cannot connect now: shortage"):
        ServerConnection.open(SERVER, 5)


@pytest.mark.parametrize(
    "facts", [{"port": 70_000}, {"addr": "no address\0", "port": 25}, {"addr": "unix:" + "x" * 300, "port": 0}]
)
def test_an_address_that_no_socket_takes_fails_the_session(facts):
    server = ServerAddr(**{"addr": "127.0.0.1", "host": "mx.example", **facts})
    with pytest.raises(SessionError) as caught:
        ServerConnection.open(server, 5)
    assert (caught.value.reply.code, caught.value.reply.ecode) == (451, "4.4.1")


# -- replies that nothing worse than silence can follow

HERE = "mx.example[127.0.0.1]:25: final dot:"


def hear(ends, clock, *words, timeout_s=60, late_s=5, close=False):
    """Reads one reply while the server says words, one a second, and closes perhaps."""
    conn, server = ends

    def talk():
        for word in words:
            say(server, word)
            st.st_usleep(SECOND)
        if close:
            st.st_netfd_close(server)

    thread = later(talk)
    try:
        return str(conn.reply(timeout_s, "final dot", late_s))
    except SessionError as error:
        return str(error.reply)
    finally:
        conn.close()
        st.st_thread_join(thread)


@pytest.mark.parametrize(
    ("words", "close", "expected", "after_s"),
    [
        ([b"250 kept\r\n"], False, "250 kept", 0),
        ([b"Warning\r\n", b"250 kept\r\n"], False, "250 kept", 1),
        ([b"Warning\r\n", b"Warning\r\n", b"Warning\r\n", b"554 no\r\n"], False, "554 no", 3),
        ([b"Warning\r\n"], False, f"451 4.5.0 {HERE} not a reply: Warning", 5),
        ([b"Warning\r\n", b"Warning\r\n", b"Warning\r\n"], False, f"451 4.5.0 {HERE} not a reply: Warning", 5),
        ([b"Warning\r\n"], True, f"451 4.5.0 {HERE} not a reply: Warning", 1),
        ([b"250 ke"], True, "250 ke", 1),
        ([b"250-ke\r\n"], True, "250 ke", 1),
        ([b"250-ke\r\n"], False, "250 ke", 60),
        ([b"25"], True, f"451 4.4.2 {HERE} server closed the connection", 1),
        ([], False, f"451 4.4.2 {HERE} timed out", 60),
    ],
)  # fmt: skip
def test_after_the_dot_whatever_may_be_an_answer_is_one(ends, clock, words, close, expected, after_s):
    assert hear(ends, clock, *words, close=close) == expected
    assert clock.now_us >= after_s * SECOND
    assert clock.now_us <= max(after_s, len(words)) * SECOND


def test_a_connection_that_gave_half_a_reply_is_used_no_more(ends, clock):
    conn, server = ends
    say(server, b"250 ke")
    st.st_netfd_close(server)
    assert conn.reply(60, "final dot", 5).code == 250
    assert not conn.in_step


@pytest.mark.parametrize("words", [[b"Warning\r\n", b"250 ok\r\n"], [b"250 o"], [b"25"]])
def test_before_the_dot_only_a_whole_reply_is_one(ends, clock, words):
    assert hear(ends, clock, *words, late_s=0, close=True).startswith("451 4.")
