"""The official video codec, `Wan2.1_VAE.pth`: its sizes, latent statistics and names, and how it is loaded.

The function is diffusers' `AutoencoderKLWan`; only names differ.
"""

from __future__ import annotations

import torch

from liveavatar.checkpoints.files import TensorSource
from liveavatar.checkpoints.load import load_into, replace_tensor
from liveavatar.checkpoints.store import WeightsError
from liveavatar.config import CodecConfig
from liveavatar.model.codec import Codec

# Mean and spread per channel of the posterior means, published with the codec; they are not in its file.
LATENTS_MEAN: tuple[float, ...] = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508)
LATENTS_MEAN += (0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)
LATENTS_STD: tuple[float, ...] = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743)
LATENTS_STD += (3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)


def wan_codec(base_dim: int = 96) -> CodecConfig:
    """The official codec's layout: 16 channels, 8x8 pixels and 4 frames per latent; `base_dim` 96 is the published size."""
    return CodecConfig(
        z_dim=16,
        base_dim=base_dim,
        dim_mult=(1, 2, 4, 4),
        num_res_blocks=2,
        temporal_downsample=(False, True, True),
        is_residual=False,
        linear_skip=False,
        pixel_patch=1,
    )


def codec_key_map(names: list[str]) -> dict[str, str]:
    """Official name -> diffusers' name; names that diffusers does not know map to themselves."""
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    converted = convert_wan_vae_to_diffusers({name: name for name in names})
    return {official: name for name, official in converted.items()}


def load_codec(
    source: TensorSource,
    device: torch.device | str,
    dtype: torch.dtype | None = torch.float32,
    config: CodecConfig | None = None,
) -> Codec:
    """The codec with the file's weights, in evaluation mode.

    config: None reads the width from the file. Raises WeightsError as `load_into` does.
    """
    if config is None:
        stem = source.tensors.get("encoder.conv1.weight")
        if stem is None:
            raise WeightsError(f"{source.files[0]} has no encoder.conv1.weight; it is not the official video codec")
        config = wan_codec(stem.shape[0])
    with torch.device("meta"):
        codec = Codec(config)
    key_map = codec_key_map(list(source.tensors))
    load_into(codec.vae, source, device, dtype, key_map=key_map.__getitem__)
    for name, values in (("latents_mean", LATENTS_MEAN), ("latents_std", LATENTS_STD)):
        replace_tensor(codec, name, torch.tensor(values, device=device, dtype=dtype or torch.float32))
    return codec.eval().requires_grad_(False)
