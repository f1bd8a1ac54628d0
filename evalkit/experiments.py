"""Experiments as typed, frozen definitions: which methods, sets, seeds, metrics and tables belong together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from evalkit.names import unknown

UP, DOWN, ZERO, NEITHER = "up", "down", "zero", "none"


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


OFFLINE, LIVE, SWITCH, SOAK, COLD = "offline", "live", "switch", "soak", "cold"
SCENARIOS = (OFFLINE, LIVE, SWITCH, SOAK, COLD)
PREDICTED = "predicted"


@dataclass(frozen=True)
class SpeedProtocol:
    """How speed is measured. `quick`: clips thrown away first, then repeats, with a least number of blocks in all.

    others_share: the most that other processes may take of the processors, as the median over repeats.
    scenarios: offline (the whole voice at once), live (it arrives in real time, in pieces of piece_s; a player begins
    buffer_s after the first frame), switch (silence to speech and back, in real time), soak (soak_s of stream), cold (from
    the start of a process to the first frame), predicted (not measured as a whole: what a layout over several devices should
    reach by the times of its parts, predicted_blocks of which are measured). is_fresh: each repeat in a process of its own,
    methods taking turns. min_steady_s: least time in steady state over all repeats.
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
    scenarios: tuple[str, ...] = (OFFLINE,)
    is_fresh: bool = False
    min_steady_s: float = 0.0
    live_s: float = 20.16
    piece_s: float = 0.04
    buffer_s: float = 0.0
    switches: int = 5
    soak_s: float = 600.0
    predicted_blocks: int = 20
    probes: tuple[str, ...] = ("frames", "pictures")

    def asked(self, scenario: str) -> dict[str, object]:
        """The settings that decide a scenario's numbers: what a record of it is fingerprinted by."""
        common = ("name", "dataset", "discarded_clips", "discarded_s", "repeats", "warmup_blocks", "others_share", "version")
        names = (*common, *_DECISIVE[scenario])
        found = {name: getattr(self, name) for name in names}
        if scenario != OFFLINE:
            found["scenario"] = scenario
        if self.is_fresh:
            found |= {"is_fresh": True, "min_steady_s": self.min_steady_s, "probes": list(self.probes)}
        return found

    def record_name(self, scenario: str, repeat: int = 0) -> str:
        """The scenario's name in keys: the protocol's own for offline, as older runs have it."""
        name = self.name if scenario == OFFLINE else f"{self.name}-{scenario}"
        return f"{name}.r{repeat}" if repeat else name

    def scenario_of(self, record_name: str) -> tuple[str, int]:
        """(scenario, repeat) of such a name; repeat 0: all of them."""
        for scenario in self.scenarios:
            for repeat in range(self.repeats + 1):
                if record_name == self.record_name(scenario, repeat):
                    return scenario, repeat
        raise ValueError(f"scenario {record_name} is none of protocol {self.name}'s: {', '.join(self.scenarios)}")


_DECISIVE = {
    OFFLINE: ("clip_s", "min_blocks"),
    LIVE: ("live_s", "piece_s", "buffer_s"),
    SWITCH: ("switches", "piece_s", "buffer_s"),
    SOAK: ("soak_s",),
    COLD: (),
    PREDICTED: ("predicted_blocks",),
}
FULL_SPEED = SpeedProtocol(
    name="full",
    repeats=5,
    clip_s=60.0,
    scenarios=SCENARIOS,
    is_fresh=True,
    min_steady_s=60.0,
    live_s=60.0,
    switches=20,
    soak_s=1800.0,
    probes=("frames", "pictures", "caching", "unseen"),
)


WINDOW_S = 10


FROM_CLIPS = SpeedProtocol(
    name="clips", discarded_clips=0, discarded_s=0.0, repeats=1, clip_s=0.0, min_blocks=1, warmup_blocks=0, version="1"
)
"""Read from the timelines of a method's own clips: for those that are slow, or run elsewhere."""


def from_clips(protocol: SpeedProtocol, dataset: str = "") -> SpeedProtocol:
    """How speed is read from clips, as strict about other work on the machine as the protocol of the others."""
    return replace(FROM_CLIPS, dataset=dataset or protocol.dataset, others_share=protocol.others_share)


@dataclass(frozen=True)
class Segments:
    """A stress stream: how long it is and which spans of it are scored as clips of their own.

    windows: further ten-second spans at equal steps along the whole stream, for its drift curve.
    """

    source: str = "genbench_long"
    stream_s: float = 10_010.0
    spans_s: tuple[tuple[int, int], ...] = ((0, 10), (100, 110), (1000, 1010), (10_000, 10_010))
    windows: int = 0

    def fitting(self) -> tuple[tuple[int, int], ...]:
        """The spans that lie inside the stream."""
        return tuple(span for span in self.spans_s if span[1] <= self.stream_s)

    def window_begins_s(self) -> tuple[int, ...]:
        """Where the windows of the drift curve begin: on even seconds, where a key frame lies."""
        room = self.stream_s - WINDOW_S
        if self.windows < 1 or room < 0:
            return ()
        steps = max(1, self.windows - 1)
        return tuple(dict.fromkeys(2 * int(room * place / steps / 2) for place in range(self.windows)))


@dataclass(frozen=True)
class Experiment:
    """Methods x samples x seeds x metrics, and the tables wanted. `reference` is what others are compared with.

    probes_streaming: whether it is tried out if frames leave before the input ends.
    positions: blocks of a stream whose rotary positions are recorded, per method. has_clips: whether videos are made at all.
    quick_form: what the quick suite runs instead, where smaller sets alone would not make it quick.
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
    positions: int = 0
    has_clips: bool = True
    quick_form: Experiment | None = None

    @property
    def all_methods(self) -> tuple[str, ...]:
        """What `--methods all` runs."""
        return (*self.methods, *self.optional_methods)


_EXPERIMENTS: dict[str, Callable[[], Experiment]] = {}


def experiment(define: Callable[[], Experiment]) -> Callable[[], Experiment]:
    """Register a function that returns an `Experiment`, under the function's name."""
    _EXPERIMENTS[define.__name__] = define
    return define


def register_experiment(name: str, define: Callable[[], Experiment]) -> None:
    """As `experiment`, under a name of its own."""
    _EXPERIMENTS[name] = define


def experiment_names() -> list[str]:
    """The registered experiments, in the order of their definition."""
    _load_catalogue()
    return list(_EXPERIMENTS)


def is_shipped(name: str) -> bool:
    """Whether a registered experiment is evalkit's own, and not a plug-in's."""
    return _EXPERIMENTS[name].__module__.partition(".")[0] == __name__.partition(".")[0]


def get_experiment(name: str) -> Experiment:
    """The experiment called `name`."""
    _load_catalogue()
    if name not in _EXPERIMENTS:
        raise unknown("experiment", name, _EXPERIMENTS, "see: python -m evalkit list experiments")
    return _EXPERIMENTS[name]()


def _load_catalogue() -> None:
    import evalkit.catalogue
    import evalkit.catalogue_supplement
    import evalkit.training_experiments  # noqa: F401  (all are imported for their registrations)
