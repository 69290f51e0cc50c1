"""The log of a process as its section, or else the whole file, wants it."""

import re
import socket
import syslog

import pytest

from meta1g.base import startup
from tests.unit.conf.text import load


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("", 9),
        ("log_level = 5;", 5),
        ("log_level = 5; smar { log_level = 12; }", 12),
        ("debug_level = 1;", 15),
        ("log_level = 20; debug_level = 1;", 20),
        ("debug_level = 1; smar { debug_level = 0; log_level = 3; }", 3),
        ("smar { debug_level = 1; }", 15),
        ("smtps { debug_level = 1; }", 9),
    ],
)
def test_lines_for_the_search_for_errors_are_written_if_somebody_wants_them(text, level, tmp_path):
    config = load(text)
    assert startup.open_log("smar", config.glob, config.section("smar"), tmp_path).level == level


def written(text, tmp_path, capfd):
    config = load(text)
    log = startup.open_log("smar", config.glob, config.section("smar"), tmp_path)
    log.notice("smar.stop", "stopped")
    log.close()
    return capfd.readouterr().err


def test_where_lines_go_and_in_which_form(tmp_path, capfd):
    """Options file, facility, ident, format, protocol and socket of section log."""
    assert "func=smar.stop" in written("", tmp_path, capfd)
    assert written('log { file = "a.log"; }', tmp_path, capfd) == ""
    assert "func=smar.stop" in (tmp_path / "a.log").read_text()
    assert written('log { file = "a.log"; } smar { log { file = "b.log"; format = json; } }', tmp_path, capfd) == ""
    assert '"smar.stop"' in (tmp_path / "b.log").read_text()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(tmp_path / "log"))
        service.settimeout(30)
        for protocol, expected in (
            ("", rf"<{syslog.LOG_LOCAL3 | syslog.LOG_NOTICE}>.* gate\["),
            ("protocol = rfc5424;", rf"<{syslog.LOG_LOCAL3 | syslog.LOG_NOTICE}>1 .* gate \d+ smar.stop - "),
            ("protocol = journal;", r"SYSLOG_FACILITY=19\nSYSLOG_IDENTIFIER=gate\n"),
        ):
            where = f'facility = local3; ident = "gate"; socket = "{tmp_path}/log"; {protocol}'
            assert written(f"log {{ {where} }}", tmp_path, capfd) == ""
            assert re.search(expected, service.recv(9999).decode())
