"""SyncNet's embeddings with its own pipeline: S3FD detections, tracks, crops, all as pictures are decoded.

Every face is followed and embedded on its own; which track counts is known only at the end (the longest one). Where no
face is seen at a quarter of the size, half and full size are looked at; where the detector stays blind (animated and
animal faces), the manifest's box of the portrait is followed by template matching until a real track is long enough.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from evalkit.metric_setup import MetricSetup
from evalkit.metrics.backbones import backbone_of
from evalkit.metrics.base import Backbone, Clip, Extractor, FeatureStream
from evalkit.metrics.detectors import Detector, S3fdDetector
from evalkit.metrics.face_crop import FACE_SOURCE, box_in_video
from evalkit.metrics.face_track import MEDIAN_WIDTH, Track, Tracker, TrackRules, crop_face, crop_rect
from evalkit.metrics.official.loading import empty, load_strict, read_checkpoint
from evalkit.metrics.official.reencode import CropRecoder, FrameRecoder
from evalkit.metrics.official.s3fd import S3FD
from evalkit.metrics.resize import bilinear_fixed_point
from evalkit.metrics.rows import Rows
from evalkit.metrics.sync_distance import summarise_pair, window_count
from evalkit.metrics.sync_features import SoundEmbeddings, aligned
from evalkit.metrics.syncnet import WINDOW_FRAMES, SyncNet, official_syncnet
from evalkit.metrics.template import TemplateTracker

CROPS_AT_ONCE = 32
SMALL_FACE_PX = 40.0
"""Least size of faces where the usual 100 px found none."""
HALF_MEDIAN = MEDIAN_WIDTH // 2


class _OfficialSync(Extractor):
    """Arrays as of `SyncFeatures`, and `tracks` [k, 7] of every face that was followed, the scored one first."""

    rate_hz = 25.0
    rules = TrackRules()
    small_face_px = SMALL_FACE_PX

    def __init__(self, setup: MetricSetup):
        self._setup = setup
        self._device = torch.device(setup.device)
        path = setup.folder.file("syncnet", "syncnet_v2.model")
        self._network = load_strict(empty(SyncNet, official_syncnet()), read_checkpoint(path), "SyncNet").to(self._device)

    @property
    def backbone(self) -> Backbone:
        return backbone_of(self.name, self._setup)

    def _detector(self) -> Detector:
        path = self._setup.folder.file("syncnet", "sfd_face.pth")
        network = load_strict(empty(S3FD), read_checkpoint(path), "S3FD")
        return S3fdDetector(network, self.backbone, self._device)


class TrackedSyncFeatures(_OfficialSync):
    """Protocol `sync`: pictures and sound in memory, no re-encoding, steps of the published pipeline."""

    name = "syncnet"

    def __init__(self, setup: MetricSetup):
        super().__init__(setup)
        self._faces = self._detector()

    def open(self, clip: Clip) -> FeatureStream:
        return TrackedSyncStream(LipEmbedder(self._network, self._device), self._faces, clip, self.rules, self.small_face_px)


class ReferenceSyncFeatures(TrackedSyncFeatures):
    """Protocol `sync_reference`: the original's re-encodings too, and its limits; no help for small or drawn faces."""

    name = "syncnet_reference"
    rules = TrackRules(min_track=100)
    small_face_px = 100.0

    def open(self, clip: Clip) -> FeatureStream:
        lips = LipEmbedder(self._network, self._device)
        return TrackedSyncStream(lips, self._faces, clip, self.rules, self.small_face_px, is_strict=True)


class WholeFrameSyncFeatures(_OfficialSync):
    """Protocol `sync_wholeframe`: the video is a face crop already and is only resized."""

    name = "syncnet_wholeframe"

    def open(self, clip: Clip) -> FeatureStream:
        return WholeFrameStream(LipEmbedder(self._network, self._device), clip)


@dataclass
class LipEmbedder:
    """The lip branch over crops that come in pieces: BGR, 0..255, no scaling, 5 pictures a window."""

    network: SyncNet
    device: torch.device

    def rows(self) -> Rows:
        """An empty store of embeddings."""
        return Rows(self.network.config.embedding)

    @torch.inference_mode()
    def embed(self, crops: np.ndarray) -> np.ndarray:
        """Embeddings [n - 4, D] of RGB crops uint8 [n, 224, 224, 3]."""
        bgr = torch.from_numpy(np.ascontiguousarray(crops[..., ::-1])).permute(3, 0, 1, 2).float()
        return self.network.lip(bgr[None].to(self.device))[0].cpu().numpy()


