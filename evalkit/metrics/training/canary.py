"""Makes the canary clip and the values that its metrics must read: `python -m evalkit.metrics.training.canary`.

Run it after a network was shipped: expected values belong to weights. The clip itself is drawn anew only with --clip.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from evalkit.metrics.canaries import CLIP, EXPECTED, FOLDER, FPS, VARIANTS, measure

SEED = 4_711
TOLERANCES = {
    "sync_c": 0.05,
    "sync_d": 0.05,
    "sync_offset": 0.5,
    "sync_offset_ms": 20.0,
    "dino_s": 0.005,
    "mouth_correlation": 0.01,
    "iqa": 0.03,
    "ase": 0.03,
    "motion": 0.05,
    "jerk": 0.02,
    "flicker": 0.02,
    "colour_drift": 0.2,
    "face_coverage": 0.01,
    "identity_drift": 0.02,
    "sharpness": 0.05,
    "frame_change": 0.05,
    "border_change": 0.03,
}
"""Processors and versions of libraries differ by far less; a broken metric by far more."""
WANTED = {
    "plain": ("sync_c", "sync_d", "sync_offset", "sync_offset_ms", "dino_s", "identity_drift", "iqa", "ase", "motion",
              "jerk", "flicker", "colour_drift", "face_coverage", "fid", "kid", "fvd", "sharpness", "frame_change",
              "border_change"),
    "late": ("sync_c", "sync_offset", "sync_offset_ms"),
    "still": ("motion", "fvd"),
    "blurred": ("iqa", "fid", "sharpness"),
    "dark": ("ase", "fid", "kid"),
    "black": ("face_coverage",),
}  # fmt: skip
"""Variants by what they are made to show."""


def draw_clip() -> None:
    """Two and a half seconds of a talking character: H.264 of high quality, lossless sound."""
    from genbench.build import build_set
    from genbench.spec import SetSize, draw_set
    from genbench.truth_video import render_truth

    with tempfile.TemporaryDirectory() as folder:
        sample = build_set(draw_set("short", "quick", SEED, SetSize(1, (2.4, 2.6))), Path(folder) / "set").samples[0]
        frames = np.concatenate([piece.numpy() for piece in render_truth(sample)])
        with wave.open(str(sample.inputs().audio)) as file:
            sound = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        FOLDER.mkdir(exist_ok=True)
        _write(frames, sound)
        assert sample.face_box is not None  # every sample of the drawn world has one
        EXPECTED.write_text(json.dumps({"face_box": [round(v, 4) for v in sample.face_box], "values": {}}) + "\n")


def _write(frames: np.ndarray, sound: np.ndarray) -> None:
    with av.open(str(CLIP), "w") as container:
        pictures = container.add_stream("libx264", rate=FPS, options={"crf": "18", "preset": "slow", "threads": "1"})
        pictures.width, pictures.height, pictures.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        voice = container.add_stream("flac", rate=16_000, layout="mono")
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        samples = av.AudioFrame.from_ndarray(sound[None].copy(), format="s16", layout="mono")
        samples.sample_rate, samples.pts = 16_000, 0
        container.mux(voice.encode(samples))
        container.mux(voice.encode(None))


def note_values() -> dict[str, Any]:
    """Measure every variant and write what was read, with tolerances."""
    content = json.loads(EXPECTED.read_text(encoding="utf-8"))
    content["values"] = {}
    for variant in VARIANTS:
        values = {}
        for name in WANTED[variant]:
            value = measure(name, variant)
            if value is None:
                raise ValueError(f"{name} of the {variant} clip has no value; choose another seed")
            tolerance = TOLERANCES.get(name) or max(0.02 * abs(value), 1e-4)
            values[name] = [round(value, 6), round(tolerance, 6)]
        content["values"][variant] = values
    EXPECTED.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return content


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m evalkit.metrics.training.canary", description=__doc__)
    parser.add_argument("--clip", action="store_true", help="draw the clip anew, too")
    if parser.parse_args().clip:
        draw_clip()
    print(json.dumps(note_values(), indent=1))


if __name__ == "__main__":
    main()
