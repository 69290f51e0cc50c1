"""Options of qmgr, the queue manager.

Ref: MeTA1 README, "QMGR Configuration" (option names without source are modelled on its ideas); meta1.conf(5).
"""

from typing import Final

from meta1g.conf.defs_common import OWN, PATH, SOFT_BOUNCE, WAIT_FOR_SERVER, R, S, component
from meta1g.conf.defs_maps import MAP, map_user
from meta1g.conf.mailaddress import MailAddress
from meta1g.conf.schema import SectionDef, option
from meta1g.conf.values import Choice, Flag, Flags, Int, ListOf, Network, Size, Text, Time

_DSN_FLAGS: Final = Flags(
    (
        Flag("delay", True, "The sender is warned once when mail is late."),
        Flag("headers_only", True, "A bounce carries the header of the message, unless the sender asked for the whole."),
        Flag("double_bounce", True, "A bounce that cannot be delivered goes to double_bounce_address."),
    )
)

_OPTIONS: Final = (
    option("AQ_max_entries", Int(1, 10_000_000), "8192", S, "Recipients in the active queue."),
    option(
        "IQDB_max_entries",
        Int(1, 10_000_000),
        "32768",
        R,
        "Sessions, transactions and recipients that are coming in; one client (IPv6: a /64) holds an eighth at most.",
    ),
    WAIT_FOR_SERVER,
    option(
        "wait_for_client",
        Time(0, 3600),
        "10s",
        S,
        "How long deliveries wait at start for smtps and smtpc to connect; then the log names who is missing.",
    ),
    option("min_retry_delay", Time(1, 7 * 86400), "5m", R, "Shortest time until the next attempt."),
    option("max_retry_delay", Time(1, 30 * 86400), "2h", R, "Longest time until the next attempt."),
    option("delay_dsn_timeout", Time(0), "4h", R, "Time in the queue after which the sender is warned; 0 for never."),
    option("return_timeout", Time(1), "5d", R, "Time in the queue after which mail is returned; RFC 5321 4.5.4.1."),
    option("dsn_flags", _DSN_FLAGS, None, OWN, "What is reported to senders, and how."),
    option(
        "dsn_templates", PATH, None, OWN, "File with the texts of reports, relative to the configuration directory; bounce(5)."
    ),
    option("double_bounce_address", Text("mail address", blanks=False), "postmaster", R, "Who gets undeliverable bounces."),
    option(
        "verp_senders",
        ListOf(Text("mail address or @domain", blanks=False)),
        None,
        OWN,
        "Senders (or @domain of them) that carry the recipient, so that what comes back tells whom it is about.",
    ),
    option(
        "verp_delimiters",
        Choice(tuple(one + other for one in "+-=" for other in "+-=")),
        "+=",
        R,
        "Before the recipient in such a sender, and instead of its @.",
    ),
    SOFT_BOUNCE,
    option(
        "always_bcc",
        MailAddress(),
        None,
        OWN,
        "A copy of every accepted message goes to this address, unless it gets one anyway.  Nobody hears when a copy cannot be "
        "delivered; of reports that this machine makes there is none.",
    ),
    option("max_rcpts_per_transaction", Int(1, 10_000), "100", OWN, "Recipients of one transaction to a server."),
    option("min_free_disk", Size(), "20MB", OWN, "Below this free space nothing is accepted."),
    option("ok_free_disk", Size(), "40MB", OWN, "Above this free space mail is accepted again."),
)

_SECTIONS: Final = (
    SectionDef(
        "smtps",
        "Limits of incoming sessions, for each client: an address, or the /64 of an IPv6 address.",
        R,
        (
            option(
                "max_connections",
                Int(0, 1_000_000),
                "0",
                R,
                "Open sessions of one client (IPv6: a /64); 0: an eighth of max_threads of its smtps.",
            ),
            option(
                "max_connection_rate", Int(0, 1_000_000), "0", R, "Sessions of one client in a rate_time_unit; 0: no limit."
            ),
            option(
                "max_message_rate",
                Int(0, 1_000_000),
                "0",
                OWN,
                "Messages that one client may begin in a rate_time_unit, over all its sessions and all smtps; then MAIL gets "
                "450.  0: no limit.",
            ),
            option(
                "max_recipient_rate",
                Int(0, 100_000_000),
                "0",
                OWN,
                "Recipients that one client may name in a rate_time_unit, taken or not; then RCPT is refused with 450.  0: no "
                "limit.",
            ),
            option(
                "rate_time_unit",
                Time(1, 86400),
                "1m",
                OWN,
                "The time in which rates are counted; for each client it begins with the first thing that it does.",
            ),
            option(
                "rate_exempt",
                ListOf(Network()),
                None,
                OWN,
                "Clients without rates and without max_connections; they have an eighth of the sessions all the same.",
            ),
        ),
    ),
    SectionDef(
        "smtpc",
        "Limits of outgoing sessions, for each destination.",
        S,
        (
            option("initial_connections", Int(1, 100_000), "10", S, "Sessions to a destination at first."),
            option("max_connections", Int(1, 100_000), "100", S, "Sessions to a destination that always took the mail."),
        ),
    ),
    SectionDef(
        "IBDB",
        "The incoming backup: envelopes that were accepted, on disk.",
        R,
        (
            option("max_size", Size(1024, 1 << 32), "8MB", OWN, "Size at which a new file is begun."),
            option("max_open", Int(1, 100_000), "100", OWN, "Files at most; more of them stop the acceptance of mail."),
        ),
    ),
    SectionDef(
        "DEFEDB",
        "The deferred envelopes, a Berkeley DB environment.",
        R,
        (
            option("cache_size", Size(64 << 10, 1 << 40), "32MB", OWN, "Memory for its pages, 1 MB at least."),
            option("log_directory", Text("path"), None, OWN, "Directory of its log files, relative to the queue directory."),
            option("checkpoint_interval", Time(1, 86400), "1m", OWN, "Time between two checkpoints."),
        ),
    ),
    SectionDef(
        "verify",
        "Addresses that smtps wants to be verified (verify_recipients, verify_senders): how long an answer counts.",
        OWN,
        (
            option("positive_expire", Time(1), "31d", OWN, "How long an address counts as taken by its server."),
            option("positive_refresh", Time(1), "7d", OWN, "After this time such an address is asked for again meanwhile."),
            option("negative_expire", Time(1), "3d", OWN, "How long an address counts as refused by its server."),
            option("negative_refresh", Time(1), "3h", OWN, "After this time such an address is asked for again meanwhile."),
            option(
                "cache_size",
                Int(1, 1_000_000),
                "20000",
                OWN,
                "Addresses that are remembered, some 1 KB each; the one that nobody used for longest goes first.",
            ),
            option(
                "max_probes",
                Int(1, 10_000),
                "100",
                OWN,
                "Addresses that are asked for at the same time; half of those that are free for one client.",
            ),
            option(
                "wait",
                Time(0, 60),
                "6s",
                OWN,
                "How long a client waits for an answer, then `unverified` of smtps counts; the server is asked to the end.",
            ),
        ),
    ),
    map_user("conf_map", "A map with options for single destinations.", R),
    MAP,
)

QMGR: Final = component("qmgr", "The queue manager: queues, scheduler, reports to senders.", _OPTIONS, _SECTIONS)
