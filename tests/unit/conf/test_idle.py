"""Options that another one leaves without effect: each row of the table refuses or warns until the other one is gone."""

import re

import pytest

from meta1g.conf.errors import ConfigError
from meta1g.conf.idle import IDLE, Idle
from tests.unit.conf.text import load

_MILTER = "milter m { socket { port = 1; } }"
_OTHER = "milter o { socket { port = 2; } }"
_ACCESS = " smar { access_map { file = a; } }"
#: Row and name -> a file that has it, what is taken away from it so that it is right (a regular expression).
CASES = {
    ("log", "facility"): ("log { file = x; facility = mail; }", "file = x;"),
    ("log", "protocol"): ("log { file = x; protocol = rfc5424; }", "file = x;"),
    ("log", "socket"): ("log { file = x; socket = /s; }", "file = x;"),
    ("log", "ident"): ("log { ident = x; }", "ident = x;"),
    ("* log", "facility"): ("smtps { log { file = x; facility = mail; } }", "file = x;"),
    ("* log", "protocol"): ("mcp { log { file = x; protocol = journal; } }", "file = x;"),
    ("* log", "socket"): ("qmgr { log { file = x; socket = /s; } }", "file = x;"),
    ("* log", "ident"): ("smar { log { file = x; ident = x; facility = mail; } }", "file = x;"),
    ("* listen_socket", "permissions"): ("smtps { listen_socket { permissions = 0600; } }", "permissions = 0600;"),
    ("smtps", "unverified"): ("smtps { unverified = accept; }", "unverified = accept;"),
    ("smtps", "max_header_size"): ("smtps { max_message_size = 1KB; max_header_size = 2KB; }", "max_message_size = 1KB;"),
    ("smtps", "max_body_size"): ("smtps { max_message_size = 1KB; max_body_size = 2KB; }", "max_message_size = 1KB;"),
    ("smtps", "min_deliver_by"): ("smtps { min_deliver_by = 1h; flags = { dont_deliverby }; }", "flags = .*?};"),
    ("smtps milter", ""): (f"smtps {{ milters = {{ o }}; {_MILTER} {_OTHER} }}", "milters = { o };"),
    ("smtps tls", "cert_file"): ("smtps { flags = { dont_starttls }; tls { cert_file = x; } }", "flags = .*?};"),
    ("smtps tls", "DSA_cert_file"): ("smtps { flags = { dont_starttls }; tls { DSA_cert_file = x; } }", "flags = .*?};"),
    **{
        ("smtps tls", name): (f"smtps {{ tls {{ {name} = x; }} }}", f"{name} = x;")
        for name in ("CAcert_file", "CAcert_directory", "CRL_file", "ciphers", "DH_file", "ticket_secret_file")
    },
    ("smtps tls", "min_version"): ("smtps { tls { min_version = tls1.3; } }", "min_version = tls1.3;"),
    ("smtps tls", "flags"): ("smtps { tls { flags = { dont_request_cert }; } }", "flags = .*?};"),
    ("smtps tls server_names", ""): ("smtps { tls { server_names { file = x; } } }", "server_names { file = x; }"),
    ("smtps tls_requirements", "violation"): ("smtps { tls_requirements { violation = abort; } }", "violation = abort;"),
    ("smtps tls_requirements", ""): (
        "smtps { flags = { dont_starttls }; tls_requirements { flags = { encrypted }; } tls { cert_file = x; } }",
        "flags = { dont_starttls };",
    ),
    ("smtps auth", ""): ("smtps { flags = { dont_auth }; auth { password_file = x; } }", "flags = .*?};"),
    ("smtps auth", "flags plaintext_without_tls"): (
        "smtps { auth { password_file = x; mechanisms = { scram-sha-256 }; flags = { plaintext_without_tls }; } }",
        "mechanisms = .*?};",
    ),
    ("smtpc", "flags dont_starttls"): (
        "smtpc { flags = { dont_starttls }; } smar { tls_policy { file = x; } }",
        "flags = .*?};",
    ),
    ("smtpc", "source_address6"): ("smtpc { source_address = ::1; source_address6 = ::2; }", "source_address6 = ::2;"),
    ("smtpc tls", ""): ("smtpc { flags = { dont_starttls }; tls { min_version = tls1.3; } }", "flags = .*?};"),
    ("smtpc tls", "ciphers"): ("smtpc { tls { min_version = tls1.3; ciphers = x; } }", "min_version = tls1.3;"),
    ("smtpc auth", "mechanisms"): ("smtpc { auth { mechanisms = { plain }; } }", "mechanisms = .*?};"),
    ("smtpc auth", "flags"): ("smtpc { auth { flags = { without_tls }; } }", "flags = .*?};"),
    ("smtpc auth", ""): ("smtpc { flags = { dont_starttls }; auth { file = x; } }", "flags = .*?};"),
    ("qmgr", "verp_delimiters"): ('qmgr { verp_delimiters = "-="; }', "verp_delimiters = .*?;"),
    ("qmgr", "double_bounce_address"): (
        "qmgr { double_bounce_address = joe; dsn_flags = { dont_double_bounce }; }",
        "dsn_flags = .*?};",
    ),
    ("qmgr", "delay_dsn_timeout"): ("qmgr { delay_dsn_timeout = 1h; dsn_flags = { dont_delay }; }", "dsn_flags = .*?};"),
    ("qmgr", "ok_free_disk"): ("qmgr { min_free_disk = 0; ok_free_disk = 1GB; }", "min_free_disk = 0;"),
    ("qmgr smtps", "rate_time_unit"): ("qmgr { smtps { rate_time_unit = 1h; } }", "rate_time_unit = 1h;"),
    ("qmgr smtps", "rate_exempt"): ("qmgr { smtps { rate_exempt = { ::1 }; } }", "rate_exempt = .*?};"),
    ("qmgr verify", ""): ("qmgr { verify { wait = 1s; } } smtps { }", "smtps { }"),
    ("qmgr conf_map", "type"): (
        "qmgr { map m { type = text; file = x; } conf_map { name = m; type = text; } }",
        "type = text; (?=})",
    ),
    ("smar", "proxy_addresses"): ("smar { proxy_addresses = { ::1 }; } smtpc { flags = { talk_to_myself }; }", "flags = .*?};"),
    **{
        (f"smar {user}", "type"): (
            f"smar {{ map m {{ type = text; file = x; }} {user} {{ name = m; type = text; }} }}",
            "type = text; (?=})",
        )
        for user in ("aliases", "local_user_map", "mailertable", "tls_policy", "access_map", "auth_sender", "password_map")
    },
    ("smar auth_sender", ""): ("smar { auth_sender { file = x; } } smtps { }", "smtps { }"),
    ("smar password_map", ""): ("smar { password_map { file = x; } } smtps { }", "smtps { }"),
}
#: Names that stand in several rows, each with the other cases.
MORE = [
    *(
        (
            "smtps tls",
            name,
            f"smtps {{ tls {{ cert_file = c; {name} = x; CAcert_file = a; flags = {{ dont_request_cert }}; }} }}",
            "flags = .*?};",
        )
        for name in ("CAcert_directory", "CRL_file")
    ),
    (
        "smtps tls",
        "CAcert_file",
        "smtps { tls { cert_file = c; CAcert_file = a; flags = { dont_request_cert }; } }",
        "flags = .*?};",
    ),
    ("smtps tls", "CRL_file", "smtps { tls { cert_file = c; CRL_file = x; } }", "CRL_file = x;"),
    ("smtps tls", "ciphers", "smtps { tls { cert_file = c; min_version = tls1.3; ciphers = x; } }", "min_version = tls1.3;"),
    ("log", "ident", "log { file = x; ident = y; facility = mail; }", "file = x;"),
    ("* log", "ident", "smar { log { ident = x; } }", "ident = x;"),
]
ALL = [(*key, *case) for key, case in CASES.items()] + MORE
ROWS = [(path, name, row) for path, rows in IDLE.items() for row in rows for name in (row.names or ("",))]


