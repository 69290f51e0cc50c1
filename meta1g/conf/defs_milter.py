"""Options of filters that speak the protocol of sendmail 8: of smtps, and of pmult.

Ref: meta1.conf(5); sendmail 8, doc/op, "X- Mail Filter (Milter) Definitions" (time-outs).
"""

from meta1g.conf.defs_common import ADDRESS_FAMILIES, OWN, PATH, S
from meta1g.conf.port import Port
from meta1g.conf.schema import Naming, OptionDef, SectionDef, option
from meta1g.conf.values import Choice, IpAddress, ListOf, Text, Time


def milters_option(more: str = "") -> OptionDef:
    """Gives the option that names sections and their order; more is what else is to be said of it."""
    return option(
        "milters",
        ListOf(Text("name", blanks=False)),
        None,
        OWN,
        "Names of the sections milter that mail passes, in this order; all of them in the order of the file if it is not "
        f"given, none if the list is empty.{more}",
    )


def filter_socket(relative_to: str) -> SectionDef:
    """Gives the section that says where a filter listens; relative_to names what a path is relative to."""
    return SectionDef(
        "socket",
        "Where the filter listens.",
        S,
        (
            option("type", ADDRESS_FAMILIES, "inet", S, "TCP or a Unix socket."),
            option("address", IpAddress(), "127.0.0.1", S, "IP address."),
            option("port", Port(), None, S, "TCP port."),
            option("path", PATH, None, S, f"Path of a Unix socket, relative to {relative_to}."),
        ),
    )


def milter_section(relative_to: str) -> SectionDef:
    """Gives the section of a filter; relative_to as in filter_socket()."""
    return SectionDef(
        "milter",
        "A filter that speaks the protocol of sendmail 8; several are possible.",
        OWN,
        (
            option("connect_timeout", Time(1, 3600), "30s", OWN, "How long the connection and the negotiation may take."),
            option("send_timeout", Time(1, 3600), "30s", OWN, "How long it may take to send the filter what it is told."),
            option("reply_timeout", Time(1, 3600), "30s", OWN, "How long the filter may take to answer a step of the session."),
            option(
                "end_timeout",
                Time(1, 3600),
                "5m",
                OWN,
                "How long it may take to answer the end of a message; each word of it that it is at work begins the time anew, "
                "up to four times in all.",
            ),
            option(
                "default_action",
                Choice(("tempfail", "reject", "accept", "quarantine")),
                "tempfail",
                OWN,
                "What happens without the filter, because it cannot be reached, does not answer or answers nonsense: its "
                "sessions are refused for now, or for ever; or they go on without it; or they go on and their messages are "
                "held for the operator.",
            ),
            option(
                "macros",
                ListOf(Text("name=value")),
                None,
                OWN,
                "Macros that the filter gets beside those of the session, or instead of them, as name=value: "
                '"daemon_name=ORIGINATING" tells OpenDKIM that it shall sign.',
            ),
        ),
        (filter_socket(relative_to),),
        naming=Naming.MUST,
        repeat=True,
    )
