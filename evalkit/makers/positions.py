"""Records where attention's positions stand in the first blocks of a stream, as the stream itself has them."""

from __future__ import annotations

import json
import shutil

from evalkit.jobs import WorkItem
from evalkit.makers.base import Maker, new_record, plain_inputs
from evalkit.plan import POSITIONS
from evalkit.records import DONE, INVALID, Record


class PositionsMaker(Maker):
    """One record per method."""

    def make(self, item: WorkItem) -> list[Record]:
        """Run the first blocks and keep what was seen; a method without such positions is a stated result."""
        part = item.parts[0]
        key, blocks = part.key, int(part.inputs["blocks"])
        source = next(one for one in self.definition.datasets if any(sample.id == key.sample for sample in one.samples))
        inputs = plain_inputs(self.loaded_set(source.name).samples[key.sample])
        made = self.store.temporary(key.artefact_dir)
        try:
            try:
                seen = self.session(key.method).positions(inputs, key.seed, blocks)
            except NotImplementedError as error:
                record = new_record(part, INVALID)
                record.outputs = {"reason": str(error)}
                return [record]
            text = json.dumps(seen, indent=1) + "\n"
            (made / f"{POSITIONS}.json").write_text(text, encoding="utf-8")
            record = new_record(part, DONE)
            record.artefacts = self.store.publish(made, key.artefact_dir)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        record.outputs = {"blocks": blocks, "evaluations": len(seen)}
        return [record]