def said(text: str) -> tuple[bool, str]:
    """Tells whether a file is refused, and what is said about it."""
    try:
        return False, "\n".join(load(text).warnings)
    except ConfigError as error:
        return True, str(error)


def rows_that_say(path: str, name: str, words: str) -> list[Idle]:
    return [
        row for where, what, row in ROWS if (where, what) == (path, name) and row.text.format("\0").partition("\0")[2] in words
    ]


def test_every_row_has_its_case():
    cases = [row for path, name, text, _other in ALL for row in rows_that_say(path, name, said(whole(text))[1])]
    assert len(cases) == len(ROWS)


def whole(text: str) -> str:
    """Gives a file without access map, which could make an option count for some clients."""
    return text if "smar {" in text else text + " smar { }"


@pytest.mark.parametrize(
    ("path", "name", "text", "other"), ALL, ids=[f"{path} {name} {at}" for at, (path, name, *_rest) in enumerate(ALL)]
)
def test_it_is_named_until_the_other_one_is_gone_and_refused_if_it_protects(path, name, text, other):
    is_refused, words = said(whole(text))
    assert re.search(rf"t\.conf:1:\d+: .*\b{name.split()[-1] if name else path.split()[-1]}\b", words)
    (row,) = rows_that_say(path, name, words)
    assert is_refused is row.protects
    rest = re.sub(other, "", text)
    assert rest != text
    is_refused, words = said(whole(rest))
    assert not is_refused
    assert not rows_that_say(path, name, words)


@pytest.mark.parametrize(
    "text",
    [
        "smtps { flags = { dont_starttls }; listen_socket { implicit_tls = true; } tls { cert_file = x; } }",
        "smtps { flags = { dont_starttls }; tls { cert_file = x; } }" + _ACCESS,
        "smtps { flags = { dont_auth }; auth { password_file = x; } }" + _ACCESS,
        f"smtps {{ milters = {{ o }}; {_MILTER} {_OTHER} }}" + _ACCESS,
        f"smtps {{ milters = {{ }}; {_MILTER} }}",
        "smtpc { flags = { dont_starttls }; auth { file = x; flags = { without_tls }; } }",
        "qmgr { verify { wait = 1s; } }",
        'qmgr { verp_delimiters = "-="; } smtps { flags = { xverp }; }',
        "qmgr { smtps { max_connections = 3; rate_exempt = { ::1 }; } }",
        "smar { auth_sender { file = x; } } smtps A { } smtps B { auth { dovecot_socket = x; } }",
    ],
)
def test_something_else_makes_it_count(text):
    assert said(text) == (False, "")


def test_a_map_that_no_section_names_is_told_and_loads():
    config = load("smar { map a { type = passwd; } map b { type = sequence; maps = { a }; } local_user_map { file = x; } }")
    assert config.warnings == ["t.conf:1:33: section map b is used by no section; name it by name = ...; or remove it"]
