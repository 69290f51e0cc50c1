import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.units import format_size_bytes, format_time_s, parse_size_bytes, parse_time_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5m3s", 303), ("6m", 360), ("6", 6), ("1w1d1h1m1s", 694861), ("0", 0), (" 2H ", 7200)],
)
def test_times_are_read_with_and_without_units(text, seconds):
    assert parse_time_s(text) == seconds


@pytest.mark.parametrize("text", ["", "5x", "m5", "-1", "1.5h", "5m 3s", "٣"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="is not a time"):
        parse_time_s(text)


@given(st.integers(0, 10**9))
def test_a_written_time_reads_back(seconds):
    assert parse_time_s(format_time_s(seconds)) == seconds


@pytest.mark.parametrize(("text", "size"), [("10KB", 10240), ("1gb", 1 << 30), ("7", 7), ("3 ", 3), ("5B", 5)])
def test_sizes_are_read_with_and_without_units(text, size):
    assert parse_size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "KB", "1TB", "1 KB", "-3"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="is not a size"):
        parse_size_bytes(text)


@given(st.integers(0, 1 << 40))
def test_a_written_size_reads_back(size):
    assert parse_size_bytes(format_size_bytes(size)) == size
