"""What a layout reaches, from the times of its parts alone: a discrete-event model of the pipeline.

Stages work on one block at a time and hand it on; where the next stage is busy they wait. Computed here: generation FPS,
time to first frame, who is busy and for how long. Nothing is measured, and no time is built in.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from liveavatar.config import RolloutOptions
from liveavatar.streaming.sink import first_switch
from liveavatar.tpp.layout import Layout
from liveavatar.tpp.times import Times

STEADY_BLOCKS = 48


@dataclass(frozen=True)
class Traffic:
    """How blocks enter, wait and leave.

    depth: blocks that may wait between two stages; 0: a stage holds its block until the next takes it, as blocking sends
    do. in_flight: blocks that may be between sound and viewer; None: as many as fit. live: sound comes in real time, not
    all at once. paced: the viewer takes a block only when the one before has been played. cores: processor cores that all
    stages share; None: every device is its own.
    """

    depth: int = 0
    in_flight: int | None = None
    live: bool = False
    paced: bool = False
    cores: int | None = None


@dataclass(frozen=True)
class Simulated:
    """What came out. Seconds; utilisation per stage is the busy share of a steady interval.

    first_frame_s: from when the first block's sound is there to its decoded frames, the pipeline empty. latency_s: the same
    from a block's first evaluation on in the running pipeline. wait_s: half an output frame.
    """

    fps: float
    latency_s: float
    first_frame_s: float
    wait_s: float
    midstream_s: float
    utilisation: tuple[float, ...]
    interval_s: float

    @property
    def ttff_s(self) -> float:
        """Time to first frame as the paper's Table 3 has it: latency in the running pipeline, and the wait."""
        return self.wait_s + self.latency_s


@dataclass
class _Station:
    """A stage at work: what it does to a block takes `seconds`; `threads` processor cores are busy meanwhile."""

    seconds: list[float]  # per block
    threads: int
    waiting: deque[int] = field(default_factory=deque)
    block: int | None = None
    left_s: float = 0.0
    is_done: bool = False
    busy_s: float = 0.0
    needs_sink_from: float = math.inf


class _Pipeline:
    """The state of all stages at one moment, and what happens next."""

    def __init__(self, layout: Layout, options: RolloutOptions, times: Times, traffic: Traffic, blocks: int) -> None:
        self.layout, self.options, self.times, self.traffic, self.blocks = layout, options, times, traffic, blocks
        self.stations = [_station(layout, number, options, times, blocks) for number in range(len(layout.stages))]
        self.now_s, self.next_block, self.shown = 0.0, 0, 0
        self.admitted, self.begun, self.finished, self.left = ([math.inf] * blocks for _ in range(4))
        self.busy_s: list[list[float]] = []  # of every stage, when each block left
        self.sink_s = math.inf
        self.free_viewer_s = 0.0
        denoises = [number for number, stage in enumerate(layout.stages) if stage.steps]
        # The first latent frame is known where the last step is made; decoded and coded again, where frames are made.
        recoded = options.aas_content == "recoded"
        self.sink_stage = len(layout.stages) - 1 if recoded else denoises[-1]

    def run(self, shown: int) -> None:
        """Until so many blocks have left."""
        while True:
            while self._moved():
                pass
            if self.shown >= shown:
                return
            self._advance()

    # ----------------------------------------------------------------------------------------------------- transitions

    def _moved(self) -> bool:
        """Let whatever can happen at this moment happen."""
        moved = self._leave()
        for number in range(len(self.stations) - 1, -1, -1):
            moved |= self._hand_on(number)
            moved |= self._begin(number)
        return moved

    def _leave(self) -> bool:
        last = self.stations[-1]
        if not last.is_done or (self.traffic.paced and self.now_s < self.free_viewer_s):
            return False
        assert last.block is not None
        self.left[last.block], self.shown = self.now_s, self.shown + 1
        self.busy_s.append([station.busy_s for station in self.stations])
        self.free_viewer_s = self.now_s + self.times.block_s
        last.block, last.is_done = None, False
        return True

    def _hand_on(self, number: int) -> bool:
        station = self.stations[number]
        if not station.is_done or number + 1 == len(self.stations):
            return False
        target = self.stations[number + 1]
        room = self.traffic.depth or (1 if target.block is None else 0)
        if len(target.waiting) >= room:
            return False
        assert station.block is not None
        target.waiting.append(station.block)
        station.block, station.is_done = None, False
        return True

    def _begin(self, number: int) -> bool:
        station = self.stations[number]
        if station.block is not None:
            return False
        block = self._admissible() if number == 0 else station.waiting[0] if station.waiting else None
        if block is None or (block >= station.needs_sink_from and self.now_s < self.sink_s):
            return False
        if number == 0:
            self.next_block += 1
            self.admitted[block] = self._arrival(block) if self.traffic.live else self.now_s
            self.begun[block] = self.now_s
        else:
            station.waiting.popleft()
        station.block, station.left_s = block, station.seconds[block]
        if block >= station.needs_sink_from:
            station.left_s += self.times.t_prefill
            station.needs_sink_from = math.inf
        return True

    def _admissible(self) -> int | None:
        block, limit = self.next_block, self.traffic.in_flight
        is_held = limit is not None and block - self.shown >= limit
        return None if block >= self.blocks or is_held or self._arrival(block) > self.now_s else block

    def _arrival(self, block: int) -> float:
        return (block + 1) * self.times.block_s + self.times.look_ahead_s if self.traffic.live else 0.0

    # ----------------------------------------------------------------------------------------------------------- time

    def _advance(self) -> None:
        """On to the next moment at which something is finished or arrives."""
        busy = [station for station in self.stations if station.block is not None and not station.is_done]
        wanted = sum(station.threads for station in busy)
        rate = 1.0 if self.traffic.cores is None else min(1.0, self.traffic.cores / max(1, wanted))
        moments = [station.left_s / rate for station in busy]
        if self.next_block < self.blocks and self._arrival(self.next_block) > self.now_s:
            moments.append(self._arrival(self.next_block) - self.now_s)
        if self.traffic.paced and self.free_viewer_s > self.now_s:
            moments.append(self.free_viewer_s - self.now_s)
        if not moments:
            raise RuntimeError(f"layout {self.layout.spec} stands still at block {self.next_block}")
        passed = min(moments)
        self.now_s += passed
        for station in busy:
            station.busy_s += passed
            station.left_s -= passed * rate
            if station.left_s <= 1e-12:
                self._finish(station)

    def _finish(self, station: _Station) -> None:
        station.is_done = True
        assert station.block is not None
        if station is self.stations[-1]:
            self.finished[station.block] = self.now_s
        if station is self.stations[self.sink_stage] and station.block == 0:
            self.sink_s = self.now_s


