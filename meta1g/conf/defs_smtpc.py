"""Options of smtpc, the SMTP and LMTP client.

Ref: MeTA1 README, "SMTPC Configuration" (option names without source are modelled on its ideas); meta1.conf(5);
RFC 5321 4.5.3.2 (time-outs).
"""

from typing import Final

from meta1g.conf.defs_common import IO_TIMEOUT, OWN, PATH, WAIT_FOR_SERVER, R, S, component
from meta1g.conf.defs_tls import CLIENT_AUTH, CLIENT_TLS
from meta1g.conf.port import Port
from meta1g.conf.schema import option
from meta1g.conf.values import Flag, Flags, Int, IpAddress, Ipv6Address, Time

_FLAGS: Final = Flags(
    (
        Flag("pipelining", True, "PIPELINING is used where it is offered."),
        Flag("starttls", True, "STARTTLS is used where it is offered."),
        Flag("chunking", True, "CHUNKING is used where it is offered: BDAT instead of DATA (RFC 3030)."),
        Flag("xforward", False, "XFORWARD is said where it is offered: its log says where a message came from."),
        Flag(
            "talk_to_myself",
            False,
            "Mail may go to a server that is this gateway itself, by hostname or by a socket that smtps listens on; "
            "without it such a server and those of the same and of worse preference are not tried (RFC 5321 5.1), and mail "
            "that has no other is returned (5.4.6).",
            "R",
        ),
    )
)
_WAIT: Final = Time(1, 86400)

_OPTIONS: Final = (
    WAIT_FOR_SERVER,
    IO_TIMEOUT,
    option("flags", _FLAGS, None, R, "What is used."),
    option("LMTP_socket", PATH, "lmtpsock", S, "Unix socket of the local LMTP server, relative to the queue directory."),
    option("connect_timeout", _WAIT, "30s", R, "How long connecting may take before the next address is tried."),
    option("greeting_timeout", _WAIT, "5m", R, "How long the greeting may take; RFC 5321 4.5.3.2.1."),
    option("command_timeout", _WAIT, "5m", R, "How long MAIL, RCPT and other commands may take; RFC 5321 4.5.3.2.2."),
    option("data_timeout", _WAIT, "2m", R, "How long DATA may take; RFC 5321 4.5.3.2.4."),
    option("block_timeout", _WAIT, "3m", R, "How long one piece of content may take; RFC 5321 4.5.3.2.5."),
    option("dot_timeout", _WAIT, "10m", R, "How long the final dot may take; RFC 5321 4.5.3.2.6."),
    option(
        "source_address", IpAddress(), None, OWN, "IP address that connections come from; the system's choice if not given."
    ),
    option(
        "source_address6",
        Ipv6Address(),
        None,
        OWN,
        "IPv6 address that connections come from, where source_address is an IPv4 address.",
    ),
    option("remote_port", Port(), "25", R, "Port of SMTP servers."),
    option("max_threads", Int(1, 100_000), "1000", R, "Sessions at the same time in one process."),
)

SMTPC: Final = component("smtpc", "The SMTP and LMTP client.", _OPTIONS, (CLIENT_TLS, CLIENT_AUTH))
