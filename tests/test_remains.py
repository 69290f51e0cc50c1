"""What tests leave behind is found and named, and other modules are spared."""

import socket
import subprocess
import sys

import pytest

from tests.remains import nothing_left, remaining

SAYS = [sys.executable, "-S", "-c", "print('x' * 100)"]
STAYS = ["sleep", "1000"]


class Circle:
    """Refers to itself, so that only a collection lets it go."""

    def __init__(self, held):
        self.held, self.me = held, self


def pipe_in_a_circle():
    process = Circle(subprocess.Popen(SAYS, stdout=subprocess.PIPE, text=True)).held
    process.wait(60)
    return Circle(process)


def process_that_runs():
    return subprocess.Popen(STAYS)


def process_that_ended():
    process = subprocess.Popen(["true"], stdout=subprocess.PIPE)
    with process.stdout as pipe:
        assert pipe.read() == b""
    return process


def process_that_runs_with_a_pipe():
    return subprocess.Popen(STAYS, stdin=subprocess.PIPE)


@pytest.mark.parametrize(
    ("leave", "named"),
    [
        (pipe_in_a_circle, r"pipe:\[\d+\] descriptor \d+; a pipe of .*print"),
        (process_that_runs, r"process:\d+ sleep 1000"),
        (process_that_ended, r"process:\d+ has ended, and nobody waited for it"),
        (process_that_runs_with_a_pipe, r"process:\d+ sleep 1000; a pipe of \['sleep'"),
    ],
)
def test_what_is_left_is_named_and_gone_afterwards(leave, named):
    before = remaining().keys()
    kept = []
    with pytest.raises(pytest.fail.Exception, match=f"test_x.py leaves behind: .*{named}"), nothing_left("test_x.py", 0.1):
        kept.append(leave())
    for one in kept:  # the object learns that its process has gone
        process = one.held if isinstance(one, Circle) else one
        process.wait(60)
    assert remaining().keys() <= before


def test_a_socket_is_named_by_its_address():
    kept = []
    named = r"socket:\[\d+\] descriptor \d+; tcp .* 0100007F:"
    with pytest.raises(pytest.fail.Exception, match=named), nothing_left("test_x.py", 0.1):
        kept.append(socket.create_server(("127.0.0.1", 0)))
    kept[0].close()


def test_what_was_there_before_and_what_ends_in_time_may_be():
    with subprocess.Popen(STAYS, stdin=subprocess.PIPE) as process:
        with nothing_left("test_x.py"):
            ending = subprocess.Popen(["true"])
            ending.wait(60)
        process.kill()
