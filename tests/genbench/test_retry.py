"""Patience with services: waits grow, a service's wish counts, a rate is kept."""

from __future__ import annotations

import pytest

from genbench.retry import RateLimit, RetryPolicy, TryAgainError, with_retries


def failing_times(count: int, after_s: float | None = None):
    """A call that fails so often, and a list of how often it was called."""
    calls: list[int] = []

    def call() -> str:
        calls.append(1)
        if len(calls) <= count:
            raise TryAgainError("busy", after_s)
        return "done"

    return call, calls


def test_waits_double_up_to_the_most():
    waits: list[float] = []
    call, _ = failing_times(4)
    assert with_retries(call, RetryPolicy(5, 1.0, 2.0, 5.0), waits.append, lambda: 0.0) == "done"
    assert waits == [1.0, 2.0, 4.0, 5.0]


def test_chance_cuts_a_wait_by_at_most_a_half():
    policy = RetryPolicy(5, 1.0, 2.0, 5.0)
    assert policy.wait_s(2, 0.0) == 2.0
    assert policy.wait_s(2, 1.0) == 1.0


def test_a_longer_wish_of_the_service_wins_up_to_the_most():
    waits: list[float] = []
    call, _ = failing_times(1, after_s=4.0)
    assert with_retries(call, RetryPolicy(3, 1.0, 2.0, 5.0), waits.append, lambda: 0.0) == "done"
    assert waits == [4.0]
    call, calls = failing_times(1, after_s=6.0)
    with pytest.raises(TryAgainError):
        with_retries(call, RetryPolicy(3, 1.0, 2.0, 5.0), waits.append, lambda: 0.0)
    assert len(calls) == 1


def test_attempts_count_the_first():
    call, calls = failing_times(9)
    with pytest.raises(TryAgainError, match="busy"):
        with_retries(call, RetryPolicy(3, 0.0), lambda _: None)
    assert len(calls) == 3


def test_a_rate_spreads_calls_evenly():
    now_s, waits = [100.0], []
    limit = RateLimit(30, clock=lambda: now_s[0], sleep=waits.append)
    for _ in range(3):
        limit.wait()
    assert waits == [0.0, 2.0, 4.0]
    now_s[0] = 200.0
    limit.wait()
    assert waits[-1] == 0.0
