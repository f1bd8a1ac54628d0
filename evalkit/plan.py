"""The plan: which records are wanted, which of them exist, and why any of the others must be made."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from evalkit.capabilities import CLIPS, probe_key
from evalkit.definition import DatasetInfo, Definition, MethodInfo, MetricInfo, SampleInfo
from evalkit.experiments import COLD, LIVE, OFFLINE, PREDICTED, SOAK, SWITCH, SpeedProtocol, from_clips
from evalkit.fingerprint import differing_fields, digest
from evalkit.methods.base import BY_PROTOCOL, CONTROL, FROM_CLIPS, VIDEO
from evalkit.records import DONE, FAILED, GENERATE, INVALID, SCORE, SET, SPEED, Key, Record
from evalkit.store import Store

MISSING, STALE = "missing", "stale"
STATES = (DONE, MISSING, STALE, FAILED, INVALID)
STRESS_STREAM, STRESS_WINDOWS = "stress_stream", "stress_windows"
POSITIONS = "positions"
REAL = "truth"
"""The control whose videos are the real side of set metrics."""
GENERATE_PROTOCOL = "1"
PROBE_VERSION = "1"
MAX_ATTEMPTS = 3
BLOCK_MEDIA_S = 0.48
SWITCH_PERIOD_S = 6.0  # about what one silence and one utterance of a switch scenario take


@dataclass(frozen=True)
class Item:
    """One wanted record: its state, the reason for it, and what it is made from."""

    key: Key
    inputs: dict[str, Any]
    state: str
    reason: str = ""
    attempts: int = 0
    is_transient: bool = False
    media_s: float = 0.0
    is_ready: bool = True

    @property
    def fingerprint(self) -> str:
        """Digest of the inputs."""
        return digest(self.inputs)

    def is_due(self, retry_failed: bool = False) -> bool:
        """Whether a run makes this record now. Failures are tried again if their cause may pass, or on request."""
        if not self.is_ready or self.state == DONE:
            return False
        if self.state == INVALID:
            # The same clip would come out again, but the machine may be quieter now.
            return retry_failed and self.key.kind == SPEED
        if self.state == FAILED:
            return retry_failed or (self.is_transient and self.attempts < MAX_ATTEMPTS)
        return True


@dataclass
class Plan:
    """All wanted records of a definition."""

    items: list[Item] = field(default_factory=list)

    def counts(self, kind: str = "") -> dict[str, int]:
        """How many records are in each state."""
        found = Counter(item.state for item in self.of(kind))
        return {state: found.get(state, 0) for state in STATES}

    def of(self, kind: str = "") -> list[Item]:
        """The items of one kind, or all."""
        return [item for item in self.items if not kind or item.key.kind == kind]

    def due(self, kind: str = "", retry_failed: bool = False) -> list[Item]:
        """The records that a run would make now."""
        return [item for item in self.of(kind) if item.is_due(retry_failed)]

    def shard(self, number: int, count: int) -> Plan:
        """The share of shard `number` of `count`: every clip lies in one of them, with all its scores.

        Set metrics lie in none: they need the clips of all shards.
        """
        return Plan([item for item in self.items if item.key.kind != SET and shard_of(item.key, count) == number])

    def is_complete(self) -> bool:
        """Whether every wanted record is done (or found invalid, which is a result too)."""
        return all(item.state in (DONE, INVALID) for item in self.items)


def window_sample(sample: str, begin_s: int) -> str:
    """The sample id of a window of a stream's drift curve."""
    return f"{sample}.t{begin_s:06d}"


def window_begin_s(window: str) -> int:
    """Where such a window begins."""
    return int(window.rpartition(".t")[2])


def streamed_sample(dataset: str, sample: str) -> str:
    """The sample whose stream a segment or a window is cut from."""
    return sample.rpartition(".t")[0] if dataset == STRESS_WINDOWS else sample


