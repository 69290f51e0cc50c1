"""Lines of the log: what the log writes is read as it was, under every head; what is nobody's or torn is told apart."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.events import EVENTS
from meta1g.base.logtext import FORMATS, sanitize, sanitize_stat
from meta1g.tools.metalog.lines import Unread, parse_line, unescape
from tests.manual.blocks import shown
from tests.unit.tools.metalog.logs import START, written

KEYS = {"ss_ta": "S00064E96F6D5C5F900", "rcpt_idx": 3, "mail": "a,b\\c@x.example", "rcpt": "gr\u00fc\u00dfe@x.example"}
EVENT = (0.25, "smtps.rcpt", "550 5.7.1 no, never", KEYS)
READ = {"ss_ta": "S00064E96F6D5C5F900", "rcpt_idx": "3", "mail": "a,b\\c@x.example", "rcpt": "gr\u00fc\u00dfe@x.example"}


@pytest.mark.parametrize("format_name", FORMATS)
def test_both_formats_give_the_same_facts(format_name):
    (raw,) = written([EVENT], format_name)
    line = parse_line(raw, START)
    assert (line.when, line.module, line.sevr, line.func) == (START + 0.25, "smtps", "INFO", "smtps.rcpt")
    assert line.pid > 0
    assert dict(line.keys) == READ
    assert (line.stat, line.raw) == ("550 5.7.1 no, never", raw)
    assert (line.get("rcpt_idx"), line.get("size")) == ("3", "")


SHOWN = (("logging.md", "lines of a log"), ("logging.md", "a line of JSON"), ("filter-authentication.md", "lines of a log"))
EXAMPLES = [(page, line) for page, what in SHOWN for line in re.sub(r"\n +", " ", shown(page, what)).splitlines()]


@pytest.mark.parametrize(("page", "text"), EXAMPLES)
def test_the_lines_of_the_manual_are_lines_of_the_log(page, text):
    """With the keys that their events have; `...` stands for what is left out."""
    text = text.replace("... func=", f"{HEADS['file'][0]}sevr=INFO, func=").replace(" ... ", " ")
    line = parse_line(text, START)
    row = EVENTS[line.func]
    assert set(line.keys) <= {*row.must, *row.may}
    assert line.stat


VALUE = st.one_of(st.text(max_size=200), st.binary(max_size=100).map(lambda data: data.decode("utf-8", "surrogateescape")))


@given(VALUE, VALUE)
def test_whatever_the_network_sent_comes_back(value, stat):
    """Bytes that are no text come back as surrogates; a backslash before `xNN`, which stands for a byte, as this byte."""
    (raw,) = written([(0, "smtps.rcpt", stat, {"rcpt": value})])
    line = parse_line(raw, START)
    assert (line.get("rcpt"), line.stat) == (unescape(sanitize(value)), unescape(sanitize_stat(stat)))
    if "\\x" not in value:
        assert line.get("rcpt").encode("utf-8", "surrogatepass") == value.encode("utf-8", "surrogatepass")
    (raw,) = written([(0, "smtps.rcpt", stat, {"rcpt": value})], "json")
    line = parse_line(raw, START)
    if value.isprintable() and stat.isprintable():
        assert (line.get("rcpt"), line.stat) == (value, stat)


HEADS = {
    "file": ("2026-11-27T04:55:45.250000Z smtps[12]: ", ""),
    "rsyslog": ("2026-11-27T05:55:45.250000+01:00 mx1 smtps[12]: ", "mx1"),
    "journald": ("2026-11-27T05:55:45+0100 mx1 smtps[12]: ", "mx1"),
    "syslog": ("Nov 27 04:55:45 mx1.example smtps[12]: ", "mx1.example"),
    "RFC 5424": ("<22>1 2026-11-27T04:55:45.250Z mx1 smtps 12 - - ", "mx1"),
    "RFC 3164": ("<22>Nov 27 04:55:45 smtps[12]: ", ""),
    "RFC 5424 with data and BOM": ('<22>1 2026-11-27T04:55:45.250Z mx1 smtps 12 x [a b="c\\]"][d] \ufeff', "mx1"),
    "log2time": ("2026-11-27 05:55:45.250000 +0100 smtps[12]: ", ""),
    "log2time --epoch": ("1795755345.250000 smtps[12]: ", ""),
}


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("head", HEADS)
def test_each_head_is_known(monkeypatch, head, format_name):
    monkeypatch.setenv("TZ", "UTC")
    start, host = HEADS[head]
    (raw,) = written([EVENT], format_name)
    line = parse_line(start + (raw if format_name == "json" else raw.partition("]: ")[2]), START)
    whole = parse_line(raw, START)
    expected = ("smtps", 12, host) if format_name == "classic" else (whole.module, whole.pid, whole.host)
    assert (int(line.when), line.module, line.pid, line.host) == (int(START), *expected)
    assert dict(line.keys) == READ


@pytest.mark.parametrize(
    "raw",
    [
        "", "hello", "Nov 27 04:55:45 mx1 sshd[3]: Accepted publickey", "2026-11-27T04:55:45Z", "{",
        "Nov 27 04:55:45 mx1 kernel: [1] x",         "Traceback (most recent call last):", '{"some": "object"}', "{}",
        "2026-11-27T04:55:45Z smtps[12]: x",         "\0" * 100,
        "2026-11-27T04:55:45Z smtps[12]: {broken", "-- Logs begin at Fri 2026-11-27 --",
    ],
)  # fmt: skip
def test_lines_of_others_are_foreign(raw):
    assert parse_line(raw, START) is Unread.FOREIGN


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_line_that_was_cut_is_never_taken_for_another_one(format_name):
    (raw,) = written([EVENT], format_name)
    whole = parse_line(raw, START)
    for end in range(len(raw)):
        found = parse_line(raw[:end], START)
        if not isinstance(found, Unread):  # only a part of the last value is missing
            assert dict(found.keys) == dict(whole.keys)
            assert whole.stat.startswith(found.stat)


@given(st.text(max_size=300))
def test_any_text_is_a_line_or_is_not(text):
    assert parse_line(text, START) is not None
    assert parse_line("2026-11-27T04:55:45Z smtps[12]: sevr=" + text, START) is not None
    assert parse_line('2026-11-27T04:55:45Z smtps[12]: {"' + text, START) is not None
