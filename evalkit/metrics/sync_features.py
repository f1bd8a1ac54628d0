"""SyncNet embeddings of a clip as it is decoded: lip windows from a fixed face crop, audio windows from MFCC."""

from __future__ import annotations

import numpy as np
import torch

from evalkit.metrics.base import Backbone, Clip, Extractor, FeatureStream
from evalkit.metrics.face_crop import LOWER_FACE, FaceCrop, box_in_video
from evalkit.metrics.mfcc import COEFFICIENTS, MfccStream
from evalkit.metrics.rows import Rows
from evalkit.metrics.sync_distance import window_count
from evalkit.metrics.syncnet import (
    AUDIO_COLUMNS,
    AUDIO_COLUMNS_PER_FRAME,
    WINDOW_FRAMES,
    SyncNet,
    audio_windows,
    nano_syncnet,
)
from evalkit.metrics.weights import load_nano, nano_backbone

WEIGHTS = "syncnet"
INT16_SCALE = 32768
_WINDOWS_AT_ONCE = 64


class SyncFeatures(Extractor):
    """Arrays `video` and `audio` float32 [N, D], `frames` and `samples` (counts), `has_audio` (0 or 1)."""

    name = "syncnet"
    rate_hz = 25.0

    def __init__(self) -> None:
        self._network = load_nano(WEIGHTS, SyncNet(nano_syncnet()))

    @property
    def backbone(self) -> Backbone:
        return nano_backbone(WEIGHTS)

    def open(self, clip: Clip) -> FeatureStream:
        return SyncStream(self._network, clip)


class SyncStream(FeatureStream):
    """Keeps 4 pictures and 16 MFCC columns between pieces; all else is embeddings."""

    def __init__(self, network: SyncNet, clip: Clip):
        self._network = network
        self._has_audio = clip.has_audio
        self._crop = FaceCrop(box_in_video(clip), clip.width, clip.height, LOWER_FACE, network.config.face_size)
        self._faces = torch.zeros(0, 3, *network.config.face_size)
        self._mfcc = MfccStream()
        self._columns = np.zeros((0, COEFFICIENTS))
        self._video = Rows(network.config.embedding)
        self._audio = Rows(network.config.embedding)
        self._frame_count = self._sample_count = 0

    @torch.inference_mode()
    def frames(self, frames: np.ndarray, times_s: np.ndarray) -> None:
        self._frame_count += len(frames)
        faces = torch.cat([self._faces, prepare_faces(self._crop(frames))])
        if len(faces) >= WINDOW_FRAMES:
            self._video.append(self._network.lip(faces.transpose(0, 1)[None])[0].numpy())
        self._faces = faces[-(WINDOW_FRAMES - 1) :].clone()

    def audio(self, samples: np.ndarray) -> None:
        self._sample_count += len(samples)
        scaled = np.clip(np.round(samples.astype(np.float64) * INT16_SCALE), -INT16_SCALE, INT16_SCALE - 1)
        self._take_columns(self._mfcc.push(scaled), least=_WINDOWS_AT_ONCE)

    def finish(self) -> dict[str, np.ndarray]:
        self._take_columns(self._mfcc.flush(), least=1)
        count = window_count(self._frame_count, self._sample_count)
        return {
            "video": self._video.array(count),
            "audio": self._audio.array(count),
            "frames": np.array(self._frame_count),
            "samples": np.array(self._sample_count),
            "has_audio": np.array(int(self._has_audio)),
        }

    @torch.inference_mode()
    def _take_columns(self, columns: np.ndarray, least: int) -> None:
        """Embed the complete windows once there are at least `least` of them."""
        self._columns = np.concatenate([self._columns, columns])
        ready = (len(self._columns) - AUDIO_COLUMNS) // AUDIO_COLUMNS_PER_FRAME + 1
        if ready < least:
            return
        windows = audio_windows(torch.from_numpy(self._columns).float(), ready)
        for part in windows.split(_WINDOWS_AT_ONCE):
            self._audio.append(self._network.audio(part).numpy())
        self._columns = self._columns[ready * AUDIO_COLUMNS_PER_FRAME :]


def prepare_faces(faces: torch.Tensor) -> torch.Tensor:
    """Crops 0..1 as the nano network expects them: -1..1."""
    return faces * 2 - 1
