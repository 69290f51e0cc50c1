import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.maps.base import MapResult, MapStatus
from meta1g.maps.limits import ANSWER_MAX_BYTES
from meta1g.maps.sockmap import NetstringError, SocketMap, netstring, parse_answer, take_netstring
from tests.fakes.mapserver import MapServer

SHORT_S = 0.2


@pytest.fixture
def make_map():
    made = []

    def make(server, mapname="aliases", **options):
        one = SocketMap("m", server.target if isinstance(server, MapServer) else server, mapname, **options)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("OK root@domain.net", MapResult(MapStatus.OK, "root@domain.net")),
        ("OK", MapResult(MapStatus.OK, "")),
        ("OK smith dmk <rev@another.domain>", MapResult(MapStatus.OK, "smith dmk <rev@another.domain>")),
        ("NOTFOUND", MapResult(MapStatus.NOTFOUND)),
        ("NOMORE", MapResult(MapStatus.NOMORE)),
        ("TEMP data base away", MapResult(MapStatus.TEMP, "data base away")),
        ("TIMEOUT", MapResult(MapStatus.TEMP)),
        ("PERM no such map", MapResult(MapStatus.PERM, "no such map")),
    ],
)
def test_the_answer_of_the_server_is_the_result(make_map, tmp_path, answer, expected):
    with MapServer(lambda text: answer, tmp_path / "s") as server:
        assert make_map(server).lookup("news") == expected
        assert server.requests == ["aliases news"]


def test_a_tcp_server_is_asked_the_same_way(make_map):
    with MapServer(lambda text: "OK yes") as server:
        assert make_map(server).lookup("k").value == "yes"


def test_keys_and_values_beyond_ascii_pass_unchanged(make_map):
    with MapServer(lambda text: f"OK {text}") as server:
        assert make_map(server).lookup("jörg\udcff").value == "aliases jörg\udcff"


def test_a_question_that_is_on_the_way_when_the_map_is_closed_leaves_no_connection_open(make_map):
    asked, answer = threading.Event(), threading.Event()

    def late(text: str) -> str:
        asked.set()
        answer.wait(20)
        return "OK yes"

    found = []
    with MapServer(late) as server:
        one = make_map(server)
        thread = threading.Thread(target=lambda: found.append(one.lookup("k")))
        thread.start()
        assert asked.wait(20)
        one.close()
        answer.set()
        thread.join(20)
    assert [result.value for result in found] == ["yes"]
    assert not one._idle


def test_one_connection_serves_many_questions(make_map):
    with MapServer(lambda text: "OK yes") as server:
        one = make_map(server)
        for number in range(20):
            one.lookup(str(number))
        assert server.connections == 1


def test_a_kept_connection_that_the_server_closed_is_replaced_unnoticed(make_map):
    with MapServer(lambda text: "OK yes") as server:
        one = make_map(server)
        for _ in range(3):
            assert one.lookup("k").value == "yes"
            server.drop()
        assert server.connections == 3


def test_questions_at_the_same_time_have_connections_of_their_own(make_map):
    barrier = threading.Barrier(5)

    def answer(text):
        barrier.wait(10)
        return "OK yes"

    with MapServer(answer) as server:
        one = make_map(server, idle_max=2)
        threads = [threading.Thread(target=one.lookup, args=("k",)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert server.connections == 5
        assert len(one._idle) == 2


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"",
        b"5:OK",
        b"x:OK y,",
        b":OK y,",
        b"4:OK y;",
        b"99999999:",
        b"9999999:",
        b"OK yes\n",
        b"4:OK y,4:OK z,",
        "WHAT",
        "",
    ],
)
def test_silence_and_nonsense_are_temporary(make_map, answer):
    with MapServer(lambda text: answer) as server:
        result = make_map(server, timeout_s=SHORT_S).lookup("k")
        assert result.status is MapStatus.TEMP
        assert result.value


def test_a_server_that_is_away_is_temporary_and_named(make_map, tmp_path):
    result = make_map(str(tmp_path / "nobody")).lookup("k")
    assert (result.status, str(tmp_path / "nobody") in result.value) == (MapStatus.TEMP, True)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = sock.getsockname()
    result = make_map(address).lookup("k")
    assert (result.status, f"127.0.0.1:{address[1]}" in result.value) == (MapStatus.TEMP, True)


def test_a_server_that_trickles_costs_no_more_than_the_time_out(make_map):
    with MapServer(lambda text: b"100:OK ") as server:
        assert make_map(server, timeout_s=SHORT_S).lookup("k").status is MapStatus.TEMP


def test_a_connection_that_failed_is_not_used_again(make_map):
    answers = ["OK yes", b"nonsense:", "OK again"]
    with MapServer(lambda text: answers[len(server.requests) - 1]) as server:
        one = make_map(server, timeout_s=5)
        assert [one.lookup("k").value for _ in range(2)] == ["yes", "again"]


def test_long_answers_are_whole(make_map):
    text = "x" * 100_000
    with MapServer(lambda _: f"OK {text}") as server:
        assert make_map(server).lookup("smtpc_rcpt_conf:a@example.org").value == text


@given(st.text(st.characters(codec="utf-8")))
def test_netstrings_are_read_back_byte_by_byte(text):
    data = netstring(text)
    for cut in range(len(data)):
        assert take_netstring(data[:cut]) is None
    assert take_netstring(data + b"rest") == (text.encode(), len(data))


@given(st.binary(max_size=20))
def test_any_bytes_are_a_netstring_or_an_error(data):
    try:
        taken = take_netstring(data)
    except NetstringError:
        return
    assert taken is None or taken[1] <= len(data)


def test_too_long_answers_are_refused_before_they_are_read():
    with pytest.raises(NetstringError):
        take_netstring(b"%d:" % (ANSWER_MAX_BYTES + 1))


@given(st.binary(max_size=30))
def test_any_answer_has_a_status(data):
    assert isinstance(parse_answer(data), MapResult)
