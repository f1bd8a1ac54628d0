"""What a stage hands to the next: one block in one buffer, whose size never changes.

A buffer holds a header, the block's own sound, its latents, and its voice where a later stage still needs it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from liveavatar.config import ProfileConfig, TransformerConfig
from liveavatar.model.transformer import Voice

_ALIGNED = 64  # bytes; kernels may take other paths, and round otherwise, for tensors that begin elsewhere
_HEADER = ("kind", "number", "frames", "prompt", "latents", "samples")
BLOCK, END = 0, 1


@dataclass(frozen=True)
class Block:
    """A block on its way: x [1, C, F, H, W] at some level, its voice until decoding, and what belongs to it.

    frames: how many of its frames are shown. prompt: number of the stream's prompt that holds for it. samples: its sound,
    int16 [n].
    """

    number: int
    frames: int
    prompt: int
    latents: Tensor
    voice: Voice | None
    samples: np.ndarray

    def with_latents(self, latents: Tensor) -> Block:
        """The same block one stage further."""
        return replace(self, latents=latents)


@dataclass(frozen=True)
class _Part:
    """A tensor's place in the buffer."""

    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    def of(self, buffer: Tensor) -> Tensor:
        return buffer[self.start : self.start + self.nbytes].view(self.dtype).view(self.shape)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class MessageForm:
    """Where the parts of a message lie. Sound and header are read on the processor, whatever device the buffer is on."""

    def __init__(self, profile: ProfileConfig, voice: TransformerConfig | None, dtype: torch.dtype) -> None:
        """voice: sizes of the transformer that hears, None where no voice goes along; dtype: the voice's.

        Latents travel in float32, as a rollout holds them.
        """
        frames, samples = profile.block_latents, profile.block_frames * profile.samples_per_frame
        shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
            "header": ((len(_HEADER),), torch.int64),
            "samples": ((samples,), torch.int16),
            "latents": ((1, profile.transformer.in_dim, frames, *profile.latent_size), torch.float32),
        }
        if voice is not None:
            shapes["local"] = ((1, frames, voice.num_audio_token + 1, voice.dim), dtype)
            shapes["pooled"] = ((1, frames, voice.dim), dtype)
        self.parts: dict[str, _Part] = {}
        self.nbytes = 0
        for name, (shape, kind) in shapes.items():
            self.parts[name] = _Part(self.nbytes, shape, kind)
            self.nbytes += -(-self.parts[name].nbytes // _ALIGNED) * _ALIGNED

    @property
    def part_bytes(self) -> dict[str, int]:
        """Bytes of each part, for those who want to know what a block costs to send."""
        return {name: part.nbytes for name, part in self.parts.items()}

    def buffer(self, device: torch.device) -> Tensor:
        """An empty message."""
        return torch.zeros(self.nbytes, dtype=torch.uint8, device=device)

    def pack(self, block: Block, buffer: Tensor) -> None:
        """Write a block. A short first block fills the end of its part."""
        values = [BLOCK, block.number, block.frames, block.prompt, block.latents.shape[2], len(block.samples)]
        self._head(buffer, values)
        self.parts["samples"].of(buffer)[: len(block.samples)].copy_(torch.from_numpy(block.samples))
        self.parts["latents"].of(buffer)[:, :, -block.latents.shape[2] :].copy_(block.latents)
        if "local" in self.parts:
            if block.voice is None or block.voice.regions is not None:
                raise ValueError("a pipeline passes on the voice of one speaker; several speakers need one device")
            frames = block.voice.local.shape[1]
            self.parts["local"].of(buffer)[:, -frames:].copy_(block.voice.local)
            self.parts["pooled"].of(buffer)[:, -frames:].copy_(block.voice.pooled)

    def pack_end(self, buffer: Tensor, blocks: int) -> None:
        """Write that the stream is over after so many blocks."""
        self._head(buffer, [END, blocks, 0, 0, 0, 0])

    def unpack(self, buffer: Tensor) -> Block | None:
        """Read a block, whose tensors are the buffer's own memory; None: the stream is over."""
        header = dict(zip(_HEADER, self.parts["header"].of(buffer).tolist(), strict=True))
        if header["kind"] == END:
            return None
        frames = header["latents"]
        voice = None
        if "local" in self.parts:
            voice = Voice(self.parts["local"].of(buffer)[:, -frames:], self.parts["pooled"].of(buffer)[:, -frames:])
        samples = self.parts["samples"].of(buffer)[: header["samples"]].cpu().numpy().copy()
        latents = self.parts["latents"].of(buffer)[:, :, -frames:]
        return Block(header["number"], header["frames"], header["prompt"], latents, voice, samples)

    def _head(self, buffer: Tensor, values: list[int]) -> None:
        self.parts["header"].of(buffer).copy_(torch.tensor(values, dtype=torch.int64))
