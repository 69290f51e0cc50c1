"""Options that another one leaves without effect: each is named, since what is accepted has effect (I13).

What was written to keep something away is refused: its author believes it kept away.  Of all else he is warned: no mail fares
otherwise than he means, and who switches TLS off for an hour keeps its certificate in the file.

A row says which options (or flags, or a whole section) of which sections count for nothing, and when.  Values that are the
default are no offence: smconf -p writes all of them.  What smtps_session_conf and smtpc_session_conf could switch on for one
client or server is not idle while there is an access map.

Pure.
"""

import contextlib
import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from meta1g.conf.config import Section, UnreadError
from meta1g.conf.defs_tls import BACK_ENDS
from meta1g.conf.tree import Problem

_RATES: Final = ("max_connection_rate", "max_message_rate", "max_recipient_rate")
_SYSLOG: Final = ("facility", "protocol", "socket")
#: Options of the server's section tls that are for nothing without a certificate.
_OF_CERTIFICATES: Final = (
    *("CAcert_file", "CAcert_directory", "CRL_file", "min_version", "ciphers", "DH_file", "ticket_secret_file", "flags"),
)
_WHOLE: Final = ()


class Scene(NamedTuple):
    """What a row looks at.

    Args:
        glob: the whole file.
        outer: the section around; the file for components.
        section: the section itself.
    """

    glob: Section
    outer: Section
    section: Section

    @property
    def is_fixed(self) -> bool:
        """Whether no access map can change a session; a file without smar does not say."""
        smars = self.glob.subs("smar")
        return bool(smars) and not any(smar.sub("access_map").exists for smar in smars)


class Idle(NamedTuple):
    """A row.

    Args:
        names: options, or flags as `flags FLAG` and `flags dont_FLAG`; none for the whole section.
        when: tells whether they count for nothing.
        text: what is said; {} stands for the name.
        protects: a rule of TLS, AUTH, access or filters is skipped; an error, not a warning.
    """

    names: tuple[str, ...]
    when: Callable[[Scene], bool]
    text: str
    protects: bool = False


# -- when


def _no_tls(smtps: Section) -> bool:
    return not smtps.flag("starttls") and not any(one.get("implicit_tls") for one in smtps.subs("listen_socket"))


def _demands(needs: Section) -> bool:
    return bool(needs.get("flags")) or any(
        needs.get(name) for name in ("min_cipher_bits", "cert_issuer", "cert_subject", "common_name")
    )


def _has_certificate(tls: Section) -> bool:
    return bool(tls.get("cert_file") or tls.get("DSA_cert_file"))


def _no_authorities(scene: Scene) -> bool:
    tls = scene.section
    return _has_certificate(tls) and tls.flag("request_cert") and not (tls.get("CAcert_file") or tls.get("CAcert_directory"))


def _plain_is_not_offered(scene: Scene) -> bool:
    mechanisms = scene.section.get("mechanisms")
    return bool(mechanisms) and not {"plain", "login"} & set(mechanisms)


def _is_passed_by_nothing(scene: Scene) -> bool:
    names = scene.outer.get("milters")  # an empty list switches all off, and is meant
    unknown = set(names) - {one.name for one in scene.outer.subs("milter")}  # that is told, and may be this one
    return scene.is_fixed and bool(names) and not unknown and scene.section.name not in names


def _is_beyond_the_message(option: str) -> Callable[[Scene], bool]:
    def when(scene: Scene) -> bool:
        return scene.is_fixed and 0 < scene.section.get("max_message_size") < scene.section.get(option)

    return when


def _nobody_verifies(scene: Scene) -> bool:
    servers = scene.glob.subs("smtps")
    asked = any(smtps.given(name) for smtps in servers for name in ("verify_recipients", "verify_senders"))
    return scene.is_fixed and bool(servers) and not asked


def _nobody_logs_in(scene: Scene) -> bool:
    servers = scene.glob.subs("smtps")
    return bool(servers) and not any(smtps.sub("auth").get(name) for smtps in servers for name in BACK_ENDS)


def _nobody_asks_for_passwords(scene: Scene) -> bool:
    servers = scene.glob.subs("smtps")
    return bool(servers) and not any(smtps.sub("auth").get("password_map") for smtps in servers)


def _nobody_writes_verp(scene: Scene) -> bool:
    offered = any(smtps.flag("xverp") for smtps in scene.glob.subs("smtps"))
    return scene.is_fixed and not offered and not scene.section.get("verp_senders")


def _all_talk_to_themselves(scene: Scene) -> bool:
    clients = scene.glob.subs("smtpc")
    return bool(clients) and all(smtpc.flag("talk_to_myself") for smtpc in clients)


def _no_address_is_ipv4(scene: Scene) -> bool:
    source = scene.section.get("source_address")
    return bool(source) and ipaddress.ip_address(str(source)).version == 6


def _tls_is_wanted(scene: Scene) -> bool:
    smars = scene.glob.subs("smar")
    return scene.is_fixed and any(
        smar.sub("tls_policy").exists or smar.sub("mta_sts").exists or "trust_ad" in smar.get("DNS_flags") for smar in smars
    )


