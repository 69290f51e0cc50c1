import pytest

from meta1g.tools.times import time_text, with_times


@pytest.mark.parametrize(
    ("when", "text"),
    [
        (0.0, None),
        (1_700_000_000.25, "2023-11-14T22:13:20Z"),
        (32_503_680_000.0, None),
        (-1.0, None),
        (4e9, "2096-10-02T07:06:40Z"),
    ],
)
def test_a_time_is_rfc_3339_and_none_if_it_means_never(when, text):
    assert time_text(when) == text


def test_times_are_found_in_rows_of_rows_and_nothing_else_is_changed():
    row = {"started": 1_700_000_000.0, "last": "text", "size": 1_700_000_000, "rows": [{"since": 1_700_000_000}], "x": [1]}
    assert with_times(row) == {
        "started": "2023-11-14T22:13:20Z", "last": "text", "size": 1_700_000_000,
        "rows": [{"since": "2023-11-14T22:13:20Z"}], "x": [1],
    }  # fmt: skip
