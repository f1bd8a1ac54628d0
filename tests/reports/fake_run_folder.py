"""A realistic run folder made from nothing: drawn faces, hummed voices, plausible numbers.

``python tests/reports/fake_run_folder.py DIR`` writes a large one, to look at the page by eye.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import wave
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

FPS, WIDTH, HEIGHT, RATE_HZ = 25, 96, 128, 16000
STYLES = ("photo", "cartoon", "animal")
COMPOSITIONS = ("frontal", "profile", "half-body", "full-body")
SKIN = {"photo": (224, 178, 150), "cartoon": (255, 209, 140), "animal": (176, 150, 128)}
GROUND = ((88, 110, 130), (188, 120, 96), (110, 140, 112), (146, 126, 166), (204, 176, 120), (92, 132, 150))
SHIRT = ((34, 60, 90), (120, 46, 50), (40, 88, 70), (84, 60, 110), (60, 64, 72))
TEXTS = (
    "The ferry leaves at nine, so bring a warm coat and the blue umbrella.",
    "Every lantern on the hill was lit before the first guest arrived.",
    "Nobody told the gardener that the roses had already been watered.",
    "If the bridge is closed again, we shall walk along the river instead.",
)
METHODS = (
    ("live_avatar", "Live Avatar (nano)", "system"),
    ("truth", "Truth", "control"),
    ("truth_swapped", "Truth, swapped voice", "control"),
    ("truth_shifted", "Truth, voice 200 ms late", "control"),
    ("ditto", "Ditto", "rival"),
    ("omni_avatar", "OmniAvatar", "rival"),
    ("wan_s2v", "WanS2V", "rival"),
)
MADE = [name for name, _, kind in METHODS if kind != "rival"]
# name, title, unit, direction, digits, network, spread, value per made method
METRICS = (
    ("sync_c", "Sync-C", "", "up", 2, "SyncNet nano", 0.7, (5.63, 6.41, 1.12, 6.37)),
    ("sync_d", "Sync-D", "", "down", 2, "SyncNet nano", 0.5, (8.12, 7.46, 11.9, 7.51)),
    ("sync_offset", "Offset", "frames", "none", 1, "SyncNet nano", 0.3, (0.2, 0.0, 3.4, -5.1)),
    ("dino_s", "Dino-S", "", "up", 3, "DINO nano", 0.012, (0.941, 0.962, 0.962, 0.962)),
)
UNMEASURED = (("ase", "ASE"), ("iqa", "IQA"))
PAPER = {
    "live_avatar": {"ase": 3.44, "iqa": 4.35, "sync_c": 5.69, "sync_d": 9.13, "dino_s": 0.95, "fps": 20.88},
    "ditto": {"ase": 3.31, "iqa": 4.24, "sync_c": 4.09, "sync_d": 10.76, "dino_s": 0.99, "fps": 21.80},
    "omni_avatar": {"ase": 3.53, "iqa": 4.49, "sync_c": 6.77, "sync_d": 8.22, "dino_s": 0.95, "fps": 0.16},
    "wan_s2v": {"ase": 3.36, "iqa": 4.29, "sync_c": 5.89, "sync_d": 9.08, "dino_s": 0.95, "fps": 0.25},
}


@dataclass(frozen=True)
class Plan:
    """How large the fake run is."""

    short: int = 8
    long: int = 2
    short_s: float = 5.0
    long_s: float = 60.0


SMALL = Plan(short=2, long=1, short_s=0.8, long_s=20.0)


def make(root: Path, plan: Plan = SMALL) -> Path:
    """Write the run folder and return it."""
    rng = np.random.default_rng(7)
    sets = {"short": ("GenBench short", plan.short, plan.short_s), "long": ("GenBench long", plan.long, plan.long_s)}
    datasets = [_dataset(root, name, *about) for name, about in sets.items()]
    _json(root / "experiment.json", _definition(datasets))
    for dataset in datasets:
        for index, sample in enumerate(dataset["samples"]):
            _sample_records(root, dataset["name"], sample, index, rng)
    _speed(root)
    cells = [cell for dataset in datasets for cell in _cells(dataset)]
    _json(root / "table/cells.json", cells)
    _json(root / "stats/paired.json", [row for dataset in datasets for row in _paired(dataset)])
    _json(root / "stats/drift.json", _drift(datasets[1], rng))
    _judgements(root)
    times = list(range(0, 601, 10))
    memory = [round(612 + 46 * (1 - math.exp(-t / 8)) + math.sin(t) * 1.5, 1) for t in times]
    _json(root / "stats/memory.json", {"t_s": times, "rss_mib": memory, "label": "live_avatar, 10 minutes"})
    _json(root / "env/env-3f2a.json", {"python": "3.11.9", "cpu": "2 cores", "packages": {"torch": "2.4.1"}})
    return root


def _definition(datasets: list[dict]) -> dict:
    metrics = [
        _metric(name, title, unit, direction, digits, {"name": net, "kind": "nano", "digest": _sha(net)})
        for name, title, unit, direction, digits, net, _, _ in METRICS
    ]
    metrics += [_metric(name, title, "", "up", 2, {"name": "Q-Align", "kind": "official"}) for name, title in UNMEASURED]
    metrics += [_metric("fps", "FPS", "frames/s", "up", 1, None), _metric("ttff", "TTFF", "s", "down", 2, None)]
    columns = ["ase", "iqa", "sync_c", "sync_d", "sync_offset", "dino_s", "fps", "ttff"]
    rows = [name for name, _, _ in METHODS]
    return {
        "name": "table2",
        "title": "Live Avatar, Table 2 on a laptop",
        "suite": "quick",
        "profile": "nano",
        "seeds": [0],
        "limit": None,
        "partial": False,
        "created": "2026-05-04T09:00:00Z",
        "methods": [{"name": n, "title": t, "kind": k, "version": "1"} for n, t, k in METHODS],
        "datasets": datasets,
        "metrics": metrics,
        "tables": [{"name": "quality", "title": "Table 2: quality and speed", "columns": columns, "rows": rows}],
    }


def _metric(name: str, title: str, unit: str, direction: str, digits: int, backbone: dict | None) -> dict:
    values = (name, title, unit, direction, digits, backbone)
    return dict(zip(("name", "title", "unit", "direction", "digits", "backbone"), values, strict=True))


def _dataset(root: Path, name: str, title: str, count: int, length_s: float) -> dict:
    samples = []
    for index in range(count):
        style, composition = STYLES[index % 3], COMPOSITIONS[index % 4]
        base = f"datasets/{name}/{name}-{index:02d}"
        loudness = voice(root / f"{base}.wav", length_s, index)
        face(style, composition, index, 0.0, 0.1).save(_parent(root / f"{base}.png"))
        samples.append(
            {
                "id": f"{name}-{index:02d}",
                "style": style,
                "composition": composition,
                "duration_s": length_s,
                "image": f"{base}.png",
                "audio": f"{base}.wav",
                "transcript": TEXTS[index % 4],
                "loudness": loudness[:: RATE_HZ // FPS][: round(length_s * FPS)].round(3).tolist(),
            }
        )
    return {"name": name, "title": title, "digest": "sha256:" + _sha(name), "samples": samples}


def voice(path: Path, length_s: float, index: int) -> np.ndarray:
    """Write a humming voice with syllables; returns its loudness per audio sample."""
    times = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    syllables = np.clip(np.sin(2 * np.pi * (2.6 + 0.2 * index) * times) + 0.3 * np.sin(2.1 * times + index), 0, None)
    loudness = syllables * (np.sin(0.9 * times + index) > -0.8)
    sound = loudness * sum(np.sin(2 * np.pi * 120 * (1 + 0.06 * index) * k * times) / k for k in (1, 2, 3, 5))
    with wave.open(str(_parent(path)), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((sound / (np.abs(sound).max() + 1e-9) * 28000).astype("<i2").tobytes())
    return loudness


@lru_cache
def ground(index: int) -> Image.Image:
    """A plain colour that darkens downwards."""
    shade = np.linspace(1.12, 0.72, HEIGHT * 2)[:, None, None]
    pixels = np.clip(np.array(GROUND[index]) * shade, 0, 255).repeat(WIDTH * 2, axis=1)
    return Image.fromarray(pixels.astype(np.uint8))


def face(style: str, composition: str, index: int, time_s: float, mouth: float) -> Image.Image:
    """One drawn frame at twice the size, then reduced: soft edges for free."""
    image = ground(index % 6).copy()
    draw = ImageDraw.Draw(image)
    scale = {"frontal": 1.0, "profile": 0.95, "half-body": 0.78, "full-body": 0.6}[composition]
    x, y = 96 + 5 * math.sin(1.1 * time_s + index), 112 + 3 * math.sin(1.7 * time_s)
    look = 14 if composition == "profile" else 3 * math.sin(0.7 * time_s)
    r = 62 * scale
    draw.ellipse([x - 1.5 * r, y + 0.95 * r, x + 1.5 * r, y + 4 * r], fill=SHIRT[index % 5])
    if style == "animal":
        for side in (-1, 1):
            draw.ellipse([x + side * 0.7 * r - 22, y - 1.5 * r, x + side * 0.7 * r + 22, y - 0.4 * r], fill=(122, 98, 82))
    else:
        draw.ellipse([x - 1.06 * r, y - 1.3 * r, x + 1.06 * r, y + 0.5 * r], fill=SHIRT[(index + 2) % 5])
    draw.ellipse([x - 0.9 * r, y - 1.05 * r, x + 0.9 * r, y + 1.15 * r], fill=SKIN[style])
    blink = (time_s + 0.4 * index) % 2.6 < 0.12
    for side in (-1, 1):
        ex, ey, eh = x + side * 0.36 * r + look, y - 0.2 * r, 1.5 if blink else 0.13 * r
        draw.ellipse([ex - 0.17 * r, ey - eh, ex + 0.17 * r, ey + eh], fill=(250, 248, 244))
        if not blink:
            draw.ellipse([ex - 0.08 * r, ey - 0.09 * r, ex + 0.08 * r, ey + 0.09 * r], fill=(40, 34, 30))
    opening = (0.03 + 0.24 * min(mouth, 1.0)) * r
    draw.ellipse(
        [x - 0.3 * r + look, y + 0.58 * r - opening, x + 0.3 * r + look, y + 0.58 * r + opening], fill=(112, 34, 38)
    )
    return image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def video(path: Path, style: str, composition: str, index: int, mouths: list[float], noise: float) -> None:
    """Write an H.264 file, one frame per mouth opening."""
    rng = np.random.default_rng(index)
    with av.open(str(_parent(path)), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "26", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = WIDTH, HEIGHT, "yuv420p", 1
        for number, mouth in enumerate(mouths):
            pixels = np.asarray(face(style, composition, index, number / FPS, mouth), dtype=np.float32)
            if noise:
                pixels = pixels + rng.normal(0, noise, pixels.shape[:2])[..., None]
            frame = av.VideoFrame.from_ndarray(pixels.clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _sample_records(root: Path, dataset: str, sample: dict, index: int, rng: np.random.Generator) -> None:
    loudness = sample.pop("loudness")
    scores = sample["scores"] = {}
    for place, method in enumerate(MADE):
        name = f"{sample['id']}.s0"
        folder = root / "artefacts" / method / dataset / name
        late = {"truth_swapped": 17, "truth_shifted": 5}.get(method, 0)
        mouths = np.roll(loudness, late).tolist()
        video(folder / "video.mp4", sample["style"], sample["composition"], index, mouths, 2.0 if place == 0 else 0.0)
        if method == "live_avatar":
            _timeline(folder / "timeline.jsonl")
        content = (folder / "video.mp4").read_bytes()
        artefact = {
            "path": (folder / "video.mp4").relative_to(root).as_posix(),
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "media": "video/mp4",
        }
        where = f"{method}/{dataset}/{name}.json"
        _json(root / "records/generate" / where, _record("generate", artefacts=[artefact]))
        for metric, _, _, _, _, _, spread, values in METRICS:
            value = values[place] + spread * rng.standard_normal()
            scores[(metric, method)] = value
            record = _record("score", value=round(value, 4), series=_series(metric, value, spread, len(mouths), rng))
            _json(root / "records/score" / metric / where, record)


def _series(metric: str, value: float, spread: float, frames: int, rng: np.random.Generator) -> dict:
    if metric not in ("sync_c", "dino_s"):
        return {}
    walk = np.convolve(rng.standard_normal(frames + 8), np.ones(9) / 3, "valid")
    times = [round(i / FPS, 3) for i in range(frames)]
    return {"per_frame": {"t_s": times, "value": (value + 0.6 * spread * walk).round(4).tolist()}}


def _record(kind: str, **more: object) -> dict:
    times = {"started": "2026-05-04T09:01:00Z", "finished": "2026-05-04T09:01:07Z", "duration_s": 7.0}
    return {"kind": kind, "status": "done", "error": None, "origin": {"env_id": "env-3f2a"}, **times, **more}


def _timeline(path: Path) -> None:
    lines, clock = [], 0.0
    for block in range(10):
        for stage, cost in (("audio", 0.012), ("denoise", 0.105), ("decode", 0.062), ("write", 0.014)):
            line = {
                "event": "span",
                "stage": stage,
                "block": block,
                "begin_s": clock,
                "end_s": clock + cost,
                "frames": 12,
            }
            lines.append(json.dumps(line))
            clock += cost
    _parent(path).write_text("\n".join(lines) + "\n", "utf-8")


def _speed(root: Path) -> None:
    protocol = {"name": "quick", "repeats": 3, "blocks": 104, "playback_fps": 25}
    good = {
        "verdict": "VALID",
        "reason": "",
        "fps_end_to_end": 61.8,
        "fps_steady": 66.2,
        "ttff": 0.41,
        "ttff_block": 0.2,
    }
    _json(
        root / "records/speed/live_avatar/offline.json",
        _record("speed", **good, repeats=[61, 62, 62.4], protocol=protocol, probes=[{"name": "frames", "state": "passed"}]),
    )
    late = [round(0.2 + 0.001 * index % 0.05, 4) for index in range(100)]
    live = {"verdict": "VALID", "reason": "", "scenario": "live", "first_frame_s": 0.7, "latency_p50": 0.21}
    live |= {"latency_p99": 0.25, "misses": 0, "longest_freeze_s": 0.0, "playback_fps": 25}
    _json(
        root / "records/speed/live_avatar/live.json",
        _record("speed", **live, repeats=[{"latencies_s": late, "buffer_s": 0.0}], protocol=protocol),
    )


def _cells(dataset: dict) -> list[dict]:
    made = []
    for method, _, _ in METHODS:
        for metric, _, unit, _, _, network, _, _ in METRICS:
            values = [s["scores"][(metric, method)] for s in dataset["samples"]] if method in MADE else []
            made.append(_cell(method, dataset["name"], metric, values, unit, network))
        for metric, _ in UNMEASURED:
            made.append(_cell(method, dataset["name"], metric, [], "", "Q-Align"))
        speed = {"fps": [61.8, 61.2, 62.4], "ttff": [0.41, 0.4, 0.43]} if method == "live_avatar" else {}
        for metric in ("fps", "ttff"):
            made.append(_cell(method, dataset["name"], metric, speed.get(metric, []), "", None))
    return made


def _cell(method: str, dataset: str, metric: str, values: list[float], unit: str, backbone: str | None) -> dict:
    reason = "no adapter for this system yet"
    if method in MADE:
        reason = "Q-Align weights are not part of the nano profile" if backbone == "Q-Align" else "controls generate nothing"
    mean = sum(values) / len(values) if values else None
    half = 1.96 * float(np.std(values)) / math.sqrt(len(values)) if values else 0.0
    return {
        **{"table": "quality", "method": method, "dataset": dataset, "metric": metric, "value": mean},
        **{"low": mean and mean - half, "high": mean and mean + half, "n": len(values), "unit": unit},
        **{"backbone": backbone, "status": "measured" if values else "empty", "reason": "" if values else reason},
        "paper": PAPER.get(method, {}).get(metric),
    }


def _paired(dataset: dict) -> list[dict]:
    made = []
    for against in MADE[1:]:
        for metric in ("sync_c", "sync_d", "dino_s"):
            gaps = [s["scores"][(metric, "live_avatar")] - s["scores"][(metric, against)] for s in dataset["samples"]]
            mean, half = float(np.mean(gaps)), 1.96 * float(np.std(gaps)) / math.sqrt(len(gaps)) + 0.002
            wins = sum(gap > 0 for gap in gaps)
            about = {"table": "quality", "dataset": dataset["name"], "metric": metric, "n": len(gaps)}
            bounds = {"mean": mean, "low": mean - half, "high": mean + half}
            counts = {"wins": wins, "ties": 0, "losses": len(gaps) - wins}
            made.append({**about, "method": "live_avatar", "against": against, **bounds, **counts})
    for sample in dataset["samples"]:
        del sample["scores"]
    return made


def _drift(dataset: dict, rng: np.random.Generator) -> list[dict]:
    made = []
    for metric, _, _, _, _, _, spread, values in METRICS:
        for place, method in enumerate(MADE[:2]):
            for sample in dataset["samples"]:
                times = [5.0 + 10 * i for i in range(int(sample["duration_s"] // 10))]
                wander = np.cumsum(rng.standard_normal(len(times))) * spread * 0.25
                curve = {"t_s": times, "value": (values[place] + wander).round(4).tolist()}
                made.append(
                    {"method": method, "dataset": dataset["name"], "sample": sample["id"], "metric": metric, **curve}
                )
    return made


def _judgements(root: Path) -> None:
    """What a run says of its own numbers: best rows, slopes, claims, positions of a stream."""
    table = {"table": "quality", "dataset": "short"}
    best = {**table, "metric": "sync_c", "best": "live_avatar", "tied": [], "apart": ["wan_s2v"], "bold": ["live_avatar"]}
    _json(root / "stats/best.json", [best])
    slope = {"method": "live_avatar", "dataset": "long", "metric": "sync_c", "per_minute": -0.04, "n": 6}
    slope |= {"low": -0.3, "high": 0.2, "basis": "one stream", "span_s": 50.0, "reading": "no drift shown"}
    _json(root / "stats/slopes.json", [slope])
    claim = {**table, "metric": "sync_c", "method": "live_avatar", "against": "ditto", "paper": 5.69, "paper_against": 4.09}
    decided = {"outcome": "confirmed", "why": "p 0.01", "mean": 1.2, "low": 0.4, "high": 2.0, "n": 8}
    open_one = {"outcome": "undecided", "why": "not measured for both rows", "mean": None, "low": None, "high": None, "n": 0}
    _json(root / "stats/claims.json", [{**claim, **decided}, {**claim, "against": "wan_s2v", **open_one}])
    lanes = [
        {
            "block": block,
            "own": [3 * block, 3 * block + 1, 3 * block + 2],
            "past": [{"block": block - 1, "positions": [3 * block - 3, 3 * block - 2, 3 * block - 1]}] if block else [],
            "sink": 3 * block + 10,
            "sink_is": "adapted" if block > 1 else "reference",
        }
        for block in range(4)
    ]
    _json(root / "stats/positions.json", [{"title": "Live Avatar (nano)", "blocks": lanes}])


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _json(path: Path, content: object) -> None:
    if isinstance(content, dict) and "datasets" in content:
        content = {**content, "datasets": [_plain(dataset) for dataset in content["datasets"]]}
    _parent(path).write_text(json.dumps(content, indent=1), "utf-8")


def _plain(dataset: dict) -> dict:
    samples = [{k: v for k, v in s.items() if k not in ("loudness", "scores")} for s in dataset["samples"]]
    return {**dataset, "samples": samples}


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    print(make(Path(sys.argv[1]), Plan()))