def shard_of(key: Key, count: int) -> int:
    """1 ... count. The set does not enter: segments stay with the stream they are cut from."""
    sample = streamed_sample(key.dataset, key.sample)
    mark = hashlib.sha256(f"{key.method}/{sample}/{key.seed}".encode()).digest()
    return 1 + int.from_bytes(mark[:8], "big") % count


def make_plan(store: Store, definition: Definition) -> Plan:
    """Classify every record that the definition wants."""
    clips = list(_generations(store, definition))
    scores = list(_scores(store, definition, clips))
    plan = Plan(clips + list(_speeds(store, definition, clips)) + scores + list(_sets(store, definition, clips)))
    store.digests.save()
    return plan


def classify(store: Store, key: Key, inputs: dict[str, Any], media_s: float = 0.0) -> Item:
    """The state of one record, given what it should have been made from."""
    record = store.read(key)
    if record is None:
        return Item(key, inputs, MISSING, "not made yet", media_s=media_s)
    if record.fingerprint != digest(inputs):
        fields = differing_fields(record.inputs, inputs) or ["fingerprint"]
        return Item(key, inputs, STALE, "differs in " + ", ".join(fields), media_s=media_s)
    held = Item(key, inputs, DONE, attempts=record.attempts, media_s=media_s)
    if record.status == FAILED:
        message = f"{record.error.kind}: {record.error.message}" if record.error else "no reason recorded"
        transient = bool(record.error and record.error.transient)
        return replace(held, state=FAILED, reason=message, is_transient=transient)
    for artefact in record.artefacts:
        problem = store.problem(artefact)
        if problem:
            return Item(key, inputs, MISSING, problem, media_s=media_s)
    if record.status == INVALID:
        return replace(held, state=INVALID, reason=str(record.outputs.get("reason") or ""))
    return held


def method_inputs(method: MethodInfo) -> dict[str, Any]:
    """The part of a fingerprint that names the method."""
    return {"method": method.name, "version": method.version, "identity": method.identity}


def generate_inputs(method: MethodInfo, sample: SampleInfo, seed: int) -> dict[str, Any]:
    """What a clip is made from."""
    given = {"id": sample.id, "digest": sample.digest}
    if method.kind == CONTROL:
        given |= {"truth": sample.truth_digest, "next": sample.next_digest}
    return {"protocol": GENERATE_PROTOCOL, **method_inputs(method), "sample": given, "seed": seed}


def score_inputs(metric: MetricInfo, sample: SampleInfo, video_sha256: str) -> dict[str, Any]:
    """What a score is made from."""
    return {
        "metric": metric.name,
        "version": metric.version,
        "backbone": metric.backbone,
        "extractors": list(metric.extractors),
        "sample": {"digest": sample.digest, "truth": sample.truth_digest},
        "video": video_sha256,
    }


def set_inputs(metric: MetricInfo, made: Mapping[str, str], real: Mapping[str, str]) -> dict[str, Any]:
    """What a distance of sets is made from: hashes of both sides' videos by clip."""
    return {
        "metric": metric.name,
        "version": metric.version,
        "backbone": metric.backbone,
        "extractors": list(metric.extractors),
        "made": dict(made),
        "real": dict(real),
    }


def speed_inputs(definition: Definition, method: MethodInfo, set_digest: str, scenario: str = OFFLINE) -> dict[str, Any]:
    """What a speed measurement is made from."""
    assert definition.speed is not None
    protocol = from_clips(definition.speed) if method.speed == FROM_CLIPS else definition.speed
    return {**method_inputs(method), "protocol": protocol.asked(scenario), "dataset": set_digest}


def video_sha256(record: Record | None) -> str:
    """Hash of the record's video; empty when there is none."""
    found = (one.sha256 for one in (record.artefacts if record else []) if one.path.endswith("/" + VIDEO))
    return next(found, "")


def wanted_clips(definition: Definition) -> Iterator[tuple[MethodInfo, DatasetInfo, SampleInfo, int]]:
    """Every clip that the definition's metrics look at and its method can make."""
    for method in definition.clip_makers():
        for dataset in definition.datasets:
            for sample in filter(method.takes, dataset.samples):
                for seed in definition.seeds:
                    yield method, dataset, sample, seed


