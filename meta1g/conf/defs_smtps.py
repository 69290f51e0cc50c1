"""Options of smtps, the SMTP server.

Ref: MeTA1 README, "SMTPS Configuration" (option names without source are modelled on its ideas); meta1.conf(5).
"""

from typing import Final

from meta1g.conf.defs_common import (
    IO_TIMEOUT,
    OWN,
    SOFT_BOUNCE,
    WAIT_FOR_SERVER,
    R,
    S,
    component,
)
from meta1g.conf.defs_milter import filter_socket, milter_section, milters_option
from meta1g.conf.defs_tls import SERVER_AUTH, SERVER_TLS, TLS_REQUIREMENTS
from meta1g.conf.schema import Naming, SectionDef, option
from meta1g.conf.values import ID_MAX, Choice, Domain, Flag, Flags, Int, ListOf, Network, Size, Time

_FLAGS: Final = Flags(
    (
        Flag("8bitmime", True, "8BITMIME is offered (RFC 6152).", "S"),
        Flag("pipelining", True, "PIPELINING is offered (RFC 2920)."),
        Flag("starttls", True, "STARTTLS is offered if there is a certificate."),
        Flag("auth", True, "AUTH is offered if section auth has a back end."),
        Flag("require_auth", False, "Nobody sends mail without AUTH: 530 at MAIL."),
        Flag("smtputf8", True, "SMTPUTF8 is offered, together with 8BITMIME (RFC 6531)."),
        Flag("chunking", True, "CHUNKING is offered (RFC 3030)."),
        Flag("binarymime", True, "BINARYMIME is offered, together with CHUNKING (RFC 3030)."),
        Flag("deliverby", True, "DELIVERBY is offered (RFC 2852)."),
        Flag("mt_priority", True, "MT-PRIORITY is offered (RFC 6710)."),
        Flag("limits", True, "LIMITS is offered: max_recipients as RCPTMAX, max_transactions as MAILMAX (RFC 9422)."),
        Flag("access", True, "The access map counts, if smar has one.", "R"),
        Flag("delay_checks", False, "Denials of client and sender are told at RCPT; AUTH and TLS can overrule them.", "S"),
        Flag("greylisting", False, "Unknown senders have to try twice.", "R"),
        Flag("xverp", False, "XVERP is offered.", "R"),
        Flag(
            "strict_ehlo",
            False,
            "The argument of EHLO and HELO has to be a domain or an address literal (RFC 5321 4.1.1.1); without it any name is "
            "taken, and Received fields have `?` for characters that mean something there.",
            "R",
        ),
        Flag(
            "strict_lines",
            False,
            "A message with a text line of more than 998 characters is refused (RFC 5321 4.5.3.1.6); without it lines of any "
            "length are passed on unchanged.",
        ),
        Flag(
            "accept_local_senders",
            False,
            "A sender without domain such as <MAILER-DAEMON> or <root> is taken, with the option hostname as its domain.",
        ),
        Flag(
            "accept_bare_addresses",
            False,
            "Addresses without angle brackets, or with blanks inside them, are taken: MAIL FROM:user@example.org.",
        ),
        Flag(
            "accept_odd_dots",
            False,
            "Local parts with dots in a row, at the beginning or the end are taken: <a..b@example.org> goes on as "
            '<"a..b"@example.org>, which means the same and has the form of RFC 5321; a dot at the end of a domain is dropped.',
        ),
        Flag(
            "submission",
            False,
            "Messages of mail programs are completed: a Message-ID, Date or From that is missing is added (RFC 6409 8).",
        ),
        Flag(
            "add_sender",
            False,
            "With submission: a Sender field names the user, or the envelope's sender, if From has another one (RFC 6409 8.1).",
        ),
        Flag(
            "allow_routing",
            False,
            "Clients that may not relay may write to recipients whose local part carries another route, such as "
            '<user%far.example@example.org>, <far.example!user@example.org> or <"user@far.example"@example.org>: the host '
            "behind may follow it.",
        ),
    )
)

