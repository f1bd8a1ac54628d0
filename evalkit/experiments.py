"""Experiments as typed, frozen definitions: which methods, sets, seeds, metrics and tables belong together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evalkit.names import unknown

UP, DOWN, ZERO = "up", "down", "zero"


@dataclass(frozen=True)
class Column:
    """A column of a table. `in_paper` is False for columns of our own; `is_tick`: 1 is printed as yes and 0 as no."""

    metric: str
    title: str
    direction: str
    digits: int = 2
    unit: str = ""
    in_paper: bool = True
    is_tick: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table: a method, perhaps one that nobody can run here yet (`reason` says why)."""

    method: str
    title: str
    kind: str = "system"
    reason: str = ""


@dataclass(frozen=True)
class Table:
    """A table wanted: rows are methods unless `by_dataset`, then each data set is a row."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    datasets: tuple[str, ...]
    paper_table: str = ""
    by_dataset: bool = False


@dataclass(frozen=True)
class SpeedProtocol:
    """How speed is measured. `quick`: clips thrown away first, then repeats, with a least number of blocks in all.

    others_share: the most that other processes may take of the processors, as the median over repeats.
    """

    name: str = "quick"
    dataset: str = "genbench_long"
    discarded_clips: int = 1
    discarded_s: float = 4.8
    repeats: int = 3
    clip_s: float = 20.16
    min_blocks: int = 100
    warmup_blocks: int = 2
    others_share: float = 0.25
    version: str = "2"


FROM_CLIPS = SpeedProtocol(
    name="clips", discarded_clips=0, discarded_s=0.0, repeats=1, clip_s=0.0, min_blocks=1, warmup_blocks=0, version="1"
)
"""Read from the timelines of a method's own clips: for those that are slow, or run elsewhere."""


@dataclass(frozen=True)
class Segments:
    """A stress stream: how long it is and which spans of it are scored as clips of their own."""

    source: str = "genbench_long"
    stream_s: float = 10_010.0
    spans_s: tuple[tuple[int, int], ...] = ((0, 10), (100, 110), (1000, 1010), (10_000, 10_010))

    def fitting(self) -> tuple[tuple[int, int], ...]:
        """The spans that lie inside the stream."""
        return tuple(span for span in self.spans_s if span[1] <= self.stream_s)


@dataclass(frozen=True)
class Experiment:
    """Methods x samples x seeds x metrics, and the tables wanted. `reference` is what others are compared with.

    probes_streaming: whether it is tried out if frames leave before the input ends.
    """

    name: str
    title: str
    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    metrics: tuple[str, ...]
    tables: tuple[Table, ...]
    seeds: tuple[int, ...] = (0,)
    optional_methods: tuple[str, ...] = ()
    reference: str = "live_avatar"
    speed: SpeedProtocol | None = None
    stress: Segments | None = None
    probes_streaming: bool = False

    @property
    def all_methods(self) -> tuple[str, ...]:
        """What `--methods all` runs."""
        return (*self.methods, *self.optional_methods)


_EXPERIMENTS: dict[str, Callable[[], Experiment]] = {}


def experiment(define: Callable[[], Experiment]) -> Callable[[], Experiment]:
    """Register a function that returns an `Experiment`, under the function's name."""
    _EXPERIMENTS[define.__name__] = define
    return define


def experiment_names() -> list[str]:
    """The registered experiments, in the order of their definition."""
    _load_catalogue()
    return list(_EXPERIMENTS)


def get_experiment(name: str) -> Experiment:
    """The experiment called `name`."""
    _load_catalogue()
    if name not in _EXPERIMENTS:
        raise unknown("experiment", name, _EXPERIMENTS, "see: python -m evalkit list experiments")
    return _EXPERIMENTS[name]()


def _load_catalogue() -> None:
    import evalkit.catalogue  # noqa: F401  (imported for its registrations)