def _generations(store: Store, definition: Definition) -> Iterable[Item]:
    if definition.stress is not None:
        yield from _stress_generations(store, definition)
        return
    for method, dataset, sample, seed in wanted_clips(definition) if definition.has_clips else ():
        key = Key(GENERATE, method.name, dataset.name, sample.id, seed)
        yield classify(store, key, generate_inputs(method, sample, seed), sample.duration_s)
    yield from _positions(store, definition)


def _positions(store: Store, definition: Definition) -> Iterable[Item]:
    """Where attention's positions stand in the first blocks of a stream: one record per method that makes blocks."""
    sample = next((one for dataset in definition.datasets for one in dataset.samples), None)
    if sample is None or not definition.positions:
        return
    for method in definition.clip_makers():
        if method.kind != CONTROL:
            key = Key(GENERATE, method.name, POSITIONS, sample.id, definition.seeds[0])
            inputs = {**generate_inputs(method, sample, definition.seeds[0]), "blocks": definition.positions}
            yield classify(store, key, inputs, BLOCK_MEDIA_S * definition.positions)


def _stress_generations(store: Store, definition: Definition) -> Iterable[Item]:
    """One stream per method, then one clip per segment of it."""
    assert definition.stress is not None
    stream_s = definition.stress.stream_s
    streams: dict[Key, Item] = {}
    stream_inputs: dict[Key, dict[str, Any]] = {}
    for method, dataset, sample, seed in wanted_clips(definition):
        stream_key = Key(GENERATE, method.name, STRESS_STREAM, streamed_sample(dataset.name, sample.id), seed)
        inputs = {**generate_inputs(method, sample, seed), "stream_s": stream_s}
        if stream_key not in streams:
            stream_inputs[stream_key] = inputs
            streams[stream_key] = classify(store, stream_key, inputs, stream_s)
            yield streams[stream_key]
        key = Key(GENERATE, method.name, dataset.name, sample.id, seed)
        cut = {"stream": digest(stream_inputs[stream_key]), "segment": dataset.name}
        if dataset.name == STRESS_WINDOWS:
            cut["window"] = sample.id
        item = classify(store, key, cut, sample.duration_s)
        if item.is_due() and streams[stream_key].state == FAILED:
            item = Item(key, cut, MISSING, "the stream failed", is_ready=False)
        yield item


def _speeds(store: Store, definition: Definition, clips: list[Item]) -> Iterable[Item]:
    protocol = definition.speed
    dataset = definition.dataset(protocol.dataset) if protocol else None
    if protocol is None or dataset is None:
        return
    systems = [method for method in definition.runnable() if method.kind != CONTROL]
    probed = [method for method in systems if not method.only_scenarios] if definition.probes_streaming else []
    for method in probed:
        inputs = {**method_inputs(method), "probe": PROBE_VERSION, "dataset": dataset.digest}
        yield classify(store, probe_key(definition, method), inputs)
    for method in systems:
        if method.speed == FROM_CLIPS:
            yield _clip_speed(store, definition, method, dataset, clips)
    for scenario in protocol.scenarios:
        # Repeats before methods: fresh processes of different methods take turns, so that a slow spell hits all alike.
        for repeat in range(1, protocol.repeats + 1) if protocol.is_fresh else (0,):
            for method in systems:
                if method.speed != BY_PROTOCOL or (method.only_scenarios and scenario not in method.only_scenarios):
                    continue
                key = Key(SPEED, method.name, dataset.name, scenario=protocol.record_name(scenario, repeat))
                inputs = speed_inputs(definition, method, dataset.digest, scenario)
                yield classify(store, key, inputs, _speed_media_s(protocol, scenario))


