"""Watches over a process and its neighbours: who died, who hangs, what does not arrive; and ends what cannot go on.

A thread of its own, so that it sees what the process itself is stuck in. The first to find a fault claims it on the board;
everyone else reads it there.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from liveavatar.tpp.board import Board
from liveavatar.tpp.layout import Role

BEAT_S = 0.25
ASLEEP_S = 2.0  # threads that look every BEAT_S and have not looked for so long were not running
FAULT = "fault"


@dataclass(frozen=True)
class Limits:
    """Seconds until something counts as a fault.

    silence_s: without a sign of life from a process. stall_s: in one piece of work, or of a block that was sent and does not
    arrive. grace_s: for a process to end by itself once a fault is known; then it is ended.
    """

    silence_s: float = 10.0
    stall_s: float = 60.0
    grace_s: float = 3.0


@dataclass(frozen=True)
class Fault:
    """Which stage failed and why; `kept` says what the consumer still has."""

    stage: str
    rank: int
    cause: str
    kept: str = ""

    def __str__(self) -> str:
        kept = f"; {self.kept}" if self.kept else ""
        return f"stage '{self.stage}' (rank {self.rank}) {self.cause}{kept}"


class StageFaultError(RuntimeError):
    """The pipeline cannot go on; `fault` names stage and cause."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class AwakeClock:
    """Seconds in which this process ran. Some thread must ask every BEAT_S.

    A machine that is suspended, or a process that is stopped and goes on, must not take its neighbours' silence for death.
    """

    def __init__(self) -> None:
        self._last, self._asleep_s, self._lock = time.monotonic(), 0.0, threading.Lock()

    def now(self) -> float:
        """A reading; only differences mean anything."""
        with self._lock:
            read = time.monotonic()
            passed, self._last = read - self._last, read
            self._asleep_s += max(0.0, passed - BEAT_S) if passed > ASLEEP_S else 0.0
            return read - self._asleep_s


