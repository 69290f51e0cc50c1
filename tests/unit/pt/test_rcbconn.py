import errno
import os
import socket
import threading
import time
from contextlib import suppress

import pytest

from meta1g.base import failure, unixsock
from meta1g.base.accounts import Access
from meta1g.base.errors import BugError, Module, PermError, ProtocolError, TempError
from meta1g.base.paths import SOCKET_MODE
from meta1g.pt import batch
from meta1g.pt.rcbconn import RcbCom
from meta1g.pt.rcblink import RcbComLink
from meta1g.pt.rcblisten import RcbListener
from meta1g.pt.task import Result
from meta1g.rcb.codec import encode
from meta1g.rcb.control import PROTOCOL, CommandResult, ControlCommand
from meta1g.rcb.framing import Splitter, preamble

from .conftest import DEADLINE_S


def command(*words: str) -> ControlCommand:
    return ControlCommand(words=words)


def result(text: str) -> CommandResult:
    return CommandResult(exit_code=0, text=text)


def connect(evthr, path, protocol, *, on_close=None, log):
    """Connects to a listener."""
    conn = RcbCom(evthr, unixsock.connect(path, nonblocking=True), protocol, server=False, log=log)
    if on_close is not None:
        conn.on_close = on_close
    conn.start()
    return conn


class Server:
    """Answers each command with its words; keeps what happened.  Owner: the test."""

    def __init__(self, system, path, **arguments):
        self.system = system
        self.conns: list[RcbCom] = []
        self.ends: list[RcbCom] = []
        self.got: list[tuple[str, ...]] = []
        self.connected = threading.Event()
        self.ended = threading.Event()
        self.answer = True
        self.listener = RcbListener(system.evthr, path, PROTOCOL, on_connect=self.on_connect, log=system.log, **arguments)

    def on_connect(self, conn):
        conn.on_message = lambda *arguments: self.on_message(*arguments)  # noqa: PLW0108  tests replace it later
        conn.on_close = self.on_close
        self.conns.append(conn)
        self.connected.set()

    def on_message(self, conn, request_id, msg):
        self.got.append(msg.words)
        if self.answer:
            conn.reply(request_id, result(" ".join(msg.words)))

    def on_close(self, conn):
        self.ends.append(conn)
        self.ended.set()


class Replies:
    """Collects replies.  Owner: the test."""

    def __init__(self, count: int = 1):
        self.texts: list[str | None] = []
        self._count = count
        self._all = threading.Event()

    def __call__(self, reply):
        self.texts.append(None if reply is None else reply.text)
        if len(self.texts) == self._count:
            self._all.set()

    def wait(self) -> list[str | None]:
        assert self._all.wait(DEADLINE_S), f"only {len(self.texts)} replies"
        return self.texts


@pytest.fixture
def path(tmp_path):
    return tmp_path / "socket"


@pytest.fixture
def server(system, path):
    return Server(system, path)


def wait(event):
    assert event.wait(DEADLINE_S), "nothing happened in time"


