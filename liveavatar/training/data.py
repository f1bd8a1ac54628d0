"""Training data: shards of rendered clips, and shards of latents made from them.

Both are safetensors files. Which samples a step sees is a pure function of (seed, step), so a resumed run continues as
if it had never stopped. The last shard in name order is held out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from liveavatar.config import AudioConfig, ProfileConfig
from liveavatar.model.audio import HISTORY_ROWS
from liveavatar.model.speech_encoder import CONTEXT_ROWS
from liveavatar.streaming.features import samples_for_rows, voice_rows
from liveavatar.streaming.noise import keyed_generator

IN_MEMORY_BYTES = 8 << 30
LEAD_FRAMES = 16  # audio frames before frame 0 in a clip's samples


def shard_files(folder: Path) -> list[Path]:
    """The folder's shards in name order; raises FileNotFoundError saying how to make some."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"no *.safetensors shards in {folder}; make some: python -m genbench shards --out {folder}")
    return files


def split(files: list[Path], held_out: int = 1) -> tuple[list[Path], list[Path]]:
    """Training files and held-out files; with a single file both are that file."""
    return (files[:-held_out], files[-held_out:]) if len(files) > held_out else (files, files)


def metadata(path: Path) -> dict[str, object]:
    """The JSON facts stored in a shard's header, flattened into one dictionary."""
    with safe_open(path, "pt") as shard:
        return {key: json.loads(text) for key, text in (shard.metadata() or {}).items()}