_OPTIONS: Final = (
    SOFT_BOUNCE,
    WAIT_FOR_SERVER,
    IO_TIMEOUT,
    option("flags", _FLAGS, None, S, "What is offered, and which checks are made."),
    option(
        "protocol",
        Choice(("smtp", "lmtp")),
        "smtp",
        OWN,
        "What is spoken: SMTP, or LMTP (RFC 2033), where each recipient has a reply of its own after the content.  LMTP must "
        "not use port 25.",
    ),
    option(
        "proxy_from",
        ListOf(Network()),
        None,
        OWN,
        "Addresses and networks of proxies that begin each connection with a header of the PROXY protocol, version 1 or 2: the "
        "client that it names counts from then on.  Who is listed and sends none is cut off; others speak for themselves.",
    ),
    option(
        "xclient_from",
        ListOf(Network()),
        None,
        OWN,
        "Addresses and networks of clients that are offered XCLIENT, by which a session goes on as another client's.",
    ),
    option(
        "xforward_from",
        ListOf(Network()),
        None,
        OWN,
        "Addresses and networks of clients that are offered XFORWARD, by which the log gets to know the client behind them.",
    ),
    option(
        "greet_pause",
        Time(0, 60),
        "0s",
        OWN,
        "How long a client waits for the greeting that is not known yet; who talks meanwhile is refused.  Who was silent is "
        "known for a week, to all smtps, and so is who may relay.  0 for no wait.",
    ),
    option("CDB_gid", Int(0, ID_MAX), None, S, "Group of content files: one that smtpc is in."),
    option("max_message_size", Size(), "100MB", R, "Greatest message; 0 for no limit."),
    option(
        "max_header_size",
        Size(),
        "0",
        OWN,
        "Greatest header of a message as the client sends it; what is beyond is refused.  0 for no limit but max_message_size.",
    ),
    option(
        "max_header_lines", Int(0, 1_000_000), "0", OWN, "Lines of a header, those that continue a field too; 0 for no limit."
    ),
    option(
        "max_body_size",
        Size(),
        "0",
        OWN,
        "Greatest body of a message: all bytes behind its header, with every attachment as it is encoded.  0 for no limit but "
        "max_message_size.",
    ),
    option("max_recipients", Int(1, 1_000_000), "1000", R, "Recipients of one transaction; RFC 5321 4.5.3.1.8: 100 at least."),
    option("max_transactions", Int(0, 1_000_000), "0", R, "Transactions of one session; 0 for no limit."),
    option(
        "min_deliver_by",
        Time(0, 999_999_999),
        "0",
        OWN,
        "Least time for delivery that a client may ask for with BY in mode R; 0 for any (RFC 2852 4).",
    ),
    option(
        "max_bad_commands",
        Int(1, 100_000),
        "10",
        R,
        "Wrong commands since the last accepted message, then the session is closed.",
    ),
    option(
        "max_refusals",
        Int(1, 1_000_000),
        "1000",
        OWN,
        "Refused recipients, senders and messages since the last accepted message, then the session is closed.",
    ),
    option(
        "max_overshoots",
        Int(1, 1_000_000),
        "1000",
        OWN,
        "Commands beyond a limit, such as max_recipients or max_message_size, since the last accepted message; then the"
        " session is closed.",
    ),
    option("max_noops", Int(1, 100_000), "20", R, "Commands in a row that lead to no message, then the session is closed."),
    option(
        "verify_recipients",
        ListOf(Domain(dotted=True, root=True)),
        None,
        OWN,
        "Domains whose recipients are taken only if the server that they go to takes them: qmgr asks it by RCPT without a "
        "message, and keeps the answer (section verify).  `.` stands for all domains.  It is asked only for recipients that "
        "pass all other checks.",
    ),
    option(
        "verify_senders",
        ListOf(Domain(dotted=True, root=True)),
        None,
        OWN,
        "The same for senders, at MAIL; the empty sender is always taken.  Servers of others may not like to be asked.",
    ),
    option(
        "unverified",
        Choice(("defer", "accept")),
        "defer",
        OWN,
        "What happens to an address while nothing is known about it: it is refused with 450, or taken.",
    ),
    option("max_hops", Int(1, 1000), "100", R, "Received fields of a message, more mean a loop; RFC 5321 6.3: 100 at least."),
    option("max_threads", Int(1, 100_000), "2000", R, "Sessions at the same time in one process."),
    option(
        "wait_for_link",
        Time(0, 300),
        "10s",
        OWN,
        "How long after the connection to qmgr or smar broke clients wait for the next one, before they are told to try later.",
    ),
)

_QUEUE: Final = "the queue directory"

_SECTIONS: Final = (
    SectionDef(
        "policy_milter",
        "A policy milter; mail passes several in the order of the file, and after them the sections milter.",
        S,
        (
            option("timeout", Time(1, 3600), "1m", S, "How long it may take for an answer."),
            option(
                "flags",
                Flags(
                    (
                        Flag("abort", False, "Without the filter sessions end with 421.", "S"),
                        Flag(
                            "accept_but_reconnect", False, "Without the filter sessions go on; the next one tries again.", "S"
                        ),
                    )
                ),
                None,
                S,
                "What happens when the filter does not answer; without a flag mail is refused for now.",
            ),
        ),
        (filter_socket(_QUEUE),),
        naming=Naming.MAY,
        repeat=True,
    ),
    milter_section(_QUEUE),
    SERVER_TLS,
    TLS_REQUIREMENTS,
    SERVER_AUTH,
)

SMTPS: Final = component(
    "smtps",
    "The SMTP server; several sections with different names are possible.",
    (*_OPTIONS, milters_option("  In smtps_session_conf it says so for one client.")),
    _SECTIONS,
)
