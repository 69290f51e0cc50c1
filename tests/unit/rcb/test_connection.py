"""The RCB connection without a socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.errors import ProtocolError, TempError
from meta1g.base.reply import Reply
from meta1g.rcb.codec import encode
from meta1g.rcb.connection import DEADLINES_SPARE, READ_BYTES, Connection
from meta1g.rcb.framing import preamble
from meta1g.rcb.smtps_qmgr import PROTOCOL, CloseSession, NewSession, QmgrHello, SmtpsHello, Stat, Throttle


def pair(**options):
    return Connection(PROTOCOL, server=False, **options), Connection(PROTOCOL, server=True, **options)


def hello(number=0):
    return SmtpsHello(smtps_id=number, name="MTA", pid=1, max_threads=5)


def taken(sender):
    """Gives what the connection offers to a socket that takes all."""
    pieces = []

    def send(data):
        pieces.append(bytes(data))
        return len(data)

    sender.give(send)
    assert len(pieces) <= 1
    return b"".join(pieces)


def flow(sender, receiver):
    return list(receiver.receive(taken(sender)))


def test_a_reply_brings_back_the_waiter_of_its_request():
    client, server = pair()
    client.request(hello(), "first")
    client.request(NewSession(session_id="S", client_addr="192.0.2.1"), "second")
    client.post(CloseSession(session_id="S"))
    asked = flow(client, server)
    assert [type(event.msg) for event in asked] == [SmtpsHello, NewSession, CloseSession]
    assert [event.waiter for event in asked] == [None] * 3
    server.post(Throttle(max_threads=0))
    server.reply(asked[1].request_id, Stat(reply=Reply(220)))
    server.reply(asked[0].request_id, QmgrHello(max_threads=5))
    assert [event.waiter for event in flow(server, client)] == [None, "second", "first"]
    assert client.pending == 0


def test_the_first_frame_is_the_protocol_version_and_all_that_waits_leaves_at_once():
    client, _ = pair()
    client.post(CloseSession(session_id="S"))
    data = taken(client)
    assert data.startswith(preamble(PROTOCOL))
    assert len(data) > len(preamble(PROTOCOL))
    assert taken(client) == b""


def test_what_the_socket_did_not_take_goes_first():
    client, server = pair()
    client.request(hello(1), "a")
    got = []
    client.give(lambda data: got.append(bytes(data[:7])) or 7)
    assert client.blocked
    client.request(hello(2), "b")
    rest = taken(client)
    assert [event.msg.smtps_id for event in server.receive(got[0] + rest)] == [1, 2]
    assert client.unsent_bytes == 0
    assert not client.blocked


def test_a_long_rest_is_not_copied_and_what_came_later_follows_it():
    client, _ = pair()
    client.request(NewSession(session_id="S" * 200_000, client_addr="192.0.2.1"), "a")
    client.give(lambda data: 10)
    client.request(hello(2), "b")
    start, pieces = client.unsent_bytes, []
    client.give(lambda data: pieces.append(bytes(data)) or len(data))
    assert len(pieces) == 2
    assert sum(map(len, pieces)) == start
    assert client.unsent_bytes == 0


def test_a_full_socket_keeps_everything():
    client, server = pair()
    client.request(hello(1), "a")

    def full(data):
        raise BlockingIOError

    before = client.unsent_bytes
    client.give(full)
    assert client.blocked
    assert client.unsent_bytes == before
    assert [event.msg.smtps_id for event in flow(client, server)] == [1]


@pytest.mark.parametrize("error", [BrokenPipeError, ConnectionResetError])
def test_a_peer_that_closed_mutes_the_connection(error):
    client, _ = pair()

    def gone(data):
        raise error

    client.give(gone)
    assert client.muted
    assert not client.closed
    assert client.unsent_bytes == 0


def test_shut_keeps_the_waiters_for_close():
    client, _ = pair()
    client.request(hello(), "a")
    assert client.shut("enough")
    assert not client.shut("again")
    assert client.pending == 1
    assert client.close("later") == ["a"]
    assert client.reason == "enough"


def test_a_peer_that_does_not_read_is_noticed():
    client, _ = pair(write_max_bytes=1000)
    assert not client.overfull
    for number in range(30):
        client.request(hello(number), "x")
    assert client.overfull


def test_a_waiter_comes_back_when_its_time_is_over_and_a_late_reply_is_dropped():
    client, server = pair()
    client.request(hello(1), "short", deadline_s=10.0)
    client.request(hello(2), "long", deadline_s=20.0)
    client.request(hello(3), "for ever")
    assert client.next_deadline_s == 10.0
    assert client.expire(9.9) == []
    assert client.expire(10.0) == ["short"]
    assert client.next_deadline_s == 20.0
    for event in flow(client, server):
        server.reply(event.request_id, QmgrHello(max_threads=1))
    assert [event.waiter for event in flow(server, client)] == ["long", "for ever"]
    assert client.expire(99.0) == []
    assert client.next_deadline_s is None


def test_deadlines_of_answered_requests_do_not_pile_up():
    client, server = pair()
    for _ in range(5 * DEADLINES_SPARE):
        client.request(hello(), "x", deadline_s=1e9)
        event = flow(client, server)[-1]
        server.reply(event.request_id, QmgrHello(max_threads=1))
        flow(server, client)
    assert len(client._deadlines) <= DEADLINES_SPARE + 3


def test_a_forgotten_request_gives_its_waiter_back_once():
    client, server = pair()
    number = client.request(hello(), "x")
    assert client.forget(number) == "x"
    assert client.forget(number) is None
    server.reply(flow(client, server)[0].request_id, QmgrHello(max_threads=1))
    assert flow(server, client) == []


def test_close_gives_back_all_waiters_once_and_nothing_goes_any_more():
    client, _ = pair()
    client.request(hello(), "a", deadline_s=1.0)
    client.request(hello(), "b")
    assert client.close("closed by us") == ["a", "b"]
    assert client.close("again") == []
    assert client.reason == "closed by us"
    assert client.expire(99.0) == []
    with pytest.raises(TempError, match="closed by us"):
        client.post(CloseSession(session_id="S"))


def test_no_further_message_is_given_after_close():
    client, server = pair()
    client.request(hello(1), "a")
    client.request(hello(2), "b")
    events = server.receive(taken(client))
    assert next(events).msg.smtps_id == 1
    server.close("enough")
    assert list(events) == []


def test_the_last_words_of_a_peer_that_reads_no_more_are_received():
    client, server = pair()
    server.post(Throttle(max_threads=0))
    client.mute()
    with pytest.raises(TempError, match="the peer closed the connection"):
        client.request(hello(), "x")
    assert client.pending == 0
    assert [type(event.msg) for event in flow(server, client)] == [Throttle]


def test_messages_before_a_wrong_one_are_given():
    client, server = pair()
    client.request(hello(1), "a")
    data = taken(client) + b"\0\0\0\x0c" + b"\xff" * 12
    got = []
    with pytest.raises(ProtocolError):
        got.extend(event.msg for event in server.receive(data))
    # a list that is extended by a failing iterator keeps what came before
    assert [msg.smtps_id for msg in got] == [1]


def test_a_value_that_cannot_be_sent_leaves_no_trace():
    client, server = pair()
    with pytest.raises(ProtocolError):
        client.request(hello(-1), "x")
    assert client.pending == 0
    assert flow(client, server) == []


@given(st.lists(st.sampled_from("qrp"), max_size=20), st.lists(st.integers(1, 50), max_size=60))
def test_however_the_bytes_are_cut_every_waiter_comes_back_once(kinds, cuts):
    client, server = pair()
    asked = [client.request(hello(number), number) for number, kind in enumerate(kinds) if kind == "q"]
    data, events, offset = taken(client), [], 0
    for cut in [*cuts, len(data)]:
        events += server.receive(data[offset : offset + cut])
        offset += cut
    for event in reversed(events):
        server.reply(event.request_id, QmgrHello(max_threads=1))
    answers = taken(server)
    back = [event.waiter for cut in range(0, len(answers), 13) for event in client.receive(answers[cut : cut + 13])]
    assert len(back) == len(asked) == len(set(back))
    assert client.close("end") == []


def test_take_reads_once_and_tells_whether_there_may_be_more_and_whether_that_was_the_end():
    client, server = pair()
    post = CloseSession(session_id="S1")
    client.post(post)
    stream, asked = [taken(client), b""], []

    def recv(count):
        asked.append(count)
        return stream.pop(0)

    assert [event.msg for event in server.take(recv)] == [post]
    assert (server.drained, server.ended, asked) == (True, False, [READ_BYTES])
    assert list(server.take(recv)) == []
    assert server.ended
    while client.unsent_bytes < READ_BYTES:
        client.post(post)
    assert len(list(server.take(lambda count: taken(client)[:count]))) == READ_BYTES // len(encode(post))
    assert not server.drained


def test_a_socket_that_has_nothing_leaves_all_as_it_was():
    client, server = pair()

    def recv(count):
        raise BlockingIOError

    with pytest.raises(BlockingIOError):
        list(server.take(recv))
    client.post(CloseSession(session_id="S1"))
    assert len(flow(client, server)) == 1
    assert not server.ended