def raw_client(path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(DEADLINE_S)
    sock.connect(str(path))
    return sock


def read_to_end(sock) -> bytes:
    data = b""
    with suppress(ConnectionResetError):
        while more := sock.recv(65536):
            data += more
    return data


def test_request_gets_its_reply(system, server, path):
    conn, replies = connect(system.evthr, path, PROTOCOL, log=system.log), Replies()
    conn.request(command("show", "queue"), replies)
    assert replies.wait() == ["show queue"]


def test_thousand_requests_get_their_replies_in_order(system, server, path):
    conn, replies = connect(system.evthr, path, PROTOCOL, log=system.log), Replies(1000)
    for number in range(1000):
        conn.request(command(str(number)), replies)
    assert replies.wait() == [str(number) for number in range(1000)]
    assert conn._rcb.pending == 0


def test_replies_may_come_in_another_order(system, server, path):
    server.answer = False
    ids, both = [], threading.Event()

    def keep(conn, request_id, msg):
        ids.append((conn, request_id, msg.words[0]))
        if len(ids) == 2:
            both.set()

    server.on_message = keep
    conn, replies, order = connect(system.evthr, path, PROTOCOL, log=system.log), Replies(2), []
    for word in ("one", "two"):
        conn.request(command(word), lambda reply, word=word: order.append(word) or replies(reply))
    wait(both)
    for peer, request_id, word in reversed(ids):
        peer.reply(request_id, result(word.upper()))
    assert replies.wait() == ["TWO", "ONE"]
    assert order == ["two", "one"]


def test_frames_of_one_callback_leave_in_one_send(system, server, path):
    server.answer = False
    with raw_client(path) as sock:
        wait(server.connected)
        assert sock.recv(65536) == preamble(PROTOCOL)
        conn = server.conns[0]

        def send_many():
            for number in range(50):
                conn.reply(number, result("x"))

        system.evthr.call_soon(send_many)
        first = sock.recv(1 << 20)
    assert first == b"".join(encode(result("x"), number) for number in range(50))


def test_large_message_passes_in_pieces(system, server, path):
    text = "x" * 3_000_000
    conn, replies = connect(system.evthr, path, PROTOCOL, log=system.log), Replies(2)
    conn.request(command(text), replies)
    conn.request(command("after"), replies)
    assert replies.wait() == [text, "after"]


def test_many_threads_send_at_once_and_nothing_is_lost_or_mixed(system, server, path):
    conn, replies = connect(system.evthr, path, PROTOCOL, log=system.log), Replies(2000)

    def send(thread):
        for number in range(500):
            conn.request(command(f"{thread}-{number}"), replies)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    texts = replies.wait()
    for number in range(4):
        own = [text for text in texts if text.startswith(f"{number}-")]
        assert own == [f"{number}-{index}" for index in range(500)]


def test_peer_credentials_are_known(system, server, path):
    conn = connect(system.evthr, path, PROTOCOL, log=system.log)
    wait(server.connected)
    assert (conn.peer.pid, conn.peer.uid) == (os.getpid(), os.geteuid())
    assert server.conns[0].peer.uid == os.geteuid()


def test_account_that_is_not_allowed_is_turned_away(system, path):
    server = Server(system, path, access=Access(None, frozenset({os.geteuid() + 1})))
    with raw_client(path) as sock:
        assert read_to_end(sock) == b""
    assert server.conns == []
    assert any("may not connect" in line for line in system.sink.lines)


def test_socket_gets_its_mode(system, path):
    Server(system, path)
    assert path.stat().st_mode & 0o777 == SOCKET_MODE


def test_stale_socket_is_replaced(system, path):
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    Server(system, path)
    replies = Replies()
    connect(system.evthr, path, PROTOCOL, log=system.log).request(command("x"), replies)
    assert replies.wait() == ["x"]


def test_socket_of_a_living_process_is_not_taken_over(system, server, path):
    with pytest.raises(PermError, match="another process listens"):
        Server(system, path)


def test_file_in_place_of_the_socket_is_kept(system, path):
    path.write_text("precious")
    with pytest.raises(PermError, match="no socket"):
        Server(system, path)
    assert path.read_text() == "precious"


def test_path_too_long_for_a_socket_is_refused_with_advice(system, tmp_path):
    with pytest.raises(PermError, match="shorter queue directory"):
        Server(system, tmp_path / ("x" * 120))


def test_closed_listener_removes_its_socket_and_keeps_connections(system, server, path):
    conn, replies = connect(system.evthr, path, PROTOCOL, log=system.log), Replies()
    wait(server.connected)
    server.listener.close()
    assert not path.exists()
    conn.request(command("still here"), replies)
    assert replies.wait() == ["still here"]


def test_listener_does_not_remove_the_socket_of_its_successor(system, server, path):
    path.unlink()
    Server(system, path)
    server.listener.close()
    assert path.exists()


def test_connecting_to_nobody_is_a_temporary_error(system, path):
    link = RcbComLink(system.evthr, path, PROTOCOL, log=system.log)
    with pytest.raises(TempError, match=f"no connection to {path} now"):
        link.now()
    link.close()


def test_end_of_the_peer_answers_open_requests_with_none_and_then_tells_on_close(system, server, path):
    server.answer = False
    order, closed = [], threading.Event()
    conn = connect(system.evthr, path, PROTOCOL, on_close=lambda conn: order.append("close") or closed.set(), log=system.log)
    got = threading.Event()
    server.on_message = lambda conn, request_id, msg: got.set()
    conn.request(command("x"), order.append)
    wait(got)
    server.conns[0].close()
    wait(closed)
    assert order == [None, "close"]
    assert conn.closed


def test_request_on_a_closed_connection_gets_none_but_not_inside_the_call(system, server, path):
    conn, inside, answers, done = connect(system.evthr, path, PROTOCOL, log=system.log), [], [], threading.Event()
    conn.close()
    inside.append(1)
    conn.request(command("x"), lambda reply: answers.append((reply, list(inside))) or done.set())
    wait(done)
    assert answers == [(None, [1])]


def test_post_on_a_closed_connection_is_dropped(system, server, path):
    conn = connect(system.evthr, path, PROTOCOL, log=system.log)
    conn.close()
    conn.close()
    conn.post(command("x"))
    conn.reply(1, command("x"))


def test_what_was_sent_before_close_arrives(system, server, path):
    conn = connect(system.evthr, path, PROTOCOL, log=system.log)

    def send_and_close():
        for number in range(100):
            conn.post(command(str(number)))
        conn.close()

    system.evthr.call_soon(send_and_close)
    wait(server.ended)
    assert len(server.got) == 100


def test_request_times_out_and_its_late_reply_is_dropped(system, server, path):
    asked = []
    second = threading.Event()

    def on_message(conn, request_id, msg):
        asked.append((conn, request_id))
        if len(asked) == 2:
            second.set()

    server.on_message = on_message
    conn, replies, later = connect(system.evthr, path, PROTOCOL, log=system.log), Replies(), Replies()
    conn.request(command("never"), lambda reply: None, timeout_s=1000)
    conn.request(command("slow"), replies, timeout_s=0.02)
    assert replies.wait() == [None]
    wait(second)
    asked[1][0].reply(asked[1][1], result("too late"))
    asked[0][0].reply(asked[0][1], result("fine"))
    server.on_message = lambda conn, request_id, msg: conn.reply(request_id, result("now"))
    conn.request(command("next"), later)
    assert later.wait() == ["now"]
    assert replies.texts == [None]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", "frame of"),
        (preamble(PROTOCOL)[:-1] + b"\x63", "does not speak version"),
        (preamble(PROTOCOL) + encode(result("x"), 1), "not allowed here"),
        (preamble(PROTOCOL) + b"\0\0\0\x0c" + b"\xff" * 12, "not allowed here"),
    ],
)
def test_nonsense_closes_the_connection_with_a_log_line(system, server, path, data, complaint):
    with raw_client(path) as sock:
        sock.sendall(data)
        read_to_end(sock)
    wait(server.ended)
    assert any(complaint in line for line in system.sink.lines)
    replies = Replies()
    connect(system.evthr, path, PROTOCOL, log=system.log).request(command("others live"), replies)
    assert replies.wait() == ["others live"]


