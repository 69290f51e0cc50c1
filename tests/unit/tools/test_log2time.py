"""log2time: every stamp that a log can have becomes another one and comes back; everything else stays as it is."""

import gzip
import os
import subprocess
import sys
import zoneinfo
from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrib.lib.gateway import ROOT
from meta1g.base import sysexits
from meta1g.base.cli import CliError
from meta1g.tools import log2time
from meta1g.tools.metalog.stamps import epoch_text, local_text, parse_stamp, utc_text

NOW = 1_795_755_345.0
WHEN = 1_795_755_345.123456
REST = " smtps[12]: sevr=INFO, func=x, stat=ok 2026-11-27T04:55:45Z"
SAME = (
    "2026-11-27T04:55:45.123456Z",
    "2026-11-27T05:55:45.123456+01:00",
    "2026-11-27T05:55:45,123456+0100",
    "2026-11-26 23:25:45.123456 -0530",
    "1795755345.123456",
)


@pytest.mark.parametrize("stamp", SAME)
def test_each_form_of_a_time_is_the_same_time(stamp):
    assert parse_stamp(stamp, NOW) == pytest.approx(WHEN, abs=1e-6)
    assert log2time.translate(stamp + REST, utc_text, NOW) == SAME[0] + REST
    assert log2time.translate(stamp + REST, epoch_text, NOW) == SAME[-1] + REST


def test_the_time_of_a_place_is_that_of_its_clocks():
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    assert local_text(WHEN, berlin) == "2026-11-27 05:55:45.123456 +0100"
    assert local_text(WHEN - 150 * 86400, berlin) == "2026-06-30 06:55:45.123456 +0200"


@pytest.mark.parametrize(
    ("stamp", "now", "expected"),
    [
        ("Nov 27 04:55:45", "2026-11-27T05:00:00Z", "2026-11-27T04:55:45.000000Z"),
        ("Dec 31 23:59:59", "2027-01-01T00:00:01Z", "2026-12-31T23:59:59.000000Z"),
        ("Jan  1 00:00:10", "2026-12-31T23:59:59Z", "2027-01-01T00:00:10.000000Z"),
        ("Jan  3 00:00:10", "2026-12-31T23:59:59Z", "2026-01-03T00:00:10.000000Z"),
        ("Feb 29 12:00:00", "2026-11-27T05:00:00Z", "2024-02-29T12:00:00.000000Z"),
        ("2016-12-31T23:59:60Z", "2026-11-27T05:00:00Z", "2017-01-01T00:00:00.000000Z"),
    ],
)
def test_a_year_that_is_not_there_is_guessed_and_a_leap_second_is_a_time(stamp, now, expected):
    assert utc_text(parse_stamp(stamp, parse_stamp(now, 0), UTC)) == expected


@given(st.integers(10**15, 4 * 10**15), st.integers(-14 * 60, 14 * 60))
def test_there_and_back(microseconds, minutes):
    line = f"{utc_text(microseconds / 1_000_000)} smtps[1]: x"
    zone = timezone(timedelta(minutes=minutes))
    there = log2time.translate(line, lambda when: local_text(when, zone), NOW)
    assert log2time.translate(there, utc_text, NOW) == line
    assert log2time.translate(log2time.translate(line, epoch_text, NOW), utc_text, NOW) == line


@pytest.mark.parametrize(
    "line",
    [
        "", "no stamp", "12:00:00 x", "20261127 x", "2026-13-45T99:99:99Z x", "Feb 30 00:00:00 x", "2026-11-27 no time",
        "Nov 27", "123456789012 x", "1795755345-x", "1795755345:x", '{"no": "time"}', "x 2026-11-27T04:55:45Z",
    ],
)  # fmt: skip
def test_a_line_without_a_stamp_at_its_beginning_stays_as_it_is(line):
    assert log2time.translate(line, epoch_text, NOW) == line