class Watch:
    """A process's own state, as its threads tell it, and the pipeline's, as the board tells it."""

    def __init__(
        self, role: Role, stages: list[str], limits: Limits, keeper: int | None = 0, starter: int | None = None
    ) -> None:
        """stages: names by rank. keeper: the rank that keeps the board, None: whoever started the processes does. starter:
        the process that did, where it is known."""
        self.role, self.stages, self.limits, self.keeper, self.starter = role, stages, limits, keeper, starter
        self.clock = AwakeClock()
        self.fault: Fault | None = None
        self.has_claimed = False
        self.stopped: set[int] = set()  # streams whose viewer has left
        self.stream = -1
        self.sending_since: float | None = None
        self.receiving_since: float | None = None
        self.on_beat: Callable[[Board], None] = lambda board: None  # work from time to time that must not wait long
        self.on_end: Callable[[Fault], object] = lambda fault: None  # last words of a process that cannot end by itself
        self._working: tuple[str, float, float] | None = None  # what, since when, for how long it may
        self._turn_s = self.clock.now()  # when the watching thread was last free
        self._is_over = threading.Event()
        self._found = threading.Event()

    # -------------------------------------------------------------------------------------------- told by other threads

    def check(self) -> None:
        """Raise StageFaultError if there is a fault anywhere."""
        if self.fault is not None:
            raise StageFaultError(self.fault)

    def works_on(self, what: str, patience: float = 1.0) -> None:
        """The process's main thread begins a piece of work that must end within `patience` times `stall_s`."""
        self._working = (what, self.clock.now(), patience * self.limits.stall_s)

    def rests(self) -> None:
        """It waits, for as long as it takes."""
        self._working = None

    def found(self, rank: int, cause: str) -> None:
        """Somebody here has found a fault; it counts once the board, or this process alone, has taken it."""
        if self._is_over.is_set():
            return
        fault = Fault(self.stages[rank], rank, cause)
        try:
            self.fault = self.fault or self._claim(fault)
        except RuntimeError:
            self.fault = self.fault or fault
        self._found.set()

    def over(self) -> None:
        """The process ends by itself."""
        self._is_over.set()

    # ----------------------------------------------------------------------------------------------- the watching itself

    def start(self, board: Board, claims: Board) -> None:
        """board: for the watching thread alone; claims: for whoever finds a fault."""
        self._claims, self._claim_lock = claims, threading.Lock()
        threading.Thread(target=self._run, args=(board,), name="watch", daemon=True).start()
        threading.Thread(target=self._guard, name="guard", daemon=True).start()

    def _claim(self, fault: Fault) -> Fault:
        with self._claim_lock:
            held = Fault(**self._claims.claim(FAULT, asdict(fault)))
        self.has_claimed |= held == fault
        return held

    def _run(self, board: Board) -> None:
        parent, seen, beats = os.getppid(), Neighbour(self.clock), 0
        watched = (self.role.rank + 1) % len(self.stages)
        while not self._is_over.is_set():
            try:
                beats += 1
                self._beat(board, beats)
                self._look(board, watched, seen)
                self.on_beat(board)
            except RuntimeError as error:  # the store's errors: whoever keeps it is gone
                self._lost_board(_first_line(error))
            except Exception as error:
                self.found(self.role.rank, f"cannot watch any more: {type(error).__name__}: {error}")
            # A starter that went before this process looked for the first time has left it with another parent.
            if os.getppid() != parent or (self.starter is not None and not _exists(self.starter)):
                self.found(self.role.rank, "was left alone: what started it is gone")
            self._turn_s = self.clock.now()
            if self.fault is not None:
                return
            self._found.wait(BEAT_S)

    def _guard(self) -> None:
        """Watches the watching thread, which waits for ever for a board whose keeper stands still; and ends the process."""
        self._turn_s = self.clock.now()
        while self.fault is None and not self._is_over.wait(BEAT_S):
            if self.clock.now() - self._turn_s > self.limits.silence_s + BEAT_S:
                self._lost_board(f"nobody has reached it for {self.limits.silence_s:g} s")
        if self.fault is not None:
            self._end_by_force()

    def _beat(self, board: Board, number: int) -> None:
        now, since = self.clock.now(), self.sending_since  # another thread's: read once
        sending_s = None if since is None else now - since
        board.put(f"beat/{self.role.rank}", {"number": number, "sending_s": sending_s})
        what, begin, limit_s = self._working or ("", now, 0.0)
        if what and now - begin > limit_s:
            self.found(self.role.rank, f"hangs: {what} has taken longer than {limit_s:g} s")

    def _look(self, board: Board, watched: int, seen: Neighbour) -> None:
        if self.fault is None and board.has(FAULT):
            self.fault = Fault(**board.get(FAULT))
        stop = f"stop/{self.stream}"
        if self.stream >= 0 and self.stream not in self.stopped and board.has(stop):
            self.stopped.add(self.stream)
        if watched != self.role.rank and not board.has(f"done/{watched}"):
            silence_s = seen.silence_s(board.get(f"beat/{watched}") if board.has(f"beat/{watched}") else None)
            if silence_s > self.limits.silence_s:
                self.found(watched, f"does not answer: no sign of life for {self.limits.silence_s:g} s")
        self._look_upstream(board)

    def _look_upstream(self, board: Board) -> None:
        """A block that was sent long ago, while this process was ready for it, is stuck between the two."""
        source, since = self.role.source, self.receiving_since
        if source is None or since is None or self.clock.now() - since < self.limits.stall_s:
            return
        beat = board.get(f"beat/{source}") if board.has(f"beat/{source}") else {}
        if (beat.get("sending_s") or 0) > self.limits.stall_s:
            cause = f"has sent a block to stage '{self.role.stage.name}' that has not arrived for {self.limits.stall_s:g} s"
            self.found(source, f"{cause}: the network stalls")

    def _lost_board(self, why: str) -> None:
        # A stage that fails says so before it goes, so what is not known now was not said.
        rank, name = (-1, "launcher") if self.keeper is None else (self.keeper, self.stages[self.keeper])
        self.fault = self.fault or Fault(name, rank, f"does not answer: it keeps the meeting point, and {why}")

    def _end_by_force(self) -> None:
        """The main thread raises when it next looks; where it cannot, the process ends here."""
        if not self._is_over.wait(self.limits.grace_s):
            assert self.fault is not None
            self.on_end(self.fault)
            os._exit(1)


class Neighbour:
    """How long another process's sign of life has not changed."""

    def __init__(self, clock: AwakeClock) -> None:
        self._clock = clock
        self._number: Any = None
        self._since = clock.now()

    def silence_s(self, beat: dict[str, Any] | None) -> float:
        """Seconds, given its newest sign; one that never gave any is still starting."""
        now = self._clock.now()
        if beat is None or beat["number"] != self._number:
            self._number, self._since = None if beat is None else beat["number"], now
        return now - self._since


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0][:160]
