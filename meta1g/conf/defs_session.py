"""Options of configuration snippets: values of maps that are pieces of the configuration language.

In the access map:

    smtps_session_conf:192.0.2.7       max_recipients = 5; flags = { delay_checks };
    smtpc_session_conf:mx.example.org  flags = { dont_pipelining }; command_timeout = 1m;
    smtpc_rcpt_conf:user@example.org   tls_requirements { min_cipher_bits = 128; }

and values of the configuration map of qmgr:

    mx.example.org                     max_connections = 2; min_retry_delay = 10m;

The rows are those of the sections that they change, so that no option is listed twice.

Ref: MeTA1 README, "SMTP Server Session Configuration", "STARTTLS Restrictions" (tags as in MeTA1; options modelled on).
"""

from collections.abc import Mapping
from typing import Final

from meta1g.conf.changes import FlagChanges
from meta1g.conf.defs_common import R, S
from meta1g.conf.defs_qmgr import QMGR
from meta1g.conf.defs_smtpc import SMTPC
from meta1g.conf.defs_smtps import SMTPS
from meta1g.conf.defs_tls import TLS_REQUIREMENTS
from meta1g.conf.schema import OptionDef, SectionDef, option
from meta1g.conf.values import Flag, Flags

#: Flags of section smtps that say how one client is treated; the others concern the whole process, or the map itself.
_SERVER_FLAGS: Final = (
    "8bitmime",
    "pipelining",
    "starttls",
    "auth",
    "require_auth",
    "smtputf8",
    "chunking",
    "binarymime",
    "deliverby",
    "mt_priority",
    "limits",
    "delay_checks",
    "greylisting",
    "xverp",
    "strict_ehlo",
    "strict_lines",
    "accept_local_senders",
    "accept_bare_addresses",
    "accept_odd_dots",
    "submission",
    "add_sender",
    "allow_routing",
)
_SERVER_OPTIONS: Final = (
    "max_message_size",
    "max_header_size",
    "max_header_lines",
    "max_body_size",
    "soft_bounce",
    "max_recipients",
    "max_transactions",
    "min_deliver_by",
    "max_bad_commands",
    "max_refusals",
    "max_overshoots",
    "max_noops",
    "max_hops",
    "IO_timeout",
    "greet_pause",
    "verify_recipients",
    "verify_senders",
    "unverified",
    "milters",
)
_CLIENT_OPTIONS: Final = (
    "IO_timeout",
    "connect_timeout",
    "greeting_timeout",
    "command_timeout",
    "data_timeout",
    "block_timeout",
    "dot_timeout",
    "source_address",
    "source_address6",
)
_DESTINATION_OPTIONS: Final = ("max_rcpts_per_transaction", "min_retry_delay", "max_retry_delay")


def _rows(definition: SectionDef, names: tuple[str, ...]) -> tuple[OptionDef, ...]:
    """Gives options of a section as a snippet has them: what is not given stays as the section has it."""
    rows = (definition.by_option[name.lower()] for name in names)
    return tuple(option(row.name, row.kind, None, row.origin, row.meaning) for row in rows)


def _changes(definition: SectionDef, names: tuple[str, ...], *more: Flag) -> OptionDef:
    """Gives the flags of a section that a snippet may change."""
    kind = definition.by_option["flags"].kind
    assert isinstance(kind, Flags)
    chosen = tuple(flag for flag in kind.flags if flag.name in names)
    return option(
        "flags", FlagChanges(chosen + more), None, R, "What is set or cleared; other flags stay as the section has them."
    )


SMTPS_SESSION: Final = SectionDef(
    "smtps_session_conf",
    "How smtps treats one client, beside what its section says; the key is the client's address or name.",
    R,
    (_changes(SMTPS, _SERVER_FLAGS), *_rows(SMTPS, _SERVER_OPTIONS)),
    (TLS_REQUIREMENTS,),
)

SMTPC_SESSION: Final = SectionDef(
    "smtpc_session_conf",
    "How smtpc treats one server, beside what its section says; the key is the server's address or name.",
    R,
    (_changes(SMTPC, ("starttls", "pipelining", "chunking", "xforward")), *_rows(SMTPC, _CLIENT_OPTIONS)),
    (TLS_REQUIREMENTS,),
)

SMTPC_RCPT: Final = SectionDef(
    "smtpc_rcpt_conf",
    "What smtpc demands for one recipient; the key is the recipient's address or domain.",
    S,
    (),
    (TLS_REQUIREMENTS,),
)

DESTINATION: Final = SectionDef(
    "destination_conf",
    "How qmgr treats one destination, beside what its section says; the key is the server's address or name.",
    R,
    (*_rows(QMGR.by_section["smtpc"], ("initial_connections", "max_connections")), *_rows(QMGR, _DESTINATION_OPTIONS)),
)

#: Snippets by the tag of their keys, without its colon; those of the configuration map of qmgr have none.
SNIPPETS: Final[Mapping[str, SectionDef]] = {
    row.keyword: row for row in (SMTPS_SESSION, SMTPC_SESSION, SMTPC_RCPT, DESTINATION)
}
