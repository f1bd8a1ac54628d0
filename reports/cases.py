"""The side-by-side viewer: which samples are shown, by rule, and what belongs to each."""

from __future__ import annotations

from dataclasses import dataclass, field

from reports import format as fmt
from reports import media, strips
from reports.curves import CurveSheet, clip_of, curve_sheet
from reports.data import Dataset, Method, Metric, Run, Sample
from reports.figures import method_index
from reports.tables import title

MAX_CASES = 24
HERO_FRAMES = 8
CASE_FRAMES = 8
RULE = (
    "For each test set: the samples where the system's headline score is lowest, in the middle and highest, then the "
    f"others in the definition's order, up to {MAX_CASES} in all."
)


@dataclass
class Player:
    """One method's video of one sample, or the reason why there is none."""

    method: str
    kind: str
    colour: int
    video: media.Video | None
    reason: str
    scores: list[tuple[str, str]]


@dataclass
class Case:
    """One sample in the viewer."""

    anchor: str
    dataset: str
    sample: Sample
    tags: list[str]
    picture: str
    thumbnail: str
    players: list[Player]
    sheet: CurveSheet | None


@dataclass
class Extreme:
    """The worst, median or best case of a set."""

    rank: str
    dataset: str
    sample: str
    anchor: str
    score: str
    stills: list[str] = field(default_factory=list)


@dataclass
class HeroTile:
    """One frame of the strip at the top."""

    source: str
    label: str


def headline(run: Run, dataset: str) -> Metric | None:
    """The first column with a direction and a score per sample of the system; sync first."""
    system = run.system
    if system is None:
        return None
    ranked = sorted(run.metrics.values(), key=lambda m: "sync" not in m.name.lower())
    for metric in ranked:
        if metric.direction in ("up", "down") and _scored(run, system, metric, dataset):
            return metric
    return None


def _scored(run: Run, system: Method, metric: Metric, dataset: str) -> list[tuple[float, str]]:
    """Samples from worst to best by the system's score; ties by name."""
    sign = -1 if metric.direction == "down" else 1
    pairs = [
        (score, sample.name)
        for sample in run.datasets[dataset].samples
        if (score := run.score(metric.name, system.name, dataset, sample.name)) is not None
    ]
    return sorted(pairs, key=lambda pair: (sign * pair[0], pair[1]))


