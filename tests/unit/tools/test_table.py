import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.units import parse_time_s
from meta1g.tools.table import Column, age, columns

NAME = Column("name", lambda row: row["name"])
SIZE = Column("size", lambda row: str(row["size"]))


def test_columns_are_as_wide_as_their_widest_cell_and_lines_have_no_blanks_at_the_end():
    rows = [{"name": "a", "size": 1}, {"name": "much longer", "size": 22}]
    assert columns((NAME, SIZE), rows) == "name         size\na            1\nmuch longer  22"


def test_no_rows_leave_the_titles():
    assert columns((NAME, SIZE), []) == "name  size"


@pytest.mark.parametrize(
    ("name", "shown"), [("\x1b[2J", "\\x1B[2J"), ("ü", "\\xC3\\xBC"), ("\udcff", "\\xFF"), ("a\nb", "a\\x0Ab")]
)
def test_nothing_that_a_sender_wrote_reaches_the_terminal_as_it_is(name, shown):
    assert columns((NAME,), [{"name": name}]) == f"name\n{shown}" if len(shown) > 4 else f"name\n{shown.ljust(4)}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0, "0s"), (59.9, "59s"), (60, "1m"), (119, "1m59s"), (3599, "59m59s"), (3661, "1h1m"), (7500, "2h5m"),
     (86399, "23h59m"), (2 * 86400 + 5 * 3600 + 1500, "2d5h"), (10 * 86400 + 5 * 3600, "1w3d")],
)  # fmt: skip
def test_an_age_has_its_two_largest_units(seconds, text):
    assert age(seconds) == text


@given(st.integers(0, 10**9))
def test_an_age_is_never_more_than_the_time_that_passed(seconds):
    assert parse_time_s(age(seconds)) <= seconds