def _goes_to_syslog(log: Section) -> bool:
    return any(log.given(name) for name in _SYSLOG)


# -- the table

_LOG: Final = (
    Idle(
        ("facility", "protocol", "socket", "ident"),
        lambda scene: bool(scene.section.get("file")),
        "{} counts for nothing beside file, which takes all lines; keep one of the two",
    ),
    Idle(
        ("ident",),
        lambda scene: not scene.section.get("file") and not _goes_to_syslog(scene.section),
        "{} counts for nothing without syslog; add facility = ...;",
    ),
)
_LISTEN: Final = (
    Idle(
        ("permissions",),
        lambda scene: scene.section.get("type") != "unix" and not scene.section.given("path"),
        "{} belongs to type = unix; remove it or change the type",
        protects=True,
    ),
)
_MAP_USER: Final = (
    Idle(("type",), lambda scene: scene.section.given("name"), "{} counts for nothing beside name: the map says it; remove it"),
)
_NEEDS: Final = Idle(
    ("violation",),
    lambda scene: not _demands(scene.section),
    "{} counts for nothing, since nothing is demanded; add flags = {{ encrypted }};",
    protects=True,
)
_CIPHERS: Final = Idle(
    ("ciphers",),
    lambda scene: scene.section.get("min_version") == "tls1.3",
    "{} is for TLS 1.2, which min_version = tls1.3 rules out; remove one of the two",
)

#: Rows by the keywords that lead to a section, in lower case; those of `*` are for every component, or around all of them.
IDLE: Final[Mapping[str, tuple[Idle, ...]]] = {
    "log": _LOG,
    "* log": _LOG,
    "* listen_socket": _LISTEN,
    "smtps": (
        Idle(("unverified",), _nobody_verifies, "{} counts for nothing without verify_recipients and verify_senders"),
        Idle(
            ("max_header_size",),
            _is_beyond_the_message("max_header_size"),
            "{} is beyond max_message_size, which refuses first",
        ),
        Idle(("max_body_size",), _is_beyond_the_message("max_body_size"), "{} is beyond max_message_size, which refuses first"),
        Idle(
            ("min_deliver_by",),
            lambda scene: scene.is_fixed and not scene.section.flag("deliverby"),
            "{} counts for nothing with dont_deliverby; remove one of the two",
        ),
    ),
    "smtps milter": (
        Idle(_WHOLE, _is_passed_by_nothing, "{} is passed by no mail; add it to milters, or remove it", protects=True),
    ),
    "smtps tls": (
        Idle(
            ("cert_file", "DSA_cert_file"),
            lambda scene: scene.is_fixed and _no_tls(scene.outer),
            "{} counts for nothing with dont_starttls and without implicit_tls; remove one of the two",
        ),
        Idle(
            _OF_CERTIFICATES,
            lambda scene: not _has_certificate(scene.section),
            "{} counts for nothing without a certificate; add cert_file = ...;",
        ),
        Idle(
            ("CAcert_file", "CAcert_directory", "CRL_file"),
            lambda scene: _has_certificate(scene.section) and not scene.section.flag("request_cert"),
            "{} is for certificates of clients, which dont_request_cert does not ask for; remove one of the two",
            protects=True,
        ),
        Idle(
            ("CRL_file",), _no_authorities, "{} counts for nothing without authorities; add CAcert_file = ...;", protects=True
        ),
        _CIPHERS,
    ),
    "smtps tls server_names": (
        Idle(
            _WHOLE,
            lambda scene: not _has_certificate(scene.outer),
            "{} counts for nothing without a certificate; add cert_file = ...; to tls",
        ),
    ),
    "smtps tls_requirements": (
        _NEEDS,
        Idle(
            _WHOLE,
            lambda scene: scene.is_fixed and _demands(scene.section) and _no_tls(scene.outer),
            "nobody can meet {} with dont_starttls and without implicit_tls; remove one of the two",
            protects=True,
        ),
    ),
    "smtps auth": (
        Idle(
            _WHOLE,
            lambda scene: scene.is_fixed and not scene.outer.flag("auth"),
            "section {} counts for nothing with dont_auth; remove one of the two",
        ),
        Idle(
            ("flags plaintext_without_tls",),
            _plain_is_not_offered,
            "{} is for plain and login, which are not among mechanisms; remove it or add them",
        ),
    ),
    "smtpc": (
        Idle(
            ("flags dont_starttls",),
            _tls_is_wanted,
            "{} keeps mail back that has to use TLS by tls_policy, mta_sts or trust_ad of smar; remove one of the two",
            protects=True,
        ),
        Idle(("source_address6",), _no_address_is_ipv4, "source_address and {} are both IPv6; leave one of them"),
    ),
    "smtpc tls": (
        Idle(
            _WHOLE,
            lambda scene: scene.is_fixed and not scene.outer.flag("starttls"),
            "section {} counts for nothing with dont_starttls; remove one of the two",
        ),
        _CIPHERS,
    ),
    "smtpc auth": (
        Idle(
            ("mechanisms", "flags"),
            lambda scene: not scene.section.get("file"),
            "{} counts for nothing without logins; add file = ...;",
        ),
        Idle(
            _WHOLE,
            lambda scene: scene.is_fixed and not scene.outer.flag("starttls") and not scene.section.flag("without_tls"),
            "section {} counts for nothing with dont_starttls; remove it, or add without_tls if secrets may go in clear",
            protects=True,
        ),
    ),
    "qmgr": (
        Idle(
            ("verp_delimiters",), _nobody_writes_verp, "{} counts for nothing without verp_senders, or xverp in flags of smtps"
        ),
        Idle(
            ("double_bounce_address",),
            lambda scene: "double_bounce" not in scene.section.get("dsn_flags"),
            "{} counts for nothing with dont_double_bounce; remove one of the two",
        ),
        Idle(
            ("delay_dsn_timeout",),
            lambda scene: "delay" not in scene.section.get("dsn_flags"),
            "{} counts for nothing with dont_delay; remove one of the two",
        ),
        Idle(
            ("ok_free_disk",),
            lambda scene: not scene.section.get("min_free_disk"),
            "{} counts for nothing with min_free_disk = 0; remove one of the two",
        ),
    ),
    "qmgr smtps": (
        Idle(
            ("rate_time_unit",),
            lambda scene: not any(scene.section.get(name) for name in _RATES),
            f"{{}} counts for nothing without a rate; add one of {', '.join(_RATES)}",
        ),
        Idle(
            ("rate_exempt",),
            lambda scene: not any(scene.section.get(name) for name in (*_RATES, "max_connections")),
            f"{{}} counts for nothing without a limit; add one of max_connections, {', '.join(_RATES)}",
        ),
    ),
    "qmgr verify": (
        Idle(_WHOLE, _nobody_verifies, "section {} counts for nothing: no smtps has verify_recipients or verify_senders"),
    ),
    "qmgr conf_map": _MAP_USER,
    "smar": (
        Idle(
            ("proxy_addresses",),
            _all_talk_to_themselves,
            "{} counts for nothing, since smtpc has talk_to_myself; remove one of the two",
        ),
    ),
    **dict.fromkeys(
        (f"smar {name}" for name in ("aliases", "local_user_map", "mailertable", "tls_policy", "access_map")), _MAP_USER
    ),
    "smar auth_sender": (
        *_MAP_USER,
        Idle(_WHOLE, _nobody_logs_in, "{} counts for nothing: nobody can log in; add auth {{ ... }} to section smtps"),
    ),
    "smar password_map": (
        *_MAP_USER,
        Idle(
            _WHOLE,
            _nobody_asks_for_passwords,
            "{} is asked by nobody; add password_map = true; to section auth of smtps, or remove it",
        ),
    ),
}


