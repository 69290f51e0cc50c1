import json
import socket

import pytest

from meta1g.base import sysexits
from meta1g.base.cli import CliError
from meta1g.rcb.control import PROTOCOL, CommandResult, ControlCommand
from meta1g.tools import ctlclient
from meta1g.tools.ctlclient import CommandFailedError, ControlClient
from tests.fakes.rcb_server import RcbServer


@pytest.fixture
def server(tmp_path):
    """A process whose answers are a list of results, given one after the other; none closes the connection."""
    answers = []

    def handle(conn, request_id, msg):
        if answers:
            conn.send(answers.pop(0), request_id)
        else:
            conn.close()

    with RcbServer(tmp_path / "control", PROTOCOL, handle) as made:
        made.answers = answers
        yield made


def result(value, code=0, more=""):
    return CommandResult(exit_code=code, text=value if isinstance(value, str) else json.dumps(value), more=more)


def test_a_command_gets_its_result(server):
    server.answers.append(result({"a": [1, None]}))
    with ControlClient(server.path) as client:
        assert client.ask("show", "S1") == {"a": [1, None]}
    assert [one.words for one in server.of(ControlCommand)] == [("show", "S1")]


def test_the_parts_of_a_long_list_are_put_together(server):
    server.answers += [result([1, 2], more="x"), result([3], more="y"), result([4])]
    with ControlClient(server.path) as client:
        assert client.ask("queue") == [1, 2, 3, 4]
    assert [one.words for one in server.of(ControlCommand)] == [
        ("queue",),
        ("queue", "--after", "x"),
        ("queue", "--after", "y"),
    ]


def test_a_large_result_comes_whole(server):
    server.answers.append(result(["x" * 1000] * 3000))
    with ControlClient(server.path) as client:
        assert len(client.ask("queue")) == 3000


def test_a_refusal_is_an_error_with_the_text_and_the_exit_code_of_the_process(server):
    server.answers.append(result("not you", sysexits.EX_NOPERM))
    with ControlClient(server.path) as client, pytest.raises(CommandFailedError, match="not you") as caught:
        client.ask("remove", "S1")
    assert caught.value.exit_code == sysexits.EX_NOPERM


def test_a_connection_that_breaks_is_a_temporary_failure(server):
    with (
        ControlClient(server.path) as client,
        pytest.raises(CliError, match=r"qmgr at .*control: closed the connection") as caught,
    ):
        client.ask("status")
    assert caught.value.exit_code == sysexits.EX_TEMPFAIL


def test_a_process_that_does_not_run_is_named_with_what_to_do(tmp_path):
    with pytest.raises(CliError, match=r"cannot reach mcp at .*none: it does not run; start it") as caught:
        ControlClient(tmp_path / "none", "mcp")
    assert caught.value.exit_code == sysexits.EX_UNAVAILABLE


def test_a_socket_nobody_listens_on_is_the_same(tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    with pytest.raises(CliError, match="it does not run"):
        ControlClient(tmp_path / "dead")


def test_a_socket_that_may_not_be_used_is_a_matter_of_permission(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(CliError, match="permission denied; run as root") as caught:
        ControlClient(tmp_path / "x")
    assert caught.value.exit_code == sysexits.EX_NOPERM


def test_an_answer_that_does_not_come_is_a_temporary_failure(tmp_path):
    with (
        RcbServer(tmp_path / "control", PROTOCOL, lambda *args: None) as server,
        ControlClient(server.path, timeout_s=0.05) as client,
        pytest.raises(CliError, match="timed out") as caught,
    ):
        client.ask("status")
    assert caught.value.exit_code == sysexits.EX_TEMPFAIL


def test_a_long_list_leaves_time_to_others_from_some_page_on(server, monkeypatch):
    slept, niced = [], []
    monkeypatch.setattr(ctlclient, "_AT_ONCE_S", 0.0)
    monkeypatch.setattr(ctlclient.time, "sleep", slept.append)
    monkeypatch.setattr(ctlclient.os, "nice", niced.append)
    server.answers += [*(result([number], more="x") for number in range(5)), result([5])]
    with ControlClient(server.path) as client:
        assert [page for page, _ in client.pages("queue")] == [[number] for number in range(6)]
    assert (len(slept), len(niced)) == (5, 1)
    assert all(0 <= pause_s <= ctlclient._PAUSE_MAX_S for pause_s in slept)


def test_pages_may_begin_anywhere(server):
    server.answers += [result([2], more="y"), result([3])]
    with ControlClient(server.path) as client:
        assert list(client.pages("queue", "x.example", after="x")) == [([2], "y"), ([3], "")]
    assert [one.words for one in server.of(ControlCommand)] == [
        ("queue", "x.example", "--after", "x"), ("queue", "x.example", "--after", "y"),
    ]  # fmt: skip
