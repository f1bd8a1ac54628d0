"""Makes one clip per item: the method's video and timeline, published before the record."""

from __future__ import annotations

import shutil

from evalkit.jobs import WorkItem
from evalkit.makers.base import Maker, new_record
from evalkit.methods.base import VIDEO, Generation
from evalkit.records import DONE, INVALID, Record

SHORT_BY_S = 0.5


class ClipMaker(Maker):
    """Clips of systems, ablations and control rows."""

    def make(self, item: WorkItem) -> list[Record]:
        """Generate into a temporary folder, then move it into place."""
        part = item.parts[0]
        key = part.key
        session = self.session(key.method)
        inputs = self.inputs(key.method, key.dataset, key.sample)
        made = self.store.temporary(key.artefact_dir)
        try:
            generation = session.generate(inputs, key.seed, made)
            if not (made / VIDEO).is_file():
                raise FileNotFoundError(f"{key.method} returned without writing {VIDEO}")
            artefacts = self.store.publish(made, key.artefact_dir)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        reason = too_short(generation, item.media_s)
        record = new_record(part, INVALID if reason else DONE)
        record.artefacts = artefacts
        record.outputs = {
            "frames": generation.frames,
            "fps": generation.fps,
            "reason": reason or None,
            "details": generation.details,
        }
        record.cost = {"load_s": self.load_s.get(key.method)}
        return [record]


def too_short(generation: Generation, wanted_s: float) -> str:
    """Why a clip does not count: less than what was asked for is not "as good as it got"."""
    if generation.fps <= 0 or generation.frames <= 0:
        return "the clip has no frames"
    made_s = generation.frames / generation.fps
    return f"the clip lasts {made_s:.2f} s instead of {wanted_s:.2f} s" if made_s < wanted_s - SHORT_BY_S else ""