def ranked_names(run: Run, dataset: str) -> dict[str, str]:
    """``{"worst": sample, "median": sample, "best": sample}`` by the headline score."""
    system, metric = run.system, headline(run, dataset)
    ordered = _scored(run, system, metric, dataset) if system and metric else []
    if not ordered:
        return {}
    named = {"worst": ordered[0], "median": ordered[(len(ordered) - 1) // 2], "best": ordered[-1]}
    return {rank: name for rank, (_, name) in named.items()}


def chosen_samples(run: Run) -> list[tuple[Dataset, Sample]]:
    """Samples of the viewer by the rule, listed in the definition's order."""
    queues = []
    for dataset in run.datasets.values():
        first = list(ranked_names(run, dataset.name).values())
        ordered = sorted(dataset.samples, key=lambda s: first.index(s.name) if s.name in first else len(first))
        queues.append([(dataset, sample) for sample in ordered])
    picked: list[tuple[Dataset, Sample]] = []
    while any(queues) and len(picked) < MAX_CASES:
        for queue in queues:
            if queue and len(picked) < MAX_CASES:
                picked.append(queue.pop(0))
    keys = {(dataset.name, sample.name) for dataset, sample in picked}
    return [(d, s) for d in run.datasets.values() for s in d.samples if (d.name, s.name) in keys]


def cases(run: Run, shelf: media.Shelf) -> list[Case]:
    """Everything the viewer shows."""
    return [_case(run, shelf, dataset, sample, i) for i, (dataset, sample) in enumerate(chosen_samples(run))]


def _case(run: Run, shelf: media.Shelf, dataset: Dataset, sample: Sample, index: int) -> Case:
    voice = media.envelope(run.inside(sample.audio))
    image = run.inside(sample.image)
    tags = [rank for rank, name in ranked_names(run, dataset.name).items() if name == sample.name]
    players = [p for m in run.methods if (p := _player(run, shelf, dataset.name, sample.name, m))]
    sheet = curve_sheet(run, dataset.name, sample.name, voice, f"case{index}")
    return Case(
        f"case-{index}",
        dataset.title,
        sample,
        tags,
        media.picture_uri(image),
        media.picture_uri(image, 72),
        players,
        sheet,
    )


def _player(run: Run, shelf: media.Shelf, dataset: str, sample: str, method: str) -> Player | None:
    clip = clip_of(run, method, dataset, sample)
    video, record = shelf.video(clip), run.generate.get(clip)
    if video is None and record is None:
        return None
    scores = [
        (metric.title, fmt.decimal(score, metric.digits))
        for metric in run.metrics.values()
        if (score := run.score(metric.name, method, dataset, sample)) is not None
    ]
    kind = run.methods[method].kind
    reason = "" if video else _why(record)
    return Player(title(run, method), kind, method_index(run, method), video, reason, scores)


def _why(record: dict | None) -> str:
    error = (record or {}).get("error")
    if isinstance(error, dict) and error.get("message"):
        return str(error["message"])
    return "the video file is not in the run folder"


def extremes(run: Run, shown: list[Case]) -> list[Extreme]:
    """Worst and median case of each set, with stills from its video."""
    system = run.system
    if system is None:
        return []
    anchors = {(case.dataset, case.sample.name): case.anchor for case in shown}
    made: list[Extreme] = []
    for dataset in run.datasets.values():
        metric = headline(run, dataset.name)
        if metric is None:
            continue
        for rank, name in ranked_names(run, dataset.name).items():
            if rank == "best" or any(e.sample == name and e.dataset == dataset.title for e in made):
                continue
            score = fmt.decimal(run.score(metric.name, system.name, dataset.name, name), metric.digits)
            video = run.folder(clip_of(run, system.name, dataset.name, name)) / "video.mp4"
            frames = [media.jpeg_uri(still.image, 200) for still in strips.stills(video, CASE_FRAMES)]
            anchor = anchors.get((dataset.title, name), "")
            made.append(Extreme(rank, dataset.title, name, anchor, f"{metric.title} {score}", frames))
    return made


def hero_rows(run: Run) -> list[tuple[str, list[HeroTile]]]:
    """Top of the page: one frame of several characters, then one long stream through time."""
    if run.system is None:
        return []
    videos = [
        (sample, run.folder(clip_of(run, run.system.name, dataset.name, sample.name)) / "video.mp4")
        for dataset in run.datasets.values()
        for sample in dataset.samples
    ]
    videos = [(sample, path) for sample, path in videos if path.is_file()]
    rows = [("", _characters(videos)), *_long_stream(videos)]
    return [(label, tiles) for label, tiles in rows if tiles]


def _characters(videos: list) -> list[HeroTile]:
    """The middle frame of up to eight samples, styles taking turns."""
    by_style: dict[str, list] = {}
    for entry in videos:
        by_style.setdefault(entry[0].style, []).append(entry)
    turns: list = []
    while any(by_style.values()):
        turns += [queue.pop(0) for queue in by_style.values() if queue]
    tiles = []
    for sample, path in turns[:HERO_FRAMES]:
        for still in strips.stills(path, 1):
            tiles.append(HeroTile(media.jpeg_uri(still.image, 320), f"{sample.style} {sample.composition}".strip()))
    return tiles


def _long_stream(videos: list) -> list[tuple[str, list[HeroTile]]]:
    """The longest stream, if it is clearly longer than the others are."""
    timed = [(sample.duration_s or 0.0, sample.name, path) for sample, path in videos]
    if not timed:
        return []
    longest, _, path = max(timed, key=lambda entry: (entry[0], entry[1]))
    if longest < 20:
        return []
    tiles = [HeroTile(media.jpeg_uri(s.image, 320), fmt.clock(s.time_s)) for s in strips.stills(path, HERO_FRAMES)]
    return [(f"one stream, {fmt.seconds(longest)}", tiles)]
