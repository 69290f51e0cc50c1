"""The name of this machine, where the configuration does not give one.

Ref: RFC 5321 2.3.5 and 4.1.1.1 (a server names itself by its fully qualified domain name).
"""

import socket


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
    if "." in name and name.partition(".")[0] != "localhost":
        return ""
    if given:
        return f"hostname: {given} is no full name, which others refuse in EHLO; write one such as mx.example.org"
    return (
        f"hostname is not set, and {name or 'nothing'}, which the system has, is no full name; add hostname = mx.example.org;"
    )
