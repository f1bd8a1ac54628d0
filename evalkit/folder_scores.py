"""Scores of any folder of videos: no benchmark, no manifest, one pass per video, everything kept as files.

`score_folder(FolderJob(...))` gives a `FolderScores`; the command `evalkit score FOLDER` is this and printing. Features
are kept beside the scores, so that a second call with more metrics decodes only what it must.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from evalkit import measures
from evalkit.definition import MetricInfo
from evalkit.errors import EvalkitError, brief
from evalkit.experiments import Column
from evalkit.fingerprint import digest, file_sha256
from evalkit.makers.scores import read_features, write_features
from evalkit.metric_setup import MetricSetup
from evalkit.names import slug
from evalkit.records import dumps
from evalkit.stats import estimate
from evalkit.store import write_text

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v")
SOUND_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus", *VIDEO_SUFFIXES)
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
NEEDS_MORE = ("mouth_correlation", "lip_closure")
"""Metrics that need a truth no folder has."""
ON_REQUEST = ("sync_c_wholeframe", "sync_d_wholeframe", "fvd_one_clip")
"""Variants for comparison with publications that used them: scored when named."""
DONE, FAILED = "done", "failed"
Progress = Callable[[int, int, str], None]
"""Called with (videos done, videos in all, name)."""


@dataclass(frozen=True)
class FolderJob:
    """What to score: folders are matched by file name without suffix.

    audio: voices heard instead of the videos' own sound. portraits: pictures that Dino-S compares with; else each video's
    own first picture. real: videos for FID, KID and FVD. boxes: JSON of relative face boxes [x0, y0, x1, y1] by name.
    """

    videos: Path
    out: Path
    audio: Path | None = None
    portraits: Path | None = None
    real: Path | None = None
    boxes: Path | None = None
    metrics: tuple[str, ...] = ()
    setup: MetricSetup = field(default_factory=MetricSetup)


@dataclass(frozen=True)
class Clip:
    """One video and what belongs to it."""

    name: str
    video: Path
    voice: Path | None = None
    portrait: Path | None = None
    box: tuple[float, ...] | None = None
    own_sound: bool = True

    def sample(self) -> Any:
        """What extractors may know: a box and a portrait, where given."""
        made = SimpleNamespace()
        if self.box is not None:
            made.face_box = self.box
        if self.portrait is not None:
            made.inputs = lambda: SimpleNamespace(image=self.portrait)
        return made


@dataclass
class ClipScores:
    """One video's results. `scores` maps metrics to values or None, `reasons` says why a value is None."""

    clip: str
    status: str = DONE
    error: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    series: dict[str, Any] = field(default_factory=dict)


@dataclass
class FolderScores:
    """All clips, the distances to the real videos where there are any, and what each metric was measured with."""

    clips: list[ClipScores]
    metrics: list[MetricInfo]
    distances: dict[str, dict[str, Any]] = field(default_factory=dict)
    canaries: list[dict[str, Any]] = field(default_factory=list)

    def rows(self) -> list[dict[str, Any]]:
        """One flat row per clip: `clip`, `status`, facts, a column per metric and its reason where it is empty."""
        names = [info.name for info in self.metrics if not info.is_set]
        made = []
        for one in self.clips:
            row: dict[str, Any] = {"clip": one.clip, "status": one.status, "error": one.error}
            row |= {name: one.facts.get(name) for name in ("seconds", "fps", "frames", "width", "height")}
            row |= {name: one.scores.get(name) for name in names}
            row["missing"] = "; ".join(f"{name}: {why}" for name, why in one.reasons.items())
            made.append(row)
        return made

    def summary(self) -> list[dict[str, Any]]:
        """One row per metric: mean, 95 % interval, how many of how many clips have a value, and the network."""
        made = []
        for info in self.metrics:
            row = {
                "metric": info.name,
                "unit": info.unit,
                "direction": info.direction,
                "backbone": measures.backbone_label(info.backbone) or "",
                "protocol": digest({"backbone": info.backbone, "version": info.version})[:12],
            }
            made.append(row | (self._distance(info) if info.is_set else self._mean(info)))
        return made

    def frame(self) -> Any:
        """`rows()` as a pandas DataFrame, indexed by clip. Needs pandas."""
        return _pandas().DataFrame(self.rows()).set_index("clip")

    def summary_frame(self) -> Any:
        """`summary()` as a pandas DataFrame, indexed by metric. Needs pandas."""
        return _pandas().DataFrame(self.summary()).set_index("metric")

    def to_json(self) -> dict[str, Any]:
        """Everything."""
        return {
            "schema_version": 1,
            "clips": [vars(one) for one in self.clips],
            "distances": self.distances,
            "canaries": self.canaries,
            "metrics": [{**vars(info), "extractors": list(info.extractors)} for info in self.metrics],
        }

    def _mean(self, info: MetricInfo) -> dict[str, Any]:
        values = [value for one in self.clips if (value := one.scores.get(info.name)) is not None]
        counts: dict[str, int] = {}
        for one in self.clips:
            why = one.reasons.get(info.name) or ("failed" if one.status == FAILED else "")
            if why:
                counts[why] = counts.get(why, 0) + 1
        note = "; ".join(f"{why} ({count}x)" if count > 1 else why for why, count in sorted(counts.items()))
        numbers: dict[str, Any] = {"value": None, "low": None, "high": None, "n": 0}
        if values:
            numbers = vars(estimate(values))
            numbers = {"value": numbers["mean"], **{name: numbers[name] for name in ("low", "high", "n")}}
        return numbers | {"of": len(self.clips), "note": note}

    def _distance(self, info: MetricInfo) -> dict[str, Any]:
        found = self.distances.get(info.name, {})
        details = found.get("details", {})
        note = found.get("reason") or (f"relative only: {details['relative_only']}" if "relative_only" in details else "")
        numbers = {"value": found.get("value"), "low": details.get("low"), "high": details.get("high")}
        return {**numbers, "n": details.get("videos", 0), "of": len(self.clips), "note": note}


