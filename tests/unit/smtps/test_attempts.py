"""Limits of failures, without a clock and without a network."""

from meta1g.smtps.attempts import AttemptLimits, Attempts

LIMITS = AttemptLimits(client=3, user=2, window_s=60)


def failed(attempts, client, user, times, now_s=0.0):
    for _ in range(times):
        attempts.failed(client, user, now_s)


def test_a_client_is_held_up_when_it_has_failed_often_and_goes_on_when_its_time_is_over():
    attempts = Attempts(LIMITS)
    for number in range(3):
        assert attempts.too_many("c", "x", 0.0) == 0
        attempts.failed("c", f"user{number}", float(number))
    assert attempts.too_many("c", "x", 59.0) == 3
    assert attempts.too_many("d", "x", 59.0) == 0
    assert attempts.too_many("c", "x", 60.0) == 0
    attempts.failed("c", "x", 61.0)
    assert attempts.too_many("c", "y", 62.0) == 0


def test_a_user_is_held_up_wherever_the_failures_came_from():
    attempts = Attempts(LIMITS)
    failed(attempts, "a", "joe", 1)
    failed(attempts, "b", "joe", 1)
    assert attempts.too_many("c", "joe", 1.0) == 2
    assert attempts.too_many("c", "ann", 1.0) == 0


def test_who_was_this_user_before_goes_on_until_it_fails_itself():
    attempts = Attempts(LIMITS)
    attempts.succeeded("home", "joe", 0.0)
    failed(attempts, "bad", "joe", 5)
    failed(attempts, "home", "ann", 5)
    assert attempts.too_many("home", "joe", 1.0) == 0, "its address has a bad neighbour, too"
    assert attempts.too_many("home", "ann", 1.0) == 3
    failed(attempts, "home", "joe", 2)
    assert attempts.too_many("home", "joe", 1.0) == 3


def test_a_failure_without_a_user_is_one_of_its_client():
    attempts = Attempts(LIMITS)
    failed(attempts, "c", "", 3)
    assert attempts.too_many("c", "x", 0.0) == 3
    assert attempts.too_many("d", "", 0.0) == 0


def test_a_flood_of_addresses_and_names_forgets_itself_and_takes_no_more_room():
    attempts = Attempts(LIMITS, entries=100)
    attempts.succeeded("home", "joe", 0.0)
    for number in range(10_000):
        attempts.failed(f"c{number}", f"u{number}", 0.0)
    assert max(map(len, (attempts._clients, attempts._users, attempts._known))) == 100
    assert attempts.too_many("home", "joe", 0.0) == 0
