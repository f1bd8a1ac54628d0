"""What metrics cost: Fréchet distances beside `sqrtm`, all nano metrics of a clip, and memory over the clip's length.

Figures are printed; ratios are taken in one run, on processor time. Run it with
`tox -e benchmarks -- tests/benchmarks/test_metric_speed.py`.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evalkit.metrics import get_metric, metric_names
from evalkit.metrics.frechet import frechet_distance, frechet_from_moments
from evalkit.metrics.moments import Moments

DIMENSIONS, ITEMS = 2048, 500
WANTED_FROM_FEATURES = 10.0
CLIP_LIMIT_S = 5.0
FPS = 25
LENGTHS_S = (10, 40, 160)
"""The longer ones tell whether time is proportional and memory flat; METRIC_SECONDS=420 adds a seven-minute clip."""
WANTED_GROWTH_MIB = 24.0


def by_sqrtm(mean_x: np.ndarray, cov_x: np.ndarray, mean_y: np.ndarray, cov_y: np.ndarray) -> float:
    """The common route: a matrix square root of the product of covariances."""
    from scipy import linalg

    root = linalg.sqrtm(cov_x @ cov_y)
    return float(np.square(mean_x - mean_y).sum() + np.trace(cov_x) + np.trace(cov_y) - 2 * np.trace(root).real)


def cpu_s(work: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result


def test_frechet_beside_sqrtm(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    scale = np.arange(1, DIMENSIONS + 1) ** -0.35
    x, y = (random.normal(size=(ITEMS, DIMENSIONS)) * scale + shift for shift in (0.0, 0.01))

    def common() -> float:
        return by_sqrtm(x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))

    sqrtm_s, expected = cpu_s(common)
    features_s = min(cpu_s(lambda: frechet_distance(x, y))[0] for _ in range(3))
    found = benchmark.pedantic(lambda: frechet_distance(x, y), rounds=3)
    moments_x, moments_y = Moments.of(x), Moments.of(y)
    stored_s, stored = cpu_s(lambda: frechet_from_moments(moments_x, moments_y))
    product_s, _ = cpu_s(lambda: by_sqrtm(moments_x.mean, moments_x.covariance(), moments_y.mean, moments_y.covariance()))
    traces = found.trace_x + found.trace_y
    with capsys.disabled():
        print(
            f"\nFréchet distance, {ITEMS} x {DIMENSIONS} a side, CPU seconds: features {features_s:.3f}, sqrtm route "
            f"{sqrtm_s:.2f} ({sqrtm_s / features_s:.0f} times); stored covariances {stored_s:.2f}, sqrtm {product_s:.2f} "
            f"({product_s / stored_s:.2f} times); difference {abs(found.raw - expected) / traces:.1e} of the traces"
        )
    benchmark.extra_info.update(features_s=features_s, sqrtm_s=sqrtm_s, stored_s=stored_s, product_s=product_s)
    assert abs(found.raw - expected) < 1e-6 * traces
    assert abs(stored.raw - found.raw) < 1e-10 * traces
    assert sqrtm_s / features_s >= WANTED_FROM_FEATURES
    assert product_s / stored_s >= 1.0


def write_long(path: Path, seconds: int) -> None:
    """The shipped clip over and over, forwards and backwards, with its voice."""
    from fractions import Fraction

    import av

    from evalkit.metrics.canaries import known_clip

    clip = known_clip()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "20", "preset": "ultrafast", "threads": "1"})
        stream.height, stream.width, stream.pix_fmt = *clip.frames.shape[1:3], "yuv420p"
        voice = container.add_stream("aac", rate=16_000, layout="mono")
        round_trip = np.concatenate([clip.frames, clip.frames[::-1]])
        for index in range(seconds * FPS):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(round_trip[index % len(round_trip)]), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        sound = np.resize((clip.sound * 32767).astype(np.int16), seconds * 16_000)
        samples = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
        samples.sample_rate, samples.pts = 16_000, 0
        container.mux(voice.encode(samples))
        container.mux(voice.encode(None))


def nano_metrics() -> list[str]:
    """Every metric that runs without official weights and without a truth, per clip and per set."""
    from evalkit.measures import describe_name

    needs_truth = ("mouth_correlation", "lip_closure")
    return [name for name in metric_names() if not describe_name(name).reason and name not in needs_truth]


def score_all(video: Path, names: list[str]) -> dict[str, float | None]:
    """One pass, then all numbers of one clip."""
    from evalkit.metrics.canaries import known_clip
    from evalkit.metrics.extract import extract
    from evalkit.metrics.registry import extractor_names

    sample = SimpleNamespace(face_box=known_clip().sample.face_box)
    features = extract(video, sample, extractor_names(names))
    single = [name for name in names if not get_metric(name).is_set]
    return {name: get_metric(name).score(features, sample).value for name in single}


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_all_nano_metrics_of_clips_of_growing_length(
    benchmark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = nano_metrics()
    lengths = [*LENGTHS_S, *([int(os.environ["METRIC_SECONDS"])] if "METRIC_SECONDS" in os.environ else [])]
    for seconds in lengths:
        write_long(tmp_path / f"{seconds}.mp4", seconds)
    score_all(tmp_path / "10.mp4", names)  # networks are loaded, the allocator is warm
    gc.collect()
    rows = []
    for seconds in lengths:
        begin, clock = resident_mib(), time.perf_counter()
        spent_s, values = cpu_s(lambda seconds=seconds: score_all(tmp_path / f"{seconds}.mp4", names))
        rows.append((seconds, spent_s, time.perf_counter() - clock, begin, resident_mib()))
        assert values["sync_c"] is not None
    benchmark.pedantic(lambda: score_all(tmp_path / "10.mp4", names), rounds=2)
    with capsys.disabled():
        print(f"\n{len(names)} nano metrics, {os.cpu_count()} cores:")
        for seconds, spent_s, wall_s, before, after in rows:
            print(
                f"  {seconds:5d} s of video: {spent_s:6.2f} s of CPU ({spent_s / seconds:.3f} per second of video), "
                f"{wall_s:6.2f} s of wall clock, resident {before:.0f} -> {after:.0f} MiB"
            )
    benchmark.extra_info["rows"] = rows
    assert rows[0][1] < CLIP_LIMIT_S * 2  # two cores
    assert rows[-1][1] / rows[-1][0] < 1.3 * rows[0][1] / rows[0][0]
    assert max(after for *_, after in rows) - rows[0][4] < WANTED_GROWTH_MIB