def score_folder(job: FolderJob, progress: Progress | None = None) -> FolderScores:
    """Score every video of `job.videos`; a bad file is a failed clip with its error, never a stop."""
    from evalkit.metrics.canaries import check_canaries

    infos = chosen_metrics(job)
    clips = find_clips(job)
    canaries = check_canaries([info.name for info in infos], job.setup)
    broken = {one["metric"]: one["message"] for one in canaries if one["state"] == "fail"}
    if broken:
        raise EvalkitError("; ".join(broken.values()) + "; nothing was scored")
    single, sets = [info for info in infos if not info.is_set], [info for info in infos if info.is_set]
    made: list[ClipScores] = []
    features: dict[str, Any] = {}
    for index, clip in enumerate(clips):
        found, arrays = _score_clip(job, clip, single, sets)
        made.append(found)
        if arrays is not None:
            features[clip.name] = arrays
        if progress is not None:
            progress(index + 1, len(clips), clip.name)
    result = FolderScores(made, infos, canaries=canaries)
    if sets:
        result.distances = _distances(job, sets, features)
    write_results(job, result)
    return result


def chosen_metrics(job: FolderJob) -> list[MetricInfo]:
    """What can be measured here, or exactly what was asked for; EvalkitError when an asked-for metric cannot."""
    from evalkit.metrics import registry

    names = list(job.metrics) or [name for name in registry.metric_names() if name not in (*NEEDS_MORE, *ON_REQUEST)]
    infos = []
    for name in names:
        metric = measures.get_metric(name, job.setup)
        if metric is None:
            registry.get_metric(name)  # raises with the nearest names
        info = measures.describe(_column(metric), job.setup)
        is_set_without_real = info.is_set and job.real is None
        if job.metrics and info.reason:
            raise EvalkitError(f"metric {name} cannot be measured: {info.reason}")
        if job.metrics and is_set_without_real:
            raise EvalkitError(f"metric {name} compares with real videos; give their folder with --real")
        if not info.reason and not is_set_without_real:
            infos.append(info)
    return infos


def find_clips(job: FolderJob) -> list[Clip]:
    """The folder's videos by name, each with its voice, portrait and box; EvalkitError where there is no video."""
    voices, portraits = _by_stem(job.audio, SOUND_SUFFIXES), _by_stem(job.portraits, PICTURE_SUFFIXES)
    boxes = _read_boxes(job.boxes)
    clips = []
    for name, video in _videos(job.videos).items():
        stem = video.stem
        box = boxes.get(name, boxes.get(stem))
        voice = voices.get(stem)
        clips.append(Clip(name, video, voice, portraits.get(stem), box, own_sound=job.audio is None))
    return clips


def _score_clip(
    job: FolderJob, clip: Clip, infos: Sequence[MetricInfo], sets: Sequence[MetricInfo]
) -> tuple[ClipScores, dict[str, Any] | None]:
    found = ClipScores(clip.name)
    try:
        arrays = _features(job, clip, [*infos, *sets], found.facts)
    except Exception as error:  # whatever is wrong with a file or a network's answer to it belongs to this clip
        found.status, found.error = FAILED, f"{type(error).__name__}: {brief(error)}"
        return found, None
    sample = clip.sample()
    for info in infos:
        try:
            score = measures.get_metric(info.name, job.setup).score(arrays, sample)
        except Exception as error:
            found.scores[info.name], found.reasons[info.name] = None, f"{type(error).__name__}: {brief(error)}"
            continue
        found.scores[info.name] = score.value
        if score.reason:
            found.reasons[info.name] = score.reason
        found.details[info.name] = score.details
        found.series |= {name: [list(times), list(values)] for name, (times, values) in score.series.items()}
    needed = {name for info in sets for name in info.extractors}
    return found, {name: value for name, value in arrays.items() if name in needed}


