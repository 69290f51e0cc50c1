"""`smtps -n` names sockets of filters that could not be connected to."""

import socket

import pytest

from meta1g.base import reach
from tests.unit.smtps.test_auth import assert_check


@pytest.mark.parametrize("kind", ["milter f", "policy_milter f", "policy_milter"])
def test_a_socket_that_is_not_there_is_named_with_what_it_comes_to(tmp_path, kind):
    told = assert_check(tmp_path, f"{kind} {{ socket {{ path = {tmp_path}/none/f.sock; }} }}", 0, "warning: ")
    assert f"{kind}: {tmp_path}/none/f.sock: out of reach: directory {tmp_path}/none is missing; make it" in told
    assert "sessions without it: tempfail" in told
    (tmp_path / "again").mkdir()
    told = assert_check(tmp_path / "again", f'{kind} {{ socket {{ path = "{tmp_path}/f.sock"; }} }}', 0, "warning: ")
    assert f"{tmp_path}/f.sock: no such socket" in told


def test_filters_of_single_clients_are_looked_at_too(tmp_path):
    options = f'milter f {{ socket {{ path = "{tmp_path}/f.sock"; }} default_action = accept; }} milters = {{ }};'
    assert "milter f" in assert_check(tmp_path, options, 0, "no such socket; sessions without it: accept")


def test_what_is_no_socket_is_named_and_what_is_there_is_not(tmp_path):
    (tmp_path / "file").touch()
    assert_check(tmp_path, f'milter f {{ socket {{ path = "{tmp_path}/file"; }} }}', 0, "file: is no socket")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "f.sock"))
        options = f'milter f {{ socket {{ path = "{tmp_path}/f.sock"; }} }} policy_milter {{ socket {{ port = 9; }} }}'
        (tmp_path / "again").mkdir()
        assert "f.sock" not in assert_check(tmp_path / "again", options, 0, "")


def test_a_closed_way_is_named(tmp_path, monkeypatch):
    path = tmp_path / "closed" / "f.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        assert reach.closed_socket(path) == ""
        for place, text in ((path, "closed to"), (path.parent, f"directory {path.parent} is closed to")):
            real = reach.os.access
            with monkeypatch.context() as patch:  # root is let in everywhere

                def access(one, mode, place=place, real=real, **more):
                    return str(one) != str(place) and real(one, mode, **more)

                patch.setattr(reach.os, "access", access)
                assert text in reach.closed_socket(path)
