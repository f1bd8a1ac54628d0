"""The official video codec against its reference: encode, whole decode, and decode of a stream in pieces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from liveavatar.checkpoints.files import open_files
from liveavatar.checkpoints.store import WeightsError
from liveavatar.checkpoints.vae import load_codec
from liveavatar.config import CodecConfig
from liveavatar.model.codec import Codec, VaeStreamDecoder
from tests.liveavatar.golden import golden, with_prefix

TOLERANCE = {"atol": 2e-5, "rtol": 0}


def layout(config: dict[str, Any]) -> CodecConfig:
    return CodecConfig(
        z_dim=config["z_dim"],
        base_dim=config["dim"],
        dim_mult=tuple(config["dim_mult"]),
        num_res_blocks=config["num_res_blocks"],
        temporal_downsample=tuple(config["temporal_downsample_encoder"]),
        is_residual=False,
        linear_skip=False,
        pixel_patch=1,
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Codec, dict[str, Tensor], dict[str, Any]]:
    tensors, config = golden("vae")
    file = tmp_path_factory.mktemp("vae") / "vae.pth"
    torch.save(with_prefix(tensors, "sd."), file)
    return load_codec(open_files(file), "cpu", config=layout(config)), tensors, config


@torch.no_grad()
def test_latents_are_the_reference(reference: tuple) -> None:
    codec, tensors, _ = reference
    torch.testing.assert_close(codec.encode(tensors["in.video"]), tensors["out.latent"], **TOLERANCE)


@torch.no_grad()
def test_whole_decode_is_the_reference(reference: tuple) -> None:
    codec, tensors, _ = reference
    torch.testing.assert_close(codec.decode(tensors["in.latent"]), tensors["out.video"].clamp(-1, 1), **TOLERANCE)
    unclamped = VaeStreamDecoder(codec).decode_unclamped(tensors["in.latent"])
    torch.testing.assert_close(unclamped, tensors["out.video"], **TOLERANCE)


@torch.no_grad()
def test_streamed_decode_is_whole_decode_in_the_reference_pieces(reference: tuple) -> None:
    codec, tensors, config = reference
    stream = VaeStreamDecoder(codec)
    pieces = [stream.decode_unclamped(part) for part in tensors["in.latent"].split(config["stream_chunks"], dim=2)]
    assert [piece.shape[2] for piece in pieces] == tensors["out.stream_lengths"].tolist()
    torch.testing.assert_close(torch.cat(pieces, dim=2), tensors["out.video"], **TOLERANCE)


@torch.no_grad()
def test_two_streams_of_one_codec_do_not_meet(reference: tuple) -> None:
    codec, tensors, _ = reference
    latents = tensors["in.latent"]
    first, second = VaeStreamDecoder(codec), VaeStreamDecoder(codec)
    begin = first.decode(latents[:, :, :2])
    second.decode(-latents[:, :, :3])
    codec.decode(latents[:, :, 4:])
    together = torch.cat([begin, first.decode(latents[:, :, 2:4])], dim=2)
    torch.testing.assert_close(together, codec.decode(latents[:, :, :4]), **TOLERANCE)


@torch.no_grad()
def test_a_primed_stream_continues_the_primed_latents(reference: tuple) -> None:
    codec, tensors, _ = reference
    stream, latents = VaeStreamDecoder(codec), tensors["in.latent"]
    stream.prime(latents[:, :, :3])
    torch.testing.assert_close(stream.decode(latents[:, :, 3:]), codec.decode(latents)[:, :, 9:], **TOLERANCE)


def test_the_width_is_read_from_the_file_and_other_files_are_refused(tmp_path: Path) -> None:
    tensors, config = golden("vae")
    weights = with_prefix(tensors, "sd.")
    save_file(weights, tmp_path / "vae.safetensors")
    codec = load_codec(open_files(tmp_path), "cpu", torch.bfloat16)
    assert codec.config == layout(config)
    assert {value.dtype for value in codec.state_dict().values()} == {torch.bfloat16}
    weights["decoder.upsamples.15.residual.0.gamma"] = torch.ones(4, 1, 1, 1)
    del weights["decoder.conv1.bias"]
    save_file(weights, tmp_path / "vae.safetensors")
    with pytest.raises(WeightsError, match=r"1 missing: decoder\.conv_in\.bias; 1 unknown: decoder\.upsamples\.15"):
        load_codec(open_files(tmp_path), "cpu")
    save_file({"a": torch.zeros(1)}, tmp_path / "vae.safetensors")
    with pytest.raises(WeightsError, match="not the official video codec"):
        load_codec(open_files(tmp_path), "cpu")