def _features(job: FolderJob, clip: Clip, infos: Sequence[MetricInfo], facts: dict[str, Any]) -> dict[str, Any]:
    """Arrays by extractor: kept ones where they were made from these very files, else one pass for all others."""
    from evalkit.metrics.extract import extract

    given = _identity(clip)
    kept, left, sources = {}, [], {}
    for info in infos:
        for name in info.extractors:
            if name in sources:
                continue
            version = measures.extractor_version(info.name, name, job.setup)
            sources[name] = {**given, "extractor": name, "version": version, "backbone": info.backbone}
            arrays = read_features(_feature_file(job, name, clip.name), sources[name])
            if arrays is None:
                left.append(name)
            else:
                kept[name] = arrays
    facts_file = job.out / "features" / "facts" / f"{slug(clip.name)}.json"
    facts_source = digest(given)
    if not left and facts_file.is_file():
        held = json.loads(facts_file.read_text(encoding="utf-8"))
        if held.get("source") == facts_source:
            facts.update(held["facts"])
            return kept
    made = extract(
        clip.video, clip.sample(), left, setup=job.setup, voice=clip.voice, own_sound=clip.own_sound, facts=facts
    )
    for name, arrays in made.items():
        write_features(_feature_file(job, name, clip.name), arrays, sources[name])
    write_text(facts_file, dumps({"source": facts_source, "facts": facts}))
    return {**kept, **made}


def _distances(job: FolderJob, infos: Sequence[MetricInfo], made: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Set metrics against the real folder, whose features are kept too."""
    assert job.real is not None
    real: dict[str, Any] = {}
    problems: list[str] = []
    for name, video in _videos(job.real).items():
        try:
            real[name] = _features(job, Clip(f"real/{name}", video), infos, {})
        except Exception as error:
            problems.append(f"{name}: {brief(error)}")
    found: dict[str, dict[str, Any]] = {}
    for info in infos:
        try:
            score = measures.get_metric(info.name, job.setup).score(made, real)
        except Exception as error:
            found[info.name] = {"value": None, "reason": f"{type(error).__name__}: {brief(error)}", "details": {}}
            continue
        details = score.details | ({"real_problems": problems} if problems else {})
        found[info.name] = {"value": score.value, "reason": score.reason, "details": details}
    return found


def write_results(job: FolderJob, result: FolderScores) -> None:
    """scores.json (everything), clips.csv (what training filters read), summary.csv."""
    write_text(job.out / "scores.json", dumps(_plain(result.to_json())))
    write_text(job.out / "clips.csv", rows_to_csv(result.rows()))
    write_text(job.out / "summary.csv", rows_to_csv(result.summary()))


def rows_to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal fields as CSV; None is an empty field."""
    buffer = io.StringIO()
    if rows:
        writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return buffer.getvalue()


def _plain(content: Any) -> Any:
    """JSON values; a number that is none becomes null."""
    from evalkit.records import without_nan

    return without_nan(json.loads(json.dumps(content, default=float)))[0]


def _identity(clip: Clip) -> dict[str, Any]:
    """Hashes of everything a clip's features are made from."""
    return {
        "video": file_sha256(clip.video) if clip.video.is_file() else "",
        "voice": file_sha256(clip.voice) if clip.voice is not None else None,
        "portrait": file_sha256(clip.portrait) if clip.portrait is not None else None,
        "box": list(clip.box) if clip.box is not None else None,
        "own_sound": clip.own_sound,
    }


def _feature_file(job: FolderJob, extractor: str, clip: str) -> Path:
    return job.out / "features" / slug(extractor) / f"{slug(clip)}.npz"


def _videos(folder: Path) -> dict[str, Path]:
    """Videos by name: the file's stem where that is unique, else its path without suffix."""
    if not folder.is_dir():
        raise EvalkitError(f"{folder} is no folder; give a folder of videos")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
    if not files:
        raise EvalkitError(f"{folder} holds no videos ({', '.join(VIDEO_SUFFIXES)})")
    stems = [path.stem for path in files]
    return {
        path.stem if stems.count(path.stem) == 1 else path.relative_to(folder).with_suffix("").as_posix(): path
        for path in files
    }


def _by_stem(folder: Path | None, suffixes: Sequence[str]) -> dict[str, Path]:
    if folder is None:
        return {}
    if not folder.is_dir():
        raise EvalkitError(f"{folder} is no folder")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    return {path.stem: path for path in reversed(files)}


def _read_boxes(path: Path | None) -> dict[str, tuple[float, ...]]:
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: tuple(float(value) for value in box) for name, box in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise EvalkitError(f"{path}: give a JSON object of name: [x0, y0, x1, y1], relative to the picture") from error


def _column(metric: Any) -> Column:
    return Column(metric.name, metric.title, metric.direction, metric.decimals, metric.unit, in_paper=False)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise EvalkitError("data frames need pandas: pip install 'live-avatar[metrics]'; rows() gives plain rows") from error
    return pandas
