"""A pipeline of processes gives what one process gives, block for block and bit for bit, whatever its layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from liveavatar.config import nano, released_rollout
from liveavatar.tpp.launch import supervise
from liveavatar.tpp.layout import Layout, balanced, parse_layout
from tests.liveavatar import tpp_processes as processes
from tests.liveavatar.tpp_processes import Asked, Run

BLOCK_S = 0.48
LAYOUTS = [balanced(4, devices) for devices in range(1, 6)]


def run_pipeline(run: Run, folder: Path) -> list[dict[str, torch.Tensor]]:
    """Every stream as the last stage's consumer got it."""
    run = processes.with_path(run, folder)
    if run.layout.devices == 1:
        run.take_part(None, lambda fault, claimed: None)
    else:
        outcome = supervise(run.layout, processes.forked(run))
        assert outcome.fault is None, outcome.fault
    return [processes.kept(Path(asked.path or "")) for asked in run.streams]


def assert_same(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Latents and frames of every block to the bit."""
    for name in expected:
        assert torch.equal(ours[name], expected[name]), name
    assert {name for name in ours if not name.startswith("samples")} == set(expected)


TINY = Asked(replace(nano().rollout, aas=True, rolling_rope=True), seconds=33.5 * BLOCK_S)


@pytest.fixture(scope="module")
def tiny_truth() -> dict[str, torch.Tensor]:
    return processes.sequential(Run(LAYOUTS[0], (TINY,)))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.spec)
def test_every_layout_gives_the_single_process_stream(
    layout: Layout, tiny_truth: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """Over 34 blocks, the last one cut short, with AAS and Rolling RoPE."""
    assert len([name for name in tiny_truth if name.startswith("latents")]) == 34
    (ours,) = run_pipeline(Run(layout, (TINY,)), tmp_path)
    assert_same(ours, tiny_truth)


NANO = Asked(nano().rollout, seconds=31 * BLOCK_S)
NANO_LAYOUTS = ["0-3", "0-1|2-3", "0-1|2|3", "0|1|2|3"]


@pytest.fixture(scope="module")
def nano_truth() -> dict[str, torch.Tensor]:
    return processes.sequential(Run(LAYOUTS[0], (NANO,), processes.nano_parts), decodes=False)


@pytest.mark.parametrize("spec", NANO_LAYOUTS)
def test_at_nano_size_every_layout_gives_the_single_process_latents(
    spec: str, nano_truth: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """Over 31 blocks; decoding, which no layout changes, is left out."""
    assert len(nano_truth) == 31
    (ours,) = run_pipeline(Run(parse_layout(spec), (NANO,), processes.nano_parts), tmp_path)
    assert_same(ours, nano_truth)


def asked(**options: object) -> Asked:
    """A short stream with some options changed, in every block of which something happens."""
    return Asked(replace(nano().rollout, **options), seconds=7.3 * BLOCK_S)  # type: ignore[arg-type]


STREAMS = {
    "another seed": replace(asked(), seed=7),
    "prompts that take over, one while the sink changes": replace(
        asked(aas_switch="in_flight"), prompts=((0.9, "a smile"), (1.6, "a frown"), (2.9, "a face"))
    ),
    "the sink changes after four blocks": asked(aas_after_blocks=4),
    "the sink changes in flight": asked(aas_switch="in_flight"),
    "no AAS": asked(aas=False),
    "the first frame decoded and coded again, as in the paper": asked(aas_content="recoded", window_past=4),
    "noise on the past": asked(history_noise=0.1),
    "a short first block": asked(first_block="short"),
    "the release's first block, noise and sink": asked(first_block="release", noise="clip", sink_position="release"),
    "guidance": replace(asked(guidance=2.5), negative_prompt="a blur"),
}


def test_one_engine_serves_streams_of_all_kinds_one_after_another(tmp_path: Path) -> None:
    """Five processes load their networks once; each stream is what a fresh single process gives."""
    run = Run(LAYOUTS[4], tuple(STREAMS.values()))
    for number, ours in enumerate(run_pipeline(run, tmp_path)):
        expected = processes.sequential(run, number)
        assert len(expected) == 16
        assert_same(ours, expected)


def test_the_official_layout_of_weights_is_the_same_code(tmp_path: Path) -> None:
    """Motion tokens, wav2vec2, the VAE's own decoder, the release's choices; the decoder's process has no transformer."""
    released = replace(released_rollout(), aas_after_blocks=2)
    run = Run(parse_layout("0|1-2|3|vae"), (Asked(released, seconds=5.2 * BLOCK_S),), processes.official_parts)
    (ours,) = run_pipeline(run, tmp_path)
    assert_same(ours, processes.sequential(run))


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ("0-3|vae", {"cache": "clean"}),
        ("0-1|2|vae", {"steps": 3, "grid": "release3"}),
        ("0-5|vae", {"steps": 6, "guidance": 4.5}),
    ],
    ids=["clean cache", "three evaluations", "many steps with guidance"],
)
def test_variants_that_need_a_layout_of_their_own(spec: str, options: dict[str, object], tmp_path: Path) -> None:
    run = Run(parse_layout(spec), (asked(**options),))
    (ours,) = run_pipeline(run, tmp_path)
    assert_same(ours, processes.sequential(run))


@pytest.mark.parametrize("spec", ["0-3*2|vae", "0-1*2|2-3*2+vae"])
def test_devices_that_share_tokens_compute_the_same_up_to_rounding(spec: str, tmp_path: Path) -> None:
    """Sequence parallelism multiplies matrices of other shapes, so bits may differ; with AAS and guidance."""
    run = Run(parse_layout(spec), (replace(asked(guidance=1.5), prompts=((1.6, "a frown"),)), asked(first_block="short")))
    for number, ours in enumerate(run_pipeline(run, tmp_path)):
        expected = processes.sequential(run, number)
        for name in expected:
            if name.startswith("latents"):
                torch.testing.assert_close(ours[name], expected[name], atol=2e-4, rtol=1e-4)


def test_sound_comes_with_the_frames_that_it_belongs_to(tmp_path: Path) -> None:
    run = Run(parse_layout("0-3|vae"), (asked(), asked(first_block="short")))
    for ours in run_pipeline(run, tmp_path):
        blocks = [name.removeprefix("samples") for name in ours if name.startswith("samples")]
        got = torch.cat([ours[f"samples{number}"] for number in sorted(blocks, key=int)])
        expected = torch.from_numpy(processes.sound(7.3 * BLOCK_S) * 32768).round().to(torch.int16)
        assert torch.equal(got, expected)
        for number in blocks[:-1]:
            assert len(ours[f"samples{number}"]) == 640 * len(ours[f"frames{number}"])
