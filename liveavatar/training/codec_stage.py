"""Stage 0: the linear code, then the VAE's decoder and the light decoder on its latents.

The linear code is fitted with patches around mouths counting many times: mouths are small and fast, and a code that
follows variance alone spends itself on backgrounds (lip correlation after coding 0.85 instead of 0.97, same size).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from liveavatar.config import FRAMES_PER_LATENT
from liveavatar.model.codec import Codec, silence_learned_parts
from liveavatar.model.light_decoder import LightDecoder, start_from_linear
from liveavatar.training.data import FrameShards, shard_files, split, step_generator

CROP = 64
MOUTH_CROP_SHARE = 0.6
BASIS_WINDOWS = 1500
MOUTH_PATCH_WEIGHT = 20.0
GRADIENT_WEIGHT = 0.5


def to_pixels(frames: Tensor) -> Tensor:
    """uint8 [..., F, H, W, 3] -> float [..., 3, F, H, W] in [-1, 1]."""
    return frames.movedim(-1, -4).float() / 127.5 - 1


def reconstruction_loss(decoded: Tensor, video: Tensor) -> Tensor:
    """L1 and L2 of pixels plus L1 of their horizontal and vertical differences, which keeps edges and mouths sharp."""
    error = decoded.float() - video
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + error.square().mean() + GRADIENT_WEIGHT * edges


def psnr(decoded: Tensor, video: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [-1, 1]."""
    return float(10 * torch.log10(4 / (decoded.float().clamp(-1, 1) - video).square().mean()))


@torch.no_grad()
def fit_basis(codec: Codec, shards: Path, seed: int) -> None:
    """Fit the linear code and its latent statistics on random windows of the training clips."""
    assert codec.basis is not None
    data, generator = FrameShards(split(shard_files(shards))[0]), step_generator(seed, "basis", 0)
    patches, weights = [], []
    for _ in range(BASIS_WINDOWS):
        frames, box = data.window(FRAMES_PER_LATENT, generator)
        grid = codec.basis.patches(to_pixels(frames)[None])[0, 0]
        height, width, _ = grid.shape
        weight = torch.ones(height, width)
        rows, columns = _mouth_slices(box, height, width, margin=0.1)
        weight[rows, columns] = MOUTH_PATCH_WEIGHT
        patches.append(grid.flatten(0, 1))
        weights.append(weight.flatten())
    codec.basis.fit(torch.cat(patches), torch.cat(weights))
    silence_learned_parts(codec)


