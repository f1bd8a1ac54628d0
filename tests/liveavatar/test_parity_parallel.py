"""Parallel calls against the reference implementation: teacher, with and without packing, and block-causal training."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from liveavatar.model.attention import BlockCausalContext, FullContext
from liveavatar.model.positions import TokenGrid
from liveavatar.model.transformer import S2VTransformer
from tests.liveavatar import golden

TEACHERS = ("s2v_bidirectional", "s2v_bidirectional_plainmotion")


def teacher(model: S2VTransformer, given: dict[str, Tensor], **changed: Tensor | None) -> Tensor:
    """The bidirectional call on a golden file's inputs, some of them changed; None: left out."""
    inputs = {name: given[f"in.{name}"] for name in ("x", "t", "ref", "motion", "cond", "context", "audio")} | changed
    x, motion = inputs["x"], inputs["motion"]
    grid = TokenGrid(model.config, *x.shape[-2:])
    return model(
        x,
        inputs["t"][:, None].expand(-1, x.shape[2]),
        inputs["ref"],
        model.encode_audio(inputs["audio"]),
        model.encode_text(inputs["context"][None]),
        FullContext(grid.parallel(x.shape[2], with_motion=motion is not None)),
        inputs["cond"],
        motion,
    )


@torch.no_grad()
@pytest.mark.parametrize("name", TEACHERS)
def test_teacher_is_the_reference(name: str) -> None:
    given = golden.tensors(name)
    golden.assert_same(teacher(golden.model(name), given), given["out.full"])


@torch.no_grad()
@pytest.mark.parametrize("name", TEACHERS)
def test_teacher_without_motion_tokens_is_the_reference(name: str) -> None:
    given = golden.tensors(name)
    golden.assert_same(teacher(golden.model(name), given, motion=None), given["out.drop_motion"])


@torch.no_grad()
@pytest.mark.parametrize("name", TEACHERS)
def test_no_pose_equals_a_pose_of_zeros(name: str) -> None:
    given, model = golden.tensors(name), golden.model(name)
    golden.assert_same(teacher(model, given, cond=torch.zeros_like(given["in.cond"])), given["out.zero_cond"])
    golden.assert_same(teacher(model, given, cond=None), given["out.zero_cond"])


@torch.no_grad()
@pytest.mark.parametrize("name", TEACHERS)
def test_teacher_in_silence_is_the_reference(name: str) -> None:
    given = golden.tensors(name)
    golden.assert_same(
        teacher(golden.model(name), given, audio=torch.zeros_like(given["in.audio"])), given["out.zero_audio"]
    )


@pytest.mark.parametrize("name", TEACHERS)
def test_positions_of_all_tokens_are_the_reference(name: str) -> None:
    given, model = golden.tensors(name), golden.model(name)
    x = given["in.x"]
    table = TokenGrid(model.config, *x.shape[-2:]).parallel(x.shape[2])
    golden.assert_same(table.real, given["mid.rope_re"][0].float(), 1e-6)
    golden.assert_same(table.imag, given["mid.rope_im"][0].float(), 1e-6)


@torch.no_grad()
@pytest.mark.parametrize("name", TEACHERS)
def test_voice_and_blocks_are_the_reference_on_the_way(name: str) -> None:
    given, model = golden.tensors(name), golden.model(name)
    seen: dict[int, list[Tensor]] = {}

    def keep(layer: int, out: list[Tensor]) -> None:
        seen[layer] = [part.clone() for part in out]  # what follows may overwrite it

    for layer, block in enumerate(model.blocks):
        block.register_forward_hook(lambda _block, _inputs, out, layer=layer: keep(layer, out))
    teacher(model, given)
    voice = model.encode_audio(given["in.audio"])
    golden.assert_same(voice.local, given["mid.audio_emb"])
    golden.assert_same(voice.pooled, given["mid.audio_emb_global"].squeeze(2))
    last = len(model.blocks) - 1
    for layer, expected in {0: "mid.block0_out_before_audio", last: "mid.block_last_out_before_audio"}.items():
        golden.assert_same(torch.cat([part.flatten(1, 2) for part in seen[layer]], dim=1), given[expected])


