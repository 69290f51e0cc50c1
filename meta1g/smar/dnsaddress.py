"""Which name servers are asked, and how, as the configuration has it."""

import ipaddress
import socket

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Module, PermError
from meta1g.smar.limits import DNS_PORT


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Address and port of a name server."""

    address: str
    port: int = DNS_PORT

    def __str__(self) -> str:
        return f"{self.address}@{self.port}"

    @property
    def family(self) -> socket.AddressFamily:
        """The socket family."""
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """How names are looked up.

    Args:
        servers: name servers, preferred first; at least one.
        timeout_s: how long one server may take for one answer.
        tries: how often a question is sent before it fails; 1 or more.
        edns: larger answers over UDP are asked for.
        use_tcp: all questions go over TCP.
        validated: the servers are believed if they say that an answer was validated.
    """

    servers: tuple[ServerAddress, ...]
    timeout_s: float
    tries: int
    edns: bool = True
    use_tcp: bool = False
    validated: bool = False


def parse_server(text: str) -> ServerAddress:
    """Reads `ADDRESS`, `ADDRESS@PORT` or `[V6]@PORT`.

    Raises:
        PermError: it is none of these.
    """
    address, at, port = text.partition("@")
    address = address.strip("[]")
    try:
        ipaddress.ip_address(address.partition("%")[0])
        number = int(port) if at else DNS_PORT
        if not 0 < number <= 0xFFFF:
            raise ValueError(port)
    except ValueError:
        raise PermError(Module.DNS, f"nameserver {text}: write an IP address or ADDRESS@PORT") from None
    return ServerAddress(address, number)
