from meta1g.mcp.restart import Failures


def test_the_delay_doubles_from_a_second_to_a_minute():
    failures = Failures()
    assert [failures.record(number * 100.0, 2.0) for number in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_after_a_long_run_it_starts_at_once_and_the_delay_begins_anew():
    failures = Failures()
    assert [failures.record(0, 1), failures.record(10, 1), failures.record(100, 20), failures.record(110, 1)] == [1, 2, 0, 1]


def test_five_failures_within_a_minute_are_too_many():
    failures = Failures()
    for number in range(4):
        failures.record(number * 15.0, 1)
        assert not failures.too_many
    failures.record(60.0, 1)
    assert failures.too_many


def test_five_failures_in_more_than_a_minute_are_not():
    failures = Failures()
    for number in range(50):
        failures.record(number * 15.1, 1)
        assert not failures.too_many
