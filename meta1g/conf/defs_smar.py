"""Options of smar, the address resolver.

Ref: MeTA1 README, "SMAR Configuration" (option names without source are modelled on its ideas); meta1.conf(5).
"""

from typing import Final

from meta1g.conf.defs_common import OWN, PATH, R, S, component
from meta1g.conf.defs_maps import MAP, map_user
from meta1g.conf.mailaddress import MailAddress
from meta1g.conf.port import Port
from meta1g.conf.schema import Naming, SectionDef, option
from meta1g.conf.values import Domain, Flag, Flags, Int, IpAddress, ListOf, Network, Text, Time

_DNS_FLAGS: Final = Flags(
    (
        Flag("use_tcp", False, "Questions go over TCP only.", "R"),
        Flag("use_connect", True, "UDP sockets are connected to one name server, so that others cannot answer.", "R"),
        Flag("client_names", False, "Names of clients are looked up even if there is no access map."),
        Flag(
            "trust_ad",
            False,
            "All name servers validate (DNSSEC), and nobody can forge their answers on the way to here: what they call "
            "validated (AD bit) is believed, and DANE is used (RFC 7672).",
        ),
        Flag("edns", True, "Larger answers are allowed over UDP (EDNS0, RFC 6891)."),
    )
)

_OPTIONS: Final = (
    option(
        "nameserver",
        ListOf(IpAddress()),
        None,
        S,
        "Name servers, preferred first; those of /etc/resolv.conf if none is given.",
        repeat=True,
    ),
    option("DNS_timeout", Time(1, 300), "5s", S, "How long one name server may take for an answer."),
    option("DNS_tries", Int(1, 100), "3", R, "How often a question is sent before it fails for now."),
    option("DNS_flags", _DNS_FLAGS, None, R, "How questions are sent."),
    option("address_delimiter", Text("character", may_be_empty=True, blanks=False, max_chars=1), "+", R, "Begins the detail."),
    option("local_domains", ListOf(Domain(dotted=True)), None, OWN, "Domains that are delivered here."),
    option("relay_to", ListOf(Domain(dotted=True)), None, R, "Domains that anybody may send mail to through this machine."),
    option(
        "proxy_addresses",
        ListOf(IpAddress()),
        None,
        OWN,
        "Addresses of others that lead to this gateway, such as that of a router that translates addresses: like the addresses "
        "that smtps listens on, they take no mail from smtpc, since it would come back.",
    ),
    option("relay_from", ListOf(Network()), None, R, "Clients that may send mail anywhere through this machine."),
)

_SECTIONS: Final = (
    SectionDef(
        "nameserver",
        "A name server with a port of its own; several are possible, they come before the option's.",
        OWN,
        (
            option("address", IpAddress(), None, OWN, "IP address.", required=True),
            option("port", Port(), "53", OWN, "Port."),
        ),
        repeat=True,
    ),
    MAP,
    map_user("aliases", "The alias map.", S, lookup_flags=True),
    map_user("local_user_map", "The map of local users: others are refused.", S, lookup_flags=True),
    map_user("mailertable", "Where mail for a domain goes, if not by MX records.", R),
    map_user("tls_policy", "What TLS has to fulfil where mail of a domain goes, whatever DANE and others say.", OWN),
    map_user("auth_sender", "Which senders authenticated users may have: own, addresses, @domains or *.", OWN),
    map_user("password_map", "Passwords of users, as in a password file, for the password_map of sections auth of smtps.", OWN),
    map_user("access_map", "The access map: who may send what to whom.", R),
    SectionDef(
        "dnsbl",
        "A DNS list; its results are looked up in the access map with the tag dnsblN:, N from 0 in file order.",
        R,
        (
            option("zone", Domain(), None, OWN, "Zone of the list.", required=True),
            option("timeout", Time(1, 60), "5s", OWN, "How long it may take; no answer means not listed."),
        ),
        naming=Naming.MAY,
        repeat=True,
    ),
    SectionDef(
        "mta_sts",
        "With it the policies of MTA-STS (RFC 8461) of other domains are asked for and obeyed.",
        OWN,
        (
            option(
                "CAcert_file",
                PATH,
                None,
                OWN,
                "Certificates of the authorities that servers of policies, and those that take reports by https, are trusted "
                "by (PEM), relative to the configuration directory; those of the system if it is not given.",
            ),
            option("port", Port(), "443", OWN, "Port of the servers of policies, if a firewall leads to another one."),
        ),
    ),
    SectionDef(
        "tls_reports",
        "With it sessions with servers of domains that want it are counted, and reported each day (TLSRPT, RFC 8460).",
        OWN,
        (
            option(
                "from", MailAddress(), None, OWN, "Address that reports come from, and that answers questions.", required=True
            ),
            option(
                "organization", Text("name", max_chars=100), None, OWN, "Who reports; the domain of from if it is not given."
            ),
            option(
                "delay",
                Time(0, 72000),
                "4h",
                OWN,
                "Reports of a day are sent at some time within it after the day (UTC), another one for each host name.",
            ),
        ),
    ),
    SectionDef(
        "greylisting",
        "Unknown senders have to try twice.",
        R,
        (
            option("file", PATH, "greylist.db", OWN, "Its data base, relative to the queue directory."),
            option("wait", Time(1, 86400), "5m", OWN, "Time until a second attempt counts."),
            option("expire", Time(60, 30 * 86400), "1d", OWN, "Time within which the second attempt has to come."),
            option("lifetime", Time(3600, 366 * 86400), "5w", OWN, "Time after which an unused entry is forgotten."),
            option("prefix4", Int(8, 32), "24", OWN, "Bits of an IPv4 address that count."),
            option("prefix6", Int(16, 128), "64", OWN, "Bits of an IPv6 address that count."),
        ),
    ),
)

SMAR: Final = component("smar", "The address resolver: maps, routing, access.", _OPTIONS, _SECTIONS)
