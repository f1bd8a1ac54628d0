"""The transformer's parts against each other and against closed forms; reference outputs are in test_parity_*.py."""

from __future__ import annotations

import pytest
import torch

from liveavatar.model.attention import Attention, BlockCausalContext, FullContext, block_causal_mask
from liveavatar.model.audio import HISTORY_ROWS, CausalAudioEncoder
from liveavatar.model.patches import cut, join
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


@pytest.mark.parametrize("patch", [(1, 2, 2), (2, 4, 2)], ids=str)
def test_patches_are_what_a_convolution_sees_and_come_back(patch: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 3, 4, 8, 6, generator=generator)
    convolution = torch.nn.Conv3d(3, 5, patch, stride=patch)
    with torch.no_grad():
        gathered = cut(latents, patch)
        seen = convolution(latents).flatten(3).permute(0, 2, 3, 1)
        product = gathered @ convolution.weight.flatten(1).T + convolution.bias
        torch.testing.assert_close(product, seen, atol=1e-5, rtol=0)
        # Rows come with the channel slowest and go back with the channel fastest.
        turned = gathered.unflatten(-1, (3, -1)).transpose(-1, -2).flatten(-2)
        assert torch.equal(join(turned, patch, 3, 8, 6), latents)
    assert torch.equal(cut(latents, patch), gathered)  # gradients on: the form that can be differentiated
    assert torch.equal(join(turned, patch, 3, 8, 6), latents)


@torch.no_grad()
@pytest.mark.parametrize("tokens", [5, 16], ids=["by token", "by head"])
def test_folded_attention_to_few_tokens_is_the_plain_one(tokens: int) -> None:
    generator = torch.Generator().manual_seed(0)
    attention = Attention(128, 4, 1e-6)
    for parameter in attention.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) / 128**0.25)
    x, source = torch.randn(3, 7, 128, generator=generator), torch.randn(3, tokens, 128, generator=generator)
    seen = attention.seen(source)
    assert seen.few is not None
    assert seen.few.is_by_head == (tokens == 16)
    q, k, v = attention.queries(x), *attention.keys_values(source)
    plain = attention.output(torch.softmax(q @ k.mT * 32**-0.5, dim=-1) @ v)
    torch.testing.assert_close(attention.cross(x, seen, x.clone()), x + plain, atol=2e-4, rtol=0)