# -- the walk


def idle(glob: Section, lost: str) -> Iterator[Problem]:
    """Gives the errors of a file; nothing while others may have taken what would make an option count."""
    if not lost:
        yield from _inside(glob, glob, (), protects=True)


def idle_warnings(glob: Section) -> Iterator[Problem]:
    """Gives what counts for nothing in a file that is right."""
    yield from _inside(glob, glob, (), protects=False)
    yield from _unused_maps(glob)


def _unused_maps(glob: Section) -> Iterator[Problem]:
    for owner in (*glob.subs("smar"), *glob.subs("qmgr")):
        with contextlib.suppress(UnreadError):
            used = {one.get("name") for one in owner.children() if "name" in one.definition.by_option}
            used |= {part for one in owner.subs("map") for part in one.get("maps")}
            for one in owner.subs("map"):
                if one.name not in used:
                    yield Problem(one.pos, f"section {one.title} is used by no section; name it by name = ...; or remove it")


def _inside(glob: Section, outer: Section, path: tuple[str, ...], *, protects: bool) -> Iterator[Problem]:
    for section in outer.children():
        here = (*path, section.keyword.lower())
        general = " ".join(("*", *here[1:])) if len(here) > 1 else ""
        for row in (*IDLE.get(" ".join(here), ()), *IDLE.get(general, ())):
            if row.protects is protects:
                with contextlib.suppress(UnreadError):
                    yield from _found(row, Scene(glob, outer, section))
        yield from _inside(glob, section, here, protects=protects)


def _found(row: Idle, scene: Scene) -> Iterator[Problem]:
    section = scene.section
    if not row.names and row.when(scene):
        yield Problem(section.pos, row.text.format(section.title))
    for name in row.names:
        option, _blank, flag = name.partition(" ")
        if _stands(section, option, flag) and row.when(scene):
            yield Problem(section.place(option), row.text.format(flag or option))


def _stands(section: Section, option: str, flag: str) -> bool:
    if flag:
        off = flag.removeprefix("dont_")
        return section.given(option) and section.flag(off) is (off == flag)
    return section.given(option) and section.differs(option)