def _station(layout: Layout, number: int, options: RolloutOptions, times: Times, blocks: int) -> _Station:
    stage = layout.stages[number]
    seconds = times.evaluations(stage.steps, options)
    seconds += times.t_voice if number == 0 else 0.0
    seconds += times.t_vae + times.t_output if stage.decodes else 0.0
    seconds += times.t_hand if number + 1 < len(layout.stages) else 0.0
    station = _Station([seconds] * blocks, stage.devices)
    if options.aas and stage.steps:
        station.needs_sink_from = first_switch(options, stage.steps)
    return station


def warm_up_blocks(layout: Layout, options: RolloutOptions) -> int:
    """Blocks before the steady state: two, the pipeline's depth, and those that wait for the new sink."""
    switched = max(first_switch(options, stage.steps) for stage in layout.stages if stage.steps) if options.aas else 0
    return max(2 + len(layout.stages), switched + 1 + len(layout.stages))


def simulate(layout: Layout, options: RolloutOptions, times: Times, traffic: Traffic | None = None) -> Simulated:
    """Run the model long enough that every figure is steady."""
    traffic = traffic or Traffic()
    warm = warm_up_blocks(layout, options) + (traffic.depth + 1) * len(layout.stages)
    last = warm + STEADY_BLOCKS - 1
    pipeline = _Pipeline(layout, options, times, traffic, last + 1 + (traffic.depth + 2) * len(layout.stages))
    pipeline.run(last + 1)
    span_s = pipeline.left[last] - pipeline.left[warm - 1]
    fps = STEADY_BLOCKS * times.block_frames / span_s
    steady = range(warm, last + 1)
    busy = [after - before for before, after in zip(pipeline.busy_s[warm - 1], pipeline.busy_s[last], strict=True)]
    return Simulated(
        fps=fps,
        latency_s=sum(pipeline.finished[b] - pipeline.begun[b] for b in steady) / len(steady),
        first_frame_s=pipeline.finished[0] - pipeline.admitted[0],
        wait_s=1 / (2 * min(fps, times.playback_fps)),
        midstream_s=_midstream(pipeline, steady),
        utilisation=tuple(min(1.0, seconds / span_s) for seconds in busy),
        interval_s=span_s / STEADY_BLOCKS,
    )


def _midstream(pipeline: _Pipeline, steady: range) -> float:
    """Mean time from a sound that comes at any moment to the frame that shows it, given to the viewer."""
    intervals = [(pipeline.admitted[b] - pipeline.admitted[b - 1], pipeline.left[b] - pipeline.admitted[b]) for b in steady]
    total = sum(interval for interval, _ in intervals)
    return sum(interval * (interval / 2 + behind) for interval, behind in intervals) / total if total else math.nan
