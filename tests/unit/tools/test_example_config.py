"""The configuration that sm.setup writes has a log that the machine has."""

import socket
from contextlib import ExitStack

import pytest

from meta1g.tools.example_config import log_line


@pytest.mark.parametrize(
    ("listening", "expected"),
    [
        ({"journal", "syslog"}, "log { facility = mail; protocol = journal; }"),
        ({"syslog"}, "log { facility = mail; }"),
        (set(), "# log { facility = mail; }"),
    ],
)
def test_the_log_of_the_machine_is_chosen(tmp_path, listening, expected):
    with ExitStack() as stack:
        for name in listening:
            service = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            service.bind(str(tmp_path / name))
        (tmp_path / "syslog").touch()  # a file is left behind, and nobody listens
        assert log_line(tmp_path / "journal", tmp_path / "syslog").startswith(expected)