@dataclass
class FaceLips:
    """One track's embeddings: crops wait until the smoothing window about them is known and a batch is full."""

    embedder: LipEmbedder
    track: Track
    rules: TrackRules
    source: str
    recoder: CropRecoder | None = None
    done: int = 0
    waiting: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.embeddings = self.embedder.rows()

    def next_needed(self) -> int:
        """The first picture whose crop is still to be cut."""
        return self.track.first + self.done

    def take(self, pictures: dict[int, np.ndarray], is_over: bool) -> None:
        """Cut what can be cut; at the end, everything."""
        ready = len(self.track) - (0 if is_over else HALF_MEDIAN)
        if ready > self.done:
            for index, place in enumerate(self.track.smoothed(self.done, ready, self.rules.edge), self.done):
                self._add(crop_face(pictures[self.track.first + index], crop_rect(*place)))
            self.done = ready
        if is_over:
            for crop in self.recoder.flush() if self.recoder else ():
                self.waiting.append(crop)
            self._embed(least=WINDOW_FRAMES)

    def _add(self, crop: np.ndarray) -> None:
        self.waiting += self.recoder.push(crop) if self.recoder else [crop]
        self._embed(least=CROPS_AT_ONCE + WINDOW_FRAMES - 1)

    def _embed(self, least: int) -> None:
        if len(self.waiting) >= least:
            self.embeddings.append(self.embedder.embed(np.stack(self.waiting)))
            self.waiting = self.waiting[-(WINDOW_FRAMES - 1) :]


