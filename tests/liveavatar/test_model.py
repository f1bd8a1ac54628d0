"""The transformer's parts against reference outputs and against each other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from liveavatar.model.attention import BlockCausalContext, FullContext, block_causal_mask
from liveavatar.model.audio import HISTORY_ROWS, CausalAudioEncoder
from liveavatar.model.rope import rope_table, rotate
from liveavatar.model.text import HashedWords

GOLDEN = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parents[3] / "shared" / "golden"))


def golden(name: str) -> dict[str, torch.Tensor]:
    """One golden file; the test is skipped only where the whole folder is absent."""
    if not GOLDEN.is_dir():
        pytest.skip(f"no golden folder at {GOLDEN}; set GOLDEN_DIR")
    return load_file(GOLDEN / f"{name}.safetensors")


@pytest.mark.parametrize("start", [0, 3, 27, 3000])
def test_rope_of_a_block_is_the_reference(start: int) -> None:
    expected = golden("rope_tables")
    table = rope_table(torch.arange(start, start + 3), 9, 5, 32)
    torch.testing.assert_close(table.real, expected[f"noisy_start{start}.cos"], atol=1e-6, rtol=0)
    torch.testing.assert_close(table.imag, expected[f"noisy_start{start}.sin"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("start", [27, 3000])
def test_rope_of_the_rolled_sink_is_the_reference(start: int) -> None:
    expected = golden("rope_tables")[f"cond_start{start}_dist17.cos"]
    table = rope_table(torch.tensor([max(30, start + 17)]), 9, 5, 32)
    torch.testing.assert_close(table.real, expected[: len(table)], atol=1e-6, rtol=0)


def test_rotation_depends_on_differences_only() -> None:
    q, k = torch.randn(2, 1, 1, 1, 48, generator=torch.Generator().manual_seed(0))

    def similarity(q_frame: int, k_frame: int) -> torch.Tensor:
        q_table, k_table = (rope_table(torch.tensor([frame]), 1, 1, 48) for frame in (q_frame, k_frame))
        return rotate(q, q_table) @ rotate(k, k_table).mT

    near, far = similarity(5, 2), similarity(90_005, 90_002)
    torch.testing.assert_close(near, far, atol=1e-5, rtol=0)


def _official_audio_encoder() -> tuple[CausalAudioEncoder, dict[str, torch.Tensor]]:
    tensors = golden("audio_encoder")
    encoder = CausalAudioEncoder(layers=25, feature_dim=16, dim=32, tokens=4)
    prefix = "sd.casual_audio_encoder."
    encoder.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return encoder.eval(), tensors


@torch.no_grad()
def test_audio_encoder_of_a_whole_clip_is_the_reference() -> None:
    encoder, tensors = _official_audio_encoder()
    local, pooled = encoder(tensors["in.audio"])
    torch.testing.assert_close(local, tensors["out.clip_local"], atol=2e-5, rtol=0)
    torch.testing.assert_close(pooled, tensors["out.clip_global"].squeeze(2), atol=2e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("block", range(4))
def test_audio_encoder_of_one_block_is_the_reference(block: int) -> None:
    encoder, tensors = _official_audio_encoder()
    local, _ = encoder(tensors["in.audio"][..., 12 * block : 12 * block + 12])
    torch.testing.assert_close(local, tensors[f"out.block{block}_local"], atol=2e-5, rtol=0)


@torch.no_grad()
def test_audio_encoder_by_blocks_with_history_equals_whole_clip() -> None:
    encoder, tensors = _official_audio_encoder()
    audio = tensors["in.audio"]
    whole, _ = encoder(audio)
    later = [encoder(audio[..., s : s + 12], audio[..., s - HISTORY_ROWS : s])[0] for s in (12, 24, 36)]
    torch.testing.assert_close(torch.cat(later, dim=1), whole[:, 3:], atol=1e-5, rtol=0)


def test_audio_rows_that_fill_no_latent_frame_are_refused() -> None:
    with pytest.raises(ValueError, match="pad with silence"):
        CausalAudioEncoder(1, 8, 32, 4)(torch.zeros(1, 1, 8, 13))


def test_block_causal_context_equals_its_mask() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 2, 5 * 6 + 2, 12, generator=generator) for _ in range(3))
    table = rope_table(torch.cat([torch.arange(15), torch.tensor([20])]), 1, 2, 12)
    mask = block_causal_mask(5, 6, 2, 2)
    windowed = BlockCausalContext(table, 5, 6, 2).attend(0, q, k, v)
    torch.testing.assert_close(windowed, FullContext(table, mask).attend(0, q, k, v), atol=1e-6, rtol=0)


def test_block_causal_mask_hides_future_and_distant_past() -> None:
    mask = block_causal_mask(blocks=4, block_tokens=1, window_past=1, sink_tokens=1)
    assert mask.int().tolist() == [[1, 0, 0, 0, 1], [1, 1, 0, 0, 1], [0, 1, 1, 0, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]]


def test_words_of_a_prompt_are_stable_and_padded() -> None:
    words = HashedWords(text_dim=4, text_len=6)
    ids = words.word_ids("A cartoon FOX, talking")
    assert ids.tolist() == words.word_ids("a cartoon fox talking").tolist()
    assert (ids[4:] == -1).all()
    assert not words(ids[None])[0, 4:].any()
