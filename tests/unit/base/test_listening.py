import errno
import socket
from pathlib import Path

import pytest

from meta1g.base import listening, sysexits


def test_no_address_stands_for_all_of_both_families():
    with listening.listen(("", 0), mode=0, backlog=1) as sock:
        port = sock.getsockname()[1]
        for host in ("127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])):
            socket.create_connection((host, port), 5).close()


@pytest.mark.parametrize(
    ("place", "number", "code", "text"),
    [
        (
            ("192.0.2.1", 25),
            errno.EACCES,
            sysexits.EX_NOPERM,
            "c:3: cannot listen on 192.0.2.1 port 25: permission denied;",
        ),
        (("", 25), errno.EADDRINUSE, sysexits.EX_OSERR, "c:3: cannot listen on * port 25: .*choose another port"),
        (Path("q/x"), errno.EADDRINUSE, sysexits.EX_OSERR, "c:3: cannot listen on socket q/x: .*choose another path"),
        (Path("q/x"), errno.EIO, sysexits.EX_OSERR, "c:3: cannot listen on socket q/x: the disk$"),
    ],
)
def test_what_cannot_be_says_what_to_do(place, number, code, text):
    refused = listening.refused(place, OSError(number, "the disk"), "c:3: ")
    assert refused.exit_code == code
    with pytest.raises(type(refused), match=text.replace("*", r"\*", 1) if "* port" in text else text):
        raise refused


def test_a_name_in_the_place_of_an_address_is_told():
    with pytest.raises(OSError, match="bind on address") as failed:
        listening.listen(("no address", 0), mode=0, backlog=1)
    assert "no address is no address; write numbers" in str(listening.refused(("no address", 0), failed.value))
