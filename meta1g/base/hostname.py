"""The name of this machine, where the configuration does not give one.

Ref: RFC 5321 2.3.5 and 4.1.1.1 (a server names itself by its fully qualified domain name).
"""

import socket


def system_name() -> str:
    """Gives the name that the system has for this machine.  Blocks: yes (name service)."""
    return socket.getfqdn()


def missing(hostname: str) -> str:
    """Says what is wrong if no name is given and the system has no full one; nothing if all is right.

    Args:
        hostname: the name that is given, empty if none is.

    Blocks: yes (name service), if none is given.
    """
    name = "" if hostname else system_name()
    if hostname or ("." in name and name.partition(".")[0] != "localhost"):
        return ""
    return (
        f"hostname is not set, and the system calls this machine {name}, which is no full name; add hostname = mx.example.org;"
    )
