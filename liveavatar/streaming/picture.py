"""What a stream makes of its picture before the first block: sink latent, still history, the decoder's own past.

A codec is anything with `encode` and `decode` of `model/codec.py`; no network is run here but that one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from liveavatar.config import FRAMES_PER_LATENT, RolloutOptions
from liveavatar.streaming.rollout import Recode

PRIMING_LATENTS = 7  # of the still picture, which the release shows its decoder before the stream


class Coding(Protocol):
    """Video [B, 3, 1+4k, H, W] in [-1, 1] to and from normalised latents [B, z, 1+k, h, w]."""

    def encode(self, video: Tensor) -> Tensor: ...

    def decode(self, latents: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class PictureLatents:
    """sink [1, z, 1, h, w]; motion [1, z, T, h, w], oldest first, or None; priming [1, z, P, h, w] for the decoder."""

    sink: Tensor
    motion: Tensor | None
    priming: Tensor


def picture_latents(codec: Coding, picture: Tensor, options: RolloutOptions, motion_latents: int) -> PictureLatents:
    """Code a picture [1, 3, 1, H, W] in [-1, 1] in the ways that `reference`, `motion` and `prime` name.

    motion_latents: how many the model looks at. The codec is causal: the first latents of a longer still video are those of
    a shorter one, so one encode serves motion and priming.
    """
    alone = codec.encode(picture)
    sink = alone if options.reference == "alone" else codec.encode(still(picture, 1 + FRAMES_PER_LATENT))[:, :, 1:]
    history = options.still_frames if options.motion == "still" else 0
    priming = 1 + FRAMES_PER_LATENT * (PRIMING_LATENTS - 1) if options.prime == "still" else 0
    coded = codec.encode(still(picture, max(history, priming))) if history or priming else alone
    motion = coded[:, :, : 1 + (history - 1) // FRAMES_PER_LATENT][:, :, -motion_latents:] if history else None
    return PictureLatents(sink, motion, coded[:, :, :PRIMING_LATENTS] if priming else alone)


def still(picture: Tensor, frames: int) -> Tensor:
    """A picture [1, 3, 1, H, W] as a video of `frames` equal frames."""
    return picture.expand(-1, -1, frames, -1, -1)


def recoder(codec: Coding, reference: Tensor) -> Recode:
    """For aas_content="recoded": the first frame that a stream shows, coded alone as the reference picture was.

    reference [1, z, 1, h, w]: the latent coded alone that the decoder saw before; the next latent's first frame is the
    stream's first.
    """

    def recode(latent: Tensor) -> Tensor:
        frames = codec.decode(torch.cat([reference, latent], dim=2))
        return codec.encode(frames[:, :, 1:2])

    return recode
