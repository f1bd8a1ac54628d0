"""SyncNet embeddings of a clip as it is decoded: lip windows from a fixed face crop, audio windows from MFCC."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch

from evalkit.metrics.base import Backbone, Clip, Extractor, FeatureStream
from evalkit.metrics.face_crop import LOWER_FACE, CropRegion
from evalkit.metrics.face_region import FaceRegion
from evalkit.metrics.mfcc import COEFFICIENTS, MfccStream
from evalkit.metrics.rows import Rows
from evalkit.metrics.sync_distance import FRAME_SAMPLES, window_count
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
    """Arrays `video` and `audio` float32 [N, D], `frames` and `samples` (counts), `has_audio` (0 or 1).

    Both begin at picture `first_frame`, from which on the face is known; `coverage` is the share of pictures used.
    """

    name = "syncnet"
    version = 2
    rate_hz = 25.0

    def __init__(self) -> None:
        self._network = load_nano(WEIGHTS, SyncNet(nano_syncnet()))

    @property
    def backbone(self) -> Backbone:
        return nano_backbone(WEIGHTS)

    def open(self, clip: Clip) -> FeatureStream:
        return SyncStream(self._network, clip)


class WholeFrameSyncFeatures(SyncFeatures):
    """The same for videos that are a face and nothing else: the whole picture, squashed to the network's size."""

    name = "syncnet_wholeframe"

    def open(self, clip: Clip) -> FeatureStream:
        whole = SimpleNamespace(face_box=(0.0, 0.0, 1.0, 1.0))
        return SyncStream(self._network, replace(clip, sample=whole), whole_frame(clip))


class SyncStream(FeatureStream):
    """Keeps 4 pictures between pieces; all else is embeddings."""

    def __init__(self, network: SyncNet, clip: Clip, region: CropRegion = LOWER_FACE):
        self._network = network
        self._region = FaceRegion(clip, region, network.config.face_size)
        self._faces = torch.zeros(0, 3, *network.config.face_size)
        self._sound = SoundEmbeddings(network, clip.has_audio)
        self._video = Rows(network.config.embedding)
        self._frame_count = 0

    @torch.inference_mode()
    def frames(self, frames: np.ndarray, times_s: np.ndarray) -> None:
        self._frame_count += len(frames)
        crops = self._region.crops(frames)
        if crops is None:
            return
        faces = torch.cat([self._faces, prepare_faces(crops)])
        if len(faces) >= WINDOW_FRAMES:
            self._video.append(self._network.lip(faces.transpose(0, 1)[None])[0].numpy())
        self._faces = faces[-(WINDOW_FRAMES - 1) :].clone()

    def audio(self, samples: np.ndarray) -> None:
        self._sound.push(samples)

    def finish(self) -> dict[str, np.ndarray]:
        face = self._region.arrays(self._frame_count)
        first, last = int(face["first_frame"]), self._frame_count
        audio, sound = self._sound.finish()
        video, audio = aligned(self._video.array(), audio, first, last - first, int(sound["samples"]))
        return {"video": video, "audio": audio, "frames": np.array(self._frame_count), **sound, **face}


class SoundEmbeddings:
    """Embeddings of every window of 20 MFCC columns, four columns apart, from sound that comes in pieces."""

    def __init__(self, network: SyncNet, has_audio: bool, device: torch.device | str = "cpu"):
        self._network, self._device, self._has_audio = network, torch.device(device), has_audio
        self._mfcc = MfccStream()
        self._columns = np.zeros((0, COEFFICIENTS))
        self._audio = Rows(network.config.embedding)
        self._sample_count = 0

    def push(self, samples: np.ndarray) -> None:
        """Sound float32 [n], nominally -1..1, 16 kHz."""
        self._sample_count += len(samples)
        scaled = np.clip(np.round(samples.astype(np.float64) * INT16_SCALE), -INT16_SCALE, INT16_SCALE - 1)
        self._take_columns(self._mfcc.push(scaled), least=_WINDOWS_AT_ONCE)

    def finish(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Embeddings [windows, D]; counts."""
        self._take_columns(self._mfcc.flush(), least=1)
        counts = {"samples": np.array(self._sample_count), "has_audio": np.array(int(self._has_audio))}
        return self._audio.array(), counts

    @torch.inference_mode()
    def _take_columns(self, columns: np.ndarray, least: int) -> None:
        """Embed the complete windows once there are at least `least` of them."""
        self._columns = np.concatenate([self._columns, columns])
        ready = (len(self._columns) - AUDIO_COLUMNS) // AUDIO_COLUMNS_PER_FRAME + 1
        if ready < least:
            return
        windows = audio_windows(torch.from_numpy(self._columns).float(), ready)
        for part in windows.split(_WINDOWS_AT_ONCE):
            self._audio.append(self._network.audio(part.to(self._device)).cpu().numpy())
        self._columns = self._columns[ready * AUDIO_COLUMNS_PER_FRAME :]


def aligned(
    video: np.ndarray, audio: np.ndarray, first: int, frames: int, samples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of the N windows that a face seen in `frames` pictures from `first` on shares with the sound.

    video [frames - 4, D] begins at `first`, audio [windows, D] at the clip's beginning. The published code cuts the sound
    there first, which differs in one value of pre-emphasis where `first` is not 0.
    """
    count = window_count(frames, max(0, samples - first * FRAME_SAMPLES))
    return video[:count], audio[first : first + count]


def whole_frame(clip: Clip) -> CropRegion:
    """The region that is the whole picture, in units of its longer side."""
    longer = max(clip.width, clip.height)
    return CropRegion(clip.width / longer, clip.height / longer, 0.0)


def prepare_faces(faces: torch.Tensor) -> torch.Tensor:
    """Crops 0..1 as the nano network expects them: -1..1."""
    return faces * 2 - 1
