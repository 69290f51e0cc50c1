"""Options of authfilter: what may stand in its configuration file.

    python -m meta1g_filters.auth.options > docs/filter-authentication-options.md

Pure.  Ref: meta1.conf(5), grammar; docs/filter-authentication.md.
"""

from typing import Final

from meta1g.conf.manual import other_markdown
from meta1g.conf.port import Port
from meta1g.conf.schema import Naming, Origin, SectionDef, option
from meta1g.conf.values import (
    AbsolutePath,
    Bool,
    Choice,
    Domain,
    Flag,
    Flags,
    Int,
    IpAddress,
    ListOf,
    Network,
    Size,
    Text,
    Time,
)

_OWN: Final = Origin.OWN
_PATH: Final = Text("path")
_ADDRESS: Final = Text("mail address", blanks=False, max_chars=254)

KEY: Final = SectionDef(
    "key",
    "A private key; its name is the selector, below which the public key stands in DNS.",
    _OWN,
    (option("file", _PATH, None, _OWN, "File of the key (PEM), relative to that of the configuration.", required=True),),
    naming=Naming.MUST,
    repeat=True,
)
DOMAIN: Final = SectionDef(
    "domain",
    "A domain that we sign for; its name is the domain.  Each of its keys makes a signature.",
    _OWN,
    (option("subdomains", Bool(), "false", _OWN, "Mail of domains below it is signed for it too."),),
    (KEY,),
    naming=Naming.MUST,
    repeat=True,
)
ARC: Final = SectionDef(
    "arc",
    "ARC (RFC 8617): whose seals are believed, and whether we seal.",
    _OWN,
    (
        option(
            "trusted",
            ListOf(Domain()),
            None,
            _OWN,
            "Domains whose seals are believed: the policy of DMARC is not obeyed for mail that fails if its chain passes, all "
            "who sealed it are listed, and DMARC passed for the first of them.",
        ),
        option("domain", Domain(), None, _OWN, "Domain that seals mail of others; none is sealed without it."),
        option("selector", Domain(), None, _OWN, "Selector of the key of the seal."),
        option("file", _PATH, None, _OWN, "Private key of the seal (PEM), relative to the file of the configuration."),
    ),
)
REPORTS: Final = SectionDef(
    "reports",
    "What aggregate reports of DMARC are made of; dmarcrpt(8) sends them.",
    _OWN,
    (
        option("directory", AbsolutePath(), None, _OWN, "Where results are collected; nothing is without it."),
        option(
            "max_day_size", Size(1 << 16), "256MB", _OWN, "What is collected of one day at most; what is beyond is not counted."
        ),
        option("org_name", Text("name", max_chars=200), None, _OWN, "Who reports; authserv_id if it is not given."),
        option(
            "email", _ADDRESS, None, _OWN, "Sender of reports, and contact for who reads them; dmarcrpt sends nothing without."
        ),
        option("server", IpAddress(), "127.0.0.1", _OWN, "SMTP server that takes the reports."),
        option("port", Port(), "25", _OWN, "Its port."),
    ),
)
NAMESERVER: Final = SectionDef(
    "nameserver",
    "A name server with a port of its own; several are possible, they come before the option's.",
    _OWN,
    (
        option("address", IpAddress(), None, _OWN, "IP address.", required=True),
        option("port", Port(), "53", _OWN, "Port."),
    ),
    repeat=True,
)
_FLAGS: Final = Flags(
    (
        Flag("spf", True, "Mail of others is checked by SPF (RFC 7208)."),
        Flag("dkim", True, "Its signatures are verified (RFC 6376)."),
        Flag(
            "dmarc", True, "The policy of its author's domain is looked at, by SPF and DKIM as far as they are on (RFC 9989)."
        ),
        Flag("arc", True, "Its chain of ARC is validated (RFC 8617)."),
        Flag(
            "need_author",
            False,
            "With dmarc_fail = obey: a message whose From fields have no address with a domain is refused: 550 5.7.1.",
        ),
    )
)
ROOT: Final = SectionDef(
    "",
    "Options outside all sections.",
    _OWN,
    (
        option(
            "authserv_id",
            Domain(host=True),
            None,
            _OWN,
            "Our name in Authentication-Results; that of the machine if it is not given.  All gateways of a site have one.",
        ),
        option("flags", _FLAGS, None, _OWN, "How mail of others is checked."),
        option(
            "trusted",
            ListOf(Network()),
            None,
            _OWN,
            "Clients whose mail is signed and not checked, as is that of clients that have logged in; 127.0.0.0/8 and ::1 if "
            "it is not given.",
        ),
        option(
            "spf_fail",
            Choice(("mark", "reject")),
            "mark",
            _OWN,
            "What is done if SPF says fail: nothing more than Authentication-Results, or 550 5.7.23 at MAIL.",
        ),
        option(
            "dmarc_fail",
            Choice(("mark", "obey")),
            "mark",
            _OWN,
            "What is done if DMARC fails: nothing more than Authentication-Results, or what the domain wants: 550 5.7.26 for "
            "p=reject, the option quarantine for p=quarantine.",
        ),
        option(
            "quarantine",
            Choice(("field", "hold")),
            "field",
            _OWN,
            "What a quarantine is: a field X-Quarantine for filters of mailboxes, or the message is held in the queue "
            "until an operator releases it.",
        ),
        option(
            "temperror",
            Choice(("accept", "tempfail")),
            "accept",
            _OWN,
            "What is done if DNS does not answer for SPF or DMARC: nothing, or the client comes again: 451 4.4.3 for SPF, 451 "
            "4.7.0 for DMARC.",
        ),
        option(
            "organization",
            Choice(("tree_walk", "public_suffix_list")),
            "tree_walk",
            _OWN,
            "How DMARC finds the domain of an organization: by questions to DNS (RFC 9989), or by the list of public suffixes "
            "(RFC 7489; pct counts then).",
        ),
        option("nameserver", ListOf(IpAddress()), None, _OWN, "Name servers; those of /etc/resolv.conf if none is given."),
        option("DNS_timeout", Time(1, 60), "5s", _OWN, "How long a question to DNS may take."),
        option(
            "max_threads",
            Int(2, 512),
            "32",
            _OWN,
            "Messages that are looked at at once, since each may wait for DNS; as it was at the start.",
        ),
    ),
    (DOMAIN, ARC, REPORTS, NAMESERVER),
)


def markdown() -> str:
    """Gives docs/filter-authentication-options.md."""
    return other_markdown("authfilter", "meta1g_filters.auth.options", ROOT)


if __name__ == "__main__":
    print(markdown(), end="")
