"""What each choice between paper and release costs and changes: CPU time per evaluation, pictures, lips. One run, one table.

Run with `--benchmark-only -n 0 -s`; `--benchmark-timer=time.process_time` measures processor time, which other work on the
machine hardly disturbs. Pictures and lips are those of the shipped nano weights on two clips of about 4 s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from genbench.build import build_set
from genbench.manifest import Sample
from genbench.spec import SetSize, draw_set
from liveavatar.config import RolloutOptions, TransformerConfig, nano
from liveavatar.inputs import read_picture, read_voice
from liveavatar.model.transformer import S2VTransformer, initialise
from liveavatar.pipeline import Pipeline, load
from liveavatar.streaming.rollout import Rollout
from liveavatar.streaming.sink import switch_block
from liveavatar.streaming.text import text_for

pytest.importorskip("espeakng_loader")

# -------------------------------------------------------------------------------------------- speed, official layout

# Everything that the official model has, small; a sixth of its text rows for a tenth of its tokens.
SMALL = TransformerConfig(
    dim=128, ffn_dim=352, num_layers=3, num_heads=2, text_dim=64, text_len=64, audio_dim=32, audio_layers=3, motion="packed",
    audio_inject_layers=(0, 2),
)  # fmt: skip
LATENT = (16, 28)
RELEASED = RolloutOptions(grid="release", sink_position="release", motion="still", aas=False, decoder="vae")


@pytest.fixture(scope="module")
def small() -> S2VTransformer:
    torch.set_num_threads(1)
    made = S2VTransformer(SMALL)
    initialise(made, torch.Generator().manual_seed(0))
    return made.eval().requires_grad_(False)


def opened(model: S2VTransformer, options: RolloutOptions) -> Rollout:
    """A stream of random conditions."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(1, 30, SMALL.text_dim, generator=generator)
    sink, motion = (torch.randn(1, 16, frames, *LATENT, generator=generator) for frames in (1, 19))
    return Rollout(model, options, text_for(model, rows, options), sink, 3, motion)


@torch.inference_mode()
@pytest.mark.parametrize(
    "change",
    [{}, {"grid": "release3", "steps": 3}, {"text_keys": "each_call"}, {"positions": "absolute", "rope_factors": "half"},
     {"window_past": 4}, {"cache": "clean"}],
    ids=str,
)  # fmt: skip
def test_a_steady_block(benchmark: Callable, small: S2VTransformer, change: dict[str, object]) -> None:
    rollout = opened(small, replace(RELEASED, **change))  # type: ignore[arg-type]
    voice = small.encode_audio(torch.randn(1, SMALL.audio_layers, SMALL.audio_dim, 12))
    noise = torch.randn(1, 16, 3, *LATENT)
    with torch.inference_mode():
        for _ in range(4):
            rollout.denoise(noise, voice)
        benchmark.pedantic(rollout.denoise, (noise, voice), rounds=30)


@pytest.mark.parametrize("prefill", ["shared", "each_step"])
def test_opening_a_stream(benchmark: Callable, small: S2VTransformer, prefill: str) -> None:
    with torch.inference_mode():
        benchmark.pedantic(opened, (small, replace(RELEASED, prefill=prefill)), rounds=15)


# --------------------------------------------------------------------------------------------- AAS in a pipeline, ticks

PREFILL = 0.57  # of an evaluation: 76 to 133.5 TFLOP at the official size


def ticks(blocks: int, steps: int, switch: Callable[[int], int] | None, *, drains: bool = False) -> float:
    """When the last block leaves a pipeline of one step per device, in evaluations.

    switch: the block from which on a step needs the new sink. drains: as the release, every device waits until the clip
    before the switch has left the pipeline. Its own prefill keeps each device busy in both.
    """
    end: dict[tuple[int, int], float] = {}
    for block in range(blocks):
        for step in range(steps):
            start = max(end.get((block, step - 1), 0.0), end.get((block - 1, step), 0.0))
            if switch is not None and block == switch(step):
                ready = end[block - 1 if drains else 0, steps - 1]
                start = max(start, max(end[block - 1, step], ready) + PREFILL)
            end[block, step] = start + 1
    return end[blocks - 1, steps - 1]


def test_only_the_release_drains_the_pipeline_for_its_sink() -> None:
    """Ticks lost against a stream that keeps its first sink."""
    at_four = RolloutOptions(aas_after_blocks=4)
    after_one, in_flight = RolloutOptions(), RolloutOptions(aas_switch="in_flight")

    def lost(options: RolloutOptions, *, drains: bool = False) -> float:
        return ticks(50, 4, lambda step: switch_block(options, step), drains=drains) - ticks(50, 4, None)

    assert lost(at_four, drains=True) == pytest.approx(3 + PREFILL)
    assert lost(at_four) == pytest.approx(PREFILL)
    assert lost(after_one) == pytest.approx(3 + PREFILL)
    assert lost(in_flight) == pytest.approx(PREFILL)


# --------------------------------------------------------------------------------------------- pictures and lips, nano