@torch.no_grad()
def test_missing_motion_latents_are_zeros_in_front() -> None:
    given, model = golden.tensors("s2v_bidirectional"), golden.model("s2v_bidirectional")
    few = given["in.motion"][:, :, -5:]
    padded = torch.cat([torch.zeros_like(given["in.motion"][:, :, :-5]), few], dim=2)
    short, whole = teacher(model, given, motion=few), teacher(model, given, motion=padded)
    golden.assert_same(short, whole, 0)
    assert (short - given["out.full"]).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("masked", [False, True], ids=["windows", "mask"])
def test_block_causal_training_call_is_the_reference(masked: bool) -> None:
    name = "s2v_block_causal_train"
    given, model = golden.tensors(name), golden.model(name)
    x, frames = given["in.x"], golden.facts(name)["frames_per_block"]
    grid = TokenGrid(model.config, *x.shape[-2:])
    table, blocks, tokens = grid.parallel(x.shape[2]), x.shape[2] // frames, frames * grid.frame_tokens
    context: BlockCausalContext | FullContext = BlockCausalContext(table, blocks, tokens, window_past=blocks)
    if masked:
        context = FullContext(table, _every_past_block(blocks, tokens, len(table)))
    voice, text = model.encode_audio(given["in.audio"]), model.encode_text(given["in.context"][None])
    velocity = model(x, given["in.t"], given["in.ref"], voice, text, context, given["in.cond"], given["in.motion"])
    golden.assert_same(velocity, given["out.velocity"])


def _every_past_block(blocks: int, tokens: int, total: int) -> Tensor:
    """True where a token may look: noisy at its own and earlier blocks and the conditioning, that only at itself."""
    block = torch.full((total,), -1)
    block[: blocks * tokens] = torch.arange(blocks).repeat_interleave(tokens)
    return (block[None, :] <= block[:, None]) & ((block[:, None] >= 0) | (block[None, :] < 0))


def rope_cases(*names: str) -> list:
    """Every combination of the golden file's values, or one that lets the tests say that the folder is absent."""
    if not golden.FOLDER.is_dir():
        return [tuple(0 for _ in names)]
    return list(itertools.product(*(golden.facts("rope_tables")[name] for name in names)))


def rope_grid(facts: dict) -> TokenGrid:
    """The token grid that the golden tables describe."""
    head_dim = facts["head_dim"]
    config = golden.official_transformer(
        {
            "dim": 2 * head_dim,
            "num_heads": 2,
            "ffn_dim": 8,
            "num_layers": 1,
            "audio_inject_layers": [],
            "enable_framepack": True,
        }
    )
    return TokenGrid(config, *facts["latent_hw"])


@pytest.mark.parametrize("start", [start for (start,) in rope_cases("block_start_latent_frames")])
def test_positions_of_a_block_are_the_reference(start: int) -> None:
    given, facts = golden.tensors("rope_tables"), golden.facts("rope_tables")
    frames = len(given[f"noisy_start{start}.cos"]) // math.prod(facts["patch_grid"])
    table = rope_grid(facts).frames(torch.arange(start, start + frames))
    golden.assert_same(table.real, given[f"noisy_start{start}.cos"], 1e-6)
    golden.assert_same(table.imag, given[f"noisy_start{start}.sin"], 1e-6)


@pytest.mark.parametrize(("start", "distance"), rope_cases("block_start_latent_frames", "sink_rel_dist"))
def test_positions_of_conditioning_tokens_are_the_reference(start: int, distance: int) -> None:
    given = golden.tensors("rope_tables")
    grid = rope_grid(golden.facts("rope_tables"))
    table = torch.cat([grid.frames(torch.tensor([max(30, start + distance)])), grid.motion()])
    golden.assert_same(table.real, given[f"cond_start{start}_dist{distance}.cos"], 1e-6)
    golden.assert_same(table.imag, given[f"cond_start{start}_dist{distance}.sin"], 1e-6)