def _clip_speed(store: Store, definition: Definition, method: MethodInfo, dataset: DatasetInfo, clips: list[Item]) -> Item:
    """A speed that is read from the timelines of the method's own clips waits for them."""
    own = [clip for clip in clips if clip.key.method == method.name]
    inputs = speed_inputs(definition, method, dataset.digest)
    inputs["clips"] = digest([clip.fingerprint for clip in own])
    item = classify(store, Key(SPEED, method.name, dataset.name, scenario=CLIPS), inputs)
    ready = [clip for clip in own if clip.state in (DONE, INVALID)]
    if len(ready) < len(own) and item.is_due():
        has_failed = any(clip.state == FAILED for clip in own)
        return replace(item, is_ready=has_failed and bool(ready), reason="waits for its clips")
    return replace(item, is_ready=bool(ready)) if item.is_due() else item


def _speed_media_s(protocol: SpeedProtocol, scenario: str) -> float:
    """Seconds of video that a scenario makes, for time limits and progress."""
    repeats = 1 if protocol.is_fresh else protocol.repeats
    discarded = protocol.discarded_clips * protocol.discarded_s
    probes = 2 * protocol.clip_s * len({"caching", "unseen"} & set(protocol.probes))
    lengths = {
        OFFLINE: repeats * protocol.clip_s + probes,
        LIVE: repeats * protocol.live_s,
        SWITCH: repeats * protocol.switches * SWITCH_PERIOD_S,
        SOAK: repeats * protocol.soak_s,
        COLD: repeats * protocol.discarded_s,
        PREDICTED: repeats * protocol.predicted_blocks * BLOCK_MEDIA_S,
    }
    return discarded + lengths[scenario]


def _scores(store: Store, definition: Definition, clips: list[Item]) -> Iterable[Item]:
    states = {item.key: item for item in clips}
    for method, dataset, sample, seed in wanted_clips(definition) if definition.has_clips else ():
        clip_key = Key(GENERATE, method.name, dataset.name, sample.id, seed)
        clip = states[clip_key]
        sha256 = video_sha256(store.read(clip_key)) if clip.state == DONE else ""
        for metric in definition.measured():
            key = Key(SCORE, method.name, dataset.name, sample.id, seed, metric.name)
            inputs = score_inputs(metric, sample, sha256)
            if clip.state == INVALID:
                yield Item(key, inputs, INVALID, f"the clip is invalid: {clip.reason}")
            elif clip.state != DONE:
                reason = "its clip failed" if clip.state == FAILED else "waits for its clip"
                yield Item(key, inputs, MISSING, reason, media_s=sample.duration_s, is_ready=False)
            else:
                yield classify(store, key, inputs, sample.duration_s)


def _sets(store: Store, definition: Definition, clips: list[Item]) -> Iterable[Item]:
    """One record per method, set and set metric, once every clip of the method and of the truth is settled."""
    metrics = definition.measured_sets()
    real = definition.method(REAL)
    if not metrics or not definition.has_clips or real is None or not real.is_runnable:
        return
    states = {item.key: item for item in clips}
    for dataset in definition.datasets:
        sides = {
            method.name: [
                states[Key(GENERATE, method.name, dataset.name, sample.id, seed)]
                for sample in dataset.samples
                for seed in definition.seeds
            ]
            for method in definition.clip_makers()
        }
        for method in definition.clip_makers():
            both = sides[method.name] + sides[REAL]
            if method.name == REAL or not both:
                continue
            waits = [item for item in both if item.state not in (DONE, INVALID, FAILED)]
            made, truth = (_videos(store, sides[name]) for name in (method.name, REAL))
            media_s = sum(item.media_s for item in both)
            for metric in metrics:
                key = Key(SET, method.name, dataset.name, metric=metric.name)
                inputs = set_inputs(metric, made, truth)
                if waits or not made or not truth:
                    reason = "waits for its clips" if waits else "no clip of it, or none of the truth, was made"
                    yield Item(key, inputs, MISSING, reason, media_s=media_s, is_ready=False)
                else:
                    yield classify(store, key, inputs, media_s)


def _videos(store: Store, items: list[Item]) -> dict[str, str]:
    """Hashes of the finished videos by clip."""
    return {item.key.clip: video_sha256(store.read(item.key)) for item in items if item.state == DONE}
