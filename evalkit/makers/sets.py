"""Set metrics: one number for all videos of a method, from the features of those videos and of the real ones."""

from __future__ import annotations

from collections.abc import Mapping

from evalkit.definition import MetricInfo
from evalkit.jobs import Part, WorkItem
from evalkit.makers.scores import Arrays, ScoreMaker
from evalkit.plan import REAL
from evalkit.records import GENERATE, Key, Record

Videos = dict[str, dict[str, Arrays]]


class SetMaker(ScoreMaker):
    """All set metrics that are due for a method's videos of one set."""

    def make(self, item: WorkItem) -> list[Record]:
        """Gather both sides' features, extracting what no per-clip metric needed before, then score."""
        infos = {part.key.metric: self._info(part.key.metric) for part in item.parts}
        self.check_canaries()
        part = item.parts[0]
        needed = list(infos.values())
        made = self._videos(part.key.method, part, part.inputs["made"], needed)
        real = self._videos(REAL, part, part.inputs["real"], needed)
        return [self.judged(one, infos[one.key.metric], made, real)[0] for one in item.parts]

    def _videos(self, method: str, part: Part, hashes: Mapping[str, str], infos: list[MetricInfo]) -> Videos:
        """Features by clip and extractor; clips are named by sample and seed."""
        found: Videos = {}
        for sample_id, sample in self.loaded_set(part.key.dataset).samples.items():
            for seed in self.definition.seeds:
                key = Key(GENERATE, method, part.key.dataset, sample_id, seed)
                if key.clip in hashes:
                    identity = {"digest": sample.info.digest, "truth": sample.info.truth_digest}
                    found[key.clip] = self.features_of(key, hashes[key.clip], identity, infos)
        return found
