"""The log of a process as its section, or else the whole file, wants it."""

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
