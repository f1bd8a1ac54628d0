"""Makes clips: the method's videos and timelines, each published before its record; several at once where it asks for it."""

from __future__ import annotations

import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

from evalkit.busy import OtherWork
from evalkit.errors import is_disk_full
from evalkit.failures import failure_of
from evalkit.jobs import Part, WorkItem, failed_record
from evalkit.makers.base import Maker, new_record
from evalkit.makers.memory import PeakMemory
from evalkit.methods.base import VIDEO, Generation, Order
from evalkit.records import DONE, INVALID, Record
from evalkit.store import Store

SHORT_BY_S = 0.5


class ClipMaker(Maker):
    """Clips of systems, ablations and control rows."""

    def __init__(self, store: Store, job_id: str = "") -> None:
        super().__init__(store)
        self.job_id = job_id

    def make(self, item: WorkItem) -> list[Record]:
        """Generate into temporary folders, then move them into place. Of several clips, those that came out count."""
        session = self.session(item.method)
        made = [self.store.temporary(part.key.artefact_dir) for part in item.parts]
        try:
            with OtherWork() as others, PeakMemory() as memory:
                results = session.generate_many(list(map(self._order, item.parts, made)))
            cost = {"others_share": others.share, "memory_mib": memory.added_mib}
            return [
                self._record(part, result, folder, cost)
                for part, result, folder in zip(item.parts, results, made, strict=True)
            ]
        finally:
            for folder in made:
                shutil.rmtree(folder, ignore_errors=True)

    def _order(self, part: Part, folder: Path) -> Order:
        return Order(self.inputs(part.key.method, part.key.dataset, part.key.sample), part.key.seed, folder)

    def _record(self, part: Part, result: Generation | Exception, made: Path, cost: dict[str, Any]) -> Record:
        key = part.key
        if not isinstance(result, Exception) and not (made / VIDEO).is_file():
            result = FileNotFoundError(f"{key.method} returned without writing {VIDEO}")
        if isinstance(result, Exception):
            if is_disk_full(result):
                raise result
            traceback.print_exception(result, file=sys.stderr)
            return failed_record(part, failure_of(result, self.job_id))
        artefacts = self.store.publish(made, key.artefact_dir)
        reason = too_short(result, self.loaded_set(key.dataset).samples[key.sample].info.duration_s)
        record = new_record(part, INVALID if reason else DONE)
        record.artefacts = artefacts
        record.outputs = {
            "frames": result.frames,
            "fps": result.fps,
            "reason": reason or None,
            "details": result.details,
        }
        record.cost = {"load_s": self.load_s.get(key.method), **cost}
        return record


def too_short(generation: Generation, wanted_s: float) -> str:
    """Why a clip does not count: less than what was asked for is not "as good as it got"."""
    if generation.fps <= 0 or generation.frames <= 0:
        return "the clip has no frames"
    made_s = generation.frames / generation.fps
    return f"the clip lasts {made_s:.2f} s instead of {wanted_s:.2f} s" if made_s < wanted_s - SHORT_BY_S else ""
