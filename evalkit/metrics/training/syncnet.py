"""Recipe of the nano SyncNet: among all sound windows of the batch, name the one that belongs to a mouth window.

The choice is a softmax over minus the distance of unnormalised embeddings, so distances become meaningful in the
sense of Sync-D and Sync-C. Wrong answers are every other moment of the same clip, one frame off included, and every
moment of the other clips.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from evalkit.metrics.mfcc import mfcc
from evalkit.metrics.sync_distance import shift_distances, summarise
from evalkit.metrics.syncnet import (
    AUDIO_COLUMNS,
    AUDIO_COLUMNS_PER_FRAME,
    WINDOW_FRAMES,
    SyncNet,
    audio_windows,
    nano_syncnet,
)
from evalkit.metrics.training.augment import happens, uniform
from evalkit.metrics.training.coded import through_codec
from evalkit.metrics.training.data import AUDIO_LEAD_FRAMES, SAMPLES_PER_FRAME, ShardSet
from evalkit.metrics.training.faces import crop_clip, training_crops, typical_box
from evalkit.metrics.training.loop import Task

CLIPS_PER_STEP = 14
CODED_SHARE = 0.15
NOISY_SHARE = 0.5
NOISE_RMS_DECADES = (0.0, 2.0)
GAIN_DECADES = (-0.4, 0.1)
MIN_OPENING_SPREAD = 0.05


class SyncTask(Task):
    """Symmetric InfoNCE between mouth and sound windows."""

    name = "syncnet"
    network: SyncNet

    def __init__(self, train: ShardSet, held_out: ShardSet):
        self.network = SyncNet(nano_syncnet())
        self.network.netcnnlip.to(memory_format=torch.channels_last_3d)
        self.network.netcnnaud.to(memory_format=torch.channels_last)
        self.extra = nn.Module()
        self._train, self._held_out = train, held_out
        self._speaking = [clip for clip in range(len(train)) if _speaks(train, clip)]

    def loss(self, generator: Generator) -> tuple[Tensor, dict[str, float]]:
        chosen = torch.randint(len(self._speaking), (CLIPS_PER_STEP,), generator=generator).tolist()
        faces, windows = zip(*(self._clip(self._speaking[index], generator) for index in chosen), strict=True)
        with torch.autocast("cpu", torch.bfloat16):
            clips = torch.stack(faces).transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)
            video = self.network.lip(clips).float()
            audio = self.network.audio(torch.cat(windows).contiguous(memory_format=torch.channels_last)).float()
        return matching_loss(video, audio.view(len(chosen), -1, audio.shape[-1]), AUDIO_LEAD_FRAMES)

    def validate(self) -> dict[str, Any]:
        clips = [clip for clip in range(len(self._held_out)) if _speaks(self._held_out, clip)]
        embeddings = [self._embed(clip) for clip in clips]
        truth = [summarise(shift_distances(video, audio)) for video, audio in embeddings]
        # Another clip's voice, from a different place in the list.
        swapped = [
            summarise(shift_distances(video, embeddings[(index + 7) % len(clips)][1]))
            for index, (video, _) in enumerate(embeddings)
        ]
        cells: dict[str, list[float]] = {}
        for clip, result in zip(clips, truth, strict=True):
            info = self._held_out.infos[clip]
            cells.setdefault(f"{info.style}/{info.composition}", []).append(result.confidence)
        return {
            "clips": len(clips),
            "offset_exact": float(np.mean([result.offset_frames == 0 for result in truth])),
            "offset_within_1": float(np.mean([abs(result.offset_frames) <= 1 for result in truth])),
            "sync_c": float(np.mean([result.confidence for result in truth])),
            "sync_d": float(np.mean([result.distance for result in truth])),
            "sync_c_swapped": float(np.mean([result.confidence for result in swapped])),
            "sync_d_swapped": float(np.mean([result.distance for result in swapped])),
            "sync_c_above_swapped": float(
                np.mean([t.confidence > s.confidence for t, s in zip(truth, swapped, strict=True)])
            ),
            "sync_c_by_cell": {cell: round(float(np.mean(values)), 3) for cell, values in sorted(cells.items())},
        }

    def _clip(self, clip: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Faces [F, 3, h, w] and all sound windows [F + 19, 1, 13, 20] of one training clip."""
        frames, audio = self._train.frames(clip), self._train.audio(clip)
        if happens(generator, CODED_SHARE):
            crf = int(torch.randint(18, 31, (1,), generator=generator))
            pictures, audio = through_codec(frames.numpy(), audio, crf)
            frames = torch.from_numpy(pictures)
        faces = training_crops(self._train, clip, frames, self.network.config.face_size, generator)
        return faces, _windows(_disturb_sound(audio, generator))

    def _embed(self, clip: int) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings [N, D] of mouth and of the sound at the same moments."""
        data = self._held_out
        frames = data.frames(clip)
        faces = crop_clip(frames, typical_box(data.face_boxes(clip)), self.network.config.face_size) * 2 - 1
        video = self.network.lip(faces.transpose(0, 1)[None])[0].numpy()
        sound = data.audio(clip)[AUDIO_LEAD_FRAMES * SAMPLES_PER_FRAME :]
        audio = self.network.audio(_windows(sound)).numpy()[: len(video)]
        return video, audio


def matching_loss(video: Tensor, audio: Tensor, lead: int) -> tuple[Tensor, dict[str, float]]:
    """InfoNCE of video [B, V, D] against audio [B, A, D]; video window i belongs to audio window i + lead."""
    batch, seen, _ = video.shape
    distances = torch.cdist(video.flatten(0, 1), audio.flatten(0, 1))
    rows = torch.arange(batch)[:, None] * audio.shape[1] + torch.arange(seen)[None] + lead
    targets = rows.flatten()
    to_audio = F.cross_entropy(-distances, targets)
    to_video = F.cross_entropy(-distances[:, targets].T, torch.arange(len(targets)))
    found = (distances.argmin(1) == targets).float().mean()
    matched = distances[torch.arange(len(targets)), targets].mean()
    return (to_audio + to_video) / 2, {
        "accuracy": found.item(),
        "matched": matched.item(),
        "mean": distances.mean().item(),
    }


def _windows(audio: np.ndarray) -> Tensor:
    """All complete sound windows [n, 1, 13, 20] of int16-scale samples."""
    columns = torch.from_numpy(mfcc(audio)).float()
    complete = (len(columns) - AUDIO_COLUMNS) // AUDIO_COLUMNS_PER_FRAME + 1
    return audio_windows(columns, min(complete, len(audio) // SAMPLES_PER_FRAME - WINDOW_FRAMES + 1))


def _disturb_sound(audio: np.ndarray, generator: Generator) -> np.ndarray:
    """Another loudness, and for half of the clips a noise floor between that of a 16-bit file and a quiet room."""
    sound = audio.astype(np.float64) * 10 ** uniform(generator, *GAIN_DECADES)
    if happens(generator, NOISY_SHARE):
        noise = torch.randn(len(sound), generator=generator, dtype=torch.float64).numpy()
        sound += noise * 10 ** uniform(generator, *NOISE_RMS_DECADES)
    return np.clip(np.round(sound), -32768, 32767)


def _speaks(data: ShardSet, clip: int) -> bool:
    return data.infos[clip].kind != "silence" and float(data.track(clip, "mouth_open").std()) > MIN_OPENING_SPREAD
