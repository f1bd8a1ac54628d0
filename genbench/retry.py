"""Patience with services: how often to ask again, how long to wait, and no more requests a minute than allowed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


class TryAgainError(Exception):
    """A failure that may pass: a busy service, a broken connection. after_s: how long the service asks to wait, if it says.
    """

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


@dataclass(frozen=True)
class RetryPolicy:
    """attempts: of one request, the first included. Waits grow from first_s by `factor` to most_s, each cut by up to a
    half.
    """

    attempts: int = 6
    first_s: float = 1.0
    factor: float = 2.0
    most_s: float = 60.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first_s < 0 or self.factor < 1 or self.most_s < self.first_s:
            raise ValueError(f"{self}: give attempts >= 1, first_s >= 0, factor >= 1 and most_s >= first_s")

    def wait_s(self, failed: int, chance: float) -> float:
        """Seconds to wait after the `failed`-th failure (from 1); chance in [0, 1) spreads many clients apart."""
        return min(self.first_s * self.factor ** (failed - 1), self.most_s) * (1 - chance / 2)


def with_retries(
    call: Callable[[], T],
    policy: RetryPolicy,
    sleep: Callable[[float], None] = time.sleep,
    chance: Callable[[], float] = random.random,
) -> T:
    """The call's result, tried again after TryAgainError; the last of these is raised when attempts run out.

    A service's own wish counts where it is longer than ours, and ends the trying where it is longer than the policy's most.
    """
    for failed in range(1, policy.attempts + 1):
        try:
            return call()
        except TryAgainError as error:
            wished = error.after_s or 0.0
            if failed == policy.attempts or wished > policy.most_s:
                raise
            sleep(max(policy.wait_s(failed, chance()), wished))
    raise AssertionError("attempts is at least 1")


class RateLimit:
    """At most so many calls a minute, over all threads, evenly spread; None: no limit."""

    def __init__(
        self,
        per_minute: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if per_minute is not None and per_minute <= 0:
            raise ValueError(f"{per_minute} requests a minute; give a number above 0, or none for no limit")
        self._gap_s = 60.0 / per_minute if per_minute else 0.0
        self._clock, self._sleep = clock, sleep
        self._lock, self._next_s = threading.Lock(), 0.0

    def wait(self) -> None:
        """Return when the next call may start."""
        if not self._gap_s:
            return
        with self._lock:
            now_s = self._clock()
            start_s = max(now_s, self._next_s)
            self._next_s = start_s + self._gap_s
        self._sleep(max(0.0, start_s - now_s))
