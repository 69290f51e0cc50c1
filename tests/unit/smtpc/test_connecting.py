"""Connecting to a server with several addresses: their order, the second attempt, and where connections come from."""

import socket
from contextlib import contextmanager, suppress

import pytest

from meta1g import st
from meta1g.base.errors import TempError
from meta1g.conf.errors import ConfigError
from meta1g.rcb.common import ServerAddr
from meta1g.smtpc.connecting import Unreached, connect, in_order
from meta1g.smtpc.limits import UNREACHED_MAX, UNREACHED_S
from meta1g.smtpc.settings import Settings
from meta1g.smtpc.sources import ANY_SOURCE, Sources, check_source
from meta1g.smtpc.status import SessionError
from tests.fakes.smtp_server import ScriptedServer
from tests.fakes.st_testing import virtual_clock
from tests.unit.conf.text import load

CONTENT = b"Received: here\r\nSubject: x\r\n\r\nbody\r\n"


@pytest.fixture(autouse=True)
def state_threads():
    st.st_init()


def servers(port, *addresses):
    return tuple(ServerAddr(addr=addr, port=port, host="mx.example") for addr in addresses)


@contextmanager
def listening(*addresses):
    """Gives a port that servers listen on, each at its address."""
    with suppress(OSError):
        first = socket.create_server((addresses[0], 0), family=socket.AF_INET6 if ":" in addresses[0] else socket.AF_INET)
        port = first.getsockname()[1]
        made = [first]
        try:
            for addr in addresses[1:]:
                made.append(socket.create_server((addr, port), family=socket.AF_INET6 if ":" in addr else socket.AF_INET))
            yield port
        finally:
            for one in made:
                one.close()
        return


@contextmanager
def silent(address):
    """Gives a port whose queue of connections is full: whoever connects there hears nothing."""
    server = socket.socket()
    server.bind((address, 0))
    server.listen(0)
    port = server.getsockname()[1]
    filling = []
    for _ in range(4):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex((address, port))
        filling.append(one)
    try:
        yield port
    finally:
        for one in (server, *filling):
            one.close()


@pytest.mark.parametrize(
    ("addresses", "bad", "order"),
    [
        ("1 2", "", "1 2"),
        ("1 2 :3 :4", "", "1 :3 2 :4"),
        (":1 :2 3 4", "", ":1 3 :2 4"),
        ("1 2 3 :4", "", "1 :4 2 3"),
        (":1 2", ":1", "2 :1"),
        ("1 2 :3 :4", "1 :3", "2 :4 1 :3"),
        ("1 2", "1 2", "1 2"),
    ],
)
def test_families_take_turns_and_what_was_not_reached_comes_last(addresses, bad, order):
    made = in_order(servers(25, *addresses.split()), lambda one: one.addr in bad.split())
    assert [one.addr for one in made] == order.split()


def test_the_first_address_that_answers_is_used():
    with listening("127.0.0.1", "127.0.0.2") as port:
        made = connect(servers(port, "127.0.0.2", "127.0.0.1"), 5, ANY_SOURCE, Unreached())
        assert made.server.addr == "127.0.0.2"
        made.close()


def test_an_address_that_refuses_is_followed_by_the_next_at_once_and_comes_last_afterwards():
    unreached = Unreached()
    with listening("127.0.0.3") as port:
        both = servers(port, "127.0.0.2", "127.0.0.3")
        made = connect(both, 5, ANY_SOURCE, unreached)
        assert made.server.addr == "127.0.0.3"
        made.close()
        assert [unreached.has(one) for one in both] == [True, False]


def test_an_address_that_is_silent_is_overtaken_and_comes_last_afterwards():
    unreached = Unreached()
    with silent("127.0.0.2") as port, socket.create_server(("127.0.0.3", port)):
        both = servers(port, "127.0.0.2", "127.0.0.3")
        before_us = st.st_utime()
        made = connect(both, 600, ANY_SOURCE, unreached)
        assert made.server.addr == "127.0.0.3"
        made.close()
        assert st.st_utime() - before_us >= 250_000
        assert [unreached.has(one) for one in both] == [True, False]


def test_a_family_that_this_machine_has_no_way_for_is_passed_over():
    with listening("127.0.0.1") as port:
        made = connect(servers(port, "2001:db8::1", "127.0.0.1"), 5, ANY_SOURCE, Unreached())
        assert made.server.addr == "127.0.0.1"
        made.close()


def test_when_nobody_answers_all_are_named():
    with listening("127.0.0.1") as port:
        pass
    with pytest.raises(SessionError) as caught:
        connect(servers(port, "127.0.0.2", "127.0.0.3"), 5, ANY_SOURCE, Unreached())
    text = caught.value.reply.one_line
    assert "127.0.0.2" in text
    assert "1 more addresses: mx.example[127.0.0.3]" in text


def test_each_address_has_its_time(monkeypatch):
    with silent("127.0.0.2") as port, virtual_clock() as clock:
        with pytest.raises(SessionError, match="timed out"):
            connect(servers(port, "127.0.0.2", "127.0.0.2"), 30, ANY_SOURCE, Unreached())
        assert clock.now_us == 30_250_000


def test_what_was_not_reached_is_forgotten_after_a_while_and_the_oldest_if_there_are_many():
    with virtual_clock() as clock:
        unreached = Unreached()
        many = servers(25, *(f"10.0.{number // 250}.{number % 250}" for number in range(UNREACHED_MAX + 1)))
        for one in many:
            unreached.add(one)
        assert [unreached.has(one) for one in (many[0], many[1], many[-1])] == [False, True, True]
        clock.now_us += (UNREACHED_S + 1) * 1_000_000
        assert not unreached.has(many[-1])