CLIPS = 2
BASE = nano().rollout
VAE = replace(BASE, decoder="vae")
VARIANTS: dict[str, tuple[RolloutOptions, RolloutOptions]] = {  # name -> (options, those it is compared with)
    "grid=uniform": (replace(BASE, grid="uniform"), BASE),
    "grid=release": (replace(BASE, grid="release"), BASE),
    "grid=release3, steps=3": (replace(BASE, grid="release3", steps=3), replace(BASE, grid="release")),
    "steps=3": (replace(BASE, steps=3), BASE),
    "window_past=4": (replace(BASE, window_past=4), BASE),
    "history_noise=0.1": (replace(BASE, history_noise=0.1), BASE),
    "cache=clean": (replace(BASE, cache="clean"), BASE),
    "aas=False": (replace(BASE, aas=False), BASE),
    "aas_after_blocks=4": (replace(BASE, aas_after_blocks=4), BASE),
    "aas_switch=in_flight": (replace(BASE, aas_switch="in_flight"), BASE),
    "aas_content=recoded": (replace(BASE, aas_content="recoded"), BASE),
    "prefill=each_step": (replace(BASE, prefill="each_step"), BASE),
    "text_keys=each_call": (replace(BASE, text_keys="each_call"), BASE),
    "rolling_rope=False": (replace(BASE, rolling_rope=False), BASE),
    "sink_position=release": (replace(BASE, sink_position="release"), BASE),
    "reference=repeated": (replace(BASE, reference="repeated"), BASE),
    "audio_history=repeat": (replace(BASE, audio_history="repeat"), BASE),
    "positions=absolute": (replace(BASE, positions="absolute"), BASE),
    "rope_factors=half": (replace(BASE, positions="absolute", rope_factors="half"), BASE),
    "noise=clip": (replace(BASE, noise="clip"), BASE),
    "first_block=release": (replace(BASE, first_block="release"), BASE),
    "first_block=short": (replace(BASE, first_block="short"), BASE),
    "first_block=short, aas_switch=in_flight": (replace(BASE, first_block="short", aas_switch="in_flight"), BASE),
    "decoder=vae": (VAE, BASE),
    "prime=still": (replace(VAE, prime="still"), VAE),
    "decode=end": (replace(VAE, decode="end"), VAE),
}


class Measured:
    """Clips, a loaded pipeline and what was made so far."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        specs = draw_set("short", "quick", seed=0, size=SetSize(CLIPS, (3.6, 4.4)))
        self.samples, self.pipeline = build_set(specs, folder).samples, load("nano")
        self.made: dict[tuple[RolloutOptions, int], list[np.ndarray]] = {}

    def videos(self, options: RolloutOptions, seed: int = 0) -> list[np.ndarray]:
        """Frames uint8 [n, H, W, 3] of every clip."""
        if (options, seed) not in self.made:
            self.made[options, seed] = [stream(self.pipeline, sample, options, seed) for sample in self.samples]
        return self.made[options, seed]

    def lips(self, videos: list[np.ndarray]) -> float:
        """Mean correlation of the mouth opening read from pictures with the true one."""
        from evalkit.metrics.mouth import pearson, read_opening

        scores = []
        for sample, frames in zip(self.samples, videos, strict=True):
            read, true = read_opening(frames, sample.face_box), sample.truth().truth.mouth_open.numpy()
            count = min(len(read), len(true))
            scores.append(pearson(read[:count].astype(np.float64), true[:count].astype(np.float64)))
        return float(np.mean(scores))


def stream(pipeline: Pipeline, sample: Sample, options: RolloutOptions, seed: int) -> np.ndarray:
    """All frames of one clip."""
    inputs, c = sample.inputs(), pipeline.config
    session = pipeline.open(read_picture(inputs.image, c.height, c.width), inputs.prompt, seed, sample.id, options)
    chunks = [*session.push(read_voice(inputs.audio)), *session.flush()]
    return np.concatenate([chunk.frames for chunk in chunks])


def difference(videos: list[np.ndarray], others: list[np.ndarray]) -> float:
    """Mean absolute difference of pixels, in steps of 0..255; a video that lacks first frames is compared at its end."""
    pairs = [(a[-min(len(a), len(b)) :], b[-min(len(a), len(b)) :]) for a, b in zip(videos, others, strict=True)]
    return float(np.mean([np.abs(a.astype(np.int16) - b).mean() for a, b in pairs]))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return Measured(tmp_path_factory.mktemp("clips"))


@pytest.mark.parametrize("name", ["nano", "another seed", *VARIANTS])
def test_pictures_and_lips(benchmark: Callable, measured: Measured, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Not judged, only shown: pictures of a stream of random noise differ, so compare with the row of another seed."""
    options, compared = VARIANTS.get(name, (BASE, BASE))
    videos = benchmark.pedantic(measured.videos, (options, 1 if name == "another seed" else 0), rounds=1)
    lips, moved = measured.lips(videos), difference(videos, measured.videos(compared))
    benchmark.extra_info.update(mouth_correlation=lips, mean_pixel_difference=moved)  # type: ignore[attr-defined]
    with capsys.disabled():
        print(f"\n| {name} | {lips:.3f} | {moved:.2f} |", end="", flush=True)
