from meta1g.mcp.restart import Failures


def test_the_delay_doubles_from_a_second_to_a_minute_and_stays_there_for_ever():
    failures = Failures()
    assert [failures.record(2.0) for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert {failures.record(0.0) for _ in range(10_000)} == {60}


def test_after_a_long_run_it_starts_at_once_and_the_delay_begins_anew():
    failures = Failures()
    assert [failures.record(ran_s) for ran_s in (1, 1, 20, 1)] == [1, 2, 0, 1]


def test_one_that_asks_for_a_change_waits_a_minute_each_time():
    failures = Failures()
    assert [failures.record(0.1, refused=True) for _ in range(3)] == [60, 60, 60]
    assert failures.record(0.1) == 1


def test_a_shortage_of_the_system_is_no_failure_of_the_component():
    failures = Failures()
    assert [failures.record(0.1) for _ in range(4)] == [1, 2, 4, 8]
    assert [failures.record(0.0, short=True) for _ in range(3)] == [1, 1, 1]
    assert failures.record(0.1) == 16
