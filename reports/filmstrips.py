"""Strips of frames through time, one row per method, as the paper shows long streams (its Figures 4 and 9)."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

from reports import format as fmt
from reports import media, strips
from reports.curves import clip_of
from reports.data import Dataset, Run

FRAMES = 8
LONG_S = 20.0
MAX_SETS = 2
KINDS = ("system", "ablation", "paradigm", "rival", "control")


@dataclass
class FilmRow:
    """One method's frames at equal steps of one sample, or of the beginnings of a stream's segments."""

    title: str
    frames: list[tuple[str, Image.Image]] = field(default_factory=list)


@dataclass
class FilmTile:
    """One frame as the page shows it."""

    source: str
    label: str
    words: str


@dataclass
class Film:
    """One strip picture: a caption and its rows."""

    caption: str
    rows: list[tuple[str, list[FilmTile]]]


def films(run: Run) -> list[Film]:
    """The strips of the page."""
    made = []
    for name, rows in film_rows(run):
        tiles = [
            (
                row.title,
                [FilmTile(media.jpeg_uri(image, 240), label, f"{row.title} at {label}") for label, image in row.frames],
            )
            for row in rows
        ]
        made.append(Film(_caption(run, name), tiles))
    return made


def film_rows(run: Run) -> list[tuple[str, list[FilmRow]]]:
    """(name, rows): one strip per long test set, then one through the segments of a stream."""
    made: list[tuple[str, list[FilmRow]]] = []
    segments = [
        str(name)
        for table in run.experiment.get("tables") or []
        if isinstance(table, dict) and table.get("by_dataset")
        for name in table.get("datasets") or []
    ]
    if segments:
        rows = [row for method in run.methods if (row := _through_segments(run, method, segments)).frames]
        return [("strip-segments", rows)] if rows else []
    for dataset in run.datasets.values():
        sample = _longest(dataset)
        if sample is None or len(made) >= MAX_SETS:
            continue
        rows = [row for method in _ordered(run) if (row := _through_time(run, method, dataset.name, sample)).frames]
        if rows:
            made.append((f"strip-{dataset.name}", rows))
    return made


def strip_picture(rows: list[FilmRow], height: int = 192) -> Image.Image:
    """The rows as one picture."""
    return strips.strip([[image for _, image in row.frames] for row in rows], height)


def _ordered(run: Run) -> list[str]:
    kinds = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(run.methods, key=lambda name: kinds.get(run.methods[name].kind, len(kinds)))


def _longest(dataset: Dataset) -> str | None:
    """The longest sample of a set of long clips; the first by name among equals."""
    timed = sorted(dataset.samples, key=lambda sample: (-(sample.duration_s or 0.0), sample.name))
    return timed[0].name if timed and (timed[0].duration_s or 0.0) >= LONG_S else None


def _through_time(run: Run, method: str, dataset: str, sample: str) -> FilmRow:
    path = run.folder(clip_of(run, method, dataset, sample)) / "video.mp4"
    row = FilmRow(run.methods[method].title)
    if path.is_file():
        row.frames = [(fmt.clock(still.time_s), still.image) for still in strips.stills(path, FRAMES)]
    return row


def _through_segments(run: Run, method: str, segments: list[str]) -> FilmRow:
    """The frame in the middle of each segment, labelled with the segment."""
    row = FilmRow(run.methods[method].title)
    for dataset in (run.datasets[name] for name in segments if name in run.datasets):
        for sample in dataset.samples[:1]:
            path = run.folder(clip_of(run, method, dataset.name, sample.name)) / "video.mp4"
            if path.is_file():
                row.frames += [(dataset.title, still.image) for still in strips.stills(path, 1)]
    return row


def _caption(run: Run, name: str) -> str:
    if name == "strip-segments":
        return "One frame from the middle of each segment of the stream."
    dataset = run.datasets[name.removeprefix("strip-")]
    return f"{dataset.title}: the longest sample at equal steps in time, every method that has a video of it."
