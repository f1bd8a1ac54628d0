"""The official sizes: names, shapes and counts of the 14B model, built without memory on the meta device."""

from __future__ import annotations

import pytest
import torch

from liveavatar.config import TransformerConfig, official_transformer, paper_rollout, released_rollout, s2v_14b
from liveavatar.model.positions import TokenGrid
from liveavatar.model.transformer import S2VTransformer

OFFICIAL = {
    "model_type": "s2v", "dim": 5120, "num_heads": 40, "ffn_dim": 13_824, "num_layers": 40, "freq_dim": 256, "text_len": 512,
    "in_dim": 16, "out_dim": 16, "audio_dim": 1024, "num_audio_token": 4, "enable_adain": True, "adain_mode": "attn_norm",
    "audio_inject_layers": [0, 4, 8, 12, 16, 20, 24, 27, 30, 33, 36, 39], "zero_init": True, "zero_timestep": True,
    "enable_motioner": False, "add_last_motion": True, "enable_tsm": False, "enable_framepack": True,
    "framepack_drop_mode": "padd", "cond_dim": 16, "eps": 1e-6, "trainable_token_pos_emb": False,
}  # fmt: skip


def official_shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of the official checkpoint, written out from its layout."""
    d, ff, heads = 5120, 13_824, "qkvo"
    shapes: dict[str, tuple[int, ...]] = {"trainable_cond_mask.weight": (3, d)}

    def affine(name: str, *weight: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = weight, (weight[0],)

    def attention(name: str) -> None:
        for part in heads:
            affine(f"{name}.{part}", d, d)
        shapes[f"{name}.norm_q.weight"] = shapes[f"{name}.norm_k.weight"] = (d,)

    affine("patch_embedding", d, 16, 1, 2, 2)
    affine("cond_encoder", d, 16, 1, 2, 2)
    affine("text_embedding.0", d, 4096)
    affine("text_embedding.2", d, d)
    affine("time_embedding.0", d, 256)
    affine("time_embedding.2", d, d)
    affine("time_projection.1", 6 * d, d)
    for n in range(40):
        shapes[f"blocks.{n}.modulation"] = (1, 6, d)
        attention(f"blocks.{n}.self_attn")
        attention(f"blocks.{n}.cross_attn")
        shapes[f"blocks.{n}.norm3.weight"] = shapes[f"blocks.{n}.norm3.bias"] = (d,)
        affine(f"blocks.{n}.ffn.0", ff, d)
        affine(f"blocks.{n}.ffn.2", d, ff)
    shapes["head.modulation"] = (1, 2, d)
    affine("head.head", 64, d)
    voice = "casual_audio_encoder"
    shapes[f"{voice}.weights"], shapes[f"{voice}.encoder.padding_tokens"] = (1, 25, 1, 1), (1, 1, 1, d)
    affine(f"{voice}.encoder.conv1_local.conv", d, 1024, 3)
    affine(f"{voice}.encoder.conv1_global.conv", d // 4, 1024, 3)
    affine(f"{voice}.encoder.conv2.conv", d // 2, d // 4, 3)
    affine(f"{voice}.encoder.conv3.conv", d, d // 2, 3)
    affine(f"{voice}.encoder.final_linear", d, d)
    for j in range(12):
        attention(f"audio_injector.injector.{j}")
        affine(f"audio_injector.injector_adain_layers.{j}.linear", 2 * d, d)
    affine("frame_packer.proj", d, 16, 1, 2, 2)
    affine("frame_packer.proj_2x", d, 16, 2, 4, 4)
    affine("frame_packer.proj_4x", d, 16, 4, 8, 8)
    return shapes


def test_official_model_has_the_checkpoints_names_shapes_and_counts() -> None:
    with torch.device("meta"):
        tensors = S2VTransformer(s2v_14b().transformer).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == official_shapes()
    assert len(tensors) == 1260
    assert sum(tensor.numel() for tensor in tensors.values()) == 16_295_755_609


def test_official_config_file_describes_the_preset() -> None:
    assert official_transformer(OFFICIAL) == s2v_14b().transformer


@pytest.mark.parametrize("switch", [{"enable_motioner": True}, {"zero_timestep": False}, {"adain_mode": "norm"}], ids=str)
def test_switches_that_are_not_implemented_are_refused_by_name(switch: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(switch))):
        official_transformer(OFFICIAL | switch)


def test_a_config_file_without_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks dim, num_heads"):
        official_transformer({name: value for name, value in OFFICIAL.items() if name not in ("dim", "num_heads")})


def test_conditioning_tokens_at_the_official_size() -> None:
    """1056 tokens per frame and 2640 beside a block at 704x384; 1125 and 2778 at 720x400."""
    profile = s2v_14b()
    for height, width, frame, beside in ((384, 704, 1056, 2640), (400, 720, 1125, 2778)):
        grid = TokenGrid(profile.transformer, height // 8, width // 8)
        assert (grid.frame_tokens, grid.frame_tokens + len(grid.motion())) == (frame, beside)
    assert profile.latent_size == (48, 88)


def test_released_and_paper_rollouts_differ_where_the_two_do() -> None:
    released, paper = released_rollout(), paper_rollout()
    differing = {name for name in vars(released) if getattr(released, name) != getattr(paper, name)}
    ours = {"audio_history"}  # the paper says nothing of it
    assert differing - ours == {
        "grid", "window_past", "aas_after_blocks", "aas_content", "sink_position", "motion", "prime"
    }  # fmt: skip


def test_packed_motion_needs_latents_for_all_three_groups() -> None:
    with pytest.raises(ValueError, match="motion_latents=3"):
        TransformerConfig(64, 64, 1, 2, motion="packed", motion_latents=3, audio_inject_layers=())