def test_message_that_the_owner_refuses_closes_the_connection(system, server, path):
    def refuse(conn, request_id, msg):
        raise ProtocolError("not now")

    server.on_message = refuse
    conn, replies = connect(system.evthr, path, PROTOCOL, log=system.log), Replies()
    conn.request(command("x"), replies)
    assert replies.wait() == [None]
    assert any("not now" in line for line in system.sink.lines)


def test_failing_request_without_an_answer_closes_its_connection_and_no_other(system, server, path):
    good, good_replies, replies = connect(system.evthr, path, PROTOCOL, log=system.log), Replies(), Replies()
    server.on_message = lambda conn, request_id, msg: 1 // 0 if msg.words == ("bad",) else conn.reply(request_id, result("ok"))
    connect(system.evthr, path, PROTOCOL, log=system.log).request(command("bad"), replies)
    assert replies.wait() == [None]
    good.request(command("good"), good_replies)
    assert good_replies.wait() == ["ok"]
    assert any("ZeroDivisionError" in line for line in system.sink.lines)


def test_failing_reply_callback_does_not_keep_others_from_their_end(system, server, path):
    server.answer = False
    conn, replies = connect(system.evthr, path, PROTOCOL, log=system.log), Replies()
    conn.request(command("x"), lambda reply: 1 // 0)
    conn.request(command("y"), replies)
    conn.close()
    assert replies.wait() == [None]


def broken(*arguments):
    raise BugError(Module.QMGR, "broken")


def test_bug_in_a_callback_ends_the_process(system, server, path, exits):
    server.on_message = broken
    connect(system.evthr, path, PROTOCOL, log=system.log).request(command("x"), lambda reply: None)
    system.join()
    assert exits == [70]


def test_failing_request_gets_its_answer_and_costs_no_other_of_the_connection(system, server, path):
    """Requests of many sessions share one connection."""

    def on_message(conn, request_id, msg):
        if "bad" in msg.words:
            raise ValueError("broken")
        conn.reply(request_id, result(" ".join(msg.words)))

    def on_failure(conn, request_id, msg):
        conn.reply(request_id, result("try again"))
        return True

    server.on_message = on_message
    conn, replies = connect(system.evthr, path, PROTOCOL, log=system.log), Replies(5)
    wait(server.connected)
    server.conns[0].on_failure = on_failure
    before = failure.contained_count()
    with batch.batch():  # all in one read
        for word in ("one", "bad", "two", "bad", "three"):
            conn.request(command(word), replies)
    assert replies.wait() == ["one", "try again", "two", "try again", "three"]
    assert failure.contained_count() == before + 2
    assert not conn.closed


@pytest.mark.parametrize("on_failure", [lambda *arguments: False, lambda *arguments: 1 // 0])
def test_failing_request_that_nobody_answers_closes_the_connection_so_that_its_peer_hears(system, server, path, on_failure):
    server.on_message = lambda conn, request_id, msg: 1 // 0
    conn, replies = connect(system.evthr, path, PROTOCOL, log=system.log), Replies(2)
    wait(server.connected)
    server.conns[0].on_failure = on_failure
    with batch.batch():
        conn.request(command("bad"), replies)
        conn.request(command("good"), replies)
    assert replies.wait() == [None, None]
    wait(server.ended)
    assert server.ends == server.conns


def test_answer_that_does_not_fit_costs_its_request_only(system, server, path):
    def on_message(conn, request_id, msg):
        conn.reply(request_id, CommandResult(exit_code=-1 if "bad" in msg.words else 0, text="fine"))

    server.on_message = on_message
    conn, replies = connect(system.evthr, path, PROTOCOL, log=system.log), Replies(2)
    wait(server.connected)
    server.conns[0].on_failure = lambda conn, request_id, msg: conn.reply(request_id, result("sorry")) or True
    with batch.batch():
        conn.request(command("bad"), replies)
        conn.request(command("good"), replies)
    assert replies.wait() == ["sorry", "fine"]


def test_failing_waiter_costs_its_own_reply_only(system, server, path):
    conn, replies = connect(system.evthr, path, PROTOCOL, log=system.log), Replies(2)
    with batch.batch():
        conn.request(command("one"), replies)
        conn.request(command("two"), lambda reply: 1 // 0)
        conn.request(command("three"), replies)
    assert replies.wait() == ["one", "three"]
    assert not conn.closed


def test_failing_waiter_at_its_time_out_does_not_keep_others_from_theirs(system, server, path):
    server.answer = False
    conn, replies = connect(system.evthr, path, PROTOCOL, log=system.log), Replies()
    conn.request(command("one"), lambda reply: 1 // 0, timeout_s=0.01)
    conn.request(command("two"), replies, timeout_s=0.01)
    assert replies.wait() == [None]
    assert not conn.closed


def test_failing_on_close_is_called_once_and_costs_nothing(system, server, path):
    calls = []

    def on_close(conn):
        calls.append(conn)
        server.ended.set()
        raise ValueError("broken")

    server.on_close = on_close
    conn = connect(system.evthr, path, PROTOCOL, log=system.log)
    wait(server.connected)
    server.conns[0].on_close = on_close
    conn.close()
    wait(server.ended)
    system.stop()
    assert len(calls) == 1


def test_failing_on_connect_costs_this_client_only(system, server, path):
    """The listener goes on: it is the frame."""
    good = server.on_connect
    server.listener._on_connect = lambda conn: 1 // 0
    with raw_client(path) as sock:
        assert read_to_end(sock) == b""
    server.listener._on_connect = good
    replies = Replies()
    connect(system.evthr, path, PROTOCOL, log=system.log).request(command("next"), replies)
    assert replies.wait() == ["next"]


def test_connection_that_cannot_be_watched_ends_as_any_other(system, server, path, monkeypatch):
    real = system.evthr.task_new

    def short(function, **arguments):
        if arguments.get("name") == PROTOCOL.name:
            raise OSError(errno.ENOSPC, "no space for watches")
        return real(function, **arguments)

    monkeypatch.setattr(system.evthr, "task_new", short)
    with raw_client(path) as sock:
        assert read_to_end(sock) == b""
    wait(server.ended)
    monkeypatch.setattr(system.evthr, "task_new", real)
    replies = Replies()
    connect(system.evthr, path, PROTOCOL, log=system.log).request(command("next"), replies)
    assert replies.wait() == ["next"]
    assert server.ends == server.conns[:1]


def test_messages_of_one_connection_give_others_their_turn(make_system, path):
    """With one thread: what one peer sends in one go does not hold up another (invariant I10)."""
    system = make_system(soft_threads=1, hard_threads=1)
    server, done, behind = Server(system, path), [], []

    def on_message(conn, request_id, msg):
        if msg.words == ("slow",):
            end = time.monotonic() + 0.002
            while time.monotonic() < end:
                pass
            done.append(request_id)
        conn.reply(request_id, result("ok"))

    server.on_message = on_message
    with raw_client(path) as many, raw_client(path) as one:
        many.sendall(preamble(PROTOCOL) + b"".join(encode(command("slow"), number) for number in range(1, 501)))
        wait(server.connected)
        one.sendall(preamble(PROTOCOL) + encode(command("quick"), 1))
        data = b""
        while len(data) <= len(preamble(PROTOCOL)):
            data += one.recv(65536)
        behind.append(len(done))
        frames = Splitter(PROTOCOL)
        answers = []
        while len(answers) < 500:
            answers += frames.feed(many.recv(65536))
    assert behind[0] < 250, "all of one peer came before the other"
    assert done == list(range(1, 501)), "in order, each once"


def test_what_a_peer_said_before_it_closed_is_still_handed_on(make_system, path):
    system = make_system(soft_threads=1, hard_threads=1)
    server = Server(system, path)
    server.answer = False
    server.on_message = lambda conn, request_id, msg: time.sleep(0.001) or server.got.append(msg.words)
    with raw_client(path) as sock:
        sock.sendall(preamble(PROTOCOL) + b"".join(encode(command(str(number)), number) for number in range(100)))
    wait(server.ended)
    assert server.got == [(str(number),) for number in range(100)]


class ShortSocket:
    """A listening socket that has an error at first."""

    def __init__(self, sock, *errors):
        self._sock = sock
        self._errors = list(errors)

    def __getattr__(self, name):
        return getattr(self._sock, name)

    def accept(self):
        if self._errors:
            raise OSError(self._errors.pop(0), "no")
        return self._sock.accept()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ECONNABORTED, errno.EPERM])
def test_listener_gets_over_a_shortage_and_what_is_gone_already(system, server, path, number):
    server.listener._sock = ShortSocket(server.listener._sock, number, number)
    replies = Replies()
    connect(system.evthr, path, PROTOCOL, log=system.log).request(command("x"), replies)
    assert replies.wait() == ["x"]


def test_listener_that_is_broken_ends_the_process(system, server, path, exits):
    server.listener._sock = ShortSocket(server.listener._sock, errno.EBADF)
    with raw_client(path):
        system.join()
    assert exits == [70]


def test_output_that_cannot_be_collected_costs_its_connection_only(system, server, path):
    wait_for, replies = Replies(), Replies()
    bad = connect(system.evthr, path, PROTOCOL, log=system.log)
    good = connect(system.evthr, path, PROTOCOL, log=system.log)

    class NoMemory:
        def __init__(self, sock):
            self._sock = sock

        def __getattr__(self, name):
            return getattr(self._sock, name)

        def send(self, data):
            raise MemoryError

    bad._sock = NoMemory(bad._sock)
    with batch.batch():
        bad.request(command("lost"), wait_for)
        good.request(command("kept"), replies)
    assert replies.wait() == ["kept"]
    assert wait_for.wait() == [None]


def test_peer_that_does_not_read_is_given_up_at_the_bound(system, path):
    server = Server(system, path)
    with raw_client(path):
        wait(server.connected)
        conn = server.conns[0]
        conn._rcb._write_max = 1 << 20
        text = "x" * 100_000
        for number in range(100):
            conn.reply(number, result(text))
        wait(server.ended)
    assert "does not read" in server.ends[0].close_reason
    assert conn._rcb.unsent_bytes == 0


def test_message_that_nobody_expects_closes_the_connection(system, path):
    RcbListener(system.evthr, path, PROTOCOL, on_connect=lambda conn: None, log=system.log)
    conn, replies = connect(system.evthr, path, PROTOCOL, log=system.log), Replies()
    conn.request(command("x"), replies)
    assert replies.wait() == [None]


def test_stopping_the_system_closes_connections(make_system, tmp_path):
    one = make_system()
    server = Server(one, tmp_path / "socket")
    with raw_client(tmp_path / "socket") as sock:
        wait(server.connected)
        one.stop()
        assert read_to_end(sock) == preamble(PROTOCOL)
    assert server.ends == server.conns


def test_link_comes_up_by_itself_when_its_server_appears(system, path):
    up, replies = threading.Event(), Replies()
    link = RcbComLink(system.evthr, path, PROTOCOL, on_up=lambda conn: up.set(), log=system.log)
    assert not link.up
    with pytest.raises(TempError, match="no connection"):
        link.now().request(command("x"), replies)
    Server(system, path)
    wait(up)
    link.conn.request(command("x"), replies)
    assert replies.wait() == ["x"]
    link.close()


def test_link_sends_its_hello_first_and_again_after_each_loss(system, path):
    events, twice, down = [], threading.Event(), threading.Event()
    server = Server(system, path)

    def on_up(conn):
        events.append("up")
        conn.request(command("hello"), lambda reply: None)
        if events.count("up") == 2:
            twice.set()

    link = RcbComLink(
        system.evthr, path, PROTOCOL, on_up=on_up, on_down=lambda: events.append("down") or down.set(), log=system.log
    )
    wait(server.connected)
    server.conns[0].close()
    wait(down)
    wait(twice)
    assert events == ["up", "down", "up"]
    link.close()
    wait(server.ended)


def test_link_answers_open_requests_before_it_tells_that_it_is_down(system, path):
    order, down, asked = [], threading.Event(), threading.Event()
    server = Server(system, path)
    server.on_message = lambda conn, request_id, msg: asked.set()
    link = RcbComLink(
        system.evthr,
        path,
        PROTOCOL,
        on_up=lambda conn: conn.request(command("x"), order.append) and None,
        on_down=lambda: order.append("down") or down.set(),
        log=system.log,
    )
    wait(asked)
    link.close()
    wait(down)
    assert order == [None, "down"]


def test_closed_link_does_not_come_back(system, path):
    downs = []
    link = RcbComLink(system.evthr, path, PROTOCOL, on_down=lambda: downs.append(1), log=system.log)
    link.close()
    server = Server(system, path)
    probe = Replies()
    connect(system.evthr, path, PROTOCOL, log=system.log).request(command("x"), probe)
    probe.wait()
    assert len(server.conns) == 1
    assert downs == []


def test_link_whose_owner_fails_at_the_end_connects_again(system, path):
    server, twice, ups = Server(system, path), threading.Event(), []

    def on_up(conn):
        ups.append(conn)
        if len(ups) == 2:
            twice.set()

    link = RcbComLink(system.evthr, path, PROTOCOL, on_up=on_up, on_down=lambda: 1 // 0, log=system.log)
    wait(server.connected)
    server.conns[0].close()
    wait(twice)
    link.close()


def test_link_gets_over_a_shortage(system, path, monkeypatch):
    Server(system, path)
    up, real, short = threading.Event(), socket.socket, []

    def no_socket(*arguments, **keys):
        short.append(1)
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr("socket.socket", no_socket)
        tried = threading.Event()
        link = RcbComLink(system.evthr, path, PROTOCOL, on_up=lambda conn: up.set(), log=system.log)
        system.evthr.timer(0.01, lambda task: tried.set() or Result.DEL)
        wait(tried)
        assert not link.up
    assert socket.socket is real
    wait(up)
    assert short
    link.close()


def test_link_whose_owner_fails_tries_again(make_system, path):
    system, tries, up = make_system(), [], threading.Event()
    Server(system, path)

    def on_up(conn):
        tries.append(1)
        if len(tries) == 1:
            raise TempError(Module.RCB, "not yet")
        up.set()

    link = RcbComLink(system.evthr, path, PROTOCOL, on_up=on_up, log=system.log)
    wait(up)
    link.close()
