"""Binds the sockets of a section when no supervisor hands them over.

Ref: MeTA1 README, `listen_socket` (option names as in meta1.conf).
"""

import socket
from pathlib import Path

from meta1g.base import listening
from meta1g.base.dataclass import dataclass
from meta1g.conf.load import Section


@dataclass(frozen=True, slots=True)
class Door:
    """What is special of the sessions that come by one listening socket.

    Args:
        implicit_tls: they begin with a handshake.
    """

    implicit_tls: bool = False


def doors_of(section: Section) -> list[Door]:
    """Gives what is special of each listen_socket of a section, in its order."""
    return [Door(implicit_tls=sub.get("implicit_tls")) for sub in section.subs("listen_socket")]


def bind_all(section: Section, queue_directory: Path) -> list[socket.socket]:
    """Binds every listen_socket of a section and listens.

    Raises:
        CliError: one cannot be bound; the text says which and what to do.
    """
    return [_bind(sub, queue_directory) for sub in section.subs("listen_socket")]


def _bind(sub: Section, queue_directory: Path) -> socket.socket:
    path = sub.get("path")
    unix = sub.get("type") == "unix" or path
    place: listening.SocketPlace = queue_directory / path if unix else (sub.get("address") or "", sub.get("port"))
    try:
        return listening.listen(place, mode=sub.get("permissions"), backlog=listening.CLIENTS_BACKLOG)
    except OSError as error:
        raise listening.refused(place, error) from error
