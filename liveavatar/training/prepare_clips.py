"""Videos to latent shards: what stages 1 and 2 read, encoded once. Encoders of nano and of the 14B profile.

Shards are safetensors files that are mapped when read: any row is read alone, nothing is pickled, and the file that a
stage trains from is the file that is looked at. A tar of single files (WebDataset) buys streaming from object stores,
which costs random access and so the exact order of samples on resuming.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor

from liveavatar.config import FRAMES_PER_LATENT, AudioConfig, ProfileConfig
from liveavatar.model.audio import HISTORY_ROWS
from liveavatar.model.codec import Codec
from liveavatar.model.text import HashedWords
from liveavatar.streaming.audio_bucket import frame_rows, to_grid_rate
from liveavatar.streaming.features import samples_for_rows
from liveavatar.training.codec_stage import to_pixels
from liveavatar.training.data import DROPPED_TEXT, LEAD_FRAMES, padded, step_generator
from liveavatar.training.video_clips import (
    FPS,
    Clip,
    ClipOptions,
    Filter,
    read_clip,
    read_scores,
    video_files,
    window_starts,
)

logger = logging.getLogger(__name__)


class ClipEncoders(Protocol):
    """What a profile makes of pictures, voices and prompts."""

    codec: Codec

    def voice(self, samples: Tensor, starts: list[int], frames: int) -> dict[str, Tensor]:
        """Tensors per window, of samples [n] and the windows' first frames."""

    def text(self, prompt: str, windows: int) -> dict[str, Tensor]:
        """Tensors per window."""

    def dropped_text(self) -> Tensor | None:
        """Rows [1, n, text_dim] that stand for no text, where the profile has such."""


