"""A filter that runs in the background of a test, and the connection of a server to it."""

import contextlib
import itertools

import pytest

from meta1g.pmilter.service import FilterService
from meta1g.pt.rcblisten import RcbListener
from meta1g.rcb.smtps_pmilter import PROTOCOL
from meta1g.tools.pmtest import PmClient
from tests.unit.pt.conftest import DEADLINE_S, checked_locks, make_system, system

__all__ = ["checked_locks", "make_system", "system"]


@pytest.fixture
def serve(make_system, tmp_path):
    """Gives serve(filter), which gives connect()."""
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:

        def serve(pmilter, **arguments):
            running = make_system(**arguments)
            path = tmp_path / f"filter{next(numbers)}"
            service = FilterService(pmilter, running.evthr, running.log)
            listener = RcbListener(running.evthr, path, PROTOCOL, on_connect=service.on_connect, log=running.log)
            stack.callback(listener.close)

            def connect():
                client = PmClient(path, DEADLINE_S)
                stack.callback(client.close)
                return client

            connect.running = running
            return connect

        yield serve