class TrackedSyncStream(FeatureStream):
    """Keeps as many pictures as a gap in a track and the smoothing window may need; all else is numbers."""

    def __init__(
        self,
        embedder: LipEmbedder,
        detector: Detector,
        clip: Clip,
        rules: TrackRules,
        small_face_px: float,
        is_strict: bool = False,
    ):
        self._embedder, self._detector, self._clip, self._rules = embedder, detector, clip, rules
        self._small_face_px, self._is_strict = small_face_px, is_strict
        self._tracker = Tracker(rules)
        self._lips: dict[int, FaceLips] = {}
        self._pictures: dict[int, np.ndarray] = {}
        self._count = 0
        self._finer_looks = 0
        self._scale = detector.scales[0]
        self._sound = SoundEmbeddings(embedder.network, clip.has_audio, embedder.device)
        self._recoder = FrameRecoder() if is_strict else None
        box = None if is_strict else box_in_video(clip)
        self._template = None if box is None else TemplateTracker(box)
        self._followed: FaceLips | None = None

    def frames(self, frames: np.ndarray, times_s: np.ndarray) -> None:
        for picture in frames if self._recoder is None else self._recoder.push(frames):
            self._take(picture)

    def audio(self, samples: np.ndarray) -> None:
        self._sound.push(samples)

    def finish(self) -> dict[str, np.ndarray]:
        for picture in self._recoder.flush() if self._recoder is not None else ():
            self._take(picture)
        self._tracker.finish()
        ended = [lips for lips in self._lips.values() if self._tracker.is_long(lips.track)]
        for lips in [*ended, *([self._followed] if self._followed else [])]:
            lips.take(self._pictures, is_over=True)
        audio, sound = self._sound.finish()
        counts = {"frames": np.array(self._count), "finer_looks": np.array(self._finer_looks), **sound}
        kept = self._kept()
        rows = [self._row(lips, audio, int(sound["samples"])) for lips in kept]
        empty = np.zeros((0, self._embedder.network.config.embedding), np.float32)
        if not kept:
            face = {"face_source": np.array("none"), "first_frame": np.array(self._count), "coverage": np.array(0.0)}
            return {"video": empty, "audio": empty, **counts, **face, "faces": np.array(0), "tracks": np.zeros((0, 7))}
        best = kept[0]
        video, heard = aligned(
            best.embeddings.array(), audio, best.track.first, len(best.track), int(sound["samples"])
        )
        face = {
            "face_source": np.array(best.source),
            "first_frame": np.array(best.track.first),
            "coverage": np.array(len(best.track) / self._count),
            "faces": np.array(len(kept)),
        }
        return {"video": video, "audio": heard, **counts, **face, "tracks": np.array(rows)}

    def _take(self, picture: np.ndarray) -> None:
        number = self._count
        self._count += 1
        self._pictures[number] = picture
        found, scale = self._look(picture)
        self._tracker.push(number, found)
        for track in self._tracker.live:
            if id(track) not in self._lips:
                source = f"S3FD at {scale:g}"
                recoder = CropRecoder() if self._is_strict else None
                self._lips[id(track)] = FaceLips(self._embedder, track, self._rules, source, recoder)
        self._follow(number, picture)
        live = {id(track) for track in self._tracker.live}
        for key, lips in self._lips.items():
            if key in live:
                lips.take(self._pictures, is_over=False)
            elif lips.done < len(lips.track) and self._tracker.is_long(lips.track):
                lips.take(self._pictures, is_over=True)
        self._drop_short_tracks(live)
        self._forget()

    def _look(self, picture: np.ndarray) -> tuple[np.ndarray, float]:
        """Detections at the usual size; finer where no face is followed, or where the one that is was found finer."""
        usual, *finer = self._detector.scales
        found = self._detector.detect(picture, usual)
        if len(found) or self._is_strict or (self._tracker.live and self._scale == usual):
            self._scale = usual
            return found, usual
        for scale in [self._scale] if self._tracker.live else finer:
            self._finer_looks += 1
            found = self._detector.detect(picture, scale)
            if len(found):
                self._scale = scale
                return found, scale
        return found, self._scale

    def _follow(self, number: int, picture: np.ndarray) -> None:
        """The manifest's box, until a detected face has been followed long enough to be sure of it."""
        if self._template is None:
            return
        if any(self._tracker.is_long(track) for track in self._tracker.live):
            self._template, self._followed = None, None
            return
        box = self._template.push(picture)
        if self._followed is None:
            self._followed = FaceLips(self._embedder, Track(number, number), self._rules, FACE_SOURCE)
        self._followed.track.append(number, box)
        self._followed.take(self._pictures, is_over=False)

    def _drop_short_tracks(self, live: set[int]) -> None:
        """Ended tracks that can never count need no embeddings."""
        self._lips = {
            key: lips for key, lips in self._lips.items() if key in live or self._tracker.is_long(lips.track)
        }

    def _forget(self) -> None:
        """Pictures that no live track can still ask for."""
        needed = [self._lips[id(track)].next_needed() for track in self._tracker.live if id(track) in self._lips]
        if self._followed is not None:
            needed.append(self._followed.next_needed())
        oldest = min([*needed, self._count])
        for number in [number for number in self._pictures if number < oldest]:
            del self._pictures[number]

    def _kept(self) -> list[FaceLips]:
        """Tracks that count, the longest first: large faces, else small ones, else the followed box."""
        long = [lips for lips in self._lips.values() if self._tracker.is_long(lips.track)]
        sizes = {id(lips): lips.track.mean_side_px() for lips in long}
        kept = [lips for lips in long if sizes[id(lips)] > self._rules.min_face_px]
        kept = kept or [lips for lips in long if sizes[id(lips)] > self._small_face_px]
        kept = kept or ([self._followed] if self._followed is not None else [])
        return sorted(kept, key=lambda lips: -len(lips.track))

    def _row(self, lips: FaceLips, audio: np.ndarray, samples: int) -> list[float]:
        video, heard = aligned(lips.embeddings.array(), audio, lips.track.first, len(lips.track), samples)
        found = summarise_pair(video, heard) if len(video) else None
        numbers = (found.distance, found.confidence, found.offset_frames) if found else (np.nan,) * 3
        return [lips.track.first, len(lips.track), lips.track.detected, lips.track.mean_side_px(), *numbers]


class WholeFrameStream(FeatureStream):
    """Whole pictures resized to the network's size."""

    def __init__(self, embedder: LipEmbedder, clip: Clip):
        self._embedder = embedder
        self._sound = SoundEmbeddings(embedder.network, clip.has_audio, embedder.device)
        self._video, self._count = embedder.rows(), 0
        self._waiting: list[np.ndarray] = []

    def frames(self, frames: np.ndarray, times_s: np.ndarray) -> None:
        self._count += len(frames)
        side = self._embedder.network.config.face_size[0]
        self._waiting += [bilinear_fixed_point(picture, side, side) for picture in frames]
        if len(self._waiting) >= WINDOW_FRAMES:
            self._video.append(self._embedder.embed(np.stack(self._waiting)))
            self._waiting = self._waiting[-(WINDOW_FRAMES - 1) :]

    def audio(self, samples: np.ndarray) -> None:
        self._sound.push(samples)

    def finish(self) -> dict[str, np.ndarray]:
        audio, sound = self._sound.finish()
        count = window_count(self._count, int(sound["samples"]))
        face = {"face_source": np.array("whole frame"), "first_frame": np.array(0), "coverage": np.array(1.0)}
        arrays = {"video": self._video.array(count), "audio": audio[:count], "frames": np.array(self._count)}
        return {**arrays, **sound, **face}
