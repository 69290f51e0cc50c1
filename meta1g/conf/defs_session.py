"""Options of configuration snippets: values of the access map that are pieces of the configuration language.

    smtps_session_conf:192.0.2.7       max_recipients = 5; flags = { delay_checks };
    smtpc_session_conf:mx.example.org  tls_requirements { flags = { verified }; violation = permanent; }
    smtpc_rcpt_conf:user@example.org   tls_requirements { min_cipher_bits = 128; }

Ref: MeTA1 README, "SMTP Server Session Configuration", "STARTTLS Restrictions" (tags as in MeTA1; options modelled on).
"""

from collections.abc import Mapping
from typing import Final

from meta1g.conf.defs_common import OWN, R, S
from meta1g.conf.schema import SectionDef, option
from meta1g.conf.values import Choice, Flag, Flags, Int, ListOf, Size, Text, Time

_NAMES: Final = ListOf(Text("name", max_chars=1024))

TLS_REQUIREMENTS: Final = SectionDef(
    "tls_requirements",
    "What TLS has to fulfil.",
    R,
    (
        option(
            "flags",
            Flags(
                (
                    Flag("encrypted", False, "The session has to use TLS.", "R"),
                    Flag(
                        "verified", False, "The certificate has to be verified by a trusted authority; implies encrypted.", "R"
                    ),
                )
            ),
            None,
            R,
            "What has to hold.",
        ),
        option("min_cipher_bits", Int(0, 4096), "0", R, "Least bits of the cipher; 0 for any."),
        option("cert_issuer", _NAMES, None, R, "Issuers that are right; any if none is given."),
        option("cert_subject", _NAMES, None, R, "Subjects that are right; any if none is given."),
        option("common_name", _NAMES, None, R, "Common names that are right; any if none is given."),
        option("violation", Choice(("temporary", "permanent", "abort")), "temporary", R, "What a violation is."),
    ),
)

_STARTTLS: Final = Flag("starttls", True, "STARTTLS is used where it is offered.")

SMTPS_SESSION: Final = SectionDef(
    "smtps_session_conf",
    "How smtps treats one client; the key is the client's address or name.",
    R,
    (
        option(
            "flags",
            Flags(
                (
                    Flag("8bitmime", True, "8BITMIME is offered."),
                    Flag("pipelining", True, "PIPELINING is offered."),
                    Flag("starttls", True, "STARTTLS is offered."),
                    Flag("auth", True, "AUTH is offered."),
                    Flag("delay_checks", False, "Denials of client and sender are told at RCPT."),
                    Flag("accept_bare_lf", False, "A bare LF or CR in content is data; without it the message is refused."),
                )
            ),
            None,
            R,
            "What is offered, and which checks are made.",
        ),
        option("max_message_size", Size(), None, R, "Greatest message; 0 for no limit."),
        option("max_recipients", Int(1, 1_000_000), None, R, "Recipients of one transaction."),
        option("max_transactions", Int(0, 1_000_000), None, R, "Transactions of one session; 0 for no limit."),
        option("max_bad_commands", Int(1, 100_000), None, R, "Wrong commands of one session."),
        option("IO_timeout", Time(1, 86400), None, R, "How long the client may take for one step."),
    ),
    (TLS_REQUIREMENTS,),
)

SMTPC_SESSION: Final = SectionDef(
    "smtpc_session_conf",
    "How smtpc treats one server; the key is the server's address or name.",
    R,
    (
        option(
            "flags",
            Flags((_STARTTLS, Flag("pipelining", True, "PIPELINING is used where it is offered."))),
            None,
            R,
            "What is used.",
        ),
        option("IO_timeout", Time(1, 86400), None, R, "How long the server may take for one step."),
        option("max_recipients", Int(1, 1_000_000), None, OWN, "Recipients of one transaction."),
    ),
    (TLS_REQUIREMENTS,),
)

SMTPC_RCPT: Final = SectionDef(
    "smtpc_rcpt_conf",
    "What smtpc demands for one recipient; the key is the recipient's address or domain.",
    S,
    (),
    (TLS_REQUIREMENTS,),
)

#: Snippets by the tag of their keys, without its colon.
SNIPPETS: Final[Mapping[str, SectionDef]] = {row.keyword: row for row in (SMTPS_SESSION, SMTPC_SESSION, SMTPC_RCPT)}
