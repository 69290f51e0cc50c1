"""Options outside all sections, and those that every component knows.

Ref: MeTA1 README, "Common Global Configuration", "Common Configuration Options"; meta1.conf(5).
"""

from typing import Final

from meta1g.base import paths
from meta1g.conf.port import Port
from meta1g.conf.schema import Naming, OptionDef, Origin, SectionDef, option
from meta1g.conf.values import AbsolutePath, Bool, Choice, Domain, Int, IpAddress, ListOf, Mode, Text, Time

S, R, OWN = Origin.S, Origin.R, Origin.OWN
PATH: Final = Text("path")
NAME: Final = Text("name", blanks=False)
LEVEL: Final = Int(0, 99)
ADDRESS_FAMILIES: Final = Choice(("inet", "unix"))
_FACILITIES: Final = Choice(
    (
        *("auth", "authpriv", "cron", "daemon", "kern", "lpr", "mail", "news", "syslog", "user", "uucp"),
        *(f"local{number}" for number in range(8)),
    )
)

LOG: Final = SectionDef(
    "log",
    "Where log lines go; without it to standard error, which mcp leads into a file for each component.",
    R,
    (
        option("facility", _FACILITIES, None, R, "Log lines go to syslog with this facility."),
        option(
            "protocol",
            Choice(("rfc3164", "rfc5424", "journal")),
            "rfc3164",
            OWN,
            "How lines go to syslog: as syslog(3) writes them, as RFC 5424 says, or to journald with a field for each key.",
        ),
        option(
            "socket",
            AbsolutePath(),
            None,
            OWN,
            "Where syslog listens; /dev/log, or /run/systemd/journal/socket for journal, if it is not given.",
        ),
        option("ident", NAME, None, R, "Tag of the lines in syslog; the component's name if it is not given."),
        option("file", PATH, None, OWN, "Log lines go to this file, relative to the queue directory."),
        option("format", Choice(("classic", "json")), "classic", OWN, "Lines of key=value, or one JSON object a line."),
    ),
)

LISTEN_SOCKET: Final = SectionDef(
    "listen_socket",
    "A socket the component accepts connections on; several are possible.",
    S,
    (
        option("type", ADDRESS_FAMILIES, "inet", S, "TCP or a Unix socket."),
        option("address", IpAddress(), None, S, "IP address to listen on; all addresses if it is not given."),
        option("port", Port(listen=True), "25", S, "TCP port; 0 lets the system choose."),
        option("path", PATH, None, S, "Path of a Unix socket, relative to the queue directory."),
        option("permissions", Mode(), "0660", R, "Permissions of a Unix socket."),
        option(
            "implicit_tls",
            Bool(),
            "false",
            OWN,
            "Sessions begin with TLS (RFC 8314), as on port 465; for smtps with a certificate.",
        ),
    ),
    repeat=True,
)

LEVELS: Final = (
    option("log_level", LEVEL, "9", S, "How much is logged; 9 is for daily use, 15 for the search for errors.", inherit=True),
    option(
        "debug_level",
        LEVEL,
        "0",
        R,
        "Above 0, lines for the search for errors are written, whatever log_level says.",
        inherit=True,
    ),
)
COMMON: Final = (
    option(
        "start_action",
        Choice(("wait", "pass", "accept", "nostartaccept")),
        "wait",
        S,
        "How mcp starts it: wait = it opens its own sockets; pass = mcp binds and hands the sockets over; accept = mcp accepts "
        "and starts a process for each connection, like inetd; nostartaccept = mcp binds, the program accepts from its "
        "standard input.",
    ),
    option("user", NAME, None, S, "Account the component runs as; as root, the account of the component if it is not given."),
    option("group", NAME, None, OWN, "Group the component runs as; the primary group of the user if it is not given."),
    option("path", PATH, None, S, "Program file; the bundled program if the file does not exist here."),
    option("arguments", Text("command line"), None, S, "Whole command line, beginning with the program's name."),
    option("restart_dependencies", ListOf(NAME), None, S, "Components that stop before this one restarts and start after it."),
    option("pass_fd_socket", PATH, None, S, "Unix socket for start_action = pass, relative to the queue directory."),
    option("processes", Int(1, 256), "1", OWN, "Processes of this section that run side by side."),
    *LEVELS,
)
#: Options of some components.
WAIT_FOR_SERVER: Final = option(
    "wait_for_server", Time(0, 3600), "10s", S, "How long the component waits at start for those it connects to."
)
IO_TIMEOUT: Final = option(
    "IO_timeout", Time(1, 86400), "5m", S, "How long a peer may take for one step; RFC 5321 4.5.3.2.7 asks for 5m."
)
COMMON_SECTIONS: Final = (LOG, LISTEN_SOCKET)

SOFT_BOUNCE: Final = option(
    "soft_bounce",
    Bool(),
    "false",
    OWN,
    "To try a configuration out, nothing is refused or returned for ever: smtps tells 4xx where it would tell 5xx, and qmgr "
    "keeps recipients that a server or the address resolver refuses, until return_timeout.",
    inherit=True,
)

GLOBAL: Final = (
    SOFT_BOUNCE,
    option("log_level", LEVEL, "9", S, "How much is logged, unless a component says otherwise."),
    option(
        "debug_level", LEVEL, "0", R, "Above 0, lines for the search for errors are written, unless a component says otherwise."
    ),
    option(
        "hostname",
        Domain(host=True),
        None,
        R,
        "Name of this machine in greetings and headers; the system's if it is not given.",
    ),
    option(
        "queue_directory", AbsolutePath(), str(paths.DEFAULT_QUEUE_DIRECTORY), R, "Queue files and sockets are relative to it."
    ),
    option(
        "configuration_directory",
        AbsolutePath(),
        None,
        R,
        "Map files are relative to it; the directory of the configuration file if it is not given.",
    ),
)


def component(keyword: str, meaning: str, options: tuple[OptionDef, ...], sections: tuple[SectionDef, ...] = ()) -> SectionDef:
    """Makes the section of a component: the common options and its own."""
    own = {row.name.lower() for row in options}
    common = tuple(row for row in COMMON if row.name.lower() not in own)
    return SectionDef(keyword, meaning, S, common + options, COMMON_SECTIONS + sections, Naming.MAY, repeat=True)