class FrameShards:
    """Random frame windows of rendered clips, read from disk on demand."""

    def __init__(self, files: list[Path]) -> None:
        self.shards = [safe_open(file, "pt") for file in files]
        self.clips = [shard.get_slice("frames").get_shape()[0] for shard in self.shards]
        self.frames = self.shards[0].get_slice("frames").get_shape()[1]

    def window(self, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """uint8 frames [length, H, W, 3] and mouth box [4] (0..1) of a random window."""
        shard_index = _draw(len(self.shards), generator)
        shard, clip = self.shards[shard_index], _draw(self.clips[shard_index], generator)
        start = _draw(self.frames - length + 1, generator)
        frames = shard.get_slice("frames")[clip : clip + 1, start : start + length][0]
        box = shard.get_slice("mouth_box")[clip : clip + 1, start : start + length][0].mean(0)
        return frames, box


@dataclass(frozen=True)
class LatentBatch:
    """Clips for stage 1. F = latent frames without the first, which codes the frame before the clip."""

    latents: Tensor  # [B, z, F, h, w]
    before: Tensor  # [B, z, 1, h, w]: the frame before the clip, coded alone
    references: Tensor  # [B, 2, z, h, w]: other moments of the same character, coded alone
    channels: Tensor  # [B, z] what each latent channel weighs in the loss, mean 1
    samples: Tensor | None = None  # [B, n] float audio, LEAD_FRAMES before the frame before the clip
    audio_rows: Tensor | None = None  # or [B, layers, C, HISTORY_ROWS + 4F] features, made beforehand
    words: Tensor | None = None  # [B, text_len] word ids
    text_rows: Tensor | None = None  # or [B, n, text_dim] encoded text
    mouth: Tensor | None = None  # [B, F, 4] mouth box per latent frame, 0..1, where it is known
    opening: Tensor | None = None  # [B, 4F] how far the mouth is truly open, where that is known

    def rows(self, index: slice) -> LatentBatch:
        """Some of the clips."""
        return replace(self, **{name: part[index] for name, part in self._given().items()})

    def to(self, device: torch.device) -> LatentBatch:
        """All of it on a device."""
        return replace(self, **{name: part.to(device) for name, part in self._given().items()})

    def _given(self) -> dict[str, Any]:
        return {name: part for name, part in vars(self).items() if part is not None}

    def with_voices_swapped(self) -> LatentBatch:
        """Every clip with another clip's voice."""
        voices = {name: getattr(self, name) for name in ("samples", "audio_rows")}
        return replace(self, **{name: voice.roll(1, 0) for name, voice in voices.items() if voice is not None})


class LatentShards:
    """Clips of latent shards; batches are drawn by (seed, step), so any number of processes sees one order."""

    def __init__(self, files: list[Path], max_bytes: int = IN_MEMORY_BYTES) -> None:
        """Shards of up to `max_bytes` together are read at once; rows of larger ones when they are asked for."""
        handles = [safe_open(file, "pt") for file in files]
        self.tensors: dict[str, Tensor] = {}
        self._stored: _StoredRows | None = None
        if sum(file.stat().st_size for file in files) <= max_bytes:
            parts: dict[str, list[Tensor]] = {}
            for shard in handles:
                for name in shard.keys():  # noqa: SIM118 (a safetensors handle is no dictionary)
                    parts.setdefault(name, []).append(shard.get_tensor(name))
            self.tensors = {name: torch.cat(padded(tensors)) for name, tensors in parts.items()}
        else:
            self._stored = _StoredRows(handles)

    def __len__(self) -> int:
        return len(self._stored) if self._stored is not None else self.tensors["latents"].shape[0]

    def batch(self, size: int, generator: torch.Generator) -> LatentBatch:
        """`size` random clips."""
        return self.take(torch.randint(len(self), (size,), generator=generator))

    def take(self, index: Tensor) -> LatentBatch:
        """The clips of an index tensor."""
        stored = self._stored
        t = stored.rows(index) if stored is not None else {name: tensor[index] for name, tensor in self.tensors.items()}
        latents = t["latents"].float()
        clip, before = latents[:, :, 1:], latents[:, :, :1]
        channels = t["channels"] if "channels" in t else torch.ones(latents.shape[:2])
        return LatentBatch(
            clip,
            before,
            t["references"].float(),
            channels,
            samples=t["audio"].float() / 32768 if "audio" in t else None,
            audio_rows=t["audio_rows"].float() if "audio_rows" in t else None,
            words=t.get("words"),
            text_rows=t["text_rows"].float() if "text_rows" in t else None,
            mouth=t["mouth_box"][:, 1:].unflatten(1, (-1, 4)).mean(2) if "mouth_box" in t else None,
            opening=t["truth.mouth_open"][:, 1:] if "truth.mouth_open" in t else None,
        )


class _StoredRows:
    """Rows of many shards read from disk as they are wanted: safetensors files are mapped, a row costs its own bytes."""

    def __init__(self, shards: list[Any]) -> None:
        self.shards = shards
        counts = [shard.get_slice("latents").get_shape()[0] for shard in shards]
        self.ends = torch.tensor(counts).cumsum(0)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def rows(self, index: Tensor) -> dict[str, Tensor]:
        parts: dict[str, list[Tensor]] = {}
        for clip in index.tolist():
            number = int(torch.searchsorted(self.ends, clip, right=True))
            row = clip - (int(self.ends[number - 1]) if number else 0)
            shard = self.shards[number]
            for name in shard.keys():  # noqa: SIM118
                parts.setdefault(name, []).append(shard.get_slice(name)[row : row + 1])
        return {name: torch.cat(padded(tensors)) for name, tensors in parts.items()}


def padded(tensors: list[Tensor]) -> list[Tensor]:
    """Tensors that may differ in their second size (texts) to the longest, with zeros, which mean "no more text"."""
    if tensors[0].dim() < 2 or len({tensor.shape[1] for tensor in tensors}) == 1:
        return tensors
    longest = max(tensor.shape[1] for tensor in tensors)
    behind = [0, 0] * (tensors[0].dim() - 2)
    return [F.pad(tensor, (*behind, 0, longest - tensor.shape[1])) for tensor in tensors]


DROPPED_TEXT = "dropped_text"  # file beside the shards: rows of the prompt that stands for no text


def read_dropped_text(folder: Path, text_dim: int) -> Tensor:
    """The folder's rows [1, n, text_dim] for a dropped text; a single zero row where it has none."""
    file = folder / f"{DROPPED_TEXT}.st"
    if not file.exists():
        return torch.zeros(1, 1, text_dim)
    with safe_open(file, "pt") as stored:
        return stored.get_tensor(DROPPED_TEXT)


def step_generator(seed: int, stream: str, step: int) -> torch.Generator:
    """The generator of one stream of randomness at one step."""
    return keyed_generator("training", seed, stream, step)


def random_gain(count: int, generator: torch.Generator) -> Tensor:
    """Loudness factors [count, 1] between -12 dB and +8 dB."""
    return 10 ** (torch.rand(count, 1, generator=generator) - 0.6)


def clip_mels(profile: ProfileConfig, samples: Tensor, frames: int) -> Tensor:
    """A shard's samples [B, n] -> rows of mel columns [B, CONTEXT_ROWS + HISTORY_ROWS + frames, C], the clip's last."""
    audio, per_frame = profile.audio, profile.samples_per_frame
    assert isinstance(audio, AudioConfig)
    # The clip's first frame is the shard's frame 1: frame 0 is the one before the clip.
    before = CONTEXT_ROWS + HISTORY_ROWS
    first = LEAD_FRAMES + 1 + audio.look_ahead_frames - before
    stop = first * per_frame + samples_for_rows(audio, frames + before, per_frame)
    with torch.autocast(samples.device.type, enabled=False):  # as the stream has it: not in 16 bits
        return voice_rows(samples[:, first * per_frame : stop], audio, per_frame)


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=generator))
