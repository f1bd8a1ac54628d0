"""Makers turn work items into records inside a worker: clips, speed measurements, stress streams and scores."""

from __future__ import annotations

from evalkit.jobs import READING, STRESS, JobSpec
from evalkit.makers.base import Maker
from evalkit.plan import POSITIONS
from evalkit.records import GENERATE, SET, SPEED
from evalkit.store import Store

__all__ = ["Maker", "make_maker"]


def make_maker(store: Store, spec: JobSpec) -> Maker:
    """The maker for a job's kind; only its own imports are paid for."""
    if spec.kind == GENERATE:
        from evalkit.makers.clips import ClipMaker

        return ClipMaker(store, spec.id)
    if spec.kind == SPEED:
        from evalkit.makers.speed_runs import SpeedMaker

        return SpeedMaker(store)
    if spec.kind == READING:
        from evalkit.makers.readings import ReadingMaker

        return ReadingMaker(store)
    if spec.kind == POSITIONS:
        from evalkit.makers.positions import PositionsMaker

        return PositionsMaker(store)
    if spec.kind == STRESS:
        from evalkit.makers.streams import StreamMaker

        return StreamMaker(store)
    if spec.kind == SET:
        from evalkit.makers.sets import SetMaker

        return SetMaker(store)
    from evalkit.makers.scores import ScoreMaker

    return ScoreMaker(store)