class NanoEncoders:
    """Nano keeps samples and word ids: its own networks encode them as they train."""

    def __init__(self, profile: ProfileConfig, codec: Codec) -> None:
        self.profile, self.codec = profile, codec
        self.words = HashedWords(profile.transformer.text_dim, profile.transformer.text_len)

    def voice(self, samples: Tensor, starts: list[int], frames: int) -> dict[str, Tensor]:
        """int16 samples from LEAD_FRAMES before the frame before each window, with the front end's look-ahead after it."""
        per_frame, audio = self.profile.samples_per_frame, self.profile.audio
        assert isinstance(audio, AudioConfig)
        after = audio.look_ahead_frames + -(-samples_for_rows(audio, 1, per_frame) // per_frame)
        length = (LEAD_FRAMES + 1 + frames + after) * per_frame
        around = torch.nn.functional.pad(samples, (LEAD_FRAMES * per_frame, after * per_frame))
        parts = [around[(start - 1) * per_frame :][:length] for start in starts]
        return {"audio": (torch.stack(parts).clamp(-1, 1) * 32767).round().to(torch.int16)}

    def text(self, prompt: str, windows: int) -> dict[str, Tensor]:
        """Word ids."""
        return {"words": self.words.word_ids(prompt).expand(windows, -1)}

    def dropped_text(self) -> Tensor | None:
        """Nano learns its own."""
        return None


class OfficialEncoders:
    """The 14B profile keeps wav2vec2's states at frame rate, heard over the whole video, and UMT5's rows."""

    def __init__(
        self,
        codec: Codec,
        hear: Callable[[Tensor], Tensor],
        read: Callable[[list[str]], Tensor],
        negative_prompt: str,
    ) -> None:
        """hear: samples [n] -> states [layers, rows at 50 Hz, C]; read: prompts -> rows, zero after the last token."""
        self.codec, self.hear, self.read, self.negative_prompt = codec, hear, read, negative_prompt

    def voice(self, samples: Tensor, starts: list[int], frames: int) -> dict[str, Tensor]:
        """Rows of every window's frames and of the HISTORY_ROWS before them; before the video the first row stands."""
        rows = frame_rows(to_grid_rate(self.hear(samples)), max(starts) + frames, FPS)
        before = rows[:1].expand(HISTORY_ROWS, -1, -1)
        rows = torch.cat([before, rows]).permute(1, 2, 0)  # [layers, C, rows]
        return {"audio_rows": torch.stack([rows[..., start : start + HISTORY_ROWS + frames] for start in starts]).half()}

    def text(self, prompt: str, windows: int) -> dict[str, Tensor]:
        """Rows up to the prompt's last token."""
        return {"text_rows": self._rows(prompt).expand(windows, -1, -1)}

    def dropped_text(self) -> Tensor | None:
        """The negative prompt."""
        return self._rows(self.negative_prompt)

    def _rows(self, prompt: str) -> Tensor:
        rows = self.read([prompt]).cpu()
        used = int(rows.abs().amax(-1)[0].gt(0).nonzero().max()) + 1
        return rows[:, :used].to(torch.bfloat16)


def prepare_clips(
    encoders: ClipEncoders,
    videos: Path,
    latents: Path,
    options: ClipOptions,
    scores: Path | None = None,
    prompts: dict[str, str] | None = None,
    part: int = 0,
    parts: int = 1,
    windows_per_shard: int = 256,
) -> Filter:
    """Every `parts`-th video of a folder to shards in `latents`; shards that are there are left as they are.

    prompts: by video name; "" stands for every other name. Returns the filter with what it left out, which is also
    written to `left_out-PART.json`. Raises ValueError where scores and rules do not come together.
    """
    if bool(options.rules) != (scores is not None):
        raise ValueError("rules need --scores FILE, and a file of scores needs rules: --keep 'sync_c>=3'")
    chosen = Filter(read_scores(scores) if scores else {}, options.rules)
    latents.mkdir(parents=True, exist_ok=True)
    names = prompts or {}
    dropped = encoders.dropped_text()
    if dropped is not None:
        save_file({DROPPED_TEXT: dropped.contiguous()}, latents / f"{DROPPED_TEXT}.st")
    files = [path for path in video_files(videos)[part::parts] if chosen.keeps(path.stem)]
    waiting: list[dict[str, Tensor]] = []
    written = 0
    for path in files:
        clip = read_clip(path, options, names.get(path.stem, names.get("", "")))
        if clip is None:
            chosen.left_out[path.stem] = f"shorter than {options.min_seconds} s"
            continue
        waiting += encode_windows(encoders, clip, options)
        while len(waiting) >= windows_per_shard:
            _write(latents, part, written, waiting[:windows_per_shard], options)
            waiting, written = waiting[windows_per_shard:], written + 1
    if waiting:
        _write(latents, part, written, waiting, options)
    (latents / f"left_out-{part}.json").write_text(json.dumps(chosen.left_out, indent=1) + "\n")
    return chosen


@torch.no_grad()
def encode_windows(encoders: ClipEncoders, clip: Clip, options: ClipOptions) -> list[dict[str, Tensor]]:
    """A clip's windows, one dictionary of tensors each, without a batch axis.

    References: the video's first frame, and one from outside the window (where there is one), each coded alone.
    """
    starts, frames = window_starts(len(clip.frames), options), options.window_frames
    if frames % FRAMES_PER_LATENT:
        raise ValueError(f"window_frames={frames}: give a multiple of {FRAMES_PER_LATENT}")
    samples = torch.from_numpy(clip.samples)
    shared = {**encoders.voice(samples, starts, frames), **encoders.text(clip.prompt, len(starts))}
    device = next(encoders.codec.parameters()).device
    pictures = torch.from_numpy(clip.frames)

    def code(shown: Tensor) -> Tensor:
        return encoders.codec.encode(to_pixels(shown)[None].to(device))[0].cpu().half()

    first, windows = code(pictures[:1])[:, 0], []
    for index, start in enumerate(starts):
        outside = [*range(start - 1), *range(start + frames, len(pictures))] or [0]
        drawn = int(torch.randint(len(outside), (1,), generator=step_generator(0, f"reference-{clip.name}", index)))
        other = code(pictures[outside[drawn]][None])[:, 0]
        windows.append(
            {
                "latents": code(pictures[start - 1 : start + frames]),
                "references": torch.stack([first, other]),
                "channels": encoders.codec.channel_weights(),
                **{name: value[index] for name, value in shared.items()},
            }
        )
    return windows


def _write(folder: Path, part: int, number: int, windows: list[dict[str, Tensor]], options: ClipOptions) -> None:
    """One shard, by rename."""
    target = folder / f"clips-{part:03d}-{number:05d}.safetensors"
    partial = target.with_suffix(".partial")
    tensors = {name: torch.cat(padded([window[name][None] for window in windows])) for name in windows[0]}
    facts = {"options": json.dumps(asdict(options)), "windows": json.dumps(len(windows))}
    save_file({name: value.contiguous() for name, value in tensors.items()}, partial, facts)
    os.replace(partial, target)
    logger.info("wrote %s: %d windows", target.name, len(windows))
