"""The name of this machine, where the configuration does not give one.

Ref: RFC 5321 2.3.5 and 4.1.1.1 (a server names itself by its fully qualified domain name).
"""

import re
import socket
from typing import Final

#: What a name may be, in words.
FORM: Final = "it has letters of ASCII, digits and hyphens between dots, and is no IP address"
_LABEL: Final = re.compile(r"[a-z\d](?:[a-z\d-]{0,61}[a-z\d])?", re.ASCII | re.IGNORECASE)


def is_well_formed(name: str) -> bool:
    """Tells whether a name may stand in EHLO: labels of letters, digits and hyphens, the last one no number."""
    labels = name.split(".")
    return all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()


def system_name() -> str:
    """Gives the name that the system has for this machine.  Blocks: yes (name service)."""
    return socket.getfqdn()


def problem(given: str) -> str:
    """Says what is wrong with the name of this machine; nothing if it is a full one.

    Args:
        given: the name that the configuration has, empty if it has none: then that of the system counts.

    Blocks: yes (name service), if none is given.
    """
    name = given or system_name()
    if "." in name and name.partition(".")[0] != "localhost" and is_well_formed(name):
        return ""
    if given:
        return f"hostname: {given} is no full name, which others refuse in EHLO; write one such as mx.example.org"
    return (
        f"hostname is not set, and {name or 'nothing'}, which the system has, is no full name; add hostname = mx.example.org;"
    )
