"""Rules over several options; what they refuse stands in wrong/, here is what they let through."""

import pytest

from tests.unit.conf.text import load


@pytest.mark.parametrize(
    "text",
    [
        "smtps { listen_socket { path = x; } }",
        "smtps { listen_socket { type = unix; path = x; permissions = 0600; } }",
        "smtps { start_action = pass; pass_fd_socket = x; listen_socket { } }",
        "smtps { start_action = accept; listen_socket { } }",
        "smtps A { listen_socket { port = 0; } } smtps B { listen_socket { port = 0; } }",
        "smtps A { listen_socket { address = 127.0.0.1; } } smtps B { listen_socket { address = ::1; } }",
        "smtps A { listen_socket { port = 25; } listen_socket { port = 587; } }",
        "smar { map a { type = passwd; } map b { type = sequence; maps = { a, a }; } }",
        "smar { map c { type = sequence; maps = { a, b }; } map a { type = passwd; } map b { type = passwd; } }",
        "smtps { listen_socket { address = 127.0.0.1; } listen_socket { address = ::1; } listen_socket { path = x; } }",
        "smar { map a { type = socket; address = 127.0.0.1; port = 5; } }",
        'smar { map a { type = static; entries = { "key value", "a  b c" }; } }',
        "smar { aliases { file = a; type = text; } }",
        "qmgr { map a { type = passwd; } conf_map { name = a; } }",
        "qmgr { min_retry_delay = 1s; max_retry_delay = 1s; return_timeout = 1h; }",
        "qmgr { delay_dsn_timeout = 0; return_timeout = 1h; }",
        "qmgr { delay_dsn_timeout = 1h; return_timeout = 1h; }",
        "qmgr { restart_dependencies = { smtps, MSA, smar }; } smtps MSA { }",
        "smtps { policy_milter { socket { path = x; } } }",
        "smtps { proxy_from = { 10.0.0.0/8, ::1 }; xclient_from = { 127.0.0.1 }; xforward_from = { 0.0.0.0/0 }; }",
        "smtps { flags = { require_auth }; auth { dovecot_socket = x; } }",
        "smtps { flags = { require_auth }; auth { password_map = true; } } smar { password_map { file = x; } }",
        "smtps { auth { password_map = true; mechanisms = { scram-sha-256, external }; } }",
        "smtps { auth { password_file = x; password_map = false; } } smar { }",
        "smtps { flags = { require_auth }; xclient_from = { 127.0.0.1 }; }",
    ],
)
def test_it_is_right(text):
    load(text)
