"""What a streamed block costs at nano sizes: denoising per variant, and decoding per decoder. Compare within one run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from liveavatar.config import RolloutOptions, nano
from liveavatar.model.codec import Codec, VaeStreamDecoder
from liveavatar.model.light_decoder import LightDecoder, LightStreamDecoder
from liveavatar.model.transformer import S2VTransformer, initialise
from liveavatar.streaming.rollout import Rollout

PROFILE = nano()
BLOCK = (1, PROFILE.transformer.in_dim, PROFILE.block_latents, *PROFILE.latent_size)
WARM_BLOCKS = 5  # after these the window is full and a block costs what every later one does


@pytest.fixture(scope="module")
def model() -> S2VTransformer:
    torch.set_num_threads(1)
    made = S2VTransformer(PROFILE.transformer)
    initialise(made, torch.Generator().manual_seed(0))
    return made.eval().requires_grad_(False)


@torch.inference_mode()
@pytest.mark.parametrize("variant", [{}, {"cache": "clean"}, {"steps": 2}], ids=["timestep", "clean", "two-steps"])
def test_denoising_one_block(benchmark: Callable[..., object], model: S2VTransformer, variant: dict[str, object]) -> None:
    c = PROFILE.transformer
    text = model.encode_text(torch.randn(1, c.text_len, c.text_dim))
    voice = model.encode_audio(torch.randn(1, c.audio_layers, c.audio_dim, PROFILE.block_frames))
    sink = torch.randn(1, c.in_dim, 1, *PROFILE.latent_size)
    rollout = Rollout(model, RolloutOptions(**variant), text, sink, PROFILE.block_latents)  # type: ignore[arg-type]
    for _ in range(WARM_BLOCKS):
        rollout.denoise(torch.randn(BLOCK), voice)
    with torch.inference_mode():
        benchmark(rollout.denoise, torch.randn(BLOCK), voice)


@pytest.mark.parametrize("kind", ["light", "vae"])
def test_decoding_one_block(benchmark: Callable[..., object], kind: str) -> None:
    torch.set_num_threads(1)
    codec = Codec(PROFILE.codec).eval()
    stream = VaeStreamDecoder(codec) if kind == "vae" else LightStreamDecoder(LightDecoder(PROFILE.codec))
    with torch.inference_mode():
        stream.prime(torch.randn(1, BLOCK[1], 1, *PROFILE.latent_size))
        benchmark(stream.decode, torch.randn(BLOCK))