@pytest.mark.parametrize(
    "line",
    [
        '{{"time": "{}", "process": "smtps"}}',
        '{{"process":"smtps","time":"{}","x":"2026-11-27T04:55:45Z"}}',
        "<22>1 {} mx1 smtps 12 - - sevr=INFO",
    ],
)
def test_a_stamp_behind_a_head_or_in_an_object_is_translated(line):
    assert log2time.translate(line.format(SAME[0]), epoch_text, NOW) == line.format(SAME[-1])


def run(*arguments, text="", zone="UTC"):
    command = [sys.executable, "-c", "from meta1g.tools.log2time import run; run()", *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TZ": zone, "PYTHONIOENCODING": "utf-8:strict"}
    return subprocess.run(command, input=text.encode(), capture_output=True, env=env, check=False, timeout=60)


def test_the_program_reads_standard_input_and_packed_files_byte_by_byte(tmp_path):
    line = SAME[0].encode() + b" x: \xff \x0d\n"
    packed = tmp_path / "log.1.gz"
    packed.write_bytes(gzip.compress(line, mtime=0))
    done = run("--zone", "Asia/Tokyo", packed, "-", text="last " + SAME[0] + "\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"2026-11-27 13:55:45.123456 +0900 x: \xff \x0d\nlast " + SAME[0].encode() + b"\n"
    assert run(text=SAME[0] + REST, zone="EST5").stdout.decode() == f"2026-11-26 23:55:45.123456 -0500{REST}\n"


def test_single_stamps(capsys):
    assert log2time.main(["--utc", "-s", "1795755345", "-s", SAME[1]]) == sysexits.EX_OK
    assert capsys.readouterr().out == f"2026-11-27T04:55:45.000000Z\n{SAME[0]}\n"
    with pytest.raises(CliError, match="'yesterday' is no time stamp") as caught:
        log2time.main(["-s", "yesterday"])
    assert caught.value.exit_code == sysexits.EX_DATAERR


@pytest.mark.parametrize("arguments", [["--zone", "Nowhere/Here"], ["--utc", "--epoch"]])
def test_a_wrong_command_line_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        log2time.main(arguments)
    assert caught.value.code == sysexits.EX_USAGE


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CliError, match="none: no such file") as caught:
        log2time.main([str(tmp_path / "none")])
    assert caught.value.exit_code == sysexits.EX_NOINPUT


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.gz", gzip.compress(f"{SAME[0]} x\n".encode() * 9, mtime=0)[:-12], "cannot be read to its end"),
        ("a.gz", b"no gzip", "cannot be read to its end"),
        ("a.xz", b"no xz", "cannot be read to its end"),
        ("a.bz2", b"no bz2", "cannot be read to its end"),
        ("a.zst", b"", "passed over: its packing is not built in"),
    ],
    ids=["cut.gz", "no.gz", "no.xz", "no.bz2", "zst"],
)
def test_a_file_that_cannot_be_read_to_its_end_is_named_and_the_others_are_read(tmp_path, capsys, name, content, says):
    damaged, whole = tmp_path / name, tmp_path / "whole"
    damaged.write_bytes(content)
    whole.write_text(f"{SAME[0]} whole\n")
    assert log2time.main(["--epoch", str(damaged), str(whole)]) == sysexits.EX_DATAERR
    told = capsys.readouterr()
    assert told.out.endswith(f"{SAME[-1]} whole\n")
    assert told.err.startswith(f"log2time: {damaged}: {says}")


@pytest.mark.parametrize("name", ["Foo/Bar", "../etc/passwd", "", "Europe"])
def test_a_zone_that_is_not_there_is_told_in_words(capsys, name):
    with pytest.raises(SystemExit):
        log2time.main(["--zone", name])
    told = capsys.readouterr().err
    assert f"there is no time zone {name!r}; write one such as Europe/Berlin" in told


@pytest.mark.parametrize("stamp", ["2026-02-30T00:00:00Z", "2026-01-01T25:00:00Z", "Feb 30 00:00:00", "0000-01-01T00:00:00Z"])
def test_a_stamp_of_no_time_is_named(stamp):
    with pytest.raises(CliError, match=f"'{stamp}': there is no such") as caught:
        log2time.main(["-s", stamp])
    assert caught.value.exit_code == sysexits.EX_DATAERR
