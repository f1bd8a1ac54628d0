"""The transformer's parts against each other and against closed forms; reference outputs are in test_parity_*.py."""

from __future__ import annotations

import pytest
import torch

from liveavatar.model.attention import BlockCausalContext, FullContext, block_causal_mask
from liveavatar.model.audio import HISTORY_ROWS, CausalAudioEncoder
from liveavatar.model.rope import rope_table, rotate
from liveavatar.model.text import HashedWords


def test_rotation_depends_on_differences_only() -> None:
    q, k = torch.randn(2, 1, 1, 1, 48, generator=torch.Generator().manual_seed(0))

    def similarity(q_frame: int, k_frame: int) -> torch.Tensor:
        q_table, k_table = (rope_table(torch.tensor([frame]), 1, 1, 48) for frame in (q_frame, k_frame))
        return rotate(q, q_table) @ rotate(k, k_table).mT

    near, far = similarity(5, 2), similarity(90_005, 90_002)
    torch.testing.assert_close(near, far, atol=1e-5, rtol=0)


@torch.no_grad()
def test_audio_encoder_by_blocks_with_history_equals_whole_clip() -> None:
    generator = torch.Generator().manual_seed(0)
    encoder = CausalAudioEncoder(layers=3, feature_dim=16, dim=32, tokens=4).eval()
    for parameter in encoder.parameters():
        parameter.copy_(torch.rand(parameter.shape, generator=generator) - 0.3)
    audio = torch.randn(1, 3, 16, 48, generator=generator)
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