def test_a_shortage_in_the_second_attempt_leaves_the_first(monkeypatch):
    with silent("127.0.0.2") as port, virtual_clock():
        real = socket.socket
        made = []

        def few(*args, **kwargs):
            if len(made) > 0:
                raise OSError(24, "Too many open files")
            made.append(real(*args, **kwargs))
            return made[0]

        monkeypatch.setattr("meta1g.smtpc.connection.socket.socket", few)
        with pytest.raises(SessionError, match="timed out"):
            connect(servers(port, "127.0.0.2", "127.0.0.3"), 30, ANY_SOURCE, Unreached())


# -- where connections come from


def test_each_family_has_its_source():
    def made(text):
        return Settings.from_config(load(f"smtpc {{ {text} }}")).sources

    assert made("") == ANY_SOURCE
    assert made("source_address = 127.0.0.2;") == Sources("127.0.0.2", "")
    assert made("source_address = ::2;") == Sources("", "::2")
    assert made("source_address = 127.0.0.2; source_address6 = ::2;") == Sources("127.0.0.2", "::2")
    with pytest.raises(ConfigError, match="are both IPv6"):
        made("source_address = ::1; source_address6 = ::2;")
    with pytest.raises(ConfigError, match="is not an IPv6 address"):
        made("source_address6 = 127.0.0.2;")


@pytest.mark.parametrize(("address", "source"), [("127.0.0.1", "127.0.0.5"), ("::1", "::1")])
def test_the_connection_comes_from_its_source(address, source):
    with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as server:
        made = connect(servers(server.getsockname()[1], address), 5, Sources("127.0.0.5", "::1"), Unreached())
        conn, (peer, *_) = server.accept()
        assert peer == source
        conn.close()
        made.close()


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("127.0.0.1", "127.0.0.2")])
def test_a_source_that_is_not_ours_is_named_and_not_held_against_the_server(addresses):
    with listening("127.0.0.1") as port, pytest.raises(TempError, match=r"source address 192\.0\.2\.1 is no address of this"):
        connect(servers(port, *addresses), 5, Sources("192.0.2.1", ""), Unreached())


def test_the_check_of_the_process_tries_the_source():
    check_source("127.0.0.2")
    check_source("::1")
    with pytest.raises(TempError, match="source address 2001:db8::1 is no address"):
        check_source("2001:db8::1")


@pytest.mark.system
def test_a_session_goes_to_the_address_that_answers_and_says_how_many_were_tried(patient):
    patient.store(CONTENT)
    with ScriptedServer() as server:
        told = servers(server.port, "127.0.0.2", "127.0.0.1", "127.0.0.3")
        result = patient.deliver(patient.job(server.port, server=told))
        assert (result.rcpts[0].reply.code, result.rcpts[0].reply.origin) == (250, "mx.example[127.0.0.1]")
        told = servers(server.port, "127.0.0.2", "127.0.0.3")
        result = patient.deliver(patient.job(server.port, server=told))
        assert (result.session.code, result.tried) == (451, 2)


@pytest.mark.system
def test_a_refusal_of_the_second_address_speaks_of_both(patient):
    patient.store(CONTENT)
    with ScriptedServer({"banner": "421 4.3.2 busy\r\n"}) as server:
        told = servers(server.port, "127.0.0.2", "127.0.0.1", "127.0.0.3")
        result = patient.deliver(patient.job(server.port, server=told))
        assert (result.session.code, result.tried) == (421, 2)


@pytest.mark.system
def test_a_session_is_used_for_who_has_its_address_and_for_nobody_else(patient):
    patient.store(CONTENT)
    with ScriptedServer() as server:
        facts = {"session_id": "C00000000000000FF00", "keep_open": True}
        for number, (addresses, connections) in enumerate(
            [(("127.0.0.2", "127.0.0.1"), 1), (("127.0.0.1",), 1), (("127.0.0.3", "127.0.0.1"), 1), (("127.0.0.3",), 1)]
        ):
            told = servers(server.port, *addresses)
            result = patient.deliver(patient.job(server.port, server=told, new_session=number == 0, **facts))
            assert len(server.connections) == connections
        assert result.session.code == 451, "nobody listens at that address"


@pytest.mark.system
@pytest.mark.parametrize(("greeting", "code"), [("220 ready\r\n", 250), ("554 5.7.1 go away\r\n", 554)])
def test_a_refusal_at_one_address_is_no_answer_of_a_better_one_that_was_not_asked(patient, greeting, code):
    """127.0.0.2 was not reached a moment ago, so that the other one is tried before it, and says no."""
    patient.store(CONTENT)
    with ScriptedServer({"banner": "554 5.7.1 not from here\r\n"}) as other:
        both = servers(other.port, "127.0.0.2", "127.0.0.1")
        result = patient.deliver(patient.job(other.port, server=both))
        assert (result.session.code, result.session.origin, result.tried) == (554, "mx.example[127.0.0.1]", 2)
        with ScriptedServer({"banner": greeting}, port=other.port, address="127.0.0.2") as better:
            result = patient.deliver(patient.job(other.port, server=both))
            assert len(better.connections) == 1
        reply = result.rcpts[0].reply if code == 250 else result.session
        assert (reply.code, reply.origin, result.tried) == (code, "mx.example[127.0.0.2]", 2)
        assert len(other.connections) == 2