class CodecStage:
    """Trains the VAE's own decoder on crops, most of them around the mouth; the linear code stays as it is."""

    window = 5

    def __init__(self, codec: Codec, shards: Path, seed: int, batch: int) -> None:
        train_files, held_files = split(shard_files(shards))
        self.model, self.seed, self.batch = codec, seed, batch
        codec.vae.encoder.requires_grad_(False)
        codec.vae.quant_conv.requires_grad_(False)
        self.data, self.held = FrameShards(train_files), FrameShards(held_files)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Crops for most steps, whole pictures for every eighth, so that the middle attention knows both."""
        generator = step_generator(self.seed, "codec", step)
        whole = step % 8 == 7
        count = self.batch // 2 if whole else self.batch
        video = torch.stack([self._sample(self.data, generator, whole) for _ in range(count)])
        picture = reconstruction_loss(self.model.decode_raw(self.model.encode_raw(video)), video)
        return picture, {"picture": picture.item()}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """PSNR of whole held-out pictures, all and around the mouth."""
        generator = step_generator(self.seed, "codec-held-out", 0)
        whole, mouth = [], []
        for _ in range(8):
            frames, box = self.held.window(self.window, generator)
            video = to_pixels(frames)[None]
            decoded = model.decode_raw(model.encode_raw(video))  # type: ignore[operator]
            whole.append(psnr(decoded, video))
            rows, columns = _mouth_slices(box, frames.shape[1], frames.shape[2])
            mouth.append(psnr(decoded[..., rows, columns], video[..., rows, columns]))
        return {"psnr": sum(whole) / len(whole), "mouth_psnr": sum(mouth) / len(mouth)}

    def _sample(self, data: FrameShards, generator: torch.Generator, whole: bool) -> Tensor:
        frames, box = data.window(self.window, generator)
        if whole:
            return to_pixels(frames)
        top, left = _crop_corner(box, frames.shape[1], frames.shape[2], generator)
        return to_pixels(frames[:, top : top + CROP, left : left + CROP])


class LightStage:
    """Trains the light decoder to give the pictures back from the frozen codec's latents."""

    window = 13

    def __init__(self, codec: Codec, decoder: LightDecoder, shards: Path, seed: int, batch: int) -> None:
        train_files, held_files = split(shard_files(shards))
        self.codec, self.model, self.seed, self.batch = codec.eval(), decoder, seed, batch
        if codec.basis is not None:
            start_from_linear(decoder, codec.basis.components, codec.basis.mean)
        self.data, self.held = FrameShards(train_files), FrameShards(held_files)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Pictures after the first latent; half of the loss is around the mouth."""
        generator = step_generator(self.seed, "light", step)
        samples = [self.data.window(self.window, generator) for _ in range(self.batch)]
        video = to_pixels(torch.stack([frames for frames, _ in samples]))
        decoded = self._decode(video)
        target = video[:, :, 1:]
        mouths = [
            reconstruction_loss(decoded[i][..., rows, columns], target[i][..., rows, columns])
            for i, (frames, box) in enumerate(samples)
            for rows, columns in [_mouth_slices(box, *frames.shape[1:3])]
        ]
        picture, mouth = reconstruction_loss(decoded, target), torch.stack(mouths).mean()
        return picture + 0.3 * mouth, {"picture": picture.item(), "mouth": mouth.item()}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """PSNR of held-out pictures from the light decoder."""
        del model
        generator = step_generator(self.seed, "light-held-out", 0)
        whole, mouth = [], []
        for _ in range(8):
            frames, box = self.held.window(self.window, generator)
            video = to_pixels(frames)[None]
            decoded, target = self._decode(video), video[:, :, 1:]
            rows, columns = _mouth_slices(box, *frames.shape[1:3])
            whole.append(psnr(decoded, target))
            mouth.append(psnr(decoded[..., rows, columns], target[..., rows, columns]))
        return {"psnr": sum(whole) / len(whole), "mouth_psnr": sum(mouth) / len(mouth)}

    def _decode(self, video: Tensor) -> Tensor:
        with torch.no_grad():
            latents = self.codec.encode(video)
        memory = torch.cat([torch.zeros_like(latents[:, :, :1]), latents], dim=2)
        return self.model(memory)


def _mouth_slices(box: Tensor, height: int, width: int, margin: float = 0.5) -> tuple[slice, slice]:
    """Rows and columns of the mouth with a margin, as a share of its size."""
    x0, y0, x1, y1 = box.tolist()
    mx, my = (x1 - x0) * margin, (y1 - y0) * margin
    top, left = max(0, int((y0 - my) * height)), max(0, int((x0 - mx) * width))
    bottom, right = min(height, int((y1 + my) * height) + 1), min(width, int((x1 + mx) * width) + 1)
    return slice(min(top, height - 1), max(bottom, top + 1)), slice(min(left, width - 1), max(right, left + 1))


def _crop_corner(box: Tensor, height: int, width: int, generator: torch.Generator) -> tuple[int, int]:
    """Top-left corner of a crop: often with the mouth inside, else anywhere; multiples of the spatial factor."""
    rows, columns = height - CROP, width - CROP
    top, left = (torch.rand(2, generator=generator) * torch.tensor([rows + 8.0, columns + 8.0])).tolist()
    if torch.rand(1, generator=generator) < MOUTH_CROP_SHARE:
        x, y = float(box[0] + box[2]) / 2 * width, float(box[1] + box[3]) / 2 * height
        jitter = (torch.rand(2, generator=generator) * 24 - 12).tolist()
        top, left = y - CROP / 2 + jitter[0], x - CROP / 2 + jitter[1]
    return int(min(max(top, 0), rows)) // 8 * 8, int(min(max(left, 0), columns)) // 8 * 8
